//! Weights of linear maps, packed once for products with a few or many rows.
//!
//! `gemm` packs its operands on every call and is poor at 1 to 32 rows, which is what decoding is made of. Here the
//! weights lie ready: *panels* of [`PANEL`] output features, each panel `(in, PANEL)`, so a kernel streams through memory
//! once. Storage is `f32`, or pairs of bf16 (the inputs are then rounded to bf16 as well, sums stay `f32`): for the dot-product
//! instruction, or to be widened in registers.
//!
//! Each output is one chain of multiply-adds over the inputs in order, whatever the number of rows, threads or lanes: what
//! a row gets does not depend on what else is computed with it.

mod tiles;

use super::lanes::Isa;
use super::pages::in_large_pages;
use multiversion::multiversion;
use std::ops::Range;
use tiles::Job;

/// Output features that lie together.
pub(crate) const PANEL: usize = 32;
/// Steps of the reduction whose panel stays in cache while all rows pass by.
const CHUNK: usize = 512;

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
struct Line([u32; LINE]);

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
        let count = packed.panels() * packed.steps() * PANEL / LINE;
        packed.lines = in_large_pages(count);
        packed.lines.resize(count, Line([0; LINE]));
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

    /// Words of one row of inputs, rounded where the weights are: see [`round_row`].
    pub(crate) fn row_words(&self) -> usize {
        self.row_words_for(Isa::detect())
    }

    fn row_words_for(&self, isa: Isa) -> usize {
        match self.precision {
            Precision::F32 => self.input,
            Precision::Bf16 => rounded_words(isa, self.input),
        }
    }

    fn index(&self, o: usize, step: usize) -> usize {
        (o / PANEL * self.steps() + step) * PANEL + o % PANEL
    }

    fn word(&mut self, o: usize, step: usize) -> &mut u32 {
        let at = self.index(o, step);
        &mut self.lines[at / LINE].0[at % LINE]
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
        let word = self.lines[at / LINE].0[at % LINE];
        f32::from_bits(shift.map_or(word, |shift| word << shift & 0xffff_0000))
    }

    /// All weights, row-major `(out, in)`.
    pub(crate) fn to_rows(&self) -> Vec<f32> {
        (0..self.out).flat_map(|o| (0..self.input).map(move |k| self.get(o, k))).collect()
    }

    /// Raw panel words from `panel` on.
    fn words(&self, panel: usize) -> *const u32 {
        self.lines[panel * self.steps() * PANEL / LINE..].as_ptr().cast()
    }
}

impl Packed {
    /// `out (rows, out) = x (rows, in) · Wᵀ`, on this thread; `x` is rounded where the weights are bf16.
    pub(crate) fn forward(&self, x: &[f32], rows: usize, out: &mut [f32]) {
        self.product(x, rows, 0..self.out, out, false);
    }

    /// The same, added to what `out` holds.
    pub(crate) fn add_forward(&self, x: &[f32], rows: usize, out: &mut [f32]) {
        self.product(x, rows, 0..self.out, out, true);
    }

    /// The same of some output features, whole panels of them: `out (rows, features)`.
    pub(crate) fn forward_part(&self, x: &[f32], rows: usize, features: Range<usize>, out: &mut [f32]) {
        self.product(x, rows, features, out, false);
    }

    fn product(&self, x: &[f32], rows: usize, features: Range<usize>, out: &mut [f32], accumulate: bool) {
        let width = features.len();
        self.check_whole(&features);
        assert!(out.len() >= rows * width, "output of {} values for {rows}x{width}", out.len());
        let words = self.round(Isa::detect(), x, rows, self.input);
        let x = match self.precision {
            Precision::F32 => Input::floats(x, self.input, rows),
            Precision::Bf16 => Input::rounded(&words, self.row_words(), rows),
        };
        // Columns are counted from the first panel of all, the output from the first that is wanted.
        let from = out.as_mut_ptr().wrapping_sub(features.start);
        let panels = features.start / PANEL..features.end.div_ceil(PANEL);
        // SAFETY: the output is a unique borrow of enough rows; only columns of the panels are touched.
        unsafe { multiply(self, x, Output::from_raw(from, width, rows), panels, accumulate) };
    }

    fn check_whole(&self, features: &Range<usize>) {
        let whole = features.end.is_multiple_of(PANEL) || features.end == self.out;
        assert!(
            features.start.is_multiple_of(PANEL) && whole && features.end <= self.out,
            "{features:?} of {}",
            self.out
        );
    }

    /// The transposed product, `out (rows, in) = g (rows, out) · W`, on this thread. Panels are turned around piece by piece:
    /// a second copy of the weights would cost more than it saves once there are a hundred rows.
    pub(crate) fn backward(&self, g: &[f32], rows: usize, out: &mut [f32]) {
        self.transposed(g, rows, 0..self.out, out, false);
    }

    /// The same for the gradient of some output features, `g (rows, features)`, whole panels of them; added to what `out` holds.
    pub(crate) fn add_backward_part(&self, g: &[f32], rows: usize, features: Range<usize>, out: &mut [f32]) {
        self.transposed(g, rows, features, out, true);
    }

    fn transposed(&self, g: &[f32], rows: usize, features: Range<usize>, out: &mut [f32], accumulate: bool) {
        let width = features.len();
        self.check_whole(&features);
        assert!(out.len() >= rows * self.input, "output of {} values for {rows}x{}", out.len(), self.input);
        let isa = Isa::detect();
        let words = self.round(isa, g, rows, width);
        let mut turned = Self { out: PANEL, input: 0, precision: self.precision, lines: Vec::new() };
        // Outputs outermost: their chunk of `g` stays in cache while the inputs pass by.
        for o in (0..width).step_by(CHUNK) {
            for k in (0..self.input).step_by(PANEL) {
                let os = features.start + o..features.end.min(features.start + o + CHUNK);
                self.turn(os, k..self.input.min(k + PANEL), &mut turned);
                let x = match self.precision {
                    Precision::F32 => Input::strided(&g[o..], width, rows),
                    Precision::Bf16 => {
                        Input::strided_words(&words[rounded_words(isa, o)..], rounded_words(isa, width), rows)
                    }
                };
                // SAFETY: the output is a unique borrow; only the columns of `turned` are touched.
                unsafe {
                    multiply(&turned, x, Output::new(out, self.input).at_column(k), 0..1, accumulate || o > 0);
                }
            }
        }
    }

    /// `turned (k, o)` = the weights of output features `os` and inputs `ks`, at most a panel of inputs.
    fn turn(&self, os: Range<usize>, ks: Range<usize>, turned: &mut Self) {
        (turned.out, turned.input) = (ks.len(), os.len());
        turned.lines.resize(turned.steps() * PANEL / LINE, Line([0; 16]));
        let steps = self.steps();
        // SAFETY: a `Line` is sixteen words.
        let (from, to) = unsafe {
            let from = std::slice::from_raw_parts(self.lines.as_ptr().cast::<u32>(), self.lines.len() * LINE);
            (from, std::slice::from_raw_parts_mut(turned.lines.as_mut_ptr().cast::<u32>(), turned.lines.len() * LINE))
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

    /// Rows of `width` rounded, where the weights are bf16.
    fn round(&self, isa: Isa, x: &[f32], rows: usize, width: usize) -> Vec<u32> {
        match self.precision {
            Precision::F32 => Vec::new(),
            Precision::Bf16 => {
                let each = rounded_words(isa, width);
                let mut words = vec![0; rows * each];
                let rows = words.chunks_exact_mut(each.max(1)).zip(x.chunks_exact(width.max(1)));
                rows.for_each(|(words, x)| round_row_for(isa, x, words));
                words
            }
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

/// Words of a row of `width` inputs for bf16 weights.
fn rounded_words(isa: Isa, width: usize) -> usize {
    width.div_ceil(2) * isa.words_of_a_pair()
}

/// Rounds one row of inputs for bf16 weights, the last pair filled with 0.
pub(crate) fn round_row(row: &[f32], words: &mut [u32]) {
    round_row_for(Isa::detect(), row, words);
}

fn round_row_for(isa: Isa, row: &[f32], words: &mut [u32]) {
    match isa.words_of_a_pair() {
        1 => bf16_pairs(row, words),
        _ => bf16_floats(row, words),
    }
}

/// Two in a word.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn bf16_pairs(row: &[f32], words: &mut [u32]) {
    let whole = row.chunks_exact(2);
    let last = whole.remainder().iter().map(|x| bf16_bits(*x));
    let pairs = whole.map(|x| bf16_bits(x[0]) | bf16_bits(x[1]) << 16);
    words.iter_mut().zip(pairs.chain(last)).for_each(|(word, pair)| *word = pair);
}

/// As floats.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn bf16_floats(row: &[f32], words: &mut [u32]) {
    let (whole, last) = words.split_at_mut(row.len());
    whole.iter_mut().zip(row).for_each(|(word, x)| *word = bf16_bits(*x) << 16);
    last.fill(0);
}

/// Rows of inputs: `f32`, or rounded as [`round_row`] does.
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

    /// The same of what was rounded.
    fn strided_words(x: &[u32], stride: usize, rows: usize) -> Self {
        assert!(x.len() + stride > rows * stride, "inputs are shorter than their rows");
        Self { at: x.as_ptr(), stride, rows }
    }

    /// `rows` rows of `stride` words that were rounded.
    pub(crate) fn rounded(x: &[u32], stride: usize, rows: usize) -> Self {
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
    let words = w.row_words_for(isa);
    assert!(x.stride >= words || x.rows < 2, "rows of {} for {words} words", x.stride);
    assert!(out.rows >= x.rows, "{} rows of output for {} of input", out.rows, x.rows);
    if x.rows == 0 || panels.is_empty() {
        return;
    }
    // SAFETY: the assertions bound rows and panels; the rest is the caller's promise.
    unsafe { tiles::multiply(isa, &Job { w, x, out, panels, accumulate }) }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{PANEL, Precision};
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
}

#[cfg(test)]
mod tests;
