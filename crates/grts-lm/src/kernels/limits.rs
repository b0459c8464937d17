//! What this machine can do at most, measured with the kernels that the engine runs on: the yardstick of a benchmark.
//!
//! A data sheet says what a processor could do alone; a shared machine does less. So two short measurements with all
//! threads at once: how fast memory is read, by summing a buffer that no cache holds, and how fast packed products run
//! on operands that stay in cache. The best of a few rounds counts, since whatever else runs only slows a round down.

use super::packed::{Input, Output, Packed, Precision, multiply, round_row};
use super::pages::in_large_pages;
use rayon::prelude::{IntoParallelRefIterator, ParallelIterator, ParallelSlice};
use std::time::Instant;

/// Measured limits of this machine, all threads together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Threads that were used.
    pub threads: usize,
    /// Bytes read from memory a second.
    pub bandwidth: f64,
    /// Floating-point operations a second (a multiply-add is two) with `f32` weights.
    pub f32_flops: f64,
    /// The same with bf16 weights.
    pub bf16_flops: f64,
}

impl Limits {
    /// Operations a second with weights in `precision`.
    pub fn flops(&self, precision: Precision) -> f64 {
        match precision {
            Precision::F32 => self.f32_flops,
            Precision::Bf16 => self.bf16_flops,
        }
    }
}

/// Numbers in the buffer: 256 MiB.
const BUFFER: usize = 64 << 20;
/// Rounds of each measurement.
const ROUNDS: usize = 7;
/// Shape of the products: the weights are 256 KiB at most, inputs and outputs less.
const ROWS: usize = 96;
const WIDTH: usize = 256; // inputs and outputs
/// Products a round and thread: some tens of milliseconds.
const PRODUCTS: usize = 200;

/// Measures for about a second.
pub fn measure() -> Limits {
    let threads = rayon::current_num_threads();
    Limits {
        threads,
        bandwidth: bandwidth(),
        f32_flops: flops(Precision::F32, threads),
        bf16_flops: flops(Precision::Bf16, threads),
    }
}

/// Seconds of the fastest round.
fn fastest(mut round: impl FnMut()) -> f64 {
    let seconds = |_| {
        let started = Instant::now();
        round();
        started.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(seconds).fold(f64::INFINITY, f64::min)
}

fn bandwidth() -> f64 {
    let mut buffer = in_large_pages(BUFFER);
    buffer.resize(BUFFER, 1.0f32);
    let piece = BUFFER.div_ceil(rayon::current_num_threads());
    let round = || {
        let sum: f32 = buffer.par_chunks(piece).map(sum).sum();
        std::hint::black_box(sum);
    };
    size_of_val(buffer.as_slice()) as f64 / fastest(round)
}

/// Eight vectors of partial sums, so that no addition waits for the one before it.
#[multiversion::multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn sum(x: &[f32]) -> f32 {
    let mut partial = [0f32; 128];
    for chunk in x.as_chunks::<128>().0 {
        for (p, x) in partial.iter_mut().zip(chunk) {
            *p += x;
        }
    }
    partial.iter().sum()
}

fn flops(precision: Precision, threads: usize) -> f64 {
    let weights = vec![0.5f32; WIDTH];
    let benches: Vec<Packed> = (0..threads).map(|_| Packed::new(WIDTH, WIDTH, precision, |_| &weights)).collect();
    let round = || benches.par_iter().for_each(products);
    let operations = 2 * threads * PRODUCTS * ROWS * WIDTH * WIDTH;
    operations as f64 / fastest(round)
}

fn products(w: &Packed) {
    let x = vec![0.25f32; ROWS * WIDTH];
    let mut words = vec![0; ROWS * w.row_words()];
    words.chunks_exact_mut(w.row_words()).zip(x.chunks_exact(WIDTH)).for_each(|(words, x)| round_row(x, words));
    let input = match w.precision() {
        Precision::F32 => Input::floats(&x, WIDTH, ROWS),
        Precision::Bf16 => Input::rounded(&words, w.row_words(), ROWS),
    };
    let mut out = vec![0f32; ROWS * WIDTH];
    for _ in 0..PRODUCTS {
        // SAFETY: this thread's own output of enough rows.
        unsafe { multiply(w, input, Output::new(&mut out, WIDTH), 0..w.panels(), false) };
        std::hint::black_box(&mut out);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn limits_are_positive_and_name_their_threads() {
        let limits = super::measure();
        assert_eq!(limits.threads, rayon::current_num_threads());
        assert!(limits.bandwidth > 1e8 && limits.f32_flops > 1e8 && limits.bf16_flops > 1e8, "{limits:?}");
    }
}
