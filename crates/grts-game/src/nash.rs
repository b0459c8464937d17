//! Exact Nash equilibrium of a matrix game, by linear programming, with its own proof attached.
//!
//! Payoffs are first mapped to [0, 1] by their range: solvers that skip this are silently wrong on payoffs of 1e-12 and
//! on an offset of 1e9. Each side is solved by its own program and `nash_conv` is computed from the two strategies that
//! are handed out, never read from a solver, so that a bad answer cannot look good. Where several equilibria exist, which
//! one is returned is unspecified (the value is unique).

use crate::linear_program::{LinearProgram, normalised};
use crate::matrix::dot;
use crate::{GameError, Matrix};
use serde::{Deserialize, Serialize};

/// An answer whose regret exceeds this share of the payoff range is an error, not an answer.
const CERTIFIED: f64 = 1e-8;

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
    /// `row` and `col` must be distributions over the matrix's rows and columns.
    pub fn of_profile(payoffs: &Matrix, row: Vec<f64>, col: Vec<f64>) -> Self {
        let scale = Scale::of(payoffs);
        let unit = scale.apply(payoffs);
        let red = unit.mul_vec(&col); // per row
        let blue = unit.vec_mul(&row); // per column
        let best = red.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let worst = blue.iter().copied().fold(f64::INFINITY, f64::min);
        let value = scale.restore(dot(&row, &red));
        Self { row, col, value, nash_conv: (best - worst).max(0.0) * scale.half * 2.0 }
    }
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

/// A Nash equilibrium of the zero-sum game in which the row player (red) receives `payoffs`.
///
/// # Errors
/// The linear program fails, or its answer has more regret than rounding explains.
pub fn solve(payoffs: &Matrix) -> Result<Equilibrium, GameError> {
    let scale = Scale::of(payoffs);
    if scale.half == 0.0 {
        let uniform = |n: usize| vec![1.0 / n as f64; n];
        return Ok(Equilibrium::of_profile(payoffs, uniform(payoffs.rows()), uniform(payoffs.cols())));
    }
    let unit = scale.apply(payoffs);
    let answer = Equilibrium::of_profile(&unit, maximin(&unit)?, minimax(&unit)?);
    if answer.nash_conv > CERTIFIED {
        return Err(GameError::LinearProgram(format!("NashConv {:e} of the payoff range is left", answer.nash_conv)));
    }
    Ok(Equilibrium::of_profile(payoffs, answer.row, answer.col))
}

/// Red's side on payoffs in [0, 1]: with x = y / Σ y, maximise the guarantee 1 / Σ y subject to (1 + A)ᵀ y ≥ 1.
///
/// Raising all payoffs by 1 makes the value positive, so that it needs neither a free variable nor an equality.
fn maximin(unit: &Matrix) -> Result<Vec<f64>, GameError> {
    let mut program = LinearProgram::minimise();
    let rows: Vec<_> = (0..unit.rows()).map(|_| program.non_negative(1.0)).collect();
    for col in 0..unit.cols() {
        let terms: Vec<_> = rows.iter().enumerate().map(|(row, &y)| (y, 1.0 + unit.get(row, col))).collect();
        program.at_least(&terms, 1.0);
    }
    Ok(normalised(&program.solve(&rows)?))
}

/// Blue's side, the dual: maximise Σ z subject to (1 + A) z ≤ 1.
fn minimax(unit: &Matrix) -> Result<Vec<f64>, GameError> {
    let mut program = LinearProgram::maximise();
    let cols: Vec<_> = (0..unit.cols()).map(|_| program.non_negative(1.0)).collect();
    for row in 0..unit.rows() {
        let terms: Vec<_> = cols.iter().zip(unit.row(row)).map(|(&z, &value)| (z, 1.0 + value)).collect();
        program.at_most(&terms, 1.0);
    }
    Ok(normalised(&program.solve(&cols)?))
}
