//! The loop's state between its steps: populations, meta-game, meta-strategies.
//!
//! The steps are here so that [`solve`](super::solve) reads as the algorithm. Responses that end the loop by converging
//! are not added to the populations: the certified profile would not be over them.

use super::config::Config;
use super::meta_strategy::MetaStrategy;
use super::{Arena, BestResponseOracle, Iteration, Response, ResponseRecord, Solution, State, StopReason, Verdict};
use crate::{Equilibrium, GameError, MetaGame, Player};

pub(super) struct Run<'a, R, B, G> {
    game: &'a mut G,
    config: &'a Config,
    reds: Vec<R>,
    blues: Vec<B>,
    meta_strategy: MetaStrategy,
    meta_game: MetaGame,
    equilibrium: Equilibrium,
    gap: Option<f64>,
    /// Iterations begun.
    pub(super) iteration: usize,
}

/// The record of an iteration, and the reason to end the loop after it.
pub(super) type Step = (Iteration, Option<StopReason>);

impl<'a, R, B, G, E> Run<'a, R, B, G>
where
    G: Arena<R, B, Error = E> + BestResponseOracle<R, B, Error = E>,
    E: From<GameError>,
{
    pub(super) fn new(game: &'a mut G, reds: Vec<R>, blues: Vec<B>, config: &'a Config) -> Result<Self, GameError> {
        for (is_empty, what) in [(reds.is_empty(), "red population"), (blues.is_empty(), "blue population")] {
            if is_empty {
                return Err(GameError::Empty { what });
            }
        }
        let mut meta_game = MetaGame::new(game.payoff_range())?;
        reds.iter().for_each(|_| _ = meta_game.add_row());
        blues.iter().for_each(|_| _ = meta_game.add_col());
        let meta_strategy = MetaStrategy::new(config, reds.len(), blues.len());
        let equilibrium = Equilibrium { row: Vec::new(), col: Vec::new(), value: 0.0, nash_conv: 0.0 };
        Ok(Self { game, config, reds, blues, meta_strategy, meta_game, equilibrium, gap: None, iteration: 0 })
    }

    /// Plays what is missing and recomputes the meta-strategies.
    pub(super) fn play_and_solve(&mut self) -> Result<(), E> {
        self.game.play(self.iteration, &self.reds, &self.blues, &mut self.meta_game)?;
        let payoffs = self.meta_game.payoffs()?;
        self.equilibrium = self.meta_strategy.profile(&payoffs)?;
        Ok(())
    }

    /// Both sides respond to the same meta-strategies.
    pub(super) fn respond_together(&mut self) -> Result<Step, E> {
        let red = self.respond_red()?;
        let blue = self.respond_blue()?;
        let gap = self.certified_gap(&red.record(), &blue.record(), 0.0);
        let step = self.conclude(red.record(), blue.record(), gap);
        if step.1.is_none() {
            self.admit_red(red);
            self.admit_blue(blue);
        }
        Ok(step)
    }

    /// Red responds and is admitted, its entries are played and solved, then blue responds.
    ///
    /// What both gains certify together is red's *new* mixture with blue's *old* one. With v the old value and v' the
    /// new one, that profile's NashConv is (v + g_R) − (v' − g_B); v' < v happens under rules other than Nash, and by
    /// sampling.
    pub(super) fn respond_in_turn(&mut self) -> Result<Step, E> {
        let before = self.equilibrium.clone();
        let response = self.respond_red()?;
        let red = response.record();
        self.admit_red(response);
        self.play_and_solve()?;
        let response = self.respond_blue()?;
        let blue = response.record();
        let gap = self.certified_gap(&red, &blue, (before.value - self.equilibrium.value).max(0.0));
        if self.converged(gap) {
            let row = self.equilibrium.row.clone();
            self.equilibrium = Equilibrium::of_profile(&self.meta_game.payoffs()?, row, before.col);
        }
        let step = self.conclude(red, blue, gap);
        if step.1.is_none() {
            self.admit_blue(response);
        }
        Ok(step)
    }

    fn respond_red(&mut self) -> Result<Response<R>, E> {
        let target = self.target(Player::Red)?;
        let Self { game, iteration, reds, blues, meta_game, .. } = self;
        game.respond_red(&State { iteration: *iteration, reds, blues, game: meta_game, equilibrium: &target })
    }

    fn respond_blue(&mut self) -> Result<Response<B>, E> {
        let target = self.target(Player::Blue)?;
        let Self { game, iteration, reds, blues, meta_game, .. } = self;
        game.respond_blue(&State { iteration: *iteration, reds, blues, game: meta_game, equilibrium: &target })
    }

    fn target(&self, player: Player) -> Result<Equilibrium, GameError> {
        self.meta_strategy.target(&self.meta_game.payoffs()?, &self.equilibrium, player, self.iteration)
    }

    fn admit_red(&mut self, response: Response<R>) {
        match response.verdict {
            Verdict::Rejected { .. } | Verdict::Redundant { .. } => {}
            Verdict::Duplicate { of } => self.meta_strategy.red.repeat(of),
            Verdict::Admitted => {
                self.reds.push(response.policy);
                self.meta_strategy.red.add();
                self.meta_game.add_row();
            }
        }
    }

    fn admit_blue(&mut self, response: Response<B>) {
        match response.verdict {
            Verdict::Rejected { .. } | Verdict::Redundant { .. } => {}
            Verdict::Duplicate { of } => self.meta_strategy.blue.repeat(of),
            Verdict::Admitted => {
                self.blues.push(response.policy);
                self.meta_strategy.blue.add();
                self.meta_game.add_col();
            }
        }
    }

    /// Upper end of both gains and of the value's `drop` between them; `None` if they certify nothing. A negative upper end
    /// (a learnt response worse than the mixture it answers) certifies no more than 0.
    fn certified_gap(&self, red: &ResponseRecord, blue: &ResponseRecord, drop: f64) -> Option<f64> {
        let feasible = |record: &ResponseRecord| !matches!(record.verdict, Verdict::Rejected { .. });
        let certified = self.meta_strategy.certifies() && feasible(red) && feasible(blue);
        certified.then(|| red.gain.high.max(0.0) + blue.gain.high.max(0.0) + drop)
    }

    fn converged(&self, gap: Option<f64>) -> bool {
        gap.is_some_and(|gap| gap <= self.config.epsilon)
    }

    /// Closes the iteration: its record, and why the loop ends with it, if it does.
    fn conclude(&mut self, red: ResponseRecord, blue: ResponseRecord, gap: Option<f64>) -> Step {
        let Equilibrium { row, col, value, nash_conv } = self.equilibrium.clone();
        let (num_reds, num_blues, index) = (row.len(), col.len(), self.iteration);
        let (red_strategy, blue_strategy) = (row, col);
        self.gap = gap.or(self.gap);
        self.iteration += 1;
        let record =
            Iteration { index, value, nash_conv, gap, red, blue, red_strategy, blue_strategy, num_reds, num_blues };
        (record, self.converged(gap).then_some(StopReason::Converged))
    }

    pub(super) fn finish(self, stop_reason: StopReason) -> Solution<R, B> {
        let Self { reds, blues, meta_game, equilibrium, iteration, gap, .. } = self;
        Solution { reds, blues, game: meta_game, equilibrium, iterations: iteration, gap, stop_reason }
    }
}

impl<P> Response<P> {
    fn record(&self) -> ResponseRecord {
        ResponseRecord { gain: self.gain, verdict: self.verdict.clone() }
    }
}
