//! Leduc hold'em (Southey et al. 2005): six cards of three ranks, two betting rounds, one public card between them.
//!
//! Everyone pays 1; a raise is 2 in the first round and 4 in the second, at most two a round. Who pairs the public card
//! wins, else the higher rank, and equal ranks split. The two suits are told apart, as in OpenSpiel, which makes 936
//! information sets where 288 would do: with them merged, ties would fall elsewhere and curves would not compare.

use super::{deal, to_act};
use crate::Player;
use crate::exact::sequence_form::{ExtensiveGame, Node};

const DECK: u8 = 6;
const SUITS: u8 = 2;
const RAISES_PER_ROUND: usize = 2;
const RAISE: [u32; 2] = [2, 4];

/// The rules. Actions, in order, where allowed: fold (to a raise only), call, raise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leduc;

/// Cards dealt (red's, blue's, the public one), moves of each round (`f`, `c`, `r`), and the chips that both have paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hand {
    cards: Vec<u8>,
    rounds: [String; 2],
    paid: [u32; 2], // red, blue
}

impl Hand {
    /// The betting round that is being played, or the last one.
    fn round(&self) -> usize {
        usize::from(self.cards.len() == 3)
    }

    /// Moves allowed, in order.
    fn moves(&self) -> String {
        let raises = self.rounds[self.round()].matches('r').count();
        let fold = if self.paid[0] == self.paid[1] { "" } else { "f" };
        let raise = if raises < RAISES_PER_ROUND { "r" } else { "" };
        format!("{fold}c{raise}")
    }

    /// A round ends with the call that answers a raise or a first call.
    fn is_closed(moves: &str) -> bool {
        moves.len() >= 2 && moves.ends_with('c')
    }

    /// Red's net gain when nobody has folded.
    fn showdown(&self) -> f64 {
        let strength = |card: u8| (card / SUITS == self.cards[2] / SUITS, card / SUITS);
        let stake = f64::from(self.paid[0]);
        match strength(self.cards[0]).cmp(&strength(self.cards[1])) {
            std::cmp::Ordering::Greater => stake,
            std::cmp::Ordering::Equal => 0.0,
            std::cmp::Ordering::Less => -stake,
        }
    }
}

impl ExtensiveGame for Leduc {
    type State = Hand;

    fn start(&self) -> Hand {
        Hand { cards: Vec::new(), rounds: Default::default(), paid: [1, 1] }
    }

    fn node(&self, hand: &Hand) -> Node {
        if hand.cards.len() < 2 {
            return deal(DECK, &hand.cards);
        }
        let moves = &hand.rounds[hand.round()];
        if moves.ends_with('f') {
            let red_folded = to_act(moves.len() - 1) == Player::Red;
            let returns = if red_folded { -f64::from(hand.paid[0]) } else { f64::from(hand.paid[1]) };
            return Node::End { returns };
        }
        if Hand::is_closed(moves) {
            return if hand.round() == 0 { deal(DECK, &hand.cards) } else { Node::End { returns: hand.showdown() } };
        }
        let player = to_act(moves.len());
        let card = hand.cards[usize::from(player == Player::Blue)];
        let public = hand.cards.get(2).map_or_else(String::new, |card| format!("/{card}:"));
        let information = format!("{card}:{}{public}{}", hand.rounds[0], hand.rounds[1]);
        Node::Decision { player, information, actions: hand.moves().len() }
    }

    fn after(&self, hand: &Hand, action: usize) -> Hand {
        let (mut next, round) = (hand.clone(), hand.round());
        if hand.cards.len() < 2 || Hand::is_closed(&hand.rounds[round]) {
            next.cards.push(action as u8);
            return next;
        }
        let moved = hand.moves().as_bytes()[action] as char;
        let actor = hand.rounds[round].len() % 2;
        let most = hand.paid[0].max(hand.paid[1]);
        match moved {
            'c' => next.paid[actor] = most,
            'r' => next.paid[actor] = most + RAISE[round],
            _ => {}
        }
        next.rounds[round].push(moved);
        next
    }
}
