//! Attacks in words that got through, kept from one response to the next.
//!
//! An attacker that learns from the base has to find again what its predecessors found, and a defender forgets what no
//! member of the population says any more. Words are cheaper to keep than policies: said again they cost no
//! token of red's, and one try tells whether a way in is still open.

use super::Mixture;
use crate::rollout::Episode;
use serde::{Deserialize, Serialize};

/// What red said in one dialogue, turn by turn, and what it is worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attack {
    /// Red's turns.
    pub said: Vec<String>,
    /// Mean return of the dialogues in which this was last said again.
    pub worth: f64,
}

/// Red's turns in `episode`.
pub(super) fn words(episode: &Episode) -> Vec<String> {
    episode.turns.iter().map(|turn| turn.red.text.clone()).collect()
}

/// Attacks, the most successful first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Repertoire {
    attacks: Vec<Attack>,
}

/// What an attack weighs at least where one is drawn: what is closed today is tried now and then.
const LEAST: f64 = 0.05;

impl Repertoire {
    /// All of them.
    pub fn attacks(&self) -> &[Attack] {
        &self.attacks
    }

    /// Takes in what was said last, and keeps the `room` most successful of all; of equals, those that were tried last.
    pub fn learn(&mut self, said: &[Attack], room: usize) {
        for attack in said {
            self.attacks.retain(|known| known.said != attack.said);
            self.attacks.insert(0, attack.clone());
        }
        self.attacks.sort_by(|a, b| b.worth.total_cmp(&a.worth));
        self.attacks.truncate(room);
    }
}

/// Attacks with the weights by which they are drawn.
pub(super) fn weighted(attacks: &[Attack]) -> Vec<(&Attack, f64)> {
    attacks.iter().map(|attack| (attack, attack.worth.max(LEAST))).collect()
}

/// Whom a defender practises against.
#[derive(Clone, Copy)]
pub struct Practice<'a> {
    /// Attackers.
    pub reds: &'a Mixture<'a>,
    /// Attacks in words.
    pub attacks: &'a [Attack],
    /// Share of the dialogues in which these are said.
    pub recited: f64,
}

impl<'a> Practice<'a> {
    /// Against a mixture alone.
    pub fn against(reds: &'a Mixture<'a>) -> Self {
        Self { reds, attacks: &[], recited: 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::{Attack, Repertoire, weighted};

    fn attack(said: &str, worth: f64) -> Attack {
        Attack { said: vec![said.to_owned()], worth }
    }

    #[test]
    fn what_was_tried_again_counts_by_its_last_try_and_the_least_successful_go() {
        let mut repertoire = Repertoire::default();
        repertoire.learn(&[attack("a", 1.0), attack("b", 0.5), attack("c", 0.25)], 3);
        repertoire.learn(&[attack("a", 0.25), attack("d", 0.75)], 3);
        assert_eq!(repertoire.attacks(), [attack("d", 0.75), attack("b", 0.5), attack("a", 0.25)]);
        // Closed ones stay while there is room, and are still drawn.
        repertoire.learn(&[attack("d", 0.0)], 3);
        let weights: Vec<f64> = weighted(repertoire.attacks()).into_iter().map(|(_, weight)| weight).collect();
        assert_eq!(weights, [0.5, 0.25, 0.05]);
        repertoire.learn(&[], 0);
        assert_eq!(repertoire, Repertoire::default());
    }
}
