//! Exact Nash equilibrium of a matrix game, with its own proof attached.
//!
//! A linear program for an LP library would do, and did; but the program of a matrix game is dense, both its sides are
//! wanted, and it is solved again after every row and column that the loop adds. So it is solved here by what it is: a few
//! hundred steps of regret matching guess the support, and the parametric simplex method (`path`) walks from that guess,
//! or from the [`Basis`] of the game before it grew, to an exact basis. The price is that the game is held twice in memory,
//! and a bordered inverse beside it. The few games that have no right digit in an inverse of doubles go through a tableau of
//! double-doubles (`tableau`).
//!
//! Payoffs are first mapped to [0, 1] by their range: solvers that skip this are silently wrong on payoffs of 1e-12 and
//! on an offset of 1e9. `nash_conv` is computed from the two strategies that are handed out, in compensated arithmetic,
//! and never read from the solver, so that a bad answer cannot look good. Where several equilibria exist the answer is one
//! at a vertex; which one is a function of the payoffs alone, also from an old basis (`search`). Pure equilibria go first,
//! lowest row and then lowest column.

mod basis;
mod double_double;
mod path;
mod search;
mod tableau;

use crate::dense::{ExactSums, exact_product};
use crate::{GameError, Matrix};
use serde::{Deserialize, Serialize};

/// An answer whose regret exceeds this share of the payoff range is an error, not an answer.
const CERTIFIED: f64 = 1e-12;

/// A pair of meta-strategies and what they are worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Equilibrium {
    /// Red's distribution over rows.
    pub row: Vec<f64>,
    /// Blue's distribution over columns.
    pub col: Vec<f64>,
    /// Return to red, rowᵀ M col.
    pub value: f64,
    /// max_i (M col)_i − min_j (rowᵀ M)_j: the sum of what both could gain *inside this matrix* (OpenSpiel's
    /// `exploitability` is half of it). 0 at a Nash equilibrium; no evidence about policies outside the matrix.
    pub nash_conv: f64,
}

impl Equilibrium {
    /// Any profile of a matrix game with its value and regret, whether or not it is an equilibrium.
    ///
    /// `row` and `col` must be distributions over the matrix's rows and columns. Sums carry twice the digits of a double
    /// and are rounded once; what is left is the rounding of each payoff's place in the range, 2⁻⁵³ of the range.
    pub fn of_profile(payoffs: &Matrix, row: Vec<f64>, col: Vec<f64>) -> Self {
        let scale = Scale::of(payoffs);
        let (value, nash_conv) = certificate(&scale.apply(payoffs), &row, &col);
        Self { row, col, value: scale.restore(value), nash_conv: nash_conv * scale.half * 2.0 }
    }
}

/// Value and NashConv of a profile.
fn certificate(unit: &Matrix, row: &[f64], col: &[f64]) -> (f64, f64) {
    let red: Vec<f64> = (0..unit.rows()).map(|idx| exact_product(unit.row(idx), col)).collect();
    let mut blue = ExactSums::from(vec![0.0; unit.cols()]);
    let played = row.iter().enumerate().filter(|(_, weight)| **weight != 0.0);
    played.for_each(|(idx, &weight)| blue.add(weight, unit.row(idx)));
    let best = red.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let worst = blue.rounded().into_iter().fold(f64::INFINITY, f64::min);
    (exact_product(row, &red), (best - worst).max(0.0))
}

/// The affine map of the payoffs to [0, 1], kept in halves: a range of more than `f64::MAX` must not overflow.
struct Scale {
    low: f64,
    half: f64, // half of the range
}

impl Scale {
    fn of(payoffs: &Matrix) -> Self {
        let (low, high) = payoffs.range();
        Self { low, half: high / 2.0 - low / 2.0 }
    }

    fn apply(&self, payoffs: &Matrix) -> Matrix {
        let unit = |value: f64| ((value / 2.0 - self.low / 2.0) / self.half).clamp(0.0, 1.0);
        payoffs.map(|value| if self.half > 0.0 { unit(value) } else { 0.0 })
    }

    fn restore(&self, unit: f64) -> f64 {
        2.0 * (self.low / 2.0 + self.half * unit)
    }
}

/// Payoffs mapped to [0, 1] by their range.
pub(crate) fn to_unit_range(payoffs: &Matrix) -> Matrix {
    Scale::of(payoffs).apply(payoffs)
}

/// Rows and columns that carry an equilibrium: what a later solution of a similar game starts from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    rows: Vec<usize>,
    cols: Vec<usize>,
    effort: Effort,
}

impl Basis {
    /// What the solution that left this basis took.
    pub fn effort(&self) -> Effort {
        self.effort
    }
}

/// What a solution took, in counts that are the same on every machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effort {
    /// Steps of regret matching: 0 where the old basis was enough, or the equilibrium is pure.
    pub steps: u32,
    /// Pivots.
    pub pivots: usize,
}

/// A Nash equilibrium of the zero-sum game in which the row player (red) receives `payoffs`.
///
/// Its `nash_conv` is at most 1e-12 of the payoff range, also where the support is singular to double precision (near copies
/// of rows, a Hilbert matrix with alternating signs): twice the digits then find it, in ten to a hundred times the time.
///
/// # Errors
/// `nash_conv` would exceed 1e-12 of the payoff range: no game is known for which it does.
pub fn solve(payoffs: &Matrix) -> Result<Equilibrium, GameError> {
    solve_from(payoffs, &mut Basis::default())
}

/// The same, from the basis of a solved game, which is replaced by the new one. An empty basis is a cold start.
///
/// The game may have grown by rows and columns (at their ends) and its entries may have changed; the less, the faster.
/// Rows and columns that no longer exist are ignored. The answer is that of [`solve`] but for its last digits, whatever
/// the basis: where there are several equilibria, or nearly so, the old one is dropped and the solution starts cold.
///
/// ```
/// use grts_game::{Matrix, nash};
///
/// let mut basis = nash::Basis::default();
/// nash::solve_from(&Matrix::from_rows(&[[0.0, -1.0], [1.0, 0.0]])?, &mut basis)?;
/// let grown = Matrix::from_rows(&[[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])?;
/// assert!(nash::solve_from(&grown, &mut basis)?.row.iter().all(|p| (p - 1.0 / 3.0).abs() < 1e-15));
/// # Ok::<(), grts_game::GameError>(())
/// ```
///
/// # Errors
/// As [`solve`]; the basis is then as it was.
pub fn solve_from(payoffs: &Matrix, basis: &mut Basis) -> Result<Equilibrium, GameError> {
    let scale = Scale::of(payoffs);
    let unit = scale.apply(payoffs);
    let answer = match search::saddle(&unit) {
        Some((row, col)) => {
            *basis = Basis { rows: vec![row], cols: vec![col], effort: Effort::default() };
            Candidate::pure(&unit, row, col)
        }
        None => search::mixed(unit, basis)?,
    };
    let (value, nash_conv) = (scale.restore(answer.value), answer.nash_conv * scale.half * 2.0);
    Ok(Equilibrium { row: answer.row, col: answer.col, value, nash_conv })
}

/// A profile of the scaled game.
struct Candidate {
    row: Vec<f64>,
    col: Vec<f64>,
    value: f64,
    nash_conv: f64,
}

impl Candidate {
    fn of(unit: &Matrix, row: Vec<f64>, col: Vec<f64>) -> Self {
        let (value, nash_conv) = certificate(unit, &row, &col);
        Self { row, col, value, nash_conv }
    }

    fn pure(unit: &Matrix, row: usize, col: usize) -> Self {
        let only = |n: usize, chosen: usize| (0..n).map(|idx| f64::from(u8::from(idx == chosen))).collect();
        Self::of(unit, only(unit.rows(), row), only(unit.cols(), col))
    }
}
