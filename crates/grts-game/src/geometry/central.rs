//! The maximum-entropy equilibrium of a symmetric game, as the end of the logit path.
//!
//! At temperature τ the quantal response x ∝ exp(P x / τ) exists and is unique, its entropy is at least that of every
//! Nash equilibrium, and for τ → 0 it tends to the equilibrium of largest entropy (McKelvey & Palfrey 1995; in a zero-sum
//! game by comparing the two sides' inequalities). That one has the largest support of all, which is what a Nash cluster
//! is, and no linear program finds it when equilibria are many, as they always are between pairs.
//!
//! Newton's method follows the path in logits per *feature*: agents enter through sums only. The Jacobian is τ − J C with
//! J antisymmetric and C a covariance, so its eigenvalues have real part τ and it is never singular. Features that have
//! lost all weight leave the system, and what is solved shrinks to the support.
//!
//! Between pairs, red's logits carry +v/2τ and blue's −v/2τ, v the value of the game: large numbers that cancel, and when it
//! is cold rounding is all that is left. Every temperature therefore begins by taking the value out.

use super::agents::Agents;
use crate::GameError;
use nalgebra::{DMatrix, DVector};

/// Temperatures, in units of the largest payoff: from where everybody plays alike to where the answer is read. Weights are
/// off by about the last one.
const HOTTEST: f64 = 1.0;
const COLDEST: f64 = 1e-6;
const COOLING: f64 = 0.2;

/// The gentlest cooling that is tried before the path counts as lost.
const GENTLEST: f64 = 0.98;

/// A point is on the path when Newton's step moves no weight by more than this share, and no logit without weight by more
/// than that many units.
const SETTLED: f64 = 1e-7;
const UNWEIGHTED: f64 = 1e-3;

/// Newton steps at one temperature, and halvings of one step.
const STEPS: usize = 60;
const HALVINGS: usize = 20;

/// Weight of a feature below which it no longer moves anything.
const WEIGHTLESS: f64 = 1e-25;

/// Largest regret, in units of the largest payoff, of an answer.
const CERTIFIED: f64 = 1e-4;

/// Mixture of the agents `alive` (one weight each) that is an equilibrium of the game between them, of largest entropy.
///
/// # Errors
/// The path was lost: the mixture has regret.
pub(super) fn equilibrium(agents: &Agents, alive: &[usize]) -> Result<Vec<f64>, GameError> {
    let n = agents.interaction().rows();
    let raw = DMatrix::from_row_slice(n, n, agents.interaction().as_slice());
    let scale = raw.amax();
    if scale == 0.0 {
        return Ok(vec![1.0 / alive.len() as f64; alive.len()]);
    }
    let mut sides = DVector::zeros(n);
    if agents.are_pairs() {
        alive
            .iter()
            .for_each(|&agent| agents.features(agent).iter().zip([1.0, -1.0]).for_each(|(&at, side)| sides[at] = side));
    }
    let path = Path { agents, alive, interaction: raw / scale, sides };
    let point = path.follow()?;
    let worth = &path.interaction * &point.mass;
    let regret = alive.iter().map(|&agent| sum_over(agents, agent, &worth)).fold(f64::NEG_INFINITY, f64::max);
    if regret > CERTIFIED {
        return Err(GameError::LostPath { regret, temperature: COLDEST });
    }
    Ok(point.weights)
}

struct Path<'a> {
    agents: &'a Agents,
    alive: &'a [usize],
    interaction: DMatrix<f64>, // features × features, largest entry 1
    sides: DVector<f64>,       // per feature: 1 for red's, −1 for blue's, 0 where agents are no pairs
}

/// A point near the path.
struct Point {
    logits: DVector<f64>,   // per feature
    weights: Vec<f64>,      // per agent alive
    mass: DVector<f64>,     // per feature: weight of the agents that have it
    residual: DVector<f64>, // τ · logits − J · mass + half the value, by side; 0 on the path
}

/// Newton's step.
struct Step {
    logits: DVector<f64>, // per feature
    moved: f64,           // largest change of a logit with weight
}

fn sum_over(agents: &Agents, agent: usize, values: &DVector<f64>) -> f64 {
    agents.features(agent).iter().map(|&feature| values[feature]).sum()
}

impl Path<'_> {
    /// From hot to cold; where Newton's method does not reach the next temperature, a nearer one is tried.
    fn follow(&self) -> Result<Point, GameError> {
        let (mut temperature, mut cooling) = (HOTTEST, COOLING);
        let mut point = self.at(DVector::zeros(self.interaction.nrows()), HOTTEST, 0.0);
        while temperature > COLDEST {
            let colder = temperature * cooling;
            if let Some(next) = self.settle(&point, colder) {
                (point, temperature, cooling) = (next, colder, (cooling * cooling).max(COOLING));
            } else if cooling < GENTLEST {
                cooling = cooling.sqrt();
            } else {
                return Err(GameError::LostPath { regret: point.residual.amax(), temperature });
            }
        }
        Ok(point)
    }

    fn at(&self, logits: DVector<f64>, temperature: f64, half_value: f64) -> Point {
        let energies: Vec<f64> = self.alive.iter().map(|&agent| sum_over(self.agents, agent, &logits)).collect();
        let top = energies.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut weights: Vec<f64> = energies.iter().map(|energy| (energy - top).exp()).collect();
        let total: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= total);
        let mut mass = DVector::zeros(logits.len());
        for (&agent, weight) in self.alive.iter().zip(&weights) {
            self.agents.features(agent).iter().for_each(|&feature| mass[feature] += weight);
        }
        let residual = &logits * temperature - &self.interaction * &mass + &self.sides * half_value;
        Point { logits, weights, mass, residual }
    }

    /// Newton's method at one temperature, each step halved until it brings the point nearer; `None` if it does not settle.
    fn settle(&self, from: &Point, temperature: f64) -> Option<Point> {
        let worth = &self.interaction * &from.mass;
        let half_value = 0.5 * worth.component_mul(&self.sides).dot(&from.mass);
        let mut point = self.at(from.logits.clone(), temperature, half_value);
        for _ in 0..STEPS {
            let Step { logits, moved } = self.step(&point, temperature)?;
            let before = point.residual.amax();
            if moved <= SETTLED && before <= UNWEIGHTED * temperature {
                return Some(point);
            }
            let shorter = |halvings: usize| &point.logits + &logits * 0.5_f64.powi(halvings as i32);
            let mut nearer = (0..HALVINGS).map(|halvings| self.at(shorter(halvings), temperature, half_value));
            point = nearer.find(|next| next.residual.amax() < before)?;
        }
        None
    }

    /// (τ − J C) step = −residual, with the features without weight eliminated.
    fn step(&self, point: &Point, temperature: f64) -> Option<Step> {
        let heavy: Vec<usize> = (0..point.mass.len()).filter(|&feature| point.mass[feature] > WEIGHTLESS).collect();
        let coupling = self.interaction.select_columns(&heavy) * self.covariance(point, &heavy); // features × heavy
        let system = DMatrix::identity(heavy.len(), heavy.len()) * temperature - coupling.select_rows(&heavy);
        let known = -DVector::from_iterator(heavy.len(), heavy.iter().map(|&feature| point.residual[feature]));
        let solved = system.lu().solve(&known)?;
        let mut logits = (coupling * &solved - &point.residual) / temperature;
        heavy.iter().zip(solved.iter()).for_each(|(&feature, &by)| logits[feature] = by);
        logits.iter().all(|by| by.is_finite()).then(|| Step { logits, moved: solved.amax() })
    }

    /// Covariance of the features under the agents' weights.
    fn covariance(&self, point: &Point, heavy: &[usize]) -> DMatrix<f64> {
        let mut place = vec![None; point.mass.len()];
        heavy.iter().enumerate().for_each(|(at, &feature)| place[feature] = Some(at));
        let mut covariance =
            DMatrix::from_fn(heavy.len(), heavy.len(), |a, b| -point.mass[heavy[a]] * point.mass[heavy[b]]);
        for (&agent, weight) in self.alive.iter().zip(&point.weights) {
            let places = || self.agents.features(agent).iter().filter_map(|&feature| place[feature]);
            places().for_each(|a| places().for_each(|b| covariance[(a, b)] += weight));
        }
        covariance
    }
}
