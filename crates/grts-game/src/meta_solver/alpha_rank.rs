//! α-rank with one population a side: the stationary distribution of a chain over pairs of policies.
//!
//! The known implementation hands a k² × k² matrix to an eigenvalue solver and fails from α = 1000 on, where transition
//! probabilities underflow. State reduction (Grassmann, Taksar & Heyman 1985) subtracts nothing, so it works on the
//! *logarithms* of the probabilities: any α is as good as any other, and the limit of an infinite one is a very large one.
//! The chain is still one state for each pair, so the work grows with its cube; a limit on the pairs says so.

use super::dynamics::softmax;
use crate::{GameError, Matrix};

/// Pairs beyond which an answer would take more than about a minute.
pub(super) const MOST_PAIRS: usize = 2500;
/// Stands for infinity: times the smallest difference between payoffs. Logarithms then still carry eight digits.
const INFINITE: f64 = 1e5;

/// Marginal weights of rows and columns, payoffs in [0, 1].
pub(super) fn marginals(
    payoffs: &Matrix,
    alpha: Option<f64>,
    population: u32,
) -> Result<(Vec<f64>, Vec<f64>), GameError> {
    let (m, n) = (payoffs.rows(), payoffs.cols());
    if m * n > MOST_PAIRS {
        let place = format!("α-rank of a game of {m} by {n}: pairs of policies, at most");
        return Err(GameError::Shape { place, expected: MOST_PAIRS, found: m * n });
    }
    let alpha = alpha.unwrap_or_else(|| INFINITE / smallest_difference(payoffs));
    let weights = softmax(stationary(transitions(payoffs, alpha, f64::from(population)), m * n).iter().copied());
    let row = weights.chunks_exact(n).map(|of_row| of_row.iter().sum()).collect();
    let col = (0..n).map(|col| weights.iter().skip(col).step_by(n).sum()).collect();
    Ok((row, col))
}

/// Among pairs that one player's change connects.
fn smallest_difference(payoffs: &Matrix) -> f64 {
    let mut least = 1.0_f64;
    let lines = |matrix: &Matrix| (0..matrix.rows()).map(|row| matrix.row(row).to_vec()).collect::<Vec<_>>();
    for mut line in lines(payoffs).into_iter().chain(lines(&payoffs.transpose())) {
        line.sort_by(f64::total_cmp);
        let gaps = line.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > 1e-12);
        least = gaps.fold(least, f64::min);
    }
    least
}

/// Logarithm of the chance that a mutant who gains `gain` takes over a population of `m` (Omidshafiei et al. 2019, eq. 7).
fn log_fixation(gain: f64, alpha: f64, m: f64) -> f64 {
    let x = alpha * gain.abs();
    if x * m < 1e-12 {
        return -m.ln();
    }
    let takes = f64::ln(-f64::exp_m1(-x)) - f64::ln(-f64::exp_m1(-m * x));
    if gain > 0.0 { takes } else { takes - (m - 1.0) * x }
}

/// Logarithms of the transition probabilities between pairs, but for a common factor; −∞ where both players would move.
fn transitions(payoffs: &Matrix, alpha: f64, m: f64) -> Vec<f64> {
    let (rows, cols) = (payoffs.rows(), payoffs.cols());
    let pairs = rows * cols;
    let mut logs = vec![f64::NEG_INFINITY; pairs * pairs];
    for from in 0..pairs {
        let (row, col) = (from / cols, from % cols);
        let here = payoffs.get(row, col);
        for other in (0..rows).filter(|other| *other != row) {
            logs[from * pairs + other * cols + col] = log_fixation(payoffs.get(other, col) - here, alpha, m);
        }
        for other in (0..cols).filter(|other| *other != col) {
            logs[from * pairs + row * cols + other] = log_fixation(here - payoffs.get(row, other), alpha, m);
        }
    }
    logs
}

/// Logarithms of the stationary distribution, up to a constant: states are removed one by one, each passing its
/// transitions on to those left, and then given their weight in reverse.
fn stationary(mut logs: Vec<f64>, states: usize) -> Vec<f64> {
    for last in (1..states).rev() {
        let (left, row) = logs.split_at_mut(last * states);
        let leaving = log_sum(&row[..last]);
        for from in left.chunks_exact_mut(states) {
            from[last] -= leaving;
            let into = from[last];
            if into > f64::NEG_INFINITY {
                from.iter_mut()
                    .zip(&row[..last])
                    .for_each(|(direct, onward)| *direct = log_add(*direct, into + onward));
            }
        }
    }
    let mut weights = vec![0.0; states];
    for last in 1..states {
        let reached: Vec<f64> = (0..last).map(|from| weights[from] + logs[from * states + last]).collect();
        weights[last] = log_sum(&reached);
    }
    weights
}

fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY || high - low > 40.0 { high } else { high + f64::ln_1p((low - high).exp()) }
}

fn log_sum(logs: &[f64]) -> f64 {
    logs.iter().copied().fold(f64::NEG_INFINITY, log_add)
}

#[cfg(test)]
mod tests {
    use super::{stationary, transitions};
    use crate::Matrix;
    use crate::meta_solver::dynamics::softmax;

    /// π P = π, with probabilities as they are, where they do not underflow.
    #[test]
    fn what_is_found_is_stationary() {
        let game = Matrix::from_fn(3, 4, |i, j| ((i * 5 + j * 3) % 7) as f64 / 7.0).unwrap();
        let logs = transitions(&game, 1.5, 5.0);
        let weights = softmax(stationary(logs.clone(), 12).iter().copied());
        for state in 0..12 {
            let flow = |from: usize, to: usize| weights[from] * logs[from * 12 + to].exp();
            let (inward, outward): (f64, f64) =
                ((0..12).map(|other| flow(other, state)).sum(), (0..12).map(|other| flow(state, other)).sum());
            assert!((inward - outward).abs() < 1e-14, "{state}: {inward} {outward}");
        }
    }
}
