//! Training: packed batches, losses as coefficients on token log-probabilities, AdamW.
//!
//! Every loss used here (cross-entropy, clipped policy gradient, KL penalties) is a function of the log-probabilities of
//! given tokens, so a loss is a closure from those values to its own value and its derivative by each of them.
//! The way back through the decoder is written out by hand. An autograd library keeps and adds what a frozen base does not
//! need (candle's adds every gradient to a tensor of zeros, and meets at a barrier of the whole process for large ones).
//! A batch is cut into shards by a fixed budget of tokens; they run on different threads and their gradients are summed in
//! order, so the number of threads changes nothing.

mod attention;
mod gradients;
mod head;
mod linear;
mod norms;
mod shard;

use crate::architecture::{Architecture, NormKind, Residual};
use crate::checkpoint::{Checkpoint, write_safetensors};
use crate::lora::Adapter;
use crate::weights::{Model, Parameter};
use crate::{Error, Result};
use gradients::Gradients;
use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};
use serde::{Deserialize, Serialize};
use shard::Shard;
use std::path::Path;
use std::sync::Arc;

pub use crate::optimiser::{AdamW, AdamWConfig};

/// One sequence to train on, with the positions whose token's log-probability enters the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    /// Token ids from the first of the context.
    pub tokens: Vec<u32>,
    /// Indices `i ≥ 1` into `tokens`: log p(tokens\[i\] | tokens\[..i\]) is wanted. Ascending.
    pub scored: Vec<usize>,
}

/// Tokens per shard unless asked otherwise: the unit of parallel work. More tokens share the unpacking of weights, fewer
/// keep more threads busy.
const SHARD_TOKENS: usize = 256;
/// The same on a device, which works through one shard at a time.
const DEVICE_SHARD_TOKENS: usize = 4096;

/// A loss on the log-probabilities of one sequence's scored tokens.
pub struct Objective {
    /// The sequence's part of the loss.
    pub loss: f64,
    /// Derivative of the loss by each scored log-probability.
    pub gradient: Vec<f32>,
}

/// What is being trained.
#[derive(Debug)]
enum Trained {
    /// Every weight of the base (pre-training).
    Everything,
    /// An adapter; the base stays frozen. Holds the shape of the adapter, not its current values.
    Adapter(Adapter),
}

/// A model in training: frozen base, trained parameters, optimiser.
pub struct Trainer {
    model: Arc<Model>,
    trained: Trained,
    parameters: Vec<Parameter>,
    optimiser: AdamW,
    shard_tokens: usize,
    checkpointing: bool,
}

/// What one optimiser step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Sum of the sequences' losses.
    pub loss: f64,
    /// L2 norm of the gradient before clipping.
    pub grad_norm: f64,
}

impl Trainer {
    /// Trains every weight of `model`.
    ///
    /// # Errors
    /// A family other than the plain Llama layout, of which only adapters are trained; a model on a device, likewise.
    pub fn full(model: Arc<Model>, config: AdamWConfig) -> Result<Self> {
        if model.decoder.is_some() {
            return Err(Error::Request("all weights are trained with `--device cpu` only".into()));
        }
        if !is_plain(model.architecture()) {
            let family = model.config.model_type();
            return Err(Error::Request(format!("all weights are trained in the Llama layout only, not of `{family}`")));
        }
        let parameters = model.parameters();
        Ok(Self::new(model, Trained::Everything, parameters, config))
    }

    /// Trains `adapter` on the frozen `model`.
    pub fn adapter(model: Arc<Model>, adapter: &Adapter, config: AdamWConfig) -> Self {
        let parameters = adapter.parameters(&model.config);
        Self::new(model, Trained::Adapter(adapter.clone()), parameters, config)
    }

    fn new(model: Arc<Model>, trained: Trained, parameters: Vec<Parameter>, config: AdamWConfig) -> Self {
        let optimiser = AdamW::new(config, parameters.iter().map(|p| p.data.len()));
        let shard_tokens = if model.decoder.is_some() { DEVICE_SHARD_TOKENS } else { SHARD_TOKENS };
        Self { model, trained, parameters, optimiser, shard_tokens, checkpointing: false }
    }

    /// Shards of about `tokens` tokens (at least one sequence each): bounds memory, and changes gradients by rounding only.
    pub fn with_token_budget(self, tokens: usize) -> Self {
        Self { shard_tokens: tokens, ..self }
    }

    /// Keeps only the input of each layer and computes the rest again on the way back.
    pub fn with_checkpointing(self, checkpointing: bool) -> Self {
        Self { checkpointing, ..self }
    }

    /// Writes what is trained and the optimiser's state as one safetensors file, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let state = self.optimiser.state(&self.parameters);
        let all: Vec<Parameter> = self.parameters.iter().cloned().chain(state).collect();
        let part = path.with_extension("part");
        write_safetensors(&part, &all)?;
        std::fs::rename(&part, path).map_err(Error::io("rename", part))
    }

    /// Goes on where the training stood that wrote `path`; gives the steps that it had taken. What follows is the same to the bit as
    /// if it had never stopped.
    ///
    /// # Errors
    /// A file that is incomplete or of another training; nothing is changed then.
    pub fn resume(&mut self, path: &Path) -> Result<u64> {
        let file = Checkpoint::open_file(path)?;
        let read = |name: &str, shape: &[usize]| file.read(name, shape, "the training");
        let values: Vec<Vec<f32>> = self.parameters.iter().map(|p| read(&p.name, &p.shape)).collect::<Result<_>>()?;
        self.optimiser.restore(&self.parameters, read)?;
        self.parameters.iter_mut().zip(values).for_each(|(parameter, data)| parameter.data = data);
        Ok(self.optimiser.steps())
    }

    /// The trained parameters, under their file names.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The adapter as trained so far; `None` when the whole model is trained.
    pub fn to_adapter(&self) -> Option<Adapter> {
        match &self.trained {
            Trained::Everything => None,
            Trained::Adapter(shape) => Some(shape.with_values(self.parameters.iter().map(|p| p.data.as_slice()))),
        }
    }

    /// The whole model as trained so far (the frozen base when an adapter is trained).
    ///
    /// # Errors
    /// Never for a trainer built by this crate.
    pub fn to_model(&self) -> Result<Model> {
        let parameters = match self.trained {
            Trained::Everything => self.parameters.clone(),
            Trained::Adapter(_) => self.model.parameters(),
        };
        Model::from_parameters(self.model.config.clone(), parameters)
    }

    /// Loss and gradients of `batch`. `objective(i, logprobs)` is called once per sequence `i` with the
    /// log-probabilities of its scored tokens.
    ///
    /// # Errors
    /// A sequence longer than the context, a token outside the vocabulary, a value that is not finite.
    pub fn gradients<F>(&self, batch: &[Sequence], objective: F) -> Result<(f64, Vec<Vec<f32>>)>
    where
        F: Fn(usize, &[f32]) -> Objective + Sync,
    {
        let adapter = self.to_adapter();
        let current = match adapter {
            Some(_) => None,
            None => Some(self.to_model()?),
        };
        let model = current.as_ref().unwrap_or(&self.model);
        let run = |(first, sequences): &(usize, &[Sequence])| -> Result<(f64, Gradients)> {
            let packed = Packed::new(model, sequences)?;
            let mut gradients = Gradients::new(model, adapter.as_ref(), &self.parameters);
            let objective = |logprobs: &[f32]| {
                let (mut loss, mut derivatives) = (0.0, Vec::with_capacity(logprobs.len()));
                for (i, sequence) in sequences.iter().enumerate() {
                    let at = derivatives.len();
                    let part = objective(first + i, &logprobs[at..at + sequence.scored.len()]);
                    loss += part.loss;
                    derivatives.extend(part.gradient);
                }
                (loss, derivatives)
            };
            if let (Some(decoder), Some(adapter)) = (&model.decoder, &adapter) {
                let (loss, values) = decoder.gradients((model, adapter), &packed, self.checkpointing, objective)?;
                gradients.values = values;
                return Ok((loss, gradients));
            }
            let shard = Shard { model, adapter: adapter.as_ref(), packed: &packed };
            let loss = shard.run(self.checkpointing, &mut gradients, objective);
            Ok((loss, gradients))
        };
        let shards = shards(batch, self.shard_tokens);
        let results: Vec<Result<(f64, Gradients)>> = match model.decoder {
            Some(_) => shards.iter().map(run).collect(),
            None => shards.par_iter().map(run).collect(),
        };
        let mut total = 0.0;
        let mut sums = Gradients::new(model, adapter.as_ref(), &self.parameters);
        for result in results {
            let (loss, gradients) = result?;
            total += loss;
            sums.add(&gradients);
        }
        Ok((total, sums.values))
    }

    /// One optimiser step; on an error the parameters are untouched.
    ///
    /// # Errors
    /// Those of [`Trainer::gradients`], and [`Error::NotFinite`].
    pub fn step<F>(&mut self, batch: &[Sequence], learning_rate: f64, objective: F) -> Result<StepReport>
    where
        F: Fn(usize, &[f32]) -> Objective + Sync,
    {
        let (loss, gradients) = self.gradients(batch, objective)?;
        self.apply(loss, &gradients, learning_rate)
    }

    /// Applies gradients that were computed by [`Trainer::gradients`] (possibly summed over several losses).
    ///
    /// # Errors
    /// [`Error::NotFinite`], with the parameters untouched.
    pub fn apply(&mut self, loss: f64, gradients: &[Vec<f32>], learning_rate: f64) -> Result<StepReport> {
        let step = self.optimiser.steps();
        if !loss.is_finite() {
            return Err(Error::NotFinite { what: "loss".into(), step });
        }
        let bad = gradients.iter().position(|g| g.iter().any(|x| !x.is_finite()));
        if let Some(i) = bad {
            return Err(Error::NotFinite { what: format!("gradient of `{}`", self.parameters[i].name), step });
        }
        let grad_norm = self.optimiser.update(&mut self.parameters, gradients, learning_rate);
        Ok(StepReport { loss, grad_norm })
    }
}

/// Whether [`Trainer::full`] knows every weight.
fn is_plain(a: &Architecture) -> bool {
    let modules = a.modules.len() == 7 && a.modules.iter().all(|m| m.order.is_none() && !m.bias);
    let numbers = a.embed_scale == 1.0 && a.attention_softcap.is_none() && a.logits_softcap.is_none();
    a.norm == NormKind::Rms && a.residual == Residual::Sequential && a.names.qk_norm.is_none() && modules && numbers
}

/// Cuts a batch into runs of whole sequences of about `budget` tokens, each with the index of its first sequence.
fn shards(batch: &[Sequence], budget: usize) -> Vec<(usize, &[Sequence])> {
    let (mut shards, mut first, mut tokens) = (Vec::new(), 0, 0);
    for (i, sequence) in batch.iter().enumerate() {
        if i > first && tokens + sequence.tokens.len() > budget {
            shards.push((first, &batch[first..i]));
            (first, tokens) = (i, 0);
        }
        tokens += sequence.tokens.len();
    }
    if first < batch.len() {
        shards.push((first, &batch[first..]));
    }
    shards
}

/// Sequences laid end to end, without padding.
pub(crate) struct Packed {
    pub(crate) tokens: Vec<u32>,
    /// `(first row, rows)` of each sequence.
    pub(crate) spans: Vec<(usize, usize)>,
    /// Rows that predict a scored token, and those tokens.
    pub(crate) rows: Vec<usize>,
    pub(crate) targets: Vec<u32>,
}

impl Packed {
    /// Tokens of the longest sequence.
    fn longest(&self) -> usize {
        self.spans.iter().map(|&(_, rows)| rows).max().unwrap_or(0)
    }

    fn new(model: &Model, sequences: &[Sequence]) -> Result<Self> {
        let (mut tokens, mut spans, mut rows, mut targets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for sequence in sequences {
            model.check_tokens(&sequence.tokens, 0)?;
            let first = tokens.len();
            spans.push((first, sequence.tokens.len()));
            tokens.extend(&sequence.tokens);
            for &i in &sequence.scored {
                if i == 0 || i >= sequence.tokens.len() {
                    let n = sequence.tokens.len();
                    return Err(Error::Request(format!("scored position {i} in a sequence of {n} tokens")));
                }
                rows.push(first + i - 1);
                targets.push(sequence.tokens[i]);
            }
        }
        Ok(Self { tokens, spans, rows, targets })
    }
}
