//! Estimates that never travel without their interval.
//!
//! Every interval here is two-sided at 95 %, contains its own mean, and stays inside the range of what is estimated.
//! - Proportions: Clopper–Pearson, which covers at least 95 % at every n (Clopper & Pearson 1934).
//! - Bounded samples: the intersection of Hoeffding's relative-entropy bound (1963, eq. 2.1) and the empirical Bernstein
//!   bound (Maurer & Pontil 2009, thm. 4), each at half the error. The first is never vacuous at small n, the second wins
//!   when the variance is small; both hold at every n for every distribution, which a t interval does not: with no leak
//!   in twenty dialogues it would have width zero.
//! - Weighted sums of independent estimates (a payoff under a mixture, a gain): MOVER (Zou & Donner 2008), which combines
//!   the parts' own intervals and so keeps their asymmetry. It is approximate; its coverage is simulated in the tests.
//!
//! Nothing here resamples: an interval is a pure function of counts.

use crate::Moments;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};
use statrs::function::beta::checked_beta_reg;

/// Probability that an interval misses.
const DELTA: f64 = 0.05;

/// A mean with its 95 % interval and the number of samples behind it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Point estimate.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Samples; 0 means that nothing was measured and the interval is the whole range.
    pub n: u64,
}

impl Estimate {
    /// A number known without error (exact games): an interval of width 0, `n` = 1.
    pub fn exact(value: f64) -> Self {
        Self { mean: value, low: value, high: value, n: 1 }
    }

    /// Nothing measured: the mean is the middle of the range, the interval all of it.
    pub(crate) fn unknown(lo: f64, hi: f64) -> Self {
        Self { mean: lo + (hi - lo) / 2.0, low: lo, high: hi, n: 0 }
    }

    /// Mean of `values` with Student's t interval: for means of many draws and other nearly normal quantities.
    ///
    /// With fewer than two values the interval has width 0 around the value (0 without any).
    pub fn student(values: &[f64]) -> Self {
        let mut moments = Moments::default();
        values.iter().for_each(|v| moments.push(*v));
        let n = moments.count;
        let error = if n < 2 { 0.0 } else { (moments.m2 / ((n - 1) as f64 * n as f64)).sqrt() };
        let quantile =
            StudentsT::new(0.0, 1.0, n.saturating_sub(1).max(1) as f64).map_or(0.0, |t| t.inverse_cdf(0.975));
        Self { mean: moments.mean, low: moments.mean - quantile * error, high: moments.mean + quantile * error, n }
    }

    /// Clopper–Pearson for `successes` of `n` (more successes than trials count as `n`).
    ///
    /// With `n = 0` the interval is [0, 1] and the mean 0.5.
    pub fn proportion(successes: u64, n: u64) -> Self {
        clopper_pearson(successes, n, DELTA)
    }

    /// The mean of a sample whose values lie in [`lo`, `hi`].
    ///
    /// A sample whose moments show that every value was one of the two ends (Bhatia–Davis equality) is a proportion and
    /// gets Clopper–Pearson; any other gets the distribution-free interval of the module's header.
    pub fn bounded(moments: &Moments, lo: f64, hi: f64) -> Self {
        let (range, n) = (hi - lo, moments.count as f64);
        if moments.count == 0 || range <= 0.0 {
            return Self { n: moments.count, ..Self::unknown(lo, hi) };
        }
        let p = ((moments.mean - lo) / range).clamp(0.0, 1.0);
        let spread = moments.m2 / (range * range); // Σ (xᵢ − x̄)² on the unit range
        let unit = match whole_successes(p, spread, n) {
            Some(successes) => Self::proportion(successes, moments.count),
            None => distribution_free(p, spread / (n - 1.0).max(1.0), moments.count),
        };
        Self { mean: lo + range * unit.mean, low: lo + range * unit.low, high: lo + range * unit.high, n: unit.n }
    }

    /// Σ wᵢ θᵢ for independent estimates; weights may be negative, so a difference is one too.
    ///
    /// MOVER: the distances to the lower ends add in squares, wᵢ² (θᵢ − lᵢ)², likewise the upper ones, and swap sides
    /// under a negative weight. `n` is the samples of all parts with weight; no parts make an exact 0.
    pub fn weighted(parts: &[(f64, Self)]) -> Self {
        let (mut mean, mut below, mut above, mut n) = (0.0, 0.0, 0.0, 0);
        for &(weight, part) in parts.iter().filter(|(weight, _)| *weight != 0.0) {
            let (down, up) = (part.mean - part.low, part.high - part.mean);
            let (down, up) = if weight < 0.0 { (up, down) } else { (down, up) };
            mean += weight * part.mean;
            below += (weight * down).powi(2);
            above += (weight * up).powi(2);
            n += part.n;
        }
        Self { mean, low: mean - below.sqrt(), high: mean + above.sqrt(), n }
    }

    /// The share of everything else, 1 − θ.
    pub fn complement(self) -> Self {
        Self { mean: 1.0 - self.mean, low: 1.0 - self.high, high: 1.0 - self.low, n: self.n }
    }

    /// The same estimate cut to [`lo`, `hi`], for a quantity known to lie there.
    pub fn within(self, lo: f64, hi: f64) -> Self {
        let cut = |x: f64| x.max(lo).min(hi);
        Self { mean: cut(self.mean), low: cut(self.low), high: cut(self.high), n: self.n }
    }
}

/// The interval of [`Estimate::proportion`] at the level 1 − `delta`.
pub(crate) fn clopper_pearson(successes: u64, n: u64, delta: f64) -> Estimate {
    if n == 0 {
        return Estimate::unknown(0.0, 1.0);
    }
    let successes = successes.min(n);
    let (k, m) = (successes as f64, (n - successes) as f64);
    let low = if successes == 0 { 0.0 } else { beta_quantile(k, m + 1.0, delta / 2.0) };
    let high = if successes == n { 1.0 } else { beta_quantile(k + 1.0, m, 1.0 - delta / 2.0) };
    Estimate { mean: k / n as f64, low, high, n }
}

/// Number of successes if a sample on [0, 1] with mean `p` and squared deviations `spread` is all zeros and ones.
pub(crate) fn whole_successes(p: f64, spread: f64, n: f64) -> Option<u64> {
    let successes = (p * n).round();
    let two_valued = (spread - n * p * (1.0 - p)).abs() <= 1e-9 * n && (p * n - successes).abs() <= 1e-6;
    two_valued.then_some(successes as u64)
}

/// Relative-entropy bound and empirical Bernstein bound intersected, each missing with probability δ/2; unit range.
///
/// The first errs on two sides, δ/4 each. The second rests on three events, δ/6 each: the mean from above, from below,
/// and the sample variance.
fn distribution_free(p: f64, variance: f64, n: u64) -> Estimate {
    let (count, entropy_log, log) = (n as f64, (4.0 / DELTA).ln(), (6.0 / DELTA).ln());
    let bernstein =
        if n < 2 { f64::INFINITY } else { (2.0 * variance * log / count).sqrt() + 7.0 * log / (3.0 * (count - 1.0)) };
    let outside = |q: f64| relative_entropy(p, q) > entropy_log / count;
    let low = bisect(0.0, p, outside).max(p - bernstein);
    let high = 1.0 - bisect(0.0, 1.0 - p, |q| outside(1.0 - q)).max(1.0 - p - bernstein);
    Estimate { mean: p, low, high, n }
}

/// KL(Bernoulli(p) ‖ Bernoulli(q)).
fn relative_entropy(p: f64, q: f64) -> f64 {
    let term = |a: f64, b: f64| if a == 0.0 { 0.0 } else { a * (a / b).ln() };
    term(p, q) + term(1.0 - p, 1.0 - q)
}

/// x with P(Beta(a, b) ≤ x) = `probability`.
///
/// Bisection on the distribution function: statrs's own inverse starts Newton from a point clamped to [1e-4, 1 − 1e-4],
/// which is wrong for rare events, and bisection cannot fail to end.
fn beta_quantile(a: f64, b: f64, probability: f64) -> f64 {
    bisect(0.0, 1.0, |x| checked_beta_reg(a, b, x).is_ok_and(|below| below < probability))
}

/// The point of [`lo`, `hi`] up to which `holds` is true, for a predicate that is true and then false.
pub(crate) fn bisect(mut lo: f64, mut hi: f64, holds: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..80 {
        let middle = lo + (hi - lo) / 2.0;
        if holds(middle) { lo = middle } else { hi = middle }
    }
    lo + (hi - lo) / 2.0
}

#[cfg(test)]
mod tests {
    use super::Estimate;
    use crate::Moments;
    use crate::stream::{StreamKey, unit};
    use rand_core::Rng;

    fn rng(purpose: u32) -> impl Rng {
        StreamKey { seed: 1, iteration: 0, purpose, entry: 0, episode: 0, turn: 0 }.rng()
    }

    #[test]
    fn clopper_pearson_equals_scipy() {
        // scipy 1.17 `beta.ppf(.025, k, n-k+1)`, `beta.ppf(.975, k+1, n-k)`.
        let table = [
            (0, 1, 0.0, 0.975),
            (0, 20, 0.0, 0.168_433_470_983_085_3),
            (20, 20, 0.831_566_529_016_914_6, 1.0),
            (1, 20, 0.001_265_089_497_949_803_8, 0.248_732_762_772_027_77),
            (5, 10, 0.187_086_028_447_398_55, 0.812_913_971_552_601_5),
            (26, 128, 0.137_186_315_452_769_77, 0.283_287_236_604_834_6),
            (127, 128, 0.957_240_968_085_779_6, 0.999_802_224_185_338_3),
            (300, 1000, 0.271_721_112_129_144_5, 0.329_461_678_697_366),
            (1, 100_000, 2.531_780_477_933_314e-7, 5.571_516_034_774_275e-5),
            (50_000, 100_000, 0.496_896_062_491_800_4, 0.503_103_937_508_199_6),
            (99_999, 100_000, 0.999_944_284_839_652_3, 0.999_999_746_821_952_3),
            (3, 1_000_000, 6.186_725_501_906_401e-7, 8.767_247_788_067_677e-6),
        ];
        for (k, n, low, high) in table {
            let estimate = Estimate::proportion(k, n);
            assert!((estimate.low - low).abs() < 1e-9, "{k}/{n}: {} {low}", estimate.low);
            assert!((estimate.high - high).abs() < 1e-9, "{k}/{n}: {} {high}", estimate.high);
        }
    }

    #[test]
    fn nothing_measured_is_the_whole_range() {
        let nothing = Estimate { mean: 0.5, low: 0.0, high: 1.0, n: 0 };
        assert_eq!(Estimate::proportion(0, 0), nothing);
        assert_eq!(Estimate::bounded(&Moments::default(), 0.0, 1.0), nothing);
        assert_eq!(Estimate::bounded(&Moments::default(), -1.0, 3.0).mean, 1.0);
        assert_eq!(Estimate::weighted(&[]), Estimate { n: 0, ..Estimate::exact(0.0) });
    }

    /// Exact coverage: sums the binomial probabilities of every outcome whose interval holds p.
    #[test]
    fn clopper_pearson_covers_at_every_n() {
        for n in [1_u64, 5, 20, 128] {
            let intervals: Vec<_> = (0..=n).map(|k| Estimate::proportion(k, n)).collect();
            for p in [0.01, 0.1, 0.2, 0.5, 0.77, 0.99] {
                let mut mass = (1.0_f64 - p).powi(n as i32);
                let mut covered = 0.0;
                for k in 0..=n {
                    let interval = intervals[k as usize];
                    covered += if interval.low <= p && p <= interval.high { mass } else { 0.0 };
                    mass *= (n - k) as f64 / (k + 1) as f64 * p / (1.0 - p);
                }
                assert!(covered >= 0.95, "n {n} p {p}: {covered}");
            }
        }
    }

    #[test]
    fn binary_samples_are_proportions_on_any_range() {
        let moments: Moments = [3.0, 1.0, 1.0, 1.0, 3.0].into_iter().collect();
        let (shifted, unit) = (Estimate::bounded(&moments, 1.0, 3.0), Estimate::proportion(2, 5));
        assert!((shifted.mean - 1.8).abs() < 1e-12 && shifted.n == 5);
        assert!((shifted.low - (1.0 + 2.0 * unit.low)).abs() < 1e-9);
        assert!((shifted.high - (1.0 + 2.0 * unit.high)).abs() < 1e-9);
    }

    #[test]
    fn bounded_interval_covers() {
        let mut rng = rng(1);
        for (exponent, n) in [(1.0, 10), (4.0, 40), (0.3, 150)] {
            let truth = 1.0 / (exponent + 1.0); // mean of U^exponent
            let trials = 600;
            let covered = (0..trials).filter(|_| {
                let moments: Moments = (0..n).map(|_| unit(&mut rng).powf(exponent)).collect();
                let estimate = Estimate::bounded(&moments, 0.0, 1.0);
                assert!(0.0 <= estimate.low && estimate.low <= estimate.mean && estimate.mean <= estimate.high);
                assert!(estimate.high <= 1.0);
                estimate.low <= truth && truth <= estimate.high
            });
            assert!(covered.count() >= trials * 95 / 100);
        }
    }

    #[test]
    fn small_variance_narrows_the_bounded_interval() {
        let tight: Moments = (0..2000).map(|i| 0.5 + 0.01 * f64::from(i % 2)).collect();
        let wide: Moments = (0..2000).map(|i| 0.25 + 0.5 * f64::from(i % 2)).collect();
        let width = |moments| {
            let estimate = Estimate::bounded(moments, 0.0, 1.0);
            estimate.high - estimate.low
        };
        assert!(width(&tight) < 0.02 && width(&wide) > 0.04, "{} {}", width(&tight), width(&wide));
    }

    /// A payoff under a mixture, and a gain: the share of intervals that hold the truth.
    #[test]
    fn weighted_interval_covers() {
        let mut rng = rng(2);
        let parts = [(0.6, 0.05, 128), (0.3, 0.4, 64), (0.1, 0.9, 20), (-1.0, 0.2, 256)];
        let truth: f64 = parts.iter().map(|(weight, p, _)| weight * p).sum();
        let trials = 1500;
        let covered = (0..trials).filter(|_| {
            let estimates = parts.map(|(weight, p, n)| {
                let successes = (0..n).filter(|_| unit(&mut rng) < p).count();
                (weight, Estimate::proportion(successes as u64, n))
            });
            let estimate = Estimate::weighted(&estimates);
            estimate.low <= truth && truth <= estimate.high
        });
        let coverage = covered.count() as f64 / f64::from(trials);
        assert!(coverage >= 0.95, "{coverage}");
    }

    #[test]
    fn cutting_keeps_the_order() {
        let cut = Estimate { mean: -0.1, low: -0.4, high: 0.2, n: 3 }.within(0.0, 1.0);
        assert_eq!((cut.low, cut.mean, cut.high), (0.0, 0.0, 0.2));
    }

    #[test]
    fn student_has_the_published_quantile_and_no_width_below_two_values() {
        // Three values: t(0.975, 2) = 4.302653; mean 2, deviation 1.
        let estimate = Estimate::student(&[1.0, 2.0, 3.0]);
        let half = 4.302_652_729_911_275 / 3f64.sqrt();
        assert!((estimate.high - 2.0 - half).abs() < 1e-6 && (2.0 - estimate.low - half).abs() < 1e-6, "{estimate:?}");
        assert_eq!(Estimate::student(&[0.5]), Estimate { mean: 0.5, low: 0.5, high: 0.5, n: 1 });
    }
}
