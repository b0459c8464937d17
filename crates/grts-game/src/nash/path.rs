//! The parametric self-dual simplex method (Dantzig 1963, ch. 11; Vanderbei, Linear Programming, ch. 7) on a matrix game.
//!
//! Every row and column carries one number that must not be negative: its weight if it is in the basis, else the regret
//! that the opponent's strategy leaves it (a row) or that it leaves red (a column). Where a basis violates some of them,
//! each is raised by μ times a positive random shift, with μ so large that all hold; then μ falls to 0, and at each value
//! where a number reaches 0 one pivot takes its owner out of the way. So *any* basis is a start, of a game that has grown
//! on both sides too, no phase is needed to reach a feasible one, and with generic shifts ties do not cycle. The number
//! of pivots is about the number of violations, which is why a good guess or an old basis is worth so much.

use super::basis::{Bordered, Exchange};
use crate::dense::{Term, combine};
use crate::regret::Board;
use crate::stream::{StreamKey, unit};

/// A number above minus this counts as not negative; payoffs are in [0, 1].
const ZERO: f64 = 1e-14;
/// Largest element that is not pivoted on: smaller ones blow errors up, and what needs them is left to `tableau`.
const SMALLEST_PIVOT: f64 = 1e-9;
/// Relative disagreement of a pivot computed by rows and by columns that shows a bad inverse.
const DRIFT: f64 = 1e-6;
/// Ratios closer than this tie: the largest pivot decides, then the lowest index, rows first.
const TIE: f64 = 1e-13;
/// The residual of refined strategies that shows the same.
const RESIDUAL: f64 = 1e-12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    Row(usize),
    Col(usize),
}

/// The numbers of one side's rows or columns, and their shifts.
#[derive(Debug, Clone, Default)]
struct Side {
    value: Vec<f64>,
    shift: Vec<f64>,
}

/// A direction: how fast numbers fall when one that was 0 begins to rise.
struct Direction {
    basis: Vec<f64>, // by position
    rows: Vec<f64>,
    cols: Vec<f64>,
}

impl Direction {
    fn of(&self, variable: Variable) -> f64 {
        match variable {
            Variable::Row(row) => self.rows[row],
            Variable::Col(col) => self.cols[col],
        }
    }
}

/// A basis on its way to an equilibrium.
pub(super) struct Path<'a> {
    board: &'a Board,
    basis: Bordered,
    rows: Side,
    cols: Side,
}

impl<'a> Path<'a> {
    pub(super) fn from(board: &'a Board, rows: &[usize], cols: &[usize]) -> Self {
        let basis = Bordered::of(board, rows, cols, SMALLEST_PIVOT);
        let mut path = Self { board, basis, rows: Side::default(), cols: Side::default() };
        path.evaluate();
        path
    }

    /// Rows and columns in the basis.
    pub(super) fn members(&self) -> (Vec<usize>, Vec<usize>) {
        (self.basis.rows.indices().to_vec(), self.basis.cols.indices().to_vec())
    }

    /// Smallest number. Above 0 there is no other equilibrium: each side then plays exactly what does not lose against the
    /// other, and the inverse leaves one way to do so.
    pub(super) fn margin(&self) -> f64 {
        self.rows.value.iter().chain(&self.cols.value).copied().fold(f64::INFINITY, f64::min)
    }

    /// Most negative number, or 0.
    pub(super) fn violation(&self) -> f64 {
        self.margin().min(0.0)
    }

    /// The strategies of the basis; weights may be negative while there is a violation.
    pub(super) fn strategies(&self) -> (Vec<f64>, Vec<f64>) {
        let weights = |side: &Side, inside: &dyn Fn(usize) -> bool| {
            side.value.iter().enumerate().map(|(idx, &value)| if inside(idx) { value } else { 0.0 }).collect()
        };
        let row = weights(&self.rows, &|row| self.basis.rows.contains(row));
        (row, weights(&self.cols, &|col| self.basis.cols.contains(col)))
    }

    /// Pivots until nothing is violated, then recomputes all numbers from refined strategies. What is still violated
    /// afterwards was hidden by rounding or by a bad inverse, which is made anew: walk again. Attempts differ in their
    /// shifts. Returns the number of pivots.
    pub(super) fn walk(&mut self, attempt: u32, max_pivots: usize) -> usize {
        self.draw_shifts(attempt);
        let (mut healthy, mut pivots) = (true, 0);
        while pivots < max_pivots {
            let Some((variable, mu)) = self.most_violated() else { break };
            healthy = self.pivot(variable, mu);
            if !healthy {
                break;
            }
            pivots += 1;
        }
        if self.evaluate() > RESIDUAL || !healthy {
            self.renew();
        }
        pivots
    }

    /// The same basis with a new inverse and new numbers.
    fn renew(&mut self) {
        let (rows, cols) = self.members();
        self.basis = Bordered::of(self.board, &rows, &cols, SMALLEST_PIVOT);
        self.evaluate();
    }

    /// All numbers from the basis alone; returns the residual of its strategies.
    fn evaluate(&mut self) -> f64 {
        let ((red, red_residual), (blue, blue_residual)) = (self.basis.red(self.board), self.basis.blue(self.board));
        let (rows, cols) = (self.basis.rows.indices(), self.basis.cols.indices());
        self.rows.value = falling(&self.board.by_col, cols, &blue);
        self.cols.value = falling(&self.board.by_row, rows, &red);
        // Against blue's strategy the numbers of rows are value − payoff, against red's those of columns payoff − value.
        self.cols.value.iter_mut().for_each(|number| *number = -*number);
        rows.iter().zip(&red[1..]).for_each(|(&row, &weight)| self.rows.value[row] = weight);
        cols.iter().zip(&blue[1..]).for_each(|(&col, &weight)| self.cols.value[col] = weight);
        red_residual.max(blue_residual)
    }

    fn draw_shifts(&mut self, attempt: u32) {
        let key = StreamKey { seed: 0, iteration: attempt, purpose: 0, entry: 0, episode: 0, turn: 0 };
        let mut rng = key.rng();
        for side in [&mut self.rows, &mut self.cols] {
            side.shift = side.value.iter().map(|value| (-value).max(0.0) + 0.5 + unit(&mut rng)).collect();
        }
    }

    /// The number that reaches 0 first while μ falls, and that μ.
    fn most_violated(&self) -> Option<(Variable, f64)> {
        let mut worst = None;
        let mut mu = 0.0;
        let mut look = |side: &Side, name: fn(usize) -> Variable| {
            for (idx, (&value, &shift)) in side.value.iter().zip(&side.shift).enumerate() {
                if value < -ZERO && shift > 0.0 && -value > mu * shift {
                    mu = -value / shift;
                    worst = Some((name(idx), mu));
                }
            }
        };
        look(&self.rows, Variable::Row);
        look(&self.cols, Variable::Col);
        worst
    }

    /// One pivot on `variable`. `false` if the inverse can no longer be trusted.
    fn pivot(&mut self, variable: Variable, mu: f64) -> bool {
        // Red's problem has as basic variables weights of its rows and regrets of the other columns; blue's the rest.
        let basic_for_red = match variable {
            Variable::Row(row) => self.basis.rows.contains(row),
            Variable::Col(col) => !self.basis.cols.contains(col),
        };
        let (red, blue, enters, leaves);
        if basic_for_red {
            leaves = variable;
            blue = self.blue_direction(leaves);
            let Some(found) = self.first_to_vanish(&blue, mu) else { return false };
            enters = found;
            red = self.red_direction(enters);
        } else {
            enters = variable;
            red = self.red_direction(enters);
            let Some(found) = self.first_to_vanish(&red, mu) else { return false };
            leaves = found;
            blue = self.blue_direction(leaves);
        }
        let (pivot, mirrored) = (red.of(leaves), -blue.of(enters));
        // One row and one column cannot both go: their pivot is 0.
        let last = self.basis.order() == 2 && matches!((enters, leaves), (Variable::Col(_), Variable::Row(_)));
        if (pivot - mirrored).abs() > DRIFT * pivot.abs() || pivot == 0.0 || last {
            return false;
        }
        self.advance(&red, &blue, enters, leaves);
        self.exchange(red.basis, blue.basis, enters, leaves, pivot);
        true
    }

    /// Red's basic numbers while `enters` rises: a row from outside, or a column of the basis whose regret rises.
    fn red_direction(&self, enters: Variable) -> Direction {
        let Self { board, basis, .. } = self;
        let (direction, outside) = match enters {
            Variable::Row(row) => (basis.left(&basis.cols.gather(board.by_row.row(row))), Some(board.by_row.row(row))),
            Variable::Col(col) => {
                (basis.inverse_row(basis.cols.position(col)).iter().map(|value| -value).collect::<Vec<_>>(), None)
            }
        };
        let mut cols = vec![direction[0]; board.by_row.cols()];
        let mut terms = weighted(&board.by_row, basis.rows.indices(), &direction[1..], 1.0);
        terms.extend(outside.map(|payoffs| (-1.0, payoffs)));
        combine(&mut cols, &terms);
        basis.cols.indices().iter().for_each(|&col| cols[col] = 0.0);
        let mut rows = vec![0.0; board.by_row.rows()];
        basis.rows.indices().iter().zip(&direction[1..]).for_each(|(&row, &speed)| rows[row] = speed);
        Direction { basis: direction, rows, cols }
    }

    /// Blue's basic numbers while `leaves` rises: a column from outside, or a row of the basis whose regret rises.
    fn blue_direction(&self, leaves: Variable) -> Direction {
        let Self { board, basis, .. } = self;
        let (direction, outside) = match leaves {
            Variable::Col(col) => (basis.right(&basis.rows.gather(board.by_col.row(col))), Some(board.by_col.row(col))),
            Variable::Row(row) => (basis.inverse_col(basis.rows.position(row)), None),
        };
        let mut rows = vec![-direction[0]; board.by_row.rows()];
        let mut terms = weighted(&board.by_col, basis.cols.indices(), &direction[1..], -1.0);
        terms.extend(outside.map(|payoffs| (1.0, payoffs)));
        combine(&mut rows, &terms);
        basis.rows.indices().iter().for_each(|&row| rows[row] = 0.0);
        let mut cols = vec![0.0; board.by_row.cols()];
        basis.cols.indices().iter().zip(&direction[1..]).for_each(|(&col, &speed)| cols[col] = speed);
        Direction { basis: direction, rows, cols }
    }

    /// The variable that falls to 0 first.
    fn first_to_vanish(&self, direction: &Direction, mu: f64) -> Option<Variable> {
        let (mut least, mut largest, mut found) = (f64::INFINITY, 0.0, None);
        let mut look = |side: &Side, speeds: &[f64], name: fn(usize) -> Variable| {
            for (idx, &speed) in speeds.iter().enumerate().filter(|(_, speed)| **speed > SMALLEST_PIVOT) {
                let ratio = mu.mul_add(side.shift[idx], side.value[idx]).max(0.0) / speed;
                if ratio < least - TIE || (ratio < least + TIE && speed > largest) {
                    (least, largest, found) = (ratio, speed, Some(name(idx)));
                }
            }
        };
        // The variables of the other problem have speed 0 by construction.
        look(&self.rows, &direction.rows, Variable::Row);
        look(&self.cols, &direction.cols, Variable::Col);
        found
    }

    fn advance(&mut self, red: &Direction, blue: &Direction, enters: Variable, leaves: Variable) {
        let of = |path: &Self, variable| match variable {
            Variable::Row(row) => (path.rows.value[row], path.rows.shift[row]),
            Variable::Col(col) => (path.cols.value[col], path.cols.shift[col]),
        };
        let (left, entered) = (of(self, leaves), of(self, enters));
        let red_step = (left.0 / red.of(leaves), left.1 / red.of(leaves));
        let blue_step = (entered.0 / blue.of(enters), entered.1 / blue.of(enters));
        for (side, red, blue) in [(&mut self.rows, &red.rows, &blue.rows), (&mut self.cols, &red.cols, &blue.cols)] {
            combine(&mut side.value, &[(-red_step.0, red), (-blue_step.0, blue)]);
            combine(&mut side.shift, &[(-red_step.1, red), (-blue_step.1, blue)]);
        }
        for (variable, (value, shift)) in [(enters, red_step), (leaves, blue_step)] {
            let (side, idx) = match variable {
                Variable::Row(row) => (&mut self.rows, row),
                Variable::Col(col) => (&mut self.cols, col),
            };
            (side.value[idx], side.shift[idx]) = (value, shift);
        }
    }

    fn exchange(&mut self, mut left: Vec<f64>, mut right: Vec<f64>, enters: Variable, leaves: Variable, pivot: f64) {
        if let Variable::Col(col) = enters {
            right[self.basis.cols.position(col)] -= 1.0;
        }
        if let Variable::Row(row) = leaves {
            left[self.basis.rows.position(row)] -= 1.0;
        }
        let exchange = match (enters, leaves) {
            (Variable::Row(row), Variable::Col(col)) => Exchange::Grow { row, col },
            (Variable::Col(col), Variable::Row(row)) => Exchange::Shrink { row, col },
            (Variable::Row(into), Variable::Row(out)) => Exchange::Rows { out, into },
            (Variable::Col(out), Variable::Col(into)) => Exchange::Cols { out, into },
        };
        self.basis.exchange(exchange, &left, &right, pivot);
    }
}

fn weighted<'m>(vectors: &'m crate::Matrix, members: &[usize], weights: &[f64], sign: f64) -> Vec<Term<'m>> {
    members.iter().zip(weights).map(|(&idx, &weight)| (sign * weight, vectors.row(idx))).collect()
}

/// Value less payoff of every row (of `vectors`' columns) against a strategy with minus the value in its border.
fn falling(vectors: &crate::Matrix, members: &[usize], strategy: &[f64]) -> Vec<f64> {
    let mut numbers = vec![-strategy[0]; vectors.cols()];
    combine(&mut numbers, &weighted(vectors, members, &strategy[1..], -1.0));
    numbers
}
