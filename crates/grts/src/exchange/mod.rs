//! Meta-games as files that other programs read: numpy, pandas, Gambit, OpenSpiel; and [`Frame`], tables of any records.
//!
//! One record, [`GameTable`], and one module a format; the ending of a file's name chooses it. What a format cannot hold
//! is left out of it (Gambit's knows payoffs only), and what a file does not say is absent, never made up. No file may
//! bring a number that is not finite into a game, and none that we write has one: some readers take NaN for a payoff.
//! `.npz` keeps everything to the bit; what the others keep reads back to the same doubles.

mod csv;
mod frame;
mod gambit;
mod long;
mod numpy;
mod parquet;

#[cfg(test)]
mod tests;

pub use frame::Frame;

use crate::error::Error;
use grts_game::Matrix;
use std::fs;
use std::path::{Path, PathBuf};

const FORMATS: &str = "`.npy`, `.npz`, `.csv`, `.parquet` and `.nfg` are known";

/// A meta-game with what is known about it; `m` rows and `n` columns, everything row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct GameTable {
    /// Mean return to red, `m × n`.
    pub payoffs: Matrix,
    /// How many returns each entry is the mean of, and their spread.
    pub sample: Option<Sample>,
    /// Names of the rows and of the columns.
    pub names: Option<[Vec<String>; 2]>,
    /// Distributions over rows and columns that were found on it.
    pub strategies: Option<[Vec<f64>; 2]>,
}

/// What the entries were estimated from.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Returns, `m × n`.
    pub count: Vec<u64>,
    /// Unbiased variance of a return, `m × n`; 0 where there are fewer than two.
    pub variance: Vec<f64>,
    /// Lower and upper ends of 95 % intervals of the means, each `m × n`.
    pub interval: Option<[Vec<f64>; 2]>,
}

impl From<Matrix> for GameTable {
    fn from(payoffs: Matrix) -> Self {
        Self { payoffs, sample: None, names: None, strategies: None }
    }
}

/// Reads a game; its format is the ending of the name.
///
/// # Errors
/// [`Error::Game`] for an unknown ending or a file that holds no game, with the place of the first fault; [`Error::Io`].
pub fn read(path: &Path) -> Result<GameTable, Error> {
    let format = Format::of(path)?;
    let bytes = fs::read(path).map_err(|e| Error::io("read", path, e))?;
    let table = match format {
        Format::Npy => numpy::read_array(&bytes),
        Format::Npz => numpy::read_archive(&bytes),
        Format::Csv => csv::read(&bytes),
        Format::Parquet => parquet::read(bytes),
        Format::Nfg => gambit::read(&bytes),
    };
    table.map_err(|problem| refused(path, problem, "give a game with one finite payoff to red for each row and column"))
}

/// Writes a game beside its place and then moves it there; a file that exists is not written over. Returns in words what
/// of the game the file holds.
///
/// # Errors
/// [`Error::Game`] for an unknown ending or a file that exists; [`Error::Io`] or [`Error::DiskFull`], and nothing is left.
pub fn write(path: &Path, table: &GameTable) -> Result<Vec<&'static str>, Error> {
    let format = Format::of(path)?;
    if path.exists() {
        return Err(refused(path, "it exists", "name another file; nothing is written over"));
    }
    let bytes = match format {
        Format::Npy => numpy::array(table),
        Format::Npz => numpy::archive(table),
        Format::Csv => csv::text(table),
        Format::Parquet => parquet::bytes(table),
        Format::Nfg => Ok(gambit::text(table).into_bytes()),
    };
    let bytes = bytes.map_err(|problem| refused(path, problem, "write it as `.npz`"))?;
    replace(path, &bytes)?;
    Ok(format.holds(table))
}

/// Writes a file beside its place and then moves it there, over an earlier one; on an error nothing is left and an earlier
/// one is as it was.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let partial = partial(path);
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&partial);
        Error::io("write", path, error)
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Npy,
    Npz,
    Csv,
    Parquet,
    Nfg,
}

impl Format {
    fn of(path: &Path) -> Result<Self, Error> {
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        match ending.as_str() {
            "npy" => Ok(Self::Npy),
            "npz" => Ok(Self::Npz),
            "csv" => Ok(Self::Csv),
            "parquet" => Ok(Self::Parquet),
            "nfg" => Ok(Self::Nfg),
            _ => Err(refused(path, "the format cannot be told from the name", FORMATS)),
        }
    }

    /// What a file of this format has of a game.
    fn holds(self, table: &GameTable) -> Vec<&'static str> {
        let (bare, archive) = (matches!(self, Self::Npy | Self::Nfg), self == Self::Npz);
        let sample = table.sample.as_ref().filter(|_| !bare);
        let parts = [
            ("payoffs", true),
            ("counts", sample.is_some()),
            (if archive { "variances" } else { "standard deviations" }, sample.is_some()),
            ("intervals", sample.is_some_and(|sample| sample.interval.is_some())),
            ("names", table.names.is_some() && !bare),
            ("strategies", table.strategies.is_some() && archive),
        ];
        parts.into_iter().filter(|(_, held)| *held).map(|(part, _)| part).collect()
    }
}

fn partial(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".partial-");
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

fn refused(path: &Path, problem: impl ToString, hint: &str) -> Error {
    Error::Game { path: path.to_owned(), problem: problem.to_string(), hint: hint.to_owned() }
}
