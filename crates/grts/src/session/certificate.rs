//! How far the final mixtures are from an equilibrium of the *true* meta-game, whose payoffs the run has only sampled.
//!
//! Inside the sampled matrix their regret is zero by construction. What it is among the same policies in truth is asked of
//! new dialogues, in which one player keeps to its mixture and the other tries each of its policies; they go where they
//! narrow the answer, until it is below the target, known to lie above it, or the budget is spent. The mixtures stay what the
//! loop made them: a certificate must be of what is handed over, and what was fixed before its dialogues. So training and
//! every other figure are the same with any `[certify]`. Nothing is trained here, so this says nothing about policies outside
//! the matrix; that is what probes are for.
//!
//! A round is a unit: it is planned from the rounds before it, and its output is what its dialogues returned.

use super::desk::{Cost, Desk, unit};
use super::evaluation::record_of;
use super::stage::{Stage, Stream};
use crate::error::Error;
use crate::policy::Policy;
use crate::rollout::{Attacker, Pairing};
use crate::store::{Purpose, Records};
use grts_game::sampling::{Certifier, Draw, bootstrap};
use grts_game::solver::Solution;
use grts_game::stream::StreamKey;
use grts_game::{Estimate, MetaGame, Moments};
use std::cell::RefCell;

/// Probability that the interval is wrong.
const DELTA: f64 = 0.05;
/// Dialogues of a round, and the share of those before it that a later one has if that is more: batches are full, and the
/// largest budget is a few hundred units.
const ROUND: usize = 512;
const GROWTH: usize = 16;
/// Games that the bootstrap draws.
const RESAMPLES: usize = 500;

/// NashConv of the final mixtures among the policies of the run.
pub(super) struct Regret {
    /// Of the sampled matrix, with the interval that holds for the true one.
    pub(super) certified: Estimate,
    /// Of the matrix of all dialogues, with a bootstrap interval.
    pub(super) likely: Estimate,
}

/// Sizes of the rounds of a budget of `dialogues`.
pub(super) fn rounds(dialogues: usize) -> impl Iterator<Item = usize> {
    let mut played = 0;
    std::iter::from_fn(move || {
        let size = ROUND.max(played / GROWTH).min(dialogues - played);
        played += size;
        (size > 0).then_some(size)
    })
}

/// Plays the rounds and says what they show.
pub(super) fn regret(
    stage: &Stage,
    desk: &RefCell<Desk<'_>>,
    solution: &Solution<Policy, Policy>,
) -> Result<Regret, Error> {
    let Solution { reds, blues, equilibrium, .. } = solution;
    let settings = &stage.scenario.certify;
    let mut game = solution.game.clone();
    let mut certifier = Certifier::new(equilibrium, game.payoff_range(), DELTA, reds.len() + blues.len())?;
    let mut claim = certifier.certificate().nash_conv;
    let mut rounds = rounds(settings.dialogues).enumerate();
    for (round, size) in rounds.by_ref() {
        let Estimate { low, high, .. } = claim;
        desk.borrow_mut().begin(&format!("certificate: NashConv of the final mixtures in [{low:.3}, {high:.3}]"));
        let key = stage.key(Stream::Certificate, round, 0);
        let mut draws = certifier.plan(size, settings.allocation, &mut StreamKey { entry: u64::MAX, ..key }.rng());
        // Rows of a batch that share a policy are faster together, and the order of a round means nothing.
        draws.sort_by_key(|draw| (draw.row, draw.col));
        let returns = play(stage, desk, solution, &draws, key)?;
        record(&draws, &returns, &mut certifier, &mut game)?;
        claim = certifier.certificate().nash_conv;
        if claim.high <= settings.epsilon || claim.low > settings.epsilon {
            break;
        }
    }
    desk.borrow_mut().skip(rounds.count());
    let key = stage.key(Stream::Certificate, 0, u64::MAX - 1);
    Ok(Regret {
        certified: Estimate { mean: equilibrium.nash_conv.clamp(claim.low, claim.high), ..claim },
        likely: bootstrap::nash_conv(&game, equilibrium, RESAMPLES, &mut key.rng())?,
    })
}

/// The returns of a round, in the order of its draws; `None` where a dialogue could not be scored.
fn play(
    stage: &Stage,
    desk: &RefCell<Desk<'_>>,
    solution: &Solution<Policy, Policy>,
    draws: &[Draw],
    key: StreamKey,
) -> Result<Vec<Option<f64>>, Error> {
    let sides = |draw: &Draw| (&solution.reds[draw.row], &solution.blues[draw.col]);
    let (returns, fresh): (Vec<Option<f64>>, bool) = unit(desk, &format!("certificate/{}", key.iteration), || {
        let pairing = |(episode, draw)| {
            let (red, blue) = sides(draw);
            Pairing { red: Attacker::Policy(red), blue, key: StreamKey { episode, ..key } }
        };
        let pairings: Vec<Pairing<'_>> = (0..).zip(draws).map(pairing).collect();
        let episodes = stage.table().play(&pairings)?;
        let record = |(idx, (draw, episode))| {
            let (red, blue) = sides(draw);
            record_of(episode, idx, Purpose::Certificate, None, [&red.id, &blue.id])
        };
        let stored = draws.iter().zip(&episodes).enumerate().map(record).collect();
        let returns = episodes.iter().map(|episode| episode.returns).collect();
        Ok((returns, Cost::of(&episodes), Records { episodes: stored, ..Records::default() }))
    })?;
    let mut desk = desk.borrow_mut();
    if fresh {
        desk.step(returns.iter().flatten().copied().collect::<Moments>().mean)?;
    } else {
        desk.skip(1);
    }
    Ok(returns)
}

fn record(
    draws: &[Draw],
    returns: &[Option<f64>],
    certifier: &mut Certifier,
    game: &mut MetaGame,
) -> Result<(), Error> {
    for (draw, returns) in draws.iter().zip(returns) {
        if let Some(value) = *returns {
            certifier.record(draw, value)?;
            game.record(draw.row, draw.col, value)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ROUND, rounds};

    #[test]
    fn rounds_spend_the_budget_and_are_few() {
        for dialogues in [1, ROUND - 1, ROUND, 16_384, 1_000_000_000] {
            let sizes: Vec<usize> = rounds(dialogues).collect();
            assert_eq!(sizes.iter().sum::<usize>(), dialogues);
            assert!(sizes.iter().rev().skip(1).all(|&size| size >= ROUND) && sizes.len() < 250, "{}", sizes.len());
        }
        assert_eq!(rounds(600).collect::<Vec<_>>(), [512, 88]);
    }
}
