//! All games that the dialogues played so far leave possible, and what must be true of a profile in every one of them.
//!
//! A region is one interval for each entry, all of which hold together with probability 1 − δ. Then for *any* profile
//! (p, q), however it was chosen, also from the same dialogues,
//!
//! max_i (L q)_i − min_j (pᵀ U)_j  ≤  NashConv(p, q)  ≤  max_i (U q)_i − min_j (pᵀ L)_j
//!
//! with L and U the matrices of lower and upper ends. That is never more than the textbook's twice the widest interval,
//! and far less where p and q avoid entries that are not well known. The price for all profiles at once is one share of
//! δ for each entry and widths that add along a row; [`super::certifier`] certifies one profile for much less.

use super::bounds::Bound;
use super::sequence::anytime;
use crate::{Equilibrium, Estimate, GameError, Matrix, MetaGame, nash};

/// Simultaneous intervals of all entries.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    low: Matrix,
    high: Matrix,
    range: (f64, f64),
    dialogues: u64,
}

impl Region {
    /// The region of a game whose sample sizes were fixed beforehand. `entries` is how many entries share `delta`: those
    /// of the largest game that could have been looked at.
    ///
    /// # Errors
    /// A population is empty, or there are more entries than `entries`.
    pub fn fixed(game: &MetaGame, bound: Bound, delta: f64, entries: usize) -> Result<Self, GameError> {
        Self::of(game, entries, |row, col| {
            bound.interval(game.entry(row, col), game.payoff_range(), share(delta, entries))
        })
    }

    /// The region of a game whose dialogues were allocated and stopped by looking at it. Entries without a dialogue have
    /// the whole payoff range.
    ///
    /// # Errors
    /// As [`Region::fixed`].
    pub fn anytime(game: &MetaGame, delta: f64, entries: usize) -> Result<Self, GameError> {
        Self::of(game, entries, |row, col| anytime(game.entry(row, col), game.payoff_range(), share(delta, entries)))
    }

    fn of(game: &MetaGame, entries: usize, interval: impl Fn(usize, usize) -> Estimate) -> Result<Self, GameError> {
        let (rows, cols) = (game.num_rows(), game.num_cols());
        if rows * cols > entries {
            let place = "entries that share the error of a region".to_owned();
            return Err(GameError::Shape { place, expected: entries, found: rows * cols });
        }
        let low = Matrix::from_fn(rows, cols, |row, col| interval(row, col).low)?;
        let high = Matrix::from_fn(rows, cols, |row, col| interval(row, col).high)?;
        let dialogues = (0..rows).flat_map(|row| (0..cols).map(move |col| game.entry(row, col).count)).sum();
        Ok(Self { low, high, range: game.payoff_range(), dialogues })
    }

    /// Lower ends, `num_rows × num_cols`.
    pub fn low(&self) -> &Matrix {
        &self.low
    }

    /// Upper ends.
    pub fn high(&self) -> &Matrix {
        &self.high
    }

    /// NashConv of a profile with an interval that holds for every profile at once. `profile.nash_conv`, cut to the
    /// interval, is the mean; `n` counts all dialogues.
    pub fn nash_conv(&self, profile: &Equilibrium) -> Estimate {
        let regret = |best: &Matrix, worst: &Matrix| {
            let top = best.mul_vec(&profile.col).into_iter().fold(f64::NEG_INFINITY, f64::max);
            let bottom = worst.vec_mul(&profile.row).into_iter().fold(f64::INFINITY, f64::min);
            (top - bottom).clamp(0.0, self.range.1 - self.range.0)
        };
        let (low, high) = (regret(&self.low, &self.high), regret(&self.high, &self.low));
        Estimate { mean: profile.nash_conv.clamp(low, high), low, high, n: self.dialogues }
    }

    /// The profile whose upper bound is least, and that bound: red's maximin strategy against the lower ends, blue's
    /// minimax strategy against the upper ends. The value of the game lies between the values of these two games.
    ///
    /// # Errors
    /// As [`nash::solve`].
    pub fn secure(&self) -> Result<Secure, GameError> {
        let (low, high) = (nash::solve(&self.low)?, nash::solve(&self.high)?);
        Ok(Secure { row: low.row, col: high.col, value: (low.value, high.value) })
    }
}

/// The profile that is safest given what is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Secure {
    /// Red's strategy: its return is at least `value.0` in every possible game.
    pub row: Vec<f64>,
    /// Blue's: red gets at most `value.1`.
    pub col: Vec<f64>,
    /// Ends of the value; the distance is the profile's largest possible NashConv.
    pub value: (f64, f64),
}

fn share(delta: f64, entries: usize) -> f64 {
    delta / entries.max(1) as f64
}
