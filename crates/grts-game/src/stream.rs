//! Keyed randomness: every random choice of a run draws from a stream named by what the choice is *for*.
//!
//! A key is packed, field by field, into the 256-bit ChaCha seed, so two different keys can never share a stream and no
//! hash has to be trusted. The order in which threads or a resumed run ask for streams changes nothing. The module holds
//! no generator of its own and never asks the machine for entropy.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// The name of one random stream. Exactly 32 bytes of information, which is exactly ChaCha's seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// Seed of the whole run.
    pub seed: u64,
    /// Iteration of the solver loop, from 0.
    pub iteration: u32,
    /// What the draws are for (payoffs, red's training, …); the caller keeps the list.
    pub purpose: u32,
    /// Entry of the meta-game, or any other unit of work inside the purpose.
    pub entry: u64,
    /// Dialogue inside the entry.
    pub episode: u32,
    /// Turn inside the dialogue.
    pub turn: u32,
}

impl StreamKey {
    /// The generator of this stream, at its start. Its seed is the fields in order, little endian.
    pub fn rng(&self) -> ChaCha8Rng {
        let mut seed = [0_u8; 32];
        seed[0..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..12].copy_from_slice(&self.iteration.to_le_bytes());
        seed[12..16].copy_from_slice(&self.purpose.to_le_bytes());
        seed[16..24].copy_from_slice(&self.entry.to_le_bytes());
        seed[24..28].copy_from_slice(&self.episode.to_le_bytes());
        seed[28..32].copy_from_slice(&self.turn.to_le_bytes());
        ChaCha8Rng::from_seed(seed)
    }
}

/// A uniform number in [0, 1), from the top 53 bits of one 64-bit draw.
pub fn unit(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// An index drawn with probability proportional to `weights` (non-negative, sum > 0); consumes one [`unit()`].
///
/// An index of weight zero is never returned unless all are zero, which the contract excludes; then it is 0.
pub fn pick(rng: &mut impl Rng, weights: &[f64]) -> usize {
    let mut left = unit(rng) * weights.iter().sum::<f64>();
    for (idx, &weight) in weights.iter().enumerate() {
        if left < weight {
            return idx;
        }
        left -= weight;
    }
    // Rounding can leave a crumb beyond the last positive weight.
    weights.iter().rposition(|&weight| weight > 0.0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{StreamKey, pick, unit};
    use rand_core::Rng;

    const KEY: StreamKey = StreamKey { seed: 7, iteration: 1, purpose: 2, entry: 3, episode: 4, turn: 5 };

    #[test]
    fn every_field_names_another_stream() {
        let others = [
            StreamKey { seed: 8, ..KEY },
            StreamKey { iteration: 2, ..KEY },
            StreamKey { purpose: 3, ..KEY },
            StreamKey { entry: 4, ..KEY },
            StreamKey { episode: 5, ..KEY },
            StreamKey { turn: 6, ..KEY },
            StreamKey { iteration: 2, purpose: 1, ..KEY },
        ];
        let mut firsts: Vec<u64> = others.iter().map(|key| key.rng().next_u64()).collect();
        firsts.push(KEY.rng().next_u64());
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 8);
        assert_eq!(KEY.rng().next_u64(), KEY.rng().next_u64());
    }

    #[test]
    fn units_fill_the_half_open_interval() {
        let mut rng = KEY.rng();
        let draws: Vec<f64> = (0..20_000).map(|_| unit(&mut rng)).collect();
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
    }

    #[test]
    fn picks_follow_their_weights() {
        let mut rng = KEY.rng();
        let mut counts = [0_u32; 4];
        for _ in 0..20_000 {
            counts[pick(&mut rng, &[1.0, 0.0, 3.0, 0.0])] += 1;
        }
        assert_eq!((counts[1], counts[3]), (0, 0));
        assert!((f64::from(counts[2]) / 20_000.0 - 0.75).abs() < 0.015, "{counts:?}");
    }
}
