//! The distribution of largest entropy that loses to nobody: the one algorithm behind Nash averaging and Nash clusters.
//!
//! The equilibria of a zero-sum game are many as soon as policies resemble each other, and no linear program finds the one
//! that treats equals alike. It is max H(p) subject to Σᵢ pᵢ g(i, j) ≥ 0 for every opponent j, g(i, j) being what i gains
//! from j over the value. The dual has no constraint but λ ≥ 0: minimise ln Σᵢ exp(Σⱼ g(i, j) λⱼ), whose gradient is what p =
//! softmax(g λ) gains from j. Newton's method on the free λ (projected, Bertsekas 1982) takes a few dozen steps. A member of
//! no equilibrium is left out by λ growing without end along an equilibrium that punishes it (there is one: Goldman &
//! Tucker 1956); a step that may be doubled as long as that pays gets there soon.
//!
//! Members and opponents are *lots* of features: one each where they are rows and columns, two where they are pairs of
//! policies. A mixture of pairs matters through its weight per policy only, so n² pairs cost what 2 n policies do.

use nalgebra::{DMatrix, DVector};

/// Shortfall of a constraint that is rounding; gains are at most 1 in size.
const MET: f64 = 1e-13;
const MOST_STEPS: usize = 500;
/// Share of the Hessian's largest entry that is added where it is singular.
const RIDGE: f64 = 1e-13;
/// Opponents that may enter at once: of many that a mixture loses to, nearly all are dealt with by the first few.
const ENTRANTS: usize = 8;
/// Halvings, or doublings, of one step.
const LENGTHS: i32 = 60;

/// Sets of `width` features each.
pub(crate) struct Lots {
    width: usize,
    features: Vec<usize>, // [lot][width]
}

impl Lots {
    pub(crate) fn new(width: usize, features: Vec<usize>) -> Self {
        Self { width, features }
    }

    /// Every feature by itself.
    pub(crate) fn single(n: usize) -> Self {
        Self::new(1, (0..n).collect())
    }

    fn each(&self) -> std::slice::ChunksExact<'_, usize> {
        self.features.chunks_exact(self.width)
    }

    fn get(&self, lot: usize) -> &[usize] {
        &self.features[lot * self.width..(lot + 1) * self.width]
    }

    /// Sum of the features' values in each lot.
    pub(crate) fn gather(&self, values: &[f64]) -> DVector<f64> {
        let sums = self.each().map(|lot| lot.iter().map(|&feature| values[feature]).sum());
        DVector::from_iterator(self.features.len() / self.width, sums)
    }

    /// Weight of each of `n` features: that of the lots that have it.
    pub(crate) fn scatter(&self, weights: &DVector<f64>, n: usize) -> DVector<f64> {
        let mut sums = DVector::zeros(n);
        for (lot, weight) in self.each().zip(weights.iter()).filter(|(_, weight)| **weight != 0.0) {
            lot.iter().for_each(|&feature| sums[feature] += weight);
        }
        sums
    }
}

/// Who mixes against whom.
pub(crate) struct Contest<'a> {
    /// What a member's feature gains from an opponent's, over the value; at most 1 in size.
    pub(crate) gains: &'a DMatrix<f64>,
    pub(crate) members: &'a Lots,
    pub(crate) opponents: &'a Lots,
}

/// A point of the dual.
struct Dual {
    lambda: DVector<f64>, // per opponent
    objective: f64,
    strategy: DVector<f64>, // per member
    gradient: DVector<f64>, // per opponent: what the strategy gains from it
}

impl Contest<'_> {
    /// The mixture of members, of largest entropy among those that lose to no opponent, as far as there is one.
    pub(crate) fn solve(&self) -> Vec<f64> {
        let mut point = self.at(DVector::zeros(self.opponents.features.len() / self.opponents.width));
        for _ in 0..MOST_STEPS {
            let free = point.free();
            if free.iter().all(|&j| point.gradient[j].abs() <= MET) {
                break;
            }
            let direction = self.newton(&point, &free);
            let Some(next) = self.descend(&point, &free, &direction) else { break };
            point = next;
        }
        point.strategy.as_slice().to_vec()
    }

    fn at(&self, lambda: DVector<f64>) -> Dual {
        let (rows, cols) = self.gains.shape();
        let worth = self.gains * self.opponents.scatter(&lambda, cols);
        let scores = self.members.gather(worth.as_slice());
        let largest = scores.max();
        let weights = scores.map(|score| (score - largest).exp());
        let total = weights.sum();
        let strategy = weights / total;
        let mass = self.members.scatter(&strategy, rows);
        let gradient = self.opponents.gather(self.gains.tr_mul(&mass).as_slice());
        Dual { lambda, objective: largest + total.ln(), strategy, gradient }
    }

    /// The Newton step of the free multipliers, to the least value that their second-order model has where none is negative;
    /// the Hessian is the covariance of their gains under the strategy.
    fn newton(&self, point: &Dual, free: &[usize]) -> DVector<f64> {
        let share = 1.0 / self.members.width as f64;
        let mut centred = DMatrix::zeros(self.gains.nrows(), free.len()); // features × free
        let mut weighted = centred.clone();
        for (k, &opponent) in free.iter().enumerate() {
            let mut column = centred.column_mut(k);
            self.opponents.get(opponent).iter().for_each(|&feature| column += self.gains.column(feature));
            column.add_scalar_mut(-share * point.gradient[opponent]);
            let by_member = self.members.gather(centred.column(k).as_slice()).component_mul(&point.strategy);
            weighted.set_column(k, &self.members.scatter(&by_member, self.gains.nrows()));
        }
        let mut hessian = centred.tr_mul(&weighted);
        let ridge = RIDGE * (1.0 + hessian.diagonal().max());
        hessian.iter_mut().step_by(free.len() + 1).for_each(|x| *x += ridge);
        let of_free = |values: &DVector<f64>| DVector::from_fn(free.len(), |k, _| values[free[k]]);
        bounded_minimum(&hessian, &of_free(&point.gradient), &of_free(&point.lambda)) - of_free(&point.lambda)
    }

    /// The longest of the steps 1, ½, … that lowers the objective enough; a whole step is doubled, and bent at λ = 0, as long
    /// as that lowers it further. `None` at the limit of rounding.
    fn descend(&self, from: &Dual, free: &[usize], direction: &DVector<f64>) -> Option<Dual> {
        let step = |length: f64| {
            let mut lambda = from.lambda.clone();
            free.iter().zip(direction.iter()).for_each(|(&j, by)| lambda[j] = (lambda[j] + length * by).max(0.0));
            self.at(lambda)
        };
        let halved = (0..LENGTHS).map(|halvings| (halvings, step(0.5_f64.powi(halvings))));
        let (halvings, mut found) = halved.into_iter().find(|(_, next)| next.improves(from))?;
        if halvings == 0 {
            let doubled = (1..LENGTHS).map(|doublings| step(2.0_f64.powi(doublings)));
            for next in doubled {
                if !(next.objective < found.objective && next.improves(from)) {
                    break;
                }
                found = next;
            }
        }
        Some(found)
    }
}

/// The x ≥ 0 with the least g·(x − from) + ½ (x − from)ᵀ H (x − from), by the active-set method of Lawson & Hanson (1974):
/// from a feasible point towards the minimum of the numbers that are not held at 0, as far as none turns negative.
fn bounded_minimum(hessian: &DMatrix<f64>, gradient: &DVector<f64>, from: &DVector<f64>) -> DVector<f64> {
    let n = from.len();
    let (mut x, mut held) = (from.clone(), vec![false; n]);
    for _ in 0..3 * n + 10 {
        let slopes = gradient + hessian * (&x - from);
        let moving: Vec<usize> = (0..n).filter(|&k| !held[k]).collect();
        let part = hessian.select_rows(&moving).select_columns(&moving);
        let Some(factor) = part.cholesky() else { return x };
        let step = factor.solve(&-slopes.select_rows(&moving));
        let lengths =
            moving.iter().zip(step.iter()).filter(|(k, by)| x[**k] + **by < 0.0).map(|(&k, by)| (k, -x[k] / by));
        match lengths.min_by(|a, b| a.1.total_cmp(&b.1)) {
            Some((blocking, length)) => {
                moving.iter().zip(step.iter()).for_each(|(&k, by)| x[k] = (x[k] + length * by).max(0.0));
                (x[blocking], held[blocking]) = (0.0, true);
            }
            None => {
                moving.iter().zip(step.iter()).for_each(|(&k, by)| x[k] += by);
                let slopes = gradient + hessian * (&x - from);
                let wrong =
                    (0..n).filter(|&k| held[k] && slopes[k] < -MET).min_by(|&a, &b| slopes[a].total_cmp(&slopes[b]));
                let Some(released) = wrong else { return x };
                held[released] = false;
            }
        }
    }
    x
}

impl Dual {
    /// Opponents whose multiplier may move: those that have one, and the first that the strategy loses most to.
    fn free(&self) -> Vec<usize> {
        let mut entering: Vec<usize> =
            (0..self.lambda.len()).filter(|&j| self.lambda[j] == 0.0 && self.gradient[j] < 0.0).collect();
        if entering.len() > ENTRANTS {
            entering.select_nth_unstable_by(ENTRANTS, |&a, &b| self.gradient[a].total_cmp(&self.gradient[b]));
            entering.truncate(ENTRANTS);
        }
        let mut free: Vec<usize> = (0..self.lambda.len()).filter(|&j| self.lambda[j] > 0.0).chain(entering).collect();
        free.sort_unstable();
        free
    }

    /// Whether the objective is lower by enough. Where the change that is hoped for is within its rounding, clearly smaller
    /// violations are the better witness.
    fn improves(&self, from: &Self) -> bool {
        let slope = (&self.lambda - &from.lambda).dot(&from.gradient);
        let rounding = 4.0 * f64::EPSILON * (1.0 + self.lambda.sum().max(from.lambda.sum()));
        if slope < -rounding {
            return self.objective <= from.objective + 1e-4 * slope;
        }
        self.objective <= from.objective + rounding && self.violation() < 0.9 * from.violation()
    }

    fn violation(&self) -> f64 {
        let sizes = self.lambda.iter().zip(self.gradient.iter());
        sizes.map(|(&weight, &slope)| if weight > 0.0 { slope.abs() } else { (-slope).max(0.0) }).fold(0.0, f64::max)
    }
}
