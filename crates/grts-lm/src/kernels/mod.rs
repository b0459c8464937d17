//! Plain `f32` kernels on slices, shared by the training ops and the decode path.
//!
//! `unsafe` of this crate lives below this folder and in [`crate::team`]: vector instructions, one call into the `gemm`
//! library behind length checks, advice to the system about pages, and matrices that threads write together. Each function runs on the calling thread; parallelism is by shards of the batch, one level up, so that the
//! number of threads never changes a result. Reductions keep 16 partial sums, in a fixed order, which lets the
//! compiler use whatever vector width the machine has without being allowed to reassociate.

mod attention;
mod lanes;
pub mod limits;
mod packed;
mod pages;
mod rope;

pub(crate) use attention::{HeadCache, Seen};
pub use packed::Precision;
pub(crate) use packed::{Input, Output, PANEL, Packed, multiply, round_row};
pub(crate) use rope::{Angles, Rope};

use crate::architecture::Activation;
use gemm::Parallelism;
use multiversion::multiversion;

/// A borrowed matrix for [`matmul`]: `data[r * row_stride + c * col_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> View<'a> {
    /// Row-major `(rows, cols)`.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::columns(data, rows, cols, 0, cols)
    }

    /// `count` columns from `first` on of a row-major matrix whose rows are `width` wide.
    pub(crate) fn columns(data: &'a [f32], rows: usize, width: usize, first: usize, count: usize) -> Self {
        assert!(data.len() >= rows * width && first + count <= width, "{rows}x{width} over {} values", data.len());
        Self { data: &data[first.min(data.len())..], rows, cols: count, row_stride: width, col_stride: 1 }
    }

    /// The transposed view, no copy.
    pub(crate) fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}

/// A matrix to be written: `cols` columns of rows that lie `stride` apart.
pub(crate) struct ViewMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a> ViewMut<'a> {
    /// Row-major `(rows, cols)`.
    pub(crate) fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::columns(data, rows, cols, 0, cols)
    }

    /// `count` columns from `first` on of a row-major matrix whose rows are `width` wide.
    pub(crate) fn columns(data: &'a mut [f32], rows: usize, width: usize, first: usize, count: usize) -> Self {
        assert!(data.len() >= rows * width && first + count <= width, "{rows}x{width} over {} values", data.len());
        let first = first.min(data.len());
        Self { data: &mut data[first..], rows, cols: count, stride: width }
    }
}

/// `out (m, n) = alpha * a (m, k) · b (k, n)`, added to what `out` holds when `accumulate`.
pub(crate) fn matmul(out: ViewMut<'_>, accumulate: bool, alpha: f32, a: View<'_>, b: View<'_>) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    assert_eq!(b.rows, k, "inner dimensions differ");
    assert_eq!((out.rows, out.cols), (m, n), "output of another shape");
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: the constructors checked that every index r*row_stride + c*col_stride lies inside `data` (a transposed view
    // addresses the same set), and `out` is a unique borrow, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.data.as_mut_ptr(),
            1,
            out.stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            alpha,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

const LANES: usize = 16;

/// Σ a_i b_i.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += x[i] * y[i];
        }
    }
    lanes.iter().sum::<f32>() + tail
}

/// `out += scale * x`.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
pub(crate) fn axpy(out: &mut [f32], scale: f32, x: &[f32]) {
    for (o, v) in out.iter_mut().zip(x) {
        *o += scale * v;
    }
}

/// Root-mean-square norm of one row: `out = x / sqrt(mean(x²) + eps) * weight`. Returns the factor `1/rms`.
///
/// `offset` is added to every weight.
pub(crate) fn rms_norm(out: &mut [f32], x: &[f32], weight: &[f32], offset: f32, eps: f32) -> f32 {
    let inverse = 1.0 / (dot(x, x) / x.len() as f32 + eps).sqrt();
    scale(out, x, weight, inverse, offset);
    inverse
}

/// `out = x * factor * (weight + offset)`.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn scale(out: &mut [f32], x: &[f32], weight: &[f32], factor: f32, offset: f32) {
    for ((o, v), w) in out.iter_mut().zip(x).zip(weight) {
        *o = v * factor * (w + offset);
    }
}

/// Layer norm of one row: `out = (x - mean) / sqrt(var + eps) * weight + bias`. Returns `(mean, 1/deviation)`.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
pub(crate) fn layer_norm(out: &mut [f32], x: &[f32], weight: &[f32], bias: &[f32], eps: f32) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = sum_of(x, |v| v) / n;
    let variance = sum_of(x, |v| (v - mean) * (v - mean)) / n;
    let inverse = 1.0 / (variance + eps).sqrt();
    for (((o, v), w), b) in out.iter_mut().zip(x).zip(weight).zip(bias) {
        *o = (v - mean) * inverse * w + b;
    }
    (mean, inverse)
}

/// Σ f(x_i), in lanes.
#[inline(always)]
fn sum_of(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let tail: f32 = chunks.remainder().iter().map(|v| f(*v)).sum();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += f(chunk[i]);
        }
    }
    lanes.iter().sum::<f32>() + tail
}

/// `activation(gate) * up`, in place of `gate`; without `up` just the activation.
pub(crate) fn activate(kind: Activation, gate: &mut [f32], up: Option<&[f32]>) {
    match (kind, up) {
        (Activation::Silu, Some(up)) => gated_silu(gate, up),
        (Activation::Gelu, None) => gelu(gate),
        (kind, Some(up)) => gate.iter_mut().zip(up).for_each(|(g, u)| *g = value_and_slope(kind, *g).0 * u),
        (kind, None) => gate.iter_mut().for_each(|g| *g = value_and_slope(kind, *g).0),
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn gated_silu(gate: &mut [f32], up: &[f32]) {
    for (g, u) in gate.iter_mut().zip(up) {
        *g = *g * sigmoid(*g) * u;
    }
}

/// The exact GELU in place, without a call for each number.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn gelu(x: &mut [f32]) {
    for v in x {
        *v *= 0.5 * (1.0 + erf(*v * std::f32::consts::FRAC_1_SQRT_2));
    }
}

/// Gradient of [`activate`]: given `gate` and the gradient of the result, `d_gate`, and `d_up` where there is an `up`.
pub(crate) fn activate_backward(
    kind: Activation,
    gate: &[f32],
    grad: &[f32],
    d_gate: &mut [f32],
    up: Option<(&[f32], &mut [f32])>,
) {
    match up {
        Some((up, d_up)) if kind == Activation::Silu => gated_silu_backward(gate, up, grad, d_gate, d_up),
        Some((up, d_up)) => {
            for i in 0..gate.len() {
                let (value, slope) = value_and_slope(kind, gate[i]);
                (d_up[i], d_gate[i]) = (grad[i] * value, grad[i] * up[i] * slope);
            }
        }
        None => {
            for ((d, g), x) in d_gate.iter_mut().zip(grad).zip(gate) {
                *d = g * value_and_slope(kind, *x).1;
            }
        }
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn gated_silu_backward(gate: &[f32], up: &[f32], grad: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
    for i in 0..gate.len().min(up.len()).min(grad.len()).min(d_gate.len()).min(d_up.len()) {
        let s = sigmoid(gate[i]);
        d_up[i] = grad[i] * gate[i] * s;
        d_gate[i] = grad[i] * up[i] * s * (1.0 + gate[i] * (1.0 - s));
    }
}

/// An activation and its derivative at `x`.
fn value_and_slope(kind: Activation, x: f32) -> (f32, f32) {
    match kind {
        Activation::Silu => {
            let s = sigmoid(x);
            (x * s, s * (1.0 + x * (1.0 - s)))
        }
        Activation::Gelu => {
            let below = 0.5 * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2));
            let density = 0.398_942_3 * (-0.5 * x * x).exp();
            (x * below, below + x * density)
        }
        Activation::GeluTanh => {
            const C: f32 = 0.797_884_6; // √(2/π)
            let t = (C * (x + 0.044_715 * x * x * x)).tanh();
            let inner = C * (1.0 + 3.0 * 0.044_715 * x * x);
            (0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner)
        }
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `e^x` to about 2 units in the last place, branch-free so that loops over it vectorise (Cephes' `expf` polynomial).
/// Arguments are clamped to ±87, inside the range of normal numbers.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 87.0);
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer without a library call. The sum's lowest bits are that
    // integer: a cast, which must saturate, would be done number by number where vectors have no such instruction.
    let shifted = x * std::f32::consts::LOG2_E + 12_582_912.0;
    let n = shifted - 12_582_912.0;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let p = 1.987_569_2e-4f32;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_6e-1;
    let p = p * r + 0.5;
    let y = p * r * r + r + 1.0;
    y * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

/// The error function to about 5e-7, branch-free (Abramowitz & Stegun 1964, 7.1.26).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let size = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * size);
    let p = 1.061_405_4f32;
    let p = p * t - 1.453_152;
    let p = p * t + 1.421_413_7;
    let p = p * t - 0.284_496_74;
    let p = p * t + 0.254_829_6;
    (1.0 - p * t * exp(-size * size)).copysign(x)
}

/// The largest of `x`, in lanes: one chain of comparisons waits for each.
#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = if chunk[i] > lanes[i] { chunk[i] } else { lanes[i] };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |m, v| m.max(*v))
}

/// Index of the largest of `x`, the first of equals.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
pub(crate) fn argmax(x: &[f32]) -> usize {
    let max = largest(x);
    x.iter().position(|v| *v == max).unwrap_or(0)
}

/// Replaces `x` by `e^(x - max x)` and returns `(max, Σ e^(x - max))`.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
pub(crate) fn exp_shifted(x: &mut [f32]) -> (f32, f32) {
    let max = largest(x);
    let mut lanes = [0f32; LANES];
    let mut chunks = x.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for i in 0..LANES {
            chunk[i] = exp(chunk[i] - max);
            lanes[i] += chunk[i];
        }
    }
    let mut sum: f32 = lanes.iter().sum();
    let rest = chunks.into_remainder();
    if !rest.is_empty() {
        // Through a whole chunk: one number at a time would cost as much as all the others.
        let mut last = [0f32; LANES];
        last[..rest.len()].copy_from_slice(rest);
        last.iter_mut().for_each(|v| *v = exp(*v - max));
        rest.copy_from_slice(&last[..rest.len()]);
        rest.iter().for_each(|v| sum += *v);
    }
    (max, sum)
}

/// What [`exp_shifted`] returns, to the bit, for an `x` that stays.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
pub(crate) fn sum_exp(x: &[f32]) -> (f32, f32) {
    let max = largest(x);
    let mut lanes = [0f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += exp(chunk[i] - max);
        }
    }
    let sum: f32 = lanes.iter().sum();
    (max, rest.iter().fold(sum, |sum, v| sum + exp(*v - max)))
}

/// Σ x in double precision.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
pub(crate) fn total(x: &[f32]) -> f64 {
    let mut lanes = [0f64; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += f64::from(chunk[i]);
        }
    }
    lanes.iter().copied().chain(rest.iter().map(|v| f64::from(*v))).sum()
}

/// Replaces `x` by `factor` · e^(x − shift).
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
pub(crate) fn scaled_exp(x: &mut [f32], shift: f32, factor: f32) {
    x.iter_mut().for_each(|v| *v = factor * exp(*v - shift));
}

/// Softmax of one row in place; returns log Σ e^x.
pub(crate) fn softmax(x: &mut [f32]) -> f32 {
    let (max, sum) = exp_shifted(x);
    let inverse = 1.0 / sum;
    x.iter_mut().for_each(|v| *v *= inverse);
    max + sum.ln()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{
        Activation, View, ViewMut, activate, dot, erf, exp, exp_shifted, layer_norm, matmul, softmax, sum_exp, total,
    };

    pub(crate) fn noise(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    #[test]
    fn exp_agrees_with_double_precision() {
        for i in -8600..8600 {
            let x = i as f32 / 100.0;
            let reference = f64::from(x).exp();
            assert!((f64::from(exp(x)) / reference - 1.0).abs() < 4e-7, "exp({x})");
        }
    }

    #[test]
    fn gelu_and_erf_agree_with_double_precision() {
        for i in -8000..8000 {
            let x = i as f32 / 1000.0;
            assert!((f64::from(erf(x)) - libm::erf(f64::from(x))).abs() < 6e-7, "erf({x})");
            let mut value = [x];
            activate(Activation::Gelu, &mut value, None);
            let exact = 0.5 * f64::from(x) * (1.0 + libm::erf(f64::from(x) / std::f64::consts::SQRT_2));
            assert!((f64::from(value[0]) - exact).abs() < 1e-6, "gelu({x}) = {}", value[0]);
        }
    }

    #[test]
    fn layer_norm_agrees_with_double_precision_on_odd_sizes() {
        for n in [2, 15, 16, 33, 384] {
            let (x, w, b) = (noise(n, 6), noise(n, 7), noise(n, 8));
            let mut out = vec![0f32; n];
            layer_norm(&mut out, &x, &w, &b, 1e-5);
            let mean = x.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64;
            let variance = x.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n as f64;
            for i in 0..n {
                let want = (f64::from(x[i]) - mean) / (variance + 1e-5).sqrt() * f64::from(w[i]) + f64::from(b[i]);
                assert!((f64::from(out[i]) - want).abs() < 1e-5, "{n}, {i}");
            }
        }
    }

    #[test]
    fn matmul_agrees_with_double_precision_on_odd_sizes() {
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (17, 33, 65), (1, 130, 31), (64, 1, 9)] {
            let (a, b) = (noise(m * k, 1), noise(k * n, 2));
            for accumulate in [false, true] {
                let mut out = noise(m * n, 3);
                let start = out.clone();
                matmul(ViewMut::new(&mut out, m, n), accumulate, 0.5, View::new(&a, m, k), View::new(&b, n, k).t());
                for r in 0..m {
                    for c in 0..n {
                        let sum: f64 = (0..k).map(|i| f64::from(a[r * k + i]) * f64::from(b[c * k + i])).sum();
                        let want = 0.5 * sum + if accumulate { f64::from(start[r * n + c]) } else { 0.0 };
                        assert!((f64::from(out[r * n + c]) - want).abs() < 1e-5);
                    }
                }
            }
        }
    }

    #[test]
    fn dot_and_softmax_agree_with_double_precision_on_odd_sizes() {
        for n in [1, 15, 16, 17, 63, 1000] {
            let (a, b) = (noise(n, 4), noise(n, 5));
            let want: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            assert!((f64::from(dot(&a, &b)) - want).abs() < 1e-4);
            let mut p: Vec<f32> = a.iter().map(|v| v * 20.0).collect();
            assert_eq!(sum_exp(&p), exp_shifted(&mut p.clone()));
            let sum: f64 = p.iter().map(|v| f64::from(*v).exp()).sum();
            let log_sum = softmax(&mut p);
            assert!((f64::from(log_sum) - sum.ln()).abs() < 1e-5);
            assert!((total(&a) - a.iter().map(|v| f64::from(*v)).sum::<f64>()).abs() < 1e-12);
            assert!((p.iter().map(|v| f64::from(*v)).sum::<f64>() - 1.0).abs() < 1e-5);
        }
    }
}
