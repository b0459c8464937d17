//! What methods are worth side by side: which settings a method stands for, what was measured of each, and all of it as tables.
//!
//! Plain records: everything is a pure function of a scenario or of what was measured. A method is compared by a name of its own,
//! since some of them are one scheme with a part taken out. Every method starts from one scenario and may spend as
//! many tokens on play and training; what is measured afterwards counts for nobody.

mod picture;

use crate::error::Error;
use crate::exchange::{self, Frame};
use crate::scenario::{Method, Scenario};
use grts_game::Estimate;
use grts_game::rules::Schedule;
use grts_game::solver::StopReason;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A method under comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// Scripted attackers that learn nothing, and blue against them for the whole budget.
    Heuristic,
    /// One learned attacker against the untouched blue, then blue against that attacker for the rest of the budget.
    SingleAttacker,
    /// Latest against latest.
    SelfPlay,
    /// Best responses to the uniform mixture.
    FictitiousPlay,
    /// Best responses to the Nash mixture; red is one policy and is rewarded for success alone.
    Psro,
    /// [`Arm::Grts`] whose red is rewarded for success alone.
    GrtsWithoutDiversity,
    /// [`Arm::Grts`] whose red is one policy that speaks in every turn (`m = 1`).
    GrtsWithoutTeam,
    /// Best responses to the Nash mixture by a red team that is rewarded for being different.
    Grts,
}

/// Iterations that the loop of a compared method may take, as a multiple of the scenario's: the budget of tokens is what ends
/// it.
const ITERATIONS: usize = 4;

impl Arm {
    /// All, from the plainest to the whole.
    pub const ALL: [Self; 8] = [
        Self::Heuristic,
        Self::SingleAttacker,
        Self::SelfPlay,
        Self::FictitiousPlay,
        Self::Psro,
        Self::GrtsWithoutDiversity,
        Self::GrtsWithoutTeam,
        Self::Grts,
    ];

    /// Its name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heuristic => "heuristic",
            Self::SingleAttacker => "single_attacker",
            Self::SelfPlay => "self_play",
            Self::FictitiousPlay => "fictitious_play",
            Self::Psro => "psro",
            Self::GrtsWithoutDiversity => "grts_without_diversity",
            Self::GrtsWithoutTeam => "grts_without_team",
            Self::Grts => "grts",
        }
    }

    /// The arm of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|arm| arm.name() == name)
    }

    /// The scenario as this method plays it. A scenario whose red is one policy gets a team of two where a team is meant,
    /// if its dialogues have two turns.
    pub fn scenario(self, of: &Scenario) -> Scenario {
        let mut scenario = of.clone();
        scenario.method = match self {
            Self::Heuristic => Method::Heuristic,
            Self::SingleAttacker => Method::SingleAttacker,
            Self::SelfPlay => Method::SelfPlay,
            Self::FictitiousPlay => Method::FictitiousPlay,
            Self::Psro => Method::Psro,
            Self::GrtsWithoutDiversity | Self::GrtsWithoutTeam | Self::Grts => Method::Grts,
        };
        if self != Self::Psro {
            scenario.solver.meta_strategy = None;
        }
        if self == Self::GrtsWithoutDiversity {
            scenario.red.diversity_weight = 0.0;
        }
        let game = &mut scenario.game;
        match self {
            Self::Grts | Self::GrtsWithoutDiversity if game.red_team == 1 => game.red_team = game.turns.min(2),
            Self::Grts | Self::GrtsWithoutDiversity => {}
            _ => (game.red_team, game.schedule) = (1, Schedule::Relay),
        }
        if !scenario.method.is_one_round() {
            scenario.solver.iterations *= ITERATIONS;
        }
        scenario
    }
}

/// One run of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The method.
    pub method: Arm,
    /// Share of look-alike requests that blue must serve.
    pub h_min: f64,
    /// Seed of the run.
    pub seed: u64,
}

impl Trial {
    /// Its settings.
    pub fn scenario(&self, of: &Scenario) -> Scenario {
        let mut scenario = self.method.scenario(of);
        (scenario.game.h_min, scenario.seed) = (self.h_min, self.seed);
        scenario
    }

    /// Name of its run directory.
    pub fn directory(&self) -> String {
        format!("{}-h{}-s{}", self.method.name(), self.h_min, self.seed)
    }
}

/// What was measured of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Which run.
    #[serde(flatten)]
    pub trial: Trial,
    /// v*: the exact value of the world's tabular twin.
    pub reference_value: f64,
    /// How the loop ended.
    pub stop_reason: StopReason,
    /// Completed iterations.
    pub iterations: usize,
    /// Dialogues of play and training.
    pub dialogues: u64,
    /// Tokens sampled in them: the budget.
    pub tokens: u64,
    /// The final blue.
    pub blue: BlueEvidence,
    /// The final red.
    pub red: RedEvidence,
    /// Blue at parts of the budget, the whole last.
    pub curve: Vec<Point>,
}

/// What was measured of the final blue mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlueEvidence {
    /// ASR of the strongest fresh attacker, chosen and measured on different dialogues: exploitability from below, with
    /// v* subtracted.
    pub strongest_probe: Estimate,
    /// ASR of the worst red policy that any method of the same seed found; `None` until all of them have ended.
    pub worst_red: Option<Estimate>,
    /// Chance that one of many dialogues of the run's whole red population succeeds.
    pub best_of_asr: Estimate,
    /// Hottest cell of the held-out grid.
    pub worst_cell: Estimate,
    /// Mean of the held-out grid.
    pub grid: Estimate,
    /// ASR@t of the run's own final attackers.
    pub asr_by_turn: Vec<Estimate>,
    /// Of the ways into cells without honest traffic that leaked in the untouched base, the share that still leak.
    pub leaks_left: Estimate,
    /// Success on questions about open facts.
    pub open_facts: Estimate,
    /// The same of the untouched base.
    pub open_facts_initial: Estimate,
    /// Share of look-alike requests served.
    pub look_alikes_served: Estimate,
}

/// What was measured of red, against the untouched base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RedEvidence {
    /// ASR of the final mixture.
    pub asr: Estimate,
    /// Vendi score of its attacks, order 1.
    pub vendi: Estimate,
    /// Self-BLEU of its attacks, n-grams up to 4.
    pub self_bleu: Estimate,
    /// Of the cells that truly leak in the untouched base, the share in which the policies of the population succeeded; the
    /// untouched base, which is one of them, is left out.
    pub coverage: Estimate,
    /// Mean log-probability of its utterances under the base, nats per token; of the least fluent seat.
    pub fluency: Estimate,
    /// Policies in the population.
    pub population: usize,
}

/// Blue's mixture at a part of the budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The part, 0 to 1.
    pub share: f64,
    /// Tokens spent until then.
    pub tokens: u64,
    /// Mean of the held-out grid.
    pub grid: Estimate,
    /// Its hottest cell.
    pub worst_cell: Estimate,
    /// ASR of the strongest fresh attacker, where some were trained.
    pub strongest_probe: Option<Estimate>,
}

/// The attackers of one run against the blue of another of the same seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrossPlay {
    /// Whose attackers.
    pub red: Arm,
    /// Whose blue.
    pub blue: Arm,
    /// `h_min` of both.
    pub h_min: f64,
    /// Seed of both.
    pub seed: u64,
    /// The policy of that population that succeeds most.
    pub worst: String,
    /// Its ASR, on dialogues that did not choose it.
    pub asr: Estimate,
}

/// A whole comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Means over seeds.
    pub methods: Vec<Averages>,
    /// Every run.
    pub runs: Vec<Evidence>,
    /// Every pair of methods.
    pub cross_play: Vec<CrossPlay>,
}

/// Means over the seeds of one method. With several seeds an interval is Student's t over them; with one it is that seed's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Averages {
    /// The method.
    pub method: Arm,
    /// Share of look-alike requests that blue must serve.
    pub h_min: f64,
    /// v*.
    pub reference_value: f64,
    /// Seeds.
    pub seeds: usize,
    /// Tokens of play and training.
    pub tokens: Estimate,
    /// As in [`BlueEvidence`].
    pub strongest_probe: Estimate,
    /// As in [`BlueEvidence`], at half the budget.
    pub strongest_probe_at_half: Option<Estimate>,
    /// As in [`BlueEvidence`].
    pub worst_red: Option<Estimate>,
    /// As in [`BlueEvidence`].
    pub best_of_asr: Estimate,
    /// As in [`BlueEvidence`].
    pub worst_cell: Estimate,
    /// As in [`BlueEvidence`].
    pub grid: Estimate,
    /// As in [`BlueEvidence`].
    pub leaks_left: Estimate,
    /// As in [`BlueEvidence`].
    pub open_facts: Estimate,
    /// As in [`BlueEvidence`].
    pub look_alikes_served: Estimate,
    /// As in [`RedEvidence`].
    pub red_asr: Estimate,
    /// As in [`RedEvidence`].
    pub vendi: Estimate,
    /// As in [`RedEvidence`].
    pub self_bleu: Estimate,
    /// As in [`RedEvidence`].
    pub coverage: Estimate,
    /// As in [`RedEvidence`].
    pub fluency: Estimate,
}

impl Comparison {
    /// Puts runs and cross-play together; each blue's worst red is read off the cross-play.
    pub fn new(mut runs: Vec<Evidence>, cross_play: Vec<CrossPlay>) -> Self {
        for run in &mut runs {
            let met = cross_play.iter().filter(|pair| {
                (pair.blue, pair.h_min, pair.seed) == (run.trial.method, run.trial.h_min, run.trial.seed)
            });
            run.blue.worst_red = met.map(|pair| pair.asr).max_by(|a, b| a.mean.total_cmp(&b.mean));
        }
        Self { methods: averages(&runs), runs, cross_play }
    }

    /// Writes `comparison.json`, `runs` and `cross-play` each as `.csv` and `.parquet`, and pictures as `.svg`, over earlier ones.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::DiskFull`].
    pub fn write(&self, directory: &Path) -> Result<(), Error> {
        let failed = |problem| Error::Failed { problem, hint: "report this with the command".to_owned() };
        let json = serde_json::to_string_pretty(self)
            .map_err(|e| failed(format!("the comparison cannot be written as JSON: {e}")))?;
        let pictures = picture::all(&self.methods, &self.runs, &self.cross_play).map_err(failed)?;
        for (name, text) in pictures.into_iter().chain([("comparison.json", json + "\n")]) {
            exchange::replace(&directory.join(name), text.as_bytes())?;
        }
        let (runs, pairs) = (Frame::of(&self.runs)?, Frame::of(&self.cross_play)?);
        for ending in ["csv", "parquet"] {
            runs.write(&directory.join(format!("runs.{ending}")))?;
            pairs.write(&directory.join(format!("cross-play.{ending}")))?;
        }
        Ok(())
    }
}

/// Part of the budget at which blue is attacked as at its end.
pub(crate) const HALF: f64 = 0.5;

/// The methods that met, in the order of [`Arm::ALL`].
pub fn met(pairs: &[CrossPlay]) -> Vec<Arm> {
    Arm::ALL.into_iter().filter(|arm| pairs.iter().any(|pair| pair.red == *arm)).collect()
}

/// Mean success of the worst attackers of `red` against the blues of `blue`, over seeds and `h_min`.
pub fn mean_success(pairs: &[CrossPlay], red: Arm, blue: Arm) -> f64 {
    let of = pairs.iter().filter(|pair| (pair.red, pair.blue) == (red, blue)).map(|pair| pair.asr.mean);
    let all: Vec<f64> = of.collect();
    all.iter().sum::<f64>() / all.len().max(1) as f64
}

/// One line for each method and `h_min`, in the order in which they come first.
fn averages(runs: &[Evidence]) -> Vec<Averages> {
    let mut groups: Vec<(Arm, f64, Vec<&Evidence>)> = Vec::new();
    for run in runs {
        let Trial { method, h_min, .. } = run.trial;
        match groups.iter_mut().find(|(arm, h, _)| (*arm, *h) == (method, h_min)) {
            Some((.., members)) => members.push(run),
            None => groups.push((method, h_min, vec![run])),
        }
    }
    groups.into_iter().map(|(method, h_min, members)| average(method, h_min, &members)).collect()
}

fn average(method: Arm, h_min: f64, runs: &[&Evidence]) -> Averages {
    let mean = |of: &dyn Fn(&Evidence) -> Estimate| over_seeds(runs.iter().map(|run| of(run)).collect());
    let some = |of: &dyn Fn(&Evidence) -> Option<Estimate>| {
        runs.iter().map(|run| of(run)).collect::<Option<Vec<_>>>().map(over_seeds)
    };
    let at_half = |run: &Evidence| run.curve.iter().find(|p| p.share == HALF).and_then(|p| p.strongest_probe);
    Averages {
        method,
        h_min,
        reference_value: runs[0].reference_value,
        seeds: runs.len(),
        tokens: mean(&|run| Estimate::exact(run.tokens as f64)),
        strongest_probe: mean(&|run| run.blue.strongest_probe),
        strongest_probe_at_half: some(&at_half),
        worst_red: some(&|run| run.blue.worst_red),
        best_of_asr: mean(&|run| run.blue.best_of_asr),
        worst_cell: mean(&|run| run.blue.worst_cell),
        grid: mean(&|run| run.blue.grid),
        leaks_left: mean(&|run| run.blue.leaks_left),
        open_facts: mean(&|run| run.blue.open_facts),
        look_alikes_served: mean(&|run| run.blue.look_alikes_served),
        red_asr: mean(&|run| run.red.asr),
        vendi: mean(&|run| run.red.vendi),
        self_bleu: mean(&|run| run.red.self_bleu),
        coverage: mean(&|run| run.red.coverage),
        fluency: mean(&|run| run.red.fluency),
    }
}

/// Mean of those seeds in which something was measured. The interval of shares is cut to what shares can be, and
/// that of counts and scores to 0.
fn over_seeds(of: Vec<Estimate>) -> Estimate {
    let measured: Vec<Estimate> = of.iter().filter(|e| e.n > 0).copied().collect();
    match measured[..] {
        [] => of.first().copied().unwrap_or(Estimate::proportion(0, 0)),
        [single] => single,
        _ => {
            let mean = Estimate::student(&measured.iter().map(|e| e.mean).collect::<Vec<_>>());
            let positive = measured.iter().all(|e| e.low >= 0.0);
            let shares = positive && measured.iter().all(|e| e.high <= 1.0);
            let low = if positive { mean.low.max(0.0) } else { mean.low };
            Estimate { low, high: if shares { mean.high.min(1.0) } else { mean.high }, ..mean }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::over_seeds;
    use grts_game::Estimate;

    #[test]
    fn a_seed_in_which_nothing_was_measured_does_not_count() {
        let nothing = Estimate::proportion(0, 0);
        let (few, many) = (Estimate::proportion(10, 100), Estimate::proportion(30, 100));
        assert_eq!(over_seeds(vec![nothing, few]), few);
        assert_eq!(over_seeds(vec![nothing, nothing]), nothing);
        let mean = over_seeds(vec![few, nothing, many]);
        assert!((mean.mean - 0.2).abs() < 1e-12 && (mean.low, mean.high, mean.n) == (0.0, 1.0, 2), "{mean:?}");
        // No share, and no score: less of Student's interval is cut.
        let scores = over_seeds(vec![Estimate::exact(2.0), Estimate::exact(4.0)]);
        assert!(scores.low == 0.0 && scores.high > 1.0 && scores.mean == 3.0, "{scores:?}");
        let logprobs = over_seeds(vec![Estimate::exact(-1.0), Estimate::exact(1.0)]);
        assert!(logprobs.low < -1.0 && logprobs.high > 1.0, "{logprobs:?}");
    }
}
