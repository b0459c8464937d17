//! Generation and reading on a device: the contract of `decode`, with batches as tensors.
//!
//! Every token is drawn on the processor, by the same code from the same streams as in `decode`, so only rounding can tell the two
//! apart. A text's keys and values lie in the batch's store while it is in a batch, and in its context between two.

use super::attention::{Keys, Store};
use super::decoder::{Decoder, Pass};
use super::lora::Lora;
use super::rows::{Rows, Span};
use crate::decode::{Generated, GenerationConfig, Reading, Row, Want};
use crate::lora::Adapter;
use crate::weights::Model;
use candle_core::{DType, Result, Tensor};
use rayon::prelude::{IndexedParallelIterator, IntoParallelIterator, IntoParallelRefMutIterator, ParallelIterator};
use std::ops::Range;

/// Texts that share a store at most.
const TEXTS: usize = 256;
/// Tokens that one pass reads at most, but at least one of each text.
const PASS_TOKENS: usize = 4096;
/// Outputs that a pass brings back at most when every position is wanted, numbers.
const PASS_OUTPUTS: usize = 1 << 25;

/// Keys and values of a text, `(tokens, kv)` of each layer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cache(Vec<[Tensor; 2]>);

/// Texts in progress.
struct Batch<'a> {
    model: &'a Model,
    decoder: &'a Decoder,
    store: Store,
    lora: Option<Lora>,
    /// Which adapter each text speaks through, and how many there are.
    voices: Vec<usize>,
    adapters: usize,
}

impl<'a> Batch<'a> {
    fn new((model, decoder): (&'a Model, &'a Decoder), adapters: &[Option<&Adapter>], capacity: usize) -> Result<Self> {
        let a = model.architecture();
        let mut distinct: Vec<Option<&Adapter>> = Vec::new();
        let voices = adapters.iter().map(|adapter| {
            let same = |other: &Option<&Adapter>| match (adapter, other) {
                (Some(one), Some(other)) => std::ptr::eq(*one, *other),
                (one, other) => one.is_none() && other.is_none(),
            };
            distinct.iter().position(same).unwrap_or_else(|| {
                distinct.push(*adapter);
                distinct.len() - 1
            })
        });
        let voices: Vec<usize> = voices.collect();
        let store = Store::new(a, (voices.len(), capacity), decoder.dtype, &decoder.device)?;
        let lora = Lora::of(a, &distinct, &decoder.device)?;
        Ok(Self { model, decoder, store, lora, voices, adapters: distinct.len() })
    }

    fn span(&self, text: usize, tokens: &[u32], position: usize) -> Span {
        Span { text, position, tokens: tokens.to_vec(), adapter: self.voices[text] }
    }

    /// Reads `spans`; the outputs of the `wanted` rows, on the processor.
    fn read(&mut self, spans: &[Span], wanted: Vec<u32>, want: Want) -> Result<Vec<f32>> {
        let (a, device) = (self.model.architecture(), &self.decoder.device);
        let rows = Rows::new(self.model, spans, (self.voices.len(), self.adapters), device)?;
        self.store.expect(&rows.grid.places, a, device)?;
        let pass = Pass { model: self.model, decoder: self.decoder, rows: &rows, lora: self.lora.as_ref() };
        let mut x = pass.embed()?;
        for n in 0..a.layers {
            x = pass.layer(n, &x, &mut Keys::Stored(&mut self.store))?;
        }
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let normed = pass.last_norm(&x.index_select(&Tensor::new(wanted, device)?, 0)?)?;
        let out = if want == Want::Logits { pass.logits(&normed)? } else { normed };
        out.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
    }
}

/// A row that is being continued.
struct Progress {
    said: Generated,
    over: bool,
}

impl Decoder {
    /// [`Model::generate`].
    pub(crate) fn generate(
        &self,
        model: &Model,
        rows: &mut [Row<'_>],
        config: &GenerationConfig,
    ) -> crate::Result<Vec<Generated>> {
        let groups = rows.chunks_mut(TEXTS).map(|group| self.generate_group(model, group, config));
        Ok(groups.collect::<Result<Vec<_>>>().map_err(|e| self.failed(&e))?.concat())
    }

    fn generate_group(&self, model: &Model, rows: &mut [Row<'_>], config: &GenerationConfig) -> Result<Vec<Generated>> {
        let context = model.architecture().context;
        let longest = rows.iter().map(|row| row.context.tokens.len()).max().unwrap_or(0);
        let adapters: Vec<Option<&Adapter>> = rows.iter().map(|row| row.adapter.map(|a| &**a)).collect();
        let mut batch = Batch::new((model, self), &adapters, (longest + config.max_tokens).min(context))?;
        for (i, row) in rows.iter().enumerate() {
            batch.store.put(i, &row.context.device.0)?;
        }
        let mut texts: Vec<Progress> =
            rows.iter().map(|_| Progress { said: Generated::default(), over: false }).collect();
        loop {
            let (spans, wanted, speaking) = next(&batch, rows, &texts);
            if spans.is_empty() {
                break;
            }
            let logits = batch.read(&spans, wanted, Want::Logits)?;
            spans.iter().for_each(|span| rows[span.text].context.cached += span.tokens.len());
            let v = model.config.vocab_size();
            let mut chosen: Vec<Option<(u32, f32)>> = vec![None; rows.len()];
            let mut asked: Vec<Option<&[f32]>> = vec![None; rows.len()];
            speaking.iter().zip(logits.chunks_exact(v)).for_each(|(&text, logits)| asked[text] = Some(logits));
            chosen.par_iter_mut().zip(rows.par_iter_mut()).zip(&asked).for_each(|((chosen, row), logits)| {
                *chosen = logits.map(|logits| config.sampling.draw(logits, &mut row.rng, &mut Vec::new()));
            });
            for ((text, row), chosen) in texts.iter_mut().zip(&mut *rows).zip(chosen) {
                let Some((token, logprob)) = chosen else { continue };
                text.said.tokens.push(token);
                text.said.logprobs.push(logprob);
                text.said.finished = config.stop.contains(&token);
                row.context.tokens.push(token);
                let full = row.context.tokens.len() >= context;
                text.over = text.said.finished || text.said.tokens.len() >= config.max_tokens || full;
            }
        }
        for (i, row) in rows.iter_mut().enumerate() {
            row.context.device = Cache(batch.store.take(i, row.context.cached)?);
        }
        Ok(texts.into_iter().map(|text| text.said).collect())
    }

    /// Reads whole texts; `visit(text, position, output, out)` turns each position's output into `width` numbers.
    pub(crate) fn read(
        &self,
        model: &Model,
        texts: &[Reading<'_>],
        (want, width): (Want, usize),
        visit: impl Fn(&Reading<'_>, usize, &mut [f32], &mut [f32]) + Sync,
    ) -> crate::Result<Vec<Vec<f32>>> {
        let groups = texts.chunks(TEXTS).map(|group| self.read_group(model, group, (want, width), &visit));
        Ok(groups.collect::<Result<Vec<_>>>().map_err(|e| self.failed(&e))?.concat())
    }

    fn read_group(
        &self,
        model: &Model,
        texts: &[Reading<'_>],
        (want, width): (Want, usize),
        visit: &(impl Fn(&Reading<'_>, usize, &mut [f32], &mut [f32]) + Sync),
    ) -> Result<Vec<Vec<f32>>> {
        let a = model.architecture();
        let each = if want == Want::Logits { a.vocab } else { a.d };
        let room = PASS_TOKENS.min(PASS_OUTPUTS / each).max(1);
        let adapters: Vec<Option<&Adapter>> = texts.iter().map(|text| text.adapter).collect();
        let longest = texts.iter().map(|text| text.tokens.len()).max().unwrap_or(0);
        let mut batch = Batch::new((model, self), &adapters, longest)?;
        let mut out: Vec<Vec<f32>> = texts.iter().map(|text| vec![0.0; text.tokens.len() * width]).collect();
        let mut read = vec![0; texts.len()];
        loop {
            let left: Vec<(usize, &[u32])> =
                texts.iter().zip(&read).map(|(t, &at)| &t.tokens[at..]).enumerate().collect();
            let pieces: Vec<(usize, Range<usize>)> =
                share(&left, room).into_iter().map(|(i, count)| (i, read[i]..read[i] + count)).collect();
            if pieces.is_empty() {
                return Ok(out);
            }
            let spans: Vec<Span> =
                pieces.iter().map(|(i, range)| batch.span(*i, &texts[*i].tokens[range.clone()], range.start)).collect();
            let places: Vec<(usize, usize)> = pieces.iter().flat_map(|(i, r)| r.clone().map(|at| (*i, at))).collect();
            let mut outputs = batch.read(&spans, (0..places.len() as u32).collect(), want)?;
            let mut visited = vec![0.0; places.len() * width];
            let each_row = outputs.chunks_exact_mut(each).zip(visited.chunks_exact_mut(width)).zip(&places);
            let each_row: Vec<_> = each_row.collect();
            each_row.into_par_iter().for_each(|((output, visited), &(i, at))| visit(&texts[i], at, output, visited));
            for (&(i, at), visited) in places.iter().zip(visited.chunks_exact(width)) {
                out[i][at * width..(at + 1) * width].copy_from_slice(visited);
            }
            pieces.into_iter().for_each(|(i, range)| read[i] = range.end);
        }
    }
}

/// What the next pass of a generation reads, the rows whose output is wanted, and the text of each.
fn next(batch: &Batch<'_>, rows: &[Row<'_>], texts: &[Progress]) -> (Vec<Span>, Vec<u32>, Vec<usize>) {
    let live = rows.iter().zip(texts).enumerate().filter(|(_, (_, text))| !text.over);
    let left: Vec<(usize, &[u32])> = live.map(|(i, (row, _))| (i, &row.context.tokens[row.context.cached..])).collect();
    let (mut spans, mut wanted, mut speaking) = (Vec::new(), Vec::new(), Vec::new());
    let mut end = 0;
    for (i, count) in share(&left, PASS_TOKENS) {
        let context = &rows[i].context;
        let to = context.cached + count;
        end += count;
        if to == context.tokens.len() {
            wanted.push(end as u32 - 1);
            speaking.push(i);
        }
        spans.push(batch.span(i, &context.tokens[context.cached..to], context.cached));
    }
    (spans, wanted, speaking)
}

/// Shares `room` tokens of a pass among texts that have some left: an equal part each, at least one.
fn share(left: &[(usize, &[u32])], room: usize) -> Vec<(usize, usize)> {
    let unread = left.iter().filter(|(_, tokens)| !tokens.is_empty());
    let part = (room / unread.clone().count().max(1)).max(1);
    unread.map(|&(i, tokens)| (i, tokens.len().min(part))).collect()
}
