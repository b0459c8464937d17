//! Games small enough for exact answers, played through the same loop as language models.
//!
//! They are how the loop is known to be right, and the yardstick printed beside a learnt result. Everything here is
//! computed, never sampled; a game too large to be held in memory does not belong here.

pub mod dialogue_tree;
pub mod matrix_game;

use crate::{Estimate, solver};

/// A response known exactly, which duplicates the population's policy it equals, if any.
fn exact_response<P: PartialEq>(policy: P, population: &[P], gain: f64) -> solver::Response<P> {
    let verdict = match population.iter().position(|member| *member == policy) {
        Some(of) => solver::Verdict::Duplicate { of },
        None => solver::Verdict::Admitted,
    };
    // A best response gains nothing at worst; what is below 0 is rounding.
    solver::Response { policy, gain: Estimate::exact(gain.max(0.0)), verdict }
}
