//! Transitive and cyclic: what ratings can explain of a game, and what they cannot.
//!
//! The Hodge decomposition (Jiang et al. 2011; Balduzzi et al. 2018) writes an antisymmetric game as grad r + C, with r_i
//! the mean payoff of agent i and C without divergence. Between pairs of policies the same split is the two-way analysis
//! of variance of the payoffs: M[r,b] = μ + ρ_r + κ_b + Z[r,b], ratings ρ for red and −κ for blue, and Z is what goes
//! round. For an antisymmetric matrix it *is* the Hodge split (κ = −ρ, μ = 0), so there is one formula for both.
//!
//! C is a sum of independent rotations (Schur form: blocks [0 λ; −λ 0]); their strengths are the singular values, each
//! twice, so the singular value decomposition serves square and rectangular games alike.

use crate::{GameError, Matrix};
use nalgebra::DMatrix;

/// A game taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// μ: mean payoff to red.
    pub mean: f64,
    /// ρ: how much more than the mean a row gets; sums to 0.
    pub red: Vec<f64>,
    /// −κ: how much less than the mean a column gives; sums to 0.
    pub blue: Vec<f64>,
    /// Z: `rows × cols`, every row and column sums to 0.
    pub cyclic: Matrix,
}

impl Split {
    /// Takes a game apart.
    ///
    /// # Errors
    /// The payoffs are so large that their sums are not finite.
    pub fn of(payoffs: &Matrix) -> Result<Self, GameError> {
        let average = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let mean = average(payoffs.as_slice());
        let red: Vec<f64> = (0..payoffs.rows()).map(|row| average(payoffs.row(row)) - mean).collect();
        let columns = payoffs.transpose();
        let blue: Vec<f64> = (0..columns.rows()).map(|col| mean - average(columns.row(col))).collect();
        let rest = |row: usize, col: usize| payoffs.get(row, col) - mean - red[row] + blue[col];
        let cyclic = Matrix::from_fn(payoffs.rows(), payoffs.cols(), rest)?;
        Ok(Self { mean, red, blue, cyclic })
    }

    /// ρ_r − (−κ)_b + μ: the part of a payoff that ratings explain.
    pub fn transitive(&self, row: usize, col: usize) -> f64 {
        self.mean + self.red[row] - self.blue[col]
    }

    /// Share of ‖P‖² that is transitive, P the game between agents; 1 for a game without any difference.
    pub fn transitive_share(&self) -> f64 {
        let squares = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>();
        let (m, n) = (self.red.len() as f64, self.blue.len() as f64);
        let transitive = n * squares(&self.red) + m * squares(&self.blue);
        let total = transitive + squares(self.cyclic.as_slice());
        if total > 0.0 { transitive / total } else { 1.0 }
    }

    /// Singular values of the cyclic part, descending. In an antisymmetric game each comes twice: one rotation has two.
    pub fn rotations(&self) -> Vec<f64> {
        let mut values: Vec<f64> = dense(&self.cyclic).singular_values().iter().copied().collect();
        values.sort_by(|a, b| b.total_cmp(a));
        values
    }

    /// The cyclic part cut to its `rank` strongest components.
    ///
    /// # Errors
    /// The decomposition did not converge.
    pub fn strongest(&self, rank: usize) -> Result<Matrix, GameError> {
        let failed = || GameError::NoConvergence { what: "singular value decomposition" };
        let parts = dense(&self.cyclic).try_svd(true, true, f64::EPSILON, 0).ok_or_else(failed)?;
        let (u, v_t) = (parts.u.ok_or_else(failed)?, parts.v_t.ok_or_else(failed)?);
        let mut order: Vec<usize> = (0..parts.singular_values.len()).collect();
        order.sort_by(|&a, &b| parts.singular_values[b].total_cmp(&parts.singular_values[a]));
        order.truncate(rank);
        let at = |row: usize, col: usize| {
            order.iter().map(|&k| u[(row, k)] * parts.singular_values[k] * v_t[(k, col)]).sum()
        };
        Matrix::from_fn(self.cyclic.rows(), self.cyclic.cols(), at)
    }
}

pub(super) fn dense(matrix: &Matrix) -> DMatrix<f64> {
    DMatrix::from_row_slice(matrix.rows(), matrix.cols(), matrix.as_slice())
}
