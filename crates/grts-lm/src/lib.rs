//! Language engine of `grts`: token ids in, token ids and log-probabilities out.
//!
//! It loads Hugging Face directories of the common decoder families, generates in batches whose rows may use different LoRA
//! adapters, and trains adapters or whole models. It knows no game: no players, no judges, no payoffs.
//!
//! Two paths compute the same function: [`decode`] (KV caches, no gradient) and [`train`] (whole sequences, and the way back).
//! Tests hold them against each other and both against `transformers` and `peft`. A third, [`Device`], is candle's: for GPUs.

mod affixes;
mod architecture;
pub mod bert;
mod checkpoint;
pub mod config;
pub mod decode;
mod device;
mod error;
mod families;
pub mod hub;
mod kernels;
pub mod lora;
mod merge;
mod optimiser;
pub mod sampling;
mod team;
pub mod text;
pub mod train;
pub mod weights;

pub use affixes::Affixes;
pub use device::Device;
pub use error::{Error, Result};
pub use kernels::{Precision, limits};
