//! Where a model computes: on the packed kernels of this crate, or in candle's operations on a device.
//!
//! A caller chooses once, with [`Model::on`], and sees no difference afterwards: [`Model::generate`], [`Model::logprobs`],
//! a [`Context`](crate::decode::Context) and a [`Trainer`](crate::train::Trainer) ask the model where it is. The model in memory
//! stays beside the one on the device: it is what is exported, merged and trained whole. What a device cannot promise is
//! the last bit: see [`Model::batch_tolerance`].
//!
//! A binary without the feature has the same types with nothing in them (`absent`), so no other module knows of features.

#[cfg(not(feature = "candle"))]
mod absent;
#[cfg(feature = "candle")]
mod candle;

#[cfg(not(feature = "candle"))]
pub(crate) use absent::{Cache, Decoder, Loras};
#[cfg(feature = "candle")]
pub(crate) use candle::{Cache, Decoder, Loras};

use crate::weights::Model;
use crate::{Error, Precision, Result};
use std::fmt;
use std::str::FromStr;

/// Where a model computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The processor, with the kernels of this crate.
    #[default]
    Cpu,
    /// A GPU by its number, with candle's; needs the feature `cuda`.
    Cuda(usize),
    /// The processor, with candle's operations: a plain reference of both; needs the feature `candle`.
    Reference,
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let number = |n: &str| n.bytes().all(|b| b.is_ascii_digit()).then(|| n.parse().ok()).flatten();
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            None if text == "reference" => Ok(Self::Reference),
            Some(("cuda", n)) if number(n).is_some() => Ok(Self::Cuda(number(n).unwrap_or_default())),
            _ => Err("`cpu`, `cuda` or `cuda:N` is needed".to_owned()),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
            Self::Reference => f.write_str("reference"),
        }
    }
}

/// How far log-probabilities of one text may lie apart when it is read in different batches, nats.
const TOLERANCE: [f32; 2] = [1e-3, 0.25];

impl Model {
    /// This model, computing on `device`.
    ///
    /// # Errors
    /// A device that this binary was not built for, does not exist, or is too small for the weights.
    pub fn on(mut self, device: Device) -> Result<Self> {
        self.decoder = match device {
            Device::Cpu => None,
            other => Some(Decoder::open(&self, other)?),
        };
        Ok(self)
    }

    /// Most nats by which the log-probability of a token may depend on what else is computed with it. On the kernels of this
    /// crate it does not; a device's libraries choose their order of summation by the size of a batch.
    pub fn batch_tolerance(&self) -> f32 {
        match (&self.decoder, self.precision()) {
            (None, _) => 0.0,
            (Some(_), Precision::F32) => TOLERANCE[0],
            (Some(_), Precision::Bf16) => TOLERANCE[1],
        }
    }
}

/// A device that cannot be used, with the way out.
pub(crate) fn refuse(device: Device, problem: impl Into<String>, hint: &'static str) -> Error {
    Error::Device { device: device.to_string(), problem: problem.into(), hint }
}

#[cfg(test)]
mod tests {
    use super::Device;

    #[test]
    fn devices_are_read_as_they_are_written() {
        for device in [Device::Cpu, Device::Cuda(0), Device::Cuda(12), Device::Reference] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:+1", "cuda:x", "cpu:0", "CUDA"] {
            assert!(wrong.parse::<Device>().is_err(), "{wrong}");
        }
    }
}
