//! The way to an equilibrium: pure, or from an old basis, or from a guess.
//!
//! An old basis decides only where it leads to the one equilibrium that there is, so that it saves time and changes no
//! more than how the answer rounds: of several equilibria the one found is a function of the payoffs alone, and a loop
//! that adds rows and columns takes the same path however it was started. Otherwise some hundred steps of regret matching
//! guess the support. A support that is singular to double precision ends the walk short of the equilibrium: the rest of
//! the way then goes through a tableau of twice the digits.

use super::path::Path;
use super::tableau::Tableau;
use super::{Basis, CERTIFIED, Candidate, Effort};
use crate::linear_program::normalised;
use crate::regret::{Board, Learners, Rule};
use crate::{GameError, Matrix};

/// Regret at which no further attempt is worth its time.
const EXACT: f64 = 1e-14;
/// Weights and regrets above this are not 0, whatever was rounded.
const STRICT: f64 = 1e-9;
/// Walks at most, and walks with twice the digits if they fail.
const WALKS: u32 = 2;
const PRECISE_WALKS: u32 = 4;
/// Steps of regret matching between two looks at the supports, and at most: some for each member that a support can have,
/// since the walk from a poor guess is short where supports are small.
const STEPS: u32 = 50;
const STEPS_PER_MEMBER: u32 = 10;
const MOST_STEPS: u32 = 2000;
/// A weight below this share of the largest one is not taken as support.
const SUPPORT: f64 = 0.02;
/// The sides may differ by one member in so many.
const TOLERANCE: usize = 32;
/// A support of so many members is large, and may have lost or won one in so many since the last look.
const LARGE: usize = 64;
const SHRINKING: usize = 200;

/// First row with the best guarantee and its first worst column.
fn maximin(unit: &Matrix) -> (usize, usize) {
    let mut best = (0, 0);
    for row in 0..unit.rows() {
        let values = unit.row(row);
        let col = values.iter().enumerate().fold(0, |low, (col, value)| if *value < values[low] { col } else { low });
        if row == 0 || values[col] > unit.get(best.0, best.1) {
            best = (row, col);
        }
    }
    best
}

/// A pure equilibrium: the value that red guarantees is the most that blue concedes.
pub(super) fn saddle(unit: &Matrix) -> Option<(usize, usize)> {
    let (row, _) = maximin(unit);
    let mut concedes = unit.row(0).to_vec();
    (1..unit.rows()).for_each(|row| concedes.iter_mut().zip(unit.row(row)).for_each(|(most, x)| *most = most.max(*x)));
    let least = unit.row(row).iter().copied().fold(f64::INFINITY, f64::min);
    // A column that concedes no more than the guarantee pays exactly that in this row.
    concedes.iter().position(|most| *most <= least).map(|col| (row, col))
}

/// An equilibrium that needs mixing.
pub(super) fn mixed(unit: Matrix, basis: &mut Basis) -> Result<Candidate, GameError> {
    let board = Board::new(unit);
    let mut effort = Effort::default();
    let found = match warm(&board, basis, &mut effort) {
        Some(found) => found,
        None => cold(&board, &mut effort)?,
    };
    *basis = Basis { rows: found.rows, cols: found.cols, effort };
    Ok(found.candidate)
}

/// Where a walk ended.
struct Found {
    candidate: Candidate,
    rows: Vec<usize>,
    cols: Vec<usize>,
}

impl Found {
    fn of(board: &Board, (row, col): (Vec<f64>, Vec<f64>), (rows, cols): (Vec<usize>, Vec<usize>)) -> Self {
        Self { candidate: Candidate::of(&board.by_row, normalised(&row), normalised(&col)), rows, cols }
    }

    fn regret(&self) -> f64 {
        self.candidate.nash_conv
    }
}

/// The equilibrium to which the old basis leads, if there is no other.
fn warm(board: &Board, old: &Basis, effort: &mut Effort) -> Option<Found> {
    let inside = |members: &[usize], n: usize| members.iter().copied().filter(|&idx| idx < n).collect::<Vec<_>>();
    let (rows, cols) = (inside(&old.rows, board.by_row.rows()), inside(&old.cols, board.by_row.cols()));
    if rows.is_empty() || cols.is_empty() {
        return None;
    }
    let mut path = Path::from(board, &rows, &cols);
    effort.pivots += path.walk(0, max_pivots(board));
    let found = (path.margin() > STRICT).then(|| Found::of(board, path.strategies(), path.members()));
    found.filter(|found| found.regret() <= CERTIFIED)
}

fn cold(board: &Board, effort: &mut Effort) -> Result<Found, GameError> {
    let (rows, cols, steps) = guess(board);
    effort.steps = steps;
    let mut path = Path::from(board, &rows, &cols);
    let mut best = None;
    for attempt in 0..WALKS {
        effort.pivots += path.walk(attempt, max_pivots(board));
        let found = better(best, Found::of(board, path.strategies(), path.members()));
        if found.regret() <= EXACT || (found.regret() <= CERTIFIED && path.violation() > -EXACT) {
            return Ok(found);
        }
        best = Some(found);
    }
    let (mut rows, mut cols) = path.members();
    for attempt in 0..PRECISE_WALKS {
        let mut tableau = Tableau::at(&board.by_row, &rows, &cols);
        effort.pivots += tableau.walk(attempt, max_pivots(board));
        (rows, cols) = tableau.members();
        let found = better(best, Found::of(board, tableau.strategies(), tableau.members()));
        if found.regret() <= CERTIFIED {
            return Ok(found);
        }
        best = Some(found);
    }
    Err(GameError::NoEquilibrium { nash_conv: best.map_or(f64::NAN, |best| best.regret()) })
}

/// The one with less regret; of equals the first.
fn better(best: Option<Found>, found: Found) -> Found {
    match best {
        Some(best) if best.regret() <= found.regret() => best,
        _ => found,
    }
}

fn max_pivots(board: &Board) -> usize {
    1000 + 20 * (board.by_row.rows() + board.by_row.cols())
}

/// Rows and columns, as many of each, that regret matching plays most: by weight, ties to the lowest index. And its steps.
///
/// It goes on until both sides play about as many, which is the sign that the supports have settled; large ones, where a
/// poor guess costs thousands of pivots, must also have stopped to shrink.
fn guess(board: &Board) -> (Vec<usize>, Vec<usize>, u32) {
    let mut learners = Learners::new(board, Rule { predictive: true, power: 4 });
    let members = board.by_row.rows().min(board.by_row.cols()).min(MOST_STEPS as usize) as u32;
    let most = (2 * STEPS + STEPS_PER_MEMBER * members).min(MOST_STEPS);
    let (mut steps, mut before) = (0, usize::MAX);
    loop {
        learners.run(board, STEPS);
        steps += STEPS;
        let (row, col) = learners.averages();
        let (num_rows, num_cols) = (support(&row), support(&col));
        let size = (num_rows + num_cols).div_ceil(2).min(row.len()).min(col.len());
        let even = num_rows.abs_diff(num_cols) <= 1 + size / TOLERANCE;
        let settled = size < LARGE || before.abs_diff(size) <= 1 + size / SHRINKING;
        if steps >= most || (steps > STEPS && even && settled) {
            return (heaviest(&row, size), heaviest(&col, size), steps);
        }
        before = size;
    }
}

fn support(weights: &[f64]) -> usize {
    let largest = weights.iter().copied().fold(0.0, f64::max);
    weights.iter().filter(|weight| **weight > SUPPORT * largest).count()
}

fn heaviest(weights: &[f64], size: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]));
    order.truncate(size);
    order
}
