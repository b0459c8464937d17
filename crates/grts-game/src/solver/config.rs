//! What distinguishes one published algorithm from another, as data.
//!
//! Nothing here is a budget of tokens or time (the observer's business) or a setting of an oracle.

use crate::MetaSolver;
use serde::{Deserialize, Serialize};

/// Who responds to what inside one iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Both sides respond to the same meta-strategies.
    Simultaneous,
    /// Red responds, its entries are played and solved, then blue responds to a mixture that knows the new red.
    Alternating,
}

/// Settings of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Iterations after which the loop ends in any case.
    pub iterations: usize,
    /// Gap (in units of the return) at or below which the loop has converged.
    pub epsilon: f64,
    /// Rule for the meta-strategies. Uniform and latest count a response as often as it was given; rectified Nash asks one
    /// member of the support after the other to improve on those it beats, and so certifies nothing.
    pub meta_strategy: MetaSolver,
    /// What the Nash rule may leave to each side, in units of the return: of the profiles that guarantee the value less this
    /// much, the one of largest entropy is played. 0 is an equilibrium, at a vertex.
    pub slack: f64,
    /// Order of the responses.
    pub order: Order,
}

impl Config {
    /// Double oracle / PSRO: Nash meta-strategies, both sides respond at once.
    pub fn psro(iterations: usize, epsilon: f64) -> Self {
        Self { iterations, epsilon, meta_strategy: MetaSolver::Nash, slack: 0.0, order: Order::Simultaneous }
    }

    /// GRTS: Nash meta-strategies, blue responds to a mixture that already holds the new red. Its diversity terms live
    /// in the oracle.
    pub fn grts(iterations: usize, epsilon: f64) -> Self {
        Self { order: Order::Alternating, ..Self::psro(iterations, epsilon) }
    }

    /// Fictitious play (Brown 1951): responses to the average of all earlier responses.
    pub fn fictitious_play(iterations: usize, epsilon: f64) -> Self {
        Self { meta_strategy: MetaSolver::Uniform, ..Self::psro(iterations, epsilon) }
    }

    /// Self-play: latest against latest.
    pub fn self_play(iterations: usize, epsilon: f64) -> Self {
        Self { meta_strategy: MetaSolver::Latest, ..Self::psro(iterations, epsilon) }
    }

    /// One attacker trained against the initial blue, then blue trained against that attacker: one alternating round.
    pub fn single_attacker() -> Self {
        Self { order: Order::Alternating, ..Self::self_play(1, 0.0) }
    }
}
