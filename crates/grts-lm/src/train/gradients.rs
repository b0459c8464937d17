//! Where a shard's gradients are added up: one buffer for each trained parameter.

use crate::lora::Adapter;
use crate::weights::{Model, NormAt, Parameter};

/// Gradients by parameter, in the order of the trainer's parameters.
pub(super) struct Gradients {
    pub(super) values: Vec<Vec<f32>>,
    /// `[layer][module]`: index of an adapted module's A, after which its B comes, or of the module's weight. `None` for what
    /// is not trained, which nobody asks for.
    modules: Vec<Vec<Option<usize>>>,
}

impl Gradients {
    pub(super) fn new(model: &Model, adapter: Option<&Adapter>, parameters: &[Parameter]) -> Self {
        let a = model.architecture();
        // A whole model begins with its embedding and has two norms after each layer's modules.
        let mut next = usize::from(adapter.is_none());
        let mut layer = |n: usize| {
            let place = |i: usize| {
                let step = adapter.map_or(Some(1), |adapter| adapter.get(n, i).map(|_| 2))?;
                next += step;
                Some(next - step)
            };
            let places = (0..a.modules.len()).map(place).collect();
            next += if adapter.is_none() { 2 } else { 0 };
            places
        };
        let modules = (0..a.layers).map(&mut layer).collect();
        Self { values: parameters.iter().map(|p| vec![0.0; p.data.len()]).collect(), modules }
    }

    fn place(&self, layer: usize, module: usize) -> usize {
        self.modules[layer][module].unwrap_or_default()
    }

    /// A's and B's of one adapted module.
    pub(super) fn pair(&mut self, layer: usize, module: usize) -> [&mut [f32]; 2] {
        let at = self.place(layer, module);
        let (a, b) = self.values[at..].split_at_mut(1);
        [&mut a[0], &mut b[0]]
    }

    // What follows is of whole models. Their parameters lie as the plain Llama layout has them: embedding; each layer's modules
    // and two norms; the last norm; the head, where it is not the embedding.

    pub(super) fn embed(&mut self) -> &mut [f32] {
        &mut self.values[0]
    }

    pub(super) fn weight(&mut self, layer: usize, module: usize) -> &mut [f32] {
        let at = self.place(layer, module);
        &mut self.values[at]
    }

    pub(super) fn norm(&mut self, layer: usize, at: NormAt) -> &mut [f32] {
        let at = self.place(layer, self.modules[layer].len() - 1) + 1 + usize::from(at == NormAt::Mlp);
        &mut self.values[at]
    }

    pub(super) fn last_norm(&mut self) -> &mut [f32] {
        let at = self.after_layers();
        &mut self.values[at]
    }

    pub(super) fn head(&mut self) -> &mut [f32] {
        let at = self.after_layers() + 1;
        let tied = at == self.values.len();
        &mut self.values[if tied { 0 } else { at }]
    }

    fn after_layers(&self) -> usize {
        let last = self.modules.len() - 1;
        self.place(last, self.modules[last].len() - 1) + 3
    }

    /// Adds another shard's.
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, more) in self.values.iter_mut().zip(&other.values) {
            crate::kernels::axpy(sum, 1.0, more);
        }
    }
}
