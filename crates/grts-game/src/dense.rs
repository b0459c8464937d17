//! The loops in which the solution of a matrix game spends its time, and sums that do not round.
//!
//! Everything is a chain of fused multiply-adds in a fixed order, whatever the width of the processor's vectors, so that
//! a result repeats to the bit with AVX2 and AVX-512. Blocked products are not here: no solver of this crate needs one.

use multiversion::multiversion;

/// A weight and the vector that it multiplies.
pub(crate) type Term<'a> = (f64, &'a [f64]);

/// out += Σ weight · vector. Vectors are at least as long as `out`.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
pub(crate) fn combine(out: &mut [f64], terms: &[Term<'_>]) {
    let n = out.len();
    let mut fours = terms.chunks_exact(4);
    for four in &mut fours {
        // Four at a time: `out` is read and written once for them all.
        let [(a, x), (b, y), (c, z), (d, w)] = [four[0], four[1], four[2], four[3]];
        let (x, y, z, w) = (&x[..n], &y[..n], &z[..n], &w[..n]);
        for at in 0..n {
            let sum = y[at].mul_add(b, x[at].mul_add(a, out[at]));
            out[at] = w[at].mul_add(d, z[at].mul_add(c, sum));
        }
    }
    for &(weight, vector) in fours.remainder() {
        out.iter_mut().zip(vector).for_each(|(sum, value)| *sum = value.mul_add(weight, *sum));
    }
}

/// Σ aᵢ bᵢ in sixteen chains.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
pub(crate) fn product(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 16;
    let mut chains = [0.0_f64; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_blocks.remainder().iter().zip(b_blocks.remainder());
    let rest = rest.fold(0.0_f64, |sum, (x, y)| x.mul_add(*y, sum));
    for (x, y) in a_blocks.zip(b_blocks) {
        for lane in 0..LANES {
            chains[lane] = x[lane].mul_add(y[lane], chains[lane]);
        }
    }
    chains.iter().sum::<f64>() + rest
}

/// Sums of products whose rounding errors are kept beside them (Dot2 of Ogita, Rump & Oishi 2005): as if computed with
/// twice the digits and rounded once.
#[derive(Debug, Clone)]
pub(crate) struct ExactSums {
    sums: Vec<f64>,
    errors: Vec<f64>,
}

impl ExactSums {
    /// One sum for each value of `start`.
    pub(crate) fn from(start: Vec<f64>) -> Self {
        Self { errors: vec![0.0; start.len()], sums: start }
    }

    /// Adds weight · vector, whose length is the number of sums.
    pub(crate) fn add(&mut self, weight: f64, vector: &[f64]) {
        accumulate(&mut self.sums, &mut self.errors, weight, vector);
    }

    /// The sums, rounded.
    pub(crate) fn rounded(mut self) -> Vec<f64> {
        self.sums.iter_mut().zip(&self.errors).for_each(|(sum, error)| *sum += error);
        self.sums
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn accumulate(sums: &mut [f64], errors: &mut [f64], weight: f64, vector: &[f64]) {
    for ((sum, error), &value) in sums.iter_mut().zip(errors).zip(vector) {
        let term = weight * value;
        let lost_in_term = weight.mul_add(value, -term);
        let total = *sum + term;
        let added = total - *sum;
        let lost_in_sum = (*sum - (total - added)) + (term - added);
        *error += lost_in_term + lost_in_sum;
        *sum = total;
    }
}

/// Σ aᵢ bᵢ as by [`ExactSums`].
pub(crate) fn exact_product(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 8;
    let (mut sums, mut errors) = ([0.0; LANES], [0.0; LANES]);
    pairwise(&mut sums, &mut errors, a, b);
    let mut total = ExactSums::from(vec![0.0]);
    sums.iter().chain(&errors).for_each(|&part| total.add(1.0, &[part]));
    total.rounded()[0]
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn pairwise(sums: &mut [f64; 8], errors: &mut [f64; 8], a: &[f64], b: &[f64]) {
    for (x, y) in a.chunks(8).zip(b.chunks(8)) {
        for lane in 0..x.len() {
            let term = x[lane] * y[lane];
            let lost_in_term = x[lane].mul_add(y[lane], -term);
            let total = sums[lane] + term;
            let added = total - sums[lane];
            errors[lane] += lost_in_term + ((sums[lane] - (total - added)) + (term - added));
            sums[lane] = total;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ExactSums, combine, exact_product, product};

    /// Integers, whose products and sums are exact in any order.
    fn integers(n: usize, seed: u64) -> Vec<f64> {
        (0..n as u64).map(|i| ((i * 7919 + seed * 104_729) % 1013) as f64 - 506.0).collect()
    }

    #[test]
    fn agree_with_integer_arithmetic_at_every_length() {
        for n in 0..70 {
            let vectors: Vec<Vec<f64>> = (0..7).map(|seed| integers(n, seed)).collect();
            let terms: Vec<_> = vectors.iter().enumerate().map(|(k, v)| (k as f64 - 3.0, v.as_slice())).collect();
            let mut out = integers(n, 9);
            combine(&mut out, &terms);
            let wanted: Vec<f64> = (0..n)
                .map(|at| integers(n, 9)[at] + (0..7).map(|k| (k as f64 - 3.0) * vectors[k][at]).sum::<f64>())
                .collect();
            assert_eq!(out, wanted);
            let wanted: f64 = vectors[1].iter().zip(&vectors[2]).map(|(x, y)| x * y).sum();
            assert_eq!(product(&vectors[1], &vectors[2]), wanted);
            assert_eq!(exact_product(&vectors[1], &vectors[2]), wanted);
        }
    }

    #[test]
    fn exact_sums_survive_cancellation() {
        let (a, b) = ([1e16, 1.0, -1e16, 1e-17], [1.0, 1.0 / 3.0, 1.0, 1.0]);
        assert_eq!(exact_product(&a, &b), 1.0 / 3.0 + 1e-17);
        let mut sums = ExactSums::from(vec![1.0 / 3.0]);
        for x in [1e16, -1e16, 1e-17] {
            sums.add(x, &[1.0]);
        }
        assert_eq!(sums.rounded(), [1.0 / 3.0 + 1e-17]);
    }
}
