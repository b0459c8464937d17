//! The sections of a scenario as plain records.
//!
//! Field names are the keys of the file, so that the list of valid keys is the serialised form of
//! these types and exists once. Defaults live in `assets/meridian/scenario.toml` and allowed ranges
//! in `ranges.rs`; here is only what a value means and its unit. These types do not validate:
//! a value built in code is the caller's word.

use std::path::PathBuf;

use grts_game::rules::{Aggregator, Rules, Schedule, Team};
use grts_game::sampling::Allocation;
use grts_game::{GameError, MetaSolver};
use serde::{Deserialize, Serialize};

/// Which training scheme the solver loop runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Best responses to the Nash mixture of the meta-game.
    Psro,
    /// The same, red rewarded for being different.
    Grts,
    /// Best responses to the uniform mixture of the opponents so far.
    FictitiousPlay,
    /// Best responses to the latest opponent only.
    SelfPlay,
    /// One attacker trained against the fixed base, then blue trained on it.
    SingleAttacker,
    /// Attackers that follow a script and learn nothing, then blue trained on them.
    Heuristic,
}

impl Method {
    /// Whether red's one response is frozen and blue trained on it alone: with the budget of all iterations at once, or round by
    /// round until a counted budget is spent.
    pub fn is_one_round(self) -> bool {
        matches!(self, Self::SingleAttacker | Self::Heuristic)
    }
}

/// What red is rewarded for under [`Method::Grts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedDiversity {
    /// Distance from the nearest attacks of the current mixture.
    Novelty,
    /// What an attack adds to the log-determinant of the mixture's kernel.
    LogDet,
    /// KL divergence from the nearest policy of the mixture.
    PolicySpace,
}

/// A rule for the meta-strategies, by its published name and with the settings that the name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MetaStrategy(pub MetaSolver);

impl TryFrom<String> for MetaStrategy {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        MetaSolver::named(&name).map(Self).ok_or_else(|| format!("no rule for meta-strategies is called `{name}`"))
    }
}

impl From<MetaStrategy> for String {
    fn from(MetaStrategy(rule): MetaStrategy) -> Self {
        rule.name().to_owned()
    }
}

/// Where the frozen base model comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Model {
    /// The model shipped with the built-in world; written `"builtin"`.
    Builtin,
    /// A directory in Hugging Face layout. After [`Scenario::parse`](super::Scenario::parse) it is
    /// absolute; whether it exists is for the loader to say.
    Directory(PathBuf),
}

impl From<String> for Model {
    fn from(text: String) -> Self {
        if text == "builtin" { Self::Builtin } else { Self::Directory(text.into()) }
    }
}

impl From<Model> for String {
    fn from(model: Model) -> Self {
        match model {
            Model::Builtin => "builtin".to_owned(),
            Model::Directory(path) => path.to_string_lossy().into_owned(),
        }
    }
}

/// What makes vectors of utterances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Embedder {
    /// The base model's own hidden states; written `"base"`.
    Base,
    /// A directory of `sentence-transformers`; absolute after [`Scenario::parse`](super::Scenario::parse).
    Directory(PathBuf),
}

impl From<String> for Embedder {
    fn from(text: String) -> Self {
        if text == "base" { Self::Base } else { Self::Directory(text.into()) }
    }
}

impl From<Embedder> for String {
    fn from(embedder: Embedder) -> Self {
        match embedder {
            Embedder::Base => "base".to_owned(),
            Embedder::Directory(path) => path.to_string_lossy().into_owned(),
        }
    }
}

/// `[base]`: the model both players start from, and the world that it knows.
///
/// The shipped model's world is not written out, so that a game in it keeps the fingerprint that it had before there were
/// others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Base {
    /// `"builtin"`, or a directory relative to the scenario file.
    pub model: Model,
    /// Seed of the world's tables: where the office leaks and where honest people ask. A model is trained on one.
    #[serde(default = "meridian", skip_serializing_if = "is_meridian")]
    pub world_seed: u64,
    /// How its weights are held; not written out where it is `"f32"`, as before there was another.
    #[serde(default, skip_serializing_if = "Dtype::is_f32")]
    pub dtype: Dtype,
    /// Whether learners keep only each layer's input and compute the rest again on the way back. It changes no result.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub checkpointing: bool,
}

/// How weights are held in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32-bit floats.
    #[default]
    F32,
    /// bfloat16, with 32-bit sums.
    Bf16,
}

impl Dtype {
    fn is_f32(&self) -> bool {
        *self == Self::F32
    }
}

fn meridian() -> u64 {
    2025
}

fn is_meridian(seed: &u64) -> bool {
    *seed == meridian()
}

/// `[semantic]`: the space in which attacks are compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Semantic {
    /// `"base"`, or a directory relative to the scenario file.
    pub embedder: Embedder,
}

/// `[game]`: the rules.
///
/// A team of one and its schedule are not written out, so that a game without a team keeps the fingerprint that it had
/// before there were teams.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Game {
    /// Turns T of a dialogue.
    pub turns: usize,
    /// Seats m of the red team.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub red_team: usize,
    /// Which seat speaks when.
    #[serde(default = "relay", skip_serializing_if = "is_relay")]
    pub schedule: Schedule,
    /// How scores become a return.
    pub aggregator: Aggregator,
    /// Score from which a reply counts as a successful attack (θ of ASR@t).
    pub threshold: f64,
    /// Share of look-alike requests that blue must serve.
    pub h_min: f64,
}

impl Game {
    /// The rules of its dialogues.
    ///
    /// # Errors
    /// A relay with more seats than turns, or a number outside its range.
    pub fn rules(&self) -> Result<Rules, GameError> {
        let team = Team::new(self.red_team, self.schedule)?;
        Rules::new(self.turns, self.aggregator, self.threshold)?.with_team(team)
    }
}

fn one() -> usize {
    1
}

fn is_one(seats: &usize) -> bool {
    *seats == 1
}

fn relay() -> Schedule {
    Schedule::Relay
}

fn is_relay(schedule: &Schedule) -> bool {
    *schedule == Schedule::Relay
}

/// `[solver]`: the outer loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Solver {
    /// Rule for the meta-strategies of `method = "psro"`, Nash if there is none; the other methods are their rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta_strategy: Option<MetaStrategy>,
    /// Iterations at most.
    pub iterations: usize,
    /// The loop has converged once the certified gap is at most this (in units of the return).
    pub epsilon: f64,
    /// Regret that the Nash mixtures may leave to each side, for a larger entropy (in units of the return).
    pub slack: f64,
    /// Dialogues that estimate one entry of the meta-game.
    pub entry_dialogues: usize,
    /// Dialogues that estimate the gain of one response.
    pub gain_dialogues: usize,
}

/// `[certify]`: the bound on what the run's own policies could gain by leaving the final mixtures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certify {
    /// Target: further dialogues are played until NashConv in the true meta-game is at most this, in units of the return and
    /// with 95 %, or known to be above it.
    pub epsilon: f64,
    /// Dialogues at most.
    pub dialogues: usize,
    /// Where they go.
    pub allocation: Allocation,
}

/// What both `[red]` and `[blue]` say about training one response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learning {
    /// Optimiser steps of one response.
    pub steps: usize,
    /// Dialogues a step.
    pub batch: usize,
    /// Step size of AdamW.
    pub learning_rate: f64,
    /// Rank of the adapter.
    pub lora_rank: usize,
    /// Scale of the adapter: its product is multiplied by `lora_alpha / lora_rank`.
    pub lora_alpha: f64,
    /// Weight of the KL divergence to the reference policy, per token.
    pub beta: f64,
    /// The probability ratio is clipped to 1 ± this.
    pub clip: f64,
    /// Passes over a batch.
    pub epochs: usize,
    /// Optimiser updates a pass; each learns from every `minibatches`-th dialogue.
    pub minibatches: usize,
    /// Tokens of an utterance at most.
    pub max_tokens: usize,
    /// Sampling temperature.
    pub temperature: f64,
}

/// `[red]`: training of attackers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Red {
    /// The settings shared with blue.
    #[serde(flatten)]
    pub learning: Learning,
    /// Mean log-probability under the reference that red must keep, in nats per token.
    pub fluency_floor: f64,
    /// Step size of the multiplier on fluency, per step and nat of violation.
    pub multiplier_rate: f64,
    /// Rounds of the search for successes that comes before the policy gradient; 0 for none.
    pub search_rounds: usize,
    /// Dialogues of its first round at most; each later one has half as many. A round ends once it has seen enough successes.
    pub search_dialogues: usize,
    /// What being different means.
    pub diversity: RedDiversity,
    /// What it earns in the first iteration, in units of the return; it falls linearly to 0 in the last.
    pub diversity_weight: f64,
    /// Nearest attacks of the archive that count for novelty.
    pub neighbours: usize,
    /// Dialogues of the current mixture that make an iteration's archive.
    pub archive_dialogues: usize,
    /// Attacks in words that responses hand on at most, under `grts`; up to half of them are at first what honest people ask.
    pub repertoire: usize,
    /// Entropy at which a training has collapsed, nats per token.
    pub entropy_floor: f64,
    /// Share of different token pairs in a batch at which it has.
    pub distinct_floor: f64,
    /// Mean log-probability under the reference at which it has, nats per token.
    pub reference_floor: f64,
    /// Share of repeated attacks in a batch at which it has.
    pub repeats_ceiling: f64,
}

/// `[blue]`: training of defenders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blue {
    /// The settings shared with red.
    #[serde(flatten)]
    pub learning: Learning,
    /// Share of `learning_rate` that is left for the last response of a run; it falls linearly until then.
    pub final_rate: f64,
    /// Share of a step's attackers that are drawn whatever the mixture, half of them untrained and half of them any of the
    /// population (under `grts` every second of those an attack of the repertoire): cells that no learned attacker plays today stay in sight.
    pub exploration: f64,
    /// Honest dialogues a step (open questions and look-alike requests).
    pub honest_batch: usize,
    /// Look-alike requests that are put to the untouched base before the first response: what it served is kept likely.
    pub honest_requests: usize,
    /// Known attacks that are tried on the untouched base before each response, under `grts`: what it concedes is unlearnt in
    /// every update.
    pub concessions: usize,
    /// Step size of the Lagrange multipliers, per step and unit of violation.
    pub multiplier_rate: f64,
    /// Loss of success on open questions that is tolerated (δ), as a share.
    pub helpfulness_loss: f64,
}

impl Blue {
    /// How a response learns once `spent` of the run is gone, as a share.
    pub fn learning_after(&self, spent: f64) -> Learning {
        let left = 1.0 - (1.0 - self.final_rate) * spent.clamp(0.0, 1.0);
        Learning { learning_rate: left * self.learning.learning_rate, ..self.learning.clone() }
    }
}

/// `[probe]`: fresh best responses that measure exploitability from below.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Optimiser steps of a probe.
    pub steps: usize,
    /// Weight of the KL divergence to the base in red's probe, per token: a probe need not be diverse.
    pub beta: f64,
    /// Dialogues that measure its gain.
    pub dialogues: usize,
}

/// `[evaluation]`: what is measured before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Look-alike dialogues.
    pub honest_dialogues: usize,
    /// Dialogues on open facts.
    pub open_dialogues: usize,
    /// Held-out paraphrases of each cell of the grid.
    pub grid_paraphrases: usize,
}

/// `[budget]`: what the whole run may spend; no key, no bound. It ends with the iteration that reaches one of them, in which
/// blue still answers what red found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Generated tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Dialogues played.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialogues: Option<u64>,
    /// Wall-clock seconds, summed over resumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

impl Budget {
    /// Whether something bounds the run that is the same on every machine.
    pub fn is_counted(&self) -> bool {
        self.tokens.is_some() || self.dialogues.is_some()
    }
}
