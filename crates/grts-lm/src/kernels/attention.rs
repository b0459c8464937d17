//! Attention of a few queries over one head's cache: scores, softmax, weighted values, without a score matrix.
//!
//! Keys lie in blocks of 16 positions, `(head_dim, 16)` each, so that 16 scores are one chain of multiply-adds without a
//! horizontal sum; values lie `(positions, width)` with `width` a multiple of 16. With many texts no cache of the processor holds
//! them all, and each head's are too short for it to guess what comes next: while scores are made the values are
//! asked for, and while values are weighed the keys of the next head.

use super::lanes::{Isa, Lanes, Plain, fetch};

/// Positions in a block of keys.
const BLOCK: usize = 16;
/// Queries that share the loads of keys and values.
const TOGETHER: usize = 4;

/// Keys (rotated) and values of one key-value head for the positions seen so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeadCache {
    keys: Vec<f32>,   // blocks of (head_dim, 16)
    values: Vec<f32>, // (positions, width)
    len: usize,
}

impl HeadCache {
    /// Forgets every position and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        self.values.clear();
        self.len = 0;
    }

    /// Makes room for `positions` in all.
    pub(crate) fn reserve(&mut self, positions: usize, head_dim: usize) {
        let (keys, values) = (positions.next_multiple_of(BLOCK) * head_dim, positions * width(head_dim));
        self.keys.reserve(keys.saturating_sub(self.keys.len()));
        self.values.reserve(values.saturating_sub(self.values.len()));
    }

    /// Appends one position.
    pub(crate) fn push(&mut self, key: &[f32], value: &[f32]) {
        let (dh, at) = (key.len(), self.len % BLOCK);
        if at == 0 {
            self.keys.resize(self.keys.len() + dh * BLOCK, 0.0);
        }
        let block = self.len / BLOCK * dh * BLOCK;
        for (d, k) in key.iter().enumerate() {
            self.keys[block + d * BLOCK + at] = *k;
        }
        self.values.extend_from_slice(value);
        self.len += 1;
        self.values.resize(self.len * width(dh), 0.0);
    }
}

fn width(head_dim: usize) -> usize {
    head_dim.next_multiple_of(BLOCK)
}

/// Positions of one head's cache that some queries see, and how scores are made.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) cache: &'a HeadCache,
    pub(crate) head_dim: usize,
    /// First position, and the one after the last.
    pub(crate) range: (usize, usize),
    /// Factor of the dot products.
    pub(crate) scale: f32,
    /// `c · tanh(score / c)` when given.
    pub(crate) softcap: Option<f32>,
    /// The cache that is read next, if any: its keys are fetched while values are weighed.
    pub(crate) next: Option<&'a HeadCache>,
}

impl Seen<'_> {
    /// `out (g, head_dim)` = attention of `queries (g, head_dim)`. `scores` is scratch.
    pub(crate) fn attend(&self, queries: &[f32], scores: &mut Vec<f32>, out: &mut [f32]) {
        let (from, to) = self.range;
        assert!(from < to && to <= self.cache.len, "positions {from}..{to} of {}", self.cache.len);
        assert!(out.len() >= queries.len(), "output shorter than queries");
        let several = TOGETHER * self.head_dim;
        for (queries, out) in queries.chunks(several).zip(out.chunks_mut(several)) {
            // SAFETY: the processor has what `detect` says; lengths are checked above.
            match Isa::detect() {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512Bf16 | Isa::Avx512 => unsafe { x86::wide(self, queries, scores, out) },
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => unsafe { x86::narrow(self, queries, scores, out) },
                Isa::Portable => unsafe { run::<Plain>(self, queries, scores, out) },
            }
        }
    }

    /// First block, and blocks up to the last.
    fn blocks(&self) -> (usize, usize) {
        let first = self.range.0 / BLOCK;
        (first, self.range.1.div_ceil(BLOCK) - first)
    }
}

#[inline(always)]
unsafe fn run<V: Lanes>(seen: &Seen<'_>, queries: &[f32], scores: &mut Vec<f32>, out: &mut [f32]) {
    let dh = seen.head_dim;
    let count = queries.len() / dh;
    let (first, blocks) = seen.blocks();
    let stride = blocks * BLOCK;
    scores.clear();
    scores.extend(queries.iter().map(|q| q * seen.scale));
    scores.resize(queries.len() + count * stride, 0.0);
    let (queries, scores) = scores.split_at_mut(queries.len());
    // SAFETY: `blocks` blocks of keys from `first` exist, since `to ≤ len`; scores hold `count` rows of them.
    unsafe {
        let keys = seen.cache.keys.as_ptr().add(first * dh * BLOCK);
        let mut block = 0;
        while block < blocks {
            let (k, s) = (keys.add(block * dh * BLOCK), scores.as_mut_ptr().add(block * BLOCK));
            let v = seen.cache.values.as_ptr().wrapping_add((first + block) * width(dh) * BLOCK);
            let left = blocks - block;
            block += match (count, left) {
                (1, 4..) => score::<V, 1, 4>(k, queries.as_ptr(), dh, s, stride, v),
                (1, 3) => score::<V, 1, 3>(k, queries.as_ptr(), dh, s, stride, v),
                (1, 2) => score::<V, 1, 2>(k, queries.as_ptr(), dh, s, stride, v),
                (1, _) => score::<V, 1, 1>(k, queries.as_ptr(), dh, s, stride, v),
                (2, 2..) => score::<V, 2, 2>(k, queries.as_ptr(), dh, s, stride, v),
                (2, _) => score::<V, 2, 1>(k, queries.as_ptr(), dh, s, stride, v),
                (3, 2..) => score::<V, 3, 2>(k, queries.as_ptr(), dh, s, stride, v),
                (3, _) => score::<V, 3, 1>(k, queries.as_ptr(), dh, s, stride, v),
                (_, 2..) => score::<V, 4, 2>(k, queries.as_ptr(), dh, s, stride, v),
                _ => score::<V, 4, 1>(k, queries.as_ptr(), dh, s, stride, v),
            };
        }
    }
    let (from, to) = seen.range;
    let skipped = from - first * BLOCK;
    let mut factors = [0f32; TOGETHER];
    for (row, factor) in scores.chunks_exact_mut(stride).zip(&mut factors) {
        let row = &mut row[skipped..skipped + to - from];
        if let Some(cap) = seen.softcap {
            row.iter_mut().for_each(|s| *s = cap * (*s / cap).tanh());
        }
        *factor = 1.0 / super::exp_shifted(row).1;
    }
    // SAFETY: values hold `to` rows of `width(dh)`; scores and output have `count` rows.
    unsafe {
        let values = seen.cache.values.as_ptr().add(from * width(dh));
        let scores = scores.as_ptr().add(skipped);
        let coming = seen.next.map(|cache| cache.keys.as_ptr());
        let all = Weighing { values, scores, positions: to - from, stride, dh, first: 0, coming };
        match count {
            1 => weigh::<V, 1, 2>(all, out),
            2 => weigh::<V, 2, 2>(all, out),
            3 => weigh::<V, 3, 1>(all, out),
            _ => weigh::<V, 4, 1>(all, out),
        }
    }
    for (out, factor) in out.chunks_exact_mut(dh).zip(&factors[..count]) {
        out.iter_mut().for_each(|o| *o *= factor);
    }
}

/// Scores of G queries over N blocks of keys; the `values` of the same positions are fetched.
#[inline(always)]
unsafe fn score<V: Lanes, const G: usize, const N: usize>(
    keys: *const f32,
    queries: *const f32,
    dh: usize,
    scores: *mut f32,
    stride: usize,
    values: *const f32,
) -> usize {
    let parts = BLOCK / V::WIDTH;
    // SAFETY: the caller promises N blocks, G queries and G rows of scores.
    unsafe {
        for part in 0..parts {
            let mut sums = [[V::splat(0.0); N]; G];
            for d in 0..dh {
                if part == 0 {
                    (0..N).for_each(|n| fetch(values.wrapping_add((n * dh + d) * BLOCK)));
                }
                let mut k = [V::splat(0.0); N];
                for (n, k) in k.iter_mut().enumerate() {
                    *k = V::load(keys.add((n * dh + d) * BLOCK + part * V::WIDTH));
                }
                for (g, row) in sums.iter_mut().enumerate() {
                    let q = V::splat(*queries.add(g * dh + d));
                    for n in 0..N {
                        row[n] = q.mul_add(k[n], row[n]);
                    }
                }
            }
            for (g, row) in sums.iter().enumerate() {
                for (n, sum) in row.iter().enumerate() {
                    sum.store(scores.add(g * stride + n * BLOCK + part * V::WIDTH));
                }
            }
        }
    }
    N
}

/// Values to be weighted by the scores of some queries.
#[derive(Clone, Copy)]
struct Weighing {
    values: *const f32,
    scores: *const f32,
    positions: usize,
    /// Scores from one query to the next.
    stride: usize,
    dh: usize,
    /// First dimension that is summed.
    first: usize,
    /// Keys to fetch meanwhile, a position's worth with each.
    coming: Option<*const f32>,
}

impl Weighing {
    /// Adds one position to the sums of G queries over N vectors of dimensions.
    ///
    /// A function and not a closure: a closure of which two loops are made stays a function of its own, which lacks the caller's
    /// instructions, so that each multiply-add becomes a call.
    #[inline(always)]
    unsafe fn add<V: Lanes, const G: usize, const N: usize>(&self, t: usize, sums: &mut [[V; N]; G]) {
        // SAFETY: the caller promises `positions` rows of values and G rows of scores.
        unsafe {
            if let Some(keys) = self.coming {
                (0..self.dh).step_by(BLOCK).for_each(|d| fetch(keys.wrapping_add(t * self.dh + d)));
            }
            let at = self.values.add(t * width(self.dh) + self.first);
            let mut v = [V::splat(0.0); N];
            for (n, v) in v.iter_mut().enumerate() {
                *v = V::load(at.add(n * V::WIDTH));
            }
            for (g, sums) in sums.iter_mut().enumerate() {
                let w = V::splat(*self.scores.add(g * self.stride + t));
                for n in 0..N {
                    sums[n] = w.mul_add(v[n], sums[n]);
                }
            }
        }
    }
}

/// Sum of values weighted by the scores of G queries, every P-th position in a chain of its own: one multiply-add waits for the
/// last of its chain, and few queries have few chains. One query alone goes through more dimensions at once for the same reason.
#[inline(always)]
unsafe fn weigh<V: Lanes, const G: usize, const P: usize>(all: Weighing, out: &mut [f32]) {
    let mut first = 0;
    while first < all.dh {
        let w = Weighing { first, coming: all.coming.filter(|_| first == 0), ..all };
        // SAFETY: the caller's promise; rows of values are `width(dh)` wide, a multiple of every vector.
        unsafe {
            first += if G == 1 && first + 3 * V::WIDTH < all.dh {
                weigh_columns::<V, G, P, 4>(&w, out)
            } else if first + V::WIDTH < all.dh {
                weigh_columns::<V, G, P, 2>(&w, out)
            } else {
                weigh_columns::<V, G, P, 1>(&w, out)
            };
        }
    }
}

/// [`weigh`] for N vectors of dimensions; returns how many dimensions that is.
#[inline(always)]
unsafe fn weigh_columns<V: Lanes, const G: usize, const P: usize, const N: usize>(
    w: &Weighing,
    out: &mut [f32],
) -> usize {
    // SAFETY: the processor has the lanes, here and below.
    let mut chains = unsafe { [[[V::splat(0.0); N]; G]; P] };
    let whole = w.positions / P * P;
    for t in (0..whole).step_by(P) {
        for (chain, sums) in chains.iter_mut().enumerate() {
            // SAFETY: the caller promises `positions` positions, here and below.
            unsafe { w.add(t + chain, sums) };
        }
    }
    // Not a chain that is chosen while the program runs, for then none could stay in registers.
    for (chain, sums) in chains[..P - 1].iter_mut().enumerate() {
        if whole + chain < w.positions {
            unsafe { w.add(whole + chain, sums) };
        }
    }
    let mut buffer = [0f32; 16];
    for g in 0..G {
        for n in 0..N {
            let at = w.first + n * V::WIDTH;
            let columns = V::WIDTH.min(w.dh - at);
            let out = &mut out[g * w.dh + at..][..columns];
            out.fill(0.0);
            for sums in &chains {
                // SAFETY: the buffer holds the widest vector.
                unsafe { sums[g][n].store(buffer.as_mut_ptr()) };
                out.iter_mut().zip(&buffer).for_each(|(o, b)| *o += b);
            }
        }
    }
    N * V::WIDTH
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Seen, run};
    use std::arch::x86_64::{__m256, __m512};

    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn wide(seen: &Seen<'_>, queries: &[f32], scores: &mut Vec<f32>, out: &mut [f32]) {
        // SAFETY: the caller's promise, here and below.
        unsafe { run::<__m512>(seen, queries, scores, out) }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn narrow(seen: &Seen<'_>, queries: &[f32], scores: &mut Vec<f32>, out: &mut [f32]) {
        // SAFETY: as above.
        unsafe { run::<__m256>(seen, queries, scores, out) }
    }
}

#[cfg(test)]
mod tests {
    use super::{HeadCache, Seen};
    use crate::kernels::tests::noise;

    #[test]
    fn attention_agrees_with_double_precision_on_odd_sizes_windows_and_caps() {
        for (dh, g, positions, from, softcap) in [
            (6, 1, 1, 0, None),
            (12, 3, 40, 0, None),
            (64, 7, 100, 37, Some(5.0)),
            (80, 4, 33, 32, None),
            (16, 2, 65, 1, Some(1.0)),
        ] {
            let (k, v) = (noise(positions * dh, 1), noise(positions * dh, 2));
            let mut cache = HeadCache::default();
            for (key, value) in k.chunks(dh).zip(v.chunks(dh)) {
                cache.push(key, value);
            }
            let q = noise(g * dh, 3);
            let mut out = vec![0f32; g * dh];
            let seen = Seen { cache: &cache, head_dim: dh, range: (from, positions), scale: 0.7, softcap, next: None };
            seen.attend(&q, &mut Vec::new(), &mut out);
            for (query, got) in q.chunks(dh).zip(out.chunks(dh)) {
                let dot = |t: usize| -> f64 { (0..dh).map(|d| f64::from(query[d]) * f64::from(k[t * dh + d])).sum() };
                let capped = |s: f64| softcap.map_or(s, |c| f64::from(c) * (s / f64::from(c)).tanh());
                let weights: Vec<f64> = (from..positions).map(|t| capped(0.7 * dot(t)).exp()).collect();
                let total: f64 = weights.iter().sum();
                for (d, got) in got.iter().enumerate() {
                    let want: f64 = weights.iter().zip(from..).map(|(w, t)| w / total * f64::from(v[t * dh + d])).sum();
                    assert!((f64::from(*got) - want).abs() < 1e-5, "{got} against {want}");
                }
            }
        }
    }
}
