//! The device path in candle's operations.
//!
//! `decoder` is one pass over rows; `rows` says which rows, `attention` and `lora` what they need of each other; `generation` and
//! `training` are the contracts of [`crate::decode`] and [`crate::train`] on top of it.

mod attention;
mod decoder;
#[cfg(feature = "flash-attn")]
mod flash;
mod generation;
mod linear;
mod lora;
mod rows;
mod training;

pub(crate) use decoder::Decoder;
pub(crate) use generation::Cache;
pub(crate) use lora::Loras;
