//! All measures of one game, as a plain record.

use super::agents::{Agents, is_symmetric_game};
use super::clusters::{Cluster, effective_diversity, nash_clusters, relative_performances, three_cycles};
use super::elo::{elo, prediction_errors};
use super::gamescape::gamescape;
use super::split::Split;
use crate::alpha_rank::{self, Selection};
use crate::stream::{StreamKey, unit};
use crate::{Estimate, GameError, Matrix, MetaGame, Moments};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

/// Agents above which clusters and cycles are not computed: both take a time that grows with the cube.
const MOST_AGENTS: usize = 4096;

/// α-rank in the limit; the size of the population decides about ties only.
const SELECTION: Selection = Selection { alpha: None, population: 50 };

/// Rotations that multidimensional Elo keeps.
const ROTATIONS: usize = 1;

/// Draws per pair that keep ratings finite where payoffs are exact (OpenSpiel's default) and where they are sampled.
const EXACT_SMOOTHING: f64 = 0.01;
const SAMPLED_SMOOTHING: f64 = 0.5;

/// How a survey is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Games drawn for the intervals; 0 for none.
    pub resamples: usize,
    /// Seed of those draws.
    pub seed: u64,
}

/// One layer of the spinning top.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Number of agents.
    pub size: usize,
    /// The agents; where they are pairs, agent `a` is red policy `a / cols` with blue policy `a % cols`.
    pub members: Vec<usize>,
    /// Mean relative population performance against all other clusters; 0 if there is no other.
    pub strength: f64,
    /// Relative population performance against the next cluster; `None` for the last.
    pub over_next: Option<f64>,
}

/// The hull of what a side's policies do to the other side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Landscape {
    /// Affine dimension of the policies' payoff vectors.
    pub dimension: usize,
    /// Area of the hull in the plane of their largest differences.
    pub area: Estimate,
    /// Coordinates of each policy in that plane.
    pub points: Vec<[f64; 2]>,
    /// Policies at the corners of the hull, counter-clockwise.
    pub hull: Vec<usize>,
}

/// The shape of a game.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Survey {
    /// Red policies.
    pub rows: usize,
    /// Blue policies.
    pub cols: usize,
    /// Agents of the symmetric game; `rows · cols` pairs unless the payoffs are antisymmetric.
    pub agents: usize,
    /// Share of the game that ratings explain, 0 to 1; the rest goes round.
    pub transitive_share: Estimate,
    /// Share of the cyclic part that its strongest rotation makes up.
    pub first_rotation: Estimate,
    /// Singular values of the cyclic part, descending.
    pub rotations: Vec<f64>,
    /// Triples of agents that beat each other in a circle; `None` for more than 4,096 agents.
    pub three_cycles: Option<Estimate>,
    /// Σ ⌊P⌋₊ under the equilibrium of largest entropy.
    pub effective_diversity: Option<Estimate>,
    /// Number of Nash clusters.
    pub num_clusters: Option<Estimate>,
    /// The spinning top, strongest layer first.
    pub clusters: Vec<ClusterRecord>,
    /// Elo rating of each red policy; the lowest of all is 0.
    pub red_elo: Vec<Estimate>,
    /// Of each blue policy. Of an antisymmetric game, the same as red's.
    pub blue_elo: Vec<Estimate>,
    /// How often α-rank plays each red policy, in the limit of an infinite α; empty for more than 4,096 agents, or more than
    /// 2,500 that it goes on playing.
    pub red_alpha_rank: Vec<Estimate>,
    /// Each blue policy. Of an antisymmetric game, the same as red's.
    pub blue_alpha_rank: Vec<Estimate>,
    /// Agents that it goes on playing; 1 where one of them is stable.
    pub alpha_rank_support: Option<Estimate>,
    /// Mean absolute error of the winning probabilities that ratings predict.
    pub elo_error: Estimate,
    /// The same with one rotation more (mElo₂).
    pub melo_error: Estimate,
    /// What red's policies do to blue's.
    pub red: Landscape,
    /// What blue's do to red's.
    pub blue: Landscape,
    /// Draws behind the intervals; 0 if payoffs are exact.
    pub resamples: usize,
}

/// The shape of a sampled game, with bootstrap intervals.
///
/// # Errors
/// An entry was never played, or a decomposition or equilibrium was not found.
pub fn survey(game: &MetaGame, settings: &Settings) -> Result<Survey, GameError> {
    let total =
        (0..game.num_rows()).flat_map(|row| (0..game.num_cols()).map(move |col| game.entry(row, col).count)).sum();
    let normalise = Normalise { range: game.payoff_range(), smoothing: SAMPLED_SMOOTHING };
    let count = |row: usize, col: usize| game.entry(row, col).count as f64;
    let point = Measures::of(game.payoffs()?, &normalise, &count)?;
    let redraw = |draw: usize| Measures::of(resample(game, settings.seed, draw)?, &normalise, &count);
    let draws = (0..settings.resamples).map(redraw).collect::<Result<Vec<_>, _>>()?;
    point.survey(&draws, total)
}

/// The shape of a game whose payoffs are exact.
///
/// # Errors
/// A decomposition or equilibrium was not found.
pub fn survey_exact(payoffs: &Matrix) -> Result<Survey, GameError> {
    let (low, high) = payoffs.range();
    // Winning chances of an antisymmetric game must be antisymmetric around ½.
    let range = if is_symmetric_game(payoffs) { (-high, high) } else { (low, high) };
    let normalise = Normalise { range, smoothing: EXACT_SMOOTHING };
    Measures::of(payoffs.clone(), &normalise, &|_, _| 1.0)?.survey(&[], 1)
}

/// Payoffs drawn anew, each from a normal distribution around its mean, cut to the range of payoffs.
///
/// The variance counts one more return at each end of the range, so that an entry of twenty equal returns is not certain.
fn resample(game: &MetaGame, seed: u64, draw: usize) -> Result<Matrix, GameError> {
    let mut rng = StreamKey { seed, iteration: 0, purpose: 1, entry: draw as u64, episode: 0, turn: 0 }.rng();
    let (low, high) = game.payoff_range();
    let normal = Normal::standard();
    let ends: Moments = [low, high].into_iter().collect();
    Matrix::from_fn(game.num_rows(), game.num_cols(), |row, col| {
        let entry = game.entry(row, col);
        let mut widened = *entry;
        widened.merge(ends);
        let error = (widened.variance() / widened.count as f64).sqrt();
        let quantile = normal.inverse_cdf(unit(&mut rng) + 0.5 / (1_u64 << 53) as f64);
        (entry.mean + error * quantile).clamp(low, high)
    })
}

/// From payoffs to chances of winning.
struct Normalise {
    range: (f64, f64),
    smoothing: f64,
}

impl Normalise {
    fn chance(&self, payoff: f64) -> f64 {
        let (low, high) = self.range;
        if high > low { ((payoff - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 }
    }

    /// Wins of every player over every other: rows first and then columns, or one population if the game is symmetric.
    fn wins(&self, payoffs: &Matrix, count: &dyn Fn(usize, usize) -> f64) -> Result<Matrix, GameError> {
        let (m, n) = (payoffs.rows(), payoffs.cols());
        let red = |row, col| count(row, col) * self.chance(payoffs.get(row, col)) + self.smoothing;
        let blue = |row, col| count(row, col) * (1.0 - self.chance(payoffs.get(row, col))) + self.smoothing;
        if is_symmetric_game(payoffs) {
            return Matrix::from_fn(n, n, red);
        }
        Matrix::from_fn(m + n, m + n, |i, j| match (i < m, j < m) {
            (true, false) => red(i, j - m),
            (false, true) => blue(j, i - m),
            _ => 0.0,
        })
    }

    /// Smoothed chances of the row player.
    fn chances(&self, payoffs: &Matrix, count: &dyn Fn(usize, usize) -> f64) -> Result<Matrix, GameError> {
        Matrix::from_fn(payoffs.rows(), payoffs.cols(), |row, col| {
            let games = count(row, col);
            (games * self.chance(payoffs.get(row, col)) + self.smoothing) / (games + 2.0 * self.smoothing)
        })
    }
}

/// What depends on the number of agents.
struct Layers {
    agents: Agents,
    clusters: Vec<Cluster>,
    three_cycles: u64,
    evolution: Option<Evolution>,
}

/// What α-rank goes on playing.
struct Evolution {
    red: Vec<f64>,
    blue: Vec<f64>,
    support: usize,
}

impl Evolution {
    fn of(payoffs: &Matrix) -> Result<Self, GameError> {
        let support = |mass: &[f64]| mass.iter().filter(|mass| **mass > 0.0).count();
        if is_symmetric_game(payoffs) {
            let red = alpha_rank::of_population(payoffs, &SELECTION)?;
            return Ok(Self { support: support(&red), blue: red.clone(), red });
        }
        let pairs = alpha_rank::of_pairs(payoffs, &SELECTION)?;
        let (red, blue) = alpha_rank::marginals(&pairs);
        Ok(Self { red, blue, support: support(pairs.as_slice()) })
    }
}

/// All measures of one matrix.
struct Measures {
    payoffs: Matrix,
    split: Split,
    layers: Option<Layers>,
    elo: Vec<f64>,
    errors: (f64, f64),
}

impl Measures {
    fn of(payoffs: Matrix, normalise: &Normalise, count: &dyn Fn(usize, usize) -> f64) -> Result<Self, GameError> {
        let split = Split::of(&payoffs)?;
        let agents = Agents::of(&payoffs)?;
        let layers = if agents.len() <= MOST_AGENTS {
            let (clusters, three_cycles) = (nash_clusters(&agents)?, three_cycles(&agents, 0.0));
            // All that can be wrong is that it goes on playing too many.
            let evolution = Evolution::of(&payoffs).ok();
            Some(Layers { agents, clusters, three_cycles, evolution })
        } else {
            None
        };
        let elo = elo(&normalise.wins(&payoffs, count)?)?;
        let errors = prediction_errors(&normalise.chances(&payoffs, count)?, ROTATIONS)?;
        Ok(Self { payoffs, split, layers, elo, errors })
    }

    fn first_rotation(&self) -> f64 {
        let squares: Vec<f64> = self.split.rotations().iter().map(|value| value * value).collect();
        let total: f64 = squares.iter().sum();
        let first = if is_symmetric_game(&self.payoffs) { 2 } else { 1 };
        if total > 0.0 { squares.iter().take(first).sum::<f64>() / total } else { 0.0 }
    }

    fn survey(&self, draws: &[Self], n: u64) -> Result<Survey, GameError> {
        let interval = |of: &dyn Fn(&Self) -> f64| percentiles(of(self), draws.iter().map(of).collect(), n);
        let of_layers = |of: &dyn Fn(&Layers) -> f64| {
            self.layers.as_ref().map(|_| interval(&|measures| measures.layers.as_ref().map_or(0.0, of)))
        };
        let first =
            |layers: &Layers| layers.clusters.first().map_or(0.0, |top| effective_diversity(&layers.agents, top));
        fn evolution(measures: &Measures) -> Option<&Evolution> {
            measures.layers.as_ref()?.evolution.as_ref()
        }
        let of_evolution = |of: &dyn Fn(&Evolution) -> f64| {
            let drawn = draws.iter().filter_map(|draw| evolution(draw).map(of)).collect();
            evolution(self).map(|found| percentiles(of(found), drawn, n))
        };
        let (rows, cols) = (self.payoffs.rows(), self.payoffs.cols());
        let shift = if is_symmetric_game(&self.payoffs) { 0 } else { rows };
        let rating = |at: usize| interval(&|measures: &Self| measures.elo[at]);
        Ok(Survey {
            rows,
            cols,
            agents: self.layers.as_ref().map_or(rows * cols, |layers| layers.agents.len()),
            transitive_share: interval(&|measures| measures.split.transitive_share()),
            first_rotation: interval(&Self::first_rotation),
            rotations: self.split.rotations(),
            three_cycles: of_layers(&|layers| layers.three_cycles as f64),
            effective_diversity: of_layers(&first),
            num_clusters: of_layers(&|layers| layers.clusters.len() as f64),
            clusters: self.layers.as_ref().map_or(Ok(Vec::new()), records)?,
            red_elo: (0..rows).map(rating).collect(),
            blue_elo: (shift..shift + cols).map(rating).collect(),
            red_alpha_rank: (0..rows).filter_map(|row| of_evolution(&|found| found.red[row])).collect(),
            blue_alpha_rank: (0..cols).filter_map(|col| of_evolution(&|found| found.blue[col])).collect(),
            alpha_rank_support: of_evolution(&|found| found.support as f64),
            elo_error: interval(&|measures| measures.errors.0),
            melo_error: interval(&|measures| measures.errors.1),
            red: landscape(&self.payoffs, draws.iter().map(|draw| draw.payoffs.clone()).collect(), n)?,
            blue: landscape(&self.payoffs.transpose(), draws.iter().map(|draw| draw.payoffs.transpose()).collect(), n)?,
            resamples: draws.len(),
        })
    }
}

fn landscape(payoffs: &Matrix, draws: Vec<Matrix>, n: u64) -> Result<Landscape, GameError> {
    let found = gamescape(payoffs)?;
    let areas = draws.iter().map(|draw| Ok(gamescape(draw)?.area)).collect::<Result<Vec<_>, GameError>>()?;
    let area = percentiles(found.area, areas, n);
    Ok(Landscape { dimension: found.dimension, area, points: found.points, hull: found.hull })
}

fn records(layers: &Layers) -> Result<Vec<ClusterRecord>, GameError> {
    let performances = relative_performances(&layers.agents, &layers.clusters)?;
    let others = (layers.clusters.len() - 1).max(1) as f64;
    let record = |(at, cluster): (usize, &Cluster)| ClusterRecord {
        size: cluster.members.len(),
        members: cluster.members.clone(),
        strength: performances.row(at).iter().sum::<f64>() / others,
        over_next: performances.row(at).get(at + 1).copied(),
    };
    Ok(layers.clusters.iter().enumerate().map(record).collect())
}

/// The middle 95 % of `draws`, widened to hold the estimate itself.
fn percentiles(mean: f64, mut draws: Vec<f64>, n: u64) -> Estimate {
    draws.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let last = draws.len().saturating_sub(1) as f64;
        draws.get((share * last).round() as usize).copied().unwrap_or(mean)
    };
    Estimate { mean, low: at(0.025).min(mean), high: at(0.975).max(mean), n }
}
