//! Gradients of an adapter on a device, by candle's autograd: the contract of [`Trainer::gradients`](crate::train::Trainer::gradients).
//!
//! Logits are made chunk by chunk and never kept: first for the log-probabilities that the loss is made of, then again, each chunk with
//! its way back. With checkpointing the same is done with layers.

use super::attention::Keys;
use super::decoder::{Decoder, Pass};
use super::lora::{self, Lora};
use super::rows::{Rows, Span};
use crate::lora::Adapter;
use crate::train::Packed;
use crate::weights::Model;
use candle_core::backprop::GradStore;
use candle_core::{D, DType, Error, Result, Tensor, Var};

/// Logits that are made at once, numbers.
const LOGITS: usize = 1 << 26;

/// The adapter's parameters as variables, in the order of [`Adapter::parameters`].
struct Variables {
    of: Vec<Var>,
    /// `[layer][module]`: index of A, after which its B comes.
    places: Vec<Vec<Option<usize>>>,
}

impl Variables {
    fn new(model: &Model, adapter: &Adapter, device: &candle_core::Device) -> Result<Self> {
        let a = model.architecture();
        let mut next = 0;
        let mut place = |n: usize, i: usize| {
            adapter.get(n, i)?;
            next += 2;
            Some(next - 2)
        };
        let places = (0..a.layers).map(|n| (0..a.modules.len()).map(|i| place(n, i)).collect()).collect();
        let variable = |p: crate::weights::Parameter| Var::from_vec(p.data, p.shape, device);
        let of = adapter.parameters(&model.config).into_iter().map(variable).collect::<Result<_>>()?;
        Ok(Self { of, places })
    }

    /// Layer of parameter `at`.
    fn layer_of(&self, at: usize) -> usize {
        let holds = |places: &Vec<Option<usize>>| places.iter().flatten().any(|first| at - at % 2 == *first);
        self.places.iter().position(holds).unwrap_or_default()
    }

    /// The stacked form of the adapter, with its way back to the variables, or without.
    fn lora(&self, model: &Model, adapter: &Adapter, tracked: bool) -> Result<Lora> {
        let tensor =
            |at: usize| if tracked { self.of[at].as_tensor().clone() } else { self.of[at].as_detached_tensor() };
        let pair = |n: usize, i: usize| Ok(self.places[n][i].map(|at| [tensor(at), tensor(at + 1)]));
        let device = self.of.first().map_or(&candle_core::Device::Cpu, |var| var.device());
        Lora::one(&lora::slots(model.architecture(), adapter, device, pair)?)
    }
}

/// Sequences of a shard in the middle of a pass.
struct Shard<'a> {
    pass: Pass<'a>,
    /// Row that predicts each scored token `(m)`.
    predicting: Tensor,
    /// Scored tokens `(m)`, in chunks.
    targets: Vec<Tensor>,
}

impl Shard<'_> {
    fn layer(&self, n: usize, x: &Tensor) -> Result<Tensor> {
        self.pass.layer(n, x, &mut Keys::Own)
    }

    /// Chunks of scored rows `(m, d)`, each with its targets.
    fn chunks(&self, scored: &Tensor) -> Result<Vec<(Tensor, &Tensor)>> {
        let mut first = 0;
        let chunk = |targets| {
            let rows = scored.narrow(0, first, Tensor::dim(targets, 0)?)?.contiguous()?;
            first += rows.dim(0)?;
            Ok((rows, targets))
        };
        self.targets.iter().map(chunk).collect()
    }

    /// Log-probabilities `(m)` of `targets (m)`, given the last layer's rows `(m, d)` that predict them.
    fn logprobs(&self, rows: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let logits = self.pass.logits(&self.pass.last_norm(rows)?)?;
        let shifted = logits.broadcast_sub(&logits.detach().max_keepdim(D::Minus1)?)?;
        let chosen = shifted.gather(&targets.unsqueeze(1)?, 1)?.squeeze(1)?;
        chosen - shifted.exp()?.sum(D::Minus1)?.log()?
    }

    /// The loss, and its gradient `(m, d)` by scored rows `(m, d)`.
    fn head(&self, scored: &Tensor, objective: impl FnOnce(&[f32]) -> (f64, Vec<f32>)) -> Result<(f64, Tensor)> {
        let chunks = self.chunks(scored)?;
        let values = chunks.iter().map(|(rows, targets)| self.logprobs(rows, targets)?.to_vec1::<f32>());
        let (loss, derivatives) = objective(&values.collect::<Result<Vec<_>>>()?.concat());
        let derivatives = Tensor::new(derivatives, scored.device())?;
        let mut parts = Vec::new();
        let mut first = 0;
        for (rows, targets) in chunks {
            let (rows, count) = (Var::from_tensor(&rows)?, targets.dim(0)?);
            let g = derivatives.narrow(0, first, count)?;
            parts.push(taken(&mut back(&self.logprobs(&rows, targets)?, &g)?, &rows)?);
            first += count;
        }
        Ok((loss, Tensor::cat(&parts, 0)?))
    }
}

/// Gradients of Σ g · y.
fn back(y: &Tensor, g: &Tensor) -> Result<GradStore> {
    (y * g)?.sum_all()?.backward()
}

/// A variable's gradient. That none arrived means that some operation has no way back: an error, never a zero.
fn taken(store: &mut GradStore, variable: &Var) -> Result<Tensor> {
    store.remove(variable).ok_or_else(|| Error::Msg("an operation of the decoder has no gradient".into()))
}

impl Decoder {
    /// Loss of a shard, and its gradients by the adapter's parameters. `objective` turns the scored tokens' log-probabilities
    /// into the loss and its derivatives by them.
    pub(crate) fn gradients(
        &self,
        (model, adapter): (&Model, &Adapter),
        packed: &Packed,
        checkpointing: bool,
        objective: impl FnOnce(&[f32]) -> (f64, Vec<f32>),
    ) -> crate::Result<(f64, Vec<Vec<f32>>)> {
        if packed.targets.is_empty() {
            let zeros = adapter.parameters(&model.config).into_iter().map(|p| vec![0.0; p.data.len()]);
            return Ok((objective(&[]).0, zeros.collect()));
        }
        self.shard((model, adapter), packed, checkpointing, objective).map_err(|e| self.failed(&e))
    }

    fn shard(
        &self,
        (model, adapter): (&Model, &Adapter),
        packed: &Packed,
        checkpointing: bool,
        objective: impl FnOnce(&[f32]) -> (f64, Vec<f32>),
    ) -> Result<(f64, Vec<Vec<f32>>)> {
        let (a, device) = (model.architecture(), &self.device);
        let span = |(text, &(first, rows)): (usize, &(usize, usize))| {
            let tokens = packed.tokens[first..first + rows].to_vec();
            Span { text, position: 0, tokens, adapter: 0 }
        };
        let spans: Vec<Span> = packed.spans.iter().enumerate().map(span).filter(|s| !s.tokens.is_empty()).collect();
        let rows = Rows::new(model, &spans, (packed.spans.len(), 1), device)?;
        let variables = Variables::new(model, adapter, device)?;
        let predicting: Vec<u32> = packed.rows.iter().map(|&row| row as u32).collect();
        let chunk = (LOGITS / a.vocab).max(1);
        let lora = variables.lora(model, adapter, true)?;
        let shard = Shard {
            pass: Pass { model, decoder: self, rows: &rows, lora: Some(&lora) },
            predicting: Tensor::new(predicting, device)?,
            targets: packed.targets.chunks(chunk).map(|part| Tensor::new(part, device)).collect::<Result<_>>()?,
        };
        let (loss, mut stores) = if checkpointing {
            let lora = variables.lora(model, adapter, false)?;
            shard.layer_by_layer(&Pass { lora: Some(&lora), ..shard.pass }, objective)?
        } else {
            shard.at_once(objective)?
        };
        let gradient = |(i, variable): (usize, &Var)| {
            let store = if checkpointing { variables.layer_of(i) } else { 0 };
            taken(&mut stores[store], variable)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
        };
        let gradients = variables.of.iter().enumerate().map(gradient).collect::<Result<_>>()?;
        Ok((loss, gradients))
    }
}

type Losses = (f64, Vec<GradStore>);

impl Shard<'_> {
    /// One graph from the adapter to the scored rows.
    fn at_once(&self, objective: impl FnOnce(&[f32]) -> (f64, Vec<f32>)) -> Result<Losses> {
        let mut x = self.pass.embed()?;
        for n in 0..self.pass.a().layers {
            x = self.layer(n, &x)?;
        }
        let scored = x.index_select(&self.predicting, 0)?;
        let (loss, g) = self.head(&scored.detach(), objective)?;
        Ok((loss, vec![back(&scored, &g)?]))
    }

    /// A graph for each layer, made from the layer's input when its turn comes on the way back; `plain` is the same pass
    /// without graphs. Gradients are by layer.
    fn layer_by_layer(&self, plain: &Pass<'_>, objective: impl FnOnce(&[f32]) -> (f64, Vec<f32>)) -> Result<Losses> {
        let layers = self.pass.a().layers;
        let mut inputs = vec![plain.embed()?];
        for n in 0..layers {
            inputs.push(plain.layer(n, &inputs[n], &mut Keys::Own)?);
        }
        let last = Var::from_tensor(&inputs.pop().map_or_else(|| plain.embed(), Ok)?)?;
        let scored = last.index_select(&self.predicting, 0)?;
        let (loss, g) = self.head(&scored.detach(), objective)?;
        let mut g = taken(&mut back(&scored, &g)?, &last)?;
        let mut stores = Vec::new();
        while let Some(input) = inputs.pop() {
            let input = Var::from_tensor(&input)?;
            let mut store = back(&self.layer(inputs.len(), &input)?, &g)?;
            g = taken(&mut store, &input)?;
            stores.push(store);
        }
        stores.reverse();
        Ok((loss, stores))
    }
}
