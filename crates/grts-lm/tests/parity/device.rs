//! The device path, on candle's CPU device: against the same fixtures, and against the kernels of this crate.

use crate::families::{CASES, TOLERANCE, check_adapters, expected, greedy, ids, path};
use crate::{fixture, largest_difference, tensors};
use grts_lm::decode::{Context, Generated, GenerationConfig, Row};
use grts_lm::lora::{Adapter, LoraConfig};
use grts_lm::sampling::Sampling;
use grts_lm::train::{AdamWConfig, Objective, Sequence, Trainer};
use grts_lm::weights::Model;
use grts_lm::{Device, Precision};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::sync::Arc;

fn load(case: &str, precision: Precision, device: Device) -> Arc<Model> {
    Arc::new(Model::load_as(&fixture(&path(case)), precision).unwrap().on(device).unwrap())
}

fn reference(case: &str) -> Arc<Model> {
    load(case, Precision::F32, Device::Reference)
}

#[test]
fn logits_and_greedy_text_of_every_family_are_those_of_transformers() {
    for case in CASES {
        let (model, expected) = (reference(case), expected(case));
        let golden = tensors(&format!("{}/expected.safetensors", path(case)));
        for i in 0..2 {
            let tokens = ids(&expected["sequences"][i]);
            let off = largest_difference(&model.logits(&tokens, None).unwrap(), &golden[&format!("logits.{i}")].1);
            assert!(off <= TOLERANCE, "{case}, sequence {i}: off by {off}");
        }
        let want = ids(&expected["greedy"]);
        assert_eq!(greedy(&model, &ids(&expected["prompt"]), want.len()), want, "{case}");
    }
}

#[test]
fn adapters_of_every_family_are_those_of_peft_and_so_are_their_gradients() {
    check_adapters(reference);
}

/// The base and two adapters of different ranks, changed so that they matter.
fn voices(model: &Arc<Model>) -> Vec<Option<Arc<Adapter>>> {
    let kinds = [LoraConfig::all_linear(3, 6.0), LoraConfig::all_linear(2, 8.0)];
    let trained = kinds.into_iter().zip(1..).map(|(config, seed)| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let fresh = Adapter::new(config, model.config(), &mut rng).unwrap();
        let mut trainer = Trainer::adapter(Arc::clone(model), &fresh, AdamWConfig::default());
        let noise = |p: &grts_lm::weights::Parameter| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed + p.data.len() as u64);
            p.data.iter().map(|_| (rng.next_u32() % 1000) as f32 - 500.0).collect()
        };
        let gradients: Vec<Vec<f32>> = trainer.parameters().iter().map(noise).collect();
        trainer.apply(0.0, &gradients, 0.1).unwrap();
        Some(Arc::new(trainer.to_adapter().unwrap()))
    });
    std::iter::once(None).chain(trained).collect()
}

/// Three turns of seven ragged texts that speak through different adapters, and what was said in them.
fn dialogues(model: &Model, voices: &[Option<Arc<Adapter>>]) -> Vec<Vec<Generated>> {
    let config = GenerationConfig { sampling: Sampling::default(), max_tokens: 5, stop: vec![3] };
    let mut contexts: Vec<Context> = (0..7).map(|_| Context::new(model)).collect();
    let turns = (0..3u32).map(|turn| {
        let heard = |i: u32| (0..1 + (5 * i + turn) % 4).map(|t| (7 * i + 3 * turn + t) % 64).collect::<Vec<u32>>();
        let mut rows = Vec::new();
        for (i, context) in contexts.iter_mut().enumerate() {
            context.extend(&heard(i as u32));
            let rng = ChaCha8Rng::seed_from_u64(100 * u64::from(turn) + i as u64);
            rows.push(Row { context, adapter: voices[i % voices.len()].as_ref(), rng });
        }
        model.generate(&mut rows, &config).unwrap()
    });
    turns.collect()
}

#[test]
fn dialogues_of_mixed_adapters_are_those_of_the_kernels() {
    for case in CASES {
        let host = load(case, Precision::F32, Device::Cpu);
        let voices = voices(&host);
        let (want, got) = (dialogues(&host, &voices), dialogues(&reference(case), &voices));
        for (want, got) in want.iter().flatten().zip(got.iter().flatten()) {
            assert_eq!((&got.tokens, got.finished), (&want.tokens, want.finished), "{case}");
            let off = largest_difference(&got.logprobs, &want.logprobs);
            assert!(off <= TOLERANCE, "{case}: off by {off}");
        }
    }
}

#[test]
fn logprobs_and_hidden_states_of_mixed_batches_are_those_of_the_kernels() {
    for case in ["llama3", "gemma3", "gpt-neox", "gpt2"] {
        let (host, device) = (load(case, Precision::F32, Device::Cpu), reference(case));
        let voices = voices(&host);
        let texts: Vec<Vec<u32>> = (0..7).map(|i| (0..3 * i).map(|t| (11 * i + 5 * t) % 64).collect()).collect();
        let asked: Vec<_> = texts.iter().enumerate().map(|(i, t)| (t.as_slice(), voices[i % 3].as_ref())).collect();
        let slices: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let pairs = [
            (host.logprobs(&asked).unwrap(), device.logprobs(&asked).unwrap()),
            (host.hidden_states(&slices).unwrap(), device.hidden_states(&slices).unwrap()),
        ];
        for (want, got) in pairs {
            for (want, got) in want.iter().zip(&got) {
                assert!(largest_difference(got, want) <= TOLERANCE, "{case}");
            }
        }
    }
}

/// Ragged sequences, some of which score nothing, and an objective that differs by sequence.
#[test]
fn gradients_of_ragged_batches_are_those_of_the_kernels() {
    let sequence = |(length, scored): (u32, Vec<usize>)| Sequence {
        tokens: (0..length).map(|t| (13 * length + 7 * t) % 64).collect(),
        scored,
    };
    let batch: Vec<Sequence> =
        [(9, vec![1, 4, 8]), (2, vec![1]), (5, vec![]), (12, (1..12).collect())].map(sequence).into();
    let objective = |i: usize, logprobs: &[f32]| {
        let weight = |t: usize| 0.3 * (i as f32 + 1.0) - 0.2 * t as f32;
        let loss = logprobs.iter().enumerate().map(|(t, l)| f64::from(weight(t) * l)).sum();
        Objective { loss, gradient: (0..logprobs.len()).map(weight).collect() }
    };
    for case in ["qwen3", "gemma2", "gpt-neox", "phi3", "gpt2"] {
        let (host, device) = (load(case, Precision::F32, Device::Cpu), reference(case));
        let adapter = voices(&host)[1].clone().unwrap();
        let trainer = |model: &Arc<Model>| Trainer::adapter(Arc::clone(model), &adapter, AdamWConfig::default());
        let (want_loss, want) = trainer(&host).gradients(&batch, objective).unwrap();
        // The second budget puts every sequence in a shard of its own, one of them without a scored token.
        for (checkpointing, budget) in [(false, 4096), (true, 4096), (false, 1)] {
            let trainer = trainer(&device).with_checkpointing(checkpointing).with_token_budget(budget);
            let (loss, got) = trainer.gradients(&batch, objective).unwrap();
            assert!((loss - want_loss).abs() <= 1e-4, "{case}: {loss} against {want_loss}");
            for (p, (got, want)) in trainer.parameters().iter().zip(got.iter().zip(&want)) {
                let largest = want.iter().fold(0.0, |m: f32, x| m.max(x.abs()));
                let off = largest_difference(got, want) / largest;
                assert!(off <= TOLERANCE, "{case}, `{}`: off by {off} of the largest", p.name);
            }
        }
    }
}

/// In bf16 both round, at different places: near each other, and not equal to f32.
#[test]
fn bf16_is_near_the_kernels() {
    for case in CASES {
        let tokens = ids(&expected(case)["sequences"][0]);
        let logits = |precision, device| load(case, precision, device).logits(&tokens, None).unwrap();
        let exact = logits(Precision::F32, Device::Cpu);
        let got = logits(Precision::Bf16, Device::Reference);
        let size = |x: &[f32]| (x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32).sqrt();
        let apart = |a: &[f32], b: &[f32]| {
            let difference: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
            size(&difference) / size(&exact)
        };
        let off = apart(&got, &exact);
        assert!(off > 0.0 && off < 0.05, "{case}: off by {off} of the logits' size");
        let kernels = apart(&logits(Precision::Bf16, Device::Cpu), &exact);
        assert!(off < 4.0 * kernels, "{case}: off by {off}, the kernels by {kernels}");
    }
}

#[test]
fn requests_that_the_kernels_refuse_are_refused() {
    let model = reference("llama3");
    let config = GenerationConfig { sampling: Sampling::GREEDY, max_tokens: 2, stop: Vec::new() };
    let mut context = Context::new(&model);
    let rng = ChaCha8Rng::seed_from_u64(0);
    let error = model.generate(&mut [Row { context: &mut context, adapter: None, rng }], &config).unwrap_err();
    assert_eq!(error.to_string(), "a row has no token to read");
    let error = model.logits(&[64], None).unwrap_err();
    assert_eq!(error.to_string(), "token id 64 is outside the vocabulary of 64");
    let error = Trainer::full(model, AdamWConfig::default()).err().unwrap();
    assert_eq!(error.to_string(), "all weights are trained with `--device cpu` only");
}

/// A device that is not there is an error, in a build with CUDA and without.
#[test]
fn a_device_that_does_not_exist_is_refused() {
    let model = Model::load(&fixture(&path("llama3"))).unwrap();
    let error = model.on(Device::Cuda(99)).err().unwrap().to_string();
    assert!(error.starts_with("device `cuda:99`: "), "{error}");
}
