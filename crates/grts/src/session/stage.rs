//! What a run never changes: model, world, rules, honest material. Everything here follows from the settings.

use crate::error::Error;
use crate::judge::SealedWordJudge;
use crate::measure::Request;
use crate::models::builtin;
use crate::policy::{Base, Policy};
use crate::rollout::Table;
use crate::scenario::{Embedder as Named, Learning, Model, Scenario};
use crate::semantic::{Embedder, SemanticSpace};
use crate::store::RunDir;
use crate::twin::Twin;
use crate::world::{OPENING, Split, World};
use grts_game::rules::Rules;
use grts_game::stream::StreamKey;
use grts_lm::Device;
use grts_lm::bert::SentenceEncoder;
use grts_lm::decode::GenerationConfig;
use grts_lm::sampling::Sampling;
use rand_chacha::ChaCha8Rng;

/// What a stream is used for; streams of different purposes never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Payoff = 1,
    TrainRed = 2,
    TrainBlue = 3,
    Gain = 4,
    Material = 5,
    Scripted = 6,
    Attacks = 7,
    Gate = 8,
    ProbeRed = 9,
    ProbeBlue = 10,
    Evaluation = 11,
    Certificate = 12,
    Exploiter = 13,
    Archive = 14,
    Evidence = 15,
    Selection = 16,
    Attack = 17,
    FirstBlue = 18,
}

pub(super) struct Stage {
    pub(super) name: String,
    pub(super) scenario: Scenario,
    pub(super) base: Base,
    /// What makes vectors, where it is not the base.
    sentences: Option<SentenceEncoder>,
    pub(super) world: World,
    pub(super) rules: Rules,
    pub(super) red_generation: GenerationConfig,
    pub(super) blue_generation: GenerationConfig,
    pub(super) untouched: Policy,
    /// The attacker that does not learn.
    pub(super) script: Policy,
    pub(super) reference_value: f64,
}

impl Stage {
    pub(super) fn set(scenario: Scenario, device: Device) -> Result<Self, Error> {
        let directory = match &scenario.base.model {
            Model::Builtin => builtin()?,
            Model::Directory(path) => path.clone(),
        };
        let mut base = Base::load_as(&directory, scenario.base.dtype, device)?;
        base.checkpointing = scenario.base.checkpointing;
        let sentences = match &scenario.semantic.embedder {
            Named::Base => None,
            Named::Directory(path) => Some(SentenceEncoder::load(path).map_err(|e| Error::embedder(path, &e))?),
        };
        let world = World::meridian(scenario.base.world_seed);
        let game = &scenario.game;
        let rules = game.rules().map_err(|e| defect(&e))?;
        let twin = Twin::new(&world, game.turns).and_then(|t| t.solve(game.h_min)).map_err(|e| defect(&e))?;
        let generation = |learning: &Learning| GenerationConfig {
            sampling: Sampling { temperature: learning.temperature as f32, ..Sampling::default() },
            max_tokens: learning.max_tokens,
            stop: base.model.stop().to_vec(),
        };
        let (red_generation, blue_generation) =
            (generation(&scenario.red.learning), generation(&scenario.blue.learning));
        let name = format!("{}-{}", scenario.name, scenario.fingerprint()?);
        let (untouched, script, reference_value) = (Policy::base(), Policy::scripted(World::script), twin.value);
        Ok(Self {
            name,
            scenario,
            base,
            sentences,
            world,
            rules,
            red_generation,
            blue_generation,
            untouched,
            script,
            reference_value,
        })
    }

    pub(super) fn table(&self) -> Table<'_> {
        Table {
            base: &self.base,
            red_base: &self.base,
            rules: &self.rules,
            judge: &SealedWordJudge,
            opening: OPENING,
            red_generation: &self.red_generation,
            blue_generation: &self.blue_generation,
        }
    }

    /// The space in which utterances are compared; scripted attacks are spread around its origin.
    pub(super) fn space(&self) -> Result<SemanticSpace<'_>, Error> {
        let scripted = self.world.grid(1, self.scenario.seed).into_iter();
        let scripted: Vec<String> = scripted.filter_map(|case| case.user_turns.into_iter().next_back()).collect();
        let embedder = self.sentences.as_ref().map_or(Embedder::Base(&self.base), Embedder::Sentences);
        SemanticSpace::new(embedder, &scripted.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A policy of a run by its name, with its seats; `base` is the untouched base, `script` the attacker that does not learn.
    pub(super) fn policy(&self, run: &RunDir, id: &str, seats: usize) -> Result<Policy, Error> {
        match id {
            id if id == self.untouched.id => Ok(self.untouched.clone()),
            id if id == self.script.id => Ok(self.script.clone()),
            id => Policy::load(id, &run.policy_path(id), seats, &self.base),
        }
    }

    /// An honest request that fits the turns of the game, as in the twin: with one turn nobody sets up first.
    pub(super) fn honest(&self, split: Split, rng: &mut ChaCha8Rng) -> Request {
        loop {
            let request = self.world.honest(split, rng);
            if request.turns.len() <= self.rules.turns() {
                return request.into();
            }
        }
    }

    pub(super) fn key(&self, purpose: Stream, iteration: usize, entry: u64) -> StreamKey {
        let (iteration, purpose) = (iteration as u32, purpose as u32);
        StreamKey { seed: self.scenario.seed, iteration, purpose, entry, episode: 0, turn: 0 }
    }
}

pub(super) fn defect(error: &dyn std::fmt::Display) -> Error {
    Error::Failed { problem: error.to_string(), hint: "report this with the settings of the run".to_owned() }
}

/// Policies with positive weight.
pub(super) fn mixture<'p>(policies: &'p [crate::policy::Policy], weights: &[f64]) -> Vec<(&'p Policy, f64)> {
    policies.iter().zip(weights).filter(|(_, w)| **w > 1e-9).map(|(p, w)| (p, *w)).collect()
}
