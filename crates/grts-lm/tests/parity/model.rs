//! Logits of the decode path, and what this crate writes.

use crate::{ADAPTERS, BASES, adapter, base, json, largest_difference, sequences, tensors};
use grts_lm::lora::Adapter;
use grts_lm::weights::Model;
use std::sync::Arc;

const LOGITS: f32 = 1e-4;
const LOSS: f64 = 1e-5;

fn check_logits(name: &str, model: &Model, adapter: Option<&Adapter>) {
    let golden = tensors(&format!("logits.{name}.safetensors"));
    for (i, tokens) in sequences().iter().enumerate() {
        let (shape, expected) = &golden[&format!("f64.{i}")];
        assert_eq!(*shape, [tokens.len(), model.config().vocab_size()]);
        let off = largest_difference(&model.logits(tokens, adapter).unwrap(), expected);
        assert!(off <= LOGITS, "{name}, sequence {i}: off by {off}");
    }
}

#[test]
fn logits_of_both_bases_are_those_of_transformers() {
    for name in BASES {
        check_logits(name, &base(name), None);
    }
}

#[test]
fn logits_of_both_adapters_are_those_of_peft() {
    for name in ADAPTERS {
        check_logits(name, &base("llama-tiny"), Some(&adapter(name)));
    }
}

#[test]
fn logprobs_of_one_mixed_batch_give_every_loss() {
    let tiny = base("llama-tiny");
    let untied = base("llama-untied");
    let adapters = ADAPTERS.map(adapter);
    let sequences = sequences();
    let tokens = sequences[2].as_slice();
    let mut rows =
        tiny.logprobs(&[(tokens, Some(&adapters[0])), (tokens, None), (tokens, Some(&adapters[1]))]).unwrap();
    rows.extend(untied.logprobs(&[(tokens, None)]).unwrap());
    let losses = json("losses.json");
    for (name, row) in ["adapter-a", "llama-tiny", "adapter-b", "llama-untied"].iter().zip(&rows) {
        let loss = -row.iter().map(|l| f64::from(*l)).sum::<f64>() / row.len() as f64;
        let expected = losses[name].as_f64().unwrap();
        assert!((loss - expected).abs() <= LOSS, "{name}: {loss} against {expected}");
    }
}

#[test]
fn an_adapter_saved_here_loads_back_equal() {
    let model = base("llama-tiny");
    for name in ADAPTERS {
        let directory = tempfile::tempdir().unwrap();
        let adapter = adapter(name);
        adapter.save(directory.path(), model.config(), "llama-tiny").unwrap();
        assert_eq!(Adapter::load(directory.path(), model.config()).unwrap(), *adapter, "{name}");
    }
}

/// What PEFT reads of the files, beside what this crate reads.
#[test]
fn a_saved_adapter_has_the_keys_and_tensors_of_pefts_own() {
    let model = base("llama-tiny");
    for name in ADAPTERS {
        let directory = tempfile::tempdir().unwrap();
        adapter(name).save(directory.path(), model.config(), "llama-tiny").unwrap();
        let text = std::fs::read_to_string(directory.path().join("adapter_config.json")).unwrap();
        let ours: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
        let theirs = json(&format!("{name}/adapter_config.json"));
        for (key, value) in ours {
            let same = match (value.as_f64(), theirs[&key].as_f64()) {
                (Some(a), Some(b)) => a == b, // 8 and 8.0
                _ => value == theirs[&key],
            };
            assert!(same, "{name}: `{key}` is {value}, PEFT wrote {}", theirs[&key]);
        }
        // `fixture` returns an absolute path as it is.
        let file = directory.path().join("adapter_model.safetensors");
        assert_eq!(tensors(file.to_str().unwrap()), tensors(&format!("{name}/adapter_model.safetensors")));
    }
}

#[test]
fn a_model_saved_here_loads_back_equal() {
    for name in BASES {
        let directory = tempfile::tempdir().unwrap();
        let model = base(name);
        model.save(directory.path()).unwrap();
        let copy = Arc::new(Model::load(directory.path()).unwrap());
        assert_eq!(copy.config(), model.config());
        assert_eq!(copy.parameters(), model.parameters());
        check_logits(name, &copy, None);
    }
    let mut saved: Vec<String> = base("llama-tiny").parameters().into_iter().map(|p| p.name).collect();
    saved.sort();
    assert!(saved.iter().eq(tensors("llama-tiny/model.safetensors").keys()));
}
