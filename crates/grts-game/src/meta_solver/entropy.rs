//! The Nash equilibrium of maximum entropy.
//!
//! The equilibria of a zero-sum game are a product of two polytopes, so each side has its own maximum ([`crate::max_entropy`]).
//! Rows that the opponent's equilibrium strategy punishes are left out beforehand.
//!
//! Where payoffs are estimates, an equilibrium of the estimates is not worth more than any other profile within their
//! error, and a vertex puts much weight on the few policies that the sampling flattered. Allowed a regret of that size, the
//! same program spreads over all that are as good as can be told. A defender that another one beats or equals against every
//! attacker is not as good: what it leaves open, the mixture leaves open for nothing. An attacker of that kind may stay, since
//! it still shows the defender ways in.

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

/// The profile of largest entropy that guarantees each side the `value` of the game less `slack`: the same program with
/// pᵀ(M − v + slack) ≥ 0. So its NashConv is at most 2 `slack`. Dominated columns have no weight.
pub(crate) fn max_entropy_within(payoffs: &Matrix, value: f64, slack: f64) -> Equilibrium {
    let (low, high) = payoffs.range();
    let unit = (high - low).max(1.0);
    let (m, n) = (payoffs.rows(), payoffs.cols());
    let row = one_side(&DMatrix::from_fn(m, n, |i, j| (payoffs.get(i, j) - value + slack) / unit));
    let cols: Vec<usize> = (0..n).filter(|&j| !is_dominated(payoffs, j)).collect();
    let col = one_side(&DMatrix::from_fn(cols.len(), m, |j, i| (value + slack - payoffs.get(i, cols[j])) / unit));
    Equilibrium::of_profile(payoffs, normalised(&row), spread(&col, &cols, n))
}

/// Whether another column concedes less to some row and more to none.
fn is_dominated(payoffs: &Matrix, col: usize) -> bool {
    let differences = |other| (0..payoffs.rows()).map(move |row| payoffs.get(row, col) - payoffs.get(row, other));
    (0..payoffs.cols()).any(|other| differences(other).all(|d| d >= 0.0) && differences(other).any(|d| d > 0.0))
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

#[cfg(test)]
mod tests {
    use super::{max_entropy_within, one_side};
    use crate::stream::{StreamKey, unit};
    use crate::{Matrix, nash};
    use nalgebra::DMatrix;

    fn entropy(p: &[f64]) -> f64 {
        -p.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>()
    }

    #[test]
    fn within_a_slack_no_profile_nearby_has_a_larger_entropy_and_regrets_stay_inside() {
        let mut rng = StreamKey { seed: 11, iteration: 0, purpose: 0, entry: 0, episode: 0, turn: 0 }.rng();
        for case in 0..60 {
            let (m, n) = (1 + case % 9, 1 + case * 7 % 11);
            let payoffs = Matrix::from_fn(m, n, |_, _| 3.0 * unit(&mut rng) - 1.0).unwrap();
            let (value, slack) = (nash::solve(&payoffs).unwrap().value, 0.02 + 0.3 * unit(&mut rng));
            let found = max_entropy_within(&payoffs, value, slack);
            let kept = |p: &[f64]| payoffs.vec_mul(p).into_iter().all(|x| x >= value - slack - 1e-9);
            assert!(kept(&found.row), "case {case}: {found:?}");
            assert!(
                payoffs.mul_vec(&found.col).into_iter().all(|x| x <= value + slack + 1e-9),
                "case {case}: {found:?}"
            );
            for _ in 0..200 {
                let other: Vec<f64> = (0..m).map(|_| unit(&mut rng).powi(3)).collect();
                let (total, step) = (other.iter().sum::<f64>(), 0.5 * unit(&mut rng).powi(4));
                let moved: Vec<f64> = found.row.iter().zip(&other).map(|(p, o)| p + step * (o / total - p)).collect();
                assert!(!kept(&moved) || entropy(&moved) <= entropy(&found.row) + 1e-8, "case {case}: {moved:?}");
            }
        }
    }

    #[test]
    fn a_dominated_column_has_no_weight_whatever_the_slack_and_a_dominated_row_may_have() {
        // Column 1 concedes what column 0 does, and more to the last row; column 2 equals column 0.
        let payoffs = Matrix::from_rows(&[[0.2, 0.2, 0.2], [0.1, 0.1, 0.1], [0.1, 0.15, 0.1]]).unwrap();
        let found = max_entropy_within(&payoffs, 0.2, 0.5);
        assert_eq!(found.col, [0.5, 0.0, 0.5]);
        assert!(found.row[1] > 0.3, "{found:?}");
    }

    #[test]
    fn a_slack_above_every_regret_is_uniform() {
        assert_eq!(one_side(&DMatrix::from_element(4, 3, 0.5)), [0.25; 4]);
    }
}
