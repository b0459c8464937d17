//! Rules and mathematics of the Red-teaming Game.
//!
//! A team of attackers (red) and a defender (blue) hold dialogues of at most T turns; a judge scores every reply; the
//! aggregated score is what red gains and blue loses. This crate holds everything about that game that needs no language
//! model: the rules, payoffs with intervals, Nash equilibria of the meta-game, the one solver loop, diversity, the shape of
//! a game, and games that are small enough to be solved exactly through the same loop.
//!
//! It knows no tensor, file, network, clock, thread, or ambient randomness, so it is useful alone to anyone with a
//! zero-sum game, and every result is a function of its arguments.
//!
//! | module | what is there |
//! |---|---|
//! | [`rules`] | players, the red team, aggregators, success by turn; an unscored turn is never safe |
//! | [`stream`] | random streams keyed by what they are for |
//! | [`moments`], [`interval`] | samples, and 95 % intervals of their means |
//! | [`meta_game`], [`matrix`] | sampled payoffs, one row per red and one column per blue policy |
//! | [`nash`] | exact equilibrium of a matrix, with its own proof; warm starts |
//! | [`meta_solver`] | eleven rules for meta-strategies, by name |
//! | [`alpha_rank`] | what evolution goes on playing |
//! | [`sampling`] | what a claim about sampled payoffs costs: certificates, adaptive allocation |
//! | [`solver`] | the loop: play, solve, respond, admit, certify |
//! | [`exact`] | matrix games, dialogue trees and poker as instances of the loop; equilibrium under a helpfulness constraint |
//! | [`diversity`] | how many different things a population contains, and how far a new one lies from it |
//! | [`geometry`] | what of a game is strength and what goes round |
//!
//! A double oracle that solves biased rock-paper-scissors from one pure strategy each:
//!
//! ```
//! use grts_game::exact::matrix_game::MatrixGame;
//! use grts_game::solver::{self, Config, StopReason};
//! use grts_game::Matrix;
//!
//! let payoffs = Matrix::from_rows(&[[0.0, -25.0, 50.0], [25.0, 0.0, -5.0], [-50.0, 5.0, 0.0]])?;
//! let mut iterations = Vec::new();
//! let mut game = MatrixGame::new(payoffs);
//! let solution = solver::solve(&mut game, vec![0], vec![0], &Config::psro(10, 1e-9), &mut iterations)?;
//!
//! assert_eq!(solution.stop_reason, StopReason::Converged);
//! for (row, weight) in solution.reds.iter().zip(&solution.equilibrium.row) {
//!     assert!((weight - [1.0, 10.0, 5.0][*row] / 16.0).abs() < 1e-9);
//! }
//! assert!(iterations[0].gap > iterations.last().unwrap().gap);
//! # Ok::<(), grts_game::GameError>(())
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod alpha_rank;
mod dense;
pub mod diversity;
mod error;
pub mod exact;
pub mod geometry;
pub mod interval;
mod linear_program;
pub mod matrix;
mod max_entropy;
pub mod meta_game;
pub mod meta_solver;
pub mod moments;
pub mod nash;
mod regret;
pub mod rules;
pub mod sampling;
pub mod solver;
pub mod stream;

pub use error::GameError;
pub use interval::Estimate;
pub use matrix::Matrix;
pub use meta_game::MetaGame;
pub use meta_solver::MetaSolver;
pub use moments::Moments;
pub use nash::Equilibrium;
pub use rules::{Aggregator, Player, Rules};
