//! Causal attention of packed sequences, from projections to mixed values: head norms, rotary positions, windows, soft caps.
//!
//! A head goes through its queries in blocks, each a handful of products with the keys that any of them sees: never more
//! than one block of probabilities is kept, and the way back makes them again.

use super::norms::{Scratch, normalise_backward};
use crate::kernels::{self, Angles, View, ViewMut, matmul};
use crate::weights::{Model, NormAt};
use std::ops::Range;
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

/// Queries of a block.
const QUERIES: usize = 64;

/// Some queries of one head, and the keys that any of them sees.
struct Block {
    /// First row of the span in the batch.
    span: usize,
    /// Positions of the queries, and of the keys, in the span.
    queries: Range<usize>,
    keys: Range<usize>,
    /// First columns of the head.
    q_at: usize,
    k_at: usize,
}

/// Probabilities of a block `(queries, keys)`, 0 where a query does not see; with a soft cap, its derivatives.
#[derive(Default)]
struct Probabilities {
    p: Vec<f32>,
    slopes: Vec<f32>,
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

    fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        let (s, a) = (self.sizes(), self.model.architecture());
        let of_head = move |span: usize, rows: usize, h: usize| {
            (0..rows).step_by(QUERIES).map(move |first| {
                let queries = first..rows.min(first + QUERIES);
                let keys = a.first_seen(self.layer, first)..queries.end;
                Block { span, queries, keys, q_at: h * s.dh, k_at: s.q + h / s.group * s.dh }
            })
        };
        self.spans.iter().flat_map(move |&(span, rows)| (0..s.heads).flat_map(move |h| of_head(span, rows, h)))
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

    fn probabilities(&self, block: &Block, qkv: &[f32], out: &mut Probabilities) {
        let (s, a) = (self.sizes(), self.model.architecture());
        let (n, seen) = (block.queries.len(), block.keys.len());
        out.p.resize(n * seen, 0.0);
        let [queries, keys, _] = s.operands(block, qkv);
        matmul(ViewMut::new(&mut out.p, n, seen), false, a.attention_scale, queries, keys.t());
        out.slopes.clear();
        out.slopes.resize(if a.attention_softcap.is_some() { n * seen } else { 0 }, 0.0);
        for (i, row) in out.p.chunks_exact_mut(seen).enumerate() {
            let t = block.queries.start + i;
            let sees = a.first_seen(self.layer, t) - block.keys.start..t + 1 - block.keys.start;
            row[..sees.start].fill(0.0);
            row[sees.end..].fill(0.0);
            if let Some(cap) = a.attention_softcap {
                for j in sees.clone() {
                    let squashed = (row[j] / cap).tanh();
                    out.slopes[i * seen + j] = 1.0 - squashed * squashed;
                    row[j] = cap * squashed;
                }
            }
            kernels::softmax(&mut row[sees]);
        }
    }

    /// `(n, q + 2 kv)` → `(n, q)`.
    pub(super) fn forward(&self, qkv: &[f32]) -> Vec<f32> {
        let s = self.sizes();
        let qkv = &self.prepared(qkv);
        let mut out = vec![0f32; qkv.len() / s.width * s.q];
        let mut probabilities = Probabilities::default();
        for block in self.blocks() {
            self.probabilities(&block, qkv, &mut probabilities);
            let (n, seen) = (block.queries.len(), block.keys.len());
            let rows = &mut out[(block.span + block.queries.start) * s.q..];
            let [_, _, values] = s.operands(&block, qkv);
            let p = View::new(&probabilities.p, n, seen);
            matmul(ViewMut::columns(rows, n, s.q, block.q_at, s.dh), false, 1.0, p, values);
        }
        out
    }

    /// Gradient by the projections, given that of the output `(n, q)`.
    pub(super) fn backward(&self, projections: &[f32], grad: &[f32]) -> Vec<f32> {
        let (s, scale) = (self.sizes(), self.model.architecture().attention_scale);
        let qkv = &self.prepared(projections);
        let mut out = vec![0f32; qkv.len()];
        let (mut probabilities, mut ds) = (Probabilities::default(), Vec::new());
        for block in self.blocks() {
            self.probabilities(&block, qkv, &mut probabilities);
            let Probabilities { p, slopes } = &probabilities;
            let (n, seen) = (block.queries.len(), block.keys.len());
            let [queries, keys, values] = s.operands(&block, qkv);
            let g = View::columns(&grad[(block.span + block.queries.start) * s.q..], n, s.q, block.q_at, s.dh);
            let [first_query, first_key] = [block.queries.start, block.keys.start].map(|t| (block.span + t) * s.width);
            let into_keys = |column| (seen, s.width, column, s.dh);
            let mut add = |first: usize, (rows, width, column, count), a, b| {
                matmul(ViewMut::columns(&mut out[first..], rows, width, column, count), true, 1.0, a, b);
            };
            add(first_key, into_keys(block.k_at + s.kv), View::new(p, n, seen).t(), g);
            ds.resize(n * seen, 0.0);
            matmul(ViewMut::new(&mut ds, n, seen), false, 1.0, g, values.t());
            for (i, (ds, p)) in ds.chunks_exact_mut(seen).zip(p.chunks_exact(seen)).enumerate() {
                let mean = kernels::dot(p, ds);
                ds.iter_mut().zip(p).for_each(|(d, p)| *d = scale * p * (*d - mean));
                if let Some(slopes) = slopes.get(i * seen..(i + 1) * seen) {
                    ds.iter_mut().zip(slopes).for_each(|(d, slope)| *d *= slope);
                }
            }
            let ds = View::new(&ds, n, seen);
            add(first_query, (n, s.width, block.q_at, s.dh), ds, keys);
            add(first_key, into_keys(block.k_at), ds.t(), queries);
        }
        self.unprepare(projections, &mut out);
        out
    }
}

impl Sizes {
    /// Queries, keys and values of a block.
    fn operands<'a>(&self, block: &Block, qkv: &'a [f32]) -> [View<'a>; 3] {
        let of = |range: &Range<usize>, column| {
            View::columns(&qkv[(block.span + range.start) * self.width..], range.len(), self.width, column, self.dh)
        };
        [of(&block.queries, block.q_at), of(&block.keys, block.k_at), of(&block.keys, block.k_at + self.kv)]
    }
}
