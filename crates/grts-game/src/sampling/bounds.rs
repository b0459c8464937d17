//! Intervals at a sample size fixed beforehand, at any level, so that a union over all entries of a meta-game can be
//! taken: with δ/|Γ| each, all of |Γ| intervals hold together with probability 1 − δ.
//!
//! Which to take: [`clopper_pearson`] for returns that are two-valued, [`empirical_bennett`] for others of small
//! variance, [`hoeffding`] where even the variance is not to be looked at. Dialogues that share an opening are not
//! independent; [`clustered`] counts openings instead of dialogues, so it is wide where openings differ and never too
//! narrow. A size that was chosen by looking at the data needs [`super::sequence`].

use crate::interval;
use crate::{Estimate, Moments};
use serde::{Deserialize, Serialize};

/// Which of this module's bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// [`clopper_pearson`]; for a sample that is not two-valued [`empirical_bennett`].
    ClopperPearson,
    /// [`empirical_bennett`].
    EmpiricalBennett,
    /// [`hoeffding`].
    Hoeffding,
}

impl Bound {
    /// The interval of a sample with values in `range` (low, high) that misses with probability at most `delta`.
    pub fn interval(self, moments: &Moments, range: (f64, f64), delta: f64) -> Estimate {
        match self {
            Self::ClopperPearson => clopper_pearson(moments, range, delta),
            Self::EmpiricalBennett => empirical_bennett(moments, range, delta),
            Self::Hoeffding => hoeffding(moments, range, delta),
        }
    }
}

/// Hoeffding (1963): c √(ln(2/δ) / 2m) for m values whose range is c.
pub fn hoeffding(moments: &Moments, range: (f64, f64), delta: f64) -> Estimate {
    let c = range.1 - range.0;
    around(moments, range, c * ((2.0 / delta).ln() / (2.0 * moments.count as f64)).sqrt())
}

/// Empirical Bennett (Cousins & Riondato 2020, as Areyan Viqueira, Cousins & Greenwald 2020 use it for games).
///
/// With L = ln(3/δ) and v̂ the unbiased variance of m values of range c,
/// ε_v = c² L/(m−1) + √((c² L/(m−1))² + 2 c² v̂ L/(m−1)) bounds the variance by v̂ + ε_v, and
/// ε = min(c √(L/2m), c L/3m + √(2 (v̂ + ε_v) L/m)).
pub fn empirical_bennett(moments: &Moments, range: (f64, f64), delta: f64) -> Estimate {
    let (c, m, log) = (range.1 - range.0, moments.count as f64, (3.0 / delta).ln());
    let hoeffding = c * (log / (2.0 * m)).sqrt();
    let scale = c * c * log / (m - 1.0).max(f64::MIN_POSITIVE);
    let variance = moments.variance() + scale + (scale * scale + 2.0 * moments.variance() * scale).sqrt();
    let bennett = c * log / (3.0 * m) + (2.0 * variance * log / m).sqrt();
    around(moments, range, if moments.count < 2 { hoeffding } else { hoeffding.min(bennett) })
}

/// Clopper–Pearson where every value is one of the two ends of `range`, else [`empirical_bennett`].
pub fn clopper_pearson(moments: &Moments, range: (f64, f64), delta: f64) -> Estimate {
    let (low, width) = (range.0, range.1 - range.0);
    if moments.count == 0 || width <= 0.0 {
        return around(moments, range, width);
    }
    let (share, spread) = ((moments.mean - low) / width, moments.m2 / (width * width));
    match interval::whole_successes(share.clamp(0.0, 1.0), spread, moments.count as f64) {
        None => empirical_bennett(moments, range, delta),
        Some(successes) => {
            let unit = interval::clopper_pearson(successes, moments.count, delta);
            let scaled = |x: f64| low + width * x;
            Estimate { mean: moments.mean, low: scaled(unit.low), high: scaled(unit.high), n: moments.count }
        }
    }
}

/// A mean over dialogues of which several share an opening.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Clustered {
    /// Mean over openings of the mean return under each; `n` counts openings.
    pub mean: Estimate,
    /// By how much sharing openings raises the variance of the mean: 1 + (b − 1) ρ with b dialogues an opening and the
    /// intra-cluster correlation ρ, estimated as the ratio of the two variances (Kish 1965). 1 if openings do not matter.
    pub design_effect: f64,
}

/// The interval of a mean when each of `openings` holds the returns of the dialogues that began with it.
///
/// What is independent are the openings, so each is one value: its mean. That is exact for any correlation inside an
/// opening, and where all are alike it costs what was gained by playing an opening more than once. Openings without a
/// scored dialogue are left out.
pub fn clustered(openings: &[Moments], range: (f64, f64), bound: Bound, delta: f64) -> Clustered {
    let means = Moments::of_clusters(openings.iter().copied());
    let mut dialogues = Moments::default();
    openings.iter().for_each(|opening| dialogues.merge(*opening));
    let (between, naive) = (means.variance() / means.count as f64, dialogues.variance() / dialogues.count as f64);
    let design_effect = if naive > 0.0 && means.count > 1 { between / naive } else { 1.0 };
    Clustered { mean: bound.interval(&means, range, delta), design_effect }
}

/// Mean ± `radius` inside the range; the whole range for an empty sample.
fn around(moments: &Moments, (low, high): (f64, f64), radius: f64) -> Estimate {
    if moments.count == 0 {
        return Estimate::unknown(low, high);
    }
    let mean = moments.mean.max(low).min(high);
    Estimate { mean, low: (mean - radius).max(low), high: (mean + radius).min(high), n: moments.count }
}

#[cfg(test)]
mod tests {
    use super::{Bound, clustered};
    use crate::stream::{StreamKey, unit};
    use crate::{Estimate, Moments};

    const BOUNDS: [Bound; 3] = [Bound::ClopperPearson, Bound::EmpiricalBennett, Bound::Hoeffding];

    fn rate(successes: u64, n: u64) -> Moments {
        (0..n).map(|i| f64::from(i < successes)).collect()
    }

    #[test]
    fn clopper_pearson_at_the_level_of_one_entry_of_many() {
        // xtask/sampling/reference.py: successes, n, δ, low, high.
        let table = [
            (5, 96, 0.000_125, 0.004_265_264_559_418_767, 0.194_267_368_753_738_1),
            (48, 96, 0.000_125, 0.307_291_127_064_327_5, 0.692_708_872_935_672_5),
            (300, 1000, 1e-7, 0.226_682_364_076_620_2, 0.381_018_569_080_630_2),
        ];
        for (successes, n, delta, low, high) in table {
            let found = Bound::ClopperPearson.interval(&rate(successes, n), (0.0, 1.0), delta);
            assert!((found.low - low).abs() < 1e-9 && (found.high - high).abs() < 1e-9, "{successes}/{n}: {found:?}");
        }
    }

    /// Sizes at which a union over 20 × 20 entries reaches ε = 0.05 or 0.1 with δ = 0.05.
    #[test]
    fn published_sample_sizes() {
        let radius = |bound: Bound, n: u64, variance: f64| {
            let moments = Moments { count: n, mean: 0.5, m2: variance * (n - 1) as f64 };
            let found = bound.interval(&moments, (0.0, 1.0), 0.05 / 400.0);
            found.high - found.mean
        };
        for (n, epsilon) in [(485, 0.1), (1937, 0.05), (12_101, 0.02)] {
            assert!(radius(Bound::Hoeffding, n, 0.1) <= epsilon && radius(Bound::Hoeffding, n - 2, 0.1) > epsilon);
        }
        for (n, variance) in [(910, 0.05), (568, 0.01)] {
            let found = radius(Bound::EmpiricalBennett, n, variance);
            assert!((found - 0.05).abs() < 5e-4, "{n} {variance}: {found}");
        }
    }

    #[test]
    fn all_of_many_entries_hold_at_once() {
        let (trials, entries) = (200, 50);
        for bound in BOUNDS {
            let missed = (0..trials).filter(|&trial| {
                let mut rng = StreamKey { seed: 4, iteration: 0, purpose: 0, entry: trial, episode: 0, turn: 0 }.rng();
                (0..entries).any(|entry| {
                    let p = f64::from(entry) / f64::from(entries);
                    let sample: Moments = (0..60).map(|_| f64::from(unit(&mut rng) < p)).collect();
                    let found = bound.interval(&sample, (0.0, 1.0), 0.05 / f64::from(entries));
                    p < found.low || found.high < p
                })
            });
            assert!(missed.count() <= 10 + 9, "{bound:?}"); // 5 % of 200 and three standard deviations
        }
    }

    #[test]
    fn samples_on_any_range_and_of_any_size() {
        for bound in BOUNDS {
            assert_eq!(bound.interval(&Moments::default(), (-1.0, 1.0), 0.05).n, 0);
            let one = bound.interval(&rate(1, 1), (0.0, 1.0), 0.05);
            assert!(one.low <= 1.0 && one.high == 1.0 && one.low >= 0.0, "{bound:?} {one:?}");
            let unit = bound.interval(&rate(20, 100), (0.0, 1.0), 0.01);
            let scaled: Moments = (0..100).map(|i| if i < 20 { 3.0 } else { -1.0 }).collect();
            let wide = bound.interval(&scaled, (-1.0, 3.0), 0.01);
            assert!(
                (wide.low - (4.0 * unit.low - 1.0)).abs() < 1e-9 && (wide.high - (4.0 * unit.high - 1.0)).abs() < 1e-9
            );
        }
    }

    /// 30 openings whose rates are 0.1 or 0.9, ten dialogues each: the mean over openings is ½.
    #[test]
    fn shared_openings_widen_the_interval_and_keep_its_level() {
        let (mut naive_misses, mut misses, mut effect) = (0, 0, 0.0);
        let trials = 300;
        for trial in 0..trials {
            let mut rng = StreamKey { seed: 5, iteration: 0, purpose: 0, entry: trial, episode: 0, turn: 0 }.rng();
            let openings: Vec<Moments> = (0..30)
                .map(|_| {
                    let p = if unit(&mut rng) < 0.5 { 0.1 } else { 0.9 };
                    (0..10).map(|_| f64::from(unit(&mut rng) < p)).collect()
                })
                .collect();
            let mut all = Moments::default();
            openings.iter().for_each(|opening| all.merge(*opening));
            let found = clustered(&openings, (0.0, 1.0), Bound::EmpiricalBennett, 0.05);
            let missed = |e: Estimate| u32::from(e.low > 0.5 || e.high < 0.5);
            naive_misses += missed(Bound::ClopperPearson.interval(&all, (0.0, 1.0), 0.05));
            misses += missed(found.mean);
            effect += found.design_effect / trials as f64;
            assert_eq!(found.mean.n, 30);
        }
        assert!(misses <= 15, "{misses}");
        assert!(naive_misses > 90, "{naive_misses}");
        // ρ = 0.16 / 0.25, so 1 + 9 ρ = 6.76.
        assert!((effect - 6.76).abs() < 0.3, "{effect}");
    }
}
