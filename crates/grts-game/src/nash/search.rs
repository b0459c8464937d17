//! The way to an equilibrium: pure, or from an old basis, or from a guess.
//!
//! An old basis decides only where it leads to the one equilibrium that there is, so that it saves time and changes no
//! more than how the answer rounds: of several equilibria the one found is a function of the payoffs alone, and a loop
//! that adds rows and columns takes the same path however it was started. Otherwise some hundred steps of regret matching
//! guess the support, and attempts grow more daring until the regret is gone.

use super::path::{CAUTION, Path};
use super::{Basis, CERTIFIED, Candidate, Effort};
use crate::linear_program::normalised;
use crate::regret::{Board, Learners, Rule};
use crate::{GameError, Matrix};

/// Regret that counts as none. Where supports are so ill-conditioned that it is missed, `nash_conv` says so.
const AIM: f64 = 1e-12;
/// Regret at which no further attempt is worth its time.
const EXACT: f64 = 1e-14;
/// Weights and regrets above this are not 0, whatever was rounded.
const STRICT: f64 = 1e-9;
/// Walks from the guess, and as many from a pure profile if they fail: one for each degree of caution.
const ATTEMPTS: u32 = CAUTION.len() as u32;
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
    fn at(board: &Board, path: &Path<'_>) -> Self {
        let ((row, col), (rows, cols)) = (path.strategies(), path.members());
        let candidate = Candidate::of(&board.by_row, normalised(&row), normalised(&col));
        Self { candidate, rows: rows.to_vec(), cols: cols.to_vec() }
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
    let found = (path.margin() > STRICT).then(|| Found::at(board, &path));
    found.filter(|found| found.candidate.nash_conv <= AIM)
}

fn cold(board: &Board, effort: &mut Effort) -> Result<Found, GameError> {
    let (rows, cols, steps) = guess(board);
    effort.steps = steps;
    let mut best: Option<Found> = None;
    let mut path = Path::from(board, &rows, &cols);
    for attempt in 0..2 * ATTEMPTS {
        if attempt == ATTEMPTS {
            let (row, col) = maximin(&board.by_row);
            path = Path::from(board, &[row], &[col]);
        }
        effort.pivots += path.walk(attempt, max_pivots(board));
        let found = Found::at(board, &path);
        if best.as_ref().is_none_or(|best| found.candidate.nash_conv < best.candidate.nash_conv) {
            best = Some(found);
        }
        let regret = best.as_ref().map_or(f64::INFINITY, |best| best.candidate.nash_conv);
        if regret <= EXACT || (regret <= AIM && path.violation() > -EXACT) {
            break;
        }
    }
    let regret = best.as_ref().map_or(f64::NAN, |best| best.candidate.nash_conv);
    best.filter(|_| regret <= CERTIFIED).ok_or(GameError::NoEquilibrium { nash_conv: regret })
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
