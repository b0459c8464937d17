//! A small dense matrix of finite numbers, row-major.
//!
//! Payoffs and kernels pass through it so that a NaN or a ragged row is refused once, with its place, and never reaches
//! a linear program (some of which call NaN strategies optimal). It is no linear-algebra library: what needs one
//! (eigenvalues) hands the data over.

use crate::GameError;

/// `rows × cols` finite values; never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    data: Vec<f64>,
}

impl Matrix {
    /// A matrix from its values in row-major order.
    ///
    /// # Errors
    /// No rows or columns, a wrong number of values, or a value that is not finite (named by row and column).
    pub fn new(rows: usize, cols: usize, data: Vec<f64>) -> Result<Self, GameError> {
        if rows == 0 || cols == 0 {
            return Err(GameError::Empty { what: "matrix" });
        }
        if data.len() != rows * cols {
            let place = format!("matrix of {rows} by {cols}");
            return Err(GameError::Shape { place, expected: rows * cols, found: data.len() });
        }
        match data.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(not_finite(at / cols, at % cols, data[at])),
            None => Ok(Self { rows, cols, data }),
        }
    }

    /// A matrix from its rows.
    ///
    /// # Errors
    /// As [`Matrix::new`]; a ragged row is named.
    pub fn from_rows<Row: AsRef<[f64]>>(rows: &[Row]) -> Result<Self, GameError> {
        let cols = rows.first().map_or(0, |row| row.as_ref().len());
        if let Some((idx, row)) = rows.iter().enumerate().find(|(_, row)| row.as_ref().len() != cols) {
            return Err(GameError::Shape { place: format!("row {idx}"), expected: cols, found: row.as_ref().len() });
        }
        let data = rows.iter().flat_map(|row| row.as_ref().iter().copied()).collect();
        Self::new(rows.len(), cols, data)
    }

    /// A matrix whose entry (row, col) is `value(row, col)`.
    ///
    /// # Errors
    /// As [`Matrix::new`].
    pub fn from_fn(rows: usize, cols: usize, mut value: impl FnMut(usize, usize) -> f64) -> Result<Self, GameError> {
        let entries = (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col)));
        Self::new(rows, cols, entries.map(|(row, col)| value(row, col)).collect())
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The value at (row, col), which must lie inside.
    pub fn get(&self, row: usize, col: usize) -> f64 {
        self.row(row)[col]
    }

    /// One row, `cols` values.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.data[row * self.cols..(row + 1) * self.cols]
    }

    /// All values, row-major.
    pub fn as_slice(&self) -> &[f64] {
        &self.data
    }

    /// Smallest and largest value.
    pub fn range(&self) -> (f64, f64) {
        self.data.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), &x| (lo.min(x), hi.max(x)))
    }

    /// `cols × rows`.
    pub fn transpose(&self) -> Self {
        // By squares that fit the cache: a whole column of a large matrix does not.
        const SIDE: usize = 16;
        let mut data = vec![0.0; self.data.len()];
        for (top, band) in self.data.chunks(SIDE * self.cols).enumerate() {
            for left in (0..self.cols).step_by(SIDE) {
                for (down, values) in band.chunks_exact(self.cols).enumerate() {
                    for (across, &value) in values.iter().enumerate().skip(left).take(SIDE) {
                        data[across * self.rows + top * SIDE + down] = value;
                    }
                }
            }
        }
        Self { rows: self.cols, cols: self.rows, data }
    }

    /// The same shape with `f` applied to every value; `f` must keep finite values finite.
    pub(crate) fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self { rows: self.rows, cols: self.cols, data: self.data.iter().map(|&value| f(value)).collect() }
    }

    /// A x: `rows` values from `cols`.
    pub fn mul_vec(&self, x: &[f64]) -> Vec<f64> {
        debug_assert_eq!(x.len(), self.cols);
        self.data.chunks_exact(self.cols).map(|row| dot(row, x)).collect()
    }

    /// xᵀ A: `cols` values from `rows`.
    pub fn vec_mul(&self, x: &[f64]) -> Vec<f64> {
        debug_assert_eq!(x.len(), self.rows);
        let mut product = vec![0.0; self.cols];
        for (row, &weight) in self.data.chunks_exact(self.cols).zip(x) {
            product.iter_mut().zip(row).for_each(|(sum, &value)| *sum += weight * value);
        }
        product
    }
}

/// Σ aᵢ bᵢ.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn not_finite(row: usize, col: usize, value: f64) -> GameError {
    GameError::Value { place: format!("entry ({row}, {col})"), value, allowed: "a finite number".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::Matrix;

    #[test]
    fn products_and_transpose() {
        let a = Matrix::from_rows(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).unwrap();
        assert_eq!(a.mul_vec(&[1.0, 0.0, -1.0]), [-2.0, -2.0]);
        assert_eq!(a.vec_mul(&[2.0, -1.0]), [-2.0, -1.0, 0.0]);
        assert_eq!(a.transpose().row(2), [3.0, 6.0]);
        assert_eq!(a.range(), (1.0, 6.0));
    }

    #[test]
    fn malformed_input_is_named() {
        let message = |rows: &[Vec<f64>]| Matrix::from_rows(rows).unwrap_err().to_string();
        assert_eq!(message(&[]), "matrix is empty");
        assert_eq!(message(&[vec![]]), "matrix is empty");
        assert_eq!(message(&[vec![1.0], vec![1.0, 2.0]]), "row 1: expected 1 values, found 2");
        assert_eq!(message(&[vec![1.0, 2.0], vec![1.0, f64::NAN]]), "entry (1, 1): `NaN` is not a finite number");
    }
}
