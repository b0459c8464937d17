//! The parametric simplex method once more, on a whole tableau in double-double arithmetic.
//!
//! Where a support is singular to double precision (near copies of rows, a Hilbert matrix with alternating signs), the
//! inverse that `path` keeps has no right digit, and refinement nothing to converge with. Here every number has twice the
//! digits. A pivot costs rows × columns such operations, more than `path` needs by far, so only games that it leaves come
//! here, and no inverse is kept: the tableau is short, and its border is both strategies.
//!
//! With v the value, q blue's weights, s red's regrets and Σ the sum of blue's weights, [Σ; s] = [[0, 1ᵀ], [1, −A]] [v; q].
//! Exchanging a variable on the left for one on the right, v for Σ above all, keeps the numbers of all rows in the column
//! of Σ and those of all columns in the row of v: weights in the basis, regrets outside, none negative at an equilibrium.

use super::double_double::{DoubleDouble, combine};
use crate::Matrix;
use crate::stream::{StreamKey, unit};

/// Numbers above minus this are not negative, and pivots below it are rounding. Payoffs are in [0, 1].
const ZERO: f64 = 1e-18;
const SMALLEST_PIVOT: f64 = 1e-22;

/// What a line of the tableau stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Value,
    Sum,
    Row(usize),
    Col(usize),
    Shift,
}

/// A line whose number may reach 0.
#[derive(Debug, Clone, Copy)]
enum Line {
    Row(usize),
    Col(usize),
}

/// The tableau, with a row and a column of shifts at its ends.
pub(super) struct Tableau {
    table: Vec<DoubleDouble>,
    rows: Vec<Name>,
    cols: Vec<Name>,
    value: usize, // row of v
    sum: usize,   // column of Σ
}

impl Tableau {
    /// At the basis of `rows` and `cols`, as far as it is one; neither may be empty.
    pub(super) fn at(unit: &Matrix, rows: &[usize], cols: &[usize]) -> Self {
        let row_names = std::iter::once(Name::Sum).chain((0..unit.rows()).map(Name::Row)).chain([Name::Shift]);
        let col_names = std::iter::once(Name::Value).chain((0..unit.cols()).map(Name::Col)).chain([Name::Shift]);
        let (row_names, col_names): (Vec<Name>, Vec<Name>) = (row_names.collect(), col_names.collect());
        let entry = |row: Name, col: Name| match (row, col) {
            (Name::Sum, Name::Col(_)) | (Name::Row(_), Name::Value) => 1.0,
            (Name::Row(row), Name::Col(col)) => -unit.get(row, col),
            _ => 0.0,
        };
        let table =
            row_names.iter().flat_map(|&row| col_names.iter().map(move |&col| entry(row, col).into())).collect();
        let mut tableau = Self { table, rows: row_names, cols: col_names, value: rows[0] + 1, sum: cols[0] + 1 };
        tableau.exchange(0, tableau.sum);
        tableau.exchange(tableau.value, 0);
        let others = |members: &[usize]| members[1..].iter().map(|idx| idx + 1).collect::<Vec<_>>();
        let (mut rows, mut cols) = (others(rows), others(cols));
        while let Some((row, col)) = tableau.largest(&rows, &cols) {
            tableau.exchange(row, col);
            rows.retain(|&other| other != row);
            cols.retain(|&other| other != col);
        }
        tableau
    }

    /// Rows and columns in the basis.
    pub(super) fn members(&self) -> (Vec<usize>, Vec<usize>) {
        let rows = self.cols.iter().filter_map(|name| if let Name::Row(row) = name { Some(*row) } else { None });
        let cols = self.rows.iter().filter_map(|name| if let Name::Col(col) = name { Some(*col) } else { None });
        (rows.collect(), cols.collect())
    }

    /// Weights of all rows and columns; they may be negative while there is a violation.
    pub(super) fn strategies(&self) -> (Vec<f64>, Vec<f64>) {
        let (mut row, mut col) = (vec![0.0; self.rows.len() - 2], vec![0.0; self.cols.len() - 2]);
        for (at, name) in self.cols.iter().enumerate() {
            if let Name::Row(idx) = name {
                row[*idx] = self.get(self.value, at).rounded();
            }
        }
        for (at, name) in self.rows.iter().enumerate() {
            if let Name::Col(idx) = name {
                col[*idx] = self.get(at, self.sum).rounded();
            }
        }
        (row, col)
    }

    /// Pivots until nothing is violated. Attempts differ in their shifts. Returns the number of pivots.
    pub(super) fn walk(&mut self, attempt: u32, max_pivots: usize) -> usize {
        self.draw_shifts(attempt);
        (0..max_pivots).take_while(|_| self.pivot()).count()
    }

    fn get(&self, row: usize, col: usize) -> DoubleDouble {
        self.table[row * self.cols.len() + col]
    }

    /// The pair of a row and a column whose element is largest, unless it is rounding.
    fn largest(&self, rows: &[usize], cols: &[usize]) -> Option<(usize, usize)> {
        let pairs = rows.iter().flat_map(|&row| cols.iter().map(move |&col| (row, col)));
        let size = |&(row, col): &(usize, usize)| self.get(row, col).rounded().abs();
        pairs.max_by(|a, b| size(a).total_cmp(&size(b))).filter(|pair| size(pair) > SMALLEST_PIVOT)
    }

    fn draw_shifts(&mut self, attempt: u32) {
        let key = StreamKey { seed: 0, iteration: attempt, purpose: 1, entry: 0, episode: 0, turn: 0 };
        let mut rng = key.rng();
        let mut shift = |number: DoubleDouble| (-number.rounded()).max(0.0) + 0.5 + unit(&mut rng);
        let (width, last_row, last_col) = (self.cols.len(), self.rows.len() - 1, self.cols.len() - 1);
        for row in 0..last_row {
            self.table[row * width + last_col] = shift(self.get(row, self.sum)).into();
        }
        for col in 0..last_col {
            self.table[last_row * width + col] = shift(self.get(self.value, col)).into();
        }
    }

    /// Number and shift of a row.
    fn of_row(&self, row: usize) -> (DoubleDouble, DoubleDouble) {
        (self.get(row, self.sum), self.get(row, self.cols.len() - 1))
    }

    /// Number and shift of a column.
    fn of_col(&self, col: usize) -> (DoubleDouble, DoubleDouble) {
        (self.get(self.value, col), self.get(self.rows.len() - 1, col))
    }

    /// Rows that stand for weights and regrets.
    fn inner_rows(&self) -> impl Iterator<Item = usize> {
        let value = self.value;
        (0..self.rows.len() - 1).filter(move |&row| row != value)
    }

    fn inner_cols(&self) -> impl Iterator<Item = usize> {
        let sum = self.sum;
        (0..self.cols.len() - 1).filter(move |&col| col != sum)
    }

    /// One pivot on what is violated most; `false` if nothing is, or nothing gives way.
    fn pivot(&mut self) -> bool {
        let (mut mu, mut worst) = (DoubleDouble::from(0.0), None);
        let mut look = |line: Line, (number, shift): (DoubleDouble, DoubleDouble)| {
            if number.rounded() < -ZERO && shift.rounded() > 0.0 && number.plus(mu, shift).rounded() < 0.0 {
                (mu, worst) = (-number / shift, Some(line));
            }
        };
        self.inner_rows().for_each(|row| look(Line::Row(row), self.of_row(row)));
        self.inner_cols().for_each(|col| look(Line::Col(col), self.of_col(col)));
        let place = worst.and_then(|line| match line {
            Line::Row(row) => {
                let lines = self.inner_cols().map(|col| (col, self.get(row, col), self.of_col(col)));
                first_to_vanish(lines, mu).map(|col| (row, col))
            }
            Line::Col(col) => {
                let lines = self.inner_rows().map(|row| (row, -self.get(row, col), self.of_row(row)));
                first_to_vanish(lines, mu).map(|row| (row, col))
            }
        });
        if let Some((row, col)) = place {
            self.exchange(row, col);
        }
        place.is_some()
    }

    /// The variables of a row and a column change sides.
    fn exchange(&mut self, row: usize, col: usize) {
        let width = self.cols.len();
        let pivot = self.get(row, col);
        let mut lead: Vec<DoubleDouble> =
            self.table[row * width..][..width].iter().map(|&value| -value / pivot).collect();
        lead[col] = DoubleDouble::from(1.0) / pivot;
        for (other, values) in self.table.chunks_exact_mut(width).enumerate() {
            if other == row {
                values.copy_from_slice(&lead);
            } else {
                let weight = std::mem::take(&mut values[col]);
                combine(values, weight, &lead);
            }
        }
        std::mem::swap(&mut self.rows[row], &mut self.cols[col]);
    }
}

/// Of lines with their speeds, numbers and shifts, the one whose number falls to 0 first.
fn first_to_vanish(
    lines: impl Iterator<Item = (usize, DoubleDouble, (DoubleDouble, DoubleDouble))>,
    mu: DoubleDouble,
) -> Option<usize> {
    let (mut least, mut found) = (f64::INFINITY, None);
    for (line, speed, (number, shift)) in lines.filter(|(_, speed, _)| speed.rounded() > SMALLEST_PIVOT) {
        let ratio = (number.plus(mu, shift) / speed).rounded().max(0.0);
        if ratio < least {
            (least, found) = (ratio, Some(line));
        }
    }
    found
}
