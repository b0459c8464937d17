//! The policy gradient that both oracles share: advantages, the clipped objective, minibatches.
//!
//! Token-level decision process (DESIGN §1): an utterance earns the return credited to it at its end and pays β times the
//! log-ratio to the reference at every token. The estimator is REINFORCE with a batch baseline and a clipped ratio (PPO's
//! objective without a critic, GRPO's group being the batch): with returns of 0 and 1 and utterances of a dozen tokens a
//! learnt critic has nothing to add but its own error. `PAPERS.md` has the formulas.

use grts_lm::train::{Objective, Sequence};

/// One utterance's part in a batch: what was credited to it and what its tokens cost.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Credit {
    /// Return credited to the utterance, to the speaker.
    pub(crate) returns: f64,
    /// Log-ratio to the reference of each token, log π − log π_ref.
    pub(crate) log_ratios: Vec<f64>,
}

/// Advantages below this deviation of the returns are not scaled up: the batch says nothing.
const LEAST_DEVIATION: f64 = 0.1;

/// Advantage of every token, grouped as `credits[turn][utterance]`: return minus the KL still to be paid, minus the
/// batch mean of the turn, over the batch deviation.
pub(crate) fn advantages(credits: &[Vec<Credit>], beta: f64) -> Vec<Vec<Vec<f32>>> {
    let to_go = |credit: &Credit| -> Vec<f64> {
        let mut left: f64 = credit.returns - beta * credit.log_ratios.iter().sum::<f64>();
        let mut out = Vec::with_capacity(credit.log_ratios.len());
        for ratio in &credit.log_ratios {
            out.push(left);
            left += beta * ratio;
        }
        out
    };
    let values: Vec<Vec<Vec<f64>>> = credits.iter().map(|turn| turn.iter().map(to_go).collect()).collect();
    let baselines: Vec<f64> = values.iter().map(|turn| mean(turn.iter().filter_map(|u| u.first().copied()))).collect();
    let centred =
        values.iter().zip(&baselines).flat_map(|(turn, b)| turn.iter().filter_map(move |u| Some(u.first()? - b)));
    let deviation = mean(centred.map(|x| x * x)).sqrt().max(LEAST_DEVIATION);
    let scale = |b: f64| move |x: &f64| ((x - b) / deviation) as f32;
    let turns = values.iter().zip(&baselines);
    turns.map(|(turn, b)| turn.iter().map(|u| u.iter().map(scale(*b)).collect()).collect()).collect()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0u64), |(sum, n), x| (sum + x, n + 1));
    if n == 0 { 0.0 } else { sum / n as f64 }
}

/// One dialogue to learn from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// The speaker's view; its own tokens are scored.
    pub(crate) sequence: Sequence,
    /// Log-probability of each scored token when it was sampled.
    pub(crate) old: Vec<f32>,
    /// Advantage of each scored token.
    pub(crate) advantages: Vec<f32>,
}

/// Clipped surrogate (PPO, eq. 7), summed over the tokens of a dialogue and divided by `dialogues`:
/// −min(r A, clip(r, 1 ± ε) A) with r = π/π_old, and its derivative by log π.
pub(crate) fn clipped_surrogate(sample: &Sample, logprobs: &[f32], clip: f64, dialogues: usize) -> Objective {
    let weight = 1.0 / dialogues as f64;
    let mut loss = 0.0;
    let gradient = logprobs.iter().zip(&sample.old).zip(&sample.advantages).map(|((new, old), advantage)| {
        let (ratio, advantage) = (f64::from(new - old).exp(), f64::from(*advantage));
        let plain = ratio * advantage;
        let clipped = ratio.clamp(1.0 - clip, 1.0 + clip) * advantage;
        loss -= plain.min(clipped) * weight;
        if plain <= clipped { (-plain * weight) as f32 } else { 0.0 }
    });
    let gradient = gradient.collect();
    Objective { loss, gradient }
}

/// Negative log-likelihood of every scored token, times `weight`.
pub(crate) fn negative_log_likelihood(logprobs: &[f32], weight: f64) -> Objective {
    let loss = -weight * logprobs.iter().map(|l| f64::from(*l)).sum::<f64>();
    Objective { loss, gradient: vec![-weight as f32; logprobs.len()] }
}

/// Linear warm-up over the first tenth, then linear decay to a tenth of `peak`.
pub(crate) fn learning_rate(peak: f64, step: usize, steps: usize) -> f64 {
    let warm = (steps as f64 / 10.0).max(1.0);
    let progress = step as f64 / steps as f64;
    peak * ((step + 1) as f64 / warm).min(1.0) * (1.0 - 0.9 * progress)
}

#[cfg(test)]
mod tests {
    use super::{Credit, Sample, advantages, clipped_surrogate};
    use grts_lm::train::Sequence;

    #[test]
    fn advantages_are_centred_scaled_and_charge_the_kl_still_to_come() {
        let credit = |returns, log_ratios: &[f64]| Credit { returns, log_ratios: log_ratios.to_vec() };
        let out = advantages(&[vec![credit(1.0, &[0.5, 0.5]), credit(0.0, &[0.0, 0.0])]], 0.2);
        // To go: 1 − 0.2·1 = 0.8 and 1 − 0.2·0.5 = 0.9 against 0; baseline 0.4, deviation 0.4.
        let want = [[1.0, 1.25], [-1.0, -1.0]];
        for (utterance, want) in out[0].iter().zip(want) {
            for (a, b) in utterance.iter().zip(want) {
                assert!((a - b).abs() < 1e-6, "{a} against {b}");
            }
        }
    }

    #[test]
    fn the_surrogate_stops_pushing_past_the_clip_and_its_gradient_is_that_of_finite_differences() {
        let sample = Sample {
            sequence: Sequence { tokens: vec![0; 5], scored: vec![1, 2, 3, 4] },
            old: vec![-1.0, -1.0, -1.0, -1.0],
            advantages: vec![1.0, 1.0, -1.0, -1.0],
        };
        let at = [-0.95f32, -0.5, -1.05, -1.5];
        let objective = clipped_surrogate(&sample, &at, 0.2, 2);
        assert_eq!([objective.gradient[1], objective.gradient[3]], [0.0, 0.0]);
        for i in 0..4 {
            let value = |h: f32| {
                let mut moved = at;
                moved[i] += h;
                clipped_surrogate(&sample, &moved, 0.2, 2).loss
            };
            let numeric = (value(1e-3) - value(-1e-3)) / 2e-3;
            assert!((numeric - f64::from(objective.gradient[i])).abs() < 1e-3);
        }
    }
}
