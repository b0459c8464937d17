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
        scratch.clear();
        scratch.extend_from_slice(logits);
        let (max, sum) = kernels::exp_shifted(scratch);
        let token = match self {
            Self { temperature: 0.0, .. } => kernels::argmax(logits),
            Self { temperature: 1.0, top_k: None, top_p: 1.0 } => pick(scratch, u),
            _ => pick(&self.probabilities(logits), u),
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

/// The index at which the running sum of `weights` passes the share `u` of their total.
fn pick(weights: &[f32], u: f64) -> usize {
    let mut left = u * weights.iter().map(|x| f64::from(*x)).sum::<f64>();
    let mut last = 0;
    for (id, x) in weights.iter().enumerate().filter(|(_, x)| **x > 0.0) {
        last = id;
        left -= f64::from(*x);
        if left < 0.0 {
            break;
        }
    }
    last
}
