//! Confidence sequences: intervals that hold at every sample size at once, so that one may look at any time and stop at
//! any time, for any reason.
//!
//! The interval of [`crate::interval`] misses with 5 % at a sample size fixed beforehand; who looks after every dialogue
//! and stops when it suits will be misled more often. Here the chance to *ever* miss is at most δ. The construction is a
//! bet that cannot win: for returns on [0, 1] of mean μ and any q, (q/μ)ˣ ((1−q)/(1−μ))¹⁻ˣ is convex in x, so its
//! expectation is at most that of the chord, q + (1−q) = 1. The product over dialogues, mixed over q by a Beta(½, ½), is
//! a non-negative supermartingale under μ, and by Ville's inequality it ever reaches 1/δ with probability at most δ.
//! All μ that it has not refuted so far form the interval (Robbins 1970; Howard et al. 2021, sub-Bernoulli case;
//! Waudby-Smith & Ramdas 2024 for the view as a bet). It is a function of count and mean alone, and needs no
//! independence beyond this: given the past, each dialogue has mean μ, whoever chose to play it.
//!
//! The price against a fixed size is about ½ ln n beside ln(1/δ).

use crate::interval::bisect;
use crate::{Estimate, Moments};
use statrs::function::beta::ln_beta;

/// Both parameters of the mixing Beta distribution (Krichevsky & Trofimov 1981).
const PRIOR: f64 = 0.5;

/// Interval of the mean of `moments`, whose values lie in [`low`, `high`], that holds at all sample sizes at once with
/// probability at least 1 − `delta`.
pub fn anytime(moments: &Moments, (low, high): (f64, f64), delta: f64) -> Estimate {
    let range = high - low;
    if moments.count == 0 || range <= 0.0 {
        return Estimate { n: moments.count, ..Estimate::unknown(low, high) };
    }
    let mean = ((moments.mean - low) / range).clamp(0.0, 1.0);
    let unit = unit_interval(moments.count as f64, mean, delta);
    Estimate { mean: low + range * mean, low: low + range * unit.0, high: low + range * unit.1, n: moments.count }
}

/// Ends of the interval for `n` values on [0, 1] with this mean; both exact but for bisection and rounding.
fn unit_interval(n: f64, mean: f64, delta: f64) -> (f64, f64) {
    let (wins, losses) = (n * mean, n * (1.0 - mean));
    // ln of the wealth, without its terms in μ.
    let mixture = ln_beta(PRIOR + wins, PRIOR + losses);
    let threshold = -delta.ln() - mixture + ln_beta(PRIOR, PRIOR);
    let refuted = |mu: f64| -term(wins, mu) - term(losses, 1.0 - mu) >= threshold;
    let low = if wins == 0.0 { 0.0 } else { bisect(0.0, mean, refuted) };
    let high = if losses == 0.0 { 1.0 } else { 1.0 - bisect(0.0, 1.0 - mean, |rest| refuted(1.0 - rest)) };
    (low, high)
}

/// `count` · ln `mu`, with 0 · ln 0 = 0.
fn term(count: f64, mu: f64) -> f64 {
    if count == 0.0 { 0.0 } else { count * mu.ln() }
}

#[cfg(test)]
mod tests {
    use super::{anytime, unit_interval};
    use crate::stream::{StreamKey, unit};
    use crate::{Estimate, Moments};
    use rand_core::Rng;

    fn rng(entry: u64) -> impl Rng {
        StreamKey { seed: 3, iteration: 0, purpose: 0, entry, episode: 0, turn: 0 }.rng()
    }

    #[test]
    fn ends_equal_fifty_digits() {
        // xtask/sampling/reference.py: wins, n, δ, low, high.
        let table = [
            (0.0, 10.0, 0.05, 0.0, 0.376_987_350_990_676_8),
            (3.0, 10.0, 0.05, 0.032_515_139_788_058_86, 0.747_587_109_914_996_6),
            (26.0, 128.0, 0.00125, 0.081_098_171_953_820_69, 0.380_253_564_642_750_46),
            (1200.5, 4801.0, 0.0001, 0.218_355_181_641_978_7, 0.283_644_005_297_609_7),
            (7.0, 7.0, 0.05, 0.521_382_876_134_197_3, 1.0),
        ];
        for (wins, n, delta, low, high) in table {
            let found = unit_interval(n, wins / n, delta);
            assert!((found.0 - low).abs() < 1e-9 && (found.1 - high).abs() < 1e-9, "{wins}/{n}: {found:?}");
        }
    }

    /// Share of samples of 2,000 returns in which an interval was wrong at any of the first looks.
    fn ever_wrong(returns: impl Fn(u64) -> f64, mean: f64, interval: impl Fn(&Moments) -> Estimate) -> f64 {
        let wrong = |sample: u64| {
            let (mut rng, mut moments) = (rng(sample), Moments::default());
            (0..2000).any(|look| {
                moments.push(returns(rng.next_u64()));
                let found = if look % 10 == 0 { interval(&moments) } else { return false };
                mean < found.low || found.high < mean
            })
        };
        (0..400).filter(|&sample| wrong(sample)).count() as f64 / 400.0
    }

    #[test]
    fn looking_at_any_time_is_allowed_here_and_not_elsewhere() {
        let rate = |p: f64| move |bits: u64| f64::from(((bits >> 11) as f64) / ((1_u64 << 53) as f64) < p);
        for p in [0.02, 0.3] {
            let here = ever_wrong(rate(p), p, |m| anytime(m, (0.0, 1.0), 0.05));
            let elsewhere = ever_wrong(rate(p), p, |m| Estimate::bounded(m, 0.0, 1.0));
            assert!(here <= 0.05 && elsewhere > 0.12, "{p}: {here} {elsewhere}");
        }
        // Three values, on another range.
        let graded = |bits: u64| [-2.0, 0.0, 2.0][(bits % 3) as usize];
        assert!(ever_wrong(graded, 0.0, |m| anytime(m, (-2.0, 2.0), 0.05)) <= 0.05);
    }

    #[test]
    fn it_is_wider_than_at_a_fixed_size_but_not_by_much() {
        let mut rng = rng(0);
        let sample: Moments = (0..5000).map(|_| f64::from(unit(&mut rng) < 0.2)).collect();
        let (now, ever) = (Estimate::bounded(&sample, 0.0, 1.0), anytime(&sample, (0.0, 1.0), 0.05));
        let ratio = (ever.high - ever.low) / (now.high - now.low);
        assert!((1.3..2.0).contains(&ratio), "{ratio}");
        assert_eq!(ever.n, 5000);
    }

    #[test]
    fn nothing_played_is_the_whole_range() {
        let whole = anytime(&Moments::default(), (-1.0, 3.0), 0.05);
        assert_eq!(whole, Estimate { mean: 1.0, low: -1.0, high: 3.0, n: 0 });
    }
}
