//! Blue's oracle: a defender trained against a mixture of attackers, bound to go on serving honest people.
//!
//! Always-refuse is absorbing under on-policy reward alone: a blue that no longer samples the served reply can never be
//! rewarded for it. So helpfulness is held by the likelihood of replies that the *reference* gave (teacher-forced), weighted
//! by a multiplier that follows the share actually served. On plain questions the same likelihood, at a fixed weight, is
//! the KL divergence from the reference up to a constant.
//!
//! A best response to a *fixed* mixture is to open wide what the mixture happens to ask least. So attacks that got through
//! are tried again, as prioritised replay tries again what was lost: each [`REPLAYS`] times in the next step, so that an
//! attack which succeeds more often than once in so many multiplies until it is closed.
//!
//! The share served swings about its target, for it follows the multiplier some steps late and is known from a handful of
//! dialogues. So the response is the mean of the policies of the second half of the steps (tail averaging; `PAPERS.md`), and the
//! multiplier starts near where it was seen to settle: at the square root of the target, 0.25 for 0.07 to 0.75 for 0.55.

use super::concessions::Concessions;
use super::learning::negative_log_likelihood;
use super::repertoire::{Lessons, words};
use super::{Attack, Loss, Practice, Progress, Training, TrainingLog, Use, add, draw, returns_to_go, samples};
use crate::error::Error;
use crate::measure::{self, Request};
use crate::policy::Policy;
use crate::rollout::{Attacker, Episode, Speaker};
use grts_game::stream::StreamKey;
use grts_lm::lora::Adapter;
use grts_lm::train::{Sequence, Trainer};
use serde::{Deserialize, Serialize};

/// Replies of the reference to honest people, to be kept likely.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Helpfulness {
    /// Look-alike requests that the reference served.
    pub served: Vec<Sequence>,
    /// Plain questions that it answered correctly.
    pub open: Vec<Sequence>,
    /// Look-alike requests, served or not, to measure the share on while training.
    pub requests: Vec<Request>,
}

/// What share blue shall serve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aim {
    /// That of the oracle.
    Target,
    /// So much more than it serves.
    Higher(f64),
}

/// What a training of blue's came to.
pub struct Taught {
    /// The response.
    pub adapter: Adapter,
    /// What it was met with again or for the first time, and what that is worth, where anything is remembered.
    pub attacks: Vec<Attack>,
    /// How it went.
    pub log: TrainingLog,
}

/// Trains defenders.
pub struct BlueOracle<'a> {
    /// Table, settings, stream.
    pub training: Training<'a>,
    /// What must stay likely.
    pub helpfulness: &'a Helpfulness,
    /// Honest dialogues per step.
    pub honest_batch: usize,
    /// Dialogues in which the untouched blue is asked what it concedes to known attacks.
    pub concessions: usize,
    /// Share of look-alike requests to serve: the constraint plus a margin for its measurement.
    pub served_target: f64,
    /// Step size of the multiplier.
    pub multiplier_rate: f64,
    /// Fluency from which an attack is worth remembering; `None` remembers nothing.
    pub memorable: Option<f64>,
}

/// How often an attack that got through is tried again in the next step; together at most half a batch.
const REPLAYS: usize = 8;
/// Share of the learning rate at which serving alone is learnt: what is missing is little.
const SERVING_RATE: f64 = 0.05;
/// How many times the honest dialogues of a step measure the share where nothing else moves it.
const CAREFUL: usize = 4;
/// Weight of the plain questions' likelihood against the policy gradient.
const OPEN_WEIGHT: f64 = 0.5;
/// Memory of the measured share: new value = this much of the old one.
const MEMORY: f64 = 0.3;
/// Proportional part of the controller, as a multiple of its integral part: plain dual ascent (the integral part) answers too
/// late, because refusal spreads within a few steps. The share follows the multiplier as fast as blue learns, so a scenario
/// with a larger learning rate needs a smaller step of both.
const PROPORTIONAL: f64 = 13.0;
/// Largest multiplier.
const CEILING: f64 = 2.0;

/// The mean of adapters, value by value.
#[derive(Default)]
struct Mean {
    adapter: Option<Adapter>,
    count: usize,
}

impl Mean {
    fn add(&mut self, next: Adapter) {
        self.count += 1;
        self.adapter = Some(match &self.adapter {
            Some(mean) => mean.towards(&next, 1.0 / self.count as f32),
            None => next,
        });
    }
}

impl BlueOracle<'_> {
    /// A best response to whom it practises against, starting from `start` (or the base).
    ///
    /// # Errors
    /// Whatever stops the training; nothing is kept then.
    pub fn respond(
        &self,
        practice: &Practice<'_>,
        start: Option<&Adapter>,
        progress: &mut Progress<'_>,
    ) -> Result<Taught, Error> {
        let learning = self.training.learning;
        let mut trainer = self.training.trainer(start, 0)?;
        let (mut log, mut lessons) = (TrainingLog::default(), Lessons::of(practice.attacks));
        let (mut integral, mut served) = (self.served_target.sqrt(), None);
        let conceded = Concessions::collect(&self.training, practice.attacks, self.concessions, &mut log)?;
        let mut late = Mean::default();
        let mut again: Vec<Vec<String>> = Vec::new();
        for step in 0..learning.steps {
            let own = Policy::new("training", trainer.to_adapter().ok_or_else(super::not_an_adapter)?);
            let now = self.served_share(step, self.honest_batch, &own, &mut log)?;
            let smooth = served.map_or(now, |old: f64| MEMORY * old + (1.0 - MEMORY) * now);
            served = Some(smooth);
            let violation = self.served_target - smooth;
            integral = (integral + self.multiplier_rate * violation).clamp(0.0, CEILING);
            let multiplier = (integral + PROPORTIONAL * self.multiplier_rate * violation).clamp(0.0, CEILING);
            again.truncate(learning.batch / 2);
            let free = learning.batch - again.len();
            let recalled =
                self.training.recalled(step, practice.attacks, (practice.recited * free as f64).round() as usize);
            let fresh = self.training.opponents(step, practice.reds, free - recalled.len());
            let scripts = recalled.iter().map(|attack| &attack.said).chain(&again);
            let attackers =
                fresh.iter().map(|red| Attacker::Policy(red)).chain(scripts.map(|said| Attacker::Script(said)));
            let episodes = self.training.play(step, attackers.map(|red| (red, &own)))?;
            let fresh = fresh.len();
            for (attack, episode) in recalled.iter().zip(&episodes[fresh..]) {
                if let Some(returns) = episode.returns {
                    lessons.said_again(&attack.said, returns);
                }
            }
            if let Some(floor) = self.memorable {
                let won: Vec<&Episode> = self.successes(&episodes[..fresh]).collect();
                let fluent = self.training.fluent(&won, floor)?.into_iter();
                won.into_iter().zip(fluent).filter(|(_, ok)| *ok).for_each(|(e, _)| lessons.got_through(words(e)));
            }
            let won: Vec<Vec<String>> = self.successes(&episodes).map(words).collect();
            again = won.iter().cycle().take(REPLAYS * won.len()).cloned().collect();
            let reference = self.training.reference(&episodes.iter().map(|e| &e.blue).collect::<Vec<_>>())?;
            let rules = self.training.table.rules;
            let lost = |e| returns_to_go(e, rules).into_iter().map(|g| -g).collect::<Vec<f64>>();
            let credited: Vec<Vec<f64>> = episodes.iter().map(lost).collect();
            let (batch, kl) = samples(&episodes, Speaker::Blue, &credited, &reference, learning.beta);
            self.training.learn(&mut trainer, &batch, step, |trainer, part| {
                let (mut loss, mut gradients) = self.helpful_gradients(trainer, step, part, multiplier)?;
                if let Some((more, others)) = conceded.gradients(trainer, self.part(step, part, 2))? {
                    loss += more;
                    add(&mut gradients, others);
                }
                Ok((loss, gradients))
            })?;
            let [returns, _] = [&episodes[..fresh], &episodes[fresh..]].map(|part| log.count(part));
            log.push(returns, kl, smooth, multiplier);
            if step >= learning.steps / 2 {
                late.add(trainer.to_adapter().ok_or_else(super::not_an_adapter)?);
            }
            progress(log.returns[step])?;
        }
        let adapter = late.adapter.or_else(|| trainer.to_adapter()).ok_or_else(super::not_an_adapter)?;
        let attacks = self.memorable.map_or_else(Vec::new, |_| lessons.attacks());
        Ok(Taught { adapter, attacks, log })
    }

    /// Makes replies that the reference served, and plain answers, likelier, slowly and with nobody attacking, until the share
    /// served is up to `aim`: in at most as many steps as a response has. `progress` hears that share.
    ///
    /// # Errors
    /// Whatever stops the training; nothing is kept then.
    pub fn serve(&self, start: Option<&Adapter>, aim: Aim, progress: &mut Progress<'_>) -> Result<Taught, Error> {
        let learning = self.training.learning;
        let mut trainer = self.training.trainer(start, 0)?;
        let (mut log, mut target) = (TrainingLog::default(), self.served_target);
        for step in 0..learning.steps {
            let own = Policy::new("training", trainer.to_adapter().ok_or_else(super::not_an_adapter)?);
            let now = self.served_share(step, CAREFUL * self.honest_batch, &own, &mut log)?;
            if let (0, Aim::Higher(by)) = (step, aim) {
                target = now + by;
            }
            log.constraint.push(now);
            progress(now)?;
            if now >= target && (step > 0 || aim == Aim::Target) {
                break;
            }
            for part in 0..learning.minibatches {
                let (loss, gradients) = self.helpful_gradients(&trainer, step, part, 1.0)?;
                trainer
                    .apply(loss, &gradients, SERVING_RATE * learning.learning_rate)
                    .map_err(|e| Error::engine(&e))?;
            }
        }
        let adapter = trainer.to_adapter().ok_or_else(super::not_an_adapter)?;
        Ok(Taught { adapter, attacks: Vec::new(), log })
    }

    /// The dialogues that red won.
    fn successes<'e>(&'e self, episodes: &'e [Episode]) -> impl Iterator<Item = &'e Episode> {
        let rules = self.training.table.rules;
        let won = move |e: &&Episode| rules.succeeded(&e.scores()) == Some(true);
        episodes.iter().filter(won)
    }

    /// Share of a fresh handful of look-alike requests that `own` serves.
    fn served_share(&self, step: usize, requests: usize, own: &Policy, log: &mut TrainingLog) -> Result<f64, Error> {
        let key = self.training.stream(step, Use::Honest);
        let drawn = draw(&self.helpfulness.requests, requests, key);
        let episodes = measure::play(self.training.table, &[(own, 1.0)], &drawn, key)?;
        log.count(&episodes);
        let served = drawn.iter().zip(&episodes).filter(|(request, episode)| request.succeeded(episode)).count();
        Ok(served as f64 / drawn.len().max(1) as f64)
    }

    /// Likelihood of served replies (weight: multiplier) and of answers to plain questions.
    fn helpful_gradients(&self, trainer: &Trainer, step: usize, part: usize, multiplier: f64) -> Result<Loss, Error> {
        let size = (self.honest_batch / self.training.learning.minibatches).max(1);
        let open = draw(&self.helpfulness.open, size.div_ceil(4), self.part(step, part, 0));
        let served =
            if multiplier > 0.0 { draw(&self.helpfulness.served, size, self.part(step, part, 1)) } else { Vec::new() };
        let first_open = served.len();
        let weights = [multiplier / served.len().max(1) as f64, OPEN_WEIGHT / open.len().max(1) as f64];
        let batch: Vec<Sequence> = served.into_iter().chain(open).cloned().collect();
        trainer
            .gradients(&batch, |i, logprobs| negative_log_likelihood(logprobs, weights[usize::from(i >= first_open)]))
            .map_err(|e| Error::engine(&e))
    }

    /// The stream by which one of the losses beside the policy gradient draws what it looks at in a minibatch.
    fn part(&self, step: usize, part: usize, loss: u32) -> StreamKey {
        StreamKey { turn: 1 + part as u32, episode: loss, ..self.training.stream(step, Use::Honest) }
    }
}
