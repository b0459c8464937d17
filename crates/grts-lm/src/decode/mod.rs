//! Generation without gradients: KV caches that live as long as a dialogue, batches that mix adapters.
//!
//! Many rows are cut into groups that run on different threads, each a pass of its own; a few rows are worked through by
//! all threads together (`crate::team`). Either way each number is the same chain of operations: what a row says does not
//! depend, to the bit, on what shares its batch, on how many threads there are, or on how its prompt was cut into passes.
//! Within a pass the base's product is one call for all rows and the low-rank products are one call per run of rows with
//! the same adapter: order rows by adapter. What new texts begin with in common is read once.

mod pass;

use crate::device::Cache;
use crate::kernels::{self, HeadCache};
use crate::lora::{Adapter, PackedAdapter};
use crate::sampling::Sampling;
use crate::team::{Shared, Team};
use crate::weights::Model;
use crate::{Error, Result};
use pass::{Buffers, Pass, Plan};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::{IntoParallelIterator, ParallelIterator, ParallelSlice};
use std::ops::Range;
use std::sync::Arc;

/// Rows that one thread decodes together at most, …
const GROUP_ROWS: usize = 64;
/// … and at least, where their caches would otherwise outgrow …
const LEAST_GROUP_ROWS: usize = 16;
/// … the memory that processors share as cache, bytes: a step reads all of them.
const CACHED: usize = 16 << 20;
/// Below so many rows a thread, all threads share each product instead: of models whose weights stay in a core's cache, …
const OWN_ROWS_SMALL: usize = 12;
/// … and of others, whose weights every group would read again.
const OWN_ROWS_LARGE: usize = 32;
/// Weights that stay in cache, bytes.
const SMALL: usize = 8 << 20;
/// Weights of which a product is over before threads have met, bytes: rows are never shared.
const TINY: usize = 4 << 20;
/// Tokens in common from which on reading them once is worth a copy.
const LEAST_SHARED: usize = 4;
/// Tokens that one pass reads at most.
const PASS_ROWS: usize = 512;
/// Numbers of logits that one pass keeps at most when every position is wanted.
const PASS_LOGITS: usize = 1 << 23;

/// A text in progress: what the model has read (cached) and what it has yet to read.
#[derive(Debug, Clone)]
pub struct Context {
    caches: Vec<HeadCache>, // [layer * kv_heads + head]
    /// What stands for them where the model is on a device.
    #[cfg_attr(not(feature = "candle"), expect(dead_code, reason = "nothing can be on a device"))]
    pub(crate) device: Cache,
    pub(crate) tokens: Vec<u32>,
    pub(crate) cached: usize,
}

impl Context {
    /// An empty text for `model`.
    pub fn new(model: &Model) -> Self {
        let a = model.architecture();
        let caches = vec![HeadCache::default(); a.layers * a.kv_heads];
        Self { caches, device: Cache::default(), tokens: Vec::new(), cached: 0 }
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
#[derive(Debug, Clone, Default, PartialEq)]
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
        let (v, limit) = (self.config.vocab_size(), self.config.context());
        if let Some(id) = tokens.iter().find(|id| **id as usize >= v) {
            return Err(Error::Request(format!("token id {id} is outside the vocabulary of {v}")));
        }
        if before + tokens.len() > limit {
            let n = before + tokens.len();
            return Err(Error::Request(format!("{n} tokens exceed the model's context of {limit}")));
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
        if config.max_tokens == 0 {
            return Ok(vec![Generated::default(); rows.len()]);
        }
        if let Some(decoder) = &self.decoder {
            return decoder.generate(self, rows, config);
        }
        let threads = rayon::current_num_threads();
        self.share_beginnings(rows, threads);
        if rows.len() < threads * self.own_rows() {
            return Ok(Generation::new(self, rows.iter_mut().collect(), config).run(threads));
        }
        let longest = rows.iter().map(|row| row.context.tokens.len()).max().unwrap_or(0) + config.max_tokens;
        // As many groups for each thread, of as many rows.
        let each = rows.len().div_ceil(threads * self.group_rows(longest, threads));
        let hands = (threads * each).min(rows.len());
        let groups = deal(rows.iter_mut(), hands);
        let said = groups.into_par_iter().map(|group| Generation::new(self, group, config).run(1));
        let mut said: Vec<_> = said.collect::<Vec<_>>().into_iter().map(Vec::into_iter).collect();
        let groups = said.len();
        Ok((0..rows.len()).filter_map(|i| said[i % groups].next()).collect())
    }

    /// Reads once what the texts of an adapter begin with in common (an opening, a system message), and copies what was read.
    fn share_beginnings(&self, rows: &mut [Row<'_>], threads: usize) {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let adapter = |row: &Row<'_>| row.adapter.map(Arc::as_ptr);
        for i in (0..rows.len()).filter(|&i| rows[i].context.cached == 0) {
            match groups.iter_mut().find(|group| adapter(&rows[group[0]]) == adapter(&rows[i])) {
                Some(group) => group.push(i),
                None => groups.push(vec![i]),
            }
        }
        for group in groups.iter().filter(|group| group.len() > 1) {
            let first = &rows[group[0]].context.tokens;
            // The last token of a row is its own to read: its output is wanted.
            let common = |i: &usize| {
                let tokens = &rows[*i].context.tokens;
                let same = tokens.iter().zip(first).take_while(|(a, b)| a == b).count();
                same.min(tokens.len() - 1)
            };
            let shared = group.iter().map(common).min().unwrap_or(0);
            if shared < LEAST_SHARED {
                continue;
            }
            let Row { context, adapter, .. } = &mut rows[group[0]];
            self.read_ahead(context, *adapter, shared, if self.own_rows() > 0 { threads } else { 1 });
            let caches = context.caches.clone();
            for &i in &group[1..] {
                rows[i].context.caches.clone_from(&caches);
                rows[i].context.cached = shared;
            }
        }
    }

    /// Reads the first `count` tokens of a text that has not been read at all.
    fn read_ahead(&self, context: &mut Context, adapter: Option<&Arc<Adapter>>, count: usize, threads: usize) {
        let adapter = adapter.map(|adapter| adapter.packed(self.architecture()));
        let room = count.min(PASS_ROWS);
        let mut buffers = Buffers::new(self, room, 0, 0, widest(&[adapter]));
        let board = buffers.share();
        let Context { caches, tokens, cached, .. } = context;
        let caches = [Shared::new(caches)];
        Team::run(threads, |team| {
            let pass = Pass { model: self, board: &board, caches: &caches };
            for from in (0..count).step_by(room) {
                let mut plan = Plan::default();
                plan.add(0, &tokens[from..count.min(from + room)], from, adapter, 0..0);
                plan.seal(self);
                pass.run(team, &plan, false);
            }
        });
        *cached = count;
    }

    /// Rows of at most `tokens` tokens that a thread should decode together: few enough that their caches stay where they are
    /// read quickly, if that leaves rows enough to share a weight.
    fn group_rows(&self, tokens: usize, threads: usize) -> usize {
        let a = self.architecture();
        let row = 2 * size_of::<f32>() * a.layers * a.kv_dim() * tokens.min(a.context).max(1);
        match CACHED / threads / row {
            0..LEAST_GROUP_ROWS => GROUP_ROWS,
            rows => rows.min(GROUP_ROWS),
        }
    }

    /// Rows a thread from which on it works alone.
    fn own_rows(&self) -> usize {
        match self.bytes() {
            0..TINY => 0,
            TINY..SMALL => OWN_ROWS_SMALL,
            _ => OWN_ROWS_LARGE,
        }
    }

    /// Log-probabilities of every token after the first, `tokens.len() − 1` values a text, under each text's adapter.
    ///
    /// # Errors
    /// A token outside the vocabulary or a text longer than the window.
    pub fn logprobs(&self, texts: &[(&[u32], Option<&Arc<Adapter>>)]) -> Result<Vec<Vec<f32>>> {
        let all: Vec<Reading<'_>> = texts
            .iter()
            .map(|(tokens, adapter)| Reading {
                tokens: &tokens[..tokens.len().saturating_sub(1)],
                adapter: adapter.map(Arc::as_ref),
                whole: tokens,
            })
            .collect();
        self.read_all(&all, Want::Logits, 1, |reading, at, logits, out| {
            let chosen = logits[reading.whole[at + 1] as usize];
            let (max, sum) = kernels::exp_shifted(logits);
            out[0] = chosen - max - sum.ln();
        })
    }

    /// Logits after every token of one text, `(tokens, v)`.
    ///
    /// # Errors
    /// A token outside the vocabulary or a text longer than the window.
    pub fn logits(&self, tokens: &[u32], adapter: Option<&Adapter>) -> Result<Vec<f32>> {
        let reading = Reading { tokens, adapter, whole: tokens };
        let copy = |_: &Reading<'_>, _: usize, logits: &mut [f32], out: &mut [f32]| out.copy_from_slice(logits);
        Ok(self.read_all(&[reading], Want::Logits, self.config.vocab_size(), copy)?.concat())
    }

    /// Final hidden state (after the last norm) of every token of each text, `(tokens, d)` a text.
    ///
    /// # Errors
    /// A token outside the vocabulary or a text longer than the window.
    pub fn hidden_states(&self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        let all: Vec<Reading<'_>> = texts.iter().map(|t| Reading { tokens: t, adapter: None, whole: t }).collect();
        let copy = |_: &Reading<'_>, _: usize, state: &mut [f32], out: &mut [f32]| out.copy_from_slice(state);
        self.read_all(&all, Want::States, self.config.hidden_size(), copy)
    }

    /// Reads whole texts; `visit(text, position, output, out)` turns each position's output into `width` numbers.
    fn read_all(
        &self,
        texts: &[Reading<'_>],
        want: Want,
        width: usize,
        visit: impl Fn(&Reading<'_>, usize, &mut [f32], &mut [f32]) + Sync,
    ) -> Result<Vec<Vec<f32>>> {
        for text in texts {
            self.check_tokens(text.whole, 0)?;
        }
        if let Some(decoder) = &self.decoder {
            return decoder.read(self, texts, (want, width), visit);
        }
        let threads = rayon::current_num_threads();
        if texts.len() < threads && self.own_rows() > 0 {
            return Ok(self.read_group(texts, want, width, &visit, threads));
        }
        let group = texts.len().div_ceil(threads).clamp(1, GROUP_ROWS / 4);
        let groups = texts.par_chunks(group).map(|group| self.read_group(group, want, width, &visit, 1));
        Ok(groups.collect::<Vec<_>>().concat())
    }

    fn read_group(
        &self,
        texts: &[Reading<'_>],
        want: Want,
        width: usize,
        visit: &(impl Fn(&Reading<'_>, usize, &mut [f32], &mut [f32]) + Sync),
        threads: usize,
    ) -> Vec<Vec<f32>> {
        let a = self.architecture();
        let adapters: Vec<_> = texts.iter().map(|t| t.adapter.map(|adapter| adapter.packed(a))).collect();
        let total = texts.iter().map(|t| t.tokens.len()).sum::<usize>();
        let each = if want == Want::Logits { a.vocab } else { a.d };
        let room = total.clamp(1, PASS_ROWS.min(PASS_LOGITS / each).max(16));
        let mut buffers = Buffers::new(self, room, room, each, widest(&adapters));
        let board = buffers.share();
        let mut contexts: Vec<Context> = texts.iter().map(|_| Context::new(self)).collect();
        let caches: Vec<Shared<'_, HeadCache>> = contexts.iter_mut().map(|c| Shared::new(&mut c.caches)).collect();
        let mut out = vec![0f32; total * width];
        let shared = Shared::new(&mut out);
        // Which positions of which texts each pass reads, in order of output.
        let passes = cut(texts, room);
        Team::run(threads, |team| {
            let pass = Pass { model: self, board: &board, caches: &caches };
            let mut first = 0;
            for pieces in &passes {
                let mut plan = Plan::default();
                for (i, range) in pieces {
                    plan.add(*i, &texts[*i].tokens[range.clone()], range.start, adapters[*i], 0..range.len());
                }
                plan.seal(self);
                pass.run(team, &plan, want == Want::Logits);
                let positions: Vec<(usize, usize)> =
                    pieces.iter().flat_map(|(i, range)| range.clone().map(|at| (*i, at))).collect();
                for row in team.share(positions.len()) {
                    let (i, at) = positions[row];
                    // SAFETY: own rows of the outputs, complete since the pass's last barrier.
                    let (output, out) = unsafe {
                        let slot = (first + row) * width;
                        (board.out.write(row * each..(row + 1) * each), shared.write(slot..slot + width))
                    };
                    visit(&texts[i], at, output, out);
                }
                first += positions.len();
                team.sync();
            }
        });
        let mut rest = out.as_slice();
        let mut next = |t: &Reading<'_>| {
            let (own, after) = rest.split_at(t.tokens.len() * width);
            rest = after;
            own.to_vec()
        };
        texts.iter().map(&mut next).collect()
    }
}

/// A text to be read in full.
pub(crate) struct Reading<'a> {
    pub(crate) tokens: &'a [u32],
    pub(crate) adapter: Option<&'a Adapter>,
    /// With the token after the last that is read.
    whole: &'a [u32],
}

/// What is wanted of a row: logits `(v)`, or the hidden state after the last norm `(d)`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Logits,
    States,
}

/// Texts in order, cut into passes of at most `room` tokens.
fn cut(texts: &[Reading<'_>], room: usize) -> Vec<Vec<(usize, Range<usize>)>> {
    let mut passes = vec![Vec::new()];
    let mut left = room;
    for (i, text) in texts.iter().enumerate() {
        let mut from = 0;
        while from < text.tokens.len() {
            if left == 0 {
                passes.push(Vec::new());
                left = room;
            }
            let to = text.tokens.len().min(from + left);
            if let Some(pass) = passes.last_mut() {
                pass.push((i, from..to));
            }
            (left, from) = (left - (to - from), to);
        }
    }
    passes
}

/// Deals things to `hands` hands in turn. Rows come ordered by policy, and policies differ in how much they say: each hand gets
/// its share of every policy, in the same order.
fn deal<T>(things: impl Iterator<Item = T>, hands: usize) -> Vec<Vec<T>> {
    let mut dealt: Vec<Vec<T>> = (0..hands).map(|_| Vec::new()).collect();
    for (i, thing) in things.enumerate() {
        dealt[i % hands].push(thing);
    }
    dealt
}

fn widest(adapters: &[Option<&Arc<PackedAdapter>>]) -> usize {
    adapters.iter().flatten().map(|adapter| adapter.widest).max().unwrap_or(0)
}

/// A batch that is being continued.
struct Generation<'a> {
    model: &'a Model,
    config: &'a GenerationConfig,
    caches: Vec<Shared<'a, HeadCache>>,
    rngs: Vec<&'a mut ChaCha8Rng>,
    state: State<'a>,
}

/// What changes from pass to pass; one member writes it while the others wait.
struct State<'a> {
    texts: Vec<Progress<'a>>,
    plan: Plan,
    /// Text of each wanted output of the plan.
    speaking: Vec<usize>,
    room: usize,
    context: usize,
}

struct Progress<'a> {
    tokens: &'a mut Vec<u32>,
    cached: &'a mut usize,
    adapter: Option<Arc<PackedAdapter>>,
    said: Generated,
    over: bool,
}

impl<'a> Generation<'a> {
    fn new<'r: 'a>(model: &'a Model, rows: Vec<&'a mut Row<'r>>, config: &'a GenerationConfig) -> Self {
        let a = model.architecture();
        let unread: usize = rows.iter().map(|row| row.context.tokens.len() - row.context.cached).sum();
        let room = unread.clamp(1, PASS_ROWS).max(rows.len());
        let (mut caches, mut rngs, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            let Context { caches: own, tokens, cached, .. } = &mut *row.context;
            let longest = a.context.min(tokens.len() + config.max_tokens);
            own.iter_mut().for_each(|cache| cache.reserve(longest, a.head_dim));
            caches.push(Shared::new(own));
            rngs.push(&mut row.rng);
            let adapter = row.adapter.map(|adapter| Arc::clone(adapter.packed(a)));
            texts.push(Progress { tokens, cached, adapter, said: Generated::default(), over: false });
        }
        let state = State { texts, plan: Plan::default(), speaking: Vec::new(), room, context: a.context };
        Self { model, config, caches, rngs, state }
    }

    fn run(mut self, threads: usize) -> Vec<Generated> {
        let v = self.model.config.vocab_size();
        let rows = self.rngs.len();
        let widest = widest(&self.state.texts.iter().map(|t| t.adapter.as_ref()).collect::<Vec<_>>());
        let mut buffers = Buffers::new(self.model, self.state.room, rows, v, widest);
        let board = buffers.share();
        let mut drawn = vec![(0u32, 0f32); rows];
        {
            let (drawn, rngs) = (Shared::new(&mut drawn), Shared::new(&mut self.rngs));
            let state = Shared::new(std::slice::from_mut(&mut self.state));
            let (model, config, caches) = (self.model, self.config, &self.caches);
            Team::run(threads, |team| {
                let pass = Pass { model, board: &board, caches };
                let mut scratch = Vec::new();
                loop {
                    if team.leads() {
                        // SAFETY: only the leader touches the state here; the others wait at the barrier.
                        unsafe { state.write(0..1)[0].advance(model, config, drawn.read(0..rows)) };
                    }
                    team.sync();
                    // SAFETY: read by all until the barrier at the end of the round.
                    let state = unsafe { &state.read(0..1)[0] };
                    if state.speaking.is_empty() && state.plan.rows() == 0 {
                        break;
                    }
                    pass.run(team, &state.plan, true);
                    for i in team.share(state.speaking.len()) {
                        // SAFETY: own outputs and the streams of their texts.
                        unsafe {
                            let text = state.speaking[i];
                            let logits = board.out.read(i * v..(i + 1) * v);
                            let rng = &mut rngs.write(text..text + 1)[0];
                            drawn.write(i..i + 1)[0] = config.sampling.draw(logits, *rng, &mut scratch);
                        }
                    }
                    team.sync();
                }
            });
        }
        self.state.texts.into_iter().map(|text| text.said).collect()
    }
}

impl State<'_> {
    /// Takes in what the last pass drew and plans the next one. An empty plan ends the generation.
    fn advance(&mut self, model: &Model, config: &GenerationConfig, drawn: &[(u32, f32)]) {
        for (&i, &(token, logprob)) in self.speaking.iter().zip(drawn) {
            let text = &mut self.texts[i];
            text.said.tokens.push(token);
            text.said.logprobs.push(logprob);
            text.said.finished = config.stop.contains(&token);
            text.tokens.push(token);
            let full = text.tokens.len() >= self.context;
            text.over = text.said.finished || text.said.tokens.len() >= config.max_tokens || full;
        }
        self.plan = Plan::default();
        self.speaking.clear();
        for (i, text) in self.texts.iter_mut().enumerate().filter(|(_, text)| !text.over) {
            let count = (text.tokens.len() - *text.cached).min(self.room - self.plan.rows());
            if count == 0 {
                continue;
            }
            let tokens = &text.tokens[*text.cached..*text.cached + count];
            let last = *text.cached + count == text.tokens.len();
            let wanted = if last { count - 1..count } else { 0..0 };
            self.plan.add(i, tokens, *text.cached, text.adapter.as_ref(), wanted);
            *text.cached += count;
            if last {
                self.speaking.push(i);
            }
        }
        self.plan.seal(model);
    }
}
