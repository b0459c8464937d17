//! The weights of a Llama-layout decoder as plain `f32`, and their Hugging Face directory.
//!
//! One copy in memory serves every policy: adapters are kept apart and never merged here. Loading checks every
//! tensor's name and shape before anything is computed, so a damaged directory is one clear error and not a wrong model.

use crate::config::ModelConfig;
use crate::kernels::Rope;
use crate::{Error, Result};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, View};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// The seven linear maps of a decoder layer, each of which can carry a low-rank adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Projection {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// Attention output.
    O,
    /// Feed-forward gate.
    Gate,
    /// Feed-forward input.
    Up,
    /// Feed-forward output.
    Down,
}

impl Projection {
    /// All seven, in the order of a layer's computation.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// Module name inside a layer: `self_attn.q_proj`.
    pub fn module(self) -> &'static str {
        match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::O => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }

    /// Last part of the module name, as in PEFT's `target_modules`: `q_proj`.
    pub fn short_name(self) -> &'static str {
        self.module().rsplit('.').next().unwrap_or_default()
    }

    /// `(out, in)` features of the weight.
    pub fn shape(self, config: &ModelConfig) -> (usize, usize) {
        let (d, f) = (config.hidden_size, config.intermediate_size);
        match self {
            Self::Q => (config.q_dim(), d),
            Self::K | Self::V => (config.kv_dim(), d),
            Self::O => (d, config.q_dim()),
            Self::Gate | Self::Up => (f, d),
            Self::Down => (d, f),
        }
    }
}

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

/// Weights of one decoder layer; each projection is `(out, in)` row-major.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) projections: [Vec<f32>; 7],
    pub(crate) input_norm: Vec<f32>,
    pub(crate) post_norm: Vec<f32>,
}

/// A frozen base model: configuration, weights, rotary tables.
#[derive(Debug)]
pub struct Model {
    pub(crate) config: ModelConfig,
    pub(crate) embed: Vec<f32>, // (v, d)
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: Vec<f32>,
    pub(crate) head: Option<Vec<f32>>, // (v, d); the embedding when tied
    pub(crate) rope: Arc<Rope>,
}

/// Name and shape of every tensor of `config`, in file order.
pub fn layout(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let (v, d) = (config.vocab_size, config.hidden_size);
    let mut names = vec![("model.embed_tokens.weight".to_owned(), vec![v, d])];
    for n in 0..config.num_hidden_layers {
        for p in Projection::ALL {
            let (out, input) = p.shape(config);
            names.push((format!("model.layers.{n}.{}.weight", p.module()), vec![out, input]));
        }
        names.push((format!("model.layers.{n}.input_layernorm.weight"), vec![d]));
        names.push((format!("model.layers.{n}.post_attention_layernorm.weight"), vec![d]));
    }
    names.push(("model.norm.weight".to_owned(), vec![d]));
    if !config.tie_word_embeddings {
        names.push(("lm_head.weight".to_owned(), vec![v, d]));
    }
    names
}

impl Model {
    /// Loads `config.json` and `model.safetensors` of a Hugging Face directory.
    ///
    /// # Errors
    /// A missing or truncated file, a missing tensor or one of the wrong shape or type, each named.
    pub fn load(directory: &Path) -> Result<Self> {
        let config = ModelConfig::load(&directory.join("config.json"))?;
        let path = directory.join("model.safetensors");
        let mut tensors = read_safetensors(&path)?;
        let mut parameters = Vec::new();
        for (name, shape) in layout(&config) {
            parameters.push(take(&mut tensors, &path, &name, &shape, "`config.json`")?);
        }
        Ok(Self::assemble(config, parameters))
    }

    /// Builds a model from tensors in the order of [`layout`].
    ///
    /// # Errors
    /// A tensor that is missing, out of order or of another shape.
    pub fn from_parameters(config: ModelConfig, parameters: Vec<Parameter>) -> Result<Self> {
        let expected = layout(&config);
        if expected.len() != parameters.len() {
            return Err(Error::Request(format!("{} tensors given, {} needed", parameters.len(), expected.len())));
        }
        for ((name, shape), p) in expected.iter().zip(&parameters) {
            if *name != p.name || *shape != p.shape || p.data.len() != shape.iter().product::<usize>() {
                return Err(Error::Request(format!(
                    "tensor `{}` {:?} where `{name}` {shape:?} is due",
                    p.name, p.shape
                )));
            }
        }
        Ok(Self::assemble(config, parameters))
    }

    /// `parameters` are in the order of [`layout`] with the right shapes.
    fn assemble(config: ModelConfig, parameters: Vec<Parameter>) -> Self {
        let mut data = parameters.into_iter().map(|p| p.data);
        let mut next = || data.next().unwrap_or_default();
        let embed = next();
        let layers = (0..config.num_hidden_layers)
            .map(|_| Layer { projections: std::array::from_fn(|_| next()), input_norm: next(), post_norm: next() })
            .collect();
        let norm = next();
        let head = (!config.tie_word_embeddings).then(&mut next);
        let rope = Arc::new(Rope::new(config.head_dim(), config.theta(), config.max_position_embeddings));
        Self { config, embed, layers, norm, head, rope }
    }

    /// The architecture.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Output head, `(v, d)`.
    pub(crate) fn head(&self) -> &[f32] {
        self.head.as_deref().unwrap_or(&self.embed)
    }

    /// Every tensor, in the order of [`layout`].
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut data: Vec<&Vec<f32>> = vec![&self.embed];
        for layer in &self.layers {
            data.extend(&layer.projections);
            data.extend([&layer.input_norm, &layer.post_norm]);
        }
        data.push(&self.norm);
        data.extend(self.head.as_ref());
        layout(&self.config)
            .into_iter()
            .zip(data)
            .map(|((name, shape), data)| Parameter { name, shape, data: data.clone() })
            .collect()
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

/// Reads every floating-point tensor of a safetensors file as `f32`.
pub(crate) fn read_safetensors(path: &Path) -> Result<HashMap<String, Parameter>> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| {
        Error::format(path, format!("not a complete safetensors file ({e}); copy or download it again"))
    })?;
    let mut out = HashMap::new();
    for (name, view) in file.tensors() {
        let data = to_f32(&view)
            .map_err(|dtype| Error::format(path, format!("tensor `{name}` is {dtype:?}; f32, f16 or bf16 is read")))?;
        out.insert(name.clone(), Parameter { name, shape: view.shape().to_vec(), data });
    }
    Ok(out)
}

/// Takes tensor `name` out of what [`read_safetensors`] read from `path`; `asker` is who wants it to have `shape`.
pub(crate) fn take(
    tensors: &mut HashMap<String, Parameter>,
    path: &Path,
    name: &str,
    shape: &[usize],
    asker: &str,
) -> Result<Parameter> {
    let refuse = |reason: String| Err(Error::format(path, format!("tensor `{name}` {reason}")));
    let Some(found) = tensors.remove(name) else {
        return refuse("is missing".into());
    };
    if found.shape != shape {
        return refuse(format!("has shape {:?}, {asker} asks for {shape:?}", found.shape));
    }
    match found.data.iter().position(|x| !x.is_finite()) {
        Some(at) => refuse(format!("holds {} at index {at}", found.data[at])),
        None => Ok(found),
    }
}

fn to_f32(view: &TensorView<'_>) -> std::result::Result<Vec<f32>, Dtype> {
    let bytes = view.data();
    match view.dtype() {
        Dtype::F32 => Ok(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        Dtype::BF16 => Ok(bytes.as_chunks::<2>().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect()),
        Dtype::F16 => Ok(bytes.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect()),
        other => Err(other),
    }
}

struct F32<'a>(&'a Parameter);

impl View for F32<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.0.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        self.0.data.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into()
    }
    fn data_len(&self) -> usize {
        4 * self.0.data.len()
    }
}

/// Writes tensors as an f32 safetensors file that `transformers` and `peft` accept (`format: pt`).
pub(crate) fn write_safetensors(path: &Path, parameters: &[Parameter]) -> Result<()> {
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let views = parameters.iter().map(|p| (p.name.as_str(), F32(p)));
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| Error::format(path, e.to_string()))?;
    std::fs::write(path, bytes).map_err(Error::io("write", path))
}
