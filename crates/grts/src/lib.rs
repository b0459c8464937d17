//! Language models play the Red-teaming Game.
//!
//! This crate joins the mathematics of `grts-game` to the engine of `grts-lm`: policies are adapters, dialogues are played in
//! batches and judged, oracles learn best responses, and a session runs the solver loop over all of it with a store that
//! survives a kill. Modules import only those listed above them.

pub mod error;
pub mod exchange;
pub mod world;

pub mod twin;

pub mod geometry;
pub mod meta_game;
pub mod scenario;
pub mod store;
pub mod summary;

pub mod comparison;

pub mod policy;

pub mod models;

pub mod bench;
pub mod export;
pub mod generate;

pub mod judge;
pub mod semantic;

pub mod rollout;

pub mod measure;

pub mod oracle;

pub mod session;
