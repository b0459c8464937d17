//! Intervals of what is measured on a *set*: its diversity, how much it covers.
//!
//! The bootstrap that draws with replacement is wrong here: an item that is drawn twice is a repetition, so every redrawn
//! set looks less diverse than the one that was measured, and the interval may not even hold it. Halves drawn without
//! replacement repeat nothing. For a mean their variance is exactly that of the mean; for a smooth statistic it is the
//! delete-half jackknife (Shao & Wu 1989). Approximate, and for a statistic that grows with the size of the set the
//! interval is of its value *at this size*.

use crate::stream::unit;
use crate::{Estimate, Moments};
use rand_core::Rng;

/// Half the width of a normal 95 % interval, in standard errors.
const NORMAL: f64 = 1.959_963_984_540_054;

/// Statistics of a set of `n` items with 95 % intervals from `draws` random halves.
///
/// `statistics` is asked for the set of the given indices; its answers always have the same length. With fewer than four
/// items, or fewer than two draws, intervals have width 0.
///
/// # Errors
/// The first that `statistics` gives.
pub fn halves<E>(
    n: usize,
    draws: usize,
    rng: &mut impl Rng,
    mut statistics: impl FnMut(&[usize]) -> Result<Vec<f64>, E>,
) -> Result<Vec<Estimate>, E> {
    let mut order: Vec<usize> = (0..n).collect();
    let whole = statistics(&order)?;
    let mut spreads = vec![Moments::default(); whole.len()];
    let half = n / 2;
    for _ in 0..if half < 2 { 0 } else { draws } {
        for at in 0..half {
            order.swap(at, at + (unit(rng) * (n - at) as f64) as usize);
        }
        let mut drawn = order[..half].to_vec();
        drawn.sort_unstable();
        spreads.iter_mut().zip(statistics(&drawn)?).for_each(|(spread, value)| spread.push(value));
    }
    let estimate = |(mean, spread): (f64, &Moments)| {
        let error = if spread.count < 2 { 0.0 } else { spread.variance().sqrt() };
        // Half of n items, n even: the factor (n − half)/half of the delete-d jackknife is 1; n odd moves it a little.
        let error = error * (half as f64 / (n - half).max(1) as f64).sqrt();
        Estimate { mean, low: mean - NORMAL * error, high: mean + NORMAL * error, n: n as u64 }
    };
    Ok(whole.into_iter().zip(&spreads).map(estimate).collect())
}

#[cfg(test)]
mod tests {
    use super::halves;
    use crate::Matrix;
    use crate::diversity::Spectrum;
    use crate::stream::{StreamKey, pick, unit};

    fn key(episode: u32) -> StreamKey {
        StreamKey { seed: 3, iteration: 0, purpose: 0, entry: 0, episode, turn: 0 }
    }

    #[test]
    fn the_interval_of_a_mean_is_the_textbook_one() {
        let mut rng = key(0).rng();
        let values: Vec<f64> = (0..200).map(|_| unit(&mut rng)).collect();
        let mean = |of: &[usize]| of.iter().map(|&i| values[i]).sum::<f64>() / of.len() as f64;
        let estimate = halves::<()>(200, 4000, &mut rng, |of| Ok(vec![mean(of)])).unwrap()[0];
        let m = estimate.mean;
        let error = (values.iter().map(|v| (v - m).powi(2)).sum::<f64>() / 199.0 / 200.0).sqrt();
        assert!(((estimate.high - m) / (1.96 * error) - 1.0).abs() < 0.05, "{estimate:?} beside {error}");
        assert!(estimate.n == 200 && (estimate.high + estimate.low - 2.0 * m).abs() < 1e-12);
    }

    /// Sets of 100 items of ten kinds: in how many does the interval hold the mean Vendi score of such sets?
    #[test]
    fn the_interval_of_a_vendi_score_covers_about_as_often_as_it_says() {
        let weights: Vec<f64> = (1..=10).map(|kind| 1.0 / f64::from(kind)).collect();
        let score = |kinds: &[usize]| {
            let kernel = Matrix::from_fn(10, 10, |i, j| f64::from(u8::from(i == j))).unwrap();
            let rows: Vec<Vec<f64>> = kinds.iter().map(|&kind| kernel.row(kind).to_vec()).collect();
            Spectrum::of_rows(&Matrix::from_rows(&rows).unwrap()).unwrap().vendi(1.0)
        };
        let set = |episode| {
            let mut rng = key(episode).rng();
            (0..100).map(|_| pick(&mut rng, &weights)).collect::<Vec<_>>()
        };
        let truth = (1000..2000).map(|i| score(&set(i))).sum::<f64>() / 1000.0;
        let held = (0..200).filter(|&i| {
            let kinds = set(i);
            let of = |drawn: &[usize]| Ok(vec![score(&drawn.iter().map(|&at| kinds[at]).collect::<Vec<_>>())]);
            let estimate = halves::<()>(100, 100, &mut key(5000 + i).rng(), of).unwrap()[0];
            estimate.low <= truth && truth <= estimate.high
        });
        let share = held.count() as f64 / 200.0;
        assert!((0.90..=0.99).contains(&share), "{share}");
    }

    #[test]
    fn what_is_too_few_for_halves_has_no_width() {
        let count = |of: &[usize]| Ok(vec![of.len() as f64]);
        for n in [0, 1, 3] {
            let estimate = halves::<()>(n, 50, &mut key(0).rng(), count).unwrap()[0];
            assert_eq!((estimate.mean, estimate.low, estimate.high), (n as f64, n as f64, n as f64));
        }
    }
}
