//! Two poker games that the field measures solvers with, small enough for exact play, with red first to act.
//!
//! Both follow OpenSpiel's rules and order of actions, so that curves compare with published ones: a tie goes to the
//! first action, which is to pass in Kuhn poker and to fold, or else to call, in Leduc hold'em.

mod kuhn;
mod leduc;

pub use kuhn::Kuhn;
pub use leduc::Leduc;

use super::sequence_form::Node;
use crate::Player;

/// Who acts after `moves` moves of one betting round.
fn to_act(moves: usize) -> Player {
    if moves.is_multiple_of(2) { Player::Red } else { Player::Blue }
}

/// One of the `deck` cards that are not in `dealt`, all equally likely.
fn deal(deck: u8, dealt: &[u8]) -> Node {
    let left = f64::from(deck) - dealt.len() as f64;
    let chance = |card| if dealt.contains(&card) { 0.0 } else { 1.0 / left };
    Node::Chance { probabilities: (0..deck).map(chance).collect() }
}
