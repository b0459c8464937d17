//! The decode path and the training path compute the same function, and the training path's gradients are those of
//! finite differences.

use grts_lm::config::ModelConfig;
use grts_lm::decode::{Context, GenerationConfig, Row};
use grts_lm::lora::{Adapter, LoraConfig};
use grts_lm::sampling::Sampling;
use grts_lm::train::{AdamWConfig, Objective, Sequence, Trainer};
use grts_lm::weights::{Model, Parameter, layout};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::sync::Arc;

const VOCAB: usize = 61;
/// More entries than the head goes through at once, and no multiple of them.
const LARGE_VOCAB: usize = 2311;

fn config(vocab: usize) -> ModelConfig {
    serde_json::from_value(serde_json::json!({
        "model_type": "llama", "vocab_size": vocab, "hidden_size": 20, "intermediate_size": 36, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "max_position_embeddings": 160,
        "rms_norm_eps": 1e-5, "rope_theta": 1000.0, "tie_word_embeddings": true, "hidden_act": "silu",
    }))
    .unwrap()
}

fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let mut unit = || (rng.next_u32() as f64 + 0.5) / (u32::MAX as f64 + 1.0);
    ((-2.0 * unit().ln()).sqrt() * (std::f64::consts::TAU * unit()).cos()) as f32
}

fn model(seed: u64) -> Arc<Model> {
    model_of(VOCAB, seed)
}

fn model_of(vocab: usize, seed: u64) -> Arc<Model> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let config = config(vocab);
    let parameters = layout(&config)
        .into_iter()
        .map(|(name, shape)| {
            let centre = if shape.len() == 1 { 1.0 } else { 0.0 };
            let data = (0..shape.iter().product()).map(|_| centre + 0.3 * normal(&mut rng)).collect();
            Parameter { name, shape, data }
        })
        .collect();
    Arc::new(Model::from_parameters(config, parameters).unwrap())
}

/// An adapter whose B is not zero: one step of training on noise.
fn adapter(model: &Arc<Model>, seed: u64, rank: usize) -> Arc<Adapter> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let fresh = Adapter::new(LoraConfig::all_linear(rank, 8.0), model.config(), &mut rng).unwrap();
    let mut trainer = Trainer::adapter(model.clone(), &fresh, AdamWConfig::default());
    let batch = [text(&mut rng, 30)];
    for _ in 0..3 {
        trainer.step(&batch, 0.05, |_, l| negative_log_likelihood(l)).unwrap();
    }
    Arc::new(trainer.to_adapter().unwrap())
}

fn text(rng: &mut ChaCha8Rng, n: usize) -> Sequence {
    text_of(VOCAB, rng, n)
}

fn text_of(vocab: usize, rng: &mut ChaCha8Rng, n: usize) -> Sequence {
    Sequence { tokens: (0..n).map(|_| rng.next_u32() % vocab as u32).collect(), scored: (1..n).collect() }
}

fn negative_log_likelihood(logprobs: &[f32]) -> Objective {
    Objective { loss: -logprobs.iter().map(|l| f64::from(*l)).sum::<f64>(), gradient: vec![-1.0; logprobs.len()] }
}

#[test]
fn both_paths_give_the_same_logprobs() {
    for vocab in [VOCAB, LARGE_VOCAB] {
        let model = model_of(vocab, 1);
        let adapter = adapter(&model, 2, 3);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let texts: Vec<Sequence> = [2, 7, 41, 64, 65, 150].map(|n| text_of(vocab, &mut rng, n)).to_vec();
        let trainer = Trainer::adapter(model.clone(), &adapter, AdamWConfig::default());
        let request: Vec<_> = texts.iter().map(|t| (t.tokens.as_slice(), Some(&adapter))).collect();
        let decoded = model.logprobs(&request).unwrap();
        trainer
            .gradients(&texts, |i, logprobs| {
                for (a, b) in logprobs.iter().zip(&decoded[i]) {
                    assert!((a - b).abs() < 2e-5, "{a} against {b}");
                }
                negative_log_likelihood(logprobs)
            })
            .unwrap();
    }
}

fn check_gradients(trainer: &Trainer, value: impl Fn(&[Parameter]) -> f64, batch: &[Sequence]) {
    let (_, gradients) = trainer.gradients(batch, |_, l| negative_log_likelihood(l)).unwrap();
    let start = trainer.parameters().to_vec();
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for (p, gradient) in gradients.iter().enumerate() {
        // A random direction tests every element of the tensor at once.
        let direction: Vec<f32> = gradient.iter().map(|_| normal(&mut rng)).collect();
        let shifted = |h: f32| {
            let mut moved = start.clone();
            moved[p].data.iter_mut().zip(&direction).for_each(|(x, d)| *x += h * d);
            value(&moved)
        };
        let h = 2e-3;
        let numeric = (shifted(h) - shifted(-h)) / (2.0 * f64::from(h));
        let analytic: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
        let scale = numeric.abs().max(1.0);
        assert!((numeric - analytic).abs() / scale < 2e-2, "{}: {numeric} against {analytic}", start[p].name);
    }
}

#[test]
fn gradients_of_every_weight_match_finite_differences() {
    for vocab in [VOCAB, LARGE_VOCAB] {
        let model = model_of(vocab, 4);
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let batch = [text_of(vocab, &mut rng, 150), text_of(vocab, &mut rng, 5)];
        let trainer = Trainer::full(model.clone(), AdamWConfig::default()).unwrap();
        let value = |p: &[Parameter]| {
            let moved = Arc::new(Model::from_parameters(model.config().clone(), p.to_vec()).unwrap());
            Trainer::full(moved, AdamWConfig::default())
                .unwrap()
                .gradients(&batch, |_, l| negative_log_likelihood(l))
                .unwrap()
                .0
        };
        check_gradients(&trainer, value, &batch);
    }
}

fn rows<'a>(contexts: &'a mut [Context], adapters: &'a [Option<Arc<Adapter>>]) -> Vec<Row<'a>> {
    let rows = contexts.iter_mut().zip(adapters).enumerate();
    rows.map(|(i, (context, a))| Row { context, adapter: a.as_ref(), rng: ChaCha8Rng::seed_from_u64(i as u64) })
        .collect()
}

#[test]
fn a_row_says_the_same_whatever_shares_its_batch_and_caches_survive_turns() {
    let model = model(6);
    let adapters: Vec<Option<Arc<Adapter>>> = vec![None, Some(adapter(&model, 7, 2)), Some(adapter(&model, 8, 4))];
    let generation = GenerationConfig {
        sampling: Sampling { temperature: 0.8, ..Sampling::default() },
        max_tokens: 6,
        stop: vec![0],
    };
    let mut rng = ChaCha8Rng::seed_from_u64(10);
    let prompts: Vec<Vec<u32>> = [5, 1, 9].iter().map(|n| text(&mut rng, *n).tokens).collect();
    let mut contexts: Vec<Context> = prompts.iter().map(|_| Context::new(&model)).collect();
    for turn in 0..3 {
        for (context, prompt) in contexts.iter_mut().zip(&prompts) {
            context.extend(prompt);
        }
        let before: Vec<Vec<u32>> = contexts.iter().map(|c| c.tokens().to_vec()).collect();
        let said = model.generate(&mut rows(&mut contexts, &adapters), &generation).unwrap();
        for i in 0..3 {
            // Alone, from an empty cache.
            let mut alone = Context::new(&model);
            alone.extend(&before[i]);
            let mut row =
                [Row { context: &mut alone, adapter: adapters[i].as_ref(), rng: ChaCha8Rng::seed_from_u64(i as u64) }];
            let reference = model.generate(&mut row, &generation).unwrap();
            assert_eq!(reference[0].tokens, said[i].tokens, "row {i} in turn {turn}");
            for (a, b) in reference[0].logprobs.iter().zip(&said[i].logprobs) {
                assert!((a - b).abs() < 1e-4);
            }
            assert!(contexts[i].cached() > before[i].len() - 1, "only new tokens are read in a later turn");
        }
    }
}

#[test]
fn a_training_goes_on_as_if_it_had_never_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("training.safetensors");
    let mut rng = ChaCha8Rng::seed_from_u64(14);
    let batches: Vec<[Sequence; 2]> = (0..4).map(|_| [text(&mut rng, 9), text(&mut rng, 6)]).collect();
    let likely = |_: usize, l: &[f32]| Objective { loss: 0.0, gradient: vec![-1.0; l.len()] };
    let mut whole = Trainer::full(model(15), AdamWConfig::default()).unwrap();
    batches.iter().for_each(|batch| _ = whole.step(batch, 0.01, likely).unwrap());
    let mut begun = Trainer::full(model(15), AdamWConfig::default()).unwrap();
    batches[..2].iter().for_each(|batch| _ = begun.step(batch, 0.01, likely).unwrap());
    begun.save(&path).unwrap();
    let mut resumed = Trainer::full(model(16), AdamWConfig::default()).unwrap();
    assert_eq!(resumed.resume(&path).unwrap(), 2);
    batches[2..].iter().for_each(|batch| _ = resumed.step(batch, 0.01, likely).unwrap());
    assert_eq!(resumed.parameters(), whole.parameters());

    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
    let error = resumed.resume(&path).unwrap_err().to_string();
    assert!(error.contains("not a complete safetensors file"), "{error}");
    assert_eq!(resumed.parameters(), whole.parameters());
}

#[test]
fn a_step_that_is_not_finite_leaves_the_parameters_alone() {
    let model = model(11);
    let mut trainer = Trainer::full(model.clone(), AdamWConfig::default()).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let batch = [text(&mut rng, 5)];
    let before = trainer.parameters().to_vec();
    let error =
        trainer.step(&batch, 0.1, |_, l| Objective { loss: f64::NAN, gradient: vec![0.0; l.len()] }).unwrap_err();
    assert_eq!(error.to_string(), "loss is not finite at optimiser step 0");
    let error =
        trainer.step(&batch, 0.1, |_, l| Objective { loss: 0.0, gradient: vec![f32::INFINITY; l.len()] }).unwrap_err();
    assert!(error.to_string().starts_with("gradient of `model."), "{error}");
    assert_eq!(before, trainer.parameters());
}

#[test]
fn steps_of_one_over_n_towards_adapters_end_at_their_mean() {
    let model = model(11);
    let adapters: Vec<Arc<Adapter>> = (0..5).map(|seed| adapter(&model, seed, 3)).collect();
    let start = (*adapters[0]).clone();
    let mean =
        adapters.iter().enumerate().skip(1).fold(start, |mean, (n, next)| mean.towards(next, 1.0 / (n + 1) as f32));
    let all: Vec<Vec<Parameter>> = adapters.iter().map(|a| a.parameters(model.config())).collect();
    for (p, parameter) in mean.parameters(model.config()).iter().enumerate() {
        for (i, value) in parameter.data.iter().enumerate() {
            let exact = all.iter().map(|a| f64::from(a[p].data[i])).sum::<f64>() / all.len() as f64;
            let size = all.iter().map(|a| a[p].data[i].abs()).fold(0.0, f32::max);
            assert!(
                (f64::from(*value) - exact).abs() <= 4e-7 * f64::from(size),
                "{}: {value} for {exact}",
                parameter.name
            );
        }
    }
}

/// What the weights lack to 1 is the base's: it has no B, and any A.
#[test]
fn a_mean_by_weight_leaves_the_base_its_share() {
    let model = model(11);
    let adapters: Vec<Arc<Adapter>> = (0..3).map(|seed| adapter(&model, seed, 3)).collect();
    let weights = [0.5, 0.125, 0.25];
    let mean = Adapter::mean(adapters.iter().map(AsRef::as_ref).zip(weights)).unwrap().unwrap();
    let all: Vec<Vec<Parameter>> = adapters.iter().map(|a| a.parameters(model.config())).collect();
    let total: f64 = weights.iter().sum();
    for (p, parameter) in mean.parameters(model.config()).iter().enumerate() {
        let divisor = if parameter.name.contains("lora_A") { total } else { 1.0 };
        for (i, value) in parameter.data.iter().enumerate() {
            let sum: f64 = all.iter().zip(weights).map(|(a, weight)| weight * f64::from(a[p].data[i])).sum();
            let size = all.iter().map(|a| a[p].data[i].abs()).fold(0.0, f32::max);
            let error = (f64::from(*value) - sum / divisor).abs();
            assert!(error <= 4e-7 * f64::from(size), "{}: {value} for {}", parameter.name, sum / divisor);
        }
    }
    let alone = Adapter::mean([(adapters[0].as_ref(), 1.0)]).unwrap().unwrap();
    assert_eq!(alone, *adapters[0]);
    assert_eq!(Adapter::mean([]).unwrap(), None);
    let other = adapter(&model, 4, 5);
    let refused = Adapter::mean([(adapters[0].as_ref(), 0.5), (other.as_ref(), 0.5)]).unwrap_err();
    assert_eq!(refused.to_string(), "adapters of different shapes have no mean");
}
