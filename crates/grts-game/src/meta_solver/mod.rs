//! Meta-solvers by name: from the payoffs of a meta-game to a pair of meta-strategies.
//!
//! Each is a thin rule that cites its source; what they share is that payoffs are mapped to [0, 1] by their range first, so
//! that step sizes, temperatures and intensities mean the same in every game, and that the answer is an [`Equilibrium`]
//! whose regret is recomputed from the two strategies whatever found them. Only the Nash rules promise that it is 0. Ties
//! go to the lowest index, no rule draws at random, and so a curve repeats.

mod dynamics;
mod entropy;
mod quantal;

use crate::alpha_rank::{self, Selection};
use crate::regret::{Board, Learners, Rule};
use crate::{Equilibrium, GameError, Matrix, nash};
pub(crate) use entropy::max_entropy_within;
use serde::{Deserialize, Serialize};

/// A rule for the meta-strategies of a matrix game.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "solver", rename_all = "snake_case")]
pub enum MetaSolver {
    /// A Nash equilibrium at a vertex ([`nash::solve`]).
    Nash,
    /// The Nash equilibrium of maximum entropy, which is unique: Nash averaging (Balduzzi et al. 2018).
    MaxEntropyNash,
    /// Regret matching+ (Tammelin 2014), one side after the other, averages weighted by the step.
    RegretMatchingPlus {
        /// Updates of each side.
        steps: u32,
    },
    /// Fictitious play (Brown 1951), both sides at once from the first row and column.
    FictitiousPlay {
        /// Responses of each side.
        steps: u32,
    },
    /// Generalised weakened fictitious play (Leslie & Collins 2006): σ ← (1−αₜ)σ + αₜ BR(σ), αₜ = t^−`decay`, where BR is
    /// the logit response at the temperature `temperature`/√t, which is ε-best with ε ≤ temperature ln n → 0.
    WeakenedFictitiousPlay {
        /// Responses of each side.
        steps: u32,
        /// Above 0 and at most 1, so that Σ αₜ = ∞.
        decay: f64,
        /// At the first step, as a share of the payoff range.
        temperature: f64,
    },
    /// Projected replicator dynamics (Lanctot et al. 2017), average over the second half of the steps.
    ProjectedReplicator {
        /// Euler steps.
        steps: u32,
        /// Their length; payoffs are in [0, 1].
        step: f64,
        /// Every weight stays at least this over n + 1.
        exploration: f64,
    },
    /// Marginals of α-rank (Omidshafiei et al. 2019) with one population a side.
    AlphaRank {
        /// Ranking intensity, times the payoff range; `None` is the limit of an infinite one.
        alpha: Option<f64>,
        /// Size of each population.
        population: u32,
    },
    /// Logit quantal response equilibrium (McKelvey & Palfrey 1995): p ∝ exp(λ M q), q ∝ exp(−λ Mᵀ p).
    LogitQre {
        /// λ, times the payoff range.
        rationality: f64,
    },
    /// Every policy alike; in the loop as often as it was given as a response (fictitious play, Brown 1951).
    Uniform,
    /// The last policy only; in the loop the one given last (self-play).
    Latest,
    /// A Nash equilibrium; responses go against those opponents only that a policy beats or ties, [`rectified`]
    /// (Balduzzi et al. 2019); in the loop one member of the support after the other.
    RectifiedNash,
}

impl MetaSolver {
    /// All rules with the settings that their names stand for.
    pub const ALL: [Self; 11] = [
        Self::Nash,
        Self::MaxEntropyNash,
        Self::RegretMatchingPlus { steps: 10_000 },
        Self::FictitiousPlay { steps: 10_000 },
        Self::WeakenedFictitiousPlay { steps: 10_000, decay: 1.0, temperature: 0.1 },
        Self::ProjectedReplicator { steps: 20_000, step: 0.05, exploration: 1e-6 },
        Self::AlphaRank { alpha: None, population: 50 },
        Self::LogitQre { rationality: 50.0 },
        Self::Uniform,
        Self::Latest,
        Self::RectifiedNash,
    ];

    /// The name, as in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nash => "nash",
            Self::MaxEntropyNash => "max_entropy_nash",
            Self::RegretMatchingPlus { .. } => "regret_matching_plus",
            Self::FictitiousPlay { .. } => "fictitious_play",
            Self::WeakenedFictitiousPlay { .. } => "weakened_fictitious_play",
            Self::ProjectedReplicator { .. } => "projected_replicator",
            Self::AlphaRank { .. } => "alpha_rank",
            Self::LogitQre { .. } => "logit_qre",
            Self::Uniform => "uniform",
            Self::Latest => "latest",
            Self::RectifiedNash => "rectified_nash",
        }
    }

    /// The rule of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|solver| solver.name() == name)
    }

    /// Policies of each side that the rule can take, where there is a limit.
    pub fn most_policies(self) -> Option<usize> {
        matches!(self, Self::AlphaRank { .. }).then(|| alpha_rank::MOST_STATES.isqrt())
    }

    /// The meta-strategies, their value and their regret.
    ///
    /// # Errors
    /// A setting outside its range, a game too large for the rule, or [`nash::solve`]'s.
    pub fn solve(self, payoffs: &Matrix) -> Result<Equilibrium, GameError> {
        let (m, n) = (payoffs.rows(), payoffs.cols());
        let board = || Board::new(nash::to_unit_range(payoffs));
        let (row, col) = match self {
            Self::Nash | Self::RectifiedNash => return nash::solve(payoffs),
            Self::MaxEntropyNash => entropy::max_entropy(payoffs)?,
            Self::RegretMatchingPlus { steps } => {
                let board = board();
                let mut learners = Learners::new(&board, Rule { predictive: false, power: 1 });
                learners.run(&board, steps);
                learners.averages()
            }
            Self::FictitiousPlay { steps } => dynamics::fictitious_play(&board(), steps),
            Self::WeakenedFictitiousPlay { steps, decay, temperature } => {
                within("decay", decay, 0.0, 1.0)?;
                within("temperature", temperature, 0.0, f64::MAX)?;
                dynamics::weakened_fictitious_play(&board(), steps, decay, temperature)
            }
            Self::ProjectedReplicator { steps, step, exploration } => {
                within("step", step, 0.0, f64::MAX)?;
                within("exploration", exploration, 0.0, 1.0)?;
                dynamics::projected_replicator(&board(), steps, step, exploration)
            }
            Self::AlphaRank { alpha, population } => {
                within("alpha", alpha.unwrap_or(1.0), 0.0, f64::MAX)?;
                within("population", f64::from(population), 1.0, f64::MAX)?;
                let mass = alpha_rank::of_pairs(&nash::to_unit_range(payoffs), &Selection { alpha, population })?;
                alpha_rank::marginals(&mass)
            }
            Self::LogitQre { rationality } => {
                within("rationality", rationality, 0.0, 1e6)?;
                quantal::logit(&board(), rationality)
            }
            Self::Uniform => (vec![1.0 / m as f64; m], vec![1.0 / n as f64; n]),
            Self::Latest => (dynamics::pure(m, m - 1), dynamics::pure(n, n - 1)),
        };
        Ok(Equilibrium::of_profile(payoffs, row, col))
    }
}

/// Above `low` and at most `high`.
fn within(name: &str, value: f64, low: f64, high: f64) -> Result<(), GameError> {
    if value > low && value <= high {
        return Ok(());
    }
    let allowed = format!("above {low} and at most {high:e}");
    Err(GameError::Value { place: format!("`{name}`"), value, allowed })
}

/// For every row in the support of an equilibrium, the opponents that it beats or ties, weighted as in the equilibrium
/// and scaled to sum to 1: what its rectified response is trained against. Beating is against the value of the game,
/// where the source, which has symmetric games, has 0. Rows outside the support have no opponents; one of the support that
/// beats nobody, which rounding can do, has all of the mixture.
pub fn rectified(payoffs: &Matrix, equilibrium: &Equilibrium) -> Vec<Vec<f64>> {
    let (low, high) = payoffs.range();
    let least = equilibrium.value - 1e-12 * (high / 2.0 - low / 2.0);
    let opponents = |row: usize| {
        let beaten = payoffs.row(row).iter().zip(&equilibrium.col);
        let weights: Vec<f64> = beaten.map(|(payoff, weight)| if *payoff >= least { *weight } else { 0.0 }).collect();
        let total: f64 = weights.iter().sum();
        if total > 0.0 { weights.iter().map(|weight| weight / total).collect() } else { equilibrium.col.clone() }
    };
    let rows = equilibrium.row.iter().enumerate();
    rows.map(|(row, weight)| if *weight > 0.0 { opponents(row) } else { vec![0.0; payoffs.cols()] }).collect()
}
