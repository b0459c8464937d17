//! Low-rank adapters in the PEFT layout: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! An adapter is a policy: y = W x + s · B (A x), with s = alpha / r (or alpha / √r for rank-stabilised LoRA). Options of
//! PEFT that change the arithmetic and are not implemented are refused by name.

use crate::config::ModelConfig;
use crate::weights::{Parameter, Projection, read_safetensors, take, write_safetensors};
use crate::{Error, Result};
use rand_core::Rng;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// What PEFT's `adapter_config.json` says about a LoRA adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoraConfig {
    /// Rank of the update.
    pub r: usize,
    /// Numerator of the scale.
    pub lora_alpha: f64,
    /// Whether the scale is alpha / √r instead of alpha / r.
    pub use_rslora: bool,
    /// Adapted projections.
    #[serde(skip)]
    pub targets: Vec<Projection>,
}

impl LoraConfig {
    /// Rank `r` on all seven projections with scale `lora_alpha / r`.
    pub fn all_linear(r: usize, lora_alpha: f64) -> Self {
        Self { r, lora_alpha, use_rslora: false, targets: Projection::ALL.to_vec() }
    }

    /// The factor before B A x.
    pub fn scale(&self) -> f32 {
        let r = self.r as f64;
        (self.lora_alpha / if self.use_rslora { r.sqrt() } else { r }) as f32
    }
}

/// The pair of one projection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LowRank {
    pub(crate) a: Vec<f32>, // (r, in)
    pub(crate) b: Vec<f32>, // (out, r)
}

/// A LoRA adapter for one base model.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    config: LoraConfig,
    layers: Vec<[Option<LowRank>; 7]>,
}

impl Adapter {
    /// A fresh adapter: A uniform in ±√(1/in) (PEFT's Kaiming initialisation), B zero, so that it changes nothing yet.
    pub fn new(config: LoraConfig, model: &ModelConfig, rng: &mut impl Rng) -> Self {
        let layers = (0..model.num_hidden_layers)
            .map(|_| {
                std::array::from_fn(|i| {
                    let projection = Projection::ALL[i];
                    config.targets.contains(&projection).then(|| {
                        let (out, input) = projection.shape(model);
                        let bound = (1.0 / input as f32).sqrt();
                        let a = (0..config.r * input).map(|_| (2.0 * uniform(rng) - 1.0) * bound).collect();
                        LowRank { a, b: vec![0.0; out * config.r] }
                    })
                })
            })
            .collect();
        Self { config, layers }
    }

    /// Rank, scale and targets.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    pub(crate) fn get(&self, layer: usize, projection: Projection) -> Option<&LowRank> {
        self.layers.get(layer)?[projection as usize].as_ref()
    }

    /// Every A `(r, in)` and B `(out, r)` under its PEFT name, layer by layer.
    pub fn parameters(&self, model: &ModelConfig) -> Vec<Parameter> {
        let mut out = Vec::new();
        for (n, layer) in self.layers.iter().enumerate() {
            for (projection, pair) in Projection::ALL.iter().zip(layer) {
                let Some(pair) = pair else { continue };
                let (features, input) = projection.shape(model);
                let [a, b] = parameter_names(n, *projection);
                out.push(Parameter { name: a, shape: vec![self.config.r, input], data: pair.a.clone() });
                out.push(Parameter { name: b, shape: vec![features, self.config.r], data: pair.b.clone() });
            }
        }
        out
    }

    /// The same adapter with new values, in the order of [`Adapter::parameters`].
    pub(crate) fn with_values<'a>(&self, values: impl IntoIterator<Item = &'a [f32]>) -> Self {
        let mut values = values.into_iter();
        let mut out = self.clone();
        for pair in out.layers.iter_mut().flatten().flatten() {
            for target in [&mut pair.a, &mut pair.b] {
                if let Some(data) = values.next() {
                    target.copy_from_slice(data);
                }
            }
        }
        out
    }

    /// Writes the PEFT directory.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, directory: &Path, model: &ModelConfig, base: &str) -> Result<()> {
        let targets: Vec<_> = self.config.targets.iter().map(|p| p.short_name()).collect();
        let json = serde_json::json!({
            "base_model_name_or_path": base,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "lora_alpha": self.config.lora_alpha,
            "lora_dropout": 0.0,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": self.config.r,
            "target_modules": targets,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": self.config.use_rslora,
        });
        let path = directory.join("adapter_config.json");
        std::fs::write(&path, format!("{json:#}\n")).map_err(Error::io("write", path))?;
        write_safetensors(&directory.join("adapter_model.safetensors"), &self.parameters(model))
    }

    /// Reads a PEFT directory for a base of architecture `model`.
    ///
    /// # Errors
    /// Unsupported options, missing tensors and wrong shapes, each by name.
    pub fn load(directory: &Path, model: &ModelConfig) -> Result<Self> {
        let path = directory.join("adapter_config.json");
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let json: Value = serde_json::from_str(&text).map_err(|e| Error::format(&path, e.to_string()))?;
        let config = parse_config(&json).map_err(|reason| Error::format(&path, reason))?;
        let path = directory.join("adapter_model.safetensors");
        let mut tensors = read_safetensors(&path)?;
        let mut values = |name: &str, shape: [usize; 2]| {
            take(&mut tensors, &path, name, &shape, "the base").map(|parameter| parameter.data)
        };
        let mut layers = Vec::new();
        for n in 0..model.num_hidden_layers {
            let mut layer: [Option<LowRank>; 7] = Default::default();
            for &projection in &config.targets {
                let (out, input) = projection.shape(model);
                let [a, b] = parameter_names(n, projection);
                let pair = LowRank { a: values(&a, [config.r, input])?, b: values(&b, [out, config.r])? };
                layer[projection as usize] = Some(pair);
            }
            layers.push(layer);
        }
        match tensors.keys().min() {
            Some(name) => Err(Error::format(&path, format!("tensor `{name}` belongs to no projection of the base"))),
            None => Ok(Self { config, layers }),
        }
    }
}

fn uniform(rng: &mut impl Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32
}

fn parameter_names(layer: usize, projection: Projection) -> [String; 2] {
    ["A", "B"].map(|side| format!("base_model.model.model.layers.{layer}.{}.lora_{side}.weight", projection.module()))
}

fn parse_config(json: &Value) -> std::result::Result<LoraConfig, String> {
    let kind = json["peft_type"].as_str().unwrap_or("absent");
    if kind != "LORA" {
        return Err(format!("`peft_type` is `{kind}`; `LORA` is read"));
    }
    refuse_unsupported(json)?;
    let r = json["r"].as_u64().filter(|r| *r > 0).ok_or("`r` must be a positive whole number")?;
    let lora_alpha = json["lora_alpha"].as_f64().filter(|a| a.is_finite()).ok_or("`lora_alpha` must be a number")?;
    let names = json["target_modules"].as_array().ok_or("`target_modules` must be a list of module names")?;
    let mut targets = Vec::new();
    for name in names {
        let name = name.as_str().unwrap_or_default();
        let found = Projection::ALL.into_iter().find(|p| p.short_name() == name);
        targets.push(found.ok_or_else(|| format!("`target_modules` names `{name}`, which the base does not have"))?);
    }
    targets.sort();
    targets.dedup();
    Ok(LoraConfig { r: r as usize, lora_alpha, use_rslora: json["use_rslora"].as_bool().unwrap_or(false), targets })
}

/// Options that change the arithmetic as soon as they hold anything.
const UNSUPPORTED: [&str; 14] = [
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "fan_in_fan_out",
    "lora_bias",
    "modules_to_save",
    "layers_to_transform",
    "rank_pattern",
    "alpha_pattern",
    "layer_replication",
    "alora_invocation_tokens",
    "arrow_config",
    "target_parameters",
    "trainable_token_indices",
];

fn refuse_unsupported(json: &Value) -> std::result::Result<(), String> {
    if json["bias"].as_str().is_some_and(|b| b != "none") {
        return Err(format!("`bias` is {}; only `none` is supported", json["bias"]));
    }
    // PiSSA, OLoRA, CorDA and LoftQ take what the adapter starts with out of the base.
    if json["init_lora_weights"].as_str().is_some_and(|init| !["gaussian", "eva", "orthogonal"].contains(&init)) {
        let init = &json["init_lora_weights"];
        return Err(format!("`init_lora_weights` is {init}, which changes the base's own weights"));
    }
    for key in UNSUPPORTED {
        let empty = match &json[key] {
            Value::Null | Value::Bool(false) => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        if !empty {
            return Err(format!("`{key}` is not supported"));
        }
    }
    Ok(())
}
