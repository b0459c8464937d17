//! An adapter written into the weights: W + s·B·A, for programs that read whole models only.
//!
//! Nothing here is used to play or to train, where one base serves many adapters. The sum is taken in the order and
//! orientation of the checkpoint (`(in, out)` in GPT-2, heads interleaved in GPT-NeoX), which are those of the adapter's
//! B too. The result says in its configuration that it is `float32`: rounding it again would undo small updates.

use crate::Result;
use crate::config::ModelConfig;
use crate::lora::{Adapter, LowRank};
use crate::weights::{Model, Parameter};
use serde_json::Value;
use std::collections::HashMap;

impl Model {
    /// This model with `adapter` merged into its weights, held in the same precision.
    ///
    /// # Errors
    /// Never for an adapter that was loaded for this model.
    pub fn merged(&self, adapter: &Adapter) -> Result<Self> {
        let a = self.architecture();
        let mut parameters = self.parameters();
        let index: HashMap<String, usize> = parameters.iter().enumerate().map(|(i, p)| (p.name.clone(), i)).collect();
        let scale = adapter.config().scale();
        for n in 0..a.layers {
            for (i, module) in a.modules.iter().enumerate() {
                let weight = index.get(&format!("{}.weight", a.in_layer(n, module.name)));
                if let (Some(pair), Some(&at)) = (adapter.get(n, i), weight) {
                    add(&mut parameters[at], pair, module.rows, a.transposed, scale);
                }
            }
        }
        let config = in_f32(&self.config);
        let mut merged = Self::from_parameters_as(config, parameters, self.precision())?;
        merged.stop.clone_from(&self.stop);
        Ok(merged)
    }
}

/// W `(out, in)`, or `(in, out)` when transposed, += scale · B `(out, r)` · A `(r, in)`.
fn add(weight: &mut Parameter, pair: &LowRank, out: usize, transposed: bool, scale: f32) {
    let r = pair.b.len() / out;
    let input = pair.a.len() / r;
    let mut row = vec![0f32; input];
    for o in 0..out {
        row.fill(0.0);
        for (b, a) in pair.b[o * r..(o + 1) * r].iter().zip(pair.a.chunks_exact(input)) {
            row.iter_mut().zip(a).for_each(|(x, a)| *x += b * a);
        }
        for (k, x) in row.iter().enumerate() {
            weight.data[if transposed { k * out + o } else { o * input + k }] += scale * x;
        }
    }
}

/// The configuration of the same model whose file holds `f32`.
fn in_f32(config: &ModelConfig) -> ModelConfig {
    let mut config = config.clone();
    for key in ["dtype", "torch_dtype"] {
        if let Some(dtype) = config.json.get_mut(key) {
            *dtype = Value::from("float32");
        }
    }
    config
}
