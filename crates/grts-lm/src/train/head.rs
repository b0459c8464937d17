//! Log-probabilities of chosen tokens, without ever keeping a row of the vocabulary: logits are made for some entries of it at a
//! time, of all rows at once, and again on the way back. So the head's weights pass by once each way, however many rows
//! there are (as in "cut cross-entropy", Wijmans et al. 2024).

use crate::kernels::{self, View, ViewMut, matmul};
use crate::weights::Model;
use std::ops::Range;

/// Entries of the vocabulary whose logits are held at once; whole panels of the head.
const ENTRIES: usize = 1024;

/// The output head over rows that each predict one of `targets`.
pub(super) struct Head<'a> {
    pub(super) model: &'a Model,
    pub(super) targets: &'a [u32],
}

/// What the head says of its rows.
pub(super) struct Scores {
    /// Log-probability of each target.
    pub(super) logprobs: Vec<f32>,
    /// log Σ e^logit of each row.
    normalisers: Vec<f32>,
}

/// A running log Σ e^x.
#[derive(Clone, Copy)]
struct LogSum {
    max: f32,
    /// Σ e^(x − max).
    sum: f64,
}

impl LogSum {
    const EMPTY: Self = Self { max: f32::NEG_INFINITY, sum: 0.0 };

    /// Takes in the numbers of `x`, which are overwritten.
    fn add(&mut self, x: &mut [f32]) {
        let (max, sum) = kernels::exp_shifted(x);
        let both = self.max.max(max);
        let shifted = |sum: f64, max: f32| if sum > 0.0 { sum * f64::from(max - both).exp() } else { 0.0 };
        *self = Self { max: both, sum: shifted(self.sum, self.max) + shifted(f64::from(sum), max) };
    }

    fn value(self) -> f32 {
        (f64::from(self.max) + self.sum.ln()) as f32
    }
}

impl Head<'_> {
    /// The vocabulary in parts.
    fn parts(&self) -> impl Iterator<Item = Range<usize>> {
        let vocab = self.model.architecture().vocab;
        (0..vocab).step_by(ENTRIES).map(move |first| first..vocab.min(first + ENTRIES))
    }

    /// Room for the logits of a part.
    fn room(&self) -> Vec<f32> {
        vec![0f32; self.targets.len() * ENTRIES.min(self.model.architecture().vocab)]
    }

    /// Logits `(n, part)` of all rows, capped.
    fn logits(&self, hidden: &[f32], part: &Range<usize>, logits: &mut [f32]) {
        self.model.head().forward_part(hidden, self.targets.len(), part.clone(), logits);
        if let Some(cap) = self.model.architecture().logits_softcap {
            logits.iter_mut().for_each(|x| *x = cap * (*x / cap).tanh());
        }
    }

    /// Of each target under softmax(`hidden[i] · headᵀ`), `hidden (n, d)`.
    pub(super) fn scores(&self, hidden: &[f32]) -> Scores {
        let mut chosen = vec![0f32; self.targets.len()];
        let mut sums = vec![LogSum::EMPTY; self.targets.len()];
        let mut room = self.room();
        for part in self.parts() {
            let logits = &mut room[..self.targets.len() * part.len()];
            self.logits(hidden, &part, logits);
            let rows = logits.chunks_exact_mut(part.len()).zip(self.targets);
            for ((row, target), (sum, chosen)) in rows.zip(sums.iter_mut().zip(&mut chosen)) {
                if part.contains(&(*target as usize)) {
                    *chosen = row[*target as usize - part.start];
                }
                sum.add(row);
            }
        }
        let normalisers: Vec<f32> = sums.into_iter().map(LogSum::value).collect();
        Scores { logprobs: chosen.iter().zip(&normalisers).map(|(logit, all)| logit - all).collect(), normalisers }
    }

    /// Gradient by `hidden` of Σ g · log-probability; d logits = g (onehot − softmax). `weight` gets the head's own.
    pub(super) fn backward(
        &self,
        hidden: &[f32],
        scores: &Scores,
        g: &[f32],
        mut weight: Option<&mut [f32]>,
    ) -> Vec<f32> {
        let (n, d) = (self.targets.len(), self.model.architecture().d);
        let cap = self.model.architecture().logits_softcap;
        let mut dh = vec![0f32; hidden.len()];
        let mut room = self.room();
        for part in self.parts() {
            let logits = &mut room[..n * part.len()];
            self.logits(hidden, &part, logits);
            // d cap·tanh(x/cap) = 1 − (y/cap)².
            let slopes: Option<Vec<f32>> = cap.map(|c| logits.iter().map(|y| 1.0 - (y / c) * (y / c)).collect());
            let rows = logits.chunks_exact_mut(part.len()).zip(self.targets);
            for ((row, target), (g, all)) in rows.zip(g.iter().zip(&scores.normalisers)) {
                kernels::scaled_exp(row, *all, -g);
                if part.contains(&(*target as usize)) {
                    row[*target as usize - part.start] += g;
                }
            }
            if let Some(slopes) = slopes {
                logits.iter_mut().zip(slopes).for_each(|(x, s)| *x *= s);
            }
            self.model.head().add_backward_part(logits, n, part.clone(), &mut dh);
            if let Some(dw) = weight.as_deref_mut() {
                let to = ViewMut::new(&mut dw[part.start * d..part.end * d], part.len(), d);
                matmul(to, true, 1.0, View::new(logits, n, part.len()).t(), View::new(hidden, n, d));
            }
        }
        dh
    }
}
