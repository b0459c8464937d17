//! The shape of a run's meta-game: stored payoffs in, a plain record out.
//!
//! It reads records only, so a run can be looked at while it is resumed elsewhere as a copy, or years later without its
//! models. What the measures mean is said in `grts_game::geometry`; nothing is measured here.

use crate::error::Error;
use crate::store::RunDir;
use grts_game::geometry::{Settings, Survey, survey};
use grts_game::rules::Rules;
use grts_game::{GameError, MetaGame, Moments};

/// The shape of the meta-game of a run, with bootstrap intervals.
///
/// # Errors
/// [`Error::Run`] if the run has no payoffs yet or some are missing, [`Error::Store`] if they cannot be read.
pub fn of_run(run: &RunDir, settings: &Settings) -> Result<Survey, Error> {
    let in_run = |error: GameError| Error::Run {
        path: run.path().to_owned(),
        problem: format!("has no complete payoff matrix ({error})"),
        hint: format!("let it play on: `grts resume {}`", run.path().display()),
    };
    survey(&meta_game(run, in_run)?, settings).map_err(in_run)
}

/// The meta-game as the run's records have it. Every record is a sample of its own, so they add up.
fn meta_game(run: &RunDir, in_run: impl Fn(GameError) -> Error) -> Result<MetaGame, Error> {
    let played = &run.manifest().scenario.game;
    let rules = Rules::new(played.turns, played.aggregator, played.threshold).map_err(&in_run)?;
    let mut game = MetaGame::new(rules.payoff_range()).map_err(&in_run)?;
    for key in run.unit_keys()? {
        for entry in run.records(&key)?.unwrap_or_default().entries {
            let (row, col) = (entry.row as usize, entry.col as usize);
            (game.num_rows()..=row).for_each(|_| _ = game.add_row());
            (game.num_cols()..=col).for_each(|_| _ = game.add_col());
            let sample = Moments { count: u64::from(entry.count), mean: entry.mean, m2: entry.m2 };
            game.merge(row, col, sample).map_err(&in_run)?;
        }
    }
    Ok(game)
}
