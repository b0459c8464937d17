//! What distinguishes one published algorithm from another, as data.
//!
//! Nothing here is a budget of tokens or time (the observer's business) or a setting of an oracle.

use crate::meta_solver::entropy::max_entropy_within;
use crate::{Equilibrium, GameError, Matrix, nash};
use serde::{Deserialize, Serialize};

/// How populations become meta-strategies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetaStrategy {
    /// A Nash equilibrium of the meta-game (double oracle, PSRO).
    Nash,
    /// The average of all responses so far, a repeated one counted as often as it was given (fictitious play).
    Uniform,
    /// The latest response only (self-play).
    Latest,
}

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
    /// Rule for the meta-strategies.
    pub meta_strategy: MetaStrategy,
    /// What the Nash rule may leave to each side, in units of the return: of the profiles that guarantee the value less this
    /// much, the one of largest entropy is played. 0 is an equilibrium, at a vertex.
    pub slack: f64,
    /// Order of the responses.
    pub order: Order,
}

impl Config {
    /// Double oracle / PSRO: Nash meta-strategies, both sides respond at once.
    pub fn psro(iterations: usize, epsilon: f64) -> Self {
        Self { iterations, epsilon, meta_strategy: MetaStrategy::Nash, slack: 0.0, order: Order::Simultaneous }
    }

    /// GRTS: Nash meta-strategies, blue responds to a mixture that already holds the new red. Its diversity terms live
    /// in the oracle.
    pub fn grts(iterations: usize, epsilon: f64) -> Self {
        Self { order: Order::Alternating, ..Self::psro(iterations, epsilon) }
    }

    /// Fictitious play (Brown 1951): responses to the average of all earlier responses.
    pub fn fictitious_play(iterations: usize, epsilon: f64) -> Self {
        Self { meta_strategy: MetaStrategy::Uniform, ..Self::psro(iterations, epsilon) }
    }

    /// Self-play: latest against latest.
    pub fn self_play(iterations: usize, epsilon: f64) -> Self {
        Self { meta_strategy: MetaStrategy::Latest, ..Self::psro(iterations, epsilon) }
    }

    /// One attacker trained against the initial blue, then blue trained against that attacker: one alternating round.
    pub fn single_attacker() -> Self {
        Self { order: Order::Alternating, ..Self::self_play(1, 0.0) }
    }
}

/// How often each policy of a population was given as a response, and which came last.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tally {
    counts: Vec<u64>,
    latest: usize,
}

impl Tally {
    /// Initial policies count once each.
    pub(super) fn new(num_policies: usize) -> Self {
        Self { counts: vec![1; num_policies], latest: num_policies.saturating_sub(1) }
    }

    /// A new policy, which gets the next index.
    pub(super) fn add(&mut self) {
        self.latest = self.counts.len();
        self.counts.push(1);
    }

    /// An old policy given again.
    pub(super) fn repeat(&mut self, idx: usize) {
        if let Some(count) = self.counts.get_mut(idx) {
            *count += 1;
            self.latest = idx;
        }
    }

    fn uniform(&self) -> Vec<f64> {
        let total: u64 = self.counts.iter().sum();
        self.counts.iter().map(|&count| count as f64 / total as f64).collect()
    }

    fn only_latest(&self) -> Vec<f64> {
        (0..self.counts.len()).map(|idx| if idx == self.latest { 1.0 } else { 0.0 }).collect()
    }
}

impl Config {
    /// The profile that the rule puts on the meta-game.
    pub(super) fn profile(&self, payoffs: &Matrix, red: &Tally, blue: &Tally) -> Result<Equilibrium, GameError> {
        let of = |row, col| Ok(Equilibrium::of_profile(payoffs, row, col));
        match self.meta_strategy {
            MetaStrategy::Nash if self.slack > 0.0 => max_entropy_within(payoffs, self.slack),
            MetaStrategy::Nash => nash::solve(payoffs),
            MetaStrategy::Uniform => of(red.uniform(), blue.uniform()),
            MetaStrategy::Latest => of(red.only_latest(), blue.only_latest()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Tally};
    use crate::Matrix;

    #[test]
    fn rules_read_the_tally() {
        let payoffs = Matrix::from_rows(&[[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]).unwrap();
        let (mut red, blue) = (Tally::new(2), Tally::new(2));
        red.add();
        red.repeat(1);
        let uniform = Config::fictitious_play(1, 0.0).profile(&payoffs, &red, &blue).unwrap();
        assert_eq!((uniform.row, uniform.col), (vec![0.25, 0.5, 0.25], vec![0.5, 0.5]));
        let latest = Config::self_play(1, 0.0).profile(&payoffs, &red, &blue).unwrap();
        assert_eq!((latest.row, latest.col), (vec![0.0, 1.0, 0.0], vec![0.0, 1.0]));
        assert_eq!((latest.value, latest.nash_conv), (0.0, 1.0));
    }

    #[test]
    fn slack_spreads_a_vertex_over_what_is_nearly_as_good() {
        // Rows 0 and 1 differ by less than the slack, row 2 is far behind.
        let payoffs = Matrix::from_rows(&[[0.50, 0.51], [0.49, 0.50], [0.1, 0.1]]).unwrap();
        let tally = (Tally::new(3), Tally::new(2));
        let of = |slack| Config { slack, ..Config::psro(1, 0.0) }.profile(&payoffs, &tally.0, &tally.1).unwrap();
        let (vertex, spread) = (of(0.0), of(0.02));
        assert_eq!((vertex.row, vertex.col, vertex.nash_conv), (vec![1.0, 0.0, 0.0], vec![1.0, 0.0], 0.0));
        assert!(spread.row[1] > 0.4 && spread.row[2] < 0.05, "{spread:?}");
        assert!((spread.col[0] - 0.5).abs() < 1e-9, "{spread:?}");
        assert!(spread.nash_conv > 0.0 && spread.nash_conv <= 0.04 + 1e-12, "{spread:?}");
    }
}
