//! Attacks in words, kept from one response to the next.
//!
//! An attacker that learns from the base has to find again what its predecessors found, and a defender forgets what no
//! member of the population says any more. Words are cheaper to keep than policies: said again they cost no
//! token of red's, and one try tells whether a way in is still open. What honest people ask is known from the start: red may
//! say it as well, and blue, which owes honest people a share in all, may otherwise serve it where nobody presses.

use super::Mixture;
use crate::rollout::Episode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What red said in one dialogue, turn by turn, and what it is worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attack {
    /// Red's turns.
    pub said: Vec<String>,
    /// Mean return of the dialogues in which red said this again last, moved by each in which blue was met with it since.
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

impl Repertoire {
    /// All of them.
    pub fn attacks(&self) -> &[Attack] {
        &self.attacks
    }

    /// The `count` that promise most to a red that tries them again; of equals those that were not tried for longest, so that
    /// what is shut has its turn too.
    pub fn promising(&self, count: usize) -> Vec<Attack> {
        let mut oldest_first: Vec<Attack> = self.attacks.iter().rev().cloned().collect();
        oldest_first.sort_by(|a, b| b.worth.total_cmp(&a.worth));
        oldest_first.truncate(count);
        oldest_first
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

/// What an attack is worth that got through once, while blue was learning: less than one that did so when it was said again.
const ONCE: f64 = 0.25;
/// How far one more try moves what an attack is worth.
const STEP: f64 = 0.25;

/// What blue's practice says of attacks in words: of those that are known, as often as they are said again, and of those that
/// got through for the first time.
pub(super) struct Lessons<'a> {
    known: BTreeMap<&'a [String], f64>,
    worth: BTreeMap<Vec<String>, f64>,
}

impl<'a> Lessons<'a> {
    /// Before the practice with these.
    pub(super) fn of(known: &'a [Attack]) -> Self {
        let known = known.iter().map(|attack| (attack.said.as_slice(), attack.worth)).collect();
        Self { known, worth: BTreeMap::new() }
    }

    /// A known attack was said again, and earned `returns`.
    pub(super) fn said_again(&mut self, said: &[String], returns: f64) {
        let before = self.known.get(said).copied().unwrap_or(ONCE);
        let worth = self.worth.entry(said.to_vec()).or_insert(before);
        *worth += STEP * (returns - *worth);
    }

    /// An attacker said this and got through. Of a known attack that says nothing: nobody counts how often it failed.
    pub(super) fn got_through(&mut self, said: Vec<String>) {
        if !self.known.contains_key(said.as_slice()) {
            self.worth.entry(said).or_insert(ONCE);
        }
    }

    /// The attacks that there is something new to say of.
    pub(super) fn attacks(self) -> Vec<Attack> {
        self.worth.into_iter().map(|(said, worth)| Attack { said, worth }).collect()
    }
}

/// Attacks with the weights by which they are drawn: half by worth and half alike, so that what is shut has its share, however
/// much of it there is.
pub(super) fn weighted(attacks: &[Attack]) -> Vec<(&Attack, f64)> {
    let worth: f64 = attacks.iter().map(|attack| attack.worth).sum();
    let alike = if worth > 0.0 { worth } else { 1.0 } / attacks.len() as f64;
    attacks.iter().map(|attack| (attack, attack.worth + alike)).collect()
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
    use super::{Attack, Lessons, Repertoire, weighted};

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
        let weights = |repertoire: &Repertoire| -> Vec<f64> {
            weighted(repertoire.attacks()).into_iter().map(|(_, weight)| weight).collect()
        };
        assert_eq!(weights(&repertoire), [0.75, 0.5, 0.25]);
        // So they are where nothing is open.
        repertoire.learn(&[attack("a", 0.0), attack("b", 0.0)], 3);
        assert_eq!(weights(&repertoire), [1.0 / 3.0; 3]);
        repertoire.learn(&[], 0);
        assert_eq!(repertoire, Repertoire::default());
    }

    #[test]
    fn of_attacks_that_are_worth_the_same_red_tries_the_oldest_first() {
        let mut repertoire = Repertoire::default();
        repertoire.learn(&[attack("a", 0.0), attack("b", 0.5), attack("c", 0.0)], 8);
        repertoire.learn(&[attack("d", 0.0), attack("a", 0.0)], 8);
        let tried =
            |count| repertoire.promising(count).into_iter().map(|attack| attack.said[0].clone()).collect::<Vec<_>>();
        assert_eq!(tried(8), ["b", "c", "d", "a"]);
        assert_eq!(tried(2), ["b", "c"]);
    }

    #[test]
    fn practice_moves_what_a_known_attack_is_worth_and_adds_what_got_through() {
        let known = [attack("open", 1.0), attack("shut", 0.0), attack("unsaid", 0.5)];
        let mut lessons = Lessons::of(&known);
        for returns in [0.0, 0.0] {
            lessons.said_again(&known[0].said, returns);
        }
        lessons.said_again(&known[1].said, 1.0);
        lessons.got_through(attack("new", 1.0).said);
        lessons.got_through(attack("new", 1.0).said);
        lessons.got_through(known[2].said.clone());
        assert_eq!(lessons.attacks(), [attack("new", 0.25), attack("open", 0.5625), attack("shut", 0.25)]);
    }
}
