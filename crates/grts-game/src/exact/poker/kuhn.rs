//! Kuhn poker (Kuhn 1950): three cards, one chip each, one bet. Its value to the first player is −1/18.

use super::{deal, to_act};
use crate::Player;
use crate::exact::sequence_form::{ExtensiveGame, Node};

/// The rules. Actions: 0 passes (checks or folds), 1 bets (or calls).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kuhn;

/// Cards dealt, red's first, and what was done: `p` for a pass, `b` for a bet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hand {
    cards: Vec<u8>,
    moves: String,
}

impl ExtensiveGame for Kuhn {
    type State = Hand;

    fn start(&self) -> Hand {
        Hand::default()
    }

    fn node(&self, hand: &Hand) -> Node {
        let &[red, blue] = hand.cards.as_slice() else { return deal(3, &hand.cards) };
        let showdown = if red > blue { 1.0 } else { -1.0 };
        match hand.moves.as_str() {
            "pp" => Node::End { returns: showdown },
            "bb" | "pbb" => Node::End { returns: 2.0 * showdown },
            "bp" => Node::End { returns: 1.0 },
            "pbp" => Node::End { returns: -1.0 },
            moves => {
                let player = to_act(moves.len());
                let card = if player == Player::Red { red } else { blue };
                Node::Decision { player, information: format!("{card}{moves}"), actions: 2 }
            }
        }
    }

    fn after(&self, hand: &Hand, action: usize) -> Hand {
        let mut hand = hand.clone();
        if hand.cards.len() < 2 {
            hand.cards.push(action as u8);
        } else {
            hand.moves.push(if action == 0 { 'p' } else { 'b' });
        }
        hand
    }
}
