//! The attackers of one run against the blue of another: do attacks transfer?
//!
//! The two runs may have different base models and different worlds, since all that passes between players is text. Red
//! plays by the rules of its own run, blue answers as it does in its own. Nothing is trained and nothing is written.

use super::desk::Reporter;
use super::evaluation::{borrowed, final_blues, final_mixtures, play_attacks};
use super::evidence::{Worst, success, worst};
use super::probe::population;
use super::stage::{Stage, Stream};
use crate::error::Error;
use crate::policy::Policy;
use crate::rollout::Table;
use crate::store::RunDir;
use grts_game::Estimate;
use grts_game::stream::StreamKey;
use grts_lm::Device;
use serde::{Deserialize, Serialize};

/// What `grts attack` is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttackSettings {
    /// Keys the dialogues; no seed repeats a stream of the runs themselves.
    pub seed: u64,
    /// Dialogues behind each figure but the worst attacker's.
    pub dialogues: usize,
    /// Where the models compute.
    pub device: Device,
}

/// What the attackers reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttackReport {
    /// Name of the attackers' run.
    pub red: String,
    /// Name of the attacked one.
    pub blue: String,
    /// Seed of the dialogues.
    pub seed: u64,
    /// Attack success of red's final mixture against the untouched model of its own run.
    pub at_home: Estimate,
    /// The same against the untouched model of the attacked run: how far attacks transfer.
    pub untouched: Estimate,
    /// The same against its final blue.
    pub hardened: Estimate,
    /// That blue's own attackers against it, for comparison.
    pub own: Estimate,
    /// The policy of red's population that succeeds most against that blue.
    pub worst: Worst,
}

/// Attacks the final blue of a finished run with the final attackers of another.
///
/// # Errors
/// [`Error::Run`] when one of them is not finished, and whatever stops the dialogues.
pub fn attack(
    red_run: &RunDir,
    blue_run: &RunDir,
    settings: &AttackSettings,
    reporter: &mut dyn Reporter,
) -> Result<AttackReport, Error> {
    let stage = |run: &RunDir| Stage::set(run.manifest().scenario.clone(), settings.device);
    let (home, away) = (stage(red_run)?, stage(blue_run)?);
    let (reds, _) = final_mixtures(&home, red_run)?;
    let (own, _) = final_mixtures(&away, blue_run)?;
    let blues = final_blues(&away, blue_run)?;
    let (reds, own, blues) = (borrowed(&reds), borrowed(&own), borrowed(&blues));
    let meeting = Table { base: &away.base, blue_generation: &away.blue_generation, ..home.table() };
    let play = |table: &Table<'_>, reds: &[(&Policy, f64)], blues: &[(&Policy, f64)]| {
        // The same streams for all: differences are differences of the players.
        let key = StreamKey { seed: settings.seed, ..home.key(Stream::Attack, 0, 0) };
        Ok::<_, Error>(success(table.rules, &play_attacks(table, [reds, blues], settings.dialogues, key)?))
    };
    let untouched = [(&home.untouched, 1.0)];
    reporter.note("the attackers against the two untouched models");
    let at_home = play(&home.table(), &reds, &untouched)?;
    let transferred = play(&meeting, &reds, &untouched)?;
    reporter.note("the attackers against the hardened blue, and its own beside them");
    let hardened = play(&meeting, &reds, &blues)?;
    let own = play(&away.table(), &own, &blues)?;
    reporter.note("each attacker of the population");
    let key = StreamKey { seed: settings.seed, ..home.key(Stream::Attack, 1, 0) };
    let worst = worst(&meeting, &population(&home, red_run)?, &blues, key)?;
    let (red, blue, seed) = (home.name.clone(), away.name.clone(), settings.seed);
    Ok(AttackReport { red, blue, seed, at_home, untouched: transferred, hardened, own, worst })
}
