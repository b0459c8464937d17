//! Sampling from one row of logits: temperature, then top-k, then top-p, in the order of `transformers`.

use crate::kernels;
use crate::{Error, Result};
use rand_core::Rng;
use serde::{Deserialize, Serialize};

/// How the next token is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Divides the logits; 0 means greedy (lowest id on ties).
    pub temperature: f32,
    /// Keep only the k most likely tokens; `None` keeps all.
    pub top_k: Option<usize>,
    /// Keep the smallest set of most likely tokens whose probability reaches p; 1 keeps all.
    pub top_p: f32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: None, top_p: 1.0 }
    }
}

impl Sampling {
    /// Always the most likely token.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: None, top_p: 1.0 };

    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the setting, its value and the range.
    pub fn check(&self) -> Result<()> {
        let problem = match self {
            Self { temperature: t, .. } if !(t.is_finite() && *t >= 0.0) => {
                format!("`temperature` is {t}; it must be at least 0")
            }
            Self { top_k: Some(0), .. } => "`top_k` is 0; it must be at least 1".to_owned(),
            Self { top_p: p, .. } if !(*p > 0.0 && *p <= 1.0) => format!("`top_p` is {p}; it must lie in (0, 1]"),
            _ => return Ok(()),
        };
        Err(Error::Request(problem))
    }

    /// Probabilities that [`Sampling::draw`] draws from, by token id.
    pub fn probabilities(&self, logits: &[f32]) -> Vec<f32> {
        if self.temperature == 0.0 {
            let mut p = vec![0.0; logits.len()];
            p[kernels::argmax(logits)] = 1.0;
            return p;
        }
        let mut p: Vec<f32> = logits.iter().map(|x| x / self.temperature).collect();
        kernels::softmax(&mut p);
        if self.top_k.is_some() || self.top_p < 1.0 {
            self.truncate(&mut p);
        }
        p
    }

    /// Draws a token id; also its log-probability before temperature and truncation. One number is taken from `rng` whatever
    /// the settings, so that streams stay aligned. `scratch` is overwritten.
    pub fn draw(&self, logits: &[f32], rng: &mut impl Rng, scratch: &mut Vec<f32>) -> (u32, f32) {
        let u = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let (token, (max, sum)) = match self {
            Self { temperature: 1.0, top_k: None, top_p: 1.0 } => {
                scratch.clear();
                scratch.extend_from_slice(logits);
                let sums = kernels::exp_shifted(scratch);
                (pick(scratch, u), sums)
            }
            Self { temperature: 0.0, .. } => (kernels::argmax(logits), kernels::sum_exp(logits)),
            _ => (pick(&self.probabilities(logits), u), kernels::sum_exp(logits)),
        };
        (token as u32, logits[token] - max - sum.ln())
    }

    /// Zeroes what top-k and top-p leave out and renormalises after each, as chained logits processors do.
    fn truncate(&self, p: &mut [f32]) {
        let mut order: Vec<usize> = (0..p.len()).collect();
        order.sort_by(|&i, &j| p[j].total_cmp(&p[i]).then(i.cmp(&j)));
        if let Some(k) = self.top_k {
            // Ties with the k-th stay, as in transformers.
            let floor = p[order[k.min(order.len()) - 1]];
            order.retain(|&i| p[i] >= floor);
            keep(p, &order);
        }
        let mut mass = 0.0;
        let mut count = 0;
        while count < order.len() && mass < self.top_p {
            mass += p[order[count]];
            count += 1;
        }
        order.truncate(count);
        keep(p, &order);
    }
}

fn keep(p: &mut [f32], kept: &[usize]) {
    let values: Vec<f32> = kept.iter().map(|&i| p[i]).collect();
    let sum: f32 = values.iter().sum();
    p.fill(0.0);
    for (&i, v) in kept.iter().zip(values) {
        p[i] = v / sum;
    }
}

/// Weights that are passed over at once while one is picked.
const BLOCK: usize = 256;

/// The index at which the running sum of `weights` passes the share `u` of their total.
fn pick(weights: &[f32], u: f64) -> usize {
    let blocks = || weights.chunks(BLOCK).map(kernels::total);
    let mut left = u * blocks().sum::<f64>();
    for (block, mass) in blocks().enumerate() {
        if left >= mass {
            left -= mass;
            continue;
        }
        let first = block * BLOCK;
        for (i, x) in weights[first..].iter().take(BLOCK).enumerate().filter(|(_, x)| **x > 0.0) {
            left -= f64::from(*x);
            if left < 0.0 {
                return first + i;
            }
        }
    }
    // By rounding alone.
    weights.iter().rposition(|x| *x > 0.0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::pick;
    use crate::kernels::tests::noise;

    #[test]
    fn blocks_pick_what_a_plain_running_sum_picks() {
        for n in [1, 2, 255, 256, 257, 1000, 4096] {
            // Every third is left out, whole blocks of the longest too.
            let left_out = |i: usize| i.is_multiple_of(3) && n > 2 || (512..1024).contains(&i);
            let value = |(i, x): (usize, &f32)| if left_out(i) { 0.0 } else { (9.0 * x).exp() };
            let weights: Vec<f32> = noise(n, 5).iter().enumerate().map(value).collect();
            let sum: f64 = weights.iter().map(|x| f64::from(*x)).sum();
            for step in 0..1000 {
                let u = (f64::from(step) + 0.5) / 1000.0;
                let mut running = 0.0;
                let plain = weights.iter().position(|x| {
                    running += f64::from(*x);
                    running > u * sum
                });
                assert_eq!(Some(pick(&weights, u)), plain, "share {u} of {n} weights");
            }
            let last = weights.iter().rposition(|x| *x > 0.0);
            assert_eq!(Some(pick(&weights, 1.0)), last, "all of {n} weights");
        }
    }
}
