//! What the machine could do at most: the roof that a decoding rate is a share of.
//!
//! A step of decoding reads every weight once and multiplies every row with it, so it takes at least the longer of the two.
//! Attention and the cache are left out, which makes the roof a little too high and the share a little too low. Models that
//! may stay in a cache have no roof here: how fast a cache is read was not measured.

use grts_lm::limits::measure;
use serde::Serialize;

/// Measured rates of this machine, all of its threads together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limits {
    /// Bytes a second from memory.
    pub memory_read: f64,
    /// f32 operations a second; a multiply-add counts as two.
    pub f32_flops: f64,
    /// bf16 operations a second.
    pub bf16_flops: f64,
}

/// No last-level cache that a share of a machine has is larger, bytes.
const LARGEST_CACHE: f64 = 256e6;

impl Limits {
    /// The machine's rates, measured with the engine's own kernels.
    pub fn measure() -> Self {
        let found = measure();
        Self { memory_read: found.bandwidth, f32_flops: found.f32_flops, bf16_flops: found.bf16_flops }
    }

    /// Most tokens a second that `b` rows of a model with `weights` weights can reach at `precision`.
    pub fn decode(&self, weights: f64, precision: &str, b: usize) -> Option<f64> {
        let (width, flops) = if precision == "bf16" { (2.0, self.bf16_flops) } else { (4.0, self.f32_flops) };
        let bytes = weights * width;
        let step = (bytes / self.memory_read).max(2.0 * weights * b as f64 / flops);
        (bytes > LARGEST_CACHE).then_some(b as f64 / step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roof_is_memory_for_few_rows_and_arithmetic_for_many() {
        let limits = Limits { memory_read: 72e9, f32_flops: 453e9, bf16_flops: 901e9 };
        let roof = |b| limits.decode(494e6, "f32", b).map(f64::round);
        assert_eq!([roof(1), roof(8), roof(32), roof(128)], [Some(36.0), Some(291.0), Some(459.0), Some(459.0)]);
        assert_eq!(limits.decode(494e6, "bf16", 1).map(f64::round), Some(73.0));
        assert_eq!(limits.decode(4e6, "f32", 1), None);
    }
}
