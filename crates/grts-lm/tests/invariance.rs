//! What a row says does not depend, to the bit, on what shares its batch, on threads, or on how its prompt was cut.

use grts_lm::Precision;
use grts_lm::config::ModelConfig;
use grts_lm::decode::{Context, Generated, GenerationConfig, Row};
use grts_lm::lora::{Adapter, LoraConfig};
use grts_lm::sampling::Sampling;
use grts_lm::train::{AdamWConfig, Trainer};
use grts_lm::weights::{Model, Parameter, layout};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::sync::Arc;

/// Large enough that few rows are shared between threads.
fn model(precision: Precision) -> Arc<Model> {
    let config: ModelConfig = serde_json::from_value(serde_json::json!({
        "model_type": "qwen3", "vocab_size": 700, "hidden_size": 200, "intermediate_size": 520, "num_hidden_layers": 3,
        "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 40, "max_position_embeddings": 900,
        "rms_norm_eps": 1e-5, "rope_theta": 1000.0, "tie_word_embeddings": false, "hidden_act": "silu",
    }))
    .unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut noise = || f64::from(rng.next_u32()) / f64::from(u32::MAX) - 0.5;
    let parameters = layout(&config).into_iter().map(|(name, shape)| {
        let centre = if shape.len() == 1 { 1.0 } else { 0.0 };
        let data = (0..shape.iter().product()).map(|_| (centre + 0.4 * noise()) as f32).collect();
        Parameter { name, shape, data }
    });
    Arc::new(Model::from_parameters_as(config.clone(), parameters.collect(), precision).unwrap())
}

fn adapter(model: &Arc<Model>, seed: u64) -> Arc<Adapter> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let fresh = Adapter::new(LoraConfig::all_linear(4, 8.0), model.config(), &mut rng).unwrap();
    let mut trainer = Trainer::adapter(Arc::clone(model), &fresh, AdamWConfig::default());
    let gradients: Vec<Vec<f32>> =
        trainer.parameters().iter().map(|p| (0..p.data.len()).map(|i| (i % 7) as f32 - 3.0).collect()).collect();
    trainer.apply(0.0, &gradients, 0.02).unwrap();
    Arc::new(trainer.to_adapter().unwrap())
}

/// Row `i`'s prompt: all begin alike, lengths differ, and one is longer than a pass.
fn prompt(i: usize) -> Vec<u32> {
    let length = if i == 3 { 600 } else { 5 + 7 * (i % 9) };
    (0..length).map(|t| ((if t < 5 { 0 } else { i * 131 } + t * 17 + 5) % 700) as u32).collect()
}

/// Rows `which` generated in one batch by `threads` threads.
fn batch(model: &Model, adapters: &[Arc<Adapter>], which: &[usize], threads: usize) -> Vec<Generated> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let config = GenerationConfig { sampling: Sampling::default(), max_tokens: 9, stop: vec![3] };
    let mut contexts: Vec<Context> = which.iter().map(|_| Context::new(model)).collect();
    let mut rows = Vec::new();
    for (context, &i) in contexts.iter_mut().zip(which) {
        context.extend(&prompt(i));
        rows.push(Row { context, adapter: adapters.get(i % 3), rng: ChaCha8Rng::seed_from_u64(i as u64) });
    }
    pool.install(|| model.generate(&mut rows, &config).unwrap())
}

#[test]
fn a_row_says_the_same_alone_and_in_any_company_on_any_number_of_threads() {
    for precision in [Precision::F32, Precision::Bf16] {
        let model = model(precision);
        let adapters = [adapter(&model, 2), adapter(&model, 3)];
        let all: Vec<usize> = (0..40).collect();
        let together = batch(&model, &adapters, &all, 2);
        assert!(together.iter().map(|said| &said.tokens).collect::<std::collections::HashSet<_>>().len() > 30);
        for threads in [1, 3] {
            assert_eq!(batch(&model, &adapters, &all, threads), together, "{precision:?}, {threads} threads");
        }
        for i in [0, 3, 17, 39] {
            for threads in [1, 2] {
                assert_eq!(batch(&model, &adapters, &[i], threads)[0], together[i], "{precision:?}, row {i}");
            }
        }
    }
}

#[test]
fn what_was_said_has_the_logprobs_of_reading_it_again() {
    for precision in [Precision::F32, Precision::Bf16] {
        let model = model(precision);
        let adapters = [adapter(&model, 2), adapter(&model, 3)];
        let rows: Vec<usize> = (0..12).collect();
        for (i, said) in batch(&model, &adapters, &rows, 2).into_iter().enumerate() {
            let text = [prompt(i), said.tokens.clone()].concat();
            let again = model.logprobs(&[(text.as_slice(), adapters.get(i % 3))]).unwrap().concat();
            assert_eq!(again[again.len() - said.tokens.len()..], said.logprobs, "{precision:?}, row {i}");
        }
    }
}
