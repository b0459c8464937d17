//! Weights of linear maps, packed once for products with a few or many rows.
//!
//! `gemm` packs its operands on every call and is poor at 1 to 32 rows, which is what decoding is made of. Here the
//! weights lie ready: *panels* of [`PANEL`] output features, each panel `(in, PANEL)`, so a kernel streams through memory
//! once. Storage is `f32`, or pairs of bf16 for the dot-product instruction (the inputs are then rounded to bf16 as well,
//! sums stay `f32`).
//!
//! Each output is one chain of multiply-adds over the inputs in order, whatever the number of rows, threads or lanes: what
//! a row gets does not depend on what else is computed with it.

use super::lanes::{Isa, Lanes, Plain};
use multiversion::multiversion;
use std::ops::Range;

/// Output features that lie together.
pub(crate) const PANEL: usize = 32;
/// Steps of the reduction whose panel stays in cache while all rows pass by.
const CHUNK: usize = 512;
/// Steps between the words that are fetched from memory and those that are used, where a panel is read for the first time.
const AHEAD: usize = 16;
/// Passes over a panel that share the fetching of the next one, at most.
const FETCHING: usize = 8;

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// bfloat16, with inputs rounded to bfloat16 and 32-bit sums.
    Bf16,
}

/// Words of a cache line.
const LINE: usize = 16;

/// Sixteen numbers on one cache line: a panel's vectors never straddle two.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; 16]);

/// `(out, in)` weights in panels.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    out: usize,
    input: usize,
    precision: Precision,
    lines: Vec<Line>,
}

/// Rounds to bf16 (nearest, ties to even; NaN stays NaN) and keeps the upper half. Without branches, so that loops over it
/// vectorise.
#[inline(always)]
pub(crate) fn bf16_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if x.is_nan() { bits >> 16 | 0x40 } else { rounded }
}

impl Packed {
    /// Packs rows given one at a time, `row(i)` being output feature i.
    pub(crate) fn new<'a>(out: usize, input: usize, precision: Precision, row: impl Fn(usize) -> &'a [f32]) -> Self {
        let mut packed = Self { out, input, precision, lines: Vec::new() };
        packed.lines = vec![Line([0; 16]); packed.panels() * packed.steps() * PANEL / 16];
        for o in 0..out {
            for (k, x) in row(o)[..input].iter().enumerate() {
                match precision {
                    Precision::F32 => *packed.word(o, k) = x.to_bits(),
                    Precision::Bf16 => *packed.word(o, k / 2) |= bf16_bits(*x) << (16 * (k % 2)),
                }
            }
        }
        packed
    }

    /// Output features.
    pub(crate) fn out(&self) -> usize {
        self.out
    }

    /// Input features.
    pub(crate) fn input(&self) -> usize {
        self.input
    }

    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// Number of panels.
    pub(crate) fn panels(&self) -> usize {
        self.out.div_ceil(PANEL)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.lines.as_slice())
    }

    /// Words of the reduction: one input each, or a pair.
    pub(crate) fn steps(&self) -> usize {
        match self.precision {
            Precision::F32 => self.input,
            Precision::Bf16 => self.input.div_ceil(2),
        }
    }

    fn index(&self, o: usize, step: usize) -> usize {
        (o / PANEL * self.steps() + step) * PANEL + o % PANEL
    }

    fn word(&mut self, o: usize, step: usize) -> &mut u32 {
        let at = self.index(o, step);
        &mut self.lines[at / 16].0[at % 16]
    }

    /// Weights of output feature `o`, added to `out` times `scale`.
    pub(crate) fn add_row(&self, o: usize, scale: f32, out: &mut [f32]) {
        for (k, x) in out[..self.input].iter_mut().enumerate() {
            *x += scale * self.get(o, k);
        }
    }

    /// One weight.
    pub(crate) fn get(&self, o: usize, k: usize) -> f32 {
        let (step, shift) = match self.precision {
            Precision::F32 => (k, None),
            Precision::Bf16 => (k / 2, Some(16 * (1 - k % 2))),
        };
        let at = self.index(o, step);
        let word = self.lines[at / 16].0[at % 16];
        f32::from_bits(shift.map_or(word, |shift| word << shift & 0xffff_0000))
    }

    /// All weights, row-major `(out, in)`.
    pub(crate) fn to_rows(&self) -> Vec<f32> {
        (0..self.out).flat_map(|o| (0..self.input).map(move |k| self.get(o, k))).collect()
    }

    /// Raw panel words from `panel` on.
    fn words(&self, panel: usize) -> *const u32 {
        self.lines[panel * self.steps() * PANEL / 16..].as_ptr().cast()
    }
}

impl Packed {
    /// `out (rows, out) = x (rows, in) · Wᵀ`, on this thread; `x` is rounded where the weights are bf16.
    pub(crate) fn forward(&self, x: &[f32], rows: usize, out: &mut [f32]) {
        self.product(x, rows, out, false);
    }

    /// The same, added to what `out` holds.
    pub(crate) fn add_forward(&self, x: &[f32], rows: usize, out: &mut [f32]) {
        self.product(x, rows, out, true);
    }

    fn product(&self, x: &[f32], rows: usize, out: &mut [f32], accumulate: bool) {
        assert!(out.len() >= rows * self.out, "output of {} values for {rows}x{}", out.len(), self.out);
        let pairs = self.round(x, rows, self.input);
        let x = self.as_input(x, &pairs, rows, self.input);
        // SAFETY: the output is a unique borrow of enough rows.
        unsafe { multiply(self, x, Output::new(out, self.out), 0..self.panels(), accumulate) };
    }

    /// The transposed product, `out (rows, in) = g (rows, out) · W`, on this thread. Panels are turned around piece by piece:
    /// a second copy of the weights would cost more than it saves once there are a hundred rows.
    pub(crate) fn backward(&self, g: &[f32], rows: usize, out: &mut [f32]) {
        assert!(out.len() >= rows * self.input, "output of {} values for {rows}x{}", out.len(), self.input);
        let pairs = self.round(g, rows, self.out);
        let mut turned = Self { out: PANEL, input: 0, precision: self.precision, lines: Vec::new() };
        // Outputs outermost: their chunk of `g` stays in cache while the inputs pass by.
        for o in (0..self.out).step_by(CHUNK) {
            for k in (0..self.input).step_by(PANEL) {
                self.turn(o..self.out.min(o + CHUNK), k..self.input.min(k + PANEL), &mut turned);
                let x = match self.precision {
                    Precision::F32 => Input::strided(&g[o..], self.out, rows),
                    Precision::Bf16 => Input::strided_pairs(&pairs[o / 2..], self.out.div_ceil(2), rows),
                };
                // SAFETY: the output is a unique borrow; only the columns of `turned` are touched.
                unsafe { multiply(&turned, x, Output::new(out, self.input).at_column(k), 0..1, o > 0) };
            }
        }
    }

    /// `turned (k, o)` = the weights of output features `os` and inputs `ks`, at most a panel of inputs.
    fn turn(&self, os: Range<usize>, ks: Range<usize>, turned: &mut Self) {
        (turned.out, turned.input) = (ks.len(), os.len());
        turned.lines.resize(turned.steps() * PANEL / 16, Line([0; 16]));
        let steps = self.steps();
        // SAFETY: a `Line` is sixteen words.
        let (from, to) = unsafe {
            let from = std::slice::from_raw_parts(self.lines.as_ptr().cast::<u32>(), self.lines.len() * 16);
            (from, std::slice::from_raw_parts_mut(turned.lines.as_mut_ptr().cast::<u32>(), turned.lines.len() * 16))
        };
        let (first_word, words, per_block) = match self.precision {
            Precision::F32 => (ks.start, ks.len(), PANEL),
            Precision::Bf16 => (ks.start / 2, ks.len().div_ceil(2), PANEL / 2),
        };
        for (first, block) in (os.start..os.end).step_by(PANEL).zip(to.chunks_mut(per_block * PANEL)) {
            let panel = &from[(first / PANEL * steps + first_word) * PANEL..][..words * PANEL];
            turn_block(Isa::detect(), self.precision, panel, block);
        }
    }

    /// Rows of `width` as bf16 pairs, where the weights are bf16.
    fn round(&self, x: &[f32], rows: usize, width: usize) -> Vec<u32> {
        match self.precision {
            Precision::F32 => Vec::new(),
            Precision::Bf16 => {
                let steps = width.div_ceil(2);
                let mut pairs = vec![0; rows * steps];
                let rows = pairs.chunks_exact_mut(steps.max(1)).zip(x.chunks_exact(width.max(1)));
                rows.for_each(|(pairs, x)| bf16_pairs(x, pairs));
                pairs
            }
        }
    }

    fn as_input(&self, x: &[f32], pairs: &[u32], rows: usize, width: usize) -> Input {
        match self.precision {
            Precision::F32 => Input::floats(x, width, rows),
            Precision::Bf16 => Input::pairs(pairs, width.div_ceil(2), rows),
        }
    }
}

/// A piece of a panel turned around: `panel (words, PANEL)` of inputs by outputs to `block` of outputs by inputs, `PANEL` wide.
fn turn_block(isa: Isa, precision: Precision, panel: &[u32], block: &mut [u32]) {
    #[cfg(target_arch = "x86_64")]
    if isa != Isa::Portable && panel.len().is_multiple_of(8 * PANEL) && block.len().is_multiple_of(8 * PANEL) {
        // SAFETY: every processor that is not `Portable` has AVX2.
        return unsafe { x86::turn_block(precision, panel, block) };
    }
    match precision {
        Precision::F32 => {
            for (o, row) in block.chunks_exact_mut(PANEL).enumerate() {
                row.iter_mut().zip(panel.chunks_exact(PANEL)).for_each(|(word, outputs)| *word = outputs[o]);
            }
        }
        Precision::Bf16 => {
            for (o, row) in block.chunks_exact_mut(PANEL).enumerate() {
                for (pair, words) in row.chunks_exact_mut(2).zip(panel.chunks_exact(PANEL)) {
                    let (even, odd) = (words[2 * o], words[2 * o + 1]);
                    pair[0] = even & 0xffff | odd << 16;
                    pair[1] = even >> 16 | odd & 0xffff_0000;
                }
            }
        }
    }
}

/// One row as pairs, the last one filled with 0.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
pub(crate) fn bf16_pairs(row: &[f32], pairs: &mut [u32]) {
    let whole = row.chunks_exact(2);
    let last = whole.remainder().iter().map(|x| bf16_bits(*x));
    let words = whole.map(|x| bf16_bits(x[0]) | bf16_bits(x[1]) << 16);
    pairs.iter_mut().zip(words.chain(last)).for_each(|(pair, word)| *pair = word);
}

/// Rows of inputs: `f32`, or pairs of bf16 in one word.
#[derive(Clone, Copy)]
pub(crate) struct Input {
    at: *const u32,
    stride: usize,
    rows: usize,
}

impl Input {
    /// `rows` rows of `stride` numbers.
    pub(crate) fn floats(x: &[f32], stride: usize, rows: usize) -> Self {
        assert!(x.len() >= rows * stride, "inputs are shorter than their rows");
        Self { at: x.as_ptr().cast(), stride, rows }
    }

    /// `rows` rows that begin `stride` numbers apart; the last may be shorter than that.
    pub(crate) fn strided(x: &[f32], stride: usize, rows: usize) -> Self {
        assert!(x.len() + stride > rows * stride, "inputs are shorter than their rows");
        Self { at: x.as_ptr().cast(), stride, rows }
    }

    /// The same of pairs.
    pub(crate) fn strided_pairs(x: &[u32], stride: usize, rows: usize) -> Self {
        assert!(x.len() + stride > rows * stride, "inputs are shorter than their rows");
        Self { at: x.as_ptr(), stride, rows }
    }

    /// `rows` rows of `stride` pairs.
    pub(crate) fn pairs(x: &[u32], stride: usize, rows: usize) -> Self {
        assert!(x.len() >= rows * stride, "inputs are shorter than their rows");
        Self { at: x.as_ptr(), stride, rows }
    }
}

/// Where products go: row-major with `stride`, only columns of the panels are touched.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    at: *mut f32,
    stride: usize,
    rows: usize,
}

impl Output {
    /// A whole matrix, borrowed by the caller for as long as products are written.
    pub(crate) fn new(out: &mut [f32], stride: usize) -> Self {
        Self { at: out.as_mut_ptr(), stride, rows: out.len() / stride.max(1) }
    }

    /// From raw parts.
    ///
    /// # Safety
    /// `rows * stride` numbers from `at` on may be written through products as long as no one else touches the same columns.
    pub(crate) unsafe fn from_raw(at: *mut f32, stride: usize, rows: usize) -> Self {
        Self { at, stride, rows }
    }

    /// The columns from `column` on.
    pub(crate) fn at_column(self, column: usize) -> Self {
        assert!(column <= self.stride, "column {column} of {}", self.stride);
        // SAFETY: stays inside the first row, or one past it when there is no column left.
        Self { at: unsafe { self.at.add(column) }, ..self }
    }
}

/// `out (rows, out) = x (rows, in) · Wᵀ` for the given panels of W, added to what `out` holds when `accumulate`.
///
/// # Safety
/// No other thread touches the same columns of `out`, nor writes `x`, meanwhile. `out` has `out()` columns from where it points.
pub(crate) unsafe fn multiply(w: &Packed, x: Input, out: Output, panels: Range<usize>, accumulate: bool) {
    // SAFETY: the processor has what `detect` says; the rest is the caller's promise.
    unsafe { multiply_with(Isa::detect(), w, x, out, panels, accumulate) }
}

/// [`multiply`] with chosen instructions.
///
/// # Safety
/// As [`multiply`], and the processor has `isa`.
pub(crate) unsafe fn multiply_with(
    isa: Isa,
    w: &Packed,
    x: Input,
    out: Output,
    panels: Range<usize>,
    accumulate: bool,
) {
    assert!(panels.end <= w.panels(), "panel {} of {}", panels.end, w.panels());
    assert!(x.stride >= w.steps() || x.rows < 2, "rows of {} for {} steps", x.stride, w.steps());
    assert!(out.rows >= x.rows, "{} rows of output for {} of input", out.rows, x.rows);
    if x.rows == 0 || panels.is_empty() {
        return;
    }
    let job = Job { w, x, out, panels, accumulate };
    match (isa, w.precision) {
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512Bf16, Precision::Bf16) => unsafe { x86::dot_products(&job) },
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512Bf16 | Isa::Avx512, Precision::F32) => unsafe { x86::wide(&job) },
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, Precision::Bf16) => unsafe { x86::wide_pairs(&job) },
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, Precision::F32) => unsafe { x86::narrow(&job) },
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, Precision::Bf16) => unsafe { x86::narrow_pairs(&job) },
        (Isa::Portable, Precision::F32) => unsafe { run::<Floats<Plain>>(&job) },
        (Isa::Portable, Precision::Bf16) => unsafe { run::<Pairs<Plain>>(&job) },
    }
}

struct Job<'a> {
    w: &'a Packed,
    x: Input,
    out: Output,
    panels: Range<usize>,
    accumulate: bool,
}

/// One step of a reduction: a word of the input against `WIDTH` words of a panel.
trait Step {
    type V: Lanes;
    type Left: Copy;
    type Right: Copy;
    unsafe fn left(at: *const u32) -> Self::Left;
    unsafe fn right(at: *const u32) -> Self::Right;
    unsafe fn add(left: Self::Left, right: Self::Right, sum: Self::V) -> Self::V;
}

struct Floats<V>(std::marker::PhantomData<V>);

impl<V: Lanes> Step for Floats<V> {
    type V = V;
    type Left = V;
    type Right = V;

    #[inline(always)]
    unsafe fn left(at: *const u32) -> V {
        // SAFETY: the caller's promise; words are the bits of floats.
        unsafe { V::splat(*at.cast()) }
    }

    #[inline(always)]
    unsafe fn right(at: *const u32) -> V {
        // SAFETY: as above.
        unsafe { V::load(at.cast()) }
    }

    #[inline(always)]
    unsafe fn add(left: V, right: V, sum: V) -> V {
        // SAFETY: as above.
        unsafe { left.mul_add(right, sum) }
    }
}

/// bf16 without its instruction: two fused products, the even member first.
struct Pairs<V>(std::marker::PhantomData<V>);

impl<V: Lanes> Step for Pairs<V> {
    type V = V;
    type Left = (V, V);
    type Right = (V, V);

    #[inline(always)]
    unsafe fn left(at: *const u32) -> (V, V) {
        // SAFETY: the caller's promise.
        unsafe { (V::splat(f32::from_bits(*at << 16)), V::splat(f32::from_bits(*at & 0xffff_0000))) }
    }

    #[inline(always)]
    unsafe fn right(at: *const u32) -> (V, V) {
        // SAFETY: as above.
        unsafe { V::load_pairs(at) }
    }

    #[inline(always)]
    unsafe fn add(left: (V, V), right: (V, V), sum: V) -> V {
        // SAFETY: as above.
        unsafe { left.1.mul_add(right.1, left.0.mul_add(right.0, sum)) }
    }
}

/// What a tile asks the memory for while it computes: weights that no cache holds would otherwise be waited for, and
/// computed with only then.
#[derive(Clone, Copy)]
struct Fetch {
    from: *const u32,
    /// Words onwards a step; 0 for nothing.
    pace: usize,
    /// Words between the passes of one block of rows.
    apart: usize,
}

impl Fetch {
    /// The first block of rows fetches its own panel, `AHEAD` of itself; the next ones, a share each, the panel after it.
    fn of<V: Lanes>(panel: *const u32, panel_words: usize, steps: usize, block: usize, blocks: usize) -> Self {
        let passes = if V::WIDTH == 16 { 1 } else { 2 }; // of a block, see `strips`
        if block == 0 {
            return Self { from: panel.wrapping_add(AHEAD * PANEL), pace: PANEL, apart: LINE };
        }
        let (done, all) = (passes * (block - 1), passes * (blocks - 1));
        let sharing = (1 << all.ilog2()).min(FETCHING);
        let pace = if done < sharing { PANEL / sharing } else { 0 };
        Self { from: panel.wrapping_add(panel_words + done * steps * pace), pace, apart: steps * pace }
    }

    #[inline(always)]
    fn in_pass(self, pass: usize) -> Self {
        Self { from: self.from.wrapping_add(pass * self.apart), ..self }
    }
}

/// Asks for the cache line of `at`, which may lie past the end.
#[inline(always)]
fn fetch(at: *const u32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which never faults.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Rows by vectors that one pass over a panel keeps in registers.
struct Tile {
    x: *const u32,
    x_stride: usize,
    w: *const u32,
    panel_stride: usize,
    steps: usize,
    out: *mut f32,
    out_stride: usize,
    /// Whether sums go on from what `out` holds.
    resume: bool,
    fetch: Fetch,
}

/// Returns the panels done.
#[inline(always)]
unsafe fn tile<S: Step, const M: usize, const N: usize>(t: &Tile) -> usize {
    let width = S::V::WIDTH;
    let per_panel = PANEL / width;
    // SAFETY: the caller promises M rows of `steps` words at `x`, N vectors of panels at `w`, and M × N vectors at `out`.
    unsafe {
        let mut sums = [[S::V::splat(0.0); N]; M];
        if t.resume {
            for (m, row) in sums.iter_mut().enumerate() {
                for (n, sum) in row.iter_mut().enumerate() {
                    *sum = S::V::load(t.out.add(m * t.out_stride + n * width));
                }
            }
        }
        let place = |n: usize| n / per_panel * t.panel_stride + n % per_panel * width;
        let mut coming = t.fetch.from;
        for step in 0..t.steps {
            if M > 1 && t.fetch.pace > 0 {
                for n in (0..N).step_by(LINE / width) {
                    fetch(coming.wrapping_add(place(n)));
                }
                coming = coming.wrapping_add(t.fetch.pace);
            }
            // What there is less of stays in registers while the other passes by: three rows by four vectors then need
            // sixteen and not seventeen.
            let right = |n: usize| S::right(t.w.add(place(n) + step * PANEL));
            let left = |m: usize| S::left(t.x.add(m * t.x_stride + step));
            if M < N {
                let left: [S::Left; M] = std::array::from_fn(left);
                for n in 0..N {
                    let right = right(n);
                    for (left, row) in left.iter().zip(&mut sums) {
                        row[n] = S::add(*left, right, row[n]);
                    }
                }
            } else {
                let right: [S::Right; N] = std::array::from_fn(right);
                for (m, row) in sums.iter_mut().enumerate() {
                    let left = left(m);
                    for n in 0..N {
                        row[n] = S::add(left, right[n], row[n]);
                    }
                }
            }
        }
        for (m, row) in sums.iter().enumerate() {
            for (n, sum) in row.iter().enumerate() {
                sum.store(t.out.add(m * t.out_stride + n * width));
            }
        }
    }
    N / per_panel
}

/// Tiles of `rows` rows over as many panels as registers allow; returns the panels done.
#[inline(always)]
unsafe fn best_tile<S: Step>(t: &Tile, rows: usize, panels: usize) -> usize {
    // SAFETY: the caller's promise covers `rows` rows and `panels` panels.
    unsafe {
        if S::V::WIDTH == 16 {
            match (rows, panels) {
                (1, 4..) => tile::<S, 1, 8>(t),
                (2, 4..) => tile::<S, 2, 8>(t),
                (3, 4..) => tile::<S, 3, 8>(t),
                (1, 2..) => tile::<S, 1, 4>(t),
                (2, 2..) => tile::<S, 2, 4>(t),
                (3, 2..) => tile::<S, 3, 4>(t),
                (4, 2..) => tile::<S, 4, 4>(t),
                (5, 2..) => tile::<S, 5, 4>(t),
                (6, 2..) => tile::<S, 6, 4>(t),
                (1, _) => tile::<S, 1, 2>(t),
                (2, _) => tile::<S, 2, 2>(t),
                (3, _) => tile::<S, 3, 2>(t),
                (4, _) => tile::<S, 4, 2>(t),
                (5, _) => tile::<S, 5, 2>(t),
                (6, _) => tile::<S, 6, 2>(t),
                (7, _) => tile::<S, 7, 2>(t),
                (8, _) => tile::<S, 8, 2>(t),
                (9, _) => tile::<S, 9, 2>(t),
                (10, _) => tile::<S, 10, 2>(t),
                (11, _) => tile::<S, 11, 2>(t),
                _ => tile::<S, 12, 2>(t),
            }
        } else {
            match (rows, panels) {
                (1, 2..) => tile::<S, 1, 8>(t),
                (1, _) => tile::<S, 1, 4>(t),
                (2, _) => tile::<S, 2, 4>(t),
                (3, _) => tile::<S, 3, 4>(t),
                _ => {
                    strips_of::<S>(t, rows, PANEL / S::V::WIDTH);
                    1
                }
            }
        }
    }
}

/// `count` vectors of a panel, two at a time. With sixteen registers, six rows by two vectors leave room for what is
/// multiplied; three by four do not, and read every input twice as often.
#[inline(always)]
unsafe fn strips<S: Step, const M: usize>(t: &Tile, count: usize) {
    let at = |vector: usize| {
        let columns = vector * S::V::WIDTH;
        // SAFETY: the caller promises `count` vectors, of which this begins one, here and below.
        unsafe { Tile { w: t.w.add(columns), out: t.out.add(columns), fetch: t.fetch.in_pass(vector / 2), ..*t } }
    };
    for pair in 0..count / 2 {
        unsafe { tile::<S, M, 2>(&at(2 * pair)) };
    }
    if !count.is_multiple_of(2) {
        unsafe { tile::<S, M, 1>(&at(count - 1)) };
    }
}

/// [`strips`] of as many rows as a block has.
#[inline(always)]
unsafe fn strips_of<S: Step>(t: &Tile, rows: usize, count: usize) {
    // SAFETY: the caller's promise covers `rows` rows.
    unsafe {
        match rows {
            1 => strips::<S, 1>(t, count),
            2 => strips::<S, 2>(t, count),
            3 => strips::<S, 3>(t, count),
            4 => strips::<S, 4>(t, count),
            5 => strips::<S, 5>(t, count),
            6 => strips::<S, 6>(t, count),
            _ if S::V::WIDTH < 16 => unreachable!("{rows} rows in a block"),
            7 => strips::<S, 7>(t, count),
            8 => strips::<S, 8>(t, count),
            9 => strips::<S, 9>(t, count),
            10 => strips::<S, 10>(t, count),
            11 => strips::<S, 11>(t, count),
            _ => strips::<S, 12>(t, count),
        }
    }
}

#[inline(always)]
unsafe fn run<S: Step>(job: &Job<'_>) {
    let most = if S::V::WIDTH == 16 { 12 } else { 6 };
    let (rows, steps) = (job.x.rows, job.w.steps());
    let blocks = rows.div_ceil(most);
    let chunk = if blocks == 1 { steps } else { CHUNK };
    let whole = job.w.out / PANEL; // panels without padding
    let mut first = 0;
    while first < steps || (first == 0 && steps == 0) {
        let count = chunk.min(steps - first);
        let resume = job.accumulate || first > 0;
        let mut panel = job.panels.start;
        while panel < job.panels.end {
            let mut advanced = 1;
            for block in 0..blocks {
                let [from, to] = [block * rows / blocks, (block + 1) * rows / blocks];
                // SAFETY: the assertions of `multiply_with` bound rows and panels; padding goes through `ragged`.
                unsafe {
                    let words = job.w.words(panel).add(first * PANEL);
                    let t = Tile {
                        x: job.x.at.add(from * job.x.stride + first),
                        x_stride: job.x.stride,
                        w: words,
                        panel_stride: steps * PANEL,
                        steps: count,
                        out: job.out.at.add(from * job.out.stride + panel * PANEL),
                        out_stride: job.out.stride,
                        resume,
                        fetch: Fetch::of::<S::V>(words, steps * PANEL, count, block, blocks),
                    };
                    if panel >= whole {
                        ragged::<S>(&t, to - from, job.w.out - panel * PANEL);
                    } else {
                        // With several blocks of rows each panel is finished for all of them before the next one.
                        let together = if blocks == 1 { whole.min(job.panels.end) - panel } else { 1 };
                        advanced = best_tile::<S>(&t, to - from, together);
                    }
                }
            }
            panel += advanced;
        }
        if steps == 0 {
            break;
        }
        first += count;
    }
}

/// The last panel when it is not full, as the low-rank maps of adapters are: whole vectors of it in place, …
#[inline(always)]
unsafe fn ragged<S: Step>(t: &Tile, rows: usize, columns: usize) {
    let whole = columns / S::V::WIDTH;
    // SAFETY: the panel has `whole` full vectors, and the rest of its columns lie behind them.
    unsafe {
        strips_of::<S>(t, rows, whole);
        if !columns.is_multiple_of(S::V::WIDTH) {
            let done = whole * S::V::WIDTH;
            buffered::<S>(&Tile { w: t.w.add(done), out: t.out.add(done), ..*t }, rows, columns - done);
        }
    }
}

/// … and what is left through a buffer.
#[inline(always)]
unsafe fn buffered<S: Step>(t: &Tile, rows: usize, columns: usize) {
    let mut buffer = [0f32; 12 * 16];
    // SAFETY: only `columns` columns of `out` are touched; the buffer holds 12 rows of the widest vector.
    unsafe {
        if t.resume {
            for row in 0..rows {
                let from = t.out.add(row * t.out_stride);
                std::ptr::copy_nonoverlapping(from, buffer[row * 16..].as_mut_ptr(), columns);
            }
        }
        strips_of::<S>(&Tile { out: buffer.as_mut_ptr(), out_stride: 16, ..*t }, rows, 1);
        for row in 0..rows {
            let to = t.out.add(row * t.out_stride);
            std::ptr::copy_nonoverlapping(buffer[row * 16..].as_ptr(), to, columns);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Floats, Job, PANEL, Pairs, Precision, Step, run};
    use std::arch::x86_64::*;

    /// `super::turn_block` in squares of 8 × 8 words. Both slices must be whole squares.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn turn_block(precision: Precision, panel: &[u32], block: &mut [u32]) {
        // Outputs of the panel that the block has rows for.
        let outputs = match precision {
            Precision::F32 => block.len() / PANEL,
            Precision::Bf16 => 2 * block.len() / PANEL,
        };
        for word in (0..panel.len() / PANEL).step_by(8) {
            for o in (0..outputs).step_by(8) {
                // SAFETY: `word + 8` rows and `o + 8` columns of the panel exist, and so do their places in the block.
                unsafe {
                    let square = transposed(panel.as_ptr().add(word * PANEL + o));
                    match precision {
                        Precision::F32 => {
                            for (i, row) in square.into_iter().enumerate() {
                                _mm256_storeu_si256(block.as_mut_ptr().add((o + i) * PANEL + word).cast(), row);
                            }
                        }
                        Precision::Bf16 => {
                            for (i, pair) in square.chunks_exact(2).enumerate() {
                                let low = _mm256_blend_epi16(pair[0], _mm256_slli_epi32(pair[1], 16), 0xaa);
                                let high = _mm256_blend_epi16(_mm256_srli_epi32(pair[0], 16), pair[1], 0xaa);
                                let (a, b) = (_mm256_unpacklo_epi32(low, high), _mm256_unpackhi_epi32(low, high));
                                let to = block.as_mut_ptr().add((o / 2 + i) * PANEL + 2 * word);
                                _mm256_storeu_si256(to.cast(), _mm256_permute2x128_si256(a, b, 0x20));
                                _mm256_storeu_si256(to.add(8).cast(), _mm256_permute2x128_si256(a, b, 0x31));
                            }
                        }
                    }
                }
            }
        }
    }

    /// A square of 8 rows that begin `PANEL` words apart, transposed.
    #[target_feature(enable = "avx2")]
    unsafe fn transposed(at: *const u32) -> [__m256i; 8] {
        // SAFETY: the caller promises 8 rows of 8 words.
        let rows: [__m256i; 8] = std::array::from_fn(|i| unsafe { _mm256_loadu_si256(at.add(i * PANEL).cast()) });
        let pairs: [__m256i; 8] = std::array::from_fn(|i| {
            let (a, b) = (rows[i / 2 * 2], rows[i / 2 * 2 + 1]);
            if i % 2 == 0 { _mm256_unpacklo_epi32(a, b) } else { _mm256_unpackhi_epi32(a, b) }
        });
        let fours: [__m256i; 8] = std::array::from_fn(|i| {
            let (a, b) = (pairs[i / 4 * 4 + i % 4 / 2], pairs[i / 4 * 4 + i % 4 / 2 + 2]);
            if i % 2 == 0 { _mm256_unpacklo_epi64(a, b) } else { _mm256_unpackhi_epi64(a, b) }
        });
        std::array::from_fn(|i| {
            let (a, b) = (fours[i % 4], fours[i % 4 + 4]);
            if i < 4 { _mm256_permute2x128_si256(a, b, 0x20) } else { _mm256_permute2x128_si256(a, b, 0x31) }
        })
    }

    /// The instruction: two products a lane, summed into `f32`.
    struct DotProduct;

    impl Step for DotProduct {
        type V = __m512;
        type Left = __m512i;
        type Right = __m512i;

        #[inline(always)]
        unsafe fn left(at: *const u32) -> __m512i {
            // SAFETY: the caller's promise, here and below.
            unsafe { _mm512_set1_epi32((*at).cast_signed()) }
        }

        #[inline(always)]
        unsafe fn right(at: *const u32) -> __m512i {
            // SAFETY: as above.
            unsafe { _mm512_loadu_si512(at.cast()) }
        }

        #[inline(always)]
        unsafe fn add(left: __m512i, right: __m512i, sum: __m512) -> __m512 {
            // SAFETY: both are 512 bits of bf16 pairs.
            unsafe {
                _mm512_dpbf16_ps(
                    sum,
                    std::mem::transmute::<__m512i, __m512bh>(left),
                    std::mem::transmute::<__m512i, __m512bh>(right),
                )
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn dot_products(job: &Job<'_>) {
        // SAFETY: the caller's promise, here and below.
        unsafe { run::<DotProduct>(job) }
    }

    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn wide(job: &Job<'_>) {
        // SAFETY: as above.
        unsafe { run::<Floats<__m512>>(job) }
    }

    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn wide_pairs(job: &Job<'_>) {
        // SAFETY: as above.
        unsafe { run::<Pairs<__m512>>(job) }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn narrow(job: &Job<'_>) {
        // SAFETY: as above.
        unsafe { run::<Floats<__m256>>(job) }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn narrow_pairs(job: &Job<'_>) {
        // SAFETY: as above.
        unsafe { run::<Pairs<__m256>>(job) }
    }
}

#[cfg(test)]
mod tests;
