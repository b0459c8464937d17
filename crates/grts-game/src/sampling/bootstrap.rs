//! Intervals by resampling: what NashConv and the value are likely to be, beside what can be guaranteed.
//!
//! A bound that holds for every distribution is wide at the sample sizes of a run. The bootstrap redraws every entry's
//! sample from itself, asks for the statistic again, and reports the percentiles (Efron 1979). It is approximate, it
//! never claims a level at a small size, and it must be labelled so wherever it is printed. NashConv is a maximum and
//! the profile came from the same dialogues, so its bootstrap distribution lies above 0 even for an exact equilibrium:
//! read it as the size of the noise.
//!
//! Entries are redrawn one by one: a two-valued sample from its own rate, any other as a normal mean with its own
//! standard error, cut to the payoff range.

use crate::stream::unit;
use crate::{Equilibrium, Estimate, GameError, Matrix, MetaGame, nash};
use rand_core::Rng;
use statrs::distribution::{ContinuousCDF, Normal};

/// NashConv of `profile`, with the 95 % percentile interval of `resamples` redrawn games.
///
/// # Errors
/// An entry without a dialogue.
pub fn nash_conv(
    game: &MetaGame,
    profile: &Equilibrium,
    resamples: usize,
    rng: &mut impl Rng,
) -> Result<Estimate, GameError> {
    let of = |payoffs: &Matrix| Equilibrium::of_profile(payoffs, profile.row.clone(), profile.col.clone());
    resampled(game, resamples, rng, |payoffs| Ok(of(payoffs).nash_conv))
}

/// Value of the game, the equilibrium of each redrawn game taken anew; intervals as [`nash_conv`].
///
/// # Errors
/// An entry without a dialogue, or a redrawn game that cannot be solved.
pub fn value(game: &MetaGame, resamples: usize, rng: &mut impl Rng) -> Result<Estimate, GameError> {
    resampled(game, resamples, rng, |payoffs| Ok(nash::solve(payoffs)?.value))
}

fn resampled(
    game: &MetaGame,
    resamples: usize,
    rng: &mut impl Rng,
    statistic: impl Fn(&Matrix) -> Result<f64, GameError>,
) -> Result<Estimate, GameError> {
    let means = game.payoffs()?;
    let (rows, cols) = (means.rows(), means.cols());
    let again = |_| statistic(&Matrix::from_fn(rows, cols, |row, col| redraw(game, row, col, rng))?);
    let values = (0..resamples).map(again).collect::<Result<Vec<f64>, GameError>>()?;
    let dialogues = (0..rows).flat_map(|row| (0..cols).map(move |col| game.entry(row, col).count)).sum();
    Ok(percentiles(statistic(&means)?, values, dialogues))
}

/// A mean of one entry's resampled returns.
fn redraw(game: &MetaGame, row: usize, col: usize, rng: &mut impl Rng) -> f64 {
    let (sample, (low, high)) = (game.entry(row, col), game.payoff_range());
    let width = high - low;
    if width <= 0.0 {
        return low;
    }
    let rate = ((sample.mean - low) / width).clamp(0.0, 1.0);
    let spread = sample.m2 / (width * width);
    if crate::interval::whole_successes(rate, spread, sample.count as f64).is_some() {
        let successes = (0..sample.count).filter(|_| unit(rng) < rate).count();
        return low + width * successes as f64 / sample.count as f64;
    }
    let error = (sample.variance() / sample.count as f64).sqrt();
    // The middle of the unit's step: the quantile of 0 is not finite.
    let quantile = Normal::standard().inverse_cdf(unit(rng) + 0.5 / (1_u64 << 53) as f64);
    (sample.mean + error * quantile).clamp(low, high)
}

/// The 2.5 % and 97.5 % percentiles around `mean`, widened to hold it.
fn percentiles(mean: f64, mut values: Vec<f64>, n: u64) -> Estimate {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values.get((share * values.len() as f64) as usize).or(values.last()).copied().unwrap_or(mean);
    Estimate { mean, low: at(0.025).min(mean), high: at(0.975).max(mean), n }
}
