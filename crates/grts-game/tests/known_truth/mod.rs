//! Games whose every payoff is known, played one dialogue at a time: what claims about samples are held against.

use grts_game::sampling::{Campaign, Draw, Settings};
use grts_game::stream::{StreamKey, unit};
use grts_game::{Equilibrium, GameError, Matrix, MetaGame};
use rand_core::Rng;

/// How a game's payoffs and returns come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// ½ (W_ij − W_ji) + S_i − S_j, W and S standard normal, divided by its largest entry and moved to [0, 1]
    /// (Czarnecki et al. 2020); returns are 0 or 1.
    Skill,
    /// Payoffs uniform on [0, 1]; returns are 0 or 1.
    Uniform,
    /// Every payoff ½: all profiles are equilibria, all deviations tie. Returns are 0 or 1.
    Tied,
    /// Payoffs uniform on [0, 0.05]; returns are 0 or 1.
    Rare,
    /// Payoffs uniform on [0, 1]; returns are 0, ½ or 1.
    Graded,
}

pub const FAMILIES: [Family; 5] = [Family::Skill, Family::Uniform, Family::Tied, Family::Rare, Family::Graded];

/// Mean returns and how a single one is drawn.
pub struct Truth {
    pub payoffs: Matrix,
    pub graded: bool,
}

pub fn rng(seed: u64, purpose: u32) -> impl Rng {
    StreamKey { seed, iteration: 0, purpose, entry: 0, episode: 0, turn: 0 }.rng()
}

fn normal(rng: &mut impl Rng) -> f64 {
    let (radius, angle) = (1.0 - unit(rng), std::f64::consts::TAU * unit(rng));
    (-2.0 * radius.ln()).sqrt() * angle.cos()
}

impl Truth {
    pub fn new(family: Family, [rows, cols]: [usize; 2], rng: &mut impl Rng) -> Self {
        let payoffs = match family {
            Family::Skill => return Self { payoffs: skill(rows, rng), graded: false },
            Family::Tied => Matrix::from_fn(rows, cols, |_, _| 0.5),
            Family::Rare => Matrix::from_fn(rows, cols, |_, _| 0.05 * unit(rng)),
            Family::Uniform | Family::Graded => Matrix::from_fn(rows, cols, |_, _| unit(rng)),
        };
        Self { payoffs: payoffs.unwrap(), graded: family == Family::Graded }
    }

    /// The means of the 21 × 21 meta-game of a `grts solve --seed 1 --iterations 20` (method `psro`, 96 dialogues an
    /// entry, machine C, 2026-11-25), written by `xtask/sampling/record.py`.
    pub fn recorded() -> Self {
        let text = include_str!("../fixtures/meridian-21x21.csv");
        let rows: Vec<Vec<f64>> =
            text.lines().map(|line| line.split(',').map(|x| x.parse().unwrap()).collect()).collect();
        Self { payoffs: Matrix::from_rows(&rows).unwrap(), graded: false }
    }

    pub fn shape(&self) -> [usize; 2] {
        [self.payoffs.rows(), self.payoffs.cols()]
    }

    /// One return of an entry.
    pub fn play(&self, row: usize, col: usize, rng: &mut impl Rng) -> f64 {
        let mean = self.payoffs.get(row, col);
        let success = |rng: &mut _| f64::from(unit(rng) < mean);
        if self.graded { f64::midpoint(success(rng), success(rng)) } else { success(rng) }
    }

    /// NashConv of a profile in the true game.
    pub fn nash_conv(&self, profile: &Equilibrium) -> f64 {
        Equilibrium::of_profile(&self.payoffs, profile.row.clone(), profile.col.clone()).nash_conv
    }

    /// A sampled game of this shape without dialogues.
    pub fn unplayed(&self) -> MetaGame {
        let mut game = MetaGame::new((0.0, 1.0)).unwrap();
        let [rows, cols] = self.shape();
        (0..rows).for_each(|_| _ = game.add_row());
        (0..cols).for_each(|_| _ = game.add_col());
        game
    }
}

fn skill(n: usize, rng: &mut impl Rng) -> Matrix {
    let skills: Vec<f64> = (0..n).map(|_| normal(rng)).collect();
    let luck = Matrix::from_fn(n, n, |_, _| normal(rng)).unwrap();
    let returns = |i, j| 0.5 * (luck.get(i, j) - luck.get(j, i)) + skills[i] - skills[j];
    let largest = Matrix::from_fn(n, n, returns).unwrap().range().1.max(f64::MIN_POSITIVE);
    Matrix::from_fn(n, n, |i, j| 0.5 + 0.5 * returns(i, j) / largest).unwrap()
}

/// A campaign on a game of known truth.
pub struct Trial<'a> {
    pub truth: &'a Truth,
    pub game: MetaGame,
    pub campaign: Campaign,
    pub dialogues: usize,
}

impl<'a> Trial<'a> {
    pub fn new(truth: &'a Truth, delta: f64, first: u64) -> Self {
        let [rows, cols] = truth.shape();
        let campaign = Campaign::new(Settings { delta, first, policies: rows + cols });
        Self { truth, game: truth.unplayed(), campaign, dialogues: 0 }
    }

    /// Plans, plays and records one round.
    pub fn round(&mut self, dialogues: usize, rng: &mut impl Rng) -> Result<Vec<Draw>, GameError> {
        let draws = self.campaign.plan(&self.game, dialogues, rng)?;
        for draw in &draws {
            let value = self.truth.play(draw.row, draw.col, rng);
            self.campaign.record(&mut self.game, draw, value)?;
        }
        self.dialogues += draws.len();
        Ok(draws)
    }
}
