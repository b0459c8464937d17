//! Low-rank adapters in the PEFT layout: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! An adapter is a policy: y = W x + s · B (A x), with s = alpha / r (or alpha / √r for rank-stabilised LoRA). Options of
//! PEFT that change the arithmetic and are not implemented are refused by name.

use crate::architecture::{Architecture, Slot};
use crate::checkpoint::{Checkpoint, write_safetensors};
use crate::config::ModelConfig;
use crate::device::Loras;
use crate::kernels::{Packed, Precision};
use crate::weights::Parameter;
use crate::{Error, Result};
use fancy_regex::Regex;
use rand_core::Rng;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Which linear modules are adapted, as PEFT's `target_modules` says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// Every linear module of a layer (`all-linear`).
    AllLinear,
    /// Those whose name is one of these, or ends in one after a dot.
    Names(Vec<String>),
    /// Those whose whole name matches this regular expression.
    Regex(String),
}

/// What PEFT's `adapter_config.json` says about a LoRA adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// Rank of the update.
    pub r: usize,
    /// Numerator of the scale.
    pub lora_alpha: f64,
    /// Whether the scale is alpha / √r instead of alpha / r.
    pub use_rslora: bool,
    /// Adapted modules.
    pub targets: Targets,
}

impl LoraConfig {
    /// Rank `r` on every linear module with scale `lora_alpha / r`.
    pub fn all_linear(r: usize, lora_alpha: f64) -> Self {
        Self { r, lora_alpha, use_rslora: false, targets: Targets::AllLinear }
    }

    /// The factor before B A x.
    pub fn scale(&self) -> f32 {
        let r = self.r as f64;
        (self.lora_alpha / if self.use_rslora { r.sqrt() } else { r }) as f32
    }

    /// Which modules of which layers are adapted: `[layer][module]`.
    fn adapted(&self, a: &Architecture) -> std::result::Result<Vec<Vec<bool>>, String> {
        let whole = match &self.targets {
            Targets::Regex(pattern) => {
                let regex = Regex::new(&format!("^(?:{pattern})$"));
                Some(regex.map_err(|e| format!("`target_modules` is `{pattern}`, not a regular expression: {e}"))?)
            }
            _ => None,
        };
        let named = |list: &[String], full: &str| {
            list.iter()
                .any(|name| full == name || full.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.')))
        };
        let adapted: Vec<Vec<bool>> = (0..a.layers)
            .map(|n| {
                let matches = |module: &crate::architecture::Module| {
                    let full = a.in_layer(n, module.name);
                    match (&self.targets, &whole) {
                        (Targets::AllLinear, _) => true,
                        (Targets::Names(list), _) => named(list, &full),
                        (Targets::Regex(_), regex) => {
                            regex.as_ref().is_some_and(|r| r.is_match(&full).unwrap_or(false))
                        }
                    }
                };
                a.modules.iter().map(matches).collect()
            })
            .collect();
        if let Targets::Names(list) = &self.targets {
            let full: Vec<String> =
                (0..a.layers).flat_map(|n| a.modules.iter().map(move |m| a.in_layer(n, m.name))).collect();
            if let Some(name) = list.iter().find(|name| !full.iter().any(|f| named(std::slice::from_ref(name), f))) {
                return Err(format!("`target_modules` names `{name}`, which the base does not have"));
            }
        }
        if !adapted.iter().flatten().any(|is| *is) {
            return Err("`target_modules` matches no linear module of the base".to_owned());
        }
        Ok(adapted)
    }
}

/// The pair of one module.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LowRank {
    pub(crate) a: Vec<f32>, // (r, in)
    pub(crate) b: Vec<f32>, // (out, r), rows in the module's own order
}

/// A LoRA adapter for one base model.
#[derive(Debug, Clone)]
pub struct Adapter {
    config: LoraConfig,
    layers: Vec<Vec<Option<LowRank>>>, // [layer][module]
    forms: Forms,
}

/// An adapter as the paths want it, made on first use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Forms {
    packed: OnceLock<Arc<PackedAdapter>>,
    #[cfg_attr(not(feature = "candle"), expect(dead_code, reason = "nothing can be on a device"))]
    pub(crate) device: Loras,
}

impl PartialEq for Adapter {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config && self.layers == other.layers
    }
}

impl Adapter {
    /// A fresh adapter: A uniform in ±√(1/in) (PEFT's Kaiming initialisation), B zero, so that it changes nothing yet.
    ///
    /// # Errors
    /// Targets that the base does not have.
    pub fn new(config: LoraConfig, model: &ModelConfig, rng: &mut impl Rng) -> Result<Self> {
        let a = &model.architecture;
        let mut adapted = config.adapted(a).map_err(Error::Request)?;
        let mut fresh = |module: usize| {
            let (_, input) = a.shape(a.modules[module].slot);
            let bound = (1.0 / input as f32).sqrt();
            let values = (0..config.r * input).map(|_| (2.0 * uniform(rng) - 1.0) * bound).collect();
            LowRank { a: values, b: vec![0.0; a.modules[module].rows * config.r] }
        };
        let mut layer = |flags: &mut Vec<bool>| flags.iter().enumerate().map(|(i, is)| is.then(|| fresh(i))).collect();
        let layers = adapted.iter_mut().map(&mut layer).collect();
        Ok(Self { config, layers, forms: Forms::default() })
    }

    /// Rank, scale and targets.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    pub(crate) fn get(&self, layer: usize, module: usize) -> Option<&LowRank> {
        self.layers.get(layer)?.get(module)?.as_ref()
    }

    /// Every A `(r, in)` and B `(out, r)` under its PEFT name, layer by layer.
    pub fn parameters(&self, model: &ModelConfig) -> Vec<Parameter> {
        let architecture = &model.architecture;
        let mut out = Vec::new();
        for (n, layer) in self.layers.iter().enumerate() {
            for (module, pair) in architecture.modules.iter().zip(layer) {
                let Some(pair) = pair else { continue };
                let (_, input) = architecture.shape(module.slot);
                let [a, b] = parameter_names(architecture, n, module.name);
                out.push(Parameter { name: a, shape: vec![self.config.r, input], data: pair.a.clone() });
                out.push(Parameter { name: b, shape: vec![module.rows, self.config.r], data: pair.b.clone() });
            }
        }
        out
    }

    /// The same adapter with new values, in the order of [`Adapter::parameters`].
    pub(crate) fn with_values<'a>(&self, values: impl IntoIterator<Item = &'a [f32]>) -> Self {
        let mut values = values.into_iter();
        let mut out = Self { forms: Forms::default(), ..self.clone() };
        for pair in out.layers.iter_mut().flatten().flatten() {
            for target in [&mut pair.a, &mut pair.b] {
                if let Some(data) = values.next() {
                    target.copy_from_slice(data);
                }
            }
        }
        out
    }

    /// This adapter moved towards `other`: `share` of the way, in every value of A and B.
    ///
    /// # Panics
    /// If the two have not the same shape.
    #[must_use]
    pub fn towards(&self, other: &Self, share: f32) -> Self {
        let mut out = Self { forms: Forms::default(), ..self.clone() };
        let theirs = other.layers.iter().flatten().flatten();
        for (mine, theirs) in out.layers.iter_mut().flatten().flatten().zip(theirs) {
            for (mine, theirs) in [(&mut mine.a, &theirs.a), (&mut mine.b, &theirs.b)] {
                assert_eq!(mine.len(), theirs.len(), "adapters of one shape");
                mine.iter_mut().zip(theirs).for_each(|(m, t)| *m += share * (t - *m));
            }
        }
        out
    }

    /// The mean of adapters in proportion to their weights, in every value of A and B; what the weights lack to 1 is the weight of
    /// the base, which has B = 0. `None` without adapters.
    ///
    /// # Errors
    /// They have not the same rank, scale and modules.
    pub fn mean<'a>(weighted: impl IntoIterator<Item = (&'a Self, f64)>) -> Result<Option<Self>> {
        let (mut mean, mut total): (Option<Self>, f64) = (None, 0.0);
        for (adapter, weight) in weighted {
            total += weight;
            mean = Some(match mean {
                None => adapter.clone(),
                Some(mean) if mean.alike(adapter) => mean.towards(adapter, (weight / total) as f32),
                Some(_) => return Err(Error::Request("adapters of different shapes have no mean".to_owned())),
            });
        }
        let mut mean = mean.map(|mean| Self { forms: Forms::default(), ..mean });
        for pair in mean.iter_mut().flat_map(|mean| mean.layers.iter_mut().flatten().flatten()) {
            pair.b.iter_mut().for_each(|value| *value *= total as f32);
        }
        Ok(mean)
    }

    /// Whether both adapt the same modules, by the same rank and scale.
    fn alike(&self, other: &Self) -> bool {
        let sizes = |of: &Self| -> Vec<Option<[usize; 2]>> {
            of.layers.iter().flatten().map(|pair| pair.as_ref().map(|pair| [pair.a.len(), pair.b.len()])).collect()
        };
        self.config.r == other.config.r && self.config.scale() == other.config.scale() && sizes(self) == sizes(other)
    }

    #[cfg(feature = "candle")]
    pub(crate) fn forms(&self) -> &Forms {
        &self.forms
    }

    /// Laid out for the kernels, on first use.
    pub(crate) fn packed(&self, a: &Architecture) -> &Arc<PackedAdapter> {
        self.forms.packed.get_or_init(|| Arc::new(PackedAdapter::new(self, a)))
    }

    /// Writes the PEFT directory.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, directory: &Path, model: &ModelConfig, base: &str) -> Result<()> {
        let targets = match &self.config.targets {
            Targets::Names(names) => json!(names),
            Targets::Regex(pattern) => json!(pattern),
            Targets::AllLinear => {
                let mut names: Vec<_> = model.architecture.modules.iter().map(|m| m.short_name()).collect();
                let mut seen = std::collections::HashSet::new();
                names.retain(|name| seen.insert(*name));
                json!(names)
            }
        };
        let json = json!({
            "base_model_name_or_path": base,
            "bias": "none",
            "fan_in_fan_out": model.architecture.transposed,
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
        let architecture = &model.architecture;
        let path = directory.join("adapter_config.json");
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let json: Value = serde_json::from_str(&text).map_err(|e| Error::format(&path, e.to_string()))?;
        let parsed = parse_config(&json, architecture).and_then(|config| Ok((config.adapted(architecture)?, config)));
        let (adapted, config) = parsed.map_err(|reason| Error::format(&path, reason))?;
        let path = directory.join("adapter_model.safetensors");
        let file = Checkpoint::open_file(&path)?;
        let mut left = file.names();
        let mut values = |name: &str, shape: [usize; 2]| {
            left.remove(name);
            file.read(name, &shape, "the base")
        };
        let mut layers = Vec::new();
        for (n, flags) in adapted.iter().enumerate() {
            let mut layer = Vec::new();
            for (module, is) in architecture.modules.iter().zip(flags) {
                let (_, input) = architecture.shape(module.slot);
                let [a, b] = parameter_names(architecture, n, module.name);
                layer.push(match is {
                    true => {
                        Some(LowRank { a: values(&a, [config.r, input])?, b: values(&b, [module.rows, config.r])? })
                    }
                    false => None,
                });
            }
            layers.push(layer);
        }
        match left.first() {
            Some(name) => Err(Error::format(&path, format!("tensor `{name}` belongs to no module that is adapted"))),
            None => Ok(Self { config, layers, forms: Forms::default() }),
        }
    }
}

/// An adapter as the kernels want it.
#[derive(Debug)]
pub(crate) struct PackedAdapter {
    slots: Vec<[Option<PackedSlot>; 4]>, // [layer][slot]
    /// Most rows of A in one map.
    pub(crate) widest: usize,
}

/// The adapted modules of one map: their A stacked, each B with the scale inside.
#[derive(Debug)]
pub(crate) struct PackedSlot {
    pub(crate) a: Packed, // (Σ r, in)
    pub(crate) parts: Vec<PackedPart>,
}

/// B of one module: `out[first..] += B · low[low..]`.
#[derive(Debug)]
pub(crate) struct PackedPart {
    pub(crate) b: Packed, // (rows, r)
    pub(crate) first: usize,
    pub(crate) low: usize,
}

impl PackedAdapter {
    fn new(adapter: &Adapter, a: &Architecture) -> Self {
        let slots: Vec<_> = (0..a.layers).map(|n| Slot::ALL.map(|slot| PackedSlot::new(adapter, a, n, slot))).collect();
        let widest = slots.iter().flatten().flatten().map(|slot| slot.a.out()).max().unwrap_or(0);
        Self { slots, widest }
    }

    pub(crate) fn get(&self, layer: usize, slot: Slot) -> Option<&PackedSlot> {
        self.slots[layer][slot as usize].as_ref()
    }
}

impl PackedSlot {
    fn new(adapter: &Adapter, architecture: &Architecture, n: usize, slot: Slot) -> Option<Self> {
        let (_, input) = architecture.shape(slot);
        let (r, scale) = (adapter.config.r, adapter.config.scale());
        let modules = architecture.modules.iter().enumerate().filter(|(_, module)| module.slot == slot);
        let pairs: Vec<_> = modules.filter_map(|(i, module)| Some((module, adapter.get(n, i)?))).collect();
        if pairs.is_empty() {
            return None;
        }
        let a = Packed::new(pairs.len() * r, input, Precision::F32, |i| {
            &pairs[i / r].1.a[i % r * input..(i % r + 1) * input]
        });
        let part = |(i, (module, pair)): (usize, &(&crate::architecture::Module, &LowRank))| {
            let scaled: Vec<f32> = pair.b.iter().map(|b| scale * b).collect();
            let row = |o: usize| &scaled[module.source(o) * r..(module.source(o) + 1) * r];
            PackedPart { b: Packed::new(module.rows, r, Precision::F32, row), first: module.first, low: i * r }
        };
        Some(Self { a, parts: pairs.iter().enumerate().map(part).collect() })
    }
}

fn uniform(rng: &mut impl Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32
}

fn parameter_names(a: &Architecture, layer: usize, module: &str) -> [String; 2] {
    ["A", "B"].map(|side| format!("base_model.model.{}.lora_{side}.weight", a.in_layer(layer, module)))
}

fn parse_config(json: &Value, a: &Architecture) -> std::result::Result<LoraConfig, String> {
    let kind = json["peft_type"].as_str().unwrap_or("absent");
    if kind != "LORA" {
        return Err(format!("`peft_type` is `{kind}`; `LORA` is read"));
    }
    refuse_unsupported(json)?;
    if json["fan_in_fan_out"] == true && !a.transposed {
        return Err("`fan_in_fan_out` is true, but the base stores its weights the other way".to_owned());
    }
    let r = json["r"].as_u64().filter(|r| *r > 0).ok_or("`r` must be a positive whole number")?;
    let lora_alpha = json["lora_alpha"].as_f64().filter(|a| a.is_finite()).ok_or("`lora_alpha` must be a number")?;
    let targets = match &json["target_modules"] {
        Value::String(all) if all == "all-linear" => Targets::AllLinear,
        Value::String(pattern) => Targets::Regex(pattern.clone()),
        Value::Array(names) => {
            Targets::Names(names.iter().map(|name| name.as_str().unwrap_or_default().to_owned()).collect())
        }
        _ => {
            return Err(
                "`target_modules` must be a list of module names, a regular expression or `all-linear`".to_owned()
            );
        }
    };
    Ok(LoraConfig { r: r as usize, lora_alpha, use_rslora: json["use_rslora"].as_bool().unwrap_or(false), targets })
}

/// Options that change the arithmetic as soon as they hold anything.
const UNSUPPORTED: [&str; 13] = [
    "use_dora",
    "use_qalora",
    "use_bdlora",
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
