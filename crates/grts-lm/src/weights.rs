//! The weights of a decoder and their Hugging Face directory.
//!
//! One copy in memory, packed for the kernels, serves every policy and both paths: adapters are kept apart and never merged
//! here. Loading checks every tensor's name and shape before anything is computed, so a damaged directory is one clear
//! error and not a wrong model; tensors are read one at a time, so it never holds the file and the model together.

use crate::architecture::{Architecture, NormKind, Slot};
use crate::checkpoint::{Checkpoint, write_safetensors};
use crate::config::{ModelConfig, token_ids};
use crate::device::Decoder;
use crate::kernels::{self, Packed, Precision, Rope};
use crate::{Error, Result};
use std::path::Path;

/// One tensor by its Hugging Face name.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// `model.layers.0.self_attn.q_proj.weight`, …
    pub name: String,
    /// Row-major shape.
    pub shape: Vec<usize>,
    /// Values.
    pub data: Vec<f32>,
}

/// Where a norm sits in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormAt {
    Input,
    Mlp,
    AfterAttention,
    AfterMlp,
    Query,
    Key,
}

impl NormAt {
    pub(crate) const ALL: [Self; 6] =
        [Self::Input, Self::Mlp, Self::AfterAttention, Self::AfterMlp, Self::Query, Self::Key];

    fn name(self, architecture: &Architecture) -> Option<&'static str> {
        let names = &architecture.names;
        match self {
            Self::Input => Some(names.input_norm),
            Self::Mlp => names.mlp_norm,
            Self::AfterAttention => names.after.map(|after| after[0]),
            Self::AfterMlp => names.after.map(|after| after[1]),
            Self::Query => names.qk_norm.map(|qk| qk[0]),
            Self::Key => names.qk_norm.map(|qk| qk[1]),
        }
    }
}

/// A norm's weights.
#[derive(Debug, Clone)]
pub(crate) struct Norm {
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Option<Vec<f32>>,
}

impl Norm {
    /// The norm of one row.
    pub(crate) fn apply(&self, a: &Architecture, x: &[f32], out: &mut [f32]) {
        match (a.norm, &self.bias) {
            (NormKind::Layer, Some(bias)) => drop(kernels::layer_norm(out, x, &self.weight, bias, a.eps)),
            _ => drop(kernels::rms_norm(out, x, &self.weight, a.norm_offset(), a.eps)),
        }
    }
}

/// One of a layer's linear maps.
#[derive(Debug)]
pub(crate) struct Map {
    pub(crate) weight: Packed,
    pub(crate) bias: Option<Vec<f32>>,
}

/// Weights of one decoder layer.
#[derive(Debug)]
pub(crate) struct Layer {
    maps: [Map; 4],
    norms: [Option<Norm>; 6],
}

impl Layer {
    pub(crate) fn map(&self, slot: Slot) -> &Map {
        &self.maps[slot as usize]
    }

    pub(crate) fn norm(&self, at: NormAt) -> Option<&Norm> {
        self.norms[at as usize].as_ref()
    }
}

/// A frozen base model: configuration, weights, rotary tables.
#[derive(Debug)]
pub struct Model {
    pub(crate) config: ModelConfig,
    pub(crate) embed: Packed, // (v, d)
    pub(crate) positions: Option<Vec<f32>>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: Norm,
    head: Option<Packed>, // (v, d); the embedding when tied
    pub(crate) ropes: Vec<Rope>,
    pub(crate) stop: Vec<u32>,
    /// The same weights on a device, where that is where the model computes.
    pub(crate) decoder: Option<Decoder>,
}

/// What a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Embed,
    Positions,
    Weight(usize, usize),
    Bias(usize, usize),
    Norm(usize, NormAt, Side),
    LastNorm(Side),
    Head,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Weight,
    Bias,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
        }
    }
}

/// Every tensor of `a`, in file order.
fn parts(a: &Architecture) -> Vec<(Part, String, Vec<usize>)> {
    let names = &a.names;
    let sides: &[Side] = if a.norm_has_bias() { &[Side::Weight, Side::Bias] } else { &[Side::Weight] };
    let mut parts = vec![(Part::Embed, format!("{}.weight", names.embed), vec![a.vocab, a.d])];
    if let Some(name) = names.positions {
        parts.push((Part::Positions, format!("{name}.weight"), vec![a.context, a.d]));
    }
    for n in 0..a.layers {
        for (i, module) in a.modules.iter().enumerate() {
            let (_, input) = a.shape(module.slot);
            let shape = if a.transposed { vec![input, module.rows] } else { vec![module.rows, input] };
            let name = a.in_layer(n, module.name);
            parts.push((Part::Weight(n, i), format!("{name}.weight"), shape));
            if module.bias {
                parts.push((Part::Bias(n, i), format!("{name}.bias"), vec![module.rows]));
            }
        }
        for at in NormAt::ALL {
            let Some(name) = at.name(a) else { continue };
            let width = if matches!(at, NormAt::Query | NormAt::Key) { a.head_dim } else { a.d };
            for &side in sides {
                parts.push((Part::Norm(n, at, side), format!("{}.{}", a.in_layer(n, name), side.name()), vec![width]));
            }
        }
    }
    for &side in sides {
        parts.push((Part::LastNorm(side), format!("{}.{}", names.norm, side.name()), vec![a.d]));
    }
    if !a.tied {
        parts.push((Part::Head, format!("{}.weight", names.head), vec![a.vocab, a.d]));
    }
    parts
}

/// Name and shape of every tensor of `config`, in file order.
pub fn layout(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    parts(&config.architecture).into_iter().map(|(_, name, shape)| (name, shape)).collect()
}

impl Model {
    /// Loads a Hugging Face directory in `f32`: `config.json`, `model.safetensors` (or its shards and their index), and the
    /// ending tokens of `generation_config.json`.
    ///
    /// # Errors
    /// A missing or truncated file, a missing tensor or one of the wrong shape or type, each named.
    pub fn load(directory: &Path) -> Result<Self> {
        Self::load_as(directory, Precision::F32)
    }

    /// [`Model::load`] with weights held in `precision`.
    ///
    /// # Errors
    /// Those of [`Model::load`].
    pub fn load_as(directory: &Path, precision: Precision) -> Result<Self> {
        let config = ModelConfig::load(&directory.join("config.json"))?;
        let checkpoint = Checkpoint::open(directory, config.architecture.names.optional_prefix)?;
        let mut model = Self::build(config, precision, |name, shape| checkpoint.read(name, shape, "`config.json`"))?;
        let path = directory.join("generation_config.json");
        if path.is_file() {
            let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
            let json: serde_json::Value =
                serde_json::from_str(&text).map_err(|e| Error::format(&path, e.to_string()))?;
            model.stop.extend(token_ids(json.get("eos_token_id")));
            model.stop.sort_unstable();
            model.stop.dedup();
        }
        Ok(model)
    }

    /// Builds a model from tensors in the order of [`layout`].
    ///
    /// # Errors
    /// A tensor that is missing, out of order or of another shape.
    pub fn from_parameters(config: ModelConfig, parameters: Vec<Parameter>) -> Result<Self> {
        Self::from_parameters_as(config, parameters, Precision::F32)
    }

    /// [`Model::from_parameters`] with weights held in `precision`.
    ///
    /// # Errors
    /// Those of [`Model::from_parameters`].
    pub fn from_parameters_as(config: ModelConfig, parameters: Vec<Parameter>, precision: Precision) -> Result<Self> {
        let expected = parts(&config.architecture).len();
        if expected != parameters.len() {
            return Err(Error::Request(format!("{} tensors given, {expected} needed", parameters.len())));
        }
        let mut parameters = parameters.into_iter();
        Self::build(config, precision, |name, shape| match parameters.next() {
            Some(p) if p.name == name && p.shape == shape && p.data.len() == shape.iter().product::<usize>() => {
                Ok(p.data)
            }
            Some(p) => {
                Err(Error::Request(format!("tensor `{}` {:?} where `{name}` {shape:?} is due", p.name, p.shape)))
            }
            None => Err(Error::Request(format!("tensor `{name}` is missing"))),
        })
    }

    /// `read(name, shape)` is asked for every tensor once, in the order of [`layout`].
    fn build(
        config: ModelConfig,
        precision: Precision,
        mut read: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        let a = &config.architecture;
        let mut parts = parts(a).into_iter().peekable();
        let mut next = |wanted: &dyn Fn(Part) -> bool| -> Result<Option<Vec<f32>>> {
            let due = parts.next_if(|(part, ..)| wanted(*part));
            due.map(|(_, name, shape)| read(&name, &shape)).transpose()
        };
        let table = |data: Vec<f32>| Packed::new(a.vocab, a.d, precision, |i| &data[i * a.d..(i + 1) * a.d]);
        let embed = table(next(&|p| p == Part::Embed)?.unwrap_or_default());
        let positions = next(&|p| p == Part::Positions)?;
        let mut layers = Vec::new();
        for n in 0..a.layers {
            let mut modules = Vec::new();
            for i in 0..a.modules.len() {
                let weight = next(&|p| p == Part::Weight(n, i))?.unwrap_or_default();
                modules.push((weight, next(&|p| p == Part::Bias(n, i))?));
            }
            let mut norms: [Option<Norm>; 6] = Default::default();
            for at in NormAt::ALL {
                let weight = next(&|p| p == Part::Norm(n, at, Side::Weight))?;
                let bias = next(&|p| p == Part::Norm(n, at, Side::Bias))?;
                norms[at as usize] = weight.map(|weight| Norm { weight, bias });
            }
            layers.push(Layer { maps: Slot::ALL.map(|slot| assemble(a, slot, &modules, precision)), norms });
        }
        let weight = next(&|p| p == Part::LastNorm(Side::Weight))?.unwrap_or_default();
        let norm = Norm { weight, bias: next(&|p| p == Part::LastNorm(Side::Bias))? };
        let head = next(&|p| p == Part::Head)?.map(table);
        let ropes = a.ropes.iter().map(|spec| Rope::new(spec, a.context)).collect();
        let stop = config.eos();
        Ok(Self { embed, positions, layers, norm, head, ropes, stop, config, decoder: None })
    }

    /// The architecture.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    pub(crate) fn architecture(&self) -> &Architecture {
        &self.config.architecture
    }

    /// Tokens that end an utterance.
    pub fn stop(&self) -> &[u32] {
        &self.stop
    }

    /// How weights are held.
    pub fn precision(&self) -> Precision {
        self.embed.precision()
    }

    /// Output head, `(v, d)`.
    pub(crate) fn head(&self) -> &Packed {
        self.head.as_ref().unwrap_or(&self.embed)
    }

    /// Bytes of weights that a pass over the whole model reads.
    pub fn bytes(&self) -> usize {
        let maps = self.layers.iter().flat_map(|layer| &layer.maps);
        maps.map(|map| map.weight.bytes()).sum::<usize>() + self.head().bytes()
    }

    /// Every tensor, in the order of [`layout`].
    pub fn parameters(&self) -> Vec<Parameter> {
        let parts = parts(self.architecture()).into_iter();
        parts.map(|(part, name, shape)| Parameter { data: self.values(part), name, shape }).collect()
    }

    fn values(&self, part: Part) -> Vec<f32> {
        let a = self.architecture();
        let side = |norm: &Norm, side| match side {
            Side::Weight => norm.weight.clone(),
            Side::Bias => norm.bias.clone().unwrap_or_default(),
        };
        match part {
            Part::Embed => self.embed.to_rows(),
            Part::Positions => self.positions.clone().unwrap_or_default(),
            Part::Head => self.head().to_rows(),
            Part::LastNorm(s) => side(&self.norm, s),
            Part::Norm(n, at, s) => self.layers[n].norm(at).map(|norm| side(norm, s)).unwrap_or_default(),
            Part::Bias(n, i) => {
                let module = &a.modules[i];
                let bias = self.layers[n].map(module.slot).bias.as_deref().unwrap_or_default();
                let mut out = vec![0.0; module.rows];
                (0..module.rows).for_each(|row| out[module.source(row)] = bias[module.first + row]);
                out
            }
            Part::Weight(n, i) => {
                let module = &a.modules[i];
                let weight = &self.layers[n].map(module.slot).weight;
                let (rows, input) = (module.rows, weight.input());
                let mut out = vec![0.0; rows * input];
                for row in 0..rows {
                    for k in 0..input {
                        let at = module.source(row);
                        out[if a.transposed { k * rows + at } else { at * input + k }] =
                            weight.get(module.first + row, k);
                    }
                }
                out
            }
        }
    }

    /// Number of weights, a tied head counted once.
    pub fn num_parameters(&self) -> usize {
        layout(&self.config).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// Writes `config.json` and `model.safetensors`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, directory: &Path) -> Result<()> {
        let path = directory.join("config.json");
        let json = serde_json::to_string_pretty(&self.config).map_err(|e| Error::format(&path, e.to_string()))?;
        std::fs::write(&path, json + "\n").map_err(Error::io("write", path))?;
        write_safetensors(&directory.join("model.safetensors"), &self.parameters())
    }
}

/// One map from the modules that fill it.
fn assemble(a: &Architecture, slot: Slot, modules: &[(Vec<f32>, Option<Vec<f32>>)], precision: Precision) -> Map {
    let (out, input) = a.shape(slot);
    let mine = || a.modules.iter().zip(modules).filter(|(module, _)| module.slot == slot);
    let mut rows: Vec<std::borrow::Cow<'_, [f32]>> = Vec::with_capacity(out);
    let mut bias = vec![0.0; out];
    for (module, (weight, values)) in mine() {
        for i in 0..module.rows {
            let at = module.source(i);
            rows.push(if a.transposed {
                (0..input).map(|k| weight[k * module.rows + at]).collect::<Vec<f32>>().into()
            } else {
                weight[at * input..(at + 1) * input].into()
            });
            if let Some(values) = values {
                bias[module.first + i] = values[at];
            }
        }
    }
    let biased = mine().any(|(module, _)| module.bias);
    Map { weight: Packed::new(out, input, precision, |i| &rows[i]), bias: biased.then_some(bias) }
}
