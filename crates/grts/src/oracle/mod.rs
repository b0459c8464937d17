//! Best-response oracles: reinforcement learning of an adapter against a mixture of opponents.
//!
//! Red and blue learn by the same policy gradient; they differ in what else binds them. Red must stay fluent; blue must go
//! on serving honest people. Both wishes are constraints with a Lagrange multiplier, never part of the payoff, so the game
//! stays zero-sum. An oracle never sees a dialogue that estimates a payoff.

mod admission;
mod blue;
mod collapse;
mod concessions;
mod diversity;
mod learning;
mod red;
mod repertoire;

pub use admission::{Addition, Descriptor, Merits, choose};
pub use blue::{Aim, BlueOracle, Helpfulness, Taught};
pub use collapse::{Floors, Health};
pub use diversity::{Diversity, Measure};
pub use red::{Learnt, RedOracle, fluency};
pub use repertoire::{Attack, Practice, Repertoire};

use crate::error::Error;
use crate::policy::{Base, Policy, View};
use crate::rollout::{Attacker, Episode, Pairing, Speaker, Table};
use crate::scenario::Learning;
use grts_game::rules::{Aggregator, Rules};
use grts_game::stream::{StreamKey, unit};
use grts_lm::lora::{Adapter, LoraConfig};
use grts_lm::train::{AdamWConfig, Sequence, Trainer};
use learning::{Credit, Sample, advantages, clipped_surrogate};
use repertoire::weighted;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// An opponent mixture: policies with weights that sum to 1.
pub type Mixture<'a> = [(&'a Policy, f64)];

/// What a finished response learnt and cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingLog {
    /// Mean return to red of the dialogues of each round of red's search.
    pub search: Vec<f64>,
    /// Mean return to red of each step's fresh dialogues.
    pub returns: Vec<f64>,
    /// Mean log-ratio to the reference per utterance, nats, by step.
    pub kl: Vec<f64>,
    /// Blue: share of look-alike requests served; red: reference log-probability per token, of its least fluent seat. By
    /// step.
    pub constraint: Vec<f64>,
    /// Value of the constraint's multiplier, red's largest of all seats, by step.
    pub multiplier: Vec<f64>,
    /// Red: what each step's batch said about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<Health>,
    /// Red: the floor that ended the training, and at which step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapsed: Option<String>,
    /// Dialogues played.
    pub dialogues: u64,
    /// Tokens sampled.
    pub tokens: u64,
}

impl TrainingLog {
    fn push(&mut self, returns: f64, kl: f64, constraint: f64, multiplier: f64) {
        self.returns.push(returns);
        self.kl.push(kl);
        self.constraint.push(constraint);
        self.multiplier.push(multiplier);
    }

    /// Adds the cost of `episodes`; their mean return.
    fn count(&mut self, episodes: &[Episode]) -> f64 {
        self.dialogues += episodes.len() as u64;
        self.tokens += episodes.iter().map(Episode::num_tokens).sum::<u64>();
        let returns: f64 = episodes.iter().filter_map(|e| e.returns).sum();
        let scored = episodes.iter().filter(|e| e.returns.is_some()).count();
        returns / scored.max(1) as f64
    }
}

/// A loss and its gradients, tensor by tensor.
type Loss = (f64, Vec<Vec<f32>>);

fn not_an_adapter() -> Error {
    Error::Failed { problem: "an oracle was given a whole model to train".to_owned(), hint: String::new() }
}

/// Called after each optimiser step and each round of red's search with the mean return of its dialogues; an error stops the
/// training.
pub type Progress<'a> = dyn FnMut(f64) -> Result<(), Error> + 'a;

/// What both oracles are given.
pub struct Training<'a> {
    /// The game.
    pub table: &'a Table<'a>,
    /// Steps, batch, rates.
    pub learning: &'a Learning,
    /// The training's stream; `entry`, `episode` and `turn` are set here.
    pub key: StreamKey,
}

/// Streams inside a training, kept apart by the lowest bits of `entry`.
#[derive(Clone, Copy)]
enum Use {
    Dialogues = 0,
    Opponents = 1,
    Adapter = 2,
    Honest = 3,
}

impl Training<'_> {
    fn stream(&self, step: usize, purpose: Use) -> StreamKey {
        StreamKey { entry: (step as u64) << 2 | purpose as u64, ..self.key }
    }

    /// A trainer for `start`, or for a fresh adapter of `seat`.
    fn trainer(&self, start: Option<&Adapter>, seat: usize) -> Result<Trainer, Error> {
        let model = &self.table.base.model;
        let config = LoraConfig::all_linear(self.learning.lora_rank, self.learning.lora_alpha);
        let mut rng = self.stream(seat, Use::Adapter).rng();
        let adapter = match start {
            Some(adapter) => adapter.clone(),
            None => Adapter::new(config, model.config(), &mut rng).map_err(|e| Error::engine(&e))?,
        };
        let trainer = Trainer::adapter(Arc::clone(model), &adapter, AdamWConfig::default());
        Ok(trainer.with_checkpointing(self.table.base.checkpointing))
    }

    /// Opponents of a step's dialogues, drawn from the mixture.
    fn opponents<'p>(&self, step: usize, mixture: &Mixture<'p>, count: usize) -> Vec<&'p Policy> {
        systematic(mixture, count, self.stream(step, Use::Opponents))
    }

    /// Attacks in words for some of a step's dialogues, by their weights.
    fn recalled<'r>(&self, step: usize, attacks: &'r [Attack], count: usize) -> Vec<&'r Attack> {
        let key = StreamKey { episode: 1, ..self.stream(step, Use::Opponents) };
        systematic(&weighted(attacks), count, key)
    }

    /// Plays a step's dialogues.
    fn play<'p>(
        &self,
        step: usize,
        pairs: impl IntoIterator<Item = (Attacker<'p>, &'p Policy)>,
    ) -> Result<Vec<Episode>, Error> {
        let key = self.stream(step, Use::Dialogues);
        let pairing = |(i, (red, blue))| Pairing { red, blue, key: StreamKey { episode: i as u32, ..key } };
        self.table.play(&pairs.into_iter().enumerate().map(pairing).collect::<Vec<_>>())
    }

    fn reference(&self, views: &[&View]) -> Result<Vec<Vec<f32>>, Error> {
        reference_logprobs(self.table.base, views)
    }

    /// Passes over a batch in minibatches. `extra` adds other losses to each minibatch's gradient.
    fn learn(
        &self,
        trainer: &mut Trainer,
        samples: &[Sample],
        step: usize,
        mut extra: impl FnMut(&Trainer, usize) -> Result<Loss, Error>,
    ) -> Result<(), Error> {
        let rate = learning::learning_rate(self.learning.learning_rate, step, self.learning.steps);
        let count = self.learning.minibatches;
        for pass in 0..self.learning.epochs {
            for i in 0..count {
                // Every count-th dialogue: batches are ordered by opponent, minibatches should not be.
                let minibatch: Vec<&Sample> = samples.iter().skip(i).step_by(count).collect();
                let sequences: Vec<Sequence> = minibatch.iter().map(|s| s.sequence.clone()).collect();
                let (mut loss, mut gradients) = trainer
                    .gradients(&sequences, |j, logprobs| {
                        clipped_surrogate(minibatch[j], logprobs, self.learning.clip, minibatch.len())
                    })
                    .map_err(|e| Error::engine(&e))?;
                let (more, others) = extra(trainer, pass * count + i)?;
                loss += more;
                add(&mut gradients, others);
                trainer.apply(loss, &gradients, rate).map_err(|e| Error::engine(&e))?;
            }
        }
        Ok(())
    }
}

/// Adds gradients, tensor by tensor.
fn add(gradients: &mut [Vec<f32>], others: Vec<Vec<f32>>) {
    for (sum, other) in gradients.iter_mut().zip(others) {
        sum.iter_mut().zip(other).for_each(|(s, o)| *s += o);
    }
}

/// Log-probability under the untouched base of every own token of `views`.
fn reference_logprobs(base: &Base, views: &[&View]) -> Result<Vec<Vec<f32>>, Error> {
    logprobs_under(base, views, None)
}

/// Log-probability of every own token of `views` under a policy.
fn logprobs_under(base: &Base, views: &[&View], adapter: Option<&Arc<Adapter>>) -> Result<Vec<Vec<f32>>, Error> {
    let texts: Vec<_> = views.iter().map(|v| (v.tokens.as_slice(), adapter)).collect();
    let all = base.model.logprobs(&texts).map_err(|e| Error::engine(&e))?;
    let own =
        |(view, values): (&&View, &Vec<f32>)| view.spoken.iter().cloned().flatten().map(|i| values[i - 1]).collect();
    Ok(views.iter().zip(&all).map(own).collect())
}

/// Opponents of a batch by systematic sampling: each appears within one of its expected number of times, in order.
pub fn systematic<'a, T>(mixture: &[(&'a T, f64)], count: usize, key: StreamKey) -> Vec<&'a T> {
    let offset = unit(&mut key.rng());
    let total: f64 = mixture.iter().map(|(_, w)| w).sum();
    let mut drawn = Vec::with_capacity(count);
    let mut reached = 0.0;
    for (one, weight) in mixture {
        reached += weight / total * count as f64;
        while drawn.len() < count && (drawn.len() as f64) + offset < reached {
            drawn.push(*one);
        }
    }
    while let (true, Some((last, _))) = (drawn.len() < count, mixture.last()) {
        drawn.push(last);
    }
    drawn
}

/// `count` of `from`, each any of them alike; none where there is none.
fn draw<T>(from: &[T], count: usize, key: StreamKey) -> Vec<&T> {
    let mut rng = key.rng();
    let mut index = || ((unit(&mut rng) * from.len() as f64) as usize).min(from.len().saturating_sub(1));
    (0..count).filter_map(|_| from.get(index())).collect()
}

/// Turns episodes into samples of what `speaker` said, leaving out those in which it said nothing; and its mean log-ratio
/// to the reference per utterance, nats.
///
/// `credited[e][t]` is what utterance t of episode e earned whoever spoke, `reference[e]` the log-probabilities of its side's
/// tokens under the base. Baselines are by turn, and so by seat and turn.
fn samples(
    episodes: &[Episode],
    speaker: Speaker,
    credited: &[Vec<f64>],
    reference: &[Vec<f32>],
    beta: f64,
) -> (Vec<Sample>, f64) {
    let turns = episodes.iter().map(|e| e.turns.len()).max().unwrap_or(0);
    let mut credits: Vec<Vec<Credit>> = vec![Vec::new(); turns];
    let (mut kl, mut utterances) = (0.0, 0u64);
    for ((episode, credited), reference) in episodes.iter().zip(credited).zip(reference) {
        let spoken = speaker.view(episode).spoken.iter();
        for (t, ((turn, reference), &returns)) in
            episode.turns.iter().zip(by_utterance(spoken, reference)).zip(credited).enumerate()
        {
            let Some(own) = speaker.said(turn) else { continue };
            let log_ratios: Vec<f64> = own.iter().zip(reference).map(|(l, r)| f64::from(l - r)).collect();
            kl += log_ratios.iter().sum::<f64>();
            utterances += 1;
            credits[t].push(Credit { returns, log_ratios });
        }
    }
    let mut advantages: Vec<_> = advantages(&credits, beta).into_iter().map(Vec::into_iter).collect();
    let samples = episodes.iter().filter_map(|episode| {
        let (mut old, mut own_advantages) = (Vec::new(), Vec::new());
        for (turn, advantages) in episode.turns.iter().zip(&mut advantages) {
            let Some(own) = speaker.said(turn) else { continue };
            old.extend(own);
            own_advantages.extend(advantages.next().unwrap_or_default());
        }
        Some(Sample { sequence: said_by(speaker, episode)?, old, advantages: own_advantages })
    });
    (samples.collect(), kl / utterances.max(1) as f64)
}

/// What `speaker` said in `episode`, to be said again; `None` where it said nothing.
fn said_by(speaker: Speaker, episode: &Episode) -> Option<Sequence> {
    let scored: Vec<usize> = speaker.positions(episode).collect();
    (!scored.is_empty()).then(|| Sequence { tokens: speaker.view(episode).tokens.clone(), scored })
}

/// Values of a side's own tokens, cut at its utterances.
fn by_utterance<'v>(
    spoken: impl Iterator<Item = &'v Range<usize>>,
    mut values: &'v [f32],
) -> impl Iterator<Item = &'v [f32]> {
    spoken.map(move |range| {
        let (own, rest) = values.split_at(range.len().min(values.len()));
        values = rest;
        own
    })
}

/// Return that is still open at each turn: what the aggregator makes of the scores from this turn on. An unscored reply
/// earns red nothing here; it is left out of every measured average.
fn returns_to_go(episode: &Episode, rules: &Rules) -> Vec<f64> {
    let scores: Vec<f64> = episode.scores().iter().map(|s| s.unwrap_or(0.0)).collect();
    let rest = |t: usize| match rules.aggregator() {
        Aggregator::Max => scores[t..].iter().copied().fold(0.0, f64::max),
        Aggregator::Sum => scores[t..].iter().sum(),
        Aggregator::Mean => scores[t..].iter().sum::<f64>() / rules.turns() as f64,
        Aggregator::Last => scores[scores.len() - 1],
    };
    (0..scores.len()).map(rest).collect()
}
