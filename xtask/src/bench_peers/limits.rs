//! What the machine could do at most: the roof that a decoding rate is a share of.
//!
//! A step of decoding reads every weight once and multiplies every row with it, so it takes at least the longer of the two.
//! Attention and the cache are left out, which makes the roof a little too high and the share a little too low.

use serde::Serialize;

/// Measured rates of this machine, all of its threads together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limits {
    /// Bytes a second from memory.
    pub memory_read: f64,
    /// Bytes a second from the last-level cache.
    pub cache_read: f64,
    /// Weights up to this many bytes stay in the last-level cache.
    pub cache_bytes: f64,
    /// f32 operations a second; a multiply-add counts as two.
    pub f32_flops: f64,
    /// bf16 operations a second.
    pub bf16_flops: f64,
}

impl Limits {
    /// The machine's rates, once the engine has a measurement of them; until then no share is shown.
    pub fn measure() -> Option<Self> {
        None
    }

    /// Most tokens a second that `b` rows of a model with `weights` weights can reach at `precision`.
    pub fn decode(&self, weights: f64, precision: &str, b: usize) -> f64 {
        let (width, flops) = if precision == "bf16" { (2.0, self.bf16_flops) } else { (4.0, self.f32_flops) };
        let bytes = weights * width;
        let read = if bytes <= self.cache_bytes { self.cache_read } else { self.memory_read };
        let step = (bytes / read).max(2.0 * weights * b as f64 / flops);
        b as f64 / step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roof_is_memory_for_few_rows_and_arithmetic_for_many() {
        let limits =
            Limits { memory_read: 72e9, cache_read: 125e9, cache_bytes: 32e6, f32_flops: 453e9, bf16_flops: 901e9 };
        let roof = |b| limits.decode(494e6, "f32", b).round();
        assert_eq!([roof(1), roof(8), roof(32), roof(128)], [36.0, 291.0, 459.0, 459.0]);
        assert_eq!(limits.decode(494e6, "bf16", 1).round(), 73.0);
    }
}
