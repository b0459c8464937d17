//! Two draws, so that the whole world depends on one documented way of spending random bits.
//!
//! A distribution library would be shorter to call, but its sampling may change between releases,
//! and then the shipped checkpoint would no longer be reproducible from its seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// Uniform in [0, 1), from the top 53 bits of one 64-bit word.
pub(super) fn unit(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// Uniform index below `len`; 0 when `len` is 0.
pub(super) fn below(rng: &mut ChaCha8Rng, len: usize) -> usize {
    ((unit(rng) * len as f64) as usize).min(len.saturating_sub(1))
}

/// Uniform element of a non-empty slice.
pub(super) fn pick<T: Copy>(rng: &mut ChaCha8Rng, items: &[T]) -> T {
    items[below(rng, items.len())]
}

/// Uniform in [low, high).
pub(super) fn between(rng: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * unit(rng)
}

/// True with probability `p`.
pub(super) fn chance(rng: &mut ChaCha8Rng, p: f64) -> bool {
    unit(rng) < p
}

/// Index drawn in proportion to non-negative `weights`; `None` when they sum to nothing.
pub(super) fn weighted(rng: &mut ChaCha8Rng, weights: impl Iterator<Item = f64> + Clone) -> Option<usize> {
    let mut left = unit(rng) * weights.clone().sum::<f64>();
    let mut last = None;
    for (index, weight) in weights.enumerate().filter(|(_, weight)| *weight > 0.0) {
        last = Some(index);
        left -= weight;
        if left < 0.0 {
            break;
        }
    }
    last
}

/// Fisher–Yates shuffle in place.
pub(super) fn shuffle<T>(rng: &mut ChaCha8Rng, items: &mut [T]) {
    for end in (1..items.len()).rev() {
        items.swap(end, below(rng, end + 1));
    }
}
