//! The one loop: play, solve, respond, admit, certify, until a reason to stop.
//!
//! Double oracle (McMahan, Gordon & Blum 2003) and PSRO (Lanctot et al. 2017) are the same loop with exact or learnt
//! responses; self-play and fictitious play are the same loop with another rule for the meta-strategies. So there is one
//! loop, generic over an [`Arena`] that plays entries and a [`BestResponseOracle`], and the algorithms are constructors
//! of [`Config`]. A matrix, a dialogue tree and language models run through it unchanged, which is how we know that the
//! last is right.
//!
//! The loop knows no clock, file or signal: budgets and Ctrl-C enter through [`Observer::should_stop`], and saving is
//! what an observer, arena or oracle does. It never judges a policy either: whether a response is admitted is the
//! oracle's verdict.

mod config;
mod meta_strategy;
mod record;
mod run;

pub use config::{Config, Order};
pub use record::{Iteration, ResponseRecord, StopReason, Verdict};

use crate::{Equilibrium, Estimate, GameError, MetaGame};
use run::Run;

/// Plays entries of the meta-game.
pub trait Arena<R, B> {
    /// What playing can fail at.
    type Error: From<GameError>;

    /// Smallest and largest return to red.
    fn payoff_range(&self) -> (f64, f64);

    /// Samples the entries that are missing or still uncertain, and records them in `game`.
    ///
    /// Called once before every solve with all policies, so that whole new rows and columns are one batch. Afterwards
    /// every entry must have at least one return.
    ///
    /// # Errors
    /// Whatever stops the playing; the loop ends with it.
    fn play(&mut self, iteration: usize, reds: &[R], blues: &[B], game: &mut MetaGame) -> Result<(), Self::Error>;
}

/// Finds responses to the opponent's mixture.
pub trait BestResponseOracle<R, B> {
    /// What a response can fail at.
    type Error: From<GameError>;

    /// A red policy against `state.equilibrium.col`.
    ///
    /// # Errors
    /// Whatever stops the search; the loop ends with it.
    fn respond_red(&mut self, state: &State<'_, R, B>) -> Result<Response<R>, Self::Error>;

    /// A blue policy against `state.equilibrium.row`.
    ///
    /// # Errors
    /// Whatever stops the search; the loop ends with it.
    fn respond_blue(&mut self, state: &State<'_, R, B>) -> Result<Response<B>, Self::Error>;
}

/// Where the loop stands when it asks for a response.
#[derive(Debug, Clone, Copy)]
pub struct State<'a, R, B> {
    /// Iteration, from 0.
    pub iteration: usize,
    /// Red population; one policy per row.
    pub reds: &'a [R],
    /// Blue population; one policy per column.
    pub blues: &'a [B],
    /// All entries played so far; every one has a return.
    pub game: &'a MetaGame,
    /// The meta-strategies to respond to, under the configured rule. Under rectified Nash those of one member of the own side
    /// and of the opponents that it beats.
    pub equilibrium: &'a Equilibrium,
}

/// A policy and what it is worth.
#[derive(Debug, Clone, PartialEq)]
pub struct Response<P> {
    /// The policy; dropped unless the verdict admits it.
    pub policy: P,
    /// What the responder gains by it, over the current value, against the opponent's mixture. Never negative for an
    /// exact best response; a lower bound on what the best one gains for a learnt response.
    pub gain: Estimate,
    /// Whether it enters the population.
    pub verdict: Verdict,
}

/// Watches the loop, and may end it.
pub trait Observer {
    /// Called at the end of every iteration.
    fn iteration(&mut self, record: &Iteration);

    /// Asked before every iteration; a reason ends the loop with the populations and meta-strategies of that moment. Not between
    /// the responses of one iteration: red's would stay unanswered.
    fn should_stop(&mut self) -> Option<StopReason>;
}

/// Watches nothing and never ends the loop.
impl Observer for () {
    fn iteration(&mut self, _record: &Iteration) {}

    fn should_stop(&mut self) -> Option<StopReason> {
        None
    }
}

/// Keeps all records and never ends the loop.
impl Observer for Vec<Iteration> {
    fn iteration(&mut self, record: &Iteration) {
        self.push(record.clone());
    }

    fn should_stop(&mut self) -> Option<StopReason> {
        None
    }
}

/// What the loop leaves behind.
#[derive(Debug, Clone, PartialEq)]
pub struct Solution<R, B> {
    /// Red population; one policy per row of `game`.
    pub reds: Vec<R>,
    /// Blue population; one policy per column.
    pub blues: Vec<B>,
    /// All entries.
    pub game: MetaGame,
    /// The final meta-strategies. After [`StopReason::Converged`] this is the profile whose gap is certified.
    pub equilibrium: Equilibrium,
    /// Iterations with at least one response.
    pub iterations: usize,
    /// Upper end of what both sides' oracles together can gain against `equilibrium`, from the last iteration that
    /// measured it; `None` if none did.
    pub gap: Option<f64>,
    /// Why the loop ended.
    pub stop_reason: StopReason,
}

/// Runs the loop from the given populations.
///
/// `game` is both arena and oracle, so that language models can share caches and a stored run can be replayed by one
/// memoising value. Convergence: the gap's upper bound, red's gain plus blue's at the upper ends of their intervals, is
/// at most `config.epsilon`. With exact oracles the gap is the NashConv of the whole game. With learnt ones it certifies
/// only against those oracles, and each gain's interval misses with 5 %, so the sum with at most 10 %.
///
/// # Errors
/// An empty population, whatever the arena or oracle fails at, an entry that the arena left unplayed, or a meta-game
/// that cannot be solved.
pub fn solve<R, B, G, E>(
    game: &mut G,
    reds: Vec<R>,
    blues: Vec<B>,
    config: &Config,
    observer: &mut impl Observer,
) -> Result<Solution<R, B>, E>
where
    G: Arena<R, B, Error = E> + BestResponseOracle<R, B, Error = E>,
    E: From<GameError>,
{
    let mut run = Run::new(game, reds, blues, config)?;
    loop {
        run.play_and_solve()?;
        let limit = (run.iteration == config.iterations).then_some(StopReason::Iterations);
        if let Some(reason) = observer.should_stop().or(limit) {
            return Ok(run.finish(reason));
        }
        let (record, stop) = match config.order {
            Order::Simultaneous => run.respond_together()?,
            Order::Alternating => run.respond_in_turn()?,
        };
        observer.iteration(&record);
        if let Some(reason) = stop {
            return Ok(run.finish(reason));
        }
    }
}
