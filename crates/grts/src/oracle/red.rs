//! Red's oracle: an attacker trained from the base against a mixture of blue policies.
//!
//! Against a hardened blue hardly any attack succeeds, and a batch of a policy gradient holds one lucky dialogue or none. So
//! the training begins with a search, the cross-entropy method: sample many dialogues, fit the adapter to those that
//! succeeded, sample from that. A way in that the base takes once in a thousand dialogues is common after three rounds. A
//! round is over once it has seen enough successes: against an open blue that is a fraction of its dialogues.

use super::learning::negative_log_likelihood;
use super::{
    Diversity, Floors, Health, Mixture, Progress, Training, TrainingLog, own_positions, returns_to_go, samples,
};
use crate::error::Error;
use crate::policy::{Base, Policy, View};
use crate::rollout::{Attacker, Episode};
use grts_game::Estimate;
use grts_game::rules::Player;
use grts_lm::lora::Adapter;
use grts_lm::train::{Sequence, Trainer};
use std::sync::Arc;

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
    /// Where a training ends early.
    pub floors: Floors,
    /// What being different earns, while it earns anything.
    pub diversity: Option<&'a Diversity<'a>>,
}

/// Updates of a round, each on at most a batch of the dialogues that succeeded.
const SEARCH_UPDATES: usize = 8;
/// Batches of dialogues that succeeded after which a round has seen enough, and batches it plays at a time.
const ENOUGH: usize = 2;
const PART: usize = 4;
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
        let mut good = Arc::new(trainer.to_adapter().ok_or_else(super::not_an_adapter)?);
        for round in 0..self.search_rounds {
            let found = self.search(&mut trainer, round, blues, &mut log)?;
            progress(found)?;
        }
        for step in 0..learning.steps {
            let own = Policy::new("training", trainer.to_adapter().ok_or_else(super::not_an_adapter)?);
            let episodes = self.play(self.search_rounds << 16 | step, &own, blues, learning.batch)?;
            let reference = self.training.reference(&episodes.iter().map(|e| &e.red).collect::<Vec<_>>())?;
            let health = Health::of(&episodes, &reference);
            log.health.push(health);
            if let Some(fault) = health.fault(&self.floors) {
                log.count(&episodes);
                log.collapsed = Some(format!("step {}: {fault}", step + 1));
                return Ok((Adapter::clone(&good), log));
            }
            good = own.adapter.as_ref().map_or(good, Arc::clone);
            let credited = self.credit(&episodes, &reference, multiplier)?;
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
        let (mut episodes, mut found) = (Vec::new(), Vec::new());
        while left > 0 && found.len() < ENOUGH * learning.batch {
            let count = left.min(PART * learning.batch);
            let played = self.play(round << 16 | part, &own, blues, count)?;
            let won: Vec<Episode> = played.iter().filter(|e| e.returns.is_some_and(|r| r > 0.0)).cloned().collect();
            let factors = self.diversity.map_or_else(|| Ok(vec![1.0; won.len()]), |term| term.factors(&won))?;
            found.extend(won.iter().zip(factors).filter_map(|(e, factor)| Some((success(e), e.returns? * factor))));
            episodes.extend(played);
            (left, part) = (left - count, part + 1);
        }
        log.push_search(&episodes);
        let mut successes = found.iter().cycle();
        for _ in 0..SEARCH_UPDATES.min(SEARCH_UPDATES * found.len()) {
            let (batch, returns): (Vec<Sequence>, Vec<f64>) =
                successes.by_ref().take(found.len().min(learning.batch)).cloned().unzip();
            let total: f64 = returns.iter().sum();
            let (loss, gradients) = trainer
                .gradients(&batch, |i, logprobs| negative_log_likelihood(logprobs, returns[i] / total))
                .map_err(|e| Error::engine(&e))?;
            trainer.apply(loss, &gradients, SEARCH_RATE * learning.learning_rate).map_err(|e| Error::engine(&e))?;
        }
        Ok(log.search[round])
    }

    /// Return-to-go of each utterance plus the multiplier times its mean reference log-probability plus what diversity earns.
    fn credit(&self, episodes: &[Episode], reference: &[Vec<f32>], multiplier: f64) -> Result<Vec<Vec<f64>>, Error> {
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
        let mut credited: Vec<Vec<f64>> = episodes.iter().zip(reference).map(credit).collect();
        if let Some(diversity) = self.diversity {
            let earned = diversity.bonus(episodes)?;
            credited.iter_mut().flatten().zip(earned.iter().flatten()).for_each(|(sum, bonus)| *sum += bonus);
        }
        Ok(credited)
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
