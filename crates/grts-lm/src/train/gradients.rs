//! Where a shard's gradients are added up: one buffer for each trained parameter.

use crate::lora::Adapter;
use crate::weights::{Model, NormAt, Parameter};

/// Gradients by parameter, in the order of the trainer's parameters.
pub(super) struct Gradients {
    pub(super) values: Vec<Vec<f32>>,
    places: Places,
}

/// Index of each parameter.
enum Places {
    /// Index of A by layer and module; B comes after it.
    Adapter(Vec<Vec<Option<usize>>>),
    Everything {
        modules: usize,
        layers: usize,
    },
}

impl Gradients {
    pub(super) fn new(model: &Model, adapter: Option<&Adapter>, parameters: &[Parameter]) -> Self {
        let a = model.architecture();
        let places = match adapter {
            Some(adapter) => {
                let mut next = 0;
                let mut place = |n, i| {
                    adapter.get(n, i).map(|_| {
                        next += 2;
                        next - 2
                    })
                };
                Places::Adapter((0..a.layers).map(|n| (0..a.modules.len()).map(|i| place(n, i)).collect()).collect())
            }
            None => Places::Everything { modules: a.modules.len(), layers: a.layers },
        };
        Self { values: parameters.iter().map(|p| vec![0.0; p.data.len()]).collect(), places }
    }

    /// A's and B's of one adapted module.
    pub(super) fn pair(&mut self, layer: usize, module: usize) -> [&mut [f32]; 2] {
        let at = match &self.places {
            Places::Adapter(places) => places[layer][module].unwrap_or_default(),
            Places::Everything { .. } => 0,
        };
        let [a, b] = &mut self.values[at..at + 2] else { return [&mut [], &mut []] };
        [a, b]
    }

    // The whole model's parameters lie as the plain Llama layout has them: embedding; each layer's modules and two norms;
    // the last norm; the head, where it is not the embedding.

    fn in_layer(&self, layer: usize, i: usize) -> usize {
        match self.places {
            Places::Everything { modules, .. } => 1 + layer * (modules + 2) + i,
            Places::Adapter(_) => 0,
        }
    }

    pub(super) fn embed(&mut self) -> &mut [f32] {
        &mut self.values[0]
    }

    pub(super) fn weight(&mut self, layer: usize, module: usize) -> &mut [f32] {
        let at = self.in_layer(layer, module);
        &mut self.values[at]
    }

    pub(super) fn norm(&mut self, layer: usize, at: NormAt) -> &mut [f32] {
        let Places::Everything { modules, .. } = self.places else { return &mut [] };
        let at = self.in_layer(layer, modules + usize::from(at == NormAt::Mlp));
        &mut self.values[at]
    }

    pub(super) fn last_norm(&mut self) -> &mut [f32] {
        let Places::Everything { layers, .. } = self.places else { return &mut [] };
        let at = self.in_layer(layers, 0);
        &mut self.values[at]
    }

    pub(super) fn head(&mut self) -> &mut [f32] {
        let Places::Everything { layers, .. } = self.places else { return &mut [] };
        let at = self.in_layer(layers, 1);
        let at = if at < self.values.len() { at } else { 0 };
        &mut self.values[at]
    }

    /// Adds another shard's.
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, more) in self.values.iter_mut().zip(&other.values) {
            crate::kernels::axpy(sum, 1.0, more);
        }
    }
}
