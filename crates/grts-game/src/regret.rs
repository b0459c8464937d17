//! Regret matching+: learners that meet equilibrium on average, and a fast guess at its support.
//!
//! One learner a side, the row player first. With prediction (Farina, Kroer & Sandholm 2021) the last payoff is counted
//! once more before it has happened; without it this is the rule of Tammelin (2014). The average is weighted by a power
//! of the step, so that early steps are forgotten.

use crate::Matrix;
use crate::dense::{Term, combine, product};

/// A game with payoffs to the row player, held by rows and by columns: both sides then read whole vectors.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    pub(crate) by_row: Matrix, // m × n
    pub(crate) by_col: Matrix, // n × m
}

impl Board {
    pub(crate) fn new(payoffs: Matrix) -> Self {
        Self { by_col: payoffs.transpose(), by_row: payoffs }
    }

    /// Payoff of every row against a mixture of columns.
    pub(crate) fn row_payoffs(&self, col: &[f64]) -> Vec<f64> {
        mixture(&self.by_col, col)
    }

    /// Payoff to the row player of every column against a mixture of rows.
    pub(crate) fn col_payoffs(&self, row: &[f64]) -> Vec<f64> {
        mixture(&self.by_row, row)
    }
}

/// weightsᵀ M.
fn mixture(vectors: &Matrix, weights: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; vectors.cols()];
    let played = weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0);
    let terms: Vec<Term<'_>> = played.map(|(idx, &weight)| (weight, vectors.row(idx))).collect();
    combine(&mut out, &terms);
    out
}

/// How the learners learn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// Count the last payoff twice.
    pub(crate) predictive: bool,
    /// Step t enters the average with weight t to this power.
    pub(crate) power: i32,
}

/// Both learners, some steps into the game.
#[derive(Debug, Clone)]
pub(crate) struct Learners {
    rule: Rule,
    row: Learner,
    col: Learner,
    steps: u32,
}

impl Learners {
    pub(crate) fn new(board: &Board, rule: Rule) -> Self {
        let (row, col) = (Learner::new(board.by_row.rows()), Learner::new(board.by_row.cols()));
        Self { rule, row, col, steps: 0 }
    }

    /// Each side in turn learns from the other's latest strategy.
    pub(crate) fn run(&mut self, board: &Board, steps: u32) {
        let predictive = self.rule.predictive;
        let mut row = self.row.strategy(predictive);
        for _ in 0..steps {
            self.steps += 1;
            let weight = f64::from(self.steps).powi(self.rule.power);
            let col = self.col.strategy(predictive);
            self.row.observe(&board.row_payoffs(&col), &row, 1.0);
            row = self.row.strategy(predictive);
            self.col.observe(&board.col_payoffs(&row), &col, -1.0);
            combine(&mut self.row.total, &[(weight, &row)]);
            combine(&mut self.col.total, &[(weight, &col)]);
        }
    }

    /// Average strategies so far.
    pub(crate) fn averages(&self) -> (Vec<f64>, Vec<f64>) {
        (proportional(&self.row.total), proportional(&self.col.total))
    }
}

#[derive(Debug, Clone)]
struct Learner {
    regret: Vec<f64>,
    latest: Vec<f64>, // regret of the last step alone
    total: Vec<f64>,
}

impl Learner {
    fn new(n: usize) -> Self {
        Self { regret: vec![0.0; n], latest: vec![0.0; n], total: vec![0.0; n] }
    }

    fn strategy(&self, predictive: bool) -> Vec<f64> {
        if !predictive {
            return proportional(&self.regret);
        }
        let predicted = self.regret.iter().zip(&self.latest).map(|(sum, last)| (sum + last).max(0.0));
        proportional(&predicted.collect::<Vec<_>>())
    }

    fn observe(&mut self, payoffs: &[f64], played: &[f64], sign: f64) {
        let value = product(payoffs, played);
        for ((regret, latest), payoff) in self.regret.iter_mut().zip(&mut self.latest).zip(payoffs) {
            *latest = sign * (payoff - value);
            *regret = (*regret + *latest).max(0.0);
        }
    }
}

/// Non-negative weights scaled to sum to 1; uniform if all are 0.
pub(crate) fn proportional(weights: &[f64]) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    if sum > 0.0 {
        weights.iter().map(|weight| weight / sum).collect()
    } else {
        vec![1.0 / weights.len() as f64; weights.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::{Board, Learners, Rule};
    use crate::Matrix;

    #[test]
    fn averages_approach_biased_rock_paper_scissors() {
        let game = Matrix::from_rows(&[[0.0, -25.0, 50.0], [25.0, 0.0, -5.0], [-50.0, 5.0, 0.0]]).unwrap();
        let board = Board::new(game);
        for (predictive, power) in [(false, 1), (true, 4)] {
            let mut learners = Learners::new(&board, Rule { predictive, power });
            learners.run(&board, 3000);
            let (row, col) = learners.averages();
            for (found, wanted) in row.iter().chain(&col).zip([1.0, 10.0, 5.0, 1.0, 10.0, 5.0]) {
                assert!((found - wanted / 16.0).abs() < 3e-3, "{row:?} {col:?}");
            }
        }
    }
}
