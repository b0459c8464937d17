//! The shape of a meta-game, a run's or a file's: payoffs in, a plain record out.
//!
//! What the measures mean is said in `grts_game::geometry`; nothing is measured here.

use crate::error::Error;
use crate::exchange::GameTable;
use crate::meta_game;
use crate::store::RunDir;
use grts_game::geometry::{Settings, Survey, survey, survey_exact};
use grts_game::{GameError, MetaGame, Moments};

/// The shape of the meta-game of a run, with bootstrap intervals.
///
/// # Errors
/// [`Error::Run`] if the run has no payoffs yet or some are missing, [`Error::Store`] if they cannot be read.
pub fn of_run(run: &RunDir, settings: &Settings) -> Result<Survey, Error> {
    let recorded = meta_game::of_run(run)?;
    survey(&recorded.game, settings).map_err(|error| Error::Run {
        path: run.path().to_owned(),
        problem: format!("has payoffs whose shape cannot be computed ({error})"),
        hint: "report this with the game that `grts export RUN --meta-game FILE` writes".to_owned(),
    })
}

/// The shape of a game from a file: exact payoffs without intervals, or sampled ones with them.
///
/// A file does not say which returns are possible. Sampled means that all lie in 0 to 1 are taken for shares of successes,
/// with that range; others have the range of the means.
///
/// # Errors
/// A decomposition or equilibrium was not found, or an entry's count is 0.
pub fn of_table(table: &GameTable, settings: &Settings) -> Result<Survey, GameError> {
    match sampled(table)? {
        Some(game) => survey(&game, settings),
        None => survey_exact(&table.payoffs),
    }
}

/// The game that a file's payoffs are samples of, with the range of [`of_table`]; `None` for exact payoffs.
///
/// # Errors
/// An entry's variance is not one.
pub fn sampled(table: &GameTable) -> Result<Option<MetaGame>, GameError> {
    let Some(sample) = &table.sample else { return Ok(None) };
    let (low, high) = table.payoffs.range();
    let mut game = MetaGame::new(if low >= 0.0 && high <= 1.0 { (0.0, 1.0) } else { (low, high) })?;
    (0..table.payoffs.rows()).for_each(|_| _ = game.add_row());
    (0..table.payoffs.cols()).for_each(|_| _ = game.add_col());
    for (at, &mean) in table.payoffs.as_slice().iter().enumerate() {
        let (count, variance) = (sample.count[at], sample.variance[at]);
        let entry = Moments { count, mean, m2: variance * count.saturating_sub(1) as f64 };
        game.merge(at / table.payoffs.cols(), at % table.payoffs.cols(), entry)?;
    }
    Ok(Some(game))
}
