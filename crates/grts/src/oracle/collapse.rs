//! Whether an attacker in training still speaks, or has collapsed into one phrase or into noise.
//!
//! A reward can be had by saying one thing over and over, or by what is no language any more; the gate would see it only once
//! the training is paid for. So every step looks at its own batch and ends a training that crosses a floor; the adapter that
//! played the last good batch is kept. The floors are far from what a concentrated but living attacker does: they are a net,
//! not a constraint.

use crate::rollout::Episode;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Where a training ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Floors {
    /// Least entropy, nats per token.
    pub entropy: f64,
    /// Least share of pairs of tokens that are different.
    pub distinct: f64,
    /// Least mean log-probability under the base, nats per token.
    pub reference: f64,
    /// Largest share of dialogues in which red repeats an earlier dialogue of the batch word for word.
    pub repeats: f64,
}

/// What a batch of red's dialogues says about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Mean of −log π over the sampled tokens, nats: an unbiased estimate of the entropy per token.
    pub entropy: f64,
    /// Different pairs of neighbouring tokens over all pairs (distinct-2, Li et al. 2016).
    pub distinct: f64,
    /// Mean log-probability under the base, nats per token.
    pub reference: f64,
    /// Share of dialogues that repeat an earlier one of the batch.
    pub repeats: f64,
}

impl Health {
    /// Of `episodes`, whose own tokens have the log-probabilities `reference` under the base.
    pub fn of(episodes: &[Episode], reference: &[Vec<f32>]) -> Self {
        let (mut pairs, mut said) = (HashSet::new(), HashSet::new());
        let (mut all, mut repeated) = (0u64, 0u64);
        for episode in episodes {
            let spoken: Vec<&[u32]> = episode.red.spoken.iter().map(|own| &episode.red.tokens[own.clone()]).collect();
            for pair in spoken.iter().flat_map(|own| own.windows(2)) {
                all += 1;
                pairs.insert((pair[0], pair[1]));
            }
            repeated += u64::from(!said.insert(spoken));
        }
        let logprobs = episodes.iter().flat_map(|e| &e.turns).flat_map(|turn| &turn.red.logprobs);
        Self {
            entropy: -mean(logprobs),
            distinct: pairs.len() as f64 / all.max(1) as f64,
            reference: mean(reference.iter().flatten()),
            repeats: repeated as f64 / episodes.len().max(1) as f64,
        }
    }

    /// Which floor is crossed, in words.
    pub fn fault(&self, floors: &Floors) -> Option<String> {
        let Self { entropy, distinct, reference, repeats } = *self;
        if entropy < floors.entropy {
            Some(format!("entropy {entropy:.3} nats per token is below the floor {}", floors.entropy))
        } else if distinct < floors.distinct {
            Some(format!("distinct-2 {distinct:.4} is below the floor {}", floors.distinct))
        } else if reference < floors.reference {
            Some(format!(
                "log-probability {reference:.2} nats per token under the base is below the floor {}",
                floors.reference
            ))
        } else if repeats > floors.repeats {
            Some(format!("share {repeats:.3} of repeated attacks is above the ceiling {}", floors.repeats))
        } else {
            None
        }
    }
}

fn mean<'a>(values: impl Iterator<Item = &'a f32>) -> f64 {
    let (sum, n) = values.fold((0.0, 0u64), |(sum, n), x| (sum + f64::from(*x), n + 1));
    sum / n.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::{Floors, Health};
    use crate::policy::View;
    use crate::rollout::{Episode, Turn, Utterance};

    fn episode(tokens: &[u32], logprob: f32) -> Episode {
        let said = |logprobs| Utterance { text: String::new(), logprobs };
        let turn = Turn { seat: 0, red: said(vec![logprob; tokens.len()]), blue: said(Vec::new()), score: None };
        let heard = [0, 1];
        let red = View { tokens: [&heard, tokens].concat(), spoken: std::iter::once(2..2 + tokens.len()).collect() };
        Episode { turns: vec![turn], returns: None, red, blue: View::default() }
    }

    #[test]
    fn a_batch_tells_what_it_repeats() {
        let batch = [episode(&[5, 6, 7], -0.5), episode(&[5, 6, 7], -0.5), episode(&[5, 6, 8], -2.0)];
        let health = Health::of(&batch, &[vec![-1.0; 3], vec![-1.0; 3], vec![-4.0; 3]]);
        assert_eq!(health, Health { entropy: 1.0, distinct: 0.5, reference: -2.0, repeats: 1.0 / 3.0 });
        let floors = Floors { entropy: 0.1, distinct: 0.1, reference: -3.0, repeats: 0.9 };
        assert_eq!(health.fault(&floors), None);
        for (crossed, word) in [
            (Floors { entropy: 1.1, ..floors }, "entropy 1.000 nats per token is below the floor 1.1"),
            (Floors { distinct: 0.6, ..floors }, "distinct-2 0.5000 is below the floor 0.6"),
            (Floors { reference: -1.0, ..floors }, "under the base is below the floor -1"),
            (Floors { repeats: 0.3, ..floors }, "share 0.333 of repeated attacks is above the ceiling 0.3"),
        ] {
            assert!(health.fault(&crossed).unwrap().contains(word), "{word}");
        }
    }
}
