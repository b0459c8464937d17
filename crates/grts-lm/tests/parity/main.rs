//! Against golden fixtures: what `transformers`, `peft`, `tokenizers` and `torch.optim` compute on the same files.
//!
//! `xtask/golden/README.md` says how the fixtures were made and why the tolerances are what they are. One test target, so
//! that the reading of fixtures is written once and nothing of it is unused.

mod affixes;
mod bert;
#[cfg(feature = "candle")]
mod device;
mod families;
mod merge;
mod model;
mod refusals;
mod sampling;
mod text;
mod text_families;
mod training;

use grts_lm::lora::Adapter;
use grts_lm::weights::Model;
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Both bases.
const BASES: [&str; 2] = ["llama-tiny", "llama-untied"];
/// Both adapters, on `llama-tiny`.
const ADAPTERS: [&str; 2] = ["adapter-a", "adapter-b"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn json(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixture(name)).unwrap()).unwrap()
}

/// The f32 tensors of a file by name: shape and values.
fn tensors(name: &str) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(fixture(name)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let read = |view: &safetensors::tensor::TensorView<'_>| {
        assert_eq!(view.dtype(), safetensors::Dtype::F32);
        let values = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        (view.shape().to_vec(), values)
    };
    file.tensors().iter().map(|(name, view)| (name.clone(), read(view))).collect()
}

fn sequences() -> Vec<Vec<u32>> {
    serde_json::from_value(json("sequences.json")["sequences"].clone()).unwrap()
}

fn base(name: &str) -> Arc<Model> {
    Arc::new(Model::load(&fixture(name)).unwrap())
}

fn adapter(name: &str) -> Arc<Adapter> {
    Arc::new(Adapter::load(&fixture(name), base("llama-tiny").config()).unwrap())
}

fn largest_difference(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    // `f32::max` would pass over a NaN.
    got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, |m, d| if d <= m { m } else { d })
}

fn floats(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}
