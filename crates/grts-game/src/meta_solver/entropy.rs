//! The Nash equilibrium of maximum entropy.
//!
//! The equilibria of a zero-sum game are a product of two polytopes, so each side has its own maximum. With the value v
//! known, red's is max H(p) subject to pᵀ(M − v) ≥ 0. The dual has no constraint but λ ≥ 0: minimise ln Σᵢ exp((M−v)λ)ᵢ,
//! whose gradient is pᵀ(M − v) at p = softmax((M−v)λ). Newton's method on the free λ (projected, Bertsekas 1982) takes a few
//! dozen steps. Rows that the opponent's equilibrium strategy punishes are left out beforehand; a row that is in no
//! equilibrium without being punished by that strategy falls by a factor of e a step.
//!
//! Where payoffs are estimates, an equilibrium of the estimates is not worth more than any other profile within their
//! error, and a vertex puts much weight on the few policies that the sampling flattered. Allowed a regret of that size, the
//! same program spreads over all that are as good as can be told.

use super::dynamics::softmax;
use crate::linear_program::normalised;
use crate::{Equilibrium, GameError, Matrix, nash};
use nalgebra::{DMatrix, DVector};

/// Regret, of payoffs in [0, 1], from which on a policy is in no equilibrium.
const PUNISHED: f64 = 1e-9;
/// Shortfall of a constraint that is rounding.
const MET: f64 = 1e-13;
const MOST_STEPS: usize = 500;

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
/// pᵀ(M − v + slack) ≥ 0. So its NashConv is at most 2 `slack`.
pub(crate) fn max_entropy_within(payoffs: &Matrix, value: f64, slack: f64) -> Equilibrium {
    let (low, high) = payoffs.range();
    let unit = (high - low).max(1.0);
    let (m, n) = (payoffs.rows(), payoffs.cols());
    let row = one_side(&DMatrix::from_fn(m, n, |i, j| (payoffs.get(i, j) - value + slack) / unit));
    let col = one_side(&DMatrix::from_fn(n, m, |j, i| (value + slack - payoffs.get(i, j)) / unit));
    Equilibrium::of_profile(payoffs, normalised(&row), normalised(&col))
}

fn spread(weights: &[f64], members: &[usize], n: usize) -> Vec<f64> {
    let mut all = vec![0.0; n];
    members.iter().zip(weights).for_each(|(&idx, &weight)| all[idx] = weight);
    normalised(&all)
}

/// The distribution p of largest entropy with pᵀ `gains` ≥ 0.
fn one_side(gains: &DMatrix<f64>) -> Vec<f64> {
    let mut lambda = DVector::zeros(gains.ncols());
    let mut state = Dual::at(gains, &lambda);
    for _ in 0..MOST_STEPS {
        let free: Vec<usize> = (0..lambda.len()).filter(|&j| lambda[j] > 0.0 || state.gradient[j] < 0.0).collect();
        if free.iter().all(|&j| state.gradient[j].abs() <= MET) {
            break;
        }
        let direction = newton(gains, &state, &free);
        let Some((next, found)) = descend(gains, &lambda, &state, &free, &direction) else { break };
        (lambda, state) = (next, found);
    }
    state.strategy.as_slice().to_vec()
}

struct Dual {
    objective: f64,
    strategy: DVector<f64>,
    gradient: DVector<f64>,
}

impl Dual {
    fn at(gains: &DMatrix<f64>, lambda: &DVector<f64>) -> Self {
        let scores = gains * lambda;
        let largest = scores.max();
        let objective = largest + scores.iter().map(|score| (score - largest).exp()).sum::<f64>().ln();
        let strategy = DVector::from_vec(softmax(scores.iter().copied()));
        let gradient = gains.tr_mul(&strategy);
        Self { objective, strategy, gradient }
    }
}

/// The Newton step of the free multipliers; the Hessian is the covariance of their gains under the strategy.
fn newton(gains: &DMatrix<f64>, state: &Dual, free: &[usize]) -> DVector<f64> {
    let centred = DMatrix::from_fn(gains.nrows(), free.len(), |i, k| {
        state.strategy[i].sqrt() * (gains[(i, free[k])] - state.gradient[free[k]])
    });
    let mut hessian = centred.tr_mul(&centred);
    let ridge = 1e-13 * (1.0 + hessian.diagonal().max());
    let gradient = DVector::from_fn(free.len(), |k, _| -state.gradient[free[k]]);
    let mut weight = ridge;
    loop {
        hessian.iter_mut().step_by(free.len() + 1).for_each(|x| *x += weight);
        if let Some(factor) = hessian.clone().cholesky() {
            return factor.solve(&gradient);
        }
        weight *= 10.0;
    }
}

/// The longest of the steps 1, ½, … that lowers the objective enough, bent at λ = 0. `None` at the limit of rounding.
fn descend(
    gains: &DMatrix<f64>,
    lambda: &DVector<f64>,
    state: &Dual,
    free: &[usize],
    direction: &DVector<f64>,
) -> Option<(DVector<f64>, Dual)> {
    let mut length = 1.0;
    for _ in 0..60 {
        let mut next = lambda.clone();
        free.iter().zip(direction.iter()).for_each(|(&j, step)| next[j] = (next[j] + length * step).max(0.0));
        let slope = (&next - lambda).dot(&state.gradient);
        let found = Dual::at(gains, &next);
        let lowers = found.objective <= state.objective + 1e-4 * slope;
        // Near the minimum the objective is flat to rounding, and a shorter gradient is the better witness.
        let flattens =
            found.objective <= state.objective + 1e-15 && violation(&found, &next) < violation(state, lambda);
        if lowers && slope < 0.0 || flattens {
            return Some((next, found));
        }
        length /= 2.0;
    }
    None
}

fn violation(state: &Dual, lambda: &DVector<f64>) -> f64 {
    let sizes = lambda.iter().zip(state.gradient.iter());
    sizes.map(|(&weight, &slope)| if weight > 0.0 { slope.abs() } else { (-slope).max(0.0) }).fold(0.0, f64::max)
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
    fn a_slack_above_every_regret_is_uniform() {
        assert_eq!(one_side(&DMatrix::from_element(4, 3, 0.5)), [0.25; 4]);
    }
}
