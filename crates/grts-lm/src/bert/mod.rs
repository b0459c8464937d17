//! BERT: encoders in which every token sees every other, read from Hugging Face directories.
//!
//! It is no `Architecture`: a decoder's two paths, caches, windows and adapters would all be exceptions
//! here. What is shared are the packed products and the attention kernel. Texts lie one after the other without padding, so
//! nothing is computed for tokens that are not there; whoever is longest goes first, so that no thread begins a long text
//! when the others are done. Each text is computed as if it were alone: its states do not depend, to the bit, on its batch.

mod sentence;
mod weights;

pub use sentence::SentenceEncoder;

use crate::architecture::Activation;
use crate::kernels::{self, HeadCache, Seen};
use crate::weights::{Map, Norm};
use crate::{Error, Result};
use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};
use std::ops::Range;

/// Tokens that one thread reads together at most: enough to pay for reading the weights, few enough for its cache.
const PASS_ROWS: usize = 512;

/// A frozen encoder.
#[derive(Debug)]
pub struct Encoder {
    shape: Shape,
    words: Vec<f32>,     // (v, d)
    positions: Vec<f32>, // (context, d), the embedding of token type 0 added
    norm: Norm,
    layers: Vec<Layer>,
}

/// What `config.json` says.
#[derive(Debug, Clone, PartialEq)]
struct Shape {
    vocab: usize,
    d: usize,
    ff: usize,
    layers: usize,
    heads: usize,
    context: usize,
    types: usize,
    eps: f32,
    activation: Activation,
}

/// x ← norm(x + attention(x)); x ← norm(x + mlp(x)).
#[derive(Debug)]
struct Layer {
    qkv: Map,    // (3 d, d)
    output: Map, // (d, d)
    up: Map,     // (ff, d)
    down: Map,   // (d, ff)
    after_attention: Norm,
    after_mlp: Norm,
}

/// Memory of one pass.
struct Buffers {
    x: Vec<f32>,
    sum: Vec<f32>,
    qkv: Vec<f32>,
    attended: Vec<f32>,
    up: Vec<f32>,
}

impl Encoder {
    /// Width `d` of a state.
    pub fn width(&self) -> usize {
        self.shape.d
    }

    /// Rows of the embedding.
    pub fn vocab_size(&self) -> usize {
        self.shape.vocab
    }

    /// Longest text, in tokens.
    pub fn context(&self) -> usize {
        self.shape.context
    }

    /// Last hidden state of every token of each text, `(tokens, d)` a text; all tokens have type 0.
    ///
    /// # Errors
    /// A token outside the vocabulary or a text longer than the context.
    pub fn hidden_states(&self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        self.read(texts, <[f32]>::to_vec)
    }

    /// `reduce` of each text's states `(tokens, d)`.
    fn read<T: Send>(&self, texts: &[&[u32]], reduce: impl Fn(&[f32]) -> T + Sync) -> Result<Vec<T>> {
        texts.iter().try_for_each(|text| self.check(text))?;
        let passes = passes(texts, rayon::current_num_threads());
        let read = |pass: &Vec<usize>| {
            let (states, spans) = self.pass(&pass.iter().map(|&i| texts[i]).collect::<Vec<_>>());
            let d = self.shape.d;
            let reduced = spans.iter().map(|rows| reduce(&states[rows.start * d..rows.end * d]));
            pass.iter().copied().zip(reduced).collect::<Vec<_>>()
        };
        let mut all: Vec<(usize, T)> = passes.par_iter().flat_map_iter(read).collect();
        all.sort_by_key(|(i, _)| *i);
        Ok(all.into_iter().map(|(_, out)| out).collect())
    }

    fn check(&self, text: &[u32]) -> Result<()> {
        let Shape { vocab, context, .. } = self.shape;
        if let Some(id) = text.iter().find(|id| **id as usize >= vocab) {
            return Err(Error::Request(format!("token id {id} is outside the encoder's vocabulary of {vocab}")));
        }
        if text.len() > context {
            return Err(Error::Request(format!("{} tokens exceed the encoder's context of {context}", text.len())));
        }
        Ok(())
    }

    /// States of all rows, and the rows of each text.
    fn pass(&self, texts: &[&[u32]]) -> (Vec<f32>, Vec<Range<usize>>) {
        let Shape { d, ff, .. } = self.shape;
        let mut spans = Vec::with_capacity(texts.len());
        let mut rows = 0;
        for text in texts {
            spans.push(rows..rows + text.len());
            rows += text.len();
        }
        let floats = |width: usize| vec![0f32; rows * width];
        let mut b = Buffers { x: floats(d), sum: floats(d), qkv: floats(3 * d), attended: floats(d), up: floats(ff) };
        self.embed(texts, &mut b);
        for layer in &self.layers {
            linear(&layer.qkv, &b.x, &mut b.qkv, rows, false);
            self.attend(&spans, &b.qkv, &mut b.attended);
            linear(&layer.output, &b.attended, &mut b.x, rows, true);
            self.normalise(&layer.after_attention, &b.x, &mut b.sum);
            linear(&layer.up, &b.sum, &mut b.up, rows, false);
            kernels::activate(self.shape.activation, &mut b.up, None);
            linear(&layer.down, &b.up, &mut b.sum, rows, true);
            self.normalise(&layer.after_mlp, &b.sum, &mut b.x);
        }
        (b.x, spans)
    }

    fn embed(&self, texts: &[&[u32]], b: &mut Buffers) {
        let d = self.shape.d;
        let tokens = texts.iter().flat_map(|text| text.iter().enumerate());
        for ((position, token), row) in tokens.zip(b.sum.chunks_exact_mut(d)) {
            row.copy_from_slice(&self.words[*token as usize * d..][..d]);
            kernels::axpy(row, 1.0, &self.positions[position * d..][..d]);
        }
        self.normalise(&self.norm, &b.sum, &mut b.x);
    }

    fn normalise(&self, norm: &Norm, from: &[f32], to: &mut [f32]) {
        let d = self.shape.d;
        let bias = norm.bias.as_deref().unwrap_or_default();
        for (x, out) in from.chunks_exact(d).zip(to.chunks_exact_mut(d)) {
            kernels::layer_norm(out, x, &norm.weight, bias, self.shape.eps);
        }
    }

    /// Every token attends to all tokens of its text.
    fn attend(&self, spans: &[Range<usize>], qkv: &[f32], attended: &mut [f32]) {
        let (d, head_dim) = (self.shape.d, self.shape.d / self.shape.heads);
        let scale = 1.0 / (head_dim as f32).sqrt();
        let (mut cache, mut scores, mut queries, mut out) = (HeadCache::default(), Vec::new(), Vec::new(), Vec::new());
        for span in spans.iter().filter(|span| !span.is_empty()) {
            for head in (0..d).step_by(head_dim) {
                cache.clear();
                queries.clear();
                for row in span.clone() {
                    let part = |i: usize| &qkv[row * 3 * d + i * d + head..][..head_dim];
                    queries.extend_from_slice(part(0));
                    cache.push(part(1), part(2));
                }
                out.resize(queries.len(), 0.0);
                let range = (0, span.len());
                Seen { cache: &cache, head_dim, range, scale, softcap: None, next: None }.attend(
                    &queries,
                    &mut scores,
                    &mut out,
                );
                for (row, out) in span.clone().zip(out.chunks_exact(head_dim)) {
                    attended[row * d + head..][..head_dim].copy_from_slice(out);
                }
            }
        }
    }
}

/// `out` = W x + b, or that added to what `out` holds.
fn linear(map: &Map, x: &[f32], out: &mut [f32], rows: usize, add: bool) {
    let bias = map.bias.as_deref().unwrap_or_default();
    for row in out.chunks_exact_mut(map.weight.out()) {
        if add { kernels::axpy(row, 1.0, bias) } else { row.copy_from_slice(bias) }
    }
    map.weight.add_forward(x, rows, out);
}

/// Which texts each pass reads: the longest first, as many as fit.
fn passes(texts: &[&[u32]], threads: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(texts[i].len()));
    let total: usize = texts.iter().map(|text| text.len()).sum();
    let room = total.div_ceil(threads.max(1)).clamp(1, PASS_ROWS);
    let (mut passes, mut used) = (Vec::<Vec<usize>>::new(), usize::MAX);
    for i in order {
        match passes.last_mut() {
            Some(pass) if used + texts[i].len() <= room => pass.push(i),
            _ => {
                passes.push(vec![i]);
                used = 0;
            }
        }
        used += texts[i].len();
    }
    passes
}
