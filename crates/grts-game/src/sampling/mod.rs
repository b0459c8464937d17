//! How many dialogues a claim about a sampled game costs, and where to play them.
//!
//! Payoffs are means of few returns, and an equilibrium of the means is an equilibrium of the true game only to some ε.
//! This module says which ε, with probability 1 − δ, and spends dialogues where ε falls.
//!
//! | module | what is there |
//! |---|---|
//! | [`bounds`] | intervals at a fixed sample size and any level; openings as clusters |
//! | [`sequence`] | intervals that hold at every sample size at once |
//! | [`region`] | all entries together: any profile, also one chosen from the same dialogues |
//! | [`certifier`] | one profile, from dialogues played for it: far fewer |
//! | [`campaign`] | adaptive allocation: which profile, and how far from equilibrium |
//! | [`bootstrap`] | the same quantities resampled: what is likely, without a guarantee |
//! | [`halves`](mod@halves) | what is measured on a set of things, with intervals from its halves |
//!
//! Nothing here plays a dialogue. Plans go out, returns come in, and randomness is the caller's stream.

pub mod bootstrap;
pub mod bounds;
pub mod campaign;
pub mod certifier;
pub mod halves;
pub mod region;
pub mod sequence;

pub use bounds::Bound;
pub use campaign::{Campaign, Settings};
pub use certifier::{Allocation, Certificate, Certifier, Deviation, Draw};
pub use halves::halves;
pub use region::Region;
