//! The Nash equilibrium of maximum entropy.
//!
//! The equilibria of a zero-sum game are a product of two polytopes, so each side has its own maximum ([`crate::max_entropy`]).
//! Rows that the opponent's equilibrium strategy punishes are left out beforehand.

use crate::linear_program::normalised;
use crate::max_entropy::{Contest, Lots};
use crate::{Equilibrium, GameError, Matrix, nash};
use nalgebra::DMatrix;

/// Regret, of payoffs in [0, 1], from which on a policy is in no equilibrium.
const PUNISHED: f64 = 1e-9;

pub(super) fn max_entropy(payoffs: &Matrix) -> Result<(Vec<f64>, Vec<f64>), GameError> {
    let unit = nash::to_unit_range(payoffs);
    let Equilibrium { row, col, value, .. } = nash::solve(&unit)?;
    let gains = |i: usize, j: usize| unit.get(i, j) - value;
    let (of_rows, of_cols) = (unit.mul_vec(&col), unit.vec_mul(&row));
    let (m, n) = (unit.rows(), unit.cols());
    let rows: Vec<usize> = (0..m).filter(|&i| of_rows[i] >= value - PUNISHED).collect();
    let cols: Vec<usize> = (0..n).filter(|&j| of_cols[j] <= value + PUNISHED).collect();
    let red = one_side(&DMatrix::from_fn(rows.len(), n, |i, j| gains(rows[i], j)));
    let blue = one_side(&DMatrix::from_fn(cols.len(), m, |j, i| -gains(i, cols[j])));
    Ok((spread(&red, &rows, m), spread(&blue, &cols, n)))
}

fn one_side(gains: &DMatrix<f64>) -> Vec<f64> {
    let (members, opponents) = (Lots::single(gains.nrows()), Lots::single(gains.ncols()));
    Contest { gains, members: &members, opponents: &opponents }.solve()
}

fn spread(weights: &[f64], members: &[usize], n: usize) -> Vec<f64> {
    let mut all = vec![0.0; n];
    members.iter().zip(weights).for_each(|(&idx, &weight)| all[idx] = weight);
    normalised(&all)
}
