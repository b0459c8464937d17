//! One forward pass over a handful of rows, worked through by a team.
//!
//! A pass reads a bounded number of tokens of any number of texts. Between two barriers every member writes what no other
//! member touches: rows of its own where rows are independent (norms, low-rank inputs), columns of its own in the
//! products, heads of its own in attention. A team of one simply runs through.

use crate::architecture::{Architecture, Residual, Slot};
use crate::kernels::{self, Angles, HeadCache, Input, Output, PANEL, Packed, Precision, Seen, multiply, round_row};
use crate::lora::{PackedAdapter, PackedSlot};
use crate::team::{Shared, Team};
use crate::weights::{Layer, Model, Norm, NormAt};
use std::ops::Range;
use std::sync::Arc;

/// What one pass reads: rows of tokens, grouped by text.
#[derive(Default)]
pub(super) struct Plan {
    tokens: Vec<u32>,
    positions: Vec<usize>,
    spans: Vec<Span>,
    all: Rows,
    /// Rows whose output is wanted, in order, …
    wanted: Vec<usize>,
    /// … and as what remains of all: once the last layer has written its keys and values, the others are of no use.
    left: Rows,
    angles: Vec<Arc<Angles>>,
    last_position: usize,
}

/// Rows that are worked through together, with the adapters that some have.
#[derive(Default)]
struct Rows {
    count: usize,
    runs: Vec<Run>,
}

/// Consecutive rows of one text.
struct Span {
    text: usize,
    rows: Range<usize>,
}

/// Consecutive rows of one adapter.
struct Run {
    rows: Range<usize>,
    adapter: Arc<PackedAdapter>,
}

impl Plan {
    pub(super) fn rows(&self) -> usize {
        self.all.count
    }

    /// Adds `tokens` of `text`, whose first has `position`; outputs of the rows in `wanted` (counted from the first) are
    /// kept.
    pub(super) fn add(
        &mut self,
        text: usize,
        tokens: &[u32],
        position: usize,
        adapter: Option<&Arc<PackedAdapter>>,
        wanted: Range<usize>,
    ) {
        let first = self.rows();
        let rows = first..first + tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.positions.extend(position..position + tokens.len());
        self.last_position = self.last_position.max(position + tokens.len());
        self.wanted.extend(wanted.map(|i| first + i));
        self.spans.push(Span { text, rows: rows.clone() });
        self.all.count = rows.end;
        let Some(adapter) = adapter else { return };
        match self.all.runs.last_mut() {
            Some(run) if run.rows.end == first && Arc::ptr_eq(&run.adapter, adapter) => run.rows.end = rows.end,
            _ => self.all.runs.push(Run { rows, adapter: Arc::clone(adapter) }),
        }
    }

    /// Makes sure the rotary tables reach far enough, and what remains of the rows is known.
    pub(super) fn seal(&mut self, model: &Model) {
        self.angles = model.ropes.iter().map(|rope| rope.angles(self.last_position)).collect();
        let place = |row: usize| self.wanted.partition_point(|wanted| *wanted < row);
        let runs = self.all.runs.iter().map(|Run { rows, adapter }| Run {
            rows: place(rows.start)..place(rows.end),
            adapter: Arc::clone(adapter),
        });
        self.left = Rows { count: self.wanted.len(), runs: runs.filter(|run| !run.rows.is_empty()).collect() };
    }

    fn is_wanted(&self, row: usize) -> bool {
        self.wanted.binary_search(&row).is_ok()
    }

    /// Rows whose output is kept.
    pub(super) fn wanted(&self) -> usize {
        self.wanted.len()
    }
}

/// Memory of a pass, for at most `rows` rows of which `wanted` have an output.
pub(super) struct Buffers {
    x: Vec<f32>,
    normed: Vec<f32>,
    second: Vec<f32>,
    qkv: Vec<f32>,
    attended: Vec<f32>,
    up: Vec<f32>,
    low: Vec<f32>,
    rounded: Vec<u32>,
    out: Vec<f32>,
    low_stride: usize,
}

impl Buffers {
    /// `out` numbers each wanted row has (logits, or a hidden state).
    pub(super) fn new(model: &Model, rows: usize, wanted: usize, out: usize, widest: usize) -> Self {
        let a = model.architecture();
        let floats = |width: usize| vec![0f32; rows * width];
        // As many words as the widest row has floats, and one more where that is odd.
        let rounded =
            if model.precision() == Precision::Bf16 { a.d.max(a.q_dim()).max(a.ff).next_multiple_of(2) } else { 0 };
        Self {
            x: floats(a.d),
            // Also holds the hidden states of wanted rows.
            normed: vec![0f32; rows.max(wanted) * a.d],
            second: floats(if a.residual == Residual::Sequential { 0 } else { a.d }),
            qkv: floats(a.qkv_dim()),
            attended: floats(a.q_dim()),
            up: floats(a.up_dim()),
            low: floats(widest),
            rounded: vec![0; rows.max(wanted) * rounded],
            out: vec![0f32; wanted * out],
            low_stride: widest,
        }
    }

    pub(super) fn share(&mut self) -> Board<'_> {
        Board {
            x: Shared::new(&mut self.x),
            normed: Shared::new(&mut self.normed),
            second: Shared::new(&mut self.second),
            qkv: Shared::new(&mut self.qkv),
            attended: Shared::new(&mut self.attended),
            up: Shared::new(&mut self.up),
            low: Shared::new(&mut self.low),
            rounded: Shared::new(&mut self.rounded),
            out: Shared::new(&mut self.out),
            low_stride: self.low_stride,
        }
    }
}

/// [`Buffers`] as a team sees them.
pub(super) struct Board<'a> {
    x: Shared<'a, f32>,
    normed: Shared<'a, f32>,
    second: Shared<'a, f32>,
    qkv: Shared<'a, f32>,
    attended: Shared<'a, f32>,
    up: Shared<'a, f32>,
    low: Shared<'a, f32>,
    rounded: Shared<'a, u32>,
    pub(super) out: Shared<'a, f32>,
    low_stride: usize,
}

/// One of a layer's maps, between two buffers.
struct Product<'a> {
    layer: usize,
    slot: Slot,
    from: &'a Shared<'a, f32>,
    to: &'a Shared<'a, f32>,
    /// Whether the result is added to what `to` holds.
    add: bool,
}

/// A pass in progress.
pub(super) struct Pass<'a> {
    pub(super) model: &'a Model,
    pub(super) board: &'a Board<'a>,
    /// Caches of each text, `[layer * kv_heads + head]`.
    pub(super) caches: &'a [Shared<'a, HeadCache>],
}

// Every `unsafe` below rests on the same argument: between two calls of `sync` a member writes only its share of rows,
// columns, heads or texts, and reads only what was written before the last one.
impl Pass<'_> {
    fn a(&self) -> &Architecture {
        self.model.architecture()
    }

    /// Runs all layers and leaves logits `(wanted, v)` (or hidden states `(wanted, d)`) in `board.out`.
    pub(super) fn run(&self, team: &Team<'_>, plan: &Plan, logits: bool) {
        self.embed(team, plan);
        for (n, layer) in self.model.layers.iter().enumerate() {
            let narrow = n + 1 == self.model.layers.len() && plan.wanted() < plan.rows();
            self.attend(team, plan, n, narrow);
            if narrow {
                self.narrow(team, plan);
            }
            self.feed_forward(team, if narrow { &plan.left } else { &plan.all }, n, layer);
        }
        self.finish(team, plan, logits);
    }

    fn embed(&self, team: &Team<'_>, plan: &Plan) {
        let (a, d) = (self.a(), self.a().d);
        for row in team.share(plan.rows()) {
            // SAFETY: own rows.
            let x = unsafe { self.board.x.write(row * d..(row + 1) * d) };
            x.fill(0.0);
            self.model.embed.add_row(plan.tokens[row] as usize, a.embed_scale, x);
            if let Some(table) = &self.model.positions {
                kernels::axpy(x, 1.0, &table[plan.positions[row] * d..(plan.positions[row] + 1) * d]);
            }
        }
    }

    /// The first part of a layer: what reads the residual stream as it stands. With `narrow`, only wanted rows attend.
    fn attend(&self, team: &Team<'_>, plan: &Plan, n: usize, narrow: bool) {
        let (b, layer) = (self.board, &self.model.layers[n]);
        self.normalise(team, &plan.all, layer.norm(NormAt::Input), [&b.x, &b.normed]);
        if self.a().residual == Residual::Parallel {
            self.normalise(team, &plan.all, layer.norm(NormAt::Mlp), [&b.x, &b.second]);
        }
        let qkv = Product { layer: n, slot: Slot::Qkv, from: &b.normed, to: &b.qkv, add: false };
        self.product(team, &plan.all, &qkv);
        self.attention(team, plan, n, narrow);
    }

    /// Moves what the wanted rows go on with to the front.
    fn narrow(&self, team: &Team<'_>, plan: &Plan) {
        let (a, b) = (self.a(), self.board);
        team.sync();
        if team.leads() {
            let mut moved = vec![(&b.x, a.d), (&b.attended, a.q_dim())];
            match a.residual {
                Residual::Parallel => moved.push((&b.second, a.d)),
                Residual::ParallelShared => moved.push((&b.normed, a.d)),
                Residual::Sequential | Residual::Sandwich => {}
            }
            for (rows, width) in moved {
                // SAFETY: the others wait; wanted rows are in order, so none is overwritten before it was moved.
                let all = unsafe { rows.write(0..plan.rows() * width) };
                for (to, &from) in plan.wanted.iter().enumerate() {
                    all.copy_within(from * width..(from + 1) * width, to * width);
                }
            }
        }
        team.sync();
    }

    /// The rest of a layer.
    fn feed_forward(&self, team: &Team<'_>, rows: &Rows, n: usize, layer: &Layer) {
        let (a, b) = (self.a(), self.board);
        let sandwich = a.residual == Residual::Sandwich;
        let joined = if sandwich { &b.second } else { &b.x };
        let product = |slot, from, to, add| self.product(team, rows, &Product { layer: n, slot, from, to, add });
        product(Slot::Output, &b.attended, joined, !sandwich);
        if sandwich {
            self.join(team, rows, layer.norm(NormAt::AfterAttention));
        }
        let input = match a.residual {
            Residual::Parallel => &b.second,
            Residual::ParallelShared => &b.normed,
            Residual::Sequential | Residual::Sandwich => {
                self.normalise(team, rows, layer.norm(NormAt::Mlp), [&b.x, &b.normed]);
                &b.normed
            }
        };
        product(Slot::Up, input, &b.up, false);
        self.activate(team, rows);
        // The activations lie in the first `ff` columns of `up`, whose rows are `up_dim` wide.
        product(Slot::Down, &b.up, joined, !sandwich);
        if sandwich {
            self.join(team, rows, layer.norm(NormAt::AfterMlp));
        }
    }

    /// Own rows of `to` = norm of the same rows of `from`.
    fn normalise(&self, team: &Team<'_>, rows: &Rows, norm: Option<&Norm>, [from, to]: [&Shared<'_, f32>; 2]) {
        let d = self.a().d;
        let Some(norm) = norm else { return };
        for row in team.share(rows.count) {
            // SAFETY: own rows.
            let (x, out) = unsafe { (from.read(row * d..(row + 1) * d), to.write(row * d..(row + 1) * d)) };
            norm.apply(self.a(), x, out);
        }
    }

    /// Own rows of x += norm of `second`.
    fn join(&self, team: &Team<'_>, rows: &Rows, norm: Option<&Norm>) {
        let d = self.a().d;
        let Some(norm) = norm else { return };
        for row in team.share(rows.count) {
            let range = row * d..(row + 1) * d;
            // SAFETY: own rows.
            unsafe {
                let out = self.board.normed.write(range.clone());
                norm.apply(self.a(), self.board.second.read(range.clone()), out);
                kernels::axpy(self.board.x.write(range), 1.0, out);
            }
        }
    }

    /// `to` (+)= W · `from` + low-rank updates + bias. Ends with a barrier; what it needs of `from` must be in the member's own
    /// rows, or complete.
    fn product(&self, team: &Team<'_>, rows: &Rows, product: &Product<'_>) {
        let Product { layer: n, slot, from, to, add } = *product;
        let map = self.model.layers[n].map(slot);
        let (weight, width) = (&map.weight, map.weight.out());
        let stride = if slot == Slot::Down { self.a().up_dim() } else { weight.input() };
        let mine = team.share(rows.count);
        if slot == Slot::Output && (weight.precision() == Precision::Bf16 || !rows.runs.is_empty()) {
            // Attention wrote heads; what follows reads own rows.
            team.sync();
        }
        self.round(mine.clone(), from, stride, weight);
        self.low(rows, mine, product, stride);
        team.sync();
        let panels = team.share(weight.panels());
        let (out, columns) = (self.output(to, width, rows.count), columns(&panels, weight.out()));
        if let Some(bias) = &map.bias {
            for row in 0..rows.count {
                // SAFETY: own columns.
                let own = unsafe { to.write(row * width + columns.start..row * width + columns.end) };
                if add {
                    kernels::axpy(own, 1.0, &bias[columns.clone()])
                } else {
                    own.copy_from_slice(&bias[columns.clone()])
                }
            }
        }
        // SAFETY: own columns of the output; inputs are complete since the barrier.
        unsafe {
            multiply(weight, self.input(from, stride, weight, 0..rows.count), out, panels, add || map.bias.is_some())
        };
        if !rows.runs.is_empty() {
            // Parts are cut by columns of their own.
            team.sync();
            self.update(team, rows, product, width);
        }
        team.sync();
    }

    /// Own rows of `from` rounded, where the weights want them so.
    fn round(&self, rows: Range<usize>, from: &Shared<'_, f32>, stride: usize, weight: &Packed) {
        if weight.precision() == Precision::F32 {
            return;
        }
        let words = weight.row_words();
        for row in rows {
            // SAFETY: own rows.
            let (x, to) = unsafe {
                (
                    from.read(row * stride..row * stride + weight.input()),
                    self.board.rounded.write(row * words..(row + 1) * words),
                )
            };
            round_row(x, to);
        }
    }

    /// Own rows of the low-rank inputs A x.
    fn low(&self, rows: &Rows, mine: Range<usize>, product: &Product<'_>, stride: usize) {
        let Product { layer: n, slot, from, .. } = *product;
        for run in &rows.runs {
            let rows = run.rows.start.max(mine.start)..run.rows.end.min(mine.end);
            let Some(adapted) = run.adapter.get(n, slot).filter(|_| !rows.is_empty()) else { continue };
            let width = self.board.low_stride;
            // SAFETY: own rows.
            unsafe {
                let low = self.board.low.write(rows.start * width..rows.end * width);
                let x = Input::floats(from.read(rows.start * stride..rows.end * stride), stride, rows.len());
                multiply(&adapted.a, x, Output::new(low, width), 0..adapted.a.panels(), false);
            }
        }
    }

    /// Own columns of every adapted part: `to += B low`.
    fn update(&self, team: &Team<'_>, rows: &Rows, product: &Product<'_>, width: usize) {
        let Product { layer: n, slot, to, .. } = *product;
        let low_width = self.board.low_stride;
        for run in &rows.runs {
            let Some(PackedSlot { parts, .. }) = run.adapter.get(n, slot) else { continue };
            for part in parts {
                // SAFETY: own columns of the output; the low-rank inputs are complete since the barrier.
                unsafe {
                    let low = self.board.low.read(run.rows.start * low_width + part.low..run.rows.end * low_width);
                    let x = Input::strided(low, low_width, run.rows.len());
                    let all = to.write_address(run.rows.start * width);
                    let out = Output::from_raw(all, width, run.rows.len()).at_column(part.first);
                    multiply(&part.b, x, out, team.share(part.b.panels()), true);
                }
            }
        }
    }

    fn input(&self, from: &Shared<'_, f32>, stride: usize, weight: &Packed, rows: Range<usize>) -> Input {
        // SAFETY: complete since the last barrier.
        unsafe {
            match weight.precision() {
                Precision::F32 => Input::floats(from.read(rows.start * stride..rows.end * stride), stride, rows.len()),
                Precision::Bf16 => {
                    let words = weight.row_words();
                    Input::rounded(self.board.rounded.read(rows.start * words..rows.end * words), words, rows.len())
                }
            }
        }
    }

    fn output(&self, to: &Shared<'_, f32>, width: usize, rows: usize) -> Output {
        assert!(to.len() >= rows * width, "a buffer of {} for {rows} rows of {width}", to.len());
        // SAFETY: long enough; members write own columns.
        unsafe { Output::from_raw(to.address(), width, rows) }
    }

    /// Own pairs of text and key-value head: rotate, append to the cache, attend (with `narrow`, wanted rows only).
    fn attention(&self, team: &Team<'_>, plan: &Plan, n: usize, narrow: bool) {
        let (a, layer) = (self.a(), &self.model.layers[n]);
        let (dh, q_dim, kv_dim, width) = (a.head_dim, a.q_dim(), a.kv_dim(), a.qkv_dim());
        let group = a.heads / a.kv_heads;
        let angles = a.rope_of[n].map(|i| &plan.angles[i]);
        let (mut scores, mut buffer) = (Vec::new(), vec![0f32; dh]);
        let items = team.share(plan.spans.len() * a.kv_heads);
        let place = |item: usize| (&plan.spans[item / a.kv_heads], n * a.kv_heads + item % a.kv_heads);
        for item in items.clone() {
            let (span, at) = place(item);
            let head = item % a.kv_heads;
            // SAFETY: own text and head, of which all that follows is.
            let cache = unsafe { &mut self.caches[span.text].write(at..at + 1)[0] };
            let next = (item + 1 < items.end).then(|| {
                let (span, at) = place(item + 1);
                // SAFETY: own as well, and another one.
                unsafe { &self.caches[span.text].read(at..at + 1)[0] }
            });
            for row in span.rows.clone() {
                let position = plan.positions[row];
                let at = row * width;
                let queries = at + head * group * dh..at + (head + 1) * group * dh;
                let keys = at + q_dim + head * dh..at + q_dim + (head + 1) * dh;
                let values = keys.start + kv_dim..keys.end + kv_dim;
                // SAFETY: as above.
                let (q, k, v, out) = unsafe {
                    let out = row * q_dim + head * group * dh..row * q_dim + (head + 1) * group * dh;
                    let qkv = &self.board.qkv;
                    (qkv.write(queries), qkv.write(keys), qkv.read(values), self.board.attended.write(out))
                };
                for (norm, heads) in [(NormAt::Query, &mut *q), (NormAt::Key, &mut *k)] {
                    let Some(norm) = layer.norm(norm) else { continue };
                    for head in heads.chunks_exact_mut(dh) {
                        buffer.copy_from_slice(head);
                        norm.apply(a, &buffer, head);
                    }
                }
                if let Some(angles) = angles {
                    angles.rotate(q, dh, position);
                    angles.rotate(k, dh, position);
                }
                cache.push(k, v);
                if narrow && !plan.is_wanted(row) {
                    continue;
                }
                let range = (a.first_seen(n, position), position + 1);
                let (scale, softcap) = (a.attention_scale, a.attention_softcap);
                let next = next.filter(|_| row + 1 == span.rows.end);
                Seen { cache, head_dim: dh, range, scale, softcap, next }.attend(q, &mut scores, out);
            }
        }
    }

    /// Own rows: activation(gate) · up, into the first `ff` columns. (`product` ended with a barrier.)
    fn activate(&self, team: &Team<'_>, rows: &Rows) {
        let a = self.a();
        let width = a.up_dim();
        for row in team.share(rows.count) {
            // SAFETY: own rows.
            let up = unsafe { self.board.up.write(row * width..(row + 1) * width) };
            let (gate, rest) = up.split_at_mut(a.ff);
            kernels::activate(a.activation, gate, a.gated.then_some(&*rest));
        }
    }

    /// Last norm and the head, of the wanted rows: all there are by now.
    fn finish(&self, team: &Team<'_>, plan: &Plan, logits: bool) {
        let (a, d) = (self.a(), self.a().d);
        let wanted = plan.wanted();
        let mine = team.share(wanted);
        for i in mine.clone() {
            let to = if logits { &self.board.normed } else { &self.board.out };
            // SAFETY: own rows.
            let (x, out) = unsafe { (self.board.x.read(i * d..(i + 1) * d), to.write(i * d..(i + 1) * d)) };
            self.model.norm.apply(a, x, out);
        }
        if !logits {
            return team.sync();
        }
        let head = self.model.head();
        self.round(mine, &self.board.normed, d, head);
        team.sync();
        let panels = team.share(head.panels());
        let columns = columns(&panels, a.vocab);
        let out = self.output(&self.board.out, a.vocab, wanted);
        // SAFETY: own columns.
        unsafe { multiply(head, self.input(&self.board.normed, d, head, 0..wanted), out, panels, false) };
        if let Some(cap) = a.logits_softcap {
            for row in 0..wanted {
                // SAFETY: own columns.
                let own = unsafe { self.board.out.write(row * a.vocab + columns.start..row * a.vocab + columns.end) };
                own.iter_mut().for_each(|x| *x = cap * (*x / cap).tanh());
            }
        }
        team.sync();
    }
}

fn columns(panels: &Range<usize>, out: usize) -> Range<usize> {
    (panels.start * PANEL).min(out)..(panels.end * PANEL).min(out)
}
