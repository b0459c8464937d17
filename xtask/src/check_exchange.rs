//! Opens what `grts` writes in the programs that it is written for, and the other way round.
//!
//! Three games (a small one with awkward names, a recorded one, one of wild scales) are written in every format; each
//! program loads what it can and compares to the bit, solves what it can solve, and writes the games itself, which `grts`
//! must read to the same bits. The programs come from a package index, so one that cannot be installed is named and left
//! out; a check that fails makes the task fail.

use crate::bench_peers::environment::{Venv, finish_with_output};
use anyhow::{Context as _, Result, bail};
use grts::exchange::{self, GameTable};
use grts::meta_game::Recorded;
use grts_game::stream::{StreamKey, unit};
use grts_game::{MetaGame, Moments, nash};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

const HOME: &str = "target/exchange";
const RECORDED: &str = "crates/grts-game/tests/fixtures/meridian-21x21.csv";
const ENDINGS: [&str; 5] = ["npy", "npz", "csv", "parquet", "nfg"];
/// A program and what it is installed from.
const PROGRAMS: [(&str, &str); 4] = [
    ("numpy", "requirements-pandas.txt"),
    ("pandas", "requirements-pandas.txt"),
    ("pygambit", "requirements-pygambit.txt"),
    ("open_spiel", "requirements-open-spiel.txt"),
];

/// One thing that a program did with one game.
#[derive(Debug, Deserialize)]
struct Check {
    game: String,
    file: String,
    what: String,
    ok: bool,
    note: String,
}

pub fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let home = root.join(HOME);
    let folder = home.join("games");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    let games = [("awkward", awkward()?), ("recorded", recorded(&root.join(RECORDED))?), ("scales", scales()?)];
    for (name, table) in &games {
        write(&folder, name, table)?;
    }
    let venv = Venv { directory: home.join("venv"), scripts: root.join("xtask/exchange") };
    let mut failed = 0;
    println!("| program | file | what | games | |\n|---|---|---|---|---|");
    for (program, list) in PROGRAMS {
        match venv.create().and_then(|()| venv.install(list)) {
            Err(error) => println!("| {program} | | skipped: {error:#} | | |"),
            Ok(()) => failed += report(program, &checks(&venv, program, &folder, &games)?),
        }
    }
    if failed > 0 {
        bail!("{failed} checks failed");
    }
    Ok(())
}

/// What a program says of the games, and what we say of those that it wrote.
fn checks(venv: &Venv, program: &str, folder: &Path, games: &[(&str, GameTable)]) -> Result<Vec<Check>> {
    let mut command = Command::new(venv.python());
    let said = finish_with_output(command.arg(venv.scripts.join("check.py")).arg(program).arg(folder))?;
    let lines = said.lines().filter(|line| line.starts_with('{'));
    let mut checks: Vec<Check> = lines.map(serde_json::from_str).collect::<Result<_, _>>().context("no checks")?;
    let from = folder.join(format!("from-{program}"));
    let mut written = fs::read_dir(&from)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    written.sort();
    for path in written {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (name, how) = stem.split_once('-').unwrap_or((&stem, ""));
        let Some((_, table)) = games.iter().find(|(game, _)| *game == name) else { continue };
        let file = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        let (ok, note) = match exchange::read(&path) {
            Ok(found) => (same(&found, table, &file), String::new()),
            Err(error) => (false, error.to_string()),
        };
        let what = format!(
            "written there{}, read by `grts`: equal",
            if how.is_empty() { String::new() } else { format!(" ({how})") }
        );
        checks.push(Check { game: name.to_owned(), file, what, ok, note });
    }
    Ok(checks)
}

/// Whether what a file of this ending holds is that of the game: to the bit, but for Gambit's.
fn same(found: &GameTable, table: &GameTable, ending: &str) -> bool {
    let spreads = |table: &GameTable| {
        table.sample.as_ref().map(|sample| sample.variance.iter().map(|of| of.sqrt()).collect::<Vec<_>>())
    };
    let counts =
        |table: &GameTable| table.sample.as_ref().map(|sample| (sample.count.clone(), sample.interval.clone()));
    if ending == "nfg" {
        // OpenSpiel writes fifteen digits.
        let (found, wanted) = (found.payoffs.as_slice(), table.payoffs.as_slice());
        return found.len() == wanted.len() && found.iter().zip(wanted).all(|(a, b)| (a - b).abs() <= 1e-14 * b.abs());
    }
    let payoffs = found.payoffs == table.payoffs;
    let rest = found.names == table.names && counts(found) == counts(table) && spreads(found) == spreads(table);
    payoffs && (ending == "npy" || rest)
}

/// Prints a line for everything that was tried; returns how many of them failed.
fn report(program: &str, checks: &[Check]) -> usize {
    let mut lines: BTreeMap<(&str, &str), Vec<&Check>> = BTreeMap::new();
    checks.iter().for_each(|check| lines.entry((&check.file, &check.what)).or_default().push(check));
    for ((file, what), checks) in lines {
        let games = checks.iter().map(|check| check.game.as_str()).collect::<Vec<_>>().join(", ");
        let failures =
            checks.iter().filter(|check| !check.ok).map(|check| format!("**no**, {}: {}", check.game, check.note));
        let notes = checks.iter().filter(|check| check.ok && !check.note.is_empty()).map(|check| check.note.clone());
        let said = failures.chain(notes).collect::<Vec<_>>().join("; ");
        println!("| {program} | {file} | {what} | {games} | {said} |");
    }
    checks.iter().filter(|check| !check.ok).count()
}

/// Every format, and the truth beside it.
fn write(folder: &Path, name: &str, table: &GameTable) -> Result<()> {
    for ending in ENDINGS {
        exchange::write(&folder.join(name).with_extension(ending), table)?;
    }
    let cols = table.payoffs.cols();
    let sample = table.sample.as_ref().context("every game is sampled")?;
    let [low, high] = sample.interval.as_ref().context("with intervals")?;
    let [row_names, col_names] = table.names.as_ref().context("with names")?;
    let [row, col] = table.strategies.as_ref().context("and solved")?;
    let by_row = |values: &[f64]| values.chunks(cols).map(<[f64]>::to_vec).collect::<Vec<_>>();
    let truth = json!({
        "payoff": by_row(table.payoffs.as_slice()),
        "count": sample.count.chunks(cols).collect::<Vec<_>>(),
        "variance": by_row(&sample.variance),
        "low": by_row(low),
        "high": by_row(high),
        "row_names": row_names,
        "col_names": col_names,
        "row": row,
        "col": col,
        "value": nash::solve(&table.payoffs)?.value,
    });
    Ok(fs::write(folder.join(name).with_extension("json"), truth.to_string())?)
}

/// A game as a run has it: samples, and an equilibrium of their means.
fn played(range: (f64, f64), entries: &[Vec<Moments>], names: [Vec<String>; 2]) -> Result<GameTable> {
    let mut game = MetaGame::new(range)?;
    names[0].iter().for_each(|_| _ = game.add_row());
    names[1].iter().for_each(|_| _ = game.add_col());
    for (row, entries) in entries.iter().enumerate() {
        for (col, entry) in entries.iter().enumerate() {
            game.merge(row, col, *entry)?;
        }
    }
    let solved = nash::solve(&game.payoffs()?)?;
    Ok(Recorded { game, names: Some(names), strategies: Some([solved.row, solved.col]) }.table()?)
}

/// Seven graded returns an entry, and names that want quoting.
fn awkward() -> Result<GameTable> {
    let names = [vec!["base", "red, \"1\"", "réd-2"], vec!["base", "NA", "1", "007"]];
    let names = names.map(|side| side.into_iter().map(str::to_owned).collect::<Vec<_>>());
    let mut rng = StreamKey { seed: 1, iteration: 0, purpose: 0, entry: 0, episode: 0, turn: 0 }.rng();
    let mut entry = || (0..7).map(|_| 2.0 * unit(&mut rng) - 1.0).collect::<Moments>();
    let entries: Vec<Vec<Moments>> = (0..3).map(|_| (0..4).map(|_| entry()).collect()).collect();
    played((-1.0, 1.0), &entries, names)
}

/// The meta-game of a run of the built-in world: shares of 96 dialogues.
fn recorded(path: &Path) -> Result<GameTable> {
    let payoffs = exchange::read(path)?.payoffs;
    let entry = |mean: &f64| Moments { count: 96, mean: *mean, m2: 96.0 * mean * (1.0 - mean) };
    let entries: Vec<Vec<Moments>> =
        (0..payoffs.rows()).map(|row| payoffs.row(row).iter().map(entry).collect()).collect();
    let name = |side: &str, n: usize| (0..n).map(|idx| format!("{side}-{idx}")).collect();
    played((0.0, 1.0), &entries, [name("red", payoffs.rows()), name("blue", payoffs.cols())])
}

/// Numbers that a writer may spoil.
fn scales() -> Result<GameTable> {
    let means = [[1e-12, 2.5e30, 1.0 / 3.0], [-1e-7, 0.0, 123_456_789.123_456_79]];
    let entries = means.map(|row| row.map(|mean| Moments { count: 3, mean, m2: mean.abs() }).to_vec());
    let names = [2, 3].map(|n: usize| (0..n).map(|idx| idx.to_string()).collect());
    played((-1e31, 1e31), &entries, names)
}
