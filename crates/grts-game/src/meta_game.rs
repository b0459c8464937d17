//! The empirical meta-game: one row per red policy (a tuple, for a team), one column per blue policy.
//!
//! An entry is the moments of sampled returns to red, never a bare number, so its interval can always be asked for and a
//! payoff that was never played cannot be read as 0. Rows and columns are only ever added: an index names a policy for
//! the life of the run. Who plays the dialogues is not known here.

use crate::{Estimate, GameError, Matrix, Moments};
use serde::{Deserialize, Serialize};

/// Sampled payoffs to red, `num_rows × num_cols`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct MetaGame {
    low: f64,
    high: f64,
    cols: usize,
    entries: Vec<Vec<Moments>>, // [row][col]
}

/// A meta-game as it was read back, before anything is believed.
#[derive(Deserialize)]
struct Stored {
    low: f64,
    high: f64,
    cols: usize,
    entries: Vec<Vec<Moments>>,
}

impl TryFrom<Stored> for MetaGame {
    type Error = GameError;

    fn try_from(stored: Stored) -> Result<Self, GameError> {
        let mut game = Self::new((stored.low, stored.high))?;
        (0..stored.cols).for_each(|_| _ = game.add_col());
        for (row, entries) in stored.entries.into_iter().enumerate() {
            if entries.len() != stored.cols {
                let place = format!("row {row} of the meta-game");
                return Err(GameError::Shape { place, expected: stored.cols, found: entries.len() });
            }
            game.add_row();
            for (col, sample) in entries.into_iter().enumerate() {
                game.merge(row, col, sample)?;
            }
        }
        Ok(game)
    }
}

impl MetaGame {
    /// A game without policies whose payoffs lie in `payoff_range` (low, high).
    ///
    /// # Errors
    /// The range is not finite or runs backwards.
    pub fn new(payoff_range: (f64, f64)) -> Result<Self, GameError> {
        let (low, high) = payoff_range;
        if !low.is_finite() || !high.is_finite() || low > high {
            let allowed = format!("a finite number of at least {low}");
            return Err(GameError::Value { place: "upper end of the payoff range".to_owned(), value: high, allowed });
        }
        Ok(Self { low, high, cols: 0, entries: Vec::new() })
    }

    /// Adds a red policy with nothing played; returns its index.
    pub fn add_row(&mut self) -> usize {
        self.entries.push(vec![Moments::default(); self.cols]);
        self.entries.len() - 1
    }

    /// Adds a blue policy with nothing played; returns its index.
    pub fn add_col(&mut self) -> usize {
        self.entries.iter_mut().for_each(|row| row.push(Moments::default()));
        self.cols += 1;
        self.cols - 1
    }

    /// Red policies.
    pub fn num_rows(&self) -> usize {
        self.entries.len()
    }

    /// Blue policies.
    pub fn num_cols(&self) -> usize {
        self.cols
    }

    /// Smallest and largest return that can be recorded.
    pub fn payoff_range(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    /// Adds one dialogue's return to an entry.
    ///
    /// # Errors
    /// No such entry, or a return that is not finite or lies outside the payoff range; the game is then unchanged.
    pub fn record(&mut self, row: usize, col: usize, value: f64) -> Result<(), GameError> {
        self.merge(row, col, Moments { count: 1, mean: value, m2: 0.0 })
    }

    /// Adds a whole sample to an entry.
    ///
    /// # Errors
    /// As [`MetaGame::record`], for the sample's mean; also squared deviations that are not finite or negative.
    pub fn merge(&mut self, row: usize, col: usize, sample: Moments) -> Result<(), GameError> {
        let place = || format!("entry ({row}, {col})");
        if sample.count > 0 && !self.allows(sample.mean) {
            let allowed = format!("a payoff between {} and {}", self.low, self.high);
            return Err(GameError::Value { place: place(), value: sample.mean, allowed });
        }
        if !(sample.m2.is_finite() && sample.m2 >= 0.0) {
            let allowed = "a sum of squared deviations".to_owned();
            return Err(GameError::Value { place: place(), value: sample.m2, allowed });
        }
        let (rows, cols) = (self.num_rows(), self.cols);
        let entry = self.entries.get_mut(row).and_then(|entries| entries.get_mut(col));
        entry.ok_or(GameError::NoSuchEntry { row, col, rows, cols })?.merge(sample);
        Ok(())
    }

    /// Whether a return lies in the payoff range, but for rounding.
    fn allows(&self, value: f64) -> bool {
        let slack = 1e-9 * (self.high - self.low);
        value.is_finite() && value >= self.low - slack && value <= self.high + slack
    }

    /// The sample of an entry, which must exist.
    pub fn entry(&self, row: usize, col: usize) -> &Moments {
        &self.entries[row][col]
    }

    /// Mean return of an entry, which must exist, with its interval.
    pub fn estimate(&self, row: usize, col: usize) -> Estimate {
        Estimate::bounded(self.entry(row, col), self.low, self.high)
    }

    /// Entries with fewer than `min_count` returns, row by row.
    pub fn missing(&self, min_count: u64) -> Vec<(usize, usize)> {
        let all = (0..self.num_rows()).flat_map(|row| (0..self.cols).map(move |col| (row, col)));
        all.filter(|&(row, col)| self.entry(row, col).count < min_count).collect()
    }

    /// Mean returns, `num_rows × num_cols`.
    ///
    /// # Errors
    /// A population is empty, or an entry was never played (the first one is named).
    pub fn payoffs(&self) -> Result<Matrix, GameError> {
        if let Some(&(row, col)) = self.missing(1).first() {
            return Err(GameError::NeverPlayed { row, col });
        }
        Matrix::from_fn(self.num_rows(), self.cols, |row, col| self.entry(row, col).mean)
    }

    /// Return under two mixtures (one weight per row, one per column), with the interval of the stratified mean.
    pub fn mixture_value(&self, rows: &[f64], cols: &[f64]) -> Estimate {
        let mut parts = Vec::new();
        for (row, &p) in rows.iter().enumerate().filter(|(_, p)| **p > 0.0) {
            for (col, &q) in cols.iter().enumerate().filter(|(_, q)| **q > 0.0) {
                parts.push((p * q, self.estimate(row, col)));
            }
        }
        Estimate::weighted(&parts).within(self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::MetaGame;
    use crate::{Estimate, GameError, Moments};

    fn two_by_two() -> MetaGame {
        let mut game = MetaGame::new((0.0, 1.0)).unwrap();
        assert_eq!((game.add_row(), game.add_col(), game.add_row(), game.add_col()), (0, 0, 1, 1));
        game
    }

    #[test]
    fn entries_keep_their_samples_when_the_game_grows() {
        let mut game = two_by_two();
        game.record(1, 0, 1.0).unwrap();
        game.merge(1, 0, Moments { count: 3, mean: 0.0, m2: 0.0 }).unwrap();
        game.add_col();
        game.add_row();
        assert_eq!(game.entry(1, 0).count, 4);
        assert_eq!(game.estimate(1, 0), Estimate::proportion(1, 4));
        assert_eq!(game.missing(5).len(), 9);
        assert_eq!(game.missing(4).len(), 8);
    }

    #[test]
    fn payoffs_need_every_entry() {
        let mut game = two_by_two();
        assert_eq!(game.payoffs(), Err(GameError::NeverPlayed { row: 0, col: 0 }));
        for (row, col) in [(0, 0), (0, 1), (1, 0)] {
            game.record(row, col, 0.5).unwrap();
        }
        assert_eq!(game.payoffs().unwrap_err().to_string(), "entry (1, 1) was never played");
        game.record(1, 1, 0.25).unwrap();
        assert_eq!(game.payoffs().unwrap().row(1), [0.5, 0.25]);
        let mixed = game.mixture_value(&[0.0, 1.0], &[0.5, 0.5]);
        assert!((mixed.mean - 0.375).abs() < 1e-12 && mixed.n == 2);
    }

    #[test]
    fn impossible_returns_are_refused_with_their_place() {
        let mut game = two_by_two();
        for value in [f64::NAN, f64::INFINITY, -0.1, 1.1] {
            let message = game.record(0, 1, value).unwrap_err().to_string();
            assert!(message.starts_with(&format!("entry (0, 1): `{value}`")), "{message}");
        }
        assert!(game.merge(0, 1, Moments { count: 2, mean: 0.5, m2: f64::NAN }).is_err());
        assert_eq!(game.entry(0, 1).count, 0);
        assert_eq!(game.record(2, 0, 0.5).unwrap_err().to_string(), "entry (2, 0) lies outside a meta-game of 2 by 2");
        assert!(MetaGame::new((1.0, 0.0)).is_err());
    }

    #[test]
    fn survives_a_round_trip_through_json() {
        let mut game = two_by_two();
        game.record(0, 0, 0.1).unwrap();
        game.record(0, 0, 1.0 / 3.0).unwrap();
        let text = serde_json::to_string(&game).unwrap();
        assert_eq!(serde_json::from_str::<MetaGame>(&text).unwrap(), game);
        let ragged = text.replacen(r#"{"count":0,"mean":0.0,"m2":0.0},"#, "", 1);
        assert!(serde_json::from_str::<MetaGame>(&ragged).is_err_and(|error| error.to_string().contains("row 1")));
    }
}
