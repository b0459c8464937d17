//! From the payoffs, and from what was given as a response so far, to the mixtures that are responded to.
//!
//! A rule is a [`MetaSolver`], which reads the payoffs alone. Three know more inside the loop. *Uniform* and *latest* count a
//! policy as often as it was given, also where the population already held it: only so are they fictitious play and
//! self-play. *Nash* starts from the basis of the game before it grew, and may be told to spread within a slack. Under *rectified Nash* each response is to the part
//! of the mixture that one member of the support beats.

use super::Config;
use crate::meta_solver::{max_entropy_within, rectified};
use crate::nash::{self, Basis};
use crate::{Equilibrium, GameError, Matrix, MetaSolver, Player};

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
        only(self.counts.len(), self.latest)
    }
}

fn only(n: usize, chosen: usize) -> Vec<f64> {
    (0..n).map(|idx| if idx == chosen { 1.0 } else { 0.0 }).collect()
}

/// A rule and what it remembers from one iteration to the next.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MetaStrategy {
    rule: MetaSolver,
    slack: f64,
    pub(super) red: Tally,
    pub(super) blue: Tally,
    basis: Basis,
}

impl MetaStrategy {
    pub(super) fn new(config: &Config, num_reds: usize, num_blues: usize) -> Self {
        let &Config { meta_strategy: rule, slack, .. } = config;
        Self { rule, slack, red: Tally::new(num_reds), blue: Tally::new(num_blues), basis: Basis::default() }
    }

    /// The profile that the rule puts on the meta-game.
    pub(super) fn profile(&mut self, payoffs: &Matrix) -> Result<Equilibrium, GameError> {
        let of = |row, col| Ok(Equilibrium::of_profile(payoffs, row, col));
        match self.rule {
            MetaSolver::Nash if self.slack > 0.0 => {
                let value = nash::solve_from(payoffs, &mut self.basis)?.value;
                Ok(max_entropy_within(payoffs, value, self.slack))
            }
            MetaSolver::Nash | MetaSolver::RectifiedNash => nash::solve_from(payoffs, &mut self.basis),
            MetaSolver::Uniform => of(self.red.uniform(), self.blue.uniform()),
            MetaSolver::Latest => of(self.red.only_latest(), self.blue.only_latest()),
            other => other.solve(payoffs),
        }
    }

    /// Whether responses are to the whole mixture, so that what they gain bounds what can be gained against it.
    pub(super) fn certifies(&self) -> bool {
        self.rule != MetaSolver::RectifiedNash
    }

    /// The profile that `player` improves on: `equilibrium`, or under rectified Nash one member of its support against
    /// the opponents that this member beats. Members take turns with the `iteration`.
    pub(super) fn target(
        &self,
        payoffs: &Matrix,
        equilibrium: &Equilibrium,
        player: Player,
        iteration: usize,
    ) -> Result<Equilibrium, GameError> {
        if self.certifies() {
            return Ok(equilibrium.clone());
        }
        let Equilibrium { row, col, .. } = equilibrium;
        let (own, beaten) = match player {
            Player::Red => (row, rectified(payoffs, equilibrium)),
            Player::Blue => {
                let mirrored = Matrix::from_fn(payoffs.cols(), payoffs.rows(), |j, i| -payoffs.get(i, j))?;
                let seen =
                    Equilibrium { row: col.clone(), col: row.clone(), value: -equilibrium.value, ..*equilibrium };
                (col, rectified(&mirrored, &seen))
            }
        };
        let support: Vec<usize> = (0..own.len()).filter(|&idx| own[idx] > 0.0).collect();
        let member = support[iteration % support.len()];
        let (alone, opponents) = (only(own.len(), member), beaten[member].clone());
        Ok(match player {
            Player::Red => Equilibrium::of_profile(payoffs, alone, opponents),
            Player::Blue => Equilibrium::of_profile(payoffs, opponents, alone),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, MetaStrategy};
    use crate::stream::{StreamKey, unit};
    use crate::{Equilibrium, Matrix, MetaSolver, Player};

    fn of(meta_strategy: MetaSolver, num_reds: usize, num_blues: usize) -> MetaStrategy {
        MetaStrategy::new(&Config { meta_strategy, ..Config::psro(1, 0.0) }, num_reds, num_blues)
    }

    #[test]
    fn slack_spreads_a_vertex_over_what_is_nearly_as_good() {
        // Rows 0 and 1 differ by less than the slack, and so do the columns; row 2 is far behind.
        let payoffs = Matrix::from_rows(&[[0.50, 0.51], [0.49, 0.48], [0.1, 0.1]]).unwrap();
        let of = |slack| MetaStrategy::new(&Config { slack, ..Config::psro(1, 0.0) }, 3, 2).profile(&payoffs).unwrap();
        let (vertex, spread) = (of(0.0), of(0.02));
        assert_eq!((vertex.row, vertex.col, vertex.nash_conv), (vec![1.0, 0.0, 0.0], vec![1.0, 0.0], 0.0));
        assert!(spread.row[1] > 0.4 && spread.row[2] < 0.05, "{spread:?}");
        assert!((spread.col[0] - 0.5).abs() < 1e-9, "{spread:?}");
        assert!(spread.nash_conv > 0.0 && spread.nash_conv <= 0.04 + 1e-12, "{spread:?}");
    }

    #[test]
    fn rules_read_the_tally() {
        let payoffs = Matrix::from_rows(&[[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]).unwrap();
        let profile = |rule| {
            let mut meta_strategy = of(rule, 2, 2);
            meta_strategy.red.add();
            meta_strategy.red.repeat(1);
            meta_strategy.profile(&payoffs).unwrap()
        };
        let uniform = profile(MetaSolver::Uniform);
        assert_eq!((uniform.row, uniform.col), (vec![0.25, 0.5, 0.25], vec![0.5, 0.5]));
        let latest = profile(MetaSolver::Latest);
        assert_eq!((latest.row, latest.col), (vec![0.0, 1.0, 0.0], vec![0.0, 1.0]));
        assert_eq!((latest.value, latest.nash_conv), (0.0, 1.0));
    }

    #[test]
    fn nash_starts_from_the_basis_of_the_game_before() {
        let mut rng = StreamKey { seed: 12, iteration: 0, purpose: 0, entry: 0, episode: 0, turn: 0 }.rng();
        let full = Matrix::from_fn(25, 25, |_, _| unit(&mut rng)).unwrap();
        let mut rule = of(MetaSolver::Nash, 10, 10);
        let guesses = (10..=25).map(|n| {
            rule.profile(&Matrix::from_fn(n, n, |i, j| full.get(i, j)).unwrap()).unwrap();
            rule.basis.effort().steps
        });
        let guesses: Vec<u32> = guesses.collect();
        assert!(guesses[0] > 0 && guesses[1..].iter().all(|steps| *steps == 0), "{guesses:?}");
    }

    #[test]
    fn rectified_members_of_the_support_take_turns_against_those_they_beat() {
        // Rock, paper, scissors; red's rock beats scissors, blue's rock does too.
        let payoffs = Matrix::from_rows(&[[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]).unwrap();
        let mut rule = of(MetaSolver::RectifiedNash, 3, 3);
        let nash = rule.profile(&payoffs).unwrap();
        let target = |player, iteration| rule.target(&payoffs, &nash, player, iteration).unwrap();
        let close = |found: &[f64], wanted: [f64; 3]| found.iter().zip(wanted).all(|(x, y)| (x - y).abs() < 1e-12);
        let red = target(Player::Red, 3);
        assert!(close(&red.row, [1.0, 0.0, 0.0]) && close(&red.col, [0.5, 0.0, 0.5]), "{red:?}");
        let blue = target(Player::Blue, 4);
        assert!(close(&blue.col, [0.0, 1.0, 0.0]) && close(&blue.row, [0.5, 0.5, 0.0]), "{blue:?}");
        let whole = of(MetaSolver::Nash, 3, 3).target(&payoffs, &nash, Player::Red, 1);
        assert_eq!(whole, Ok::<Equilibrium, _>(nash));
    }
}
