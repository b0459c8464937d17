//! Meta-games as files that other programs read: numpy, pandas, Gambit, OpenSpiel.
//!
//! One record, [`GameTable`], and one module a format; the ending of a file's name chooses it. What a format cannot hold
//! is left out of it (Gambit's knows payoffs only), and what a file does not say is absent, never made up. No file may
//! bring a number that is not finite into a game, and none that we write has one: some readers take NaN for a payoff.
//! `.npz` keeps everything to the bit; the decimals of the others read back to the same doubles.

mod csv;
mod gambit;
mod numpy;

use crate::error::Error;
use grts_game::Matrix;
use std::fs;
use std::path::{Path, PathBuf};

const FORMATS: &str = "`.npy`, `.npz`, `.csv` and `.nfg` are known";

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
        Format::Nfg => gambit::read(&bytes),
    };
    table.map_err(|problem| refused(path, problem, "give a game with one finite payoff to red for each row and column"))
}

/// Writes a game beside its place and then moves it there; a file that exists is not written over.
///
/// # Errors
/// [`Error::Game`] for an unknown ending or a file that exists; [`Error::Io`] or [`Error::DiskFull`], and nothing is left.
pub fn write(path: &Path, table: &GameTable) -> Result<(), Error> {
    let format = Format::of(path)?;
    if path.exists() {
        return Err(refused(path, "it exists", "name another file; nothing is written over"));
    }
    let bytes = match format {
        Format::Npy => numpy::array(table),
        Format::Npz => numpy::archive(table),
        Format::Csv => csv::text(table),
        Format::Nfg => Ok(gambit::text(table).into_bytes()),
    };
    let bytes = bytes.map_err(|problem| refused(path, problem, "write it as `.npz`"))?;
    let partial = partial(path);
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&partial);
        Error::io("write", path, error)
    })
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Npy,
    Npz,
    Csv,
    Nfg,
}

impl Format {
    fn of(path: &Path) -> Result<Self, Error> {
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        match ending.as_str() {
            "npy" => Ok(Self::Npy),
            "npz" => Ok(Self::Npz),
            "csv" => Ok(Self::Csv),
            "nfg" => Ok(Self::Nfg),
            _ => Err(refused(path, "the format cannot be told from the name", FORMATS)),
        }
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

#[cfg(test)]
mod tests {
    use super::{GameTable, Sample, read, write};
    use grts_game::Matrix;

    fn full() -> GameTable {
        let payoffs = Matrix::from_rows(&[[0.1, -1.0 / 3.0, 1e-300], [2.5e30, 0.0, -7.0]]).unwrap();
        let sample = Sample { count: vec![3, 4, 5, 6, 7, 1], variance: vec![0.25, 1.0 / 7.0, 0.0, 1e-9, 2.0, 0.0] };
        let names =
            [vec!["red-0".to_owned(), "r\u{e9}d, \"1\"".to_owned()], (0..3).map(|j| format!("blue-{j}")).collect()];
        let strategies = [vec![0.1, 0.9], vec![1.0 / 3.0, 2.0 / 3.0, 0.0]];
        GameTable { payoffs, sample: Some(sample), names: Some(names), strategies: Some(strategies) }
    }

    #[test]
    fn every_format_returns_what_it_can_hold() {
        let desk = tempfile::tempdir().unwrap();
        let table = full();
        let bare = GameTable::from(table.payoffs.clone());
        let keeps = [
            ("a.npz", table.clone()),
            ("a.csv", GameTable { strategies: None, ..table.clone() }),
            ("a.npy", bare.clone()),
            ("a.nfg", bare.clone()),
        ];
        for (name, kept) in keeps {
            let path = desk.path().join(name);
            write(&path, &table).unwrap();
            let found = read(&path).unwrap();
            assert_eq!(
                (&found.payoffs, &found.names, &found.strategies),
                (&kept.payoffs, &kept.names, &kept.strategies)
            );
            assert_eq!(found.sample.as_ref().map(|s| &s.count), kept.sample.as_ref().map(|s| &s.count), "{name}");
            let variances = |table: &GameTable| table.sample.clone().map_or(Vec::new(), |s| s.variance);
            // A CSV holds the standard deviation, whose square is rounded.
            assert!(variances(&found).iter().zip(variances(&kept)).all(|(x, y)| (x - y).abs() <= 1e-15 * y), "{name}");
            let again = write(&path, &table).unwrap_err().to_string();
            assert!(again.ends_with("it exists"), "{again}");
        }
        for (name, kept) in [("b.npz", &bare), ("b.csv", &bare)] {
            let path = desk.path().join(name);
            write(&path, &bare).unwrap();
            assert_eq!(read(&path).unwrap().payoffs, kept.payoffs);
        }
    }

    #[test]
    fn what_is_no_game_is_named_with_its_place() {
        let desk = tempfile::tempdir().unwrap();
        let cases = [
            ("a.txt", "1", "the format cannot be told from the name"),
            ("empty.csv", "", "matrix is empty"),
            ("nan.csv", "1,2\n3,NaN\n", "entry (1, 1): `NaN` is not a finite number"),
            ("inf.csv", "1,inf\n3,4\n", "entry (0, 1): `inf` is not a finite number"),
            ("ragged.csv", "1,2\n3\n", "row 1: expected 2 values, found 1"),
            ("word.csv", "1,2\n3,x\n", "entry (1, 1): `x` is not a number"),
            ("mean.csv", "row,col,mean\na,x,inf\n", "entry (`a`, `x`): `inf` is not a finite number"),
            ("n.csv", "row,col,mean,n,sd\na,x,1,-2,0\n", "entry (`a`, `x`): `-2` is not a count"),
            ("sd.csv", "row,col,mean,n,sd\na,x,1,2,-1\n", "entry (`a`, `x`): `-1` is not a standard deviation"),
            ("long.csv", "row,col,mean\na,x,1\na,y,2\nb,x,3\n", "entry (`b`, `y`) is missing"),
            ("twice.csv", "row,col,mean\na,x,1\na,x,2\n", "entry (`a`, `x`) is given twice"),
            ("bad.npy", "no array", "not an array of numpy's"),
            ("bad.npz", "no archive", "not an archive of numpy's"),
            ("bad.nfg", "EFG 2 R", "not a game in Gambit's strategic form"),
            ("short.nfg", "NFG 1 R \"t\" { \"a\" \"b\" } { 2 2 }\n\n1 -1 2 -2 3\n", "expected 8 payoffs, found 5"),
            (
                "sum.nfg",
                "NFG 1 R \"t\" { \"a\" \"b\" } { 1 2 }\n\n1 -1 2 2\n",
                "entry (0, 1): payoffs 2 and 2 do not sum to 0",
            ),
        ];
        for (name, text, problem) in cases {
            let path = desk.path().join(name);
            std::fs::write(&path, text).unwrap();
            let said = read(&path).unwrap_err().to_string();
            assert!(said.contains(problem), "{name}: {said}");
        }
    }
}
