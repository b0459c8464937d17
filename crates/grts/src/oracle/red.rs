//! Red's oracle: an attacker trained from the base against a mixture of blue policies.
//!
//! Against a hardened blue hardly any attack succeeds, and a batch of a policy gradient holds one lucky dialogue or none. So
//! the training begins with a search, the cross-entropy method: sample many dialogues, fit the adapter to those that
//! succeeded, sample from that. A way in that the base takes once in a thousand dialogues is common after two rounds. A
//! round is over once it has seen enough successes: against an open blue that is a fraction of its dialogues.
//!
//! One success says little: where nearly all is closed, most of them are luck. So what got through is said again, and the
//! fit weighs each attack by how often it gets through then. That turns the search from ways in that exist to ways in
//! that are open, at a few dialogues each in which red need not generate a word.

use super::learning::negative_log_likelihood;
use super::{Mixture, Progress, Training, TrainingLog, own_positions, returns_to_go, samples};
use crate::error::Error;
use crate::policy::{Base, Policy, View};
use crate::rollout::{Attacker, Episode};
use grts_game::Estimate;
use grts_game::rules::Player;
use grts_lm::lora::Adapter;
use grts_lm::train::{Sequence, Trainer};

/// Trains attackers.
pub struct RedOracle<'a> {
    /// Table, settings, stream.
    pub training: Training<'a>,
    /// Least mean reference log-probability per token (nats) of an attack.
    pub fluency_floor: f64,
    /// Step size of the multiplier on fluency.
    pub multiplier_rate: f64,
    /// Rounds of the search that comes before the policy gradient.
    pub search_rounds: usize,
    /// Dialogues sampled in the first of them at most; each later one has half as many, since successes are rarest first.
    pub search_dialogues: usize,
}

/// Updates of a round, each on at most a batch of the dialogues that succeeded.
const SEARCH_UPDATES: usize = 8;
/// Batches of dialogues that succeeded after which a round has seen enough, and batches it plays at a time.
const ENOUGH: usize = 2;
const PART: usize = 4;
/// How often an attack that got through is said again, to learn which ones do so often.
const RETESTS: usize = 4;
/// Share of the peak rate that they use: at all of it the attacks of later rounds lose their grammar.
const SEARCH_RATE: f64 = 0.5;

impl RedOracle<'_> {
    /// A best response to `blues`, from a fresh adapter.
    ///
    /// # Errors
    /// Whatever stops the training; nothing is kept then.
    pub fn respond(&self, blues: &Mixture<'_>, progress: &mut Progress<'_>) -> Result<(Adapter, TrainingLog), Error> {
        let learning = self.training.learning;
        let mut trainer = self.training.trainer(None)?;
        let mut log = TrainingLog::default();
        let mut multiplier = 0.0f64;
        for round in 0..self.search_rounds {
            let found = self.search(&mut trainer, round, blues, &mut log)?;
            progress(found)?;
        }
        for step in 0..learning.steps {
            let own = Policy::new("training", trainer.to_adapter().ok_or_else(super::not_an_adapter)?);
            let episodes = self.play(self.search_rounds << 16 | step, &own, blues, learning.batch)?;
            let reference = self.training.reference(&episodes.iter().map(|e| &e.red).collect::<Vec<_>>())?;
            let credited = self.credit(&episodes, &reference, multiplier);
            let (batch, kl) = samples(&episodes, Player::Red, &credited, &reference, learning.beta);
            self.training.learn(&mut trainer, &batch, step, |_, _| Ok((0.0, Vec::new())))?;
            let fluency = mean_fluency(&reference);
            multiplier = (multiplier + self.multiplier_rate * (self.fluency_floor - fluency)).max(0.0);
            let returns = log.count(&episodes);
            log.push(returns, kl, fluency, multiplier);
            progress(log.returns[step])?;
        }
        Ok((trainer.to_adapter().ok_or_else(super::not_an_adapter)?, log))
    }

    fn play(&self, step: usize, own: &Policy, blues: &Mixture<'_>, count: usize) -> Result<Vec<Episode>, Error> {
        let blues = self.training.opponents(step, blues, count);
        self.training.play(step, blues.into_iter().map(|blue| (Attacker::Policy(own), blue)))
    }

    /// One round of the search; returns the mean return of what was sampled.
    fn search(
        &self,
        trainer: &mut Trainer,
        round: usize,
        blues: &Mixture<'_>,
        log: &mut TrainingLog,
    ) -> Result<f64, Error> {
        let learning = self.training.learning;
        let own = Policy::new("training", trainer.to_adapter().ok_or_else(super::not_an_adapter)?);
        let (mut left, mut part) = ((self.search_dialogues >> round.min(63)).max(1), 0);
        let (mut sampled, mut found) = (0, Vec::new());
        while left > 0 && found.len() < ENOUGH * learning.batch {
            let count = left.min(PART * learning.batch);
            let played = self.play(round << 16 | part, &own, blues, count)?;
            log.count(&played);
            sampled += played.len();
            found.extend(played.into_iter().filter(|e| e.returns.is_some_and(|r| r > 0.0)));
            (left, part) = (left - count, part + 1);
        }
        log.search.push(found.iter().filter_map(|e| e.returns).sum::<f64>() / sampled.max(1) as f64);
        let worth = self.retested(round, part, &found, blues, log)?;
        let kept: Vec<(Sequence, f64)> =
            found.iter().map(success).zip(worth).filter(|(_, worth)| *worth > 0.0).collect();
        let mut successes = kept.iter().cycle();
        for _ in 0..SEARCH_UPDATES.min(SEARCH_UPDATES * kept.len()) {
            let (batch, worth): (Vec<Sequence>, Vec<f64>) =
                successes.by_ref().take(kept.len().min(learning.batch)).cloned().unzip();
            let total: f64 = worth.iter().sum();
            let (loss, gradients) = trainer
                .gradients(&batch, |i, logprobs| negative_log_likelihood(logprobs, worth[i] / total))
                .map_err(|e| Error::engine(&e))?;
            trainer.apply(loss, &gradients, SEARCH_RATE * learning.learning_rate).map_err(|e| Error::engine(&e))?;
        }
        Ok(log.search[round])
    }

    /// Mean return of each attack of `found` when it is said again, word for word, to [`RETESTS`] more draws of blue.
    fn retested(
        &self,
        round: usize,
        part: usize,
        found: &[Episode],
        blues: &Mixture<'_>,
        log: &mut TrainingLog,
    ) -> Result<Vec<f64>, Error> {
        let said: Vec<Vec<String>> =
            found.iter().map(|e| e.turns.iter().map(|t| t.red.text.clone()).collect()).collect();
        let mut worth = vec![0.0; found.len()];
        for retest in 0..RETESTS {
            let step = round << 16 | (part + retest);
            let mut opponents = self.training.opponents(step, blues, found.len());
            // Opponents come in the order of their weights, attacks in that of their discovery: each meets another blue.
            opponents.rotate_left(retest * found.len() / RETESTS);
            let attackers = said.iter().map(|said| Attacker::Script(said));
            let episodes = self.training.play(step, attackers.zip(opponents))?;
            log.count(&episodes);
            worth.iter_mut().zip(&episodes).for_each(|(sum, e)| *sum += e.returns.unwrap_or(0.0) / RETESTS as f64);
        }
        Ok(worth)
    }

    /// Return-to-go of each utterance plus the multiplier times its mean reference log-probability.
    fn credit(&self, episodes: &[Episode], reference: &[Vec<f32>], multiplier: f64) -> Vec<Vec<f64>> {
        let credit = |(episode, reference): (&Episode, &Vec<f32>)| {
            let mut at = 0;
            let spoken = episode.red.spoken.iter();
            let lengths = returns_to_go(episode, self.training.table.rules).into_iter().zip(spoken);
            lengths
                .map(|(returns, range)| {
                    let own = &reference[at..at + range.len()];
                    at += range.len();
                    returns + multiplier * own.iter().map(|l| f64::from(*l)).sum::<f64>() / range.len().max(1) as f64
                })
                .collect()
        };
        episodes.iter().zip(reference).map(credit).collect()
    }
}

/// What red said, to be said again.
fn success(episode: &Episode) -> Sequence {
    Sequence { tokens: episode.red.tokens.clone(), scored: own_positions(&episode.red).collect() }
}

/// Mean reference log-probability per token over a batch, nats.
fn mean_fluency(reference: &[Vec<f32>]) -> f64 {
    let (sum, n) = reference.iter().flatten().fold((0.0, 0u64), |(sum, n), l| (sum + f64::from(*l), n + 1));
    sum / n.max(1) as f64
}

/// Mean reference log-probability per token of red's dialogues (nats), with a t interval over dialogues.
///
/// # Errors
/// When a dialogue outgrows the context window.
pub fn fluency(base: &Base, episodes: &[Episode]) -> Result<Estimate, Error> {
    let views: Vec<&View> = episodes.iter().map(|e| &e.red).collect();
    let reference = super::reference_logprobs(base, &views)?;
    let means: Vec<f64> =
        reference.iter().filter(|r| !r.is_empty()).map(|r| mean_fluency(std::slice::from_ref(r))).collect();
    Ok(Estimate::student(&means))
}
