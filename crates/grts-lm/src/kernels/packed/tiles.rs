//! Packed products, a tile of rows by vectors at a time.
//!
//! A kernel is written once, generic over the instructions of a [`Step`], and compiled inside a function that turns them on.

use super::{CHUNK, Input, LINE, Output, PANEL, Packed, Precision};
use crate::kernels::lanes::{Isa, Lanes, Plain, fetch};
use std::ops::Range;

/// Steps between the words that are fetched from memory and those that are used, where a panel is read for the first time.
const AHEAD: usize = 16;
/// Passes over a panel that share the fetching of the next one, at most.
const FETCHING: usize = 8;

/// A product to be computed: some panels of `w`.
pub(super) struct Job<'a> {
    pub(super) w: &'a Packed,
    pub(super) x: Input,
    pub(super) out: Output,
    pub(super) panels: Range<usize>,
    pub(super) accumulate: bool,
}

/// Computes `job` with the instructions of `isa`.
///
/// # Safety
/// Those of `super::multiply_with`, whose assertions hold.
pub(super) unsafe fn multiply(isa: Isa, job: &Job<'_>) {
    match (isa, job.w.precision) {
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512Bf16, Precision::Bf16) => unsafe { x86::dot_products(job) },
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512Bf16 | Isa::Avx512, Precision::F32) => unsafe { x86::wide(job) },
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, Precision::Bf16) => unsafe { x86::wide_pairs(job) },
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, Precision::F32) => unsafe { x86::narrow(job) },
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, Precision::Bf16) => unsafe { x86::narrow_pairs(job) },
        (Isa::Portable, Precision::F32) => unsafe { run::<Floats<Plain>>(job) },
        (Isa::Portable, Precision::Bf16) => unsafe { run::<Pairs<Plain>>(job) },
    }
}

/// One step of a reduction: `WORDS` words of the input against `WIDTH` words of a panel.
trait Step {
    const WORDS: usize;
    type V: Lanes;
    type Left: Copy;
    type Right: Copy;
    unsafe fn left(at: *const u32) -> Self::Left;
    unsafe fn right(at: *const u32) -> Self::Right;
    unsafe fn add(left: Self::Left, right: Self::Right, sum: Self::V) -> Self::V;
}

struct Floats<V>(std::marker::PhantomData<V>);

impl<V: Lanes> Step for Floats<V> {
    const WORDS: usize = 1;
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

/// bf16 without its instruction: weights are widened, inputs lie there as floats; two fused products, the even member first.
struct Pairs<V>(std::marker::PhantomData<V>);

impl<V: Lanes> Step for Pairs<V> {
    const WORDS: usize = 2;
    type V = V;
    type Left = (V, V);
    type Right = (V, V);

    #[inline(always)]
    unsafe fn left(at: *const u32) -> (V, V) {
        // SAFETY: the caller's promise; words are the bits of floats.
        unsafe { (V::splat(*at.cast()), V::splat(*at.add(1).cast())) }
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
            let left = |m: usize| S::left(t.x.add(m * t.x_stride + step * S::WORDS));
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
                        x: job.x.at.add(from * job.x.stride + first * S::WORDS),
                        x_stride: job.x.stride,
                        w: words,
                        panel_stride: steps * PANEL,
                        steps: count,
                        // `at` may lie before what is written, where only some panels are.
                        out: job.out.at.wrapping_add(from * job.out.stride + panel * PANEL),
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
    use super::{Floats, Job, Pairs, Step, run};
    use std::arch::x86_64::*;

    /// The instruction: two products a lane, summed into `f32`.
    struct DotProduct;

    impl Step for DotProduct {
        const WORDS: usize = 1;
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
