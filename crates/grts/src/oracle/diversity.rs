//! What an utterance earns for being different: the one door through which diversity enters a response.
//!
//! Novelty is measured against an archive, the attacks of red's current mixture. It is normalised within the attacks of the
//! batch that succeeded, by turn, so that its scale never competes with the return's: an utterance one deviation more novel
//! than its group earns λ. A new way to fail earns nothing: what is far from all known attacks is most of all broken. The
//! policy-space term needs no archive and no embedding and is not normalised: λ times the log-ratio to the nearest policy of
//! the mixture is the exact gradient of λ min KL(π ‖ π_k). Payoffs, gains and probes never contain either.

use crate::error::Error;
use crate::policy::Base;
use crate::rollout::{Episode, Turn};
use crate::semantic::{Archive, SemanticSpace};

use super::{Mixture, by_utterance, logprobs_under};

/// A weighted diversity term of red's reward.
pub struct Diversity<'a> {
    /// λ, in units of the return.
    pub weight: f64,
    /// What is meant by different.
    pub measure: Measure<'a>,
}

/// Different from what.
pub enum Measure<'a> {
    /// From the attacks in the archive.
    Novelty(&'a SemanticSpace<'a>, &'a Archive),
    /// From each policy of the mixture, which all adapt the base.
    PolicySpace(&'a Base, &'a Mixture<'a>),
}

impl Diversity<'_> {
    /// What each utterance of each episode earns, `[episode][turn]`.
    pub(super) fn bonus(&self, episodes: &[Episode]) -> Result<Vec<Vec<f64>>, Error> {
        let mut bonus = match &self.measure {
            Measure::Novelty(space, archive) => novelty(space, archive, episodes)?,
            Measure::PolicySpace(base, mixture) => from_nearest(base, mixture, episodes)?,
        };
        bonus.iter_mut().flatten().for_each(|b| *b *= self.weight);
        Ok(bonus)
    }

    /// Factor e^(mean bonus) of each episode's weight in the search, which learns from successes and has no baseline. The
    /// policy-space term is a gradient and has no place there.
    pub(super) fn factors(&self, episodes: &[Episode]) -> Result<Vec<f64>, Error> {
        if matches!(self.measure, Measure::PolicySpace(..)) {
            return Ok(vec![1.0; episodes.len()]);
        }
        let mean = |turns: Vec<f64>| (turns.iter().sum::<f64>() / turns.len().max(1) as f64).exp();
        Ok(self.bonus(episodes)?.into_iter().map(mean).collect())
    }
}

/// Novelty of every utterance of the dialogues that red won, in deviations from the mean of its turn; 0 in the others.
fn novelty(space: &SemanticSpace<'_>, archive: &Archive, episodes: &[Episode]) -> Result<Vec<Vec<f64>>, Error> {
    let won = |e: &Episode| if e.returns.is_some_and(|returns| returns > 0.0) { e.turns.len() } else { 0 };
    let texts: Vec<&str> =
        episodes.iter().flat_map(|e| &e.turns[..won(e)]).map(|turn| turn.red.text.as_str()).collect();
    let mut scores = space.embed(&texts)?.into_iter().map(|vector| archive.novelty(&vector));
    let mut bonus: Vec<Vec<f64>> = episodes.iter().map(|e| scores.by_ref().take(won(e)).collect()).collect();
    for turn in 0..bonus.iter().map(Vec::len).max().unwrap_or(0) {
        standardise(bonus.iter_mut().filter_map(|turns| turns.get_mut(turn)).collect());
    }
    bonus.iter_mut().zip(episodes).for_each(|(bonus, e)| bonus.resize(e.turns.len(), 0.0));
    Ok(bonus)
}

/// Deviations below this are rounding: such a group has nothing to choose between.
const LEAST_DEVIATION: f64 = 1e-9;

/// Subtracts the mean and divides by the deviation.
fn standardise(values: Vec<&mut f64>) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|v| **v).sum::<f64>() / n;
    let deviation = (values.iter().map(|v| (**v - mean).powi(2)).sum::<f64>() / n).sqrt();
    for value in values {
        *value = if deviation > LEAST_DEVIATION { (*value - mean) / deviation } else { 0.0 };
    }
}

/// Σ log π − log π_k over the tokens of each utterance, π_k the policy of `mixture` that is nearest over the whole batch.
fn from_nearest(base: &Base, mixture: &Mixture<'_>, episodes: &[Episode]) -> Result<Vec<Vec<f64>>, Error> {
    let views: Vec<_> = episodes.iter().map(|e| &e.red).collect();
    let mut nearest: Option<(f64, Vec<Vec<f64>>)> = None;
    for (policy, _) in mixture {
        let of_seat = |seat| logprobs_under(base, &views, policy.adapter(seat));
        let theirs: Vec<Vec<Vec<f32>>> = (0..policy.num_adapters().max(1)).map(of_seat).collect::<Result<_, _>>()?;
        let ratios = |(idx, episode): (usize, &Episode)| {
            let said = |seat: usize| by_utterance(episode.red.spoken.iter(), &theirs[seat.min(theirs.len() - 1)][idx]);
            let ratio = |(t, turn): (usize, &Turn)| {
                let theirs = said(turn.seat).nth(t).unwrap_or_default();
                turn.red.logprobs.iter().zip(theirs).map(|(p, q)| f64::from(p - q)).sum()
            };
            episode.turns.iter().enumerate().map(ratio).collect()
        };
        let ratios: Vec<Vec<f64>> = episodes.iter().enumerate().map(ratios).collect();
        let divergence = ratios.iter().flatten().sum::<f64>();
        if nearest.as_ref().is_none_or(|(least, _)| divergence < *least) {
            nearest = Some((divergence, ratios));
        }
    }
    Ok(nearest.map_or_else(|| episodes.iter().map(|e| vec![0.0; e.turns.len()]).collect(), |(_, ratios)| ratios))
}

#[cfg(test)]
mod tests {
    use super::standardise;

    #[test]
    fn a_group_is_centred_and_scaled_and_equals_earn_nothing() {
        let mut values = [1.0, 3.0];
        standardise(values.iter_mut().collect());
        assert_eq!(values, [-1.0, 1.0]);
        let mut equal = [0.3; 5];
        standardise(equal.iter_mut().collect());
        assert_eq!(equal, [0.0; 5]);
    }
}
