//! Pre-trains the base of the built-in world: tokenizer, weights, chat template, and a report of what it does.
//!
//! Every dialogue is drawn once from the generator by a keyed stream, so that there is no epoch to overfit and the
//! same command gives the same bytes on the same machine, also if it was stopped and repeated.

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use grts::world::{MERIDIAN_SEED, Role as Speaker, View, World};
use grts_game::stream::{StreamKey, unit};
use grts_lm::config::ModelConfig;
use grts_lm::text::{Message, Role, Text};
use grts_lm::train::{AdamWConfig, Objective, Sequence, Trainer};
use grts_lm::weights::{Model, Parameter, layout};
use rand_core::Rng;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

#[derive(Args, Debug)]
pub struct Settings {
    /// Where the Hugging Face directory is written.
    #[arg(long, default_value = "assets/meridian/base")]
    out: PathBuf,
    /// Seed of the world's tables and of the training.
    #[arg(long, default_value_t = MERIDIAN_SEED)]
    seed: u64,
    /// Optimiser steps.
    #[arg(long, default_value_t = 4000)]
    steps: usize,
    /// Dialogues a step.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Width of the residual stream.
    #[arg(long, default_value_t = 96)]
    hidden_size: usize,
    /// Width of the feed-forward layers.
    #[arg(long, default_value_t = 256)]
    intermediate_size: usize,
    /// Decoder layers.
    #[arg(long, default_value_t = 4)]
    layers: usize,
    /// Tokens of the vocabulary.
    #[arg(long, default_value_t = 1024)]
    vocab_size: usize,
    /// Peak learning rate (linear warm-up over 5 %, cosine decay to a twentieth).
    #[arg(long, default_value_t = 5e-3)]
    learning_rate: f64,
    /// Decoupled weight decay.
    #[arg(long, default_value_t = 0.1)]
    weight_decay: f64,
}

const SPECIAL: [&str; 6] = ["<|pad|>", "<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"];
const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>\
{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

/// Steps after which a training that is stopped goes on.
const SAVED: usize = 100;

/// Purposes of the streams drawn here.
const INITIAL_WEIGHTS: u32 = 1;
const TOKENIZER_TEXT: u32 = 2;
const TRAINING_TEXT: u32 = 3;

fn stream(settings: &Settings, purpose: u32, entry: u64) -> StreamKey {
    StreamKey { seed: settings.seed, iteration: 0, purpose, entry, episode: 0, turn: 0 }
}

pub fn run(settings: &Settings) -> Result<()> {
    let world = World::meridian(settings.seed);
    std::fs::create_dir_all(&settings.out).with_context(|| format!("cannot create `{}`", settings.out.display()))?;
    write_text_files(settings, &world)?;
    let text = Text::load(&settings.out, settings.vocab_size)?;
    let model = Arc::new(initial_model(settings)?);
    eprintln!("{} parameters, {} steps of {} dialogues", model.num_parameters(), settings.steps, settings.batch);
    let mut trainer =
        Trainer::full(model, AdamWConfig { weight_decay: settings.weight_decay, ..AdamWConfig::default() })?;
    let [unfinished, begun_with] = ["training.safetensors", "training.txt"].map(|name| settings.out.join(name));
    let first = if unfinished.is_file() { go_on(&mut trainer, &unfinished, &begun_with, settings)? } else { 0 };
    std::fs::write(&begun_with, format!("{settings:?}"))
        .with_context(|| format!("cannot write `{}`", begun_with.display()))?;
    let (start, mut tokens, mut running) = (Instant::now(), 0, f64::NAN);
    for step in first..settings.steps {
        let batch = (0..settings.batch)
            .map(|i| training_sequence(&world, &text, settings, (step * settings.batch + i) as u64))
            .collect::<Result<Vec<_>>>()?;
        let scored: usize = batch.iter().map(|s| s.scored.len()).sum();
        tokens += batch.iter().map(|s| s.tokens.len()).sum::<usize>();
        let weight = 1.0 / scored as f32;
        let report = trainer.step(&batch, rate(settings, step), |_, logprobs| Objective {
            loss: -logprobs.iter().map(|l| f64::from(*l)).sum::<f64>() / scored as f64,
            gradient: vec![-weight; logprobs.len()],
        })?;
        running = if running.is_nan() { report.loss } else { 0.95 * running + 0.05 * report.loss };
        if (step + 1) % 50 == 0 || step + 1 == settings.steps {
            let elapsed = start.elapsed().as_secs_f64();
            let left = elapsed / (step + 1 - first) as f64 * (settings.steps - step - 1) as f64;
            eprintln!(
                "step {:5}  loss {running:.4}  {:.0} tokens/s  {left:.0} s left",
                step + 1,
                tokens as f64 / elapsed
            );
        }
        if (step + 1) % SAVED == 0 && step + 1 < settings.steps {
            trainer.save(&unfinished)?;
        }
    }
    trainer.to_model()?.save(&settings.out)?;
    for path in [unfinished, begun_with].iter().filter(|path| path.is_file()) {
        std::fs::remove_file(path).with_context(|| format!("cannot remove `{}`", path.display()))?;
    }
    Ok(())
}

/// Steps that an unfinished training of the same settings had taken.
fn go_on(trainer: &mut Trainer, unfinished: &Path, begun_with: &Path, settings: &Settings) -> Result<usize> {
    let known = std::fs::read_to_string(begun_with).unwrap_or_default();
    if known != format!("{settings:?}") {
        bail!("`{}` was begun with other settings: {known}; remove it, or repeat them", unfinished.display());
    }
    let first = trainer.resume(unfinished)? as usize;
    eprintln!("goes on after step {first}");
    Ok(first)
}

fn rate(settings: &Settings, step: usize) -> f64 {
    let warm = (settings.steps / 20).max(1);
    let progress = step as f64 / settings.steps as f64;
    let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
    settings.learning_rate * ((step + 1) as f64 / warm as f64).min(1.0) * (0.05 + 0.95 * cosine)
}

/// The dialogue as its learner sees it: what others say is `user`, what it says itself is `assistant`.
fn as_chat(dialogue: &grts::world::Dialogue) -> Vec<Message> {
    let own = dialogue.view.learnt();
    let role = |speaker: Speaker| match speaker {
        speaker if speaker == own => Role::Assistant,
        _ => Role::User,
    };
    dialogue.messages.iter().map(|m| Message { role: role(m.role), content: m.content.clone() }).collect()
}

fn training_sequence(world: &World, text: &Text, settings: &Settings, index: u64) -> Result<Sequence> {
    let mut rng = stream(settings, TRAINING_TEXT, index).rng();
    let dialogue = world.pretraining_dialogue(&mut rng);
    // An attacker's dialogue ends with the office's last reply, from which nothing is learnt.
    let mut messages = as_chat(&dialogue);
    if dialogue.view != View::Office {
        messages.pop();
    }
    let tokens = text.encode_chat(&messages, false)?;
    let (assistant, end) = (special(text, "<|assistant|>")?, special(text, "<|end|>")?);
    let mut speaking = false;
    let mut scored = Vec::new();
    for (i, &token) in tokens.iter().enumerate() {
        if speaking {
            scored.push(i);
        }
        speaking = (speaking || token == assistant) && token != end;
    }
    Ok(Sequence { tokens, scored })
}

fn special(text: &Text, token: &str) -> Result<u32> {
    text.token_id(token).ok_or_else(|| anyhow!("the tokenizer has no `{token}`"))
}

/// Normal weights with deviation 0.04, in output projections divided by √(2 · layers); norms at 1.
fn initial_model(settings: &Settings) -> Result<Model> {
    let config: ModelConfig = serde_json::from_value(serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": settings.vocab_size,
        "hidden_size": settings.hidden_size, "intermediate_size": settings.intermediate_size,
        "num_hidden_layers": settings.layers, "num_attention_heads": settings.hidden_size / 32,
        "num_key_value_heads": settings.hidden_size / 32, "head_dim": 32, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "hidden_act": "silu",
        "attention_bias": false, "mlp_bias": false, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
        "dtype": "float32",
    }))?;
    let parameters = layout(&config).into_iter().enumerate().map(|(i, (name, shape))| {
        let mut rng = stream(settings, INITIAL_WEIGHTS, i as u64).rng();
        let output = name.contains("o_proj") || name.contains("down_proj");
        let deviation = if output { 0.04 / (2.0 * settings.layers as f64).sqrt() } else { 0.04 };
        let n = shape.iter().product();
        let data = if shape.len() == 1 {
            vec![1.0; n]
        } else {
            (0..n).map(|_| (deviation * normal(&mut rng)) as f32).collect()
        };
        Parameter { name, shape, data }
    });
    Ok(Model::from_parameters(config.clone(), parameters.collect())?)
}

fn normal(rng: &mut impl Rng) -> f64 {
    let (u, v) = (1.0 - unit(rng), unit(rng));
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// `tokenizer.json` (byte-level BPE trained on the generator's own text) and the small files around it.
fn write_text_files(settings: &Settings, world: &World) -> Result<()> {
    let lines: Vec<String> = (0..20_000)
        .flat_map(|i| {
            let dialogue = world.pretraining_dialogue(&mut stream(settings, TOKENIZER_TEXT, i).rng());
            dialogue.messages.into_iter().map(|m| m.content)
        })
        .collect();
    let mut tokenizer = Tokenizer::new(BPE::default());
    let byte_level = ByteLevel::new(false, true, true);
    tokenizer.with_pre_tokenizer(Some(byte_level)).with_decoder(Some(byte_level));
    let trainer = BpeTrainer::builder()
        .vocab_size(settings.vocab_size)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(SPECIAL.iter().map(|s| AddedToken::from(*s, true)).collect())
        .build();
    let train = tokenizer.train(&mut TrainerWrapper::from(trainer), lines.iter());
    train.map_err(|e| anyhow!("tokenizer: {e}"))?;
    let path = settings.out.join("tokenizer.json");
    tokenizer.save(&path, true).map_err(|e| anyhow!("cannot write `{}`: {e}", path.display()))?;
    write_json(
        &settings.out,
        "tokenizer_config.json",
        &serde_json::json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|bos|>", "eos_token": "<|end|>",
            "pad_token": "<|pad|>", "clean_up_tokenization_spaces": false, "model_max_length": 512,
            "chat_template": TEMPLATE,
        }),
    )?;
    write_json(
        &settings.out,
        "generation_config.json",
        &serde_json::json!({
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "do_sample": true, "temperature": 1.0,
        }),
    )
}

fn write_json(directory: &Path, name: &str, value: &serde_json::Value) -> Result<()> {
    let path = directory.join(name);
    std::fs::write(&path, format!("{value:#}\n")).with_context(|| format!("cannot write `{}`", path.display()))
}
