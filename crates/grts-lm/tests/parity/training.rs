//! Gradients of the training path against autograd of PyTorch, and AdamW against `torch.optim`.

use crate::{ADAPTERS, BASES, adapter, base, floats, json, largest_difference, sequences, tensors};
use grts_lm::train::{AdamW, AdamWConfig, Objective, Sequence, Trainer};
use grts_lm::weights::Parameter;
use serde_json::Value;

const LOSS: f64 = 1e-5;
/// Relative to the tensor's largest absolute value.
const GRADIENT: f32 = 1e-4;
const PARAMETER: f32 = 1e-5;

/// Mean next-token cross-entropy of the longest sequence.
fn loss_and_gradients(trainer: &Trainer) -> (f64, Vec<Vec<f32>>) {
    let tokens = sequences()[2].clone();
    let scored: Vec<usize> = (1..tokens.len()).collect();
    let mean = |_: usize, logprobs: &[f32]| {
        let n = logprobs.len();
        let loss = -logprobs.iter().map(|l| f64::from(*l)).sum::<f64>() / n as f64;
        Objective { loss, gradient: vec![-1.0 / n as f32; n] }
    };
    trainer.gradients(&[Sequence { tokens, scored }], mean).unwrap()
}

fn check_loss(name: &str, loss: f64) {
    let expected = json("losses.json")[name].as_f64().unwrap();
    assert!((loss - expected).abs() <= LOSS, "{name}: {loss} against {expected}");
}

fn check_gradients(name: &str, trainer: &Trainer) {
    let golden = tensors(&format!("gradients.{name}.safetensors"));
    let (_, gradients) = loss_and_gradients(trainer);
    assert_eq!(golden.len(), gradients.len());
    for (p, gradient) in trainer.parameters().iter().zip(&gradients) {
        let (shape, expected) = &golden[&p.name];
        assert_eq!(*shape, p.shape, "{}", p.name);
        let largest = expected.iter().fold(0.0, |m: f32, x| m.max(x.abs()));
        let off = largest_difference(gradient, expected) / largest;
        assert!(off <= GRADIENT, "{name}, `{}`: off by {off} of the largest", p.name);
    }
}

#[test]
fn losses_of_bases_and_adapters_are_those_of_transformers() {
    for name in BASES {
        check_loss(name, loss_and_gradients(&Trainer::full(base(name), AdamWConfig::default()).unwrap()).0);
    }
    for name in ADAPTERS {
        let trainer = Trainer::adapter(base("llama-tiny"), &adapter(name), AdamWConfig::default());
        check_loss(name, loss_and_gradients(&trainer).0);
    }
}

#[test]
fn gradients_of_every_weight_are_those_of_pytorch() {
    check_gradients("llama-tiny", &Trainer::full(base("llama-tiny"), AdamWConfig::default()).unwrap());
}

#[test]
fn gradients_of_an_adapter_are_those_of_pytorch() {
    let trainer = Trainer::adapter(base("llama-tiny"), &adapter("adapter-a"), AdamWConfig::default());
    check_gradients("adapter-a", &trainer);
}

/// The elements in two tensors, which share one gradient norm: matrices, which decay, or vectors, which do not.
fn parameters(initial: &[f32], matrices: bool) -> Vec<Parameter> {
    let part = |name: &str, data: &[f32]| {
        let shape = if matrices { vec![2, data.len() / 2] } else { vec![data.len()] };
        Parameter { name: name.into(), shape, data: data.to_vec() }
    };
    vec![part("first", &initial[..4]), part("second", &initial[4..])]
}

fn settings(golden: &Value, max_grad_norm: &Value) -> AdamWConfig {
    let s = &golden["settings"];
    AdamWConfig {
        beta1: s["betas"][0].as_f64().unwrap(),
        beta2: s["betas"][1].as_f64().unwrap(),
        eps: s["eps"].as_f64().unwrap(),
        weight_decay: s["weight_decay"].as_f64().unwrap(),
        max_grad_norm: max_grad_norm.as_f64().unwrap_or(f64::INFINITY),
    }
}

fn values(parameters: &[Parameter]) -> Vec<f32> {
    parameters.iter().flat_map(|p| p.data.clone()).collect()
}

#[test]
fn adamw_steps_are_those_of_torch_with_and_without_clipping() {
    let golden = json("adamw.json");
    let (initial, target) = (floats(&golden["initial"]), floats(&golden["target"]));
    let rate = golden["settings"]["lr"].as_f64().unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 2);
    for case in cases {
        let mut parameters = parameters(&initial, true);
        let mut optimiser = AdamW::new(settings(&golden, &case["max_grad_norm"]), [4, 2]);
        for step in case["steps"].as_array().unwrap() {
            let gradient: Vec<f32> = values(&parameters).iter().zip(&target).map(|(x, t)| x - t).collect();
            let norm = optimiser.update(&mut parameters, &[gradient[..4].to_vec(), gradient[4..].to_vec()], rate);
            assert!((norm - step["gradient_norm"].as_f64().unwrap()).abs() <= 1e-5, "norm before clipping is {norm}");
            let off = largest_difference(&values(&parameters), &floats(&step["parameters"]));
            assert!(off <= PARAMETER, "step {}, clipped to {}: off by {off}", optimiser.steps(), case["max_grad_norm"]);
        }
    }
}

#[test]
fn vectors_do_not_decay() {
    let golden = json("adamw.json");
    let initial = floats(&golden["initial"]);
    let run = |matrices: bool, weight_decay: f64| {
        let mut parameters = parameters(&initial, matrices);
        let config = AdamWConfig { weight_decay, ..settings(&golden, &Value::Null) };
        AdamW::new(config, [4, 2]).update(&mut parameters, &[vec![0.5; 4], vec![-0.5; 2]], 0.01);
        values(&parameters)
    };
    assert_eq!(run(false, 0.1), run(true, 0.0));
    assert_ne!(run(true, 0.1), run(true, 0.0));
}
