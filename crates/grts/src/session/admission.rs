//! Which candidate becomes red's response under `grts`, and whether it enters the population.
//!
//! A training leaves two candidates that cost no more learning: the tuple as the search left it, and as it stands after the
//! climb. They are compared on dialogues of their own, so that what is then measured of the chosen one, its gain among it, is
//! not biased by the choice. A member's attacks are described once, from the dialogues in which it was
//! chosen, against blue's mixture of that time.

use super::arena::{Players, halting, moments};
use super::desk::{Cost, unit};
use super::stage::Stream;
use crate::error::Error;
use crate::oracle::{Addition, Descriptor, Merits, choose, fluency};
use crate::policy::Policy;
use crate::rollout::{Attacker, Episode, Pairing};
use crate::store::{EventRecord, Level, Records};
use grts_game::Moments;
use grts_game::solver::State;
use grts_game::stream::StreamKey;
use serde::{Deserialize, Serialize};

/// What candidates are compared against.
pub(super) struct Contest<'p> {
    iteration: usize,
    blues: &'p [Policy],
    /// Of blue's mixture.
    weights: &'p [f64],
    pub(super) value: f64,
    /// λ.
    diversity: f64,
    /// Of red's members, one row each.
    payoffs: Vec<Descriptor>,
    attacks: Vec<Descriptor>,
}

/// What a response was chosen from, and what it adds.
#[derive(Serialize, Deserialize)]
pub(super) struct Admission {
    candidates: Vec<Merits>,
    chosen: usize,
    /// What the chosen one says.
    pub(super) attacks: Descriptor,
    /// Why it stays out, if it does.
    pub(super) redundant: Option<String>,
}

impl Admission {
    /// Keeps out a response that did not gain, by the dialogues that measure it, and that a mixture of the members explains in
    /// both spaces. One that gained enters, whatever it is like.
    pub(super) fn judge(&mut self, gain: f64) {
        let Merits { payoffs, attacks, .. } = &self.candidates[self.chosen];
        let far = |of: &Addition| format!("{:.4} where sampling explains {:.4}", of.distance, of.noise);
        let reason = || {
            format!(
                "gain {gain:+.3}, and nothing new: squared distance from the hull of the population {} in payoffs, {} in attacks",
                far(payoffs),
                far(attacks)
            )
        };
        self.redundant = (gain <= 0.0 && !self.candidates[self.chosen].is_new()).then(reason);
    }

    /// The choice in one line.
    pub(super) fn told(&self) -> String {
        let tell = |(idx, merits): (usize, &Merits)| {
            let taken = if idx == self.chosen { " (taken)" } else { "" };
            let name = if idx + 1 == self.candidates.len() { "after the climb" } else { "after the search" };
            let Merits { gain, payoffs, attacks, fault } = merits;
            let fault = fault.as_ref().map_or(String::new(), |fault| format!(", {fault}"));
            format!(
                "{name}{taken}: gain {gain:+.3}, adds {:.3} in payoffs and {:.3} in attacks{fault}",
                payoffs.cardinality, attacks.cardinality
            )
        };
        self.candidates.iter().enumerate().map(tell).collect::<Vec<_>>().join("; ")
    }

    pub(super) fn event(&self, id: &str) -> EventRecord {
        let told = self.redundant.clone().unwrap_or_else(|| self.told());
        EventRecord { level: Level::Info, text: format!("{id}: {told}") }
    }
}

impl Players<'_, '_> {
    /// What candidates of this iteration are compared against. Members whose attacks nobody has described are played.
    pub(super) fn contest<'p>(
        &mut self,
        state: &State<'p, Policy, Policy>,
        blues: &[(&Policy, f64)],
        value: f64,
    ) -> Result<Contest<'p>, Error> {
        let attacks = state.reds.iter().enumerate().map(|(idx, red)| self.described(idx, red, blues, state.iteration));
        let attacks = attacks.collect::<Result<Vec<_>, _>>()?;
        let row = |row| {
            let entries: Vec<Moments> = (0..state.blues.len()).map(|col| *state.game.entry(row, col)).collect();
            Descriptor::of_payoffs(&entries, state.game.payoff_range())
        };
        Ok(Contest {
            iteration: state.iteration,
            blues: state.blues,
            weights: &state.equilibrium.col,
            value,
            diversity: self.diversity_weight(state.iteration),
            payoffs: (0..state.reds.len()).map(row).collect(),
            attacks,
        })
    }

    /// What a member says: known since it was chosen, or from dialogues against blue's mixture.
    fn described(
        &mut self,
        idx: usize,
        red: &Policy,
        blues: &[(&Policy, f64)],
        iteration: usize,
    ) -> Result<Descriptor, Error> {
        if let Some(known) = self.attacks.get(&red.id) {
            return Ok(known.clone());
        }
        let (descriptor, _) = unit(self.desk, &format!("attacks/{}", red.id), || {
            let key = self.stage.key(Stream::Selection, iteration, 1 << 32 | idx as u64);
            let episodes = self.dialogues(&[(red, 1.0)], blues, self.stage.scenario.solver.gain_dialogues, key)?;
            Ok((self.attacks_of(&episodes)?, Cost::of(&episodes), Records::default()))
        })?;
        self.attacks.insert(red.id.clone(), descriptor.clone());
        Ok(descriptor)
    }

    /// The mean embedding of what red says in a dialogue, which is the unit that is sampled.
    fn attacks_of(&self, episodes: &[Episode]) -> Result<Descriptor, Error> {
        let texts: Vec<&str> = episodes.iter().flat_map(|e| &e.turns).map(|turn| turn.red.text.as_str()).collect();
        let mut vectors = self.stage.space()?.embed(&texts)?.into_iter();
        let mean = |episode: &Episode| {
            let said: Vec<Vec<f64>> = vectors.by_ref().take(episode.turns.len()).collect();
            Descriptor::of_samples(&said).mean
        };
        Ok(Descriptor::of_samples(&episodes.iter().map(mean).collect::<Vec<_>>()))
    }

    /// The candidate that becomes the response.
    pub(super) fn select(
        &self,
        contest: &Contest<'_>,
        mut candidates: Vec<Policy>,
    ) -> Result<(Policy, Admission, Cost), Error> {
        let (mut merits, mut attacks, mut cost) = (Vec::new(), Vec::new(), Cost::default());
        for candidate in &candidates {
            let (own, said, more) = self.merits(contest, candidate)?;
            merits.push(own);
            attacks.push(said);
            cost.add(more);
        }
        let chosen = choose(&merits, contest.diversity).unwrap_or_default();
        let (policy, attacks) = (candidates.swap_remove(chosen), attacks.swap_remove(chosen));
        Ok((policy, Admission { candidates: merits, chosen, attacks, redundant: None }, cost))
    }

    /// Plays a candidate against every blue: half of the dialogues as blue's mixture has it, for the gain, half spread evenly, for
    /// its row of payoffs. Candidates meet the same draws.
    fn merits(&self, contest: &Contest<'_>, candidate: &Policy) -> Result<(Merits, Descriptor, Cost), Error> {
        let evenly = 1.0 / contest.blues.len() as f64;
        let half = self.stage.scenario.solver.gain_dialogues as f64 / 2.0;
        let counts: Vec<usize> = contest.weights.iter().map(|w| (half * (w + evenly)).ceil() as usize).collect();
        let pairings: Vec<Pairing<'_>> = contest
            .blues
            .iter()
            .zip(&counts)
            .enumerate()
            .flat_map(|(col, (blue, &count))| {
                let key = self.stage.key(Stream::Selection, contest.iteration, col as u64);
                let key = move |i| StreamKey { episode: i as u32, ..key };
                (0..count).map(move |i| Pairing { red: Attacker::Policy(candidate), blue, key: key(i) })
            })
            .collect();
        let episodes = self.stage.table().play(&pairings)?;
        let mut left = episodes.as_slice();
        let mut entries = Vec::new();
        for count in counts {
            let (own, rest) = left.split_at(count);
            entries.push(moments(own)?);
            left = rest;
        }
        let returns: f64 = entries.iter().zip(contest.weights).map(|(entry, weight)| weight * entry.mean).sum();
        let payoffs = Descriptor::of_payoffs(&entries, self.stage.rules.payoff_range());
        let attacks = self.attacks_of(&episodes)?;
        let fluency = fluency(&self.stage.base, &episodes, candidate.num_adapters())?;
        let merits = Merits {
            gain: returns - contest.value,
            fault: halting(&fluency, self.stage.scenario.red.fluency_floor),
            payoffs: Addition::of(&payoffs, &contest.payoffs)?,
            attacks: Addition::of(&attacks, &contest.attacks)?,
        };
        Ok((merits, attacks, Cost::of(&episodes)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Addition, Admission, Descriptor, Merits};

    const KNOWN: Addition = Addition { cardinality: 0.01, distance: 0.003, noise: 0.002 };
    const NEW: Addition = Addition { distance: 0.3, ..KNOWN };

    fn judged(gain: f64, payoffs: Addition, attacks: Addition) -> Option<String> {
        let merits = |payoffs, attacks| Merits { gain: 0.2, fault: None, payoffs, attacks };
        let mut admission = Admission {
            // What was not chosen has no say.
            candidates: vec![merits(NEW, NEW), merits(payoffs, attacks)],
            chosen: 1,
            attacks: Descriptor { mean: vec![1.0], error: 0.0 },
            redundant: None,
        };
        admission.judge(gain);
        admission.redundant
    }

    #[test]
    fn only_what_neither_gains_nor_is_new_in_any_space_stays_out() {
        for (gain, payoffs, attacks) in [(0.001, KNOWN, KNOWN), (-0.1, NEW, KNOWN), (-0.1, KNOWN, NEW), (0.1, NEW, NEW)]
        {
            assert_eq!(judged(gain, payoffs, attacks), None, "{gain} {payoffs:?} {attacks:?}");
        }
        for gain in [0.0, -0.1] {
            let reason = judged(gain, KNOWN, KNOWN).unwrap();
            assert!(reason.starts_with(&format!("gain {gain:+.3}, and nothing new")), "{reason}");
            assert!(reason.contains("0.0030 where sampling explains 0.0020 in attacks"), "{reason}");
        }
    }
}
