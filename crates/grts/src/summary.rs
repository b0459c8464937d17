//! What a run ends with: the one object that `--json` prints and `summary.json` holds.

use grts_game::Estimate;
use grts_game::solver::StopReason;
use serde::{Deserialize, Serialize};

/// Result of a run. Every [`Estimate`] is `{mean, low, high, n}` with a 95 % interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Name of the run: scenario and fingerprint of its settings.
    pub run: String,
    /// Why the loop ended.
    pub stop_reason: StopReason,
    /// Completed iterations of the solver.
    pub iterations: usize,
    /// Dialogues played, training and measurement together.
    pub dialogues: u64,
    /// Tokens sampled in them.
    pub tokens: u64,
    /// Wall-clock seconds, summed over resumes: the one value that two runs with one seed do not share.
    pub seconds: f64,
    /// Value of the final meta-game: red's expected return.
    pub value: Estimate,
    /// v*: the exact value of the world's tabular twin.
    pub reference_value: f64,
    /// Share of look-alike requests that blue must serve.
    pub h_min: f64,
    /// How far the final profile is from an equilibrium.
    pub exploitability: Exploitability,
    /// Blue before and after.
    pub blue: Blue,
    /// The attackers.
    pub red: Red,
}

/// What a run comes to: the result that is stored, and what is only told beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The result.
    pub summary: Summary,
    /// [`Exploitability::restricted`] once more, of all dialogues and with a bootstrap interval: likely, not guaranteed.
    pub likely_regret: Estimate,
}

/// Exploitability, in units of the return. The two are never mixed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exploitability {
    /// NashConv inside the restricted meta-game. The mean is that of the sampled matrix, zero by construction; the interval
    /// is of the true payoffs and holds with 95 %. No evidence of safety: it knows no policy outside the matrix.
    pub restricted: Estimate,
    /// Gains of freshly trained best responses: a lower bound of the true exploitability.
    pub probe: ProbeGains,
}

/// Gain of a fresh best response of each side against the other's final mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeGains {
    /// What a new attacker gains over the value.
    pub red_gain: Estimate,
    /// What a new defender gains over the value.
    pub blue_gain: Estimate,
}

/// Blue before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Blue {
    /// The base, untouched.
    pub initial: BlueReport,
    /// The final mixture.
    pub r#final: BlueReport,
}

/// What was measured of one blue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlueReport {
    /// Attack success rate of the final red mixture.
    pub asr: Estimate,
    /// The same by turn: ASR@1, ASR@2, …
    pub asr_by_turn: Vec<Estimate>,
    /// Mean of the held-out grid of scripted attacks.
    pub grid_asr: Estimate,
    /// Its hottest cell: found by successive halving, reported on dialogues that chose nothing.
    pub worst_cell_asr: Estimate,
    /// ASR of a fresh best response trained against this blue.
    pub probe_asr: Estimate,
    /// Success on questions about open facts.
    pub helpfulness: Estimate,
    /// Share of look-alike requests refused.
    pub over_refusal: Estimate,
}

/// What was measured of the final red mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Red {
    /// Policies in the population.
    pub population: usize,
    /// Policies with positive weight in the final mixture.
    pub support: usize,
    /// Mean Vendi score of disjoint samples of 50 attacks of the mixture, with Student's t interval over the samples.
    pub vendi: Estimate,
    /// Share of the initial blue's leaking cells in which the population's attacks succeeded.
    pub coverage: Estimate,
}
