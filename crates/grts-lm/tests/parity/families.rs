//! Every model family against `transformers` and `peft`: logits, greedy text, losses, gradients, files both ways.

use crate::{fixture, json, largest_difference, tensors};
use grts_lm::decode::{Context, GenerationConfig, Row};
use grts_lm::lora::Adapter;
use grts_lm::sampling::Sampling;
use grts_lm::train::{AdamWConfig, Objective, Sequence, Trainer};
use grts_lm::weights::Model;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use serde_json::Value;
use std::sync::Arc;

/// All but the two that the next tests are about.
pub(crate) const CASES: [&str; 14] = [
    "llama3",
    "llama-linear",
    "llama-yarn",
    "mistral",
    "qwen2",
    "qwen2-window",
    "qwen3",
    "gemma2",
    "gemma3",
    "phi3",
    "gpt2",
    "gpt-neox",
    "gpt-neox-sequential",
    "stablelm",
];
pub(crate) const TOLERANCE: f32 = 1e-4;

pub(crate) fn path(case: &str) -> String {
    format!("families/{case}")
}

fn model(case: &str) -> Arc<Model> {
    Arc::new(Model::load(&fixture(&path(case))).unwrap())
}

pub(crate) fn expected(case: &str) -> Value {
    json(&format!("{}/expected.json", path(case)))
}

pub(crate) fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

pub(crate) fn adapter(case: &str, model: &Model) -> Option<Arc<Adapter>> {
    let directory = fixture(&format!("{}/adapter", path(case)));
    directory.is_dir().then(|| Arc::new(Adapter::load(&directory, model.config()).unwrap()))
}

pub(crate) fn greedy(model: &Model, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut context = Context::new(model);
    context.extend(prompt);
    let config = GenerationConfig { sampling: Sampling::GREEDY, max_tokens: count, stop: Vec::new() };
    let mut rows = [Row { context: &mut context, adapter: None, rng: ChaCha8Rng::seed_from_u64(0) }];
    model.generate(&mut rows, &config).unwrap().remove(0).tokens
}

/// Mean negative log-likelihood.
pub(crate) fn mean_loss(_: usize, logprobs: &[f32]) -> Objective {
    let n = logprobs.len();
    let loss = -logprobs.iter().map(|l| f64::from(*l)).sum::<f64>() / n as f64;
    Objective { loss, gradient: vec![-1.0 / n as f32; n] }
}

fn check_logits(case: &str, model: &Model) {
    let golden = tensors(&format!("{}/expected.safetensors", path(case)));
    for i in 0..2 {
        let tokens = ids(&expected(case)["sequences"][i]);
        let off = largest_difference(&model.logits(&tokens, None).unwrap(), &golden[&format!("logits.{i}")].1);
        assert!(off <= TOLERANCE, "{case}, sequence {i}: off by {off}");
    }
}

#[test]
fn logits_of_every_family_are_those_of_transformers_in_both_spellings_of_its_configuration() {
    for case in CASES {
        check_logits(case, &model(case));
        let directory = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(fixture(&path(case))).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name().to_string_lossy().starts_with("model") {
                std::fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
            }
        }
        std::fs::copy(fixture(&format!("{}/config.v4.json", path(case))), directory.path().join("config.json"))
            .unwrap();
        check_logits(case, &Model::load(directory.path()).unwrap());
    }
}

#[test]
fn greedy_text_of_every_family_is_that_of_transformers() {
    for case in CASES {
        let expected = expected(case);
        let want = ids(&expected["greedy"]);
        assert_eq!(greedy(&model(case), &ids(&expected["prompt"]), want.len()), want, "{case}");
    }
}

#[test]
fn adapters_of_every_family_are_those_of_peft_and_so_are_their_gradients() {
    check_adapters(model);
}

/// Logits and gradients of every adapter, on the models that `load` gives.
pub(crate) fn check_adapters(load: impl Fn(&str) -> Arc<Model>) {
    let mut adapters = 0;
    for case in CASES {
        let model = load(case);
        let Some(adapter) = adapter(case, &model) else { continue };
        adapters += 1;
        let golden = tensors(&format!("{}/expected.safetensors", path(case)));
        let tokens = ids(&expected(case)["sequences"][1]);
        let off = largest_difference(&model.logits(&tokens, Some(&adapter)).unwrap(), &golden["adapter.logits.1"].1);
        assert!(off <= TOLERANCE, "{case}: off by {off}");
        let batch = [Sequence { scored: (1..tokens.len()).collect(), tokens }];
        for checkpointing in [false, true] {
            let trainer = Trainer::adapter(Arc::clone(&model), &adapter, AdamWConfig::default());
            let trainer = trainer.with_checkpointing(checkpointing);
            let (loss, gradients) = trainer.gradients(&batch, mean_loss).unwrap();
            let want = expected(case)["adapter_loss"].as_f64().unwrap();
            assert!((loss - want).abs() <= 1e-5, "{case}: {loss} against {want}");
            for (p, gradient) in trainer.parameters().iter().zip(&gradients) {
                let (shape, want) = &golden[&format!("grad.{}", p.name)];
                assert_eq!(*shape, p.shape, "{case}, `{}`", p.name);
                let largest = want.iter().fold(0.0, |m: f32, x| m.max(x.abs()));
                let off = largest_difference(gradient, want) / largest;
                assert!(off <= TOLERANCE, "{case}, `{}`: off by {off} of the largest", p.name);
            }
        }
    }
    assert_eq!(adapters, 10);
}

#[test]
fn models_and_adapters_of_every_family_load_back_equal() {
    for case in CASES {
        let (model, directory) = (model(case), tempfile::tempdir().unwrap());
        model.save(directory.path()).unwrap();
        assert_eq!(Model::load(directory.path()).unwrap().parameters(), model.parameters(), "{case}");
        let Some(adapter) = adapter(case, &model) else { continue };
        adapter.save(directory.path(), model.config(), case).unwrap();
        let copy = Adapter::load(directory.path(), model.config()).unwrap();
        assert_eq!(copy.parameters(model.config()), adapter.parameters(model.config()), "{case}");
    }
}

/// Other factors hold beyond the original window, for all positions at once: texts end there.
#[test]
fn longrope_is_exact_inside_its_original_window_and_refuses_what_is_longer() {
    let (model, expected) = (model("phi3-longrope"), expected("phi3-longrope"));
    let golden = tensors("families/phi3-longrope/expected.safetensors");
    let tokens = ids(&expected["sequences"][0]);
    let off = largest_difference(&model.logits(&tokens, None).unwrap(), &golden["logits.0"].1);
    assert!(off <= TOLERANCE, "off by {off}");
    let (prompt, want) = (ids(&expected["prompt"]), ids(&expected["greedy"]));
    let inside = 16 - prompt.len();
    assert_eq!(greedy(&model, &prompt, 64), want[..inside]);
    let error = model.logits(&ids(&expected["sequences"][1]), None).unwrap_err().to_string();
    assert_eq!(error, "40 tokens exceed the model's context of 16");
}

#[test]
fn what_a_family_has_beyond_this_is_refused_by_name() {
    let error = Model::load(&fixture("families/stablelm-parallel")).err().unwrap().to_string();
    assert!(error.ends_with("config.json`: `qk_layernorm` is true; only false is supported"), "{error}");
}

/// bf16 weights: logits move by their rounding, and stay close.
#[test]
fn weights_held_in_bf16_give_logits_near_those_of_f32() {
    for case in CASES {
        let model = Model::load_as(&fixture(&path(case)), grts_lm::Precision::Bf16).unwrap();
        let golden = tensors(&format!("{}/expected.safetensors", path(case)));
        let tokens = ids(&expected(case)["sequences"][0]);
        let want = &golden["logits.0"].1;
        let spread = (want.iter().map(|x| x * x).sum::<f32>() / want.len() as f32).sqrt();
        let got = model.logits(&tokens, None).unwrap();
        let off =
            (got.iter().zip(want).map(|(a, b)| (a - b) * (a - b)).sum::<f32>() / want.len() as f32).sqrt() / spread;
        assert!(off > 0.0 && off < 0.05, "{case}: off by {off} of the logits' size");
    }
}
