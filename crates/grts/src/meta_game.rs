//! The meta-game of a run, from its records: samples, names of the policies, the mixtures that the run ended with.
//!
//! It reads records only, so a run can be looked at years later without its models, and what it says is what was played:
//! nothing is measured, solved or filled in here. Entries know indices and dialogues know names; a unit of payoffs plays
//! its entries one after the other, so the n-th pairing in its dialogues is that of its n-th entry.

use crate::error::Error;
use crate::exchange::{GameTable, Sample};
use crate::store::{Purpose, Records, RunDir};
use grts_game::{Estimate, GameError, Matrix, MetaGame, Moments};
use serde::{Deserialize, Serialize};

/// Unit that holds the final mixtures.
pub(crate) const PROFILE: &str = "profile";

/// Ids and weights of the final mixtures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) reds: Vec<(String, f64)>,
    pub(crate) blues: Vec<(String, f64)>,
}

/// The part of that unit which is the same in every run.
#[derive(Deserialize)]
struct Finished {
    output: Profile,
}

/// A meta-game as its run recorded it; every entry was played.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The samples.
    pub game: MetaGame,
    /// Ids of the red and of the blue policies; `None` where payoffs were recorded without dialogues.
    pub names: Option<[Vec<String>; 2]>,
    /// The mixtures over them that the run ended with; `None` before its end.
    pub strategies: Option<[Vec<f64>; 2]>,
}

/// The meta-game of a run. Every record is a sample of its own, so they add up.
///
/// # Errors
/// [`Error::Run`] if the run has no payoffs yet or some are missing, [`Error::Store`] if they cannot be read.
pub fn of_run(run: &RunDir) -> Result<Recorded, Error> {
    let incomplete = |error: GameError| Error::Run {
        path: run.path().to_owned(),
        problem: format!("has no complete payoff matrix ({error})"),
        hint: format!("let it play on: `grts resume {}`", run.path().display()),
    };
    let rules = run.manifest().scenario.game.rules().map_err(incomplete)?;
    let mut game = MetaGame::new(rules.payoff_range()).map_err(incomplete)?;
    let mut names = [Vec::new(), Vec::new()];
    for key in run.unit_keys()? {
        let records = run.records(&key)?.unwrap_or_default();
        for entry in &records.entries {
            let (row, col) = (entry.row as usize, entry.col as usize);
            (game.num_rows()..=row).for_each(|_| _ = game.add_row());
            (game.num_cols()..=col).for_each(|_| _ = game.add_col());
            let sample = Moments { count: u64::from(entry.count), mean: entry.mean, m2: entry.m2 };
            game.merge(row, col, sample).map_err(incomplete)?;
        }
        learn_names(&mut names, &records);
    }
    game.payoffs().map_err(incomplete)?;
    let names = complete(names, [game.num_rows(), game.num_cols()]);
    let strategies = match (&names, run.unit::<Finished>(PROFILE)?) {
        (Some([reds, blues]), Some(Finished { output })) => {
            Some([weights(reds, &output.reds), weights(blues, &output.blues)])
        }
        _ => None,
    };
    Ok(Recorded { game, names, strategies })
}

/// Takes the names of rows and columns from a unit's dialogues.
fn learn_names(names: &mut [Vec<Option<String>>; 2], records: &Records) {
    let payoffs: Vec<_> = records.episodes.iter().filter(|episode| episode.purpose == Purpose::Payoff).collect();
    let pairings: Vec<_> = payoffs.chunk_by(|a, b| a.red == b.red && a.blue == b.blue).collect();
    if pairings.len() != records.entries.len() {
        return;
    }
    for (entry, pairing) in records.entries.iter().zip(pairings) {
        for (side, idx, id) in [(0, entry.row, &pairing[0].red), (1, entry.col, &pairing[0].blue)] {
            let (known, idx) = (&mut names[side], idx as usize);
            known.resize(known.len().max(idx + 1), None);
            known[idx] = Some(id.clone());
        }
    }
}

fn complete([reds, blues]: [Vec<Option<String>>; 2], [rows, cols]: [usize; 2]) -> Option<[Vec<String>; 2]> {
    let whole =
        |names: Vec<Option<String>>, size| names.into_iter().collect::<Option<Vec<_>>>().filter(|n| n.len() == size);
    Some([whole(reds, rows)?, whole(blues, cols)?])
}

fn weights(names: &[String], mixture: &[(String, f64)]) -> Vec<f64> {
    let weight = |name: &String| mixture.iter().find(|(id, _)| id == name).map_or(0.0, |(_, weight)| *weight);
    names.iter().map(weight).collect()
}

impl Recorded {
    /// The game as files hold it, with a 95 % interval for each mean.
    ///
    /// # Errors
    /// An entry was never played, which [`of_run`] excludes.
    pub fn table(&self) -> Result<GameTable, GameError> {
        let (rows, cols) = (self.game.num_rows(), self.game.num_cols());
        let places = || (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col)));
        let ends = |end: fn(Estimate) -> f64| places().map(|(row, col)| end(self.game.estimate(row, col))).collect();
        let sample = Sample {
            count: places().map(|(row, col)| self.game.entry(row, col).count).collect(),
            variance: places().map(|(row, col)| self.game.entry(row, col).variance()).collect(),
            interval: Some([ends(|estimate| estimate.low), ends(|estimate| estimate.high)]),
        };
        let payoffs: Matrix = self.game.payoffs()?;
        Ok(GameTable { payoffs, sample: Some(sample), names: self.names.clone(), strategies: self.strategies.clone() })
    }
}
