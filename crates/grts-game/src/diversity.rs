//! How many different things a set contains, and how far a new one lies from it.
//!
//! Only measures of finished kernels and vectors live here; who computes them (payoff rows, embeddings) is not this crate's
//! business. None is a payoff: a response may be told to be different, but what it is worth is measured without that.

use crate::matrix::dot;
use crate::{GameError, Matrix};
use nalgebra::DMatrix;

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
    Ok(Spectrum::of_kernel(kernel)?.vendi(1.0))
}

/// The eigenvalues of a kernel, from which every measure here that counts different items follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrum {
    items: usize,
    /// λ/n, those that rounding makes negative left out.
    shares: Vec<f64>,
}

impl Spectrum {
    /// Of a kernel as [`vendi_score`] wants it.
    ///
    /// # Errors
    /// Those of [`vendi_score`].
    pub fn of_kernel(kernel: &Matrix) -> Result<Self, GameError> {
        check_kernel(kernel)?;
        let n = kernel.rows();
        Ok(Self::of(DMatrix::from_row_slice(n, n, kernel.as_slice()), n))
    }

    /// Of the cosine kernel of `rows`, `items × features`, each of unit length: from the products of items or of features,
    /// whichever are fewer, since their eigenvalues are the same but for zeros.
    ///
    /// # Errors
    /// A row is not of unit length.
    pub fn of_rows(rows: &Matrix) -> Result<Self, GameError> {
        for row in 0..rows.rows() {
            let length = dot(rows.row(row), rows.row(row));
            if (length - 1.0).abs() > KERNEL_TOLERANCE {
                let (place, allowed) = (format!("squared length of row {row}"), "1".to_owned());
                return Err(GameError::Value { place, value: length, allowed });
            }
        }
        let items = DMatrix::from_row_slice(rows.rows(), rows.cols(), rows.as_slice());
        let products = if rows.rows() <= rows.cols() { &items * items.transpose() } else { items.transpose() * &items };
        Ok(Self::of(products, rows.rows()))
    }

    fn of(kernel: DMatrix<f64>, items: usize) -> Self {
        let eigenvalues = kernel.symmetric_eigenvalues();
        let shares = eigenvalues.iter().map(|lambda| lambda / items as f64).filter(|&share| share > 0.0);
        Self { items, shares: shares.collect() }
    }

    /// Vendi score of `order` q ≥ 0: exp(ln(Σ λ^q)/(1 − q)) (Pasarkar & Dieng 2024), at 1 exp(−Σ λ ln λ), at infinity
    /// 1/max λ. The larger q, the less do rare items count.
    pub fn vendi(&self, order: f64) -> f64 {
        let shares = self.shares.iter();
        if order == 1.0 {
            (-shares.map(|share| share * share.ln()).sum::<f64>()).exp()
        } else if order.is_infinite() {
            1.0 / shares.copied().fold(0.0, f64::max)
        } else {
            (shares.map(|share| share.powf(order)).sum::<f64>().ln() / (1.0 - order)).exp()
        }
    }

    /// [`expected_cardinality`] of the items, from n/(n+1) for items of one kind to n/2 for items at right angles.
    pub fn expected_cardinality(&self) -> f64 {
        self.shares.iter().map(|share| self.items as f64 * share).map(|lambda| lambda / (1.0 + lambda)).sum()
    }
}

/// Expected cardinality Tr(I − (L + I)⁻¹) of the determinantal point process with kernel L = M Mᵀ, M the rows at unit
/// length (Perez-Nieves et al. 2021): n/2 for n
/// rows at right angles, below 1 for rows of one direction.
///
/// `rows` is `policies × features`; a row of zeros adds nothing.
pub fn expected_cardinality(rows: &Matrix) -> f64 {
    let length = |row: usize| dot(rows.row(row), rows.row(row)).sqrt();
    let scales: Vec<f64> = (0..rows.rows()).map(length).map(|l| if l > 0.0 { 1.0 / l } else { 0.0 }).collect();
    let n = rows.rows();
    cardinality(DMatrix::from_fn(n, n, |i, j| scales[i] * scales[j] * dot(rows.row(i), rows.row(j))))
}

/// [`expected_cardinality`] of items that are known by their products alone, `kernel` n × n, of which one half is read.
/// Eigenvalues below 0, which a kernel that was estimated may have, count as 0.
///
/// # Errors
/// The kernel is not square.
pub fn kernel_cardinality(kernel: &Matrix) -> Result<f64, GameError> {
    check_square(kernel)?;
    Ok(cardinality(DMatrix::from_row_slice(kernel.rows(), kernel.rows(), kernel.as_slice())))
}

fn cardinality(kernel: DMatrix<f64>) -> f64 {
    kernel.symmetric_eigenvalues().iter().map(|lambda| lambda.max(0.0) / (1.0 + lambda.max(0.0))).sum()
}

/// What one more item adds to log det(I + L) of a set with kernel L = Φ Φᵀ: log(2 − kᵀ(L + I)⁻¹k), k the products with the
/// set, for an item of unit length (Kulesza & Taskar 2012): from ln 2 at right angles to the set down towards 0 in it.
#[derive(Debug, Clone)]
pub struct LogDetGain {
    /// ΦᵀΦ + I: the same gain is log(1 + xᵀ(ΦᵀΦ + I)⁻¹x), whose size does not grow with the set.
    products: nalgebra::Cholesky<f64, nalgebra::Dyn>,
}

impl LogDetGain {
    /// Of the set of `rows`, `items × features`.
    ///
    /// # Errors
    /// Rows so long that their products overflow.
    pub fn new(rows: &Matrix) -> Result<Self, GameError> {
        let items = DMatrix::from_row_slice(rows.rows(), rows.cols(), rows.as_slice());
        let products = items.transpose() * &items + DMatrix::identity(rows.cols(), rows.cols());
        let trace = products.trace();
        let error = || GameError::Value {
            place: "squared lengths of a set".to_owned(),
            value: trace,
            allowed: "finite".to_owned(),
        };
        Ok(Self { products: products.cholesky().ok_or_else(error)? })
    }

    /// The gain of an item of unit length with the features of the set.
    pub fn of(&self, item: &[f64]) -> f64 {
        let item = nalgebra::DVector::from_column_slice(item);
        (1.0 + item.dot(&self.products.solve(&item))).ln()
    }
}

/// Squared distance min_β ‖βᵀ A − b‖² of a point from the convex hull of the rows of A (Liu et al. 2021): 0 for anything
/// that a mixture of the rows already does.
///
/// # Errors
/// `point` does not have the columns of `rows`.
pub fn hull_distance(rows: &Matrix, point: &[f64]) -> Result<f64, GameError> {
    Ok(nearest_in_hull(rows, point)?.0)
}

/// [`hull_distance`], and the mixture β of the rows that comes nearest.
///
/// Accelerated projected gradient (Beck & Teboulle 2009) until the duality gap is below 1e-10 of the squared scale.
///
/// # Errors
/// `point` does not have the columns of `rows`.
pub fn nearest_in_hull(rows: &Matrix, point: &[f64]) -> Result<(f64, Vec<f64>), GameError> {
    if point.len() != rows.cols() {
        let place = "point beside a hull".to_owned();
        return Err(GameError::Shape { place, expected: rows.cols(), found: point.len() });
    }
    let n = rows.rows();
    // Seen from the point: the hull's nearest vector to 0.
    let seen = Matrix::from_fn(n, point.len(), |row, col| rows.get(row, col) - point[col])?;
    let curvature: f64 = dot(seen.as_slice(), seen.as_slice());
    let (mut weights, mut ahead, mut momentum) = (vec![1.0 / n as f64; n], vec![1.0 / n as f64; n], 1.0_f64);
    for _ in 0..MOST_STEPS {
        let nearest = seen.vec_mul(&weights);
        let slopes = seen.mul_vec(&nearest);
        let gap = dot(&nearest, &nearest) - slopes.iter().copied().fold(f64::INFINITY, f64::min);
        if gap <= HULL_GAP * curvature / n as f64 {
            break;
        }
        let slopes = seen.mul_vec(&seen.vec_mul(&ahead));
        let moved: Vec<f64> = ahead.iter().zip(&slopes).map(|(weight, slope)| weight - slope / curvature).collect();
        let next = onto_simplex(&moved);
        let faster = (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt()) / 2.0;
        let push = (momentum - 1.0) / faster;
        ahead = next.iter().zip(&weights).map(|(new, old)| new + push * (new - old)).collect();
        (weights, momentum) = (next, faster);
    }
    let nearest = seen.vec_mul(&weights);
    Ok((dot(&nearest, &nearest), weights))
}

/// Steps after which the distance is taken as it is, and the duality gap that ends them earlier.
const MOST_STEPS: usize = 2000;
const HULL_GAP: f64 = 1e-10;

/// The nearest distribution (Held, Wolfe & Crowder 1974).
fn onto_simplex(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let (mut sum, mut shift) = (0.0, 0.0);
    for (count, value) in sorted.iter().enumerate() {
        sum += value;
        let candidate = (sum - 1.0) / (count + 1) as f64;
        if *value > candidate {
            shift = candidate;
        }
    }
    values.iter().map(|value| (value - shift).max(0.0)).collect()
}

/// Policy-space distance min_k KL(π ‖ π_k) of a distribution from the nearest one of a population (Yao et al. 2023), in
/// nats; infinite where every one of them excludes something that `policy` does or there are none.
pub fn policy_space_distance(policy: &[f64], population: &[Vec<f64>]) -> f64 {
    let term = |p: f64, q: f64| if p > 0.0 { p * (p / q).ln() } else { 0.0 };
    let divergence = |other: &Vec<f64>| policy.iter().zip(other).map(|(&p, &q)| term(p, q)).sum::<f64>();
    population.iter().map(divergence).fold(f64::INFINITY, f64::min)
}

fn check_square(kernel: &Matrix) -> Result<(), GameError> {
    if kernel.rows() == kernel.cols() {
        return Ok(());
    }
    let place = "columns of a square kernel".to_owned();
    Err(GameError::Shape { place, expected: kernel.rows(), found: kernel.cols() })
}

fn check_kernel(kernel: &Matrix) -> Result<(), GameError> {
    check_square(kernel)?;
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
    use super::{
        LogDetGain, Spectrum, expected_cardinality, hull_distance, kernel_cardinality, nearest_in_hull,
        policy_space_distance, vendi_score,
    };
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
    fn orders_weigh_rare_items_less_and_less() {
        // Shares 3/4 and 1/4: order 0 counts both, order 2 is 1/(9/16 + 1/16) = 1.6, order ∞ is 4/3.
        let spectrum = Spectrum::of_kernel(&Matrix::from_rows(&[[1.0, 0.5], [0.5, 1.0]]).unwrap()).unwrap();
        for (order, expected) in [(0.0, 2.0), (1.0, 1.754_765_350_603_323), (2.0, 1.6), (f64::INFINITY, 4.0 / 3.0)] {
            assert!((spectrum.vendi(order) - expected).abs() < 1e-12, "order {order}");
        }
        assert!((spectrum.vendi(1.0 + 1e-7) - spectrum.vendi(1.0)).abs() < 1e-6);
        // λ = 1.5 and 0.5.
        assert!((spectrum.expected_cardinality() - (0.6 + 1.0 / 3.0)).abs() < 1e-12);
    }

    #[test]
    fn items_and_features_have_one_spectrum() {
        let unit = |angle: f64| [angle.cos(), angle.sin(), 0.0];
        let angles = [0.0, 0.3, 1.1, 2.5, 2.6];
        let rows = Matrix::from_rows(&angles.map(unit)).unwrap();
        let kernel = Matrix::from_fn(5, 5, |i, j| (angles[i] - angles[j]).cos()).unwrap();
        let (of_features, of_kernel) = (Spectrum::of_rows(&rows).unwrap(), Spectrum::of_kernel(&kernel).unwrap());
        let of_items = Spectrum::of_rows(&Matrix::from_rows(&[unit(0.0), unit(0.3)]).unwrap()).unwrap();
        for order in [1.0, 2.0, f64::INFINITY] {
            assert!((of_features.vendi(order) - of_kernel.vendi(order)).abs() < 1e-9, "order {order}");
        }
        assert!((of_features.expected_cardinality() - expected_cardinality(&rows)).abs() < 1e-9);
        assert!((of_items.vendi(f64::INFINITY) - 2.0 / (1.0 + 0.3_f64.cos())).abs() < 1e-12);
        assert!(Spectrum::of_rows(&Matrix::from_rows(&[[0.5, 0.5]]).unwrap()).is_err());
    }

    #[test]
    fn two_clusters_count_two() {
        let kernel = Matrix::from_fn(6, 6, |i, j| if i / 3 == j / 3 { 1.0 } else { 0.0 }).unwrap();
        assert!((vendi_score(&kernel).unwrap() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn cardinality_counts_directions() {
        // Tr(I − (L + I)⁻¹): one direction n times gives n/(n+1), n directions n/2.
        for n in [1, 3, 8] {
            let same = Matrix::from_fn(n, 2, |row, _| 1.0 + row as f64).unwrap();
            let apart = Matrix::from_fn(n, n, |i, j| if i == j { 5.0 } else { 0.0 }).unwrap();
            assert!((expected_cardinality(&same) - n as f64 / (n as f64 + 1.0)).abs() < 1e-12);
            assert!((expected_cardinality(&apart) - n as f64 / 2.0).abs() < 1e-12);
        }
        assert_eq!(expected_cardinality(&Matrix::from_rows(&[[0.0, 0.0]]).unwrap()), 0.0);
        // λ = 1 + 1.2 and 1 − 1.2: products that no rows have.
        let estimated = Matrix::from_rows(&[[1.0, 1.2], [1.2, 1.0]]).unwrap();
        assert!((kernel_cardinality(&estimated).unwrap() - 2.2 / 3.2).abs() < 1e-12);
        assert!(kernel_cardinality(&Matrix::from_rows(&[[1.0, 0.0]]).unwrap()).is_err());
    }

    #[test]
    fn a_gain_is_the_difference_of_two_determinants() {
        let unit = |angle: f64| [angle.cos(), angle.sin()];
        let angles = [0.1, 0.4, 1.9];
        let log_det = |angles: &[f64]| {
            let n = angles.len();
            let kernel = |i: usize, j: usize| (angles[i] - angles[j]).cos() + if i == j { 1.0 } else { 0.0 };
            nalgebra::DMatrix::from_fn(n, n, kernel).determinant().ln()
        };
        let gain = LogDetGain::new(&Matrix::from_rows(&angles.map(unit)).unwrap()).unwrap();
        for new in [0.1, 1.0, 2.7] {
            let expected = log_det(&[&angles[..], &[new]].concat()) - log_det(&angles);
            assert!((gain.of(&unit(new)) - expected).abs() < 1e-12, "{new}");
        }
    }

    #[test]
    fn distances_from_a_triangle() {
        let triangle = Matrix::from_rows(&[[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]).unwrap();
        for (point, squared) in [
            ([1.0, 1.0], 0.0),
            ([2.0, 2.0], 0.0),
            ([3.0, 3.0], 2.0),
            ([-3.0, 4.0], 9.0),
            ([6.0, -2.0], 8.0),
            ([1.0, -2.0], 4.0),
        ] {
            let found = hull_distance(&triangle, &point).unwrap();
            assert!((found - squared).abs() < 1e-6, "{point:?}: {found}");
        }
        assert!(hull_distance(&triangle, &[0.0]).is_err());
        let (_, weights) = nearest_in_hull(&triangle, &[3.0, 3.0]).unwrap();
        assert!(
            weights.iter().zip([0.0, 0.5, 0.5]).all(|(found, expected)| (found - expected).abs() < 1e-3),
            "{weights:?}"
        );
    }

    #[test]
    fn the_nearest_policy_counts() {
        let population = vec![vec![0.5, 0.5, 0.0], vec![0.1, 0.1, 0.8]];
        assert_eq!(policy_space_distance(&[0.5, 0.5, 0.0], &population), 0.0);
        assert!((policy_space_distance(&[0.0, 0.0, 1.0], &population) - 1.25_f64.ln()).abs() < 1e-12);
        assert_eq!(policy_space_distance(&[1.0, 0.0, 0.0], &[]), f64::INFINITY);
    }

    #[test]
    fn not_a_kernel() {
        for bad in [[[1.0, 0.2], [0.3, 1.0]], [[1.0, 0.0], [0.0, 0.9]]] {
            assert!(vendi_score(&Matrix::from_rows(&bad).unwrap()).is_err());
        }
        assert!(vendi_score(&Matrix::from_rows(&[[1.0, 0.0]]).unwrap()).is_err());
    }
}
