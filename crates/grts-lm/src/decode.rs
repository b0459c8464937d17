//! Generation without gradients: KV caches that live as long as a dialogue, batches that mix adapters.
//!
//! Rows of a batch are cut into groups of fixed size that run on different threads, each with single-threaded matrix
//! products, so the number of threads never changes a token. Within a group the base's matrix product is one call for all
//! rows and the low-rank products are one call per run of rows with the same adapter: order rows by adapter.

use crate::kernels::{self, View, matmul};
use crate::lora::Adapter;
use crate::sampling::Sampling;
use crate::weights::{Layer, Model, Projection};
use crate::{Error, Result};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::{ParallelIterator, ParallelSliceMut};
use std::sync::Arc;

/// Rows that one thread decodes together.
const GROUP_ROWS: usize = 64;

/// Keys (rotated) and values of every layer for the tokens seen so far.
#[derive(Debug, Clone)]
struct KvCache {
    keys: Vec<Vec<f32>>, // per layer (tokens, kv_dim)
    values: Vec<Vec<f32>>,
}

/// A text in progress: what the model has read (cached) and what it has yet to read.
#[derive(Debug, Clone)]
pub struct Context {
    cache: KvCache,
    tokens: Vec<u32>,
    cached: usize,
}

impl Context {
    /// An empty text for `model`.
    pub fn new(model: &Model) -> Self {
        let layers = model.config.num_hidden_layers;
        Self {
            cache: KvCache { keys: vec![Vec::new(); layers], values: vec![Vec::new(); layers] },
            tokens: Vec::new(),
            cached: 0,
        }
    }

    /// Appends tokens; they are read at the next generation.
    pub fn extend(&mut self, tokens: &[u32]) {
        self.tokens.extend(tokens);
    }

    /// Every token so far, read or not.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens whose keys and values are cached.
    pub fn cached(&self) -> usize {
        self.cached
    }
}

/// One row of a generation batch.
pub struct Row<'a> {
    /// The text; at least one token must be unread.
    pub context: &'a mut Context,
    /// The policy that speaks; `None` is the base.
    pub adapter: Option<&'a Arc<Adapter>>,
    /// The row's own stream: what else shares the batch does not touch it.
    pub rng: ChaCha8Rng,
}

/// How long and how to generate.
#[derive(Debug, Clone)]
pub struct GenerationConfig {
    /// Temperature, top-k, top-p.
    pub sampling: Sampling,
    /// Most tokens to add, the ending one included.
    pub max_tokens: usize,
    /// Tokens that end the utterance.
    pub stop: Vec<u32>,
}

/// What a row said.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// New tokens, the ending one included when there is one. They are also appended to the row's context.
    pub tokens: Vec<u32>,
    /// Natural log of each token's probability under the policy, before temperature and truncation.
    pub logprobs: Vec<f32>,
    /// Whether a stop token came before `max_tokens`.
    pub finished: bool,
}

impl Model {
    pub(crate) fn check_tokens(&self, tokens: &[u32], before: usize) -> Result<()> {
        let (v, limit) = (self.config.vocab_size, self.config.max_position_embeddings);
        if let Some(id) = tokens.iter().find(|id| **id as usize >= v) {
            return Err(Error::Request(format!("token id {id} is outside the vocabulary of {v}")));
        }
        if before + tokens.len() > limit {
            let n = before + tokens.len();
            return Err(Error::Request(format!("{n} tokens exceed `max_position_embeddings` {limit}")));
        }
        Ok(())
    }

    /// Continues every row until a stop token, `max_tokens` or the end of the context window.
    ///
    /// # Errors
    /// A row with nothing to read, a token outside the vocabulary, a text longer than the window.
    pub fn generate(&self, rows: &mut [Row<'_>], config: &GenerationConfig) -> Result<Vec<Generated>> {
        config.sampling.check()?;
        for row in rows.iter() {
            if row.context.cached == row.context.tokens.len() {
                return Err(Error::Request("a row has no token to read".into()));
            }
            self.check_tokens(&row.context.tokens, 0)?;
        }
        let groups = rows.par_chunks_mut(GROUP_ROWS).map(|group| self.generate_group(group, config));
        Ok(groups.collect::<Vec<_>>().concat())
    }

    fn generate_group(&self, rows: &mut [Row<'_>], config: &GenerationConfig) -> Vec<Generated> {
        let v = self.config.vocab_size;
        let mut out = vec![Generated { tokens: Vec::new(), logprobs: Vec::new(), finished: false }; rows.len()];
        let mut live: Vec<usize> = (0..rows.len()).collect();
        let mut scratch = Vec::new();
        while !live.is_empty() {
            let mut batch: Vec<Feed<'_>> = Vec::with_capacity(live.len());
            let mut wanted = live.iter().copied().peekable();
            for (i, row) in rows.iter_mut().enumerate() {
                if wanted.next_if_eq(&i).is_some() {
                    batch.push(Feed::new(row.context, row.adapter.map(Arc::as_ref), Want::Last));
                }
            }
            let logits = self.read(&mut batch);
            drop(batch);
            for (logits, &i) in logits.chunks_exact(v).zip(&live) {
                let (row, said) = (&mut rows[i], &mut out[i]);
                let token = config.sampling.draw(logits, &mut row.rng);
                scratch.clear();
                scratch.extend_from_slice(logits);
                let (max, sum) = kernels::exp_shifted(&mut scratch);
                said.logprobs.push(logits[token as usize] - max - sum.ln());
                said.tokens.push(token);
                said.finished = config.stop.contains(&token);
                row.context.tokens.push(token);
            }
            live.retain(|&i| {
                let full = rows[i].context.tokens.len() >= self.config.max_position_embeddings;
                !out[i].finished && out[i].tokens.len() < config.max_tokens && !full
            });
        }
        out
    }

    /// Log-probabilities of every token after the first, `tokens.len() − 1` values a text, under each text's adapter.
    ///
    /// # Errors
    /// A token outside the vocabulary or a text longer than the window.
    pub fn logprobs(&self, texts: &[(&[u32], Option<&Arc<Adapter>>)]) -> Result<Vec<Vec<f32>>> {
        for (tokens, _) in texts {
            self.check_tokens(tokens, 0)?;
        }
        let v = self.config.vocab_size;
        let mut work: Vec<(_, _, Vec<f32>)> = texts.iter().map(|(t, a)| (*t, *a, Vec::new())).collect();
        work.par_chunks_mut(GROUP_ROWS / 4).for_each(|group| {
            let mut contexts: Vec<Context> = group
                .iter()
                .map(|(tokens, _, _)| {
                    let mut context = Context::new(self);
                    context.extend(&tokens[..tokens.len().saturating_sub(1)]);
                    context
                })
                .collect();
            let feeds =
                contexts.iter_mut().zip(group.iter()).map(|(c, (_, a, _))| Feed::new(c, a.map(Arc::as_ref), Want::All));
            let mut logits = self.read(&mut feeds.collect::<Vec<_>>());
            let mut rows = logits.chunks_exact_mut(v);
            for (tokens, _, out) in group.iter_mut() {
                for &token in tokens.iter().skip(1) {
                    let Some(row) = rows.next() else { break };
                    let chosen = row[token as usize];
                    let (max, sum) = kernels::exp_shifted(row);
                    out.push(chosen - max - sum.ln());
                }
            }
        });
        Ok(work.into_iter().map(|(_, _, out)| out).collect())
    }

    /// Logits after every token of one text, `(tokens, v)`.
    ///
    /// # Errors
    /// A token outside the vocabulary or a text longer than the window.
    pub fn logits(&self, tokens: &[u32], adapter: Option<&Adapter>) -> Result<Vec<f32>> {
        self.check_tokens(tokens, 0)?;
        let mut context = Context::new(self);
        context.extend(tokens);
        Ok(self.read(&mut [Feed::new(&mut context, adapter, Want::All)]))
    }

    /// Final hidden state (after the last norm) of every token of each text, `(tokens, d)` a text.
    ///
    /// # Errors
    /// A token outside the vocabulary or a text longer than the window.
    pub fn hidden_states(&self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        for tokens in texts {
            self.check_tokens(tokens, 0)?;
        }
        let d = self.config.hidden_size;
        let mut work: Vec<(&[u32], Vec<f32>)> = texts.iter().map(|t| (*t, Vec::new())).collect();
        work.par_chunks_mut(GROUP_ROWS / 4).for_each(|group| {
            let mut contexts: Vec<Context> = group.iter().map(|_| Context::new(self)).collect();
            for (context, (tokens, _)) in contexts.iter_mut().zip(group.iter()) {
                context.extend(tokens);
            }
            let mut feeds: Vec<Feed<'_>> = contexts.iter_mut().map(|c| Feed::new(c, None, Want::All)).collect();
            let hidden = self.hidden(&mut feeds);
            let mut at = 0;
            for (tokens, out) in group.iter_mut() {
                *out = hidden[at * d..(at + tokens.len()) * d].to_vec();
                at += tokens.len();
            }
        });
        Ok(work.into_iter().map(|(_, out)| out).collect())
    }

    /// Reads every feed's unread tokens and returns logits of the wanted positions, `(wanted, v)`.
    fn read(&self, feeds: &mut [Feed<'_>]) -> Vec<f32> {
        let (v, d) = (self.config.vocab_size, self.config.hidden_size);
        let x = self.hidden(feeds);
        let wanted = x.len() / d;
        let mut logits = vec![0f32; wanted * v];
        matmul(&mut logits, false, 1.0, View::new(&x, wanted, d), View::new(self.head(), v, d).t());
        logits
    }

    /// Hidden states `(wanted, d)` after the last norm; marks the tokens as read.
    fn hidden(&self, feeds: &mut [Feed<'_>]) -> Vec<f32> {
        let d = self.config.hidden_size;
        let mut x: Vec<f32> = Vec::new(); // (n, d)
        for feed in feeds.iter() {
            for &token in feed.unread() {
                x.extend_from_slice(&self.embed[token as usize * d..(token as usize + 1) * d]);
            }
        }
        let runs = runs_of_adapters(feeds);
        for (n, layer) in self.layers.iter().enumerate() {
            self.layer(n, layer, &mut x, feeds, &runs);
        }
        let mut out = Vec::new();
        let mut first = 0;
        for feed in feeds.iter_mut() {
            let rows = feed.unread().len();
            let keep = if feed.want == Want::All { rows } else { 1 };
            for row in x[first * d..(first + rows) * d].chunks_exact(d).skip(rows - keep.min(rows)) {
                let start = out.len();
                out.resize(start + d, 0.0);
                kernels::rms_norm(&mut out[start..], row, &self.norm, self.config.rms_norm_eps as f32);
            }
            first += rows;
            feed.context.cached = feed.context.tokens.len();
        }
        out
    }

    fn layer(&self, n: usize, layer: &Layer, x: &mut [f32], feeds: &mut [Feed<'_>], runs: &[Run<'_>]) {
        let d = self.config.hidden_size;
        let rows = x.len() / d;
        let project = |p: Projection, input: &[f32], out: &mut [f32], accumulate: bool| {
            let (o, i) = p.shape(&self.config);
            let weight = View::new(&layer.projections[p as usize], o, i).t();
            matmul(out, accumulate, 1.0, View::new(input, rows, i), weight);
            for run in runs {
                let Some(pair) = run.adapter.and_then(|a| a.get(n, p).map(|pair| (a.config(), pair))) else { continue };
                let (config, pair) = pair;
                let mut low = vec![0f32; run.rows * config.r];
                let part = View::new(&input[run.first * i..(run.first + run.rows) * i], run.rows, i);
                matmul(&mut low, false, 1.0, part, View::new(&pair.a, config.r, i).t());
                let target = &mut out[run.first * o..(run.first + run.rows) * o];
                let (low, b) = (View::new(&low, run.rows, config.r), View::new(&pair.b, o, config.r).t());
                matmul(target, true, config.scale(), low, b);
            }
        };
        let (q_dim, kv_dim, f) = (self.config.q_dim(), self.config.kv_dim(), self.config.intermediate_size);
        let h = self.normed(x, &layer.input_norm);
        let (mut q, mut k, mut v) = (vec![0f32; rows * q_dim], vec![0f32; rows * kv_dim], vec![0f32; rows * kv_dim]);
        project(Projection::Q, &h, &mut q, false);
        project(Projection::K, &h, &mut k, false);
        project(Projection::V, &h, &mut v, false);
        let attended = self.attend(n, &mut q, &mut k, &v, feeds);
        project(Projection::O, &attended, x, true);
        let h = self.normed(x, &layer.post_norm);
        let (mut gate, mut up) = (vec![0f32; rows * f], vec![0f32; rows * f]);
        project(Projection::Gate, &h, &mut gate, false);
        project(Projection::Up, &h, &mut up, false);
        kernels::swiglu(&mut gate, &up);
        project(Projection::Down, &gate, x, true);
    }

    fn normed(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let d = self.config.hidden_size;
        let mut out = vec![0f32; x.len()];
        for (o, row) in out.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
            kernels::rms_norm(o, row, weight, self.config.rms_norm_eps as f32);
        }
        out
    }

    /// Rotates, appends keys and values to the caches, and attends over them.
    fn attend(&self, layer: usize, q: &mut [f32], k: &mut [f32], v: &[f32], feeds: &mut [Feed<'_>]) -> Vec<f32> {
        let (dh, q_dim, kv_dim) = (self.config.head_dim(), self.config.q_dim(), self.config.kv_dim());
        let group = self.config.num_attention_heads / self.config.kv_heads();
        let scale = 1.0 / (dh as f32).sqrt();
        let mut out = vec![0f32; q.len()];
        let mut weights = Vec::new();
        let mut row = 0;
        for feed in feeds.iter_mut() {
            let (first, count) = (feed.context.cached, feed.unread().len());
            let (keys, values) = (&mut feed.context.cache.keys[layer], &mut feed.context.cache.values[layer]);
            for t in 0..count {
                let kv = (row + t) * kv_dim..(row + t + 1) * kv_dim;
                self.rope.rotate(&mut k[kv.clone()], first + t, false);
                self.rope.rotate(&mut q[(row + t) * q_dim..(row + t + 1) * q_dim], first + t, false);
                keys.extend_from_slice(&k[kv.clone()]);
                values.extend_from_slice(&v[kv]);
            }
            for t in 0..count {
                for h in 0..self.config.num_attention_heads {
                    let (at, kv_at) = ((row + t) * q_dim + h * dh, h / group * dh);
                    let query = &q[at..at + dh];
                    weights.clear();
                    let seen = keys.chunks_exact(kv_dim).take(first + t + 1);
                    weights.extend(seen.map(|key| scale * kernels::dot(query, &key[kv_at..kv_at + dh])));
                    kernels::softmax(&mut weights);
                    for (w, value) in weights.iter().zip(values.chunks_exact(kv_dim)) {
                        kernels::axpy(&mut out[at..at + dh], *w, &value[kv_at..kv_at + dh]);
                    }
                }
            }
            row += count;
        }
        out
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Want {
    /// The position after the last token only.
    Last,
    /// Every position that is read now.
    All,
}

/// A context whose unread tokens are read in this pass.
struct Feed<'a> {
    context: &'a mut Context,
    adapter: Option<&'a Adapter>,
    want: Want,
}

impl<'a> Feed<'a> {
    fn new(context: &'a mut Context, adapter: Option<&'a Adapter>, want: Want) -> Self {
        Self { context, adapter, want }
    }

    fn unread(&self) -> &[u32] {
        &self.context.tokens[self.context.cached..]
    }
}

/// Consecutive rows of the packed batch that share an adapter.
struct Run<'a> {
    first: usize,
    rows: usize,
    adapter: Option<&'a Adapter>,
}

fn runs_of_adapters<'a>(feeds: &[Feed<'a>]) -> Vec<Run<'a>> {
    let mut runs: Vec<Run<'a>> = Vec::new();
    let mut first = 0;
    for feed in feeds {
        let rows = feed.unread().len();
        match runs.last_mut() {
            Some(last) if last.adapter.map(std::ptr::from_ref) == feed.adapter.map(std::ptr::from_ref) => {
                last.rows += rows
            }
            _ => runs.push(Run { first, rows, adapter: feed.adapter }),
        }
        first += rows;
    }
    runs
}
