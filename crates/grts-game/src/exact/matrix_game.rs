//! A matrix game as an instance of the loop: a policy is a row or a column of the whole matrix.
//!
//! The meta-game is then a sub-matrix, which grows until it holds an equilibrium of the whole. Ties go to the lowest
//! index, so a run is a function of its start alone.

use super::exact_response;
use crate::matrix::dot;
use crate::solver::{Arena, BestResponseOracle, Response, State};
use crate::{GameError, Matrix, MetaGame};

/// A two-player zero-sum game in which every payoff (to red, the row player) is known.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixGame {
    payoffs: Matrix,
}

impl MatrixGame {
    /// The game with these payoffs to red.
    pub fn new(payoffs: Matrix) -> Self {
        Self { payoffs }
    }

    /// Payoffs to red.
    pub fn payoffs(&self) -> &Matrix {
        &self.payoffs
    }

    /// Return of every row against a mixture of columns.
    fn row_returns(&self, blues: &[usize], weights: &[f64]) -> Vec<f64> {
        let pick = |row: &[f64]| blues.iter().map(|&col| row[col]).collect::<Vec<_>>();
        (0..self.payoffs.rows()).map(|row| dot(&pick(self.payoffs.row(row)), weights)).collect()
    }

    /// Return to red of every column against a mixture of rows.
    fn col_returns(&self, reds: &[usize], weights: &[f64]) -> Vec<f64> {
        let mut returns = vec![0.0; self.payoffs.cols()];
        for (&row, &weight) in reds.iter().zip(weights) {
            returns.iter_mut().zip(self.payoffs.row(row)).for_each(|(sum, &value)| *sum += weight * value);
        }
        returns
    }

    /// Largest gains of both sides together against two mixtures of rows and columns: the NashConv of the whole game.
    pub fn nash_conv(&self, reds: &[usize], red_weights: &[f64], blues: &[usize], blue_weights: &[f64]) -> f64 {
        let (_, best) = extreme(&self.row_returns(blues, blue_weights), |a, b| a > b);
        let (_, worst) = extreme(&self.col_returns(reds, red_weights), |a, b| a < b);
        best - worst
    }
}

/// First index whose value no other one beats, and the value.
fn extreme(values: &[f64], beats: impl Fn(f64, f64) -> bool) -> (usize, f64) {
    let first = (0, values[0]);
    values.iter().copied().enumerate().fold(first, |best, item| if beats(item.1, best.1) { item } else { best })
}

impl Arena<usize, usize> for MatrixGame {
    type Error = GameError;

    fn payoff_range(&self) -> (f64, f64) {
        self.payoffs.range()
    }

    fn play(&mut self, _: usize, reds: &[usize], blues: &[usize], game: &mut MetaGame) -> Result<(), GameError> {
        for (row, col) in game.missing(1) {
            game.record(row, col, self.payoffs.get(reds[row], blues[col]))?;
        }
        Ok(())
    }
}

impl BestResponseOracle<usize, usize> for MatrixGame {
    type Error = GameError;

    fn respond_red(&mut self, state: &State<'_, usize, usize>) -> Result<Response<usize>, GameError> {
        let returns = self.row_returns(state.blues, &state.equilibrium.col);
        let (policy, best) = extreme(&returns, |a, b| a > b);
        Ok(exact_response(policy, state.reds, best - state.equilibrium.value))
    }

    fn respond_blue(&mut self, state: &State<'_, usize, usize>) -> Result<Response<usize>, GameError> {
        let returns = self.col_returns(state.reds, &state.equilibrium.row);
        let (policy, worst) = extreme(&returns, |a, b| a < b);
        Ok(exact_response(policy, state.blues, state.equilibrium.value - worst))
    }
}
