//! The maximum-entropy equilibrium of a symmetric game: whom nobody can beat, and everyone who is one of them.
//!
//! The value is 0, and both sides are the same agents. The equilibrium of largest entropy has the largest support of all,
//! which is what a Nash cluster is.

use super::agents::Agents;
use crate::GameError;
use crate::max_entropy::{Contest, Lots};
use nalgebra::DMatrix;

/// Largest regret, in units of the largest payoff, of an answer.
const CERTIFIED: f64 = 1e-8;

/// Mixture of the agents `alive` (one weight each) that is an equilibrium of the game between them, of largest entropy.
///
/// # Errors
/// The mixture that was found has regret.
pub(super) fn equilibrium(agents: &Agents, alive: &[usize]) -> Result<Vec<f64>, GameError> {
    let n = agents.interaction().rows();
    let raw = DMatrix::from_row_slice(n, n, agents.interaction().as_slice());
    let scale = raw.amax();
    if scale == 0.0 {
        return Ok(vec![1.0 / alive.len() as f64; alive.len()]);
    }
    let gains = raw / scale;
    let lots = Lots::new(agents.width(), alive.iter().flat_map(|&agent| agents.features(agent)).copied().collect());
    let weights = Contest { gains: &gains, members: &lots, opponents: &lots }.solve();
    let mass = lots.scatter(&weights.clone().into(), n);
    let regret = lots.gather((&gains * mass).as_slice()).max();
    if regret > CERTIFIED {
        // Both sides have that regret, and the range is twice the largest payoff.
        return Err(GameError::NoEquilibrium { nash_conv: regret });
    }
    Ok(weights)
}
