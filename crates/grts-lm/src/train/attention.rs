//! Causal attention of packed sequences, from projections to mixed values: head norms, rotary positions, windows, soft caps.

use super::norms::{Scratch, normalise_backward};
use crate::kernels::{self, Angles};
use crate::weights::{Model, NormAt};
use std::sync::Arc;

/// `(n, q + 2 kv)` of one layer → `(n, q)`.
pub(super) struct Attention<'a> {
    /// Where each sequence of the packed batch lies: `(first row, rows)`.
    pub(super) spans: &'a [(usize, usize)],
    pub(super) model: &'a Model,
    pub(super) layer: usize,
    /// Rotary table of the layer, where it has one.
    pub(super) angles: Option<Arc<Angles>>,
}

/// Sizes, once.
#[derive(Clone, Copy)]
struct Sizes {
    dh: usize,
    heads: usize,
    group: usize,
    q: usize,
    kv: usize,
    width: usize,
}

/// One query head of one span.
struct Head {
    first_row: usize,
    rows: usize,
    q_at: usize,
    k_at: usize,
}

impl Attention<'_> {
    fn sizes(&self) -> Sizes {
        let a = self.model.architecture();
        Sizes {
            dh: a.head_dim,
            heads: a.heads,
            group: a.heads / a.kv_heads,
            q: a.q_dim(),
            kv: a.kv_dim(),
            width: a.qkv_dim(),
        }
    }

    fn heads_of_spans(&self) -> impl Iterator<Item = Head> + '_ {
        let s = self.sizes();
        self.spans.iter().flat_map(move |&(first_row, rows)| {
            let head = move |h: usize| Head { first_row, rows, q_at: h * s.dh, k_at: s.q + h / s.group * s.dh };
            (0..s.heads).map(head)
        })
    }

    /// Positions of all rows.
    fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.spans.iter().flat_map(|&(_, rows)| 0..rows)
    }

    /// Head norms of queries and keys, in place; `visit(norm, head, at)` per head, where there are norms.
    fn each_normed(&self, rows: usize, mut visit: impl FnMut(&crate::weights::Norm, usize)) {
        let s = self.sizes();
        let layer = &self.model.layers[self.layer];
        for (at, range) in [(NormAt::Query, 0..s.q), (NormAt::Key, s.q..s.q + s.kv)] {
            let Some(norm) = layer.norm(at) else { continue };
            for row in 0..rows {
                range.clone().step_by(s.dh).for_each(|column| visit(norm, row * s.width + column));
            }
        }
    }

    /// Projections with norms and rotation done.
    fn prepared(&self, qkv: &[f32]) -> Vec<f32> {
        let s = self.sizes();
        let mut out = qkv.to_vec();
        self.each_normed(qkv.len() / s.width, |norm, at| {
            norm.apply(self.model.architecture(), &qkv[at..at + s.dh], &mut out[at..at + s.dh]);
        });
        if let Some(angles) = &self.angles {
            for (row, position) in out.chunks_exact_mut(s.width).zip(self.positions()) {
                angles.rotate(&mut row[..s.q + s.kv], s.dh, position);
            }
        }
        out
    }

    /// Takes gradients of prepared projections back to the projections.
    fn unprepare(&self, qkv: &[f32], grad: &mut [f32]) {
        let s = self.sizes();
        if let Some(angles) = &self.angles {
            for (row, position) in grad.chunks_exact_mut(s.width).zip(self.positions()) {
                angles.rotate_back(&mut row[..s.q + s.kv], s.dh, position);
            }
        }
        let (mut g, mut scratch) = (vec![0f32; s.dh], Scratch::new(s.dh));
        self.each_normed(qkv.len() / s.width, |norm, at| {
            g.copy_from_slice(&grad[at..at + s.dh]);
            let dx = &mut grad[at..at + s.dh];
            dx.fill(0.0);
            normalise_backward(self.model, norm, [&qkv[at..at + s.dh], &g], dx, &mut scratch, None);
        });
    }

    /// Probabilities of query `t` of a head over the positions it sees, into `p`; returns the first of them. With a soft cap,
    /// `slopes` gets its derivative.
    fn probabilities(&self, head: &Head, t: usize, qkv: &[f32], p: &mut Vec<f32>, slopes: &mut Vec<f32>) -> usize {
        let (s, a) = (self.sizes(), self.model.architecture());
        let at = (head.first_row + t) * s.width + head.q_at;
        let query = &qkv[at..at + s.dh];
        let first = a.first_seen(self.layer, t);
        p.clear();
        slopes.clear();
        p.extend((first..=t).map(|j| {
            let at = (head.first_row + j) * s.width + head.k_at;
            a.attention_scale * kernels::dot(query, &qkv[at..at + s.dh])
        }));
        if let Some(cap) = a.attention_softcap {
            for score in p.iter_mut() {
                let squashed = (*score / cap).tanh();
                slopes.push(1.0 - squashed * squashed);
                *score = cap * squashed;
            }
        }
        kernels::softmax(p);
        first
    }

    /// `(n, q + 2 kv)` → `(n, q)`.
    pub(super) fn forward(&self, qkv: &[f32]) -> Vec<f32> {
        let s = self.sizes();
        let qkv = &self.prepared(qkv);
        let mut out = vec![0f32; qkv.len() / s.width * s.q];
        let (mut p, mut slopes) = (Vec::new(), Vec::new());
        for head in self.heads_of_spans() {
            for t in 0..head.rows {
                let first = self.probabilities(&head, t, qkv, &mut p, &mut slopes);
                let at = (head.first_row + t) * s.q + head.q_at;
                let o = &mut out[at..at + s.dh];
                for (j, weight) in p.iter().enumerate() {
                    let at = (head.first_row + first + j) * s.width + head.k_at + s.kv;
                    kernels::axpy(o, *weight, &qkv[at..at + s.dh]);
                }
            }
        }
        out
    }

    /// Gradient by the projections, given that of the output `(n, q)`.
    pub(super) fn backward(&self, projections: &[f32], grad: &[f32]) -> Vec<f32> {
        let (s, scale) = (self.sizes(), self.model.architecture().attention_scale);
        let qkv = &self.prepared(projections);
        let mut out = vec![0f32; qkv.len()];
        let (mut p, mut slopes, mut dp) = (Vec::new(), Vec::new(), Vec::new());
        for head in self.heads_of_spans() {
            for t in 0..head.rows {
                let first = self.probabilities(&head, t, qkv, &mut p, &mut slopes);
                let query_at = (head.first_row + t) * s.width + head.q_at;
                let grad_at = (head.first_row + t) * s.q + head.q_at;
                let g = &grad[grad_at..grad_at + s.dh];
                dp.clear();
                for (j, weight) in p.iter().enumerate() {
                    let v = (head.first_row + first + j) * s.width + head.k_at + s.kv;
                    dp.push(kernels::dot(g, &qkv[v..v + s.dh]));
                    kernels::axpy(&mut out[v..v + s.dh], *weight, g);
                }
                let mean = kernels::dot(&p, &dp);
                for j in 0..p.len() {
                    let ds = scale * p[j] * (dp[j] - mean) * slopes.get(j).unwrap_or(&1.0);
                    let k = (head.first_row + first + j) * s.width + head.k_at;
                    kernels::axpy(&mut out[query_at..query_at + s.dh], ds, &qkv[k..k + s.dh]);
                    kernels::axpy(&mut out[k..k + s.dh], ds, &qkv[query_at..query_at + s.dh]);
                }
            }
        }
        self.unprepare(projections, &mut out);
        out
    }
}
