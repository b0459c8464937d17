//! How fast a model runs here, and how much of what this machine can do that is.
//!
//! Tokens a second say nothing without the machine, so its limits are measured in the same minute and each rate is given
//! as a share of them. Of two limits the nearer one counts: few rows wait for memory (every weight is read for every
//! step), many rows wait for the multipliers. Attention is left out of the count of operations, so shares are a little
//! low for long texts; weights that stay in cache make shares of memory bandwidth above 1.

use crate::error::Error;
use crate::models::{Device, Dtype, Speaker};
use grts_lm::decode::{Context, GenerationConfig, Row};
use grts_lm::limits::{self, Limits};
use grts_lm::lora::{Adapter, LoraConfig};
use grts_lm::sampling::Sampling;
use grts_lm::train::{AdamWConfig, Objective, Sequence, Trainer};
use grts_lm::weights::Model;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// Rounds of each measurement; the median counts.
const ROUNDS: usize = 5;
/// Prompts that are read together, and sequences of a training step.
const TOGETHER: usize = 8;
/// Rank and alpha of the adapter that is trained where none is given.
const LORA: (usize, f64) = (8, 16.0);
/// Turns of the dialogue.
const TURNS: usize = 3;

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Rows decoded together.
    pub batches: Vec<usize>,
    /// Tokens of each prompt.
    pub prompt_tokens: usize,
    /// Tokens added to each.
    pub new_tokens: usize,
    /// How weights are held.
    pub dtype: Dtype,
    /// Where the model computes.
    pub device: Device,
}

/// Everything measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What was typed for the model.
    pub model: String,
    /// Weights.
    pub parameters: usize,
    /// How they are held.
    pub dtype: Dtype,
    /// Where the model computed.
    pub device: String,
    /// Rounds behind each median.
    pub rounds: usize,
    /// Tokens of each prompt.
    pub prompt_tokens: usize,
    /// Tokens added to each.
    pub new_tokens: usize,
    /// What the processor can do; `None` where the model was on another device.
    pub machine: Option<Machine>,
    /// By batch size.
    pub decode: Vec<Decode>,
    /// Reading prompts.
    pub prefill: Rate,
    /// One optimiser step on an adapter.
    pub train: Rate,
    /// Most memory of this process so far, bytes; where the system tells.
    pub peak_memory: Option<u64>,
    /// A dialogue of three turns.
    pub dialogue: Vec<Turn>,
}

/// Measured limits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// Threads.
    pub threads: usize,
    /// Bytes read from memory a second.
    pub bandwidth: f64,
    /// Floating-point operations a second at the dtype of the weights, in cache.
    pub flops: f64,
}

/// Decoding at one batch size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decode {
    /// Rows decoded together.
    pub batch: usize,
    /// New tokens a second, all rows together; the median.
    pub tokens_per_second: f64,
    /// Of memory bandwidth: all weights once a step. `None` without a measured limit.
    pub bandwidth_share: Option<f64>,
    /// Of floating-point operations. `None` without a measured limit.
    pub flops_share: Option<f64>,
}

/// Tokens of one measurement, and how fast.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rate {
    /// Tokens of a round.
    pub tokens: usize,
    /// Tokens a second; the median.
    pub tokens_per_second: f64,
    /// Of floating-point operations. `None` without a measured limit.
    pub flops_share: Option<f64>,
}

/// One turn of a dialogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// Tokens of the dialogue when the model begins to answer.
    pub tokens: usize,
    /// Of these, cached from earlier turns.
    pub cached: usize,
    /// Of these, read now.
    pub read: usize,
}

/// Measures. `note` is told what is being measured.
///
/// # Errors
/// [`Error::Model`] for texts that do not fit the model's context.
pub fn run(speaker: &Speaker, settings: &Settings, note: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let bench = Bench { speaker, settings };
    bench.check()?;
    let mut decode = Vec::new();
    for &batch in &settings.batches {
        note(&format!("decoding, batch {batch}"));
        decode.push((batch, bench.decode(batch)?));
    }
    note("reading prompts");
    let prefill = bench.prefill()?;
    note("training an adapter");
    let train = bench.train()?;
    let dialogue = bench.dialogue()?;
    // Before the machine is measured, which takes a large buffer.
    let peak_memory = peak_memory();
    let limits = (settings.device == Device::Cpu).then(|| {
        note("measuring the machine");
        limits::measure()
    });
    let yardstick = Yardstick { model: &speaker.base.model, dtype: settings.dtype, limits };
    Ok(Report {
        model: speaker.name.clone(),
        parameters: speaker.base.model.num_parameters(),
        dtype: settings.dtype,
        device: settings.device.to_string(),
        rounds: ROUNDS,
        prompt_tokens: settings.prompt_tokens,
        new_tokens: settings.new_tokens,
        machine: yardstick.machine(),
        decode: decode
            .into_iter()
            .map(|(batch, seconds)| yardstick.decode(batch, settings.new_tokens, seconds))
            .collect(),
        prefill: yardstick.rate(TOGETHER * settings.prompt_tokens, prefill, 1.0),
        // A step on a frozen base goes through the weights twice: there, and back to the inputs.
        train: yardstick.rate(TOGETHER * (settings.prompt_tokens + settings.new_tokens), train, 2.0),
        peak_memory,
        dialogue,
    })
}

/// Turns seconds into rates, and rates into shares of what the machine can do.
struct Yardstick<'a> {
    model: &'a Model,
    dtype: Dtype,
    limits: Option<Limits>,
}

impl Yardstick<'_> {
    fn machine(&self) -> Option<Machine> {
        let limits = self.limits.as_ref()?;
        let Limits { threads, bandwidth, .. } = *limits;
        Some(Machine { threads, bandwidth, flops: limits.flops(self.dtype.into()) })
    }

    fn decode(&self, batch: usize, new_tokens: usize, seconds: f64) -> Decode {
        let steps = new_tokens as f64 / seconds;
        let tokens_per_second = batch as f64 * steps;
        let bytes = self.model.bytes() as f64;
        let bandwidth_share = self.limits.as_ref().map(|limits| steps * bytes / limits.bandwidth);
        Decode { batch, tokens_per_second, bandwidth_share, flops_share: self.flops_share(tokens_per_second, 1.0) }
    }

    fn rate(&self, tokens: usize, seconds: f64, passes: f64) -> Rate {
        let tokens_per_second = tokens as f64 / seconds;
        Rate { tokens, tokens_per_second, flops_share: self.flops_share(tokens_per_second, passes) }
    }

    fn flops_share(&self, tokens_per_second: f64, passes: f64) -> Option<f64> {
        let limit = self.limits.as_ref()?.flops(self.dtype.into());
        let width = match self.dtype {
            Dtype::F32 => 4.0,
            Dtype::Bf16 => 2.0,
        };
        let weights = self.model.bytes() as f64 / width;
        Some(tokens_per_second * passes * 2.0 * weights / limit)
    }
}

struct Bench<'a> {
    speaker: &'a Speaker,
    settings: &'a Settings,
}

impl Bench<'_> {
    fn check(&self) -> Result<(), Error> {
        let (prompt, new) = (self.settings.prompt_tokens, self.settings.new_tokens);
        let context = self.speaker.base.model.config().context();
        if prompt + new < context {
            return Ok(());
        }
        let problem = format!("a prompt of {prompt} tokens and {new} new ones do not fit its context of {context}");
        Err(self.speaker.refuses(problem, "lower `--prompt-tokens` or `--new-tokens`"))
    }

    /// Tokens that mean nothing, other ones for each `seed`.
    fn text(&self, seed: u64, count: usize) -> Vec<u32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let v = self.speaker.base.model.config().vocab_size() as u32;
        (0..count).map(|_| rng.next_u32() % v).collect()
    }

    fn contexts(&self, count: usize) -> Vec<Context> {
        let context = |seed| {
            let mut context = Context::new(&self.speaker.base.model);
            context.extend(&self.text(seed, self.settings.prompt_tokens));
            context
        };
        (0..count as u64).map(context).collect()
    }

    /// Adds so many tokens to every text, whatever they are.
    fn go_on(&self, contexts: &mut [Context], max_tokens: usize) -> Result<f64, Error> {
        let sampling = Sampling { temperature: 1.0, ..Sampling::default() };
        let config = GenerationConfig { sampling, max_tokens, stop: Vec::new() };
        let adapter = self.speaker.adapter.as_ref();
        let row = |(seed, context)| Row { context, adapter, rng: ChaCha8Rng::seed_from_u64(seed) };
        let mut rows: Vec<Row<'_>> = (0..).zip(contexts).map(row).collect();
        let started = Instant::now();
        self.speaker.base.model.generate(&mut rows, &config).map_err(|e| Error::engine(&e))?;
        Ok(started.elapsed().as_secs_f64())
    }

    /// Seconds to add the new tokens to each of `batch` texts.
    fn decode(&self, batch: usize) -> Result<f64, Error> {
        let mut read = self.contexts(batch);
        self.go_on(&mut read, 1)?;
        // One token of each text is left to read, so that every step reads one and draws one.
        median(|| self.go_on(&mut read.clone(), self.settings.new_tokens))
    }

    /// Seconds to read [`TOGETHER`] prompts.
    fn prefill(&self) -> Result<f64, Error> {
        let fresh = self.contexts(TOGETHER);
        median(|| self.go_on(&mut fresh.clone(), 1))
    }

    /// Seconds of a step on [`TOGETHER`] sequences.
    fn train(&self) -> Result<f64, Error> {
        let count = self.settings.prompt_tokens + self.settings.new_tokens;
        let sequence = |seed| Sequence { tokens: self.text(seed, count), scored: (1..count).collect() };
        let batch: Vec<Sequence> = (0..TOGETHER as u64).map(sequence).collect();
        let adapter = self.trained().map_err(|e| Error::engine(&e))?;
        let model = Arc::clone(&self.speaker.base.model);
        let mut trainer = Trainer::adapter(model, &adapter, AdamWConfig::default());
        median(|| {
            let started = Instant::now();
            trainer.step(&batch, 1e-4, likelihood).map_err(|e| Error::engine(&e))?;
            Ok(started.elapsed().as_secs_f64())
        })
    }

    fn trained(&self) -> grts_lm::Result<Adapter> {
        match &self.speaker.adapter {
            Some(adapter) => Ok(Adapter::clone(adapter)),
            None => {
                let config = LoraConfig::all_linear(LORA.0, LORA.1);
                Adapter::new(config, self.speaker.base.model.config(), &mut ChaCha8Rng::seed_from_u64(0))
            }
        }
    }

    /// Every turn adds a message and an answer; only what is new is read.
    fn dialogue(&self) -> Result<Vec<Turn>, Error> {
        let model = &self.speaker.base.model;
        let room = (model.config().context() - 1) / (2 * TURNS);
        let [message, answer] = [self.settings.prompt_tokens, self.settings.new_tokens].map(|n| n.min(room));
        let mut context = Context::new(model);
        let mut turns = Vec::new();
        for seed in 0..TURNS as u64 {
            context.extend(&self.text(seed, message));
            let (tokens, cached) = (context.tokens().len(), context.cached());
            self.go_on(std::slice::from_mut(&mut context), answer)?;
            // The answer's own tokens are read as they are drawn, the last one in the next turn.
            let read = context.cached() - cached - (answer - 1);
            turns.push(Turn { tokens, cached, read });
        }
        Ok(turns)
    }
}

/// Mean negative log-likelihood, which costs what any loss here costs.
fn likelihood(_: usize, logprobs: &[f32]) -> Objective {
    let n = logprobs.len() as f64;
    let loss = -logprobs.iter().map(|l| f64::from(*l)).sum::<f64>() / n;
    Objective { loss, gradient: vec![(-1.0 / n) as f32; logprobs.len()] }
}

/// The median of the rounds' seconds, after one that warms up.
fn median(mut round: impl FnMut() -> Result<f64, Error>) -> Result<f64, Error> {
    round()?;
    let mut seconds = (0..ROUNDS).map(|_| round()).collect::<Result<Vec<f64>, Error>>()?;
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[ROUNDS / 2])
}

/// The high-water mark of resident memory, where `/proc` has it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}
