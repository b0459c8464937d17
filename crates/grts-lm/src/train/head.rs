//! Log-probabilities of chosen tokens, without ever keeping a row of the vocabulary: logits are made chunk by chunk, and again
//! on the way back.

use crate::kernels::{self, View, ViewMut, matmul};
use crate::weights::Model;

/// Logits held at once, at most; but at least [`FEWEST`] rows.
const LOGITS: usize = 1 << 22;
/// Rows of logits held at least.
const FEWEST: usize = 16;

/// The output head over rows that each predict one of `targets`.
pub(super) struct Head<'a> {
    pub(super) model: &'a Model,
    pub(super) targets: &'a [u32],
}

impl Head<'_> {
    /// `(v, d, rows at once)`.
    fn sizes(&self) -> (usize, usize, usize) {
        let a = self.model.architecture();
        (a.vocab, a.d, (LOGITS / a.vocab).max(FEWEST).min(self.targets.len().max(1)))
    }

    /// Logits of some rows, capped.
    fn logits(&self, rows: &[f32], count: usize, logits: &mut [f32]) {
        self.model.head().forward(rows, count, logits);
        if let Some(cap) = self.model.architecture().logits_softcap {
            logits.iter_mut().for_each(|x| *x = cap * (*x / cap).tanh());
        }
    }

    /// Log-probability of each target under softmax(`hidden[i] · headᵀ`), `hidden (n, d)`.
    pub(super) fn logprobs(&self, hidden: &[f32]) -> Vec<f32> {
        let (v, d, at_once) = self.sizes();
        let mut out = Vec::with_capacity(self.targets.len());
        let mut logits = vec![0f32; at_once * v];
        for (rows, targets) in hidden.chunks(at_once * d).zip(self.targets.chunks(at_once)) {
            let logits = &mut logits[..targets.len() * v];
            self.logits(rows, targets.len(), logits);
            for (row, target) in logits.chunks_exact_mut(v).zip(targets) {
                let chosen = row[*target as usize];
                let (max, sum) = kernels::exp_shifted(row);
                out.push(chosen - max - sum.ln());
            }
        }
        out
    }

    /// Gradient by `hidden` of Σ g · log-probability; d logits = g (onehot − softmax). `weight` gets the head's own.
    pub(super) fn backward(&self, hidden: &[f32], g: &[f32], mut weight: Option<&mut [f32]>) -> Vec<f32> {
        let (v, d, at_once) = self.sizes();
        let cap = self.model.architecture().logits_softcap;
        let mut dh = vec![0f32; hidden.len()];
        let mut logits = vec![0f32; at_once * v];
        let chunks = hidden.chunks(at_once * d).zip(self.targets.chunks(at_once)).zip(g.chunks(at_once));
        for (((rows, targets), g), dh) in chunks.zip(dh.chunks_mut(at_once * d)) {
            let (m, logits) = (targets.len(), &mut logits[..targets.len() * v]);
            self.logits(rows, m, logits);
            // d cap·tanh(x/cap) = 1 − (y/cap)².
            let slopes: Option<Vec<f32>> = cap.map(|c| logits.iter().map(|y| 1.0 - (y / c) * (y / c)).collect());
            for ((row, target), g) in logits.chunks_exact_mut(v).zip(targets).zip(g) {
                kernels::softmax(row);
                row.iter_mut().for_each(|p| *p *= -g);
                row[*target as usize] += g;
            }
            if let Some(slopes) = slopes {
                logits.iter_mut().zip(slopes).for_each(|(x, s)| *x *= s);
            }
            self.model.head().backward(logits, m, dh);
            if let Some(dw) = weight.as_deref_mut() {
                matmul(ViewMut::new(dw, v, d), true, 1.0, View::new(logits, m, v).t(), View::new(rows, m, d));
            }
        }
        dh
    }
}
