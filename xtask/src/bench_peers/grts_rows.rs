//! What grts does in its own process: one function a row, each of which prints samples as the Python scripts do.
//!
//! The first sample of a row is the one that others are compared with.

use super::job::{Job, Row};
use super::models::{PLAYERS, fresh_adapter, stored_adapter};
use super::sample::{Sample, median, own_memory};
use anyhow::{Context as _, Result};
use grts::world::{MERIDIAN_SEED, World};
use grts_game::stream::StreamKey;
use grts_lm::Precision;
use grts_lm::bert::SentenceEncoder;
use grts_lm::decode::{Context, GenerationConfig, Row as Speaker};
use grts_lm::lora::Adapter;
use grts_lm::sampling::Sampling;
use grts_lm::train::{AdamWConfig, Objective, Sequence, Trainer};
use grts_lm::weights::Model;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// First tokens of row 0 that are compared between peers.
const SAID: usize = 8;
/// Adapters in the mixed batch.
const MIXED: usize = 8;
/// Times that both sides speak in a dialogue.
const TURNS: usize = 3;
const LEARNING_RATE: f64 = 1e-4;

/// Measures `job` and prints its samples.
pub fn run(job: &Job, models: &Path) -> Result<()> {
    let base = || Base::load(models, job);
    match job.row {
        Row::DecodeTiny | Row::DecodeHalf => decode(job, &base()?),
        Row::Train => train(job, &base()?),
        Row::Checkpointing => checkpointing(job, &base()?),
        Row::Adapters => adapters(job, &base()?),
        Row::Dialogues => dialogues(job, &base()?, models),
        Row::Memory => memory(job, &base()?),
        Row::Embedder => embedder(job, &models.join(job.model)),
    }
}

/// The model of a job.
struct Base {
    model: Arc<Model>,
    precision: &'static str,
}

impl Base {
    fn load(models: &Path, job: &Job) -> Result<Self> {
        let precision = if job.precision == "bf16" { Precision::Bf16 } else { Precision::F32 };
        let model = Model::load_as(&models.join(job.model), precision)?;
        Ok(Self { model: Arc::new(model), precision: job.precision })
    }

    fn sample(&self, job: &Job, b: usize) -> Sample {
        Sample { b, precision: self.precision.to_owned(), ..sample(job) }
    }
}

fn sample(job: &Job) -> Sample {
    Sample { peer: "grts".into(), row: job.name.into(), ..Sample::default() }
}

fn emit(sample: &Sample) -> Result<()> {
    println!("{}", serde_json::to_string(sample).context("a sample is plain data")?);
    Ok(())
}

/// Tokens of the prompt of `row`; the same formula stands in `measuring.py`.
fn prompt(row: usize, length: usize, vocab: usize) -> Vec<u32> {
    (0..length).map(|i| ((row * 31 + i * 7 + 3) % vocab) as u32).collect()
}

fn prompted(model: &Model, row: usize, length: usize) -> Context {
    let mut context = Context::new(model);
    context.extend(&prompt(row, length, model.config().vocab_size()));
    context
}

/// Adds `new` greedy tokens to every context; `adapter(i)` speaks in row `i`.
fn speak<'a>(
    model: &Model,
    contexts: &mut [Context],
    adapter: impl Fn(usize) -> Option<&'a Arc<Adapter>>,
    new: usize,
) -> Result<()> {
    let rng = StreamKey { seed: 1, iteration: 0, purpose: 0, entry: 0, episode: 0, turn: 0 }.rng();
    let row = |(i, context)| Speaker { context, adapter: adapter(i), rng: rng.clone() };
    let mut rows: Vec<Speaker<'_>> = contexts.iter_mut().enumerate().map(row).collect();
    let config = GenerationConfig { sampling: Sampling::GREEDY, max_tokens: new, stop: Vec::new() };
    model.generate(&mut rows, &config)?;
    Ok(())
}

/// Seconds for `new` tokens a row after the prompt was read and the first token chosen, and what row 0 said.
fn decoding<'a>(
    job: &Job,
    model: &Model,
    b: usize,
    adapter: impl Fn(usize) -> Option<&'a Arc<Adapter>> + Copy,
) -> Result<(f64, Vec<u32>)> {
    let mut seconds = 0.0;
    let mut said = Vec::new();
    for new in [4, job.new] {
        let mut contexts: Vec<Context> = (0..b).map(|row| prompted(model, row, job.prompt)).collect();
        speak(model, &mut contexts, adapter, 1)?;
        let start = Instant::now();
        speak(model, &mut contexts, adapter, new)?;
        seconds = start.elapsed().as_secs_f64();
        said = contexts[0].tokens()[job.prompt..].iter().copied().take(SAID).collect();
    }
    Ok((seconds, said))
}

fn decode(job: &Job, base: &Base) -> Result<()> {
    for &b in job.batches {
        let (seconds, said) = decoding(job, &base.model, b, |_| None)?;
        let rate = (b * job.new) as f64 / seconds;
        let weights = Some(base.model.num_parameters());
        emit(&Sample { tokens_per_s: Some(rate), weights, said, ..base.sample(job, b) })?;
    }
    Ok(())
}

/// Forward, backward, clipping and AdamW; every token but the first is scored.
fn train(job: &Job, base: &Base) -> Result<()> {
    for &b in job.batches {
        let mut trainer = trainer(job, base)?;
        let seconds = steps(job, base, &mut trainer, b)?;
        emit(&Sample { seconds, peak_bytes: own_memory("VmHWM"), ..base.sample(job, b) })?;
    }
    Ok(())
}

/// The smaller peak first: a process only knows its largest so far.
fn checkpointing(job: &Job, base: &Base) -> Result<()> {
    for &b in job.batches {
        let mut samples = Vec::new();
        for (on, variant) in [(true, "checkpointing"), (false, "")] {
            let mut trainer = trainer(job, base)?.with_checkpointing(on);
            let seconds = steps(job, base, &mut trainer, b)?;
            let peak_bytes = own_memory("VmHWM");
            samples.push(Sample { variant: variant.into(), seconds, peak_bytes, ..base.sample(job, b) });
        }
        samples.iter().rev().try_for_each(emit)?;
    }
    Ok(())
}

fn trainer(job: &Job, base: &Base) -> Result<Trainer> {
    let model = &base.model;
    Ok(if job.model == "tiny" {
        Trainer::full(Arc::clone(model), AdamWConfig::default())?
    } else {
        Trainer::adapter(Arc::clone(model), &fresh_adapter(model.config(), 0)?, AdamWConfig::default())
    })
}

/// Median seconds of a step on `b` sequences, after one that warms up.
fn steps(job: &Job, base: &Base, trainer: &mut Trainer, b: usize) -> Result<Option<f64>> {
    let vocab = base.model.config().vocab_size();
    let sequence = |row| Sequence { tokens: prompt(row, job.prompt, vocab), scored: (1..job.prompt).collect() };
    let batch: Vec<Sequence> = (0..b).map(sequence).collect();
    let scored = (b * (job.prompt - 1)) as f64;
    let mut times = Vec::new();
    for _ in 0..=job.steps {
        let start = Instant::now();
        trainer.step(&batch, LEARNING_RATE, |_, logprobs| Objective {
            loss: -logprobs.iter().map(|l| f64::from(*l)).sum::<f64>() / scored,
            gradient: vec![(-1.0 / scored) as f32; logprobs.len()],
        })?;
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(median(&times[1..]))
}

fn adapters(job: &Job, base: &Base) -> Result<()> {
    let adapters: Vec<Arc<Adapter>> =
        (0..MIXED).map(|i| Ok(Arc::new(fresh_adapter(base.model.config(), i)?))).collect::<Result<_>>()?;
    for &b in job.batches {
        let share = b / MIXED;
        let mixed = decoding(job, &base.model, b, |row| adapters.get(row / share))?.0;
        let plain = decoding(job, &base.model, b, |_| None)?.0;
        let mut one_by_one = 0.0;
        for adapter in &adapters {
            one_by_one += decoding(job, &base.model, share, |_| Some(adapter))?.0;
        }
        let figures =
            [("8 adapters, one batch", mixed), ("base, one batch", plain), ("8 adapters, one by one", one_by_one)];
        for (variant, seconds) in figures {
            let tokens_per_s = Some((b * job.new) as f64 / seconds);
            emit(&Sample { variant: variant.into(), tokens_per_s, ..base.sample(job, b) })?;
        }
    }
    Ok(())
}

/// Every red adapter against every blue one, all pairings in one batch; both sides keep their caches between turns.
fn dialogues(job: &Job, base: &Base, models: &Path) -> Result<()> {
    let model = &base.model;
    let side = |name| (0..PLAYERS).map(|i| stored_adapter(models, name, i, model.config())).collect::<Result<Vec<_>>>();
    let sides = [side("red")?, side("blue")?];
    let start = Instant::now();
    let red = play(job, model, &sides)?;
    let seconds = start.elapsed().as_secs_f64();
    let said = red[0].tokens()[job.prompt..].iter().copied().take(SAID).collect();
    let spoken = 2 * TURNS * PLAYERS * PLAYERS * job.new;
    let rate = Some(spoken as f64 / seconds);
    let b = PLAYERS * PLAYERS;
    emit(&Sample { seconds: Some(seconds), tokens_per_s: rate, said, ..base.sample(job, b) })
}

/// Plays all pairings and returns red's texts. Rows lie in the order of their speakers' adapters: red's are red-major,
/// blue's blue-major, so row `i · 8 + j` of one side belongs to row `j · 8 + i` of the other.
fn play(job: &Job, model: &Model, sides: &[Vec<Arc<Adapter>>; 2]) -> Result<Vec<Context>> {
    let other = |row: usize| row % PLAYERS * PLAYERS + row / PLAYERS;
    let rows = 0..PLAYERS * PLAYERS;
    let mut texts = [
        rows.clone().map(|row| prompted(model, row, job.prompt)).collect::<Vec<_>>(),
        rows.clone().map(|row| prompted(model, other(row), job.prompt)).collect(),
    ];
    for _ in 0..TURNS {
        for (speaker, listener) in [(0, 1), (1, 0)] {
            speak(model, &mut texts[speaker], |row| sides[speaker].get(row / PLAYERS), job.new)?;
            for row in rows.clone() {
                let tokens = texts[speaker][row].tokens();
                let said = tokens[tokens.len() - job.new..].to_vec();
                texts[listener][other(row)].extend(&said);
            }
        }
    }
    let [red, _] = texts;
    Ok(red)
}

/// Vectors of utterances and of whole dialogues, mixed; texts and vectors are left beside the model for the peer.
fn embedder(job: &Job, directory: &Path) -> Result<()> {
    let encoder = SentenceEncoder::load(directory)?;
    for &count in job.batches {
        let texts = texts(count);
        let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut times = Vec::new();
        let mut vectors = Vec::new();
        for _ in 0..=job.steps {
            let start = Instant::now();
            vectors = encoder.embed(&borrowed)?;
            times.push(start.elapsed().as_secs_f64());
        }
        for (name, value) in
            [("texts.json", serde_json::to_string(&texts)?), ("vectors.json", serde_json::to_string(&vectors)?)]
        {
            std::fs::write(directory.join(name), value).with_context(|| format!("cannot write `{name}`"))?;
        }
        let seconds = median(&times[1..]);
        emit(&Sample { b: count, precision: "f32".to_owned(), seconds, ..sample(job) })?;
    }
    Ok(())
}

/// Utterances of the built-in world; every fourth text is several of them.
fn texts(count: usize) -> Vec<String> {
    let cases = World::meridian(MERIDIAN_SEED).grid(8, 1);
    let said: Vec<String> = cases.into_iter().flat_map(|case| case.user_turns).collect();
    let text = |i: usize| said.iter().cycle().skip(7 * i).take(if i % 4 == 3 { 2 + i / 4 % 9 } else { 1 });
    (0..count).map(|i| text(i).map(String::as_str).collect::<Vec<_>>().join(" ")).collect()
}

/// Resident set with the base alone and with adapters beside it; nothing is computed.
fn memory(job: &Job, base: &Base) -> Result<()> {
    for &count in job.batches {
        let alone = own_memory("VmRSS");
        let adapters: Vec<Adapter> =
            (0..count).map(|i| fresh_adapter(base.model.config(), i)).collect::<Result<_>>()?;
        let all = own_memory("VmRSS");
        std::hint::black_box(&adapters);
        for (variant, b, peak_bytes) in [("with adapters", count, all), ("base", 0, alone)] {
            emit(&Sample { variant: variant.into(), peak_bytes, ..base.sample(job, b) })?;
        }
    }
    Ok(())
}
