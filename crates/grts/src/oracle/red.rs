//! Red's oracle: a team of attackers trained from the base against a mixture of blue policies.
//!
//! The seats of the team learn together: they play the same dialogues and share their return, from which each utterance is
//! credited what was still open when it was made, less a baseline of its seat and turn. Each seat has a trainer of its own,
//! and a multiplier that keeps it fluent. A team of one is a single attacker.
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
use super::repertoire::words;
use super::{
    Attack, Diversity, Floors, Health, Mixture, Progress, Training, TrainingLog, by_utterance, returns_to_go, said_by,
    samples,
};
use crate::error::Error;
use crate::policy::{Base, Policy, View};
use crate::rollout::{Attacker, Episode, Speaker};
use crate::scenario::Learning;
use grts_game::Estimate;
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
    /// Where a training ends early.
    pub floors: Floors,
    /// What being different earns, while it earns anything.
    pub diversity: Option<&'a Diversity<'a>>,
    /// What got through before: tried again in the first round of the search, and learnt from with what that round finds. Where
    /// there is one, a dialogue below the floor of fluency is neither learnt from in the search nor kept.
    pub repertoire: Option<&'a [Attack]>,
}

/// What a training of red's came to.
pub struct Learnt {
    /// The response, an adapter for each seat.
    pub adapters: Vec<Adapter>,
    /// The same before the policy gradient, where a search came first and the gradient went on to its end: broader, and
    /// less sharp.
    pub searched: Option<Vec<Adapter>>,
    /// What the search found or tried again, where there is a repertoire.
    pub attacks: Vec<Attack>,
    /// How it went.
    pub log: TrainingLog,
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

/// A seat that learns.
struct Seat {
    trainer: Trainer,
    /// On its fluency.
    multiplier: f64,
}

/// The tuple as it stands.
fn tuple(seats: &[Seat]) -> Result<Vec<Adapter>, Error> {
    seats.iter().map(|seat| seat.trainer.to_adapter().ok_or_else(super::not_an_adapter)).collect()
}

impl RedOracle<'_> {
    /// A best response to `blues`, from fresh adapters: one for each seat of the team.
    ///
    /// # Errors
    /// Whatever stops the training; nothing is kept then.
    pub fn respond(&self, blues: &Mixture<'_>, progress: &mut Progress<'_>) -> Result<Learnt, Error> {
        let Training { table, learning, key } = self.training;
        // A seat of m speaks about an m-th of the words, and Adam's step should follow the root of what it learns from: at the
        // rate of one that speaks alone one of two seats loses its grammar.
        let rate = learning.learning_rate / (table.rules.team().seats() as f64).sqrt();
        let learning = Learning { learning_rate: rate, ..learning.clone() };
        RedOracle { training: Training { table, learning: &learning, key }, ..*self }.train(blues, progress)
    }

    fn train(&self, blues: &Mixture<'_>, progress: &mut Progress<'_>) -> Result<Learnt, Error> {
        let learning = self.training.learning;
        let fresh = |seat| Ok(Seat { trainer: self.training.trainer(None, seat)?, multiplier: 0.0 });
        let mut seats: Vec<Seat> =
            (0..self.training.table.rules.team().seats()).map(fresh).collect::<Result<_, Error>>()?;
        let (mut log, mut attacks) = (TrainingLog::default(), Vec::new());
        let mut good = tuple(&seats)?;
        for round in 0..self.search_rounds {
            attacks.extend(self.search(&mut seats, round, blues, &mut log)?);
            progress(log.search[round])?;
        }
        let searched = (self.search_rounds > 0).then(|| tuple(&seats)).transpose()?;
        for step in 0..learning.steps {
            let own = Policy::team("training", tuple(&seats)?);
            let episodes = self.play(self.search_rounds << 16 | step, &own, blues, learning.batch)?;
            let reference = self.training.reference(&episodes.iter().map(|e| &e.red).collect::<Vec<_>>())?;
            let health = Health::of(&episodes, &reference);
            log.health.push(health);
            if let Some(fault) = health.fault(&self.floors) {
                log.count(&episodes);
                log.collapsed = Some(format!("step {}: {fault}", step + 1));
                return Ok(Learnt { adapters: good, searched: None, attacks, log });
            }
            good = tuple(&seats)?;
            self.climb(&mut seats, step, (&episodes, &reference), &mut log)?;
            progress(log.returns[step])?;
        }
        Ok(Learnt { adapters: tuple(&seats)?, searched, attacks, log })
    }

    fn play(&self, step: usize, own: &Policy, blues: &Mixture<'_>, count: usize) -> Result<Vec<Episode>, Error> {
        let blues = self.training.opponents(step, blues, count);
        self.training.play(step, blues.into_iter().map(|blue| (Attacker::Policy(own), blue)))
    }

    /// One step of the policy gradient, of every seat that has spoken.
    fn climb(
        &self,
        seats: &mut [Seat],
        step: usize,
        (episodes, reference): (&[Episode], &[Vec<f32>]),
        log: &mut TrainingLog,
    ) -> Result<(), Error> {
        let credited = self.credit(episodes, reference, seats)?;
        let (mut kl, mut spoke, mut least, mut strictest) = (0.0, 0, f64::INFINITY, 0.0f64);
        for (idx, seat) in seats.iter_mut().enumerate() {
            let speaker = Speaker::Red(idx);
            let Some(fluency) = mean_fluency(episodes, reference, speaker) else { continue };
            let (batch, own_kl) = samples(episodes, speaker, &credited, reference, self.training.learning.beta);
            self.training.learn(&mut seat.trainer, &batch, step, |_, _| Ok((0.0, Vec::new())))?;
            seat.multiplier = (seat.multiplier + self.multiplier_rate * (self.fluency_floor - fluency)).max(0.0);
            (kl, spoke) = (kl + own_kl, spoke + 1);
            (least, strictest) = (least.min(fluency), strictest.max(seat.multiplier));
        }
        let returns = log.count(episodes);
        log.push(returns, kl / f64::from(spoke.max(1)), least, strictest);
        Ok(())
    }

    /// One round of the search; returns what it found or tried again.
    fn search(
        &self,
        seats: &mut [Seat],
        round: usize,
        blues: &Mixture<'_>,
        log: &mut TrainingLog,
    ) -> Result<Vec<Attack>, Error> {
        let learning = self.training.learning;
        let own = Policy::team("training", tuple(seats)?);
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
        if self.repertoire.is_some() {
            let fluent = self.training.fluent(&found.iter().collect::<Vec<_>>(), self.fluency_floor)?;
            found = found.into_iter().zip(fluent).filter_map(|(e, fluent)| fluent.then_some(e)).collect();
        }
        let mut said: Vec<Vec<String>> = found.iter().map(words).collect();
        let repertoire = self.repertoire.unwrap_or_default();
        if round == 0 && !repertoire.is_empty() {
            let known = self.recited(repertoire, part, blues)?;
            log.count(&known);
            found.extend(known);
            // In full also where a dialogue was over before its attack was.
            said.extend(repertoire.iter().map(|attack| attack.said.clone()));
            part += 1;
        }
        let mut worth = self.retested(round << 16 | part, &said, blues, log)?;
        let attacks = said.into_iter().zip(&worth).map(|(said, worth)| Attack { said, worth: *worth });
        let attacks = if self.repertoire.is_some() { attacks.collect() } else { Vec::new() };
        if let Some(term) = self.diversity {
            worth.iter_mut().zip(term.factors(&found)?).for_each(|(worth, factor)| *worth *= factor);
        }
        for (idx, seat) in seats.iter_mut().enumerate() {
            let said = found.iter().zip(&worth).filter(|(_, worth)| **worth > 0.0);
            let said = said.filter_map(|(e, worth)| Some((said_by(Speaker::Red(idx), e)?, *worth)));
            self.imitate(&mut seat.trainer, &said.collect::<Vec<_>>())?;
        }
        Ok(attacks)
    }

    /// Says everything in the repertoire once, so that it stands in dialogues that red can learn from.
    fn recited(&self, repertoire: &[Attack], step: usize, blues: &Mixture<'_>) -> Result<Vec<Episode>, Error> {
        let blues = self.training.opponents(step, blues, repertoire.len());
        self.training.play(step, repertoire.iter().map(|attack| Attacker::Recital(&attack.said)).zip(blues))
    }

    /// Fits a seat to what it said in the attacks that succeeded, in proportion to their worth.
    fn imitate(&self, trainer: &mut Trainer, said: &[(Sequence, f64)]) -> Result<(), Error> {
        let learning = self.training.learning;
        let mut successes = said.iter().cycle();
        for _ in 0..SEARCH_UPDATES.min(SEARCH_UPDATES * said.len()) {
            let (batch, worth): (Vec<Sequence>, Vec<f64>) =
                successes.by_ref().take(said.len().min(learning.batch)).cloned().unzip();
            let total: f64 = worth.iter().sum();
            let (loss, gradients) = trainer
                .gradients(&batch, |i, logprobs| negative_log_likelihood(logprobs, worth[i] / total))
                .map_err(|e| Error::engine(&e))?;
            trainer.apply(loss, &gradients, SEARCH_RATE * learning.learning_rate).map_err(|e| Error::engine(&e))?;
        }
        Ok(())
    }

    /// Mean return of each attack when it is said again, word for word, to [`RETESTS`] more draws of blue.
    fn retested(
        &self,
        first: usize,
        said: &[Vec<String>],
        blues: &Mixture<'_>,
        log: &mut TrainingLog,
    ) -> Result<Vec<f64>, Error> {
        let mut worth = vec![0.0; said.len()];
        for retest in 0..RETESTS {
            let step = first + retest;
            let mut opponents = self.training.opponents(step, blues, said.len());
            // Opponents come in the order of their weights, attacks in that of their discovery: each meets another blue.
            opponents.rotate_left(retest * said.len() / RETESTS);
            let attackers = said.iter().map(|said| Attacker::Script(said));
            let episodes = self.training.play(step, attackers.zip(opponents))?;
            log.count(&episodes);
            worth.iter_mut().zip(&episodes).for_each(|(sum, e)| *sum += e.returns.unwrap_or(0.0) / RETESTS as f64);
        }
        Ok(worth)
    }

    /// Return-to-go of each utterance plus its seat's multiplier times its mean reference log-probability, plus what
    /// diversity earns.
    fn credit(&self, episodes: &[Episode], reference: &[Vec<f32>], seats: &[Seat]) -> Result<Vec<Vec<f64>>, Error> {
        let credit = |(episode, reference): (&Episode, &Vec<f32>)| {
            let returns = returns_to_go(episode, self.training.table.rules).into_iter();
            let spoken = by_utterance(episode.red.spoken.iter(), reference).zip(&episode.turns);
            returns
                .zip(spoken)
                .map(|(returns, (own, turn))| {
                    let fluency = own.iter().map(|l| f64::from(*l)).sum::<f64>() / own.len().max(1) as f64;
                    returns + seats[turn.seat].multiplier * fluency
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

impl Training<'_> {
    /// Whether each dialogue alone keeps to the floor of fluency, every seat that spoke in it.
    pub(super) fn fluent(&self, episodes: &[&Episode], floor: f64) -> Result<Vec<bool>, Error> {
        let reference = self.reference(&episodes.iter().map(|e| &e.red).collect::<Vec<_>>())?;
        let seats = self.table.rules.team().seats();
        let one = |(episode, reference): (&&Episode, &Vec<f32>)| {
            let of = |seat| mean_fluency([*episode], [reference], Speaker::Red(seat));
            (0..seats).filter_map(of).all(|mean| mean >= floor)
        };
        Ok(episodes.iter().zip(&reference).map(one).collect())
    }
}

/// Mean reference log-probability per token of what `speaker` said in these dialogues, nats; `None` if it said nothing.
fn mean_fluency<'e>(
    episodes: impl IntoIterator<Item = &'e Episode>,
    reference: impl IntoIterator<Item = &'e Vec<f32>>,
    speaker: Speaker,
) -> Option<f64> {
    let (mut sum, mut n) = (0.0, 0u64);
    for (episode, reference) in episodes.into_iter().zip(reference) {
        let said = by_utterance(speaker.view(episode).spoken.iter(), reference).zip(&episode.turns);
        for log in said.filter(|(_, turn)| speaker.said(turn).is_some()).flat_map(|(own, _)| own) {
            (sum, n) = (sum + f64::from(*log), n + 1);
        }
    }
    (n > 0).then(|| sum / n as f64)
}

/// Mean reference log-probability per token of each seat's dialogues (nats), with a t interval over dialogues; `n` is 0 for a
/// seat that never spoke.
///
/// # Errors
/// When a dialogue outgrows the context window.
pub fn fluency(base: &Base, episodes: &[Episode], seats: usize) -> Result<Vec<Estimate>, Error> {
    let views: Vec<&View> = episodes.iter().map(|e| &e.red).collect();
    let reference = super::reference_logprobs(base, &views)?;
    let of = |seat| {
        let pairs = episodes.iter().zip(&reference);
        let means: Vec<f64> = pairs.filter_map(|(e, r)| mean_fluency([e], [r], Speaker::Red(seat))).collect();
        Estimate::student(&means)
    };
    Ok((0..seats).map(of).collect())
}
