//! Games small enough for exact answers, played through the same loop as language models.
//!
//! They are how the loop is known to be right, and the yardstick printed beside a learnt result. Everything here is
//! computed, never sampled; a game too large to be held in memory does not belong here.

pub mod dialogue_tree;
pub mod families;
pub mod matrix_game;
pub mod poker;
pub mod sequence_form;

use crate::{Estimate, GameError, solver};

/// A response known exactly, which duplicates the population's policy it equals, if any.
fn exact_response<P: PartialEq>(policy: P, population: &[P], gain: f64) -> solver::Response<P> {
    let verdict = match population.iter().position(|member| *member == policy) {
        Some(of) => solver::Verdict::Duplicate { of },
        None => solver::Verdict::Admitted,
    };
    // A best response gains nothing at worst; what is below 0 is rounding.
    solver::Response { policy, gain: Estimate::exact(gain.max(0.0)), verdict }
}

/// Weights as probabilities.
fn distribution(place: &str, weights: &[f64]) -> Result<Vec<f64>, GameError> {
    if let Some((idx, &value)) = weights.iter().enumerate().find(|(_, weight)| !(weight.is_finite() && **weight >= 0.0))
    {
        let allowed = "a weight of at least 0".to_owned();
        return Err(GameError::Value { place: format!("{place} {idx}"), value, allowed });
    }
    let sum: f64 = weights.iter().sum();
    if weights.is_empty() {
        return Err(GameError::Empty { what: "list of weights" });
    }
    if !(sum.is_finite() && sum > 0.0) {
        let allowed = "a positive finite number".to_owned();
        return Err(GameError::Value { place: format!("sum of the {place} weights"), value: sum, allowed });
    }
    Ok(weights.iter().map(|weight| weight / sum).collect())
}
