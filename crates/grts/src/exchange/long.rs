//! One line for each entry, which is how tables of numbers are kept: what a CSV and a Parquet file have in common.
//!
//! The long form says what each number is and carries its sample; pandas turns it into a matrix with `pivot`. A line is
//! found by its names and not by its place, so rows and columns stand in the order of their first appearance, and two
//! rows of one name cannot be told apart.

use super::{GameTable, Sample};
use grts_game::Matrix;
use std::collections::HashMap;

/// Columns in the order in which they are written: always the first three, five with a sample, seven with its intervals.
pub(super) const COLUMNS: [&str; 7] = ["row", "col", "mean", "n", "sd", "low", "high"];

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) row: String,
    pub(super) col: String,
    pub(super) mean: f64,
    pub(super) sample: Option<Draws>,
}

/// What its mean was estimated from: number of returns, their standard deviation, the interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Draws {
    pub(super) n: u64,
    pub(super) sd: f64,
    pub(super) interval: Option<[f64; 2]>,
}

/// How many of [`COLUMNS`] the lines of a game have.
pub(super) fn width(table: &GameTable) -> usize {
    match &table.sample {
        None => 3,
        Some(Sample { interval: None, .. }) => 5,
        Some(_) => 7,
    }
}

/// The entries of a game, row by row; rows and columns without names have their index.
pub(super) fn lines(table: &GameTable) -> Result<Vec<Line>, String> {
    let payoffs = &table.payoffs;
    let sizes = [payoffs.rows(), payoffs.cols()];
    let names = match &table.names {
        Some(names) => names.clone(),
        None => sizes.map(|size| (0..size).map(|idx| idx.to_string()).collect()),
    };
    for (side, names) in ["rows", "columns"].into_iter().zip(&names) {
        let mut known = Names::default();
        if let Some(twice) = names.iter().enumerate().find_map(|(idx, name)| (known.place(name) < idx).then_some(name))
        {
            return Err(format!("two {side} have the name `{twice}`"));
        }
    }
    let draws = |sample: &Sample, at: usize| Draws {
        n: sample.count[at],
        sd: sample.variance[at].sqrt(),
        interval: sample.interval.as_ref().map(|[low, high]| [low[at], high[at]]),
    };
    let line = |at: usize| Line {
        row: names[0][at / sizes[1]].clone(),
        col: names[1][at % sizes[1]].clone(),
        mean: payoffs.as_slice()[at],
        sample: table.sample.as_ref().map(|sample| draws(sample, at)),
    };
    Ok((0..sizes[0] * sizes[1]).map(line).collect())
}

/// The game of these lines, each of which has what the first one has.
pub(super) fn table(lines: impl IntoIterator<Item = Result<Line, String>>) -> Result<GameTable, String> {
    let (mut rows, mut cols) = (Names::default(), Names::default());
    let mut entries = HashMap::new();
    for line in lines {
        let line = line?;
        let place = (rows.place(&line.row), cols.place(&line.col));
        if let Some(problem) = line.problem() {
            return Err(format!("{}: {problem}", line.place()));
        }
        if let Some(twice) = entries.insert(place, line) {
            return Err(format!("{} is given twice", twice.place()));
        }
    }
    let mut sorted = Vec::with_capacity(entries.len());
    for (row, row_name) in rows.names.iter().enumerate() {
        for (col, col_name) in cols.names.iter().enumerate() {
            let missing = || format!("entry (`{row_name}`, `{col_name}`) is missing");
            sorted.push(entries.remove(&(row, col)).ok_or_else(missing)?);
        }
    }
    let means = sorted.iter().map(|line| line.mean).collect();
    let payoffs = Matrix::new(rows.names.len(), cols.names.len(), means).map_err(|e| e.to_string())?;
    let draws: Option<Vec<Draws>> = sorted.iter().map(|line| line.sample).collect();
    Ok(GameTable { payoffs, sample: draws.map(sample), names: Some([rows.names, cols.names]), strategies: None })
}

fn sample(draws: Vec<Draws>) -> Sample {
    let ends: Option<Vec<[f64; 2]>> = draws.iter().map(|entry| entry.interval).collect();
    Sample {
        count: draws.iter().map(|entry| entry.n).collect(),
        variance: draws.iter().map(|entry| entry.sd * entry.sd).collect(),
        interval: ends.map(|ends| [0, 1].map(|end| ends.iter().map(|ends| ends[end]).collect())),
    }
}

impl Line {
    pub(super) fn place(&self) -> String {
        format!("entry (`{}`, `{}`)", self.row, self.col)
    }

    /// What makes it no entry of a game.
    fn problem(&self) -> Option<String> {
        if !self.mean.is_finite() {
            return Some(format!("`{}` is not a finite number", self.mean));
        }
        let Draws { sd, interval, .. } = self.sample?;
        if !(sd.is_finite() && sd >= 0.0) {
            return Some(format!("`{sd}` is not a standard deviation"));
        }
        let [low, high] = interval?;
        (!(low.is_finite() && high.is_finite() && low <= high))
            .then(|| format!("`{low}` to `{high}` is not an interval"))
    }
}

/// Names in the order of their first appearance.
#[derive(Default)]
struct Names {
    names: Vec<String>,
    places: HashMap<String, usize>,
}

impl Names {
    fn place(&mut self, name: &str) -> usize {
        *self.places.entry(name.to_owned()).or_insert_with(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }
}
