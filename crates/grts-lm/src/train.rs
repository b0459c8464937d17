//! Training: packed batches, losses as coefficients on token log-probabilities, AdamW.
//!
//! Every loss used here (cross-entropy, clipped policy gradient, KL penalties) is a function of the log-probabilities of
//! given tokens, so a loss is a closure from those values to its own value and its derivative by each of them; candle
//! carries the derivative back through the model. That keeps loss code in plain Rust, where it can be checked by
//! finite differences, and away from ops whose gradient candle drops silently.
//! A batch is cut into shards of fixed size which run on different threads; gradients are summed in shard order, so the
//! number of threads changes nothing.

use crate::lora::Adapter;
use crate::ops::{self, Attention, Spans};
use crate::weights::{Model, Parameter, Projection};
use crate::{Error, Result};
use candle_core::{Device, Tensor, Var};
use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// One sequence to train on, with the positions whose token's log-probability enters the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    /// Token ids from the first of the context.
    pub tokens: Vec<u32>,
    /// Indices `i ≥ 1` into `tokens`: log p(tokens\[i\] | tokens\[..i\]) is wanted. Ascending.
    pub scored: Vec<usize>,
}

/// Tokens per shard, the unit of parallel work: fixed, so that results do not depend on the number of threads. Small
/// enough that candle's element-wise ops stay on the calling thread (above 65,536 elements they meet at a barrier of
/// the whole process, which made two shards slower than one).
const SHARD_TOKENS: usize = 160;

/// A loss on the log-probabilities of one sequence's scored tokens.
pub struct Objective {
    /// The sequence's part of the loss.
    pub loss: f64,
    /// Derivative of the loss by each scored log-probability.
    pub gradient: Vec<f32>,
}

/// Settings of [`AdamW`] (decoupled weight decay; Loshchilov & Hutter 2019).
#[derive(Debug, Clone, Copy)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay; norms and other vectors are not decayed.
    pub weight_decay: f64,
    /// Largest L2 norm of the whole gradient; larger ones are scaled down to it.
    pub max_grad_norm: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0, max_grad_norm: 1.0 }
    }
}

/// AdamW over plain buffers, state in f32 as in PyTorch.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    step: u64,
    moments: Vec<(Vec<f32>, Vec<f32>)>,
}

impl AdamW {
    /// Zero state for parameters of these lengths.
    pub fn new(config: AdamWConfig, lengths: impl IntoIterator<Item = usize>) -> Self {
        let moments = lengths.into_iter().map(|n| (vec![0.0; n], vec![0.0; n])).collect();
        Self { config, step: 0, moments }
    }

    /// Optimiser steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// One update in place, gradients clipped by their joint norm. Returns that norm before clipping.
    pub fn update(&mut self, parameters: &mut [Parameter], gradients: &[Vec<f32>], learning_rate: f64) -> f64 {
        let square = |g: &Vec<f32>| g.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
        let norm = gradients.iter().map(square).sum::<f64>().sqrt();
        let clip = (self.config.max_grad_norm / norm.max(1e-12)).min(1.0) as f32;
        self.step += 1;
        let c = self.config;
        let (b1, b2) = (c.beta1 as f32, c.beta2 as f32);
        let correction1 = 1.0 - c.beta1.powi(self.step as i32);
        let correction2 = (1.0 - c.beta2.powi(self.step as i32)).sqrt();
        let rate = (learning_rate / correction1) as f32;
        for ((parameter, gradient), (m, v)) in parameters.iter_mut().zip(gradients).zip(&mut self.moments) {
            let decay = if parameter.shape.len() > 1 { 1.0 - (learning_rate * c.weight_decay) as f32 } else { 1.0 };
            for (((x, g), m), v) in parameter.data.iter_mut().zip(gradient).zip(m).zip(v) {
                let g = g * clip;
                *m = b1 * *m + (1.0 - b1) * g;
                *v = b2 * *v + (1.0 - b2) * g * g;
                *x = *x * decay - rate * *m / (v.sqrt() / correction2 as f32 + c.eps as f32);
            }
        }
        norm
    }
}

/// What is being trained.
#[derive(Debug)]
enum Trained {
    /// Every weight of the base (pre-training).
    Everything,
    /// An adapter; the base stays frozen. Holds the shape of the adapter, not its current values.
    Adapter(Adapter),
}

/// A model in training: frozen tensors, trained parameters, optimiser.
pub struct Trainer {
    model: Arc<Model>,
    frozen: HashMap<String, Tensor>,
    trained: Trained,
    parameters: Vec<Parameter>,
    optimiser: AdamW,
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
    pub fn full(model: Arc<Model>, config: AdamWConfig) -> Self {
        let parameters = model.parameters();
        let optimiser = AdamW::new(config, parameters.iter().map(|p| p.data.len()));
        Self { model, frozen: HashMap::new(), trained: Trained::Everything, parameters, optimiser }
    }

    /// Trains `adapter` on the frozen `model`.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn adapter(model: Arc<Model>, adapter: &Adapter, config: AdamWConfig) -> Result<Self> {
        let mut frozen = HashMap::new();
        for p in model.parameters() {
            frozen.insert(p.name, Tensor::from_vec(p.data, p.shape, &Device::Cpu)?);
        }
        let parameters = adapter.parameters(&model.config);
        let optimiser = AdamW::new(config, parameters.iter().map(|p| p.data.len()));
        Ok(Self { model, frozen, trained: Trained::Adapter(adapter.clone()), parameters, optimiser })
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
        let variables: Vec<Var> = self
            .parameters
            .iter()
            .map(|p| Ok(Var::from_tensor(&Tensor::from_slice(&p.data, p.shape.as_slice(), &Device::Cpu)?)?))
            .collect::<Result<_>>()?;
        let mut named = self.frozen.clone();
        named.extend(self.parameters.iter().zip(&variables).map(|(p, v)| (p.name.clone(), v.as_tensor().clone())));
        let shards = shards(batch);
        let results: Vec<Result<(f64, Vec<Vec<f32>>)>> =
            shards.par_iter().map(|(first, shard)| self.shard(&named, &variables, *first, shard, &objective)).collect();
        let mut total = 0.0;
        let mut sums: Vec<Vec<f32>> = self.parameters.iter().map(|p| vec![0.0; p.data.len()]).collect();
        for result in results {
            let (loss, gradients) = result?;
            total += loss;
            for (sum, gradient) in sums.iter_mut().zip(gradients) {
                crate::kernels::axpy(sum, 1.0, &gradient);
            }
        }
        Ok((total, sums))
    }

    fn shard<F>(
        &self,
        named: &HashMap<String, Tensor>,
        variables: &[Var],
        first: usize,
        shard: &[Sequence],
        objective: &F,
    ) -> Result<(f64, Vec<Vec<f32>>)>
    where
        F: Fn(usize, &[f32]) -> Objective + Sync,
    {
        let packed = Packed::new(&self.model, shard)?;
        let logprobs = self.forward(named, &packed)?;
        let values: Vec<f32> = logprobs.to_vec1()?;
        let mut loss = 0.0;
        let mut derivative = Vec::with_capacity(values.len());
        let mut at = 0;
        for (i, sequence) in shard.iter().enumerate() {
            let part = objective(first + i, &values[at..at + sequence.scored.len()]);
            at += sequence.scored.len();
            loss += part.loss;
            derivative.extend(part.gradient);
        }
        let derivative = Tensor::from_vec(derivative, values.len(), &Device::Cpu)?;
        let gradients = (logprobs * derivative)?.sum_all()?.backward()?;
        let out = variables.iter().zip(&self.parameters).map(|(v, p)| match gradients.get(v) {
            Some(g) => Ok(g.flatten_all()?.to_vec1()?),
            None => Ok(vec![0.0; p.data.len()]),
        });
        Ok((loss, out.collect::<Result<_>>()?))
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

    /// Log-probabilities `(scored)` of a packed shard.
    fn forward(&self, named: &HashMap<String, Tensor>, packed: &Packed) -> Result<Tensor> {
        let config = &self.model.config;
        let eps = config.rms_norm_eps as f32;
        let get = |name: &str| named.get(name).ok_or_else(|| Error::Request(format!("tensor `{name}` is missing")));
        let embed = get("model.embed_tokens.weight")?;
        let mut x = ops::gather(embed, packed.tokens.clone())?; // (n, d)
        for n in 0..config.num_hidden_layers {
            let project = |x: &Tensor, p: Projection| self.project(named, n, p, x);
            let prefix = format!("model.layers.{n}");
            let h = ops::rms_norm(&x, get(&format!("{prefix}.input_layernorm.weight"))?, eps)?;
            let attention = Attention {
                spans: packed.spans.clone(),
                rope: self.model.rope.clone(),
                heads: config.num_attention_heads,
                kv_heads: config.kv_heads(),
                head_dim: config.head_dim(),
            };
            let (q, k, v) = (project(&h, Projection::Q)?, project(&h, Projection::K)?, project(&h, Projection::V)?);
            x = (x + project(&ops::attention(&q, &k, &v, attention)?, Projection::O)?)?;
            let h = ops::rms_norm(&x, get(&format!("{prefix}.post_attention_layernorm.weight"))?, eps)?;
            let h = ops::swiglu(&project(&h, Projection::Gate)?, &project(&h, Projection::Up)?)?;
            x = (x + project(&h, Projection::Down)?)?;
        }
        // The norm acts on single rows, so only the rows that predict a scored token go on.
        let x = ops::gather(&x, packed.rows.clone())?;
        let x = ops::rms_norm(&x, get("model.norm.weight")?, eps)?;
        let head = if config.tie_word_embeddings { embed } else { get("lm_head.weight")? };
        Ok(ops::token_logprobs(&x, head, packed.targets.clone())?)
    }

    /// `W x`, plus `scale · B (A x)` where an adapter is trained.
    fn project(&self, named: &HashMap<String, Tensor>, layer: usize, p: Projection, x: &Tensor) -> Result<Tensor> {
        let module = format!("model.layers.{layer}.{}", p.module());
        let get = |name: &str| named.get(name).ok_or_else(|| Error::Request(format!("tensor `{name}` is missing")));
        let y = ops::linear(x, get(&format!("{module}.weight"))?)?;
        let Trained::Adapter(adapter) = &self.trained else { return Ok(y) };
        if adapter.get(layer, p).is_none() {
            return Ok(y);
        }
        let a = get(&format!("base_model.model.{module}.lora_A.weight"))?;
        let b = get(&format!("base_model.model.{module}.lora_B.weight"))?;
        let update = ops::linear(&ops::linear(x, a)?, b)?;
        Ok((y + (update * f64::from(adapter.config().scale()))?)?)
    }
}

/// Cuts a batch into runs of whole sequences of about [`SHARD_TOKENS`], each with the index of its first sequence.
fn shards(batch: &[Sequence]) -> Vec<(usize, &[Sequence])> {
    let (mut shards, mut first, mut tokens) = (Vec::new(), 0, 0);
    for (i, sequence) in batch.iter().enumerate() {
        if i > first && tokens + sequence.tokens.len() > SHARD_TOKENS {
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

/// Sequences laid end to end.
struct Packed {
    tokens: Arc<Vec<u32>>,
    spans: Spans,
    rows: Arc<Vec<u32>>,
    targets: Arc<Vec<u32>>,
}

impl Packed {
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
                rows.push((first + i - 1) as u32);
                targets.push(sequence.tokens[i]);
            }
        }
        Ok(Self { tokens: tokens.into(), spans: spans.into(), rows: rows.into(), targets: targets.into() })
    }
}
