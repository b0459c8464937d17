//! Merged weights against base and adapter side by side, in every family that has an adapter; and from disk.

use crate::{adapter, base, fixture, json, largest_difference};
use grts_lm::Precision;
use grts_lm::lora::Adapter;
use grts_lm::weights::Model;

const TOLERANCE: f32 = 1e-4;

/// Every family fixture with an adapter, GPT-2 (transposed) and GPT-NeoX (interleaved heads) among them.
fn cases() -> Vec<String> {
    let entries = std::fs::read_dir(fixture("families")).unwrap().map(|entry| entry.unwrap());
    let adapted = entries.filter(|entry| entry.path().join("adapter").is_dir());
    adapted.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

#[test]
fn merged_weights_of_every_family_give_the_logits_of_base_and_adapter() {
    let cases = cases();
    assert_eq!(cases.len(), 10);
    for case in cases {
        let directory = fixture(&format!("families/{case}"));
        let model = Model::load(&directory).unwrap();
        let adapter = Adapter::load(&directory.join("adapter"), model.config()).unwrap();
        let merged = model.merged(&adapter).unwrap();
        let written = tempfile::tempdir().unwrap();
        merged.save(written.path()).unwrap();
        let read = Model::load(written.path()).unwrap();
        let expected = json(&format!("families/{case}/expected.json"));
        let tokens: Vec<u32> = serde_json::from_value(expected["sequences"][1].clone()).unwrap();
        let want = model.logits(&tokens, Some(&adapter)).unwrap();
        let plain = model.logits(&tokens, None).unwrap();
        assert!(largest_difference(&plain, &want) > 10.0 * TOLERANCE, "{case}: the adapter changes nothing");
        for model in [&merged, &read] {
            let off = largest_difference(&model.logits(&tokens, None).unwrap(), &want);
            assert!(off <= TOLERANCE, "{case}: off by {off}");
        }
    }
}

#[test]
fn a_merged_model_keeps_its_ending_tokens_and_precision_and_says_that_its_file_is_float32() {
    let (base, adapter) = (base("llama-tiny"), adapter("adapter-a"));
    let merged = base.merged(&adapter).unwrap();
    assert_eq!((merged.stop(), merged.precision()), (base.stop(), Precision::F32));
    let config = serde_json::to_value(merged.config()).unwrap();
    for key in ["dtype", "torch_dtype"] {
        assert!(config[key].is_null() || config[key] == "float32", "{config}");
    }
    let rounded = Model::load_as(&fixture("llama-tiny"), Precision::Bf16).unwrap();
    assert_eq!(rounded.merged(&adapter).unwrap().precision(), Precision::Bf16);
}
