//! Measures `grts_game::nash` beside HiGHS on games of every kind and shape, one thread, in turn.
//!
//! Every round draws fresh games from its own seed; grts solves one, then HiGHS the same one by simplex and by interior
//! point, from a file. A ratio is taken inside a round, against the better of the two, and the table has the median with
//! the extremes. HiGHS runs in a process of its own, whose clock runs while it solves and not while Python builds the
//! model. The warm row is a game solved at 299 × 299, then with one row and one column more, beside a cold solution by
//! HiGHS.

use crate::bench_peers::environment::{Venv, finish_with_output};
use crate::bench_peers::sample::{median, processor};
use anyhow::{Context as _, Result, ensure};
use clap::Args;
use grts::exchange::{self, GameTable};
use grts_game::stream::{StreamKey, unit};
use grts_game::{Matrix, nash};
use rand_core::Rng;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const HOME: &str = "target/nash";
/// Rank of the low-rank games and weight of their noise.
const RANK: usize = 10;
const NOISE: f64 = 0.1;

#[derive(Args)]
pub struct Settings {
    /// Rounds, each with fresh games.
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    /// Games of at most this many rows.
    #[arg(long, default_value_t = 1000)]
    largest: usize,
    /// Seed of the first round's games.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Uniform,
    LowRank,
    Skill,
    Warm,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::LowRank => "low rank + noise",
            Self::Skill => "skill",
            Self::Warm => "uniform, warm",
        }
    }

    fn game(self, rows: usize, cols: usize, rng: &mut impl Rng) -> Result<Matrix> {
        let mut normal = || (-2.0 * (1.0 - unit(rng)).ln()).sqrt() * (std::f64::consts::TAU * unit(rng)).cos();
        let mut normals = |n: usize| (0..n).map(|_| normal()).collect::<Vec<_>>();
        Ok(match self {
            Self::Uniform | Self::Warm => Matrix::from_fn(rows, cols, |_, _| 2.0 * unit(rng) - 1.0)?,
            Self::LowRank => {
                let (u, v, noise) = (normals(rows * RANK), normals(cols * RANK), normals(rows * cols));
                let common = |i: usize, j: usize| (0..RANK).map(|k| u[i * RANK + k] * v[j * RANK + k]).sum::<f64>();
                let entry = |i, j| common(i, j) / (RANK as f64).sqrt() + NOISE * noise[i * cols + j];
                Matrix::from_fn(rows, cols, entry)?
            }
            // A transitive part and an antisymmetric noise (Czarnecki et al. 2020, Elo games with noise).
            Self::Skill => {
                let n = rows.max(cols);
                let (skill, noise) = (normals(n), normals(n * n));
                let entry = |i, j| skill[i] - skill[j] + 0.5 * (noise[i * n + j] - noise[j * n + i]);
                Matrix::from_fn(rows, cols, entry)?
            }
        })
    }
}

#[derive(Deserialize)]
struct Peer {
    method: String,
    seconds: f64,
    nash_conv: f64,
}

/// One game of one round.
struct Outcome {
    grts: f64,
    regret: f64,
    peers: Vec<Peer>,
}

pub fn run(settings: &Settings) -> Result<()> {
    let (home, venv) = highs()?;
    let mut outcomes: BTreeMap<usize, Vec<Outcome>> = BTreeMap::new();
    let cases: Vec<_> = cases().into_iter().filter(|(_, rows, cols)| *rows.max(cols) <= settings.largest).collect();
    for round in 0..settings.rounds {
        for (idx, &(kind, rows, cols)) in cases.iter().enumerate() {
            eprintln!("round {}/{}: {} {rows} × {cols}", round + 1, settings.rounds, kind.name());
            let seed = settings.seed + round;
            let key = StreamKey { seed, iteration: 0, purpose: 0, entry: idx as u64, episode: 0, turn: 0 };
            let game = kind.game(rows, cols, &mut key.rng())?;
            let (grts, regret) = ours(kind, &game)?;
            let file = home.join("game.npy");
            let _ = std::fs::remove_file(&file);
            exchange::write(&file, &GameTable::from(game))?;
            let peers = theirs(&venv, &file)?;
            outcomes.entry(idx).or_default().push(Outcome { grts, regret, peers });
        }
    }
    print!("{}", markdown(&cases, &outcomes, settings));
    Ok(())
}

/// A folder for games, and the environment that has HiGHS.
pub fn highs() -> Result<(PathBuf, Venv)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let home = root.join(HOME);
    std::fs::create_dir_all(&home).with_context(|| format!("cannot create `{}`", home.display()))?;
    let venv = Venv { directory: home.join("venv"), scripts: root.join("xtask/peers") };
    venv.create().and_then(|()| venv.install("requirements-nash.txt")).context("HiGHS cannot be installed")?;
    Ok((home, venv))
}

fn cases() -> Vec<(Kind, usize, usize)> {
    let square = [50, 300, 1000].map(|n| (n, n));
    let shapes = square.into_iter().chain([(2, 300), (300, 5), (1, 300)]);
    let kinds = [Kind::Uniform, Kind::LowRank, Kind::Skill];
    let all = shapes.flat_map(|(m, n)| kinds.map(|kind| (kind, m, n)));
    all.chain([(Kind::Warm, 300, 300)]).collect()
}

/// Median seconds of grts and its NashConv as a share of the payoff range.
fn ours(kind: Kind, game: &Matrix) -> Result<(f64, f64)> {
    let mut basis = nash::Basis::default();
    if kind == Kind::Warm {
        let before = Matrix::from_fn(game.rows() - 1, game.cols() - 1, |row, col| game.get(row, col))?;
        nash::solve_from(&before, &mut basis)?;
    }
    let mut seconds = Vec::new();
    let mut regret = 0.0;
    while seconds.is_empty() || (seconds.iter().sum::<f64>() < 0.1 && seconds.len() < 15) {
        let begun = Instant::now();
        let answer = nash::solve_from(game, &mut basis.clone())?;
        seconds.push(begun.elapsed().as_secs_f64());
        let (low, high) = game.range();
        regret = answer.nash_conv / (high - low);
    }
    Ok((median(&seconds).context("no time was taken")?, regret))
}

fn theirs(venv: &Venv, game: &Path) -> Result<Vec<Peer>> {
    let mut command = Command::new(venv.python());
    command.arg(venv.scripts.join("peer_highs.py")).arg(game);
    for variable in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"] {
        command.env(variable, "1");
    }
    let said = finish_with_output(&mut command)?;
    // HiGHS greets on stdout whatever it is told.
    let lines = said.lines().filter(|line| line.starts_with('{'));
    let peers = lines.map(serde_json::from_str).collect::<Result<Vec<_>, _>>().context("not measurements")?;
    ensure!(!peers.is_empty(), "HiGHS measured nothing");
    Ok(peers)
}

fn markdown(cases: &[(Kind, usize, usize)], outcomes: &BTreeMap<usize, Vec<Outcome>>, settings: &Settings) -> String {
    let mut out = format!(
        "{}; {} rounds from seed {}; one thread; ms, medians; NashConv is the largest, as a share of the range\n\n",
        processor().unwrap_or_default(),
        settings.rounds,
        settings.seed
    );
    out += "| game | grts | NashConv | HiGHS simplex | HiGHS IPM | NashConv of the better | HiGHS ÷ grts |\n|---|---|---|---|---|---|---|\n";
    let mut ratios = Vec::new();
    for (idx, &(kind, rows, cols)) in cases.iter().enumerate() {
        let Some(rounds) = outcomes.get(&idx) else { continue };
        let of =
            |pick: &dyn Fn(&Outcome) -> f64| median(&rounds.iter().map(pick).collect::<Vec<_>>()).unwrap_or_default();
        let seconds =
            |o: &Outcome, name: &str| o.peers.iter().find(|p| p.method == name).map_or(f64::NAN, |p| p.seconds);
        let better = |o: &Outcome| seconds(o, "simplex").min(seconds(o, "ipm"));
        let regret = rounds.iter().map(|o| o.regret).fold(0.0, f64::max);
        let peer_regret =
            of(&|o: &Outcome| o.peers.iter().find(|p| p.seconds == better(o)).map_or(f64::NAN, |p| p.nash_conv));
        let all: Vec<f64> = rounds.iter().map(|o| better(o) / o.grts).collect();
        let (least, most) = all.iter().fold((f64::MAX, f64::MIN), |(l, h), r| (l.min(*r), h.max(*r)));
        let ratio = median(&all).unwrap_or_default();
        if kind != Kind::Warm {
            ratios.push(ratio);
        }
        out += &format!(
            "| {} {rows} × {cols} | {:.3} | {regret:.0e} | {:.3} | {:.3} | {peer_regret:.0e} | {ratio:.1} [{least:.1}, {most:.1}] |\n",
            kind.name(),
            1e3 * of(&|o: &Outcome| o.grts),
            1e3 * of(&|o: &Outcome| seconds(o, "simplex")),
            1e3 * of(&|o: &Outcome| seconds(o, "ipm")),
        );
    }
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    out += &format!("\nover the cold rows: least {least:.1}, median {:.1}\n", median(&ratios).unwrap_or_default());
    out
}
