//! Intervals by resampling: what NashConv and the value are likely to be, beside what can be guaranteed.
//!
//! A bound that holds for every distribution is wide at the sample sizes of a run. The bootstrap redraws every entry's
//! sample from itself, asks for the statistic again, and reports the percentiles (Efron 1979). It is approximate, it
//! never claims a level at a small size, and it must be labelled so wherever it is printed. NashConv is a maximum and
//! the profile came from the same dialogues, so its bootstrap distribution lies above 0 even for an exact equilibrium:
//! read it as the size of the noise.

use crate::stream::unit;
use crate::{Equilibrium, Estimate, GameError, Matrix, MetaGame, nash};
use rand_core::Rng;
use statrs::distribution::{ContinuousCDF, Normal};

/// 95 % percentile intervals over resampled games.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// NashConv of the given profile.
    pub nash_conv: Estimate,
    /// Value of the game, the equilibrium of each resampled game taken anew.
    pub value: Estimate,
}

/// Resamples the game `resamples` times. Entries are redrawn one by one: a two-valued sample from its own rate, any other
/// as a normal mean with its own standard error, cut to the payoff range.
///
/// # Errors
/// An entry without a dialogue, or a resampled game that cannot be solved.
pub fn bootstrap(
    game: &MetaGame,
    profile: &Equilibrium,
    resamples: usize,
    rng: &mut impl Rng,
) -> Result<Bootstrap, GameError> {
    let means = game.payoffs()?;
    let (mut regrets, mut values) = (Vec::with_capacity(resamples), Vec::with_capacity(resamples));
    for _ in 0..resamples {
        let redrawn = Matrix::from_fn(means.rows(), means.cols(), |row, col| redraw(game, row, col, rng))?;
        regrets.push(Equilibrium::of_profile(&redrawn, profile.row.clone(), profile.col.clone()).nash_conv);
        values.push(nash::solve(&redrawn)?.value);
    }
    let dialogues =
        (0..means.rows()).flat_map(|row| (0..means.cols()).map(move |col| game.entry(row, col).count)).sum();
    let nash_conv = Equilibrium::of_profile(&means, profile.row.clone(), profile.col.clone()).nash_conv;
    let value = nash::solve(&means)?.value;
    Ok(Bootstrap {
        nash_conv: percentiles(nash_conv, regrets, dialogues),
        value: percentiles(value, values, dialogues),
    })
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
