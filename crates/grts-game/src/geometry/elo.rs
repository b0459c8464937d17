//! Elo ratings, and what they miss.
//!
//! Ratings are the maximum of the Bradley–Terry likelihood, P(i beats j) = 1 / (1 + 10^((R_j − R_i)/400)), found by
//! Newton's method; the usual update after every game would depend on the order of games, and minorisation (Hunter 2004),
//! which OpenSpiel uses, reaches the same maximum in hundreds of steps. Multidimensional Elo adds what goes round: mElo₂ₖ
//! keeps the k strongest rotations of the log-odds (Balduzzi et al. 2018). Here the rotations are the singular components
//! of the log-odds' cyclic part, not fitted by gradient steps, so nothing has to be tuned.

use super::split::Split;
use crate::{GameError, Matrix};
use nalgebra::{DMatrix, DVector};

/// Rating points per natural-log odds: 400 / ln 10.
const POINTS: f64 = 400.0 / std::f64::consts::LN_10;

/// Newton steps, and the step (in log-odds) that ends them.
const STEPS: usize = 200;
const SETTLED: f64 = 1e-13;

/// Elo ratings from `wins[i][j]`, how often i beat j (a draw is half a win for both); the lowest rating is 0.
///
/// The diagonal is not read. Every player must be reachable from every other through wins, or the maximum lies at infinity:
/// a little added to both entries of every pair that played sees to that.
///
/// # Errors
/// The matrix is not square, a number of wins is negative, or there is no finite maximum.
pub fn elo(wins: &Matrix) -> Result<Vec<f64>, GameError> {
    let n = wins.rows();
    if wins.cols() != n {
        return Err(GameError::Shape {
            place: "columns of a matrix of wins".to_owned(),
            expected: n,
            found: wins.cols(),
        });
    }
    if let Some(at) = wins.as_slice().iter().position(|count| *count < 0.0) {
        let (place, allowed) = (format!("wins of {} over {}", at / n, at % n), "at least 0".to_owned());
        return Err(GameError::Value { place, value: wins.as_slice()[at], allowed });
    }
    if !is_connected(wins) {
        return Err(GameError::NoConvergence { what: "rating of players that never win or never lose" });
    }
    let mut log_odds = DVector::zeros(n);
    for _ in 0..STEPS {
        let (gradient, curvature) = derivatives(wins, &log_odds);
        let step = curvature.cholesky().map(|factor| factor.solve(&gradient));
        let step = step.ok_or(GameError::NoConvergence { what: "rating" })?;
        // A step of more than 2 leaves the region in which the curvature says anything.
        log_odds += &step * (2.0 / step.amax()).min(1.0);
        if step.amax() <= SETTLED {
            break;
        }
    }
    let lowest = log_odds.min();
    Ok(log_odds.iter().map(|odds| POINTS * (odds - lowest)).collect())
}

/// Gradient of the log-likelihood, and minus its second derivative with the free shift of all ratings pinned.
fn derivatives(wins: &Matrix, log_odds: &DVector<f64>) -> (DVector<f64>, DMatrix<f64>) {
    let n = log_odds.len();
    let mut gradient = DVector::zeros(n);
    let mut curvature = DMatrix::from_element(n, n, 1.0 / n as f64);
    for i in 0..n {
        for j in (0..n).filter(|&j| j != i) {
            let games = wins.get(i, j) + wins.get(j, i);
            let expected = logistic(log_odds[i] - log_odds[j]);
            gradient[i] += wins.get(i, j) - games * expected;
            let information = games * expected * (1.0 - expected);
            curvature[(i, i)] += information;
            curvature[(i, j)] -= information;
        }
    }
    (gradient, curvature)
}

/// Whether everyone can be reached from everyone along wins (Ford 1957).
fn is_connected(wins: &Matrix) -> bool {
    let reaches_all = |beats: &dyn Fn(usize, usize) -> bool| {
        let (mut seen, mut open) = (vec![false; wins.rows()], vec![0]);
        seen[0] = true;
        while let Some(i) = open.pop() {
            for j in (0..wins.rows()).filter(|&j| beats(i, j)) {
                if !std::mem::replace(&mut seen[j], true) {
                    open.push(j);
                }
            }
        }
        seen.into_iter().all(|reached| reached)
    };
    reaches_all(&|i, j| wins.get(i, j) > 0.0) && reaches_all(&|i, j| wins.get(j, i) > 0.0)
}

/// How well ratings alone, and ratings with `rotations` planes of mElo, give back a matrix of winning probabilities.
///
/// `chances` are strictly between 0 and 1, to the row player. Returns the mean absolute error of both.
///
/// # Errors
/// A probability of 0 or 1, or a decomposition that did not converge.
pub fn prediction_errors(chances: &Matrix, rotations: usize) -> Result<(f64, f64), GameError> {
    let log_odds = Matrix::from_fn(chances.rows(), chances.cols(), |i, j| {
        let chance = chances.get(i, j);
        (chance / (1.0 - chance)).ln()
    })?;
    let split = Split::of(&log_odds)?;
    let cyclic = split.strongest(2 * rotations)?;
    let mean_error = |predicted: &dyn Fn(usize, usize) -> f64| {
        let cells = (0..chances.rows()).flat_map(|i| (0..chances.cols()).map(move |j| (i, j)));
        let total: f64 = cells.map(|(i, j)| (logistic(predicted(i, j)) - chances.get(i, j)).abs()).sum();
        total / (chances.rows() * chances.cols()) as f64
    };
    let flat = mean_error(&|i, j| split.transitive(i, j));
    Ok((flat, mean_error(&|i, j| split.transitive(i, j) + cyclic.get(i, j))))
}

fn logistic(log_odds: f64) -> f64 {
    1.0 / (1.0 + (-log_odds).exp())
}
