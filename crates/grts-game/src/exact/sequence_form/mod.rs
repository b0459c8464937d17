//! Extensive-form games with hidden information, in sequence form (von Stengel 1996).
//!
//! A two-player zero-sum game of perfect recall is unfolded once and then forgotten: what remains is each player's
//! *sequences* (an information set and an action there, and the empty sequence), each information set's parent sequence,
//! and one number per pair of sequences that some end of the game joins. Returns are bilinear in realisation plans over
//! those numbers, so a strategy is a vector, a mixture of whole strategies is a sum of vectors, and a best response is one
//! backward sweep over one player's information sets: no search through the game tree. The pairs are sparse (Leduc poker:
//! 1,093 by 1,093 sequences, 5,520 ends), and the cost is that the whole game must fit in memory.
//!
//! Sequences are numbered as a depth-first walk meets them, so a parent comes before its children.

mod game;
mod strategy;
mod unfold;

pub use game::SequenceGame;
pub use strategy::{Behaviour, Strategy};

use crate::{GameError, Player};
use std::ops::Range;

/// What a state of the game asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Nature moves: outcome k has probability `probabilities[k]`.
    Chance {
        /// Non-negative, with sum 1.
        probabilities: Vec<f64>,
    },
    /// A player moves.
    Decision {
        /// Who.
        player: Player,
        /// All that this player knows; states that it cannot tell apart have the same text.
        information: String,
        /// Number of actions, at least 1.
        actions: usize,
    },
    /// The game is over.
    End {
        /// Return to red; blue gets the negative.
        returns: f64,
    },
}

/// The rules of a game in extensive form.
pub trait ExtensiveGame {
    /// Everything there is to know about a moment of the game.
    type State;

    /// Before the first move.
    fn start(&self) -> Self::State;

    /// What happens at `state`.
    fn node(&self, state: &Self::State) -> Node;

    /// The state after move `action` (an outcome of chance, or an action), counted from 0.
    fn after(&self, state: &Self::State, action: usize) -> Self::State;
}

/// A point at which a player chooses, seen from that player.
#[derive(Debug, Clone, PartialEq)]
struct InformationSet {
    information: String,
    parent: usize,           // own sequence that led here
    sequences: Range<usize>, // one per action
}

/// One player's half of the game. Sequence 0 is the empty one.
#[derive(Debug, Clone, PartialEq)]
struct Side {
    information_sets: Vec<InformationSet>,
    num_sequences: usize,
}

/// An end of the game, or several ends that no strategy can tell apart.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Leaf {
    red: usize,  // sequence
    blue: usize, // sequence
    weight: f64, // Σ chance · return to red
}

/// A game of perfect recall in sequence form.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceForm {
    red: Side,
    blue: Side,
    leaves: Vec<Leaf>, // sorted by (red, blue), each pair once
    range: (f64, f64),
}

impl SequenceForm {
    /// Unfolds a game.
    ///
    /// # Errors
    /// Probabilities of chance that are no distribution, a decision without actions, a return that is not finite, or a
    /// player that forgets what it did or knew (one information set after two different sequences, or with two different
    /// numbers of actions).
    pub fn unfold<G: ExtensiveGame>(game: &G) -> Result<Self, GameError> {
        unfold::unfold(game)
    }

    /// Number of information sets of a player.
    pub fn num_information_sets(&self, player: Player) -> usize {
        self.side(player).information_sets.len()
    }

    /// Number of sequences of a player, the empty one included.
    pub fn num_sequences(&self, player: Player) -> usize {
        self.side(player).num_sequences
    }

    /// Pairs of sequences with a payoff.
    pub fn num_leaves(&self) -> usize {
        self.leaves.len()
    }

    /// Smallest and largest return to red.
    pub fn payoff_range(&self) -> (f64, f64) {
        self.range
    }

    /// What a player knows at its `idx`-th information set, which must exist.
    pub fn information(&self, player: Player, idx: usize) -> &str {
        &self.side(player).information_sets[idx].information
    }

    fn side(&self, player: Player) -> &Side {
        match player {
            Player::Red => &self.red,
            Player::Blue => &self.blue,
        }
    }
}
