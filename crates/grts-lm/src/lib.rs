//! Language engine of `grts`: token ids in, token ids and log-probabilities out.
//!
//! It loads Hugging Face directories of the Llama layout, generates in batches whose rows may use different LoRA adapters,
//! and trains adapters or whole models. It knows no game: no players, no judges, no payoffs.
//!
//! Two paths compute the same function: [`decode`] (plain slices, KV caches, no gradient) and [`train`] (candle autograd
//! over fused ops). Tests hold them against each other and both against `transformers` and `peft`.

pub mod config;
pub mod decode;
mod error;
mod kernels;
pub mod lora;
mod ops;
pub mod sampling;
pub mod text;
pub mod train;
pub mod weights;

pub use error::{Error, Result};
