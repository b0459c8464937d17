//! What the untouched blue conceded to known attacks, and how blue learns from it that it must not.
//!
//! A response meets a known attack a few times, and a way in that opens once in twenty times mostly not at all. But how often an
//! attack gets through to *any* blue can be had from the replies of another one: with y the replies of the untouched blue π₀, the
//! share of leaks under π is E[r · leak], r = π(y) / π₀(y), and r is known for every text as soon as it is written down. So
//! what was conceded is collected once a response and looked at in every update, whether blue still says it or not.
//!
//! What is made small is half the square of r, whose slope by log π is r²: what is still said counts, what is forgotten does
//! not. Honest people pull the other way, through the likelihood of what they were served (`super::blue`).

use super::repertoire::Attack;
use super::{Loss, Training, TrainingLog, draw};
use crate::error::Error;
use crate::policy::Policy;
use crate::rollout::{Attacker, Episode, Speaker};
use grts_game::stream::StreamKey;
use grts_lm::train::{Objective, Sequence, Trainer};

/// Replies up to the one that leaked.
#[derive(Debug, Clone, PartialEq)]
struct Concession {
    sequence: Sequence,
    /// Log-probability of all of them when they were given.
    given: f64,
}

/// A sample of them.
#[derive(Debug, Default)]
pub(super) struct Concessions {
    all: Vec<Concession>,
    /// Dialogues in which they were looked for.
    tried: usize,
}

/// Weight against the policy gradient.
const WEIGHT: f64 = 6.0;
/// Replies in the gradient of one update.
const BATCH: usize = 64;
/// Ratio from which on the objective grows by its logarithm only: few texts would drown all others.
const CEILING: f64 = 2.0;

impl Concessions {
    /// Says `tries` of `attacks`, drawn by their weights, to the untouched blue; counts the cost in `log`.
    pub(super) fn collect(
        training: &Training<'_>,
        attacks: &[Attack],
        tries: usize,
        log: &mut TrainingLog,
    ) -> Result<Self, Error> {
        if attacks.is_empty() {
            return Ok(Self::default());
        }
        // A step that never comes: its streams are nobody else's.
        let (step, untouched) = (training.learning.steps, Policy::base());
        let said = training.recalled(step, attacks, tries);
        let episodes = training.play(step, said.iter().map(|attack| (Attacker::Script(&attack.said), &untouched)))?;
        log.count(&episodes);
        let threshold = training.table.rules.threshold();
        let all = episodes.iter().filter_map(|episode| conceded(episode, threshold)).collect();
        Ok(Self { all, tried: episodes.len() })
    }

    /// Loss and gradients of a handful of them, drawn by `key`; `None` where nothing was conceded.
    pub(super) fn gradients(&self, trainer: &Trainer, key: StreamKey) -> Result<Option<Loss>, Error> {
        if self.all.is_empty() {
            return Ok(None);
        }
        let drawn = draw(&self.all, BATCH.min(self.all.len()), key);
        let share = self.all.len() as f64 / self.tried as f64;
        let weight = WEIGHT * share / drawn.len() as f64;
        let sequences: Vec<Sequence> = drawn.iter().map(|c| c.sequence.clone()).collect();
        let gradients = trainer.gradients(&sequences, |i, logprobs| half_square(logprobs, drawn[i].given, weight));
        gradients.map(Some).map_err(|e| Error::engine(&e))
    }
}

/// Blue's side of a dialogue up to the reply that reached `threshold`, if one did.
fn conceded(episode: &Episode, threshold: f64) -> Option<Concession> {
    let leak = episode.turns.iter().position(|turn| turn.score.is_some_and(|score| score >= threshold))?;
    let (spoken, turns) = (&episode.blue.spoken[..=leak], &episode.turns[..=leak]);
    let end = spoken[leak].end;
    let scored = spoken.iter().cloned().flatten().collect();
    let said = turns.iter().filter_map(|turn| Speaker::Blue.said(turn)).flatten();
    let given = said.map(|logprob| f64::from(*logprob)).sum();
    Some(Concession { sequence: Sequence { tokens: episode.blue.tokens[..end].to_vec(), scored }, given })
}

/// `weight` · r² / 2 with r = π / π₀ of the whole text, and beyond the ceiling c `weight` · c² · (1/2 + ln (r / c)).
fn half_square(logprobs: &[f32], given: f64, weight: f64) -> Objective {
    let log_ratio = logprobs.iter().map(|l| f64::from(*l)).sum::<f64>() - given;
    let beyond = (log_ratio - CEILING.ln()).max(0.0);
    let squared = (2.0 * (log_ratio - beyond)).exp();
    let gradient = vec![(weight * squared) as f32; logprobs.len()];
    Objective { loss: weight * squared * (0.5 + beyond), gradient }
}

#[cfg(test)]
mod tests {
    use super::{CEILING, Concession, conceded, half_square};
    use crate::policy::View;
    use crate::rollout::{Episode, Turn, Utterance};
    use grts_lm::train::Sequence;

    #[test]
    fn the_slope_is_that_of_finite_differences_on_both_sides_of_the_ceiling() {
        for given in [-1.0, -2.0, -4.0, -9.0] {
            let at = [-0.5f32, -1.0, -1.5];
            let objective = half_square(&at, given, 0.7);
            for i in 0..at.len() {
                let value = |h: f32| {
                    let mut moved = at;
                    moved[i] += h;
                    half_square(&moved, given, 0.7).loss
                };
                let numeric = (value(1e-3) - value(-1e-3)) / 2e-3;
                let slope = f64::from(objective.gradient[i]);
                assert!((numeric - slope).abs() < 2e-3 * slope, "{numeric} against {slope}");
            }
        }
        // Ratios of 1, and far beyond the ceiling.
        assert!((half_square(&[-1.0], -1.0, 1.0).loss - 0.5).abs() < 1e-12);
        let beyond = half_square(&[-1.0], -10.0, 1.0);
        assert_eq!(f64::from(beyond.gradient[0]), CEILING * CEILING);
    }

    #[test]
    fn what_was_conceded_ends_with_the_reply_that_leaked() {
        let turn = |score, logprobs: &[f32]| Turn {
            seat: 0,
            red: Utterance { text: String::new(), logprobs: Vec::new() },
            blue: Utterance { text: String::new(), logprobs: logprobs.to_vec() },
            score,
        };
        let view = View { tokens: (0..12).collect(), spoken: vec![2..4, 6..8, 10..12] };
        let turns =
            vec![turn(Some(0.0), &[-0.5, -0.25]), turn(Some(1.0), &[-1.0, -2.0]), turn(Some(1.0), &[-8.0, -8.0])];
        let mut episode = Episode { turns, returns: Some(1.0), red: view.clone(), blue: view };
        let sequence = Sequence { tokens: (0..8).collect(), scored: vec![2, 3, 6, 7] };
        assert_eq!(conceded(&episode, 0.5), Some(Concession { sequence, given: -3.75 }));
        episode.turns.iter_mut().for_each(|turn| turn.score = None);
        assert_eq!(conceded(&episode, 0.5), None);
    }
}
