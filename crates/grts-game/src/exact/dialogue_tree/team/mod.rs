//! The red team on a dialogue tree: one player whose seats need not all know the same.
//!
//! Before the dialogue the team agrees on a plan for every seat, and may draw it: one draw, for all seats together. During
//! the dialogue nobody confers. So the team's strategies are distributions over *joint* plans, it is one player against
//! blue, and its equilibrium is the TMECor (Celli & Gatti 2018; Zhang & Sandholm 2022). Every seat knows the opening. Blue
//! hears what is said and never who says it.
//!
//! What seats hear decides what a team is. If all hear everything, it is an ordinary player of perfect recall, and its value
//! is that of one seat, under every schedule. If a seat hears only the turns that it spoke in, the team as a whole forgets
//! between its seats; then averaging behaviour is wrong, plans must be mixed as wholes, and the best response is a
//! combinatorial problem. Zhang & Sandholm turn it into a larger game of perfect recall; here trees are small, so the
//! oracle is branch and bound (`response`) and the linear program lists the plans (`program`).
//!
//! A *position* is a public history together with who is to speak now and who spoke before. Positions that the speaker
//! cannot tell apart form an *information set*, where a plan must say the same. For one seat positions and information sets
//! are the tree's red nodes, and every number here comes from the same operations as without a team.

mod program;
mod response;
mod strategy;

pub use program::{TeamEquilibrium, team_equilibrium};
pub use strategy::TeamStrategy;

use super::DialogueTree;
use crate::GameError;
use crate::rules::{Schedule, Team};
use std::collections::HashMap;
use std::ops::Range;

/// What a seat learns of the dialogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// All that is said.
    All,
    /// Its own utterances, the replies to them, and what turn it is.
    Own,
}

/// A moment at which a seat speaks.
#[derive(Debug, Clone, PartialEq)]
struct Position {
    node: usize,              // red node
    set: usize,               // information set
    after: Vec<Range<usize>>, // positions that chance chooses from, for each reply of the node; empty at the end
}

/// What a seat knows when it speaks.
#[derive(Debug, Clone, PartialEq)]
struct InformationSet {
    seat: usize,
    utterances: Vec<u32>,
}

/// One turn as it was played: who spoke, what was said and replied.
type Round = (usize, u32, u32);
/// A seat and, for each turn before, what it heard.
type Knowledge = (usize, Vec<Option<(u32, u32)>>);

/// A dialogue tree played by a team.
#[derive(Debug, Clone, PartialEq)]
pub struct TeamTree<'t> {
    tree: &'t DialogueTree,
    roots: Range<usize>,
    positions: Vec<Position>, // a position precedes those after it
    sets: Vec<InformationSet>,
}

/// A tree of positions while it grows.
struct Unfolding<'t> {
    grown: TeamTree<'t>,
    hearing: Hearing,
    known: HashMap<Knowledge, usize>,
    rounds: Vec<Vec<Round>>, // by position
}

impl<'t> TeamTree<'t> {
    /// The team of the tree's rules, at its table.
    ///
    /// # Errors
    /// Histories that a seat cannot tell apart but that offer it different utterances.
    pub fn new(tree: &'t DialogueTree, hearing: Hearing) -> Result<Self, GameError> {
        let grown = Self { tree, roots: 0..0, positions: Vec::new(), sets: Vec::new() };
        let mut unfolding = Unfolding { grown, hearing, known: HashMap::new(), rounds: Vec::new() };
        unfolding.grown.roots = unfolding.add(0, &[])?;
        let mut at = 0;
        while at < unfolding.rounds.len() {
            unfolding.expand(at)?;
            at += 1;
        }
        Ok(unfolding.grown)
    }

    /// The tree that is played on.
    pub fn tree(&self) -> &'t DialogueTree {
        self.tree
    }

    /// Information sets of all seats, for each opening.
    pub fn num_information_sets(&self) -> usize {
        self.sets.len()
    }

    /// The seat that speaks at an information set, which must exist.
    pub fn seat(&self, information_set: usize) -> usize {
        self.sets[information_set].seat
    }

    /// What can be said at an information set, which must exist.
    pub fn utterances(&self, information_set: usize) -> &[u32] {
        &self.sets[information_set].utterances
    }

    /// Replies after blue node `blue` of a position, with the positions that each leads to.
    fn replies<'a>(&'a self, position: &'a Position, blue: usize) -> impl Iterator<Item = (usize, Range<usize>)> + 'a {
        let first = self.tree.blue_nodes[self.tree.red_nodes[position.node].blues.start].replies.start;
        self.tree.blue_nodes[blue].replies.clone().map(move |reply| (reply, position.after[reply - first].clone()))
    }

    /// The blue node that utterance number `choice` leads to.
    fn blue_after(&self, position: &Position, choice: usize) -> usize {
        self.tree.red_nodes[position.node].blues.start + choice
    }
}

impl Unfolding<'_> {
    /// Adds the positions at a red node, one for each seat that may speak there.
    fn add(&mut self, node: usize, rounds: &[Round]) -> Result<Range<usize>, GameError> {
        let first = self.rounds.len();
        for seat in speakers(self.grown.tree.rules.team(), rounds) {
            let set = self.information_set(seat, node, rounds)?;
            self.grown.positions.push(Position { node, set, after: Vec::new() });
            self.rounds.push(rounds.to_vec());
        }
        Ok(first..self.rounds.len())
    }

    /// Adds all positions one round later.
    fn expand(&mut self, at: usize) -> Result<(), GameError> {
        let (tree, node) = (self.grown.tree, self.grown.positions[at].node);
        let seat = self.grown.sets[self.grown.positions[at].set].seat;
        for blue in &tree.blue_nodes[tree.red_nodes[node].blues.clone()] {
            for reply in &tree.replies[blue.replies.clone()] {
                let mut rounds = self.rounds[at].clone();
                rounds.push((seat, blue.utterance, reply.utterance));
                let after = reply.next.map_or(Ok(0..0), |next| self.add(next, &rounds))?;
                self.grown.positions[at].after.push(after);
            }
        }
        Ok(())
    }

    fn information_set(&mut self, seat: usize, node: usize, rounds: &[Round]) -> Result<usize, GameError> {
        let hears = |speaker: usize| self.hearing == Hearing::All || speaker == seat;
        let heard = rounds.iter().map(|&(speaker, said, reply)| hears(speaker).then_some((said, reply))).collect();
        let tree = self.grown.tree;
        let blues = &tree.blue_nodes[tree.red_nodes[node].blues.clone()];
        let utterances: Vec<u32> = blues.iter().map(|blue| blue.utterance).collect();
        let sets = &mut self.grown.sets;
        let set = *self.known.entry((seat, heard)).or_insert(sets.len());
        if set == sets.len() {
            sets.push(InformationSet { seat, utterances });
        } else if sets[set].utterances != utterances {
            let history = rounds.iter().flat_map(|&(_, said, reply)| [said, reply]).collect();
            return Err(GameError::Indistinct { seat, history });
        }
        Ok(set)
    }
}

/// Seats of which chance lets one speak after these rounds, all alike.
fn speakers(team: Team, rounds: &[Round]) -> Range<usize> {
    let only = |seat| seat..seat + 1;
    match (team.schedule(), rounds.last()) {
        (Schedule::Relay, _) => only(rounds.len() % team.seats()),
        (Schedule::Parallel, Some(&(seat, ..))) => only(seat),
        (Schedule::Parallel, None) | (Schedule::Drawn, _) => 0..team.seats(),
    }
}
