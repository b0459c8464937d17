//! One shard, forwards and backwards: the decoder's layers on plain slices, with what the way back needs kept or made again.

use super::attention::Attention;
use super::head::Head;
use super::linear::Linear;
use super::norms::{Scratch, normalise_backward, normalise_rows};
use super::{Gradients, Packed};
use crate::architecture::{Residual, Slot};
use crate::kernels;
use crate::lora::Adapter;
use crate::weights::{Model, NormAt};

/// A shard's computation.
pub(super) struct Shard<'a> {
    pub(super) model: &'a Model,
    /// What is trained; `None` is every weight of the model.
    pub(super) adapter: Option<&'a Adapter>,
    pub(super) packed: &'a Packed,
}

/// What a layer's way back needs. Norms and activations are cheap to make again.
struct Saved {
    x: Vec<f32>,
    qkv: Vec<f32>,
    attended: Vec<f32>,
    /// The residual stream before the feed-forward layer (sequential kinds).
    middle: Vec<f32>,
    up: Vec<f32>,
    /// Outputs of attention and feed-forward before their norms (sandwich).
    before: [Vec<f32>; 2],
}

fn add(to: &mut [f32], x: &[f32]) {
    kernels::axpy(to, 1.0, x);
}

impl Shard<'_> {
    fn rows(&self) -> usize {
        self.packed.tokens.len()
    }

    fn linear(&self, layer: usize, slot: Slot) -> Linear<'_> {
        Linear { model: self.model, adapter: self.adapter, layer, slot }
    }

    fn attention(&self, layer: usize) -> Attention<'_> {
        let a = self.model.architecture();
        let angles = a.rope_of[layer].map(|i| self.model.ropes[i].angles(self.packed.longest()));
        Attention { spans: &self.packed.spans, model: self.model, layer, angles }
    }

    /// Loss and gradients. `objective` turns the scored tokens' log-probabilities into the loss and its derivatives by them.
    pub(super) fn run(
        &self,
        checkpointing: bool,
        gradients: &mut Gradients,
        objective: impl FnOnce(&[f32]) -> (f64, Vec<f32>),
    ) -> f64 {
        let layers = self.model.architecture().layers;
        let mut x = self.embed();
        let (mut kept, mut inputs) = (Vec::new(), Vec::new());
        for n in 0..layers {
            if checkpointing {
                inputs.push(x.clone());
                x = self.layer(n, x).0;
            } else {
                let (next, saved) = self.layer(n, x);
                (x, _) = (next, kept.push(saved));
            }
        }
        let head = Head { model: self.model, targets: &self.packed.targets };
        let d = self.model.architecture().d;
        let scored: Vec<f32> = self.packed.rows.iter().flat_map(|&r| &x[r * d..(r + 1) * d]).copied().collect();
        let normed = normalise_rows(self.model, &self.model.norm, &scored);
        let scores = head.scores(&normed);
        let (loss, derivatives) = objective(&scores.logprobs);
        let g = head.backward(&normed, &scores, &derivatives, self.adapter.is_none().then(|| gradients.head()));
        let mut dx = vec![0f32; x.len()];
        let mut scratch = Scratch::new(d);
        let mut trained = self.adapter.is_none().then(|| gradients.last_norm());
        for (i, &row) in self.packed.rows.iter().enumerate() {
            let range = i * d..(i + 1) * d;
            let to = &mut dx[row * d..(row + 1) * d];
            let pair = [&scored[range.clone()], &g[range]];
            normalise_backward(self.model, &self.model.norm, pair, to, &mut scratch, trained.as_deref_mut());
        }
        for n in (0..layers).rev() {
            let saved = match kept.pop() {
                Some(saved) => saved,
                None => self.layer(n, inputs.pop().unwrap_or_default()).1,
            };
            dx = self.layer_backward(n, saved, dx, gradients);
        }
        if self.adapter.is_none() {
            let table = gradients.embed();
            for (g, &token) in dx.chunks_exact(d).zip(&self.packed.tokens) {
                add(&mut table[token as usize * d..(token as usize + 1) * d], g);
            }
        }
        loss
    }

    fn embed(&self) -> Vec<f32> {
        let a = self.model.architecture();
        let mut x = vec![0f32; self.rows() * a.d];
        let positions = self.packed.spans.iter().flat_map(|&(_, rows)| 0..rows);
        for ((row, token), position) in x.chunks_exact_mut(a.d).zip(&self.packed.tokens).zip(positions) {
            self.model.embed.add_row(*token as usize, a.embed_scale, row);
            if let Some(table) = &self.model.positions {
                add(row, &table[position * a.d..(position + 1) * a.d]);
            }
        }
        x
    }

    fn norm(&self, n: usize, at: NormAt, x: &[f32]) -> Vec<f32> {
        self.model.layers[n].norm(at).map_or_else(|| x.to_vec(), |norm| normalise_rows(self.model, norm, x))
    }

    /// `dx` += gradient of a norm of `x`.
    fn norm_backward(&self, n: usize, at: NormAt, (x, g): (&[f32], &[f32]), dx: &mut [f32], gradients: &mut Gradients) {
        let Some(norm) = self.model.layers[n].norm(at) else { return add(dx, g) };
        let d = norm.weight.len();
        let mut scratch = Scratch::new(d);
        let mut trained = self.adapter.is_none().then(|| gradients.norm(n, at));
        for ((x, g), dx) in x.chunks_exact(d).zip(g.chunks_exact(d)).zip(dx.chunks_exact_mut(d)) {
            normalise_backward(self.model, norm, [x, g], dx, &mut scratch, trained.as_deref_mut());
        }
    }

    fn activated(&self, up: &[f32]) -> Vec<f32> {
        let a = self.model.architecture();
        let mut out = Vec::with_capacity(self.rows() * a.ff);
        for row in up.chunks_exact(a.up_dim()) {
            let (gate, rest) = row.split_at(a.ff);
            let first = out.len();
            out.extend_from_slice(gate);
            kernels::activate(a.activation, &mut out[first..], a.gated.then_some(rest));
        }
        out
    }

    /// One decoder layer: what it makes of `x`, and what its way back needs.
    fn layer(&self, n: usize, x: Vec<f32>) -> (Vec<f32>, Saved) {
        let (a, rows) = (self.model.architecture(), self.rows());
        let normed = self.norm(n, NormAt::Input, &x);
        let qkv = self.linear(n, Slot::Qkv).forward(&normed, rows);
        let attended = self.attention(n).forward(&qkv);
        let mut mixed = self.linear(n, Slot::Output).forward(&attended, rows);
        let mut before = [Vec::new(), Vec::new()];
        if a.residual == Residual::Sandwich {
            let normed = self.norm(n, NormAt::AfterAttention, &mixed);
            before[0] = std::mem::replace(&mut mixed, normed);
        }
        add(&mut mixed, &x);
        let middle = mixed; // x + attention
        let input = match a.residual {
            Residual::Sequential | Residual::Sandwich => self.norm(n, NormAt::Mlp, &middle),
            Residual::Parallel => self.norm(n, NormAt::Mlp, &x),
            Residual::ParallelShared => normed,
        };
        let up = self.linear(n, Slot::Up).forward(&input, rows);
        let mut out = self.linear(n, Slot::Down).forward(&self.activated(&up), rows);
        if a.residual == Residual::Sandwich {
            let normed = self.norm(n, NormAt::AfterMlp, &out);
            before[1] = std::mem::replace(&mut out, normed);
        }
        add(&mut out, &middle);
        (out, Saved { x, qkv, attended, middle, up, before })
    }

    /// Takes the gradient of a layer's output back to its input.
    fn layer_backward(&self, n: usize, saved: Saved, g: Vec<f32>, gradients: &mut Gradients) -> Vec<f32> {
        let (a, rows) = (self.model.architecture(), self.rows());
        let Saved { x, qkv, attended, middle, up, before } = saved;
        let sandwich = a.residual == Residual::Sandwich;
        // Feed-forward.
        let mut through = Vec::new();
        if sandwich {
            through = vec![0f32; g.len()];
            self.norm_backward(n, NormAt::AfterMlp, (&before[1], &g), &mut through, gradients);
        }
        let hidden = self.activated(&up);
        let d_hidden =
            self.linear(n, Slot::Down).backward(&hidden, if sandwich { &through } else { &g }, rows, gradients);
        drop(hidden);
        let mut d_up = vec![0f32; up.len()];
        for ((row, g), out) in
            up.chunks_exact(a.up_dim()).zip(d_hidden.chunks_exact(a.ff)).zip(d_up.chunks_exact_mut(a.up_dim()))
        {
            let ((gate, rest), (d_gate, d_rest)) = (row.split_at(a.ff), out.split_at_mut(a.ff));
            kernels::activate_backward(a.activation, gate, g, d_gate, a.gated.then_some((rest, d_rest)));
        }
        let source = match a.residual {
            Residual::Sequential | Residual::Sandwich => &middle,
            Residual::Parallel | Residual::ParallelShared => &x,
        };
        let at = if a.residual == Residual::ParallelShared { NormAt::Input } else { NormAt::Mlp };
        let d_input = self.linear(n, Slot::Up).backward(&self.norm(n, at, source), &d_up, rows, gradients);
        let mut dx = g.clone();
        self.norm_backward(n, at, (source, &d_input), &mut dx, gradients);
        // Attention: its output joined the stream either before the feed-forward layer read it, or beside it.
        let g = if matches!(a.residual, Residual::Sequential | Residual::Sandwich) { dx.clone() } else { g };
        let mut through = Vec::new();
        if sandwich {
            through = vec![0f32; g.len()];
            self.norm_backward(n, NormAt::AfterAttention, (&before[0], &g), &mut through, gradients);
        }
        let d_attended =
            self.linear(n, Slot::Output).backward(&attended, if sandwich { &through } else { &g }, rows, gradients);
        let d_qkv = self.attention(n).backward(&qkv, &d_attended);
        let d_normed = self.linear(n, Slot::Qkv).backward(&self.norm(n, NormAt::Input, &x), &d_qkv, rows, gradients);
        self.norm_backward(n, NormAt::Input, (&x, &d_normed), &mut dx, gradients);
        dx
    }
}
