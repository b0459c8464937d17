//! A basis of the matrix game: as many rows as columns that are played, and the inverse of their bordered payoffs.
//!
//! With rows I and columns J, G = [[0, 1ᵀ], [1, A_IJ]] makes the columns of J indifferent for red and the rows of I for
//! blue: both strategies and the value stand in the border of G⁻¹. The inverse is kept whole and updated by one rank-one
//! correction a pivot, because every pivot needs a row and a column of it; a factorisation would save memory that a few
//! hundred policies do not need. Errors that the updates pile up are removed by refinement against exact residuals, and
//! a basis that has gone bad is inverted afresh.

use crate::dense::{ExactSums, Term, combine, product};
use crate::regret::Board;

/// Where the border stands among the members, on both sides.
const BORDER: usize = 0;
/// Position of what is not in the basis.
const OUTSIDE: usize = usize::MAX;
/// Rows or columns in the basis, by position; position 0 is the border.
#[derive(Debug, Clone)]
pub(super) struct Members {
    pub(super) at: Vec<usize>,
    position: Vec<usize>, // of every row or column
}

impl Members {
    fn new(n: usize, members: impl Iterator<Item = usize>) -> Self {
        let mut out = Self { at: vec![OUTSIDE], position: vec![OUTSIDE; n] };
        members.for_each(|idx| out.push(idx));
        out
    }

    /// Without the border.
    pub(super) fn indices(&self) -> &[usize] {
        &self.at[1..]
    }

    pub(super) fn contains(&self, idx: usize) -> bool {
        self.position[idx] != OUTSIDE
    }

    pub(super) fn position(&self, idx: usize) -> usize {
        self.position[idx]
    }

    fn push(&mut self, idx: usize) {
        self.position[idx] = self.at.len();
        self.at.push(idx);
    }

    fn replace(&mut self, old: usize, new: usize) {
        let position = std::mem::replace(&mut self.position[old], OUTSIDE);
        self.at[position] = new;
        self.position[new] = position;
    }

    /// The last member takes the place of `idx`.
    fn remove(&mut self, idx: usize) -> usize {
        let position = std::mem::replace(&mut self.position[idx], OUTSIDE);
        self.at.swap_remove(position);
        if let Some(&moved) = self.at.get(position) {
            self.position[moved] = position;
        }
        position
    }

    /// Values of the members in a vector over all, with 1 for the border.
    pub(super) fn gather(&self, all: &[f64]) -> Vec<f64> {
        std::iter::once(1.0).chain(self.indices().iter().map(|&idx| all[idx])).collect()
    }
}

/// The bordered inverse: one row for each column of the basis, one column for each row of it.
#[derive(Debug, Clone)]
pub(super) struct Bordered {
    pub(super) rows: Members,
    pub(super) cols: Members,
    inverse: Vec<f64>,
    stride: usize,
}

/// What one pivot does to the basis: of a row or column that goes, only its name is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exchange {
    Grow { row: usize, col: usize },
    Shrink { row: usize, col: usize },
    Rows { out: usize, into: usize },
    Cols { out: usize, into: usize },
}

impl Bordered {
    /// Inverts the basis that `rows` and `cols` span, in their order. A column whose pivot would not exceed `dependent`
    /// (payoffs are in [0, 1]) is left out, and so are rows without a column.
    pub(super) fn of(board: &Board, rows: &[usize], cols: &[usize], dependent: f64) -> Self {
        let width = cols.len() + 1;
        let mut table = vec![1.0; width]; // 0 and then 1ᵀ; row by row 1 and then A
        table[0] = 0.0;
        for &row in rows {
            table.push(1.0);
            table.extend(cols.iter().map(|&col| board.by_row.get(row, col)));
        }
        let mut elimination = Elimination { table, width, mate_of_row: vec![None; rows.len() + 1] };
        elimination.exchange(0, 1);
        elimination.exchange(1, 0);
        for col in 2..width {
            elimination.pivot_in(col, dependent);
        }
        elimination.collect((board.by_row.rows(), rows), (board.by_row.cols(), cols))
    }

    /// Rows of the basis and one: the border counts.
    pub(super) fn order(&self) -> usize {
        self.rows.at.len()
    }

    fn row(&self, position: usize) -> &[f64] {
        &self.inverse[position * self.stride..][..self.order()]
    }

    /// One column of the inverse; `position` is that of a row of the basis.
    pub(super) fn inverse_col(&self, position: usize) -> Vec<f64> {
        (0..self.order()).map(|p| self.inverse[p * self.stride + position]).collect()
    }

    /// One row of the inverse; `position` is that of a column of the basis.
    pub(super) fn inverse_row(&self, position: usize) -> &[f64] {
        self.row(position)
    }

    /// weightsᵀ G⁻¹.
    pub(super) fn left(&self, weights: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; self.order()];
        let terms: Vec<Term<'_>> = weights.iter().enumerate().map(|(p, &weight)| (weight, self.row(p))).collect();
        combine(&mut out, &terms);
        out
    }

    /// G⁻¹ weights.
    pub(super) fn right(&self, weights: &[f64]) -> Vec<f64> {
        (0..self.order()).map(|p| product(self.row(p), weights)).collect()
    }

    /// Red's strategy on its members, refined, with minus the value in the border; and the residual that was left.
    pub(super) fn red(&self, board: &Board) -> (Vec<f64>, f64) {
        let payoffs = |p: usize| self.cols.gather(board.by_row.row(self.rows.at[p]));
        refine(self.row(BORDER).to_vec(), payoffs, |residual| self.left(residual))
    }

    /// Blue's strategy likewise.
    pub(super) fn blue(&self, board: &Board) -> (Vec<f64>, f64) {
        let payoffs = |p: usize| self.rows.gather(board.by_col.row(self.cols.at[p]));
        refine(self.inverse_col(BORDER), payoffs, |residual| self.right(residual))
    }

    /// Exchanges members. `left` and `right` are the directions of the pivot over rows and columns of the basis, already
    /// less the unit vector of what goes where something else takes its place; `pivot` is their common element.
    pub(super) fn exchange(&mut self, exchange: Exchange, left: &[f64], right: &[f64], pivot: f64) {
        let order = self.order();
        for (p, weight) in right.iter().enumerate() {
            combine(&mut self.inverse[p * self.stride..][..order], &[(-weight / pivot, left)]);
        }
        match exchange {
            Exchange::Rows { out, into } => self.rows.replace(out, into),
            Exchange::Cols { out, into } => self.cols.replace(out, into),
            Exchange::Grow { row, col } => {
                self.reserve(order + 1);
                for p in 0..order {
                    self.inverse[order * self.stride + p] = left[p] / pivot;
                    self.inverse[p * self.stride + order] = right[p] / pivot;
                }
                self.inverse[order * self.stride + order] = -1.0 / pivot;
                self.rows.push(row);
                self.cols.push(col);
            }
            Exchange::Shrink { row, col } => {
                let (across, down) = (self.rows.remove(row), self.cols.remove(col));
                let (last, stride) = (order - 1, self.stride);
                self.inverse.copy_within(last * stride..last * stride + order, down * stride);
                for p in 0..last {
                    self.inverse[p * stride + across] = self.inverse[p * stride + last];
                }
            }
        }
    }

    fn reserve(&mut self, order: usize) {
        if order <= self.stride {
            return;
        }
        let stride = 2 * order;
        let mut larger = vec![0.0; stride * stride];
        for p in 0..self.order() {
            larger[p * stride..][..self.order()].copy_from_slice(self.row(p));
        }
        (self.inverse, self.stride) = (larger, stride);
    }
}

/// Solves Σ_p x_p · payoffs(p) = (1, 0, …) by refinement of `x`: residuals are exact, the inverse only corrects.
fn refine(
    mut x: Vec<f64>,
    payoffs: impl Fn(usize) -> Vec<f64>,
    correct: impl Fn(&[f64]) -> Vec<f64>,
) -> (Vec<f64>, f64) {
    let mut left = f64::INFINITY;
    loop {
        let mut residual = vec![-x[BORDER]; x.len()];
        residual[BORDER] = 1.0;
        let mut residual = ExactSums::from(residual);
        for (p, &weight) in x.iter().enumerate().skip(1) {
            residual.add(-weight, &payoffs(p));
        }
        let residual = residual.rounded();
        let size = residual.iter().fold(0.0_f64, |size, r| size.max(r.abs()));
        // Half is progress enough; what no longer shrinks is rounding, or an inverse that is none.
        if size == 0.0 || size.is_nan() || size > 0.5 * left {
            return (x, size.min(left));
        }
        left = size;
        x.iter_mut().zip(correct(&residual)).for_each(|(value, step)| *value += step);
    }
}

/// Gauss–Jordan elimination in place: after the exchange of (row, col) the row of the table gives that column.
struct Elimination {
    table: Vec<f64>,
    width: usize,
    mate_of_row: Vec<Option<usize>>,
}

impl Elimination {
    /// Exchanges `col` with the free row whose element is largest, unless none is large enough.
    fn pivot_in(&mut self, col: usize, dependent: f64) {
        let size = |row: usize| self.table[row * self.width + col].abs();
        let free = (0..self.mate_of_row.len()).filter(|&row| self.mate_of_row[row].is_none());
        let best = free.fold(None, |best, row| match best {
            Some(other) if size(other) >= size(row) => best,
            _ => Some(row),
        });
        if let Some(row) = best.filter(|&row| size(row) > dependent) {
            self.exchange(row, col);
        }
    }

    fn exchange(&mut self, row: usize, col: usize) {
        let width = self.width;
        let pivot = self.table[row * width + col];
        let mut lead: Vec<f64> = self.table[row * width..][..width].iter().map(|value| -value / pivot).collect();
        lead[col] = 1.0 / pivot;
        for (other, values) in self.table.chunks_exact_mut(width).enumerate() {
            if other == row {
                values.copy_from_slice(&lead);
            } else {
                let weight = std::mem::take(&mut values[col]);
                combine(values, &[(weight, &lead)]);
            }
        }
        self.mate_of_row[row] = Some(col);
    }

    fn collect(self, (num_rows, rows): (usize, &[usize]), (num_cols, cols): (usize, &[usize])) -> Bordered {
        let mut row_of_col = vec![None; self.width];
        let kept: Vec<(usize, usize)> =
            self.mate_of_row.iter().enumerate().filter_map(|(row, mate)| mate.map(|col| (row, col))).collect();
        kept.iter().for_each(|&(row, col)| row_of_col[col] = Some(row));
        let order = kept.len();
        let mut inverse = Vec::with_capacity(order * order);
        for row in row_of_col.iter().flatten() {
            inverse.extend(kept.iter().map(|&(_, col)| self.table[row * self.width + col]));
        }
        let taken = row_of_col.iter().enumerate().skip(1).filter_map(|(col, row)| row.map(|_| cols[col - 1]));
        Bordered {
            rows: Members::new(num_rows, kept[1..].iter().map(|&(row, _)| rows[row - 1])),
            cols: Members::new(num_cols, taken),
            inverse,
            stride: order,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bordered, Exchange};
    use crate::Matrix;
    use crate::regret::Board;
    use crate::stream::{StreamKey, unit};

    fn board() -> Board {
        let mut rng = StreamKey { seed: 3, iteration: 0, purpose: 0, entry: 0, episode: 0, turn: 0 }.rng();
        Board::new(Matrix::from_fn(6, 7, |_, _| unit(&mut rng)).unwrap())
    }

    /// Largest element of G G⁻¹ − 1.
    fn error(basis: &Bordered, board: &Board) -> f64 {
        let mut worst = 0.0_f64;
        for (p, &row) in basis.rows.at.iter().enumerate() {
            let mut of_g = if p == 0 { vec![1.0; basis.order()] } else { basis.cols.gather(board.by_row.row(row)) };
            of_g[0] = f64::from(u8::from(p != 0));
            for (q, value) in basis.left(&of_g).into_iter().enumerate() {
                worst = worst.max((value - f64::from(u8::from(p == q))).abs());
            }
        }
        worst
    }

    #[test]
    fn inverts_and_follows_every_exchange() {
        let board = board();
        let mut basis = Bordered::of(&board, &[1, 4, 2], &[0, 6, 3], 1e-9);
        assert_eq!((basis.order(), error(&basis, &board) < 1e-12), (4, true));
        let direction = |basis: &Bordered, row: usize| basis.left(&basis.cols.gather(board.by_row.row(row)));
        let across = |basis: &Bordered, col: usize| basis.right(&basis.rows.gather(board.by_col.row(col)));

        let (mut left, at) = (direction(&basis, 5), basis.rows.position(4));
        let (right, pivot) = (basis.inverse_col(at), left[at]);
        left[at] -= 1.0;
        basis.exchange(Exchange::Rows { out: 4, into: 5 }, &left, &right, pivot);
        assert!(error(&basis, &board) < 1e-12 && basis.rows.contains(5) && !basis.rows.contains(4));

        let (left, right) = (direction(&basis, 0), across(&basis, 1));
        let schur = board.by_row.get(0, 1)
            - right.iter().zip(basis.cols.gather(board.by_row.row(0))).map(|(x, y)| x * y).sum::<f64>();
        basis.exchange(Exchange::Grow { row: 0, col: 1 }, &left, &right, -schur);
        assert!(error(&basis, &board) < 1e-12 && basis.order() == 5 && schur.abs() > 1e-3, "{schur}");

        let at = basis.rows.position(1);
        let left: Vec<f64> = basis.inverse_row(basis.cols.position(6)).iter().map(|x| -x).collect();
        let (right, pivot) = (basis.inverse_col(at), left[at]);
        basis.exchange(Exchange::Shrink { row: 1, col: 6 }, &left, &right, pivot);
        assert!(error(&basis, &board) < 1e-12 && basis.order() == 4);
    }

    #[test]
    fn dependent_rows_and_columns_are_left_out() {
        let twice = Board::new(Matrix::from_fn(6, 6, |i, j| (((i / 2) * 5 + (j / 2) * 3) % 7) as f64 / 7.0).unwrap());
        let all: Vec<usize> = (0..6).collect();
        let basis = Bordered::of(&twice, &all, &all, 1e-9);
        assert!(basis.order() <= 4 && error(&basis, &twice) < 1e-12, "{}", basis.order());
    }
}
