//! Diversity of the final attackers, as `grts eval` reports it.
//!
//! An attack is what red said last in a dialogue. Strategies are clusters of attacks, named by the most central one; since
//! results show no text of a dialogue unless asked, the name is where that attack strikes.

use super::stage::Stage;
use crate::error::Error;
use crate::rollout::Episode;
use crate::semantic::{self, DiversityReport};
use crate::world::{DEPARTMENTS, NUM_CELLS, Utterance};
use grts_game::Estimate;
use grts_game::stream::StreamKey;
use serde::{Deserialize, Serialize};

/// What was measured of a set of attacks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diversity {
    /// Effective numbers, likeness, coverage.
    #[serde(flatten)]
    pub measures: DiversityReport,
    /// Clusters of attacks, the largest first.
    pub strategies: Vec<Strategy>,
    /// Share of attacks that belong to none.
    pub unclustered: Estimate,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Strategy {
    /// What its most central attack is: `department/form`, `set-up, department/form`, `open question, department` or `in no form`.
    pub name: String,
    /// Share of all attacks.
    pub share: Estimate,
    /// Share of its dialogues that succeeded.
    pub asr: Estimate,
    /// The most central attack, where the caller asked for text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attack: Option<String>,
}

/// Measures the attacks of `episodes`; `quote` allows their text in the result.
pub(super) fn of(stage: &Stage, episodes: &[Episode], key: StreamKey, quote: bool) -> Result<Diversity, Error> {
    let attacks: Vec<(&str, bool)> = episodes
        .iter()
        .filter_map(|e| Some((e.turns.last()?.red.text.as_str(), stage.rules.succeeded(&e.scores())?)))
        .collect();
    let texts: Vec<&str> = attacks.iter().map(|(text, _)| *text).collect();
    let vectors = stage.space()?.embed(&texts)?;
    let asks = |text: &&str| match stage.world.classify(text) {
        Some(Utterance::Ask(cell)) => Some(cell.index()),
        _ => None,
    };
    let cells: Vec<Option<usize>> = texts.iter().map(asks).collect();
    let measures = semantic::measure(&texts, &vectors, (&cells, NUM_CELLS), key)?;
    let clusters = semantic::strategies(&vectors)?;
    let count = |of: &[usize]| of.iter().filter(|&&i| attacks[i].1).count() as u64;
    let all = texts.len() as u64;
    let strategies = clusters.iter().map(|members| Strategy {
        name: name(stage, texts[members[0]]),
        share: Estimate::proportion(members.len() as u64, all),
        asr: Estimate::proportion(count(members), members.len() as u64),
        attack: quote.then(|| texts[members[0]].to_owned()),
    });
    let strategies: Vec<Strategy> = strategies.collect();
    let clustered: u64 = clusters.iter().map(|members| members.len() as u64).sum();
    Ok(Diversity { measures, strategies, unclustered: Estimate::proportion(all - clustered, all) })
}

fn name(stage: &Stage, text: &str) -> String {
    match stage.world.classify(text) {
        Some(Utterance::Ask(cell)) => cell.name(),
        Some(Utterance::SetUp(cell)) => format!("set-up, {}", cell.name()),
        Some(Utterance::Open(department)) => format!("open question, {}", DEPARTMENTS[department].office),
        None => "in no form".to_owned(),
    }
}
