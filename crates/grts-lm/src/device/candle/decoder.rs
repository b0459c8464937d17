//! The decoder in candle's operations: the same [`Architecture`], the same weights, on any of its devices.
//!
//! It is composed of plain operations only. Several of candle's fused ones (`softmax_last_dim`, `rms_norm`, `rope`) drop the
//! gradient without a word, and what trains must be what speaks. Products are computed in the type of the weights, as the packed
//! kernels do; the residual stream, norms, rotation, probabilities and low-rank updates are `f32`.

use super::attention::Keys;
use super::linear::frozen;
use super::lora::Lora;
use super::rows::Rows;
use crate::architecture::{Activation, Architecture, NormKind, Residual, Slot};
use crate::device::{Device, refuse};
use crate::weights::{Model, NormAt};
use crate::{Error, Precision};
use candle_core::{D, DType, Result, Tensor};

/// A model's weights on a device.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub(super) device: candle_core::Device,
    pub(super) dtype: DType,
    name: Device,
    embed: Tensor, // (v, d)
    positions: Option<Tensor>,
    layers: Vec<Layer>,
    norm: Norm,
    head: Tensor, // (v, d)
}

#[derive(Debug)]
struct Layer {
    maps: [Map; 4],
    norms: [Option<Norm>; 6],
}

#[derive(Debug)]
struct Map {
    weight: Tensor, // (out, in)
    bias: Option<Tensor>,
}

#[derive(Debug)]
struct Norm {
    weight: Tensor, // with the architecture's offset inside
    bias: Option<Tensor>,
}

impl Decoder {
    /// Copies `model` to `device`.
    pub(crate) fn open(model: &Model, device: Device) -> crate::Result<Self> {
        let place = match device {
            Device::Cpu | Device::Reference => candle_core::Device::Cpu,
            Device::Cuda(_) if cfg!(not(feature = "cuda")) => {
                let hint = "build it with `cargo build --release --features cuda`, which needs CUDA's compiler, or leave out `--device`";
                return Err(refuse(device, "this binary was built without CUDA", hint));
            }
            Device::Cuda(n) => candle_core::Device::new_cuda(n).map_err(|e| {
                refuse(device, first_line(&e), "`nvidia-smi -L` lists the devices of this machine by number")
            })?,
        };
        Self::copy(model, &place, device)
            .map_err(|e| refuse(device, first_line(&e), "a smaller model, `--dtype bf16` or another device may fit"))
    }

    fn copy(model: &Model, device: &candle_core::Device, name: Device) -> Result<Self> {
        let a = model.architecture();
        let dtype = match model.precision() {
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::BF16,
        };
        let table = |packed: &crate::kernels::Packed| {
            Tensor::from_vec(packed.to_rows(), (packed.out(), packed.input()), device)?.to_dtype(dtype)
        };
        let vector = |values: &Vec<f32>| Tensor::new(values.as_slice(), device);
        let norm = |norm: &crate::weights::Norm| -> Result<Norm> {
            let weight = vector(&norm.weight)?.affine(1.0, f64::from(a.norm_offset()))?;
            Ok(Norm { weight, bias: norm.bias.as_ref().map(vector).transpose()? })
        };
        let layer = |layer: &crate::weights::Layer| -> Result<Layer> {
            let map = |slot| -> Result<Map> {
                let map = layer.map(slot);
                Ok(Map { weight: table(&map.weight)?, bias: map.bias.as_ref().map(vector).transpose()? })
            };
            let [qkv, output, up, down] = Slot::ALL.map(map);
            let [i, m, aa, am, q, k] = NormAt::ALL.map(|at| layer.norm(at).map(norm).transpose());
            Ok(Layer { maps: [qkv?, output?, up?, down?], norms: [i?, m?, aa?, am?, q?, k?] })
        };
        let embed = table(&model.embed)?;
        let positions = |values: &Vec<f32>| Tensor::from_slice(values, (values.len() / a.d, a.d), device);
        Ok(Self {
            device: device.clone(),
            dtype,
            name,
            positions: model.positions.as_ref().map(positions).transpose()?,
            layers: model.layers.iter().map(layer).collect::<Result<_>>()?,
            norm: norm(&model.norm)?,
            head: if a.tied { embed.clone() } else { table(model.head())? },
            embed,
        })
    }

    /// What went wrong on the device while a request was computed.
    pub(super) fn failed(&self, error: &candle_core::Error) -> Error {
        refuse(self.name, first_line(error), "fewer or shorter texts at once need less memory")
    }
}

/// Candle's errors may go on with a backtrace.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// One pass over rows.
pub(super) struct Pass<'a> {
    pub(super) model: &'a Model,
    pub(super) decoder: &'a Decoder,
    pub(super) rows: &'a Rows,
    pub(super) lora: Option<&'a Lora>,
}

impl Pass<'_> {
    pub(super) fn a(&self) -> &Architecture {
        self.model.architecture()
    }

    /// `(n, d)`, before the first layer.
    pub(super) fn embed(&self) -> Result<Tensor> {
        let rows = self.decoder.embed.index_select(&self.rows.tokens, 0)?.to_dtype(DType::F32)?;
        let x = rows.affine(f64::from(self.a().embed_scale), 0.0)?;
        match &self.decoder.positions {
            Some(table) => x + table.index_select(&self.rows.positions, 0)?,
            None => Ok(x),
        }
    }

    /// One decoder layer, `(n, d)` → `(n, d)`.
    pub(super) fn layer(&self, n: usize, x: &Tensor, keys: &mut Keys<'_>) -> Result<Tensor> {
        let a = self.a();
        let sandwich = a.residual == Residual::Sandwich;
        let normed = self.norm(n, NormAt::Input, x)?;
        let attended = self.attention(n, &self.linear(n, Slot::Qkv, &normed)?, keys)?;
        let mut mixed = self.linear(n, Slot::Output, &attended)?;
        if sandwich {
            mixed = self.norm(n, NormAt::AfterAttention, &mixed)?;
        }
        let middle = (x + mixed)?;
        let input = match a.residual {
            Residual::Sequential | Residual::Sandwich => self.norm(n, NormAt::Mlp, &middle)?,
            Residual::Parallel => self.norm(n, NormAt::Mlp, x)?,
            Residual::ParallelShared => normed,
        };
        let up = self.linear(n, Slot::Up, &input)?;
        let mut out = self.linear(n, Slot::Down, &self.activated(&up)?)?;
        if sandwich {
            out = self.norm(n, NormAt::AfterMlp, &out)?;
        }
        middle + out
    }

    /// The last norm, `(n, d)` → `(n, d)`.
    pub(super) fn last_norm(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(&self.decoder.norm, x)
    }

    /// `(n, d)` → `(n, v)`.
    pub(super) fn logits(&self, normed: &Tensor) -> Result<Tensor> {
        softcap(frozen(normed, &self.decoder.head)?, self.a().logits_softcap)
    }

    /// W x + bias + the adapters' updates.
    fn linear(&self, n: usize, slot: Slot, x: &Tensor) -> Result<Tensor> {
        let map = &self.decoder.layers[n].maps[slot as usize];
        let mut out = frozen(x, &map.weight)?;
        if let Some(bias) = &map.bias {
            out = out.broadcast_add(bias)?;
        }
        match self.lora.map(|lora| lora.update(n, slot, x, &self.rows.routing)).transpose()?.flatten() {
            Some(update) => out + update,
            None => Ok(out),
        }
    }

    /// A norm of the last dimension; no norm where the architecture has none.
    pub(super) fn norm(&self, n: usize, at: NormAt, x: &Tensor) -> Result<Tensor> {
        self.decoder.layers[n].norms[at as usize].as_ref().map_or_else(|| Ok(x.clone()), |norm| self.apply(norm, x))
    }

    fn apply(&self, norm: &Norm, x: &Tensor) -> Result<Tensor> {
        let x = match self.a().norm {
            NormKind::Layer => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
            NormKind::Rms | NormKind::RmsPlusOne => x.clone(),
        };
        let size = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(self.a().eps))?.sqrt()?;
        let out = x.broadcast_div(&size)?.broadcast_mul(&norm.weight)?;
        norm.bias.as_ref().map_or_else(|| Ok(out.clone()), |bias| out.broadcast_add(bias))
    }

    fn activated(&self, up: &Tensor) -> Result<Tensor> {
        let a = self.a();
        let gate = up.narrow(1, 0, a.ff)?;
        let gate = match a.activation {
            Activation::Silu => gate.silu(),
            Activation::Gelu => gate.gelu_erf(),
            Activation::GeluTanh => gate.gelu(),
        }?;
        if a.gated { gate * up.narrow(1, a.ff, a.ff)? } else { Ok(gate) }
    }
}

/// `c · tanh(x / c)`.
pub(super) fn softcap(x: Tensor, cap: Option<f32>) -> Result<Tensor> {
    let Some(cap) = cap.map(f64::from) else { return Ok(x) };
    x.affine(1.0 / cap, 0.0)?.tanh()?.affine(cap, 0.0)
}

/// Softmax of the last dimension, from operations that have gradients.
pub(super) fn softmax(x: &Tensor) -> Result<Tensor> {
    let shifted = x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)?.exp()?;
    shifted.broadcast_div(&shifted.sum_keepdim(D::Minus1)?)
}
