//! The shape of a game: what of it is strength, what goes round, and how a population lies in it.
//!
//! Two games with one value can be opposite problems: in one, better attackers beat worse ones and training the latest
//! against the latest works; in the other, attackers beat each other in circles and only a population is safe. This
//! module measures which one a payoff matrix is. Each measure is a function of the matrix in a module of its own;
//! [`survey`] takes them all, with intervals from the entries' own samples.
//!
//! An interval here is a **bootstrap** one: payoffs are drawn anew around their means and the measure is taken again. It
//! shows how far a measure moves, and it is no bound. Noise itself goes round, so the cyclic part of a sampled game is
//! overestimated, and the bootstrap repeats that error instead of removing it.

mod agents;
mod central;
mod clusters;
mod elo;
mod gamescape;
mod split;
mod survey;

pub use agents::{Agents, is_symmetric_game};
pub use clusters::{
    Cluster, effective_diversity, nash_clusters, relative_performance, relative_performances, three_cycles,
};
pub use elo::{elo, prediction_errors};
pub use gamescape::{Gamescape, gamescape};
pub use split::Split;
pub use survey::{ClusterRecord, Landscape, Settings, Survey, survey, survey_exact};
