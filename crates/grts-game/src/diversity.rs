//! How many different things a set contains: diversity of a population from its similarity kernel.
//!
//! Only measures of a finished kernel live here; who computes the kernel (payoff rows, embeddings) is not this crate's
//! business.

use crate::{GameError, Matrix};

/// Largest departure from symmetry and from the unit diagonal that is still rounding.
const KERNEL_TOLERANCE: f64 = 1e-6;

/// Vendi score exp(−Σ λ ln λ), λ the eigenvalues of K/n: the effective number of different items, from 1 to n.
///
/// `kernel` is n × n, symmetric, positive semi-definite, with a unit diagonal (Friedman & Dieng 2023; FIELD §3).
/// Eigenvalues that rounding makes negative count as 0.
///
/// # Errors
/// The kernel is not square, not symmetric, or its diagonal is not 1.
pub fn vendi_score(kernel: &Matrix) -> Result<f64, GameError> {
    check_kernel(kernel)?;
    let n = kernel.rows();
    let eigenvalues = nalgebra::DMatrix::from_row_slice(n, n, kernel.as_slice()).symmetric_eigenvalues();
    let shares = eigenvalues.iter().map(|lambda| lambda / n as f64).filter(|&share| share > 0.0);
    Ok((-shares.map(|share| share * share.ln()).sum::<f64>()).exp())
}

fn check_kernel(kernel: &Matrix) -> Result<(), GameError> {
    if kernel.rows() != kernel.cols() {
        let place = "columns of a square kernel".to_owned();
        return Err(GameError::Shape { place, expected: kernel.rows(), found: kernel.cols() });
    }
    for row in 0..kernel.rows() {
        for col in 0..=row {
            let (found, wanted) = (kernel.get(row, col), if row == col { 1.0 } else { kernel.get(col, row) });
            if (found - wanted).abs() > KERNEL_TOLERANCE {
                let (place, allowed) = (format!("kernel entry ({row}, {col})"), format!("{wanted}"));
                return Err(GameError::Value { place, value: found, allowed });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::vendi_score;
    use crate::Matrix;

    #[test]
    fn identical_items_count_once_and_orthogonal_ones_each() {
        for n in [1, 2, 7] {
            let same = Matrix::from_fn(n, n, |_, _| 1.0).unwrap();
            let apart = Matrix::from_fn(n, n, |i, j| if i == j { 1.0 } else { 0.0 }).unwrap();
            assert!((vendi_score(&same).unwrap() - 1.0).abs() < 1e-9);
            assert!((vendi_score(&apart).unwrap() - n as f64).abs() < 1e-9);
        }
    }

    #[test]
    fn two_items_with_half_similarity() {
        // λ = 3/4, 1/4: exp of the entropy 0.5623351446188083.
        let kernel = Matrix::from_rows(&[[1.0, 0.5], [0.5, 1.0]]).unwrap();
        assert!((vendi_score(&kernel).unwrap() - 1.754_765_350_603_323).abs() < 1e-9);
    }

    #[test]
    fn two_clusters_count_two() {
        let kernel = Matrix::from_fn(6, 6, |i, j| if i / 3 == j / 3 { 1.0 } else { 0.0 }).unwrap();
        assert!((vendi_score(&kernel).unwrap() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn not_a_kernel() {
        for bad in [[[1.0, 0.2], [0.3, 1.0]], [[1.0, 0.0], [0.0, 0.9]]] {
            assert!(vendi_score(&Matrix::from_rows(&bad).unwrap()).is_err());
        }
        assert!(vendi_score(&Matrix::from_rows(&[[1.0, 0.0]]).unwrap()).is_err());
    }
}
