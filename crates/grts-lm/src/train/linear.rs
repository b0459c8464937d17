//! A layer's linear maps with whatever is trained of them: nothing, low-rank adapters, or the weights themselves.

use super::Gradients;
use crate::architecture::{Module, Slot};
use crate::kernels::{View, ViewMut, matmul};
use crate::lora::Adapter;
use crate::weights::Model;

/// One map of one layer.
#[derive(Clone, Copy)]
pub(super) struct Linear<'a> {
    pub(super) model: &'a Model,
    pub(super) adapter: Option<&'a Adapter>,
    pub(super) layer: usize,
    pub(super) slot: Slot,
}

/// An adapted module of the map: A `(r, in)`, B `(rows, r)` in the order of the map's columns.
struct Part<'a> {
    index: usize,
    module: &'a Module,
    a: &'a [f32],
    b: std::borrow::Cow<'a, [f32]>,
}

impl<'a> Linear<'a> {
    fn parts(&self) -> Vec<Part<'a>> {
        let Some(adapter) = self.adapter else { return Vec::new() };
        let r = adapter.config().r;
        let modules = self.model.architecture().modules.iter().enumerate().filter(|(_, m)| m.slot == self.slot);
        let part = |(index, module): (usize, &'a Module)| {
            let pair = adapter.get(self.layer, index)?;
            let b = match &module.order {
                None => pair.b.as_slice().into(),
                Some(order) => {
                    order.iter().flat_map(|o| &pair.b[o * r..(o + 1) * r]).copied().collect::<Vec<_>>().into()
                }
            };
            Some(Part { index, module, a: &pair.a, b })
        };
        modules.filter_map(part).collect()
    }

    /// A x of all parts, `(n, parts · r)`.
    fn low(parts: &[Part<'_>], x: &[f32], (n, input, r): (usize, usize, usize)) -> Vec<f32> {
        let width = parts.len() * r;
        let mut low = vec![0f32; n * width];
        for (p, part) in parts.iter().enumerate() {
            let to = ViewMut::columns(&mut low, n, width, p * r, r);
            matmul(to, false, 1.0, View::new(x, n, input), View::new(part.a, r, input).t());
        }
        low
    }

    /// `W x + bias + s · B (A x)`, `(n, out)`.
    pub(super) fn forward(&self, x: &[f32], n: usize) -> Vec<f32> {
        let map = self.model.layers[self.layer].map(self.slot);
        let (o, i) = (map.weight.out(), map.weight.input());
        let mut out = vec![0f32; n * o];
        map.weight.forward(x, n, &mut out);
        if let Some(bias) = &map.bias {
            out.chunks_exact_mut(o).for_each(|row| row.iter_mut().zip(bias).for_each(|(x, b)| *x += b));
        }
        let (Some(adapter), parts) = (self.adapter, self.parts()) else { return out };
        let r = adapter.config().r;
        let low = Self::low(&parts, x, (n, i, r));
        for (p, part) in parts.iter().enumerate() {
            let to = ViewMut::columns(&mut out, n, o, part.module.first, part.module.rows);
            let b = View::new(&part.b, part.module.rows, r).t();
            matmul(to, true, adapter.config().scale(), View::columns(&low, n, parts.len() * r, p * r, r), b);
        }
        out
    }

    /// Gradient by `x`, `(n, in)`; gradients of what is trained are added to `gradients`. With `g` the gradient of the output:
    /// dlow = s · g B, dB = s · gᵀ low, dA = dlowᵀ x, dx = g W + dlow A; or dW = gᵀ x.
    pub(super) fn backward(&self, x: &[f32], g: &[f32], n: usize, gradients: &mut Gradients) -> Vec<f32> {
        let map = self.model.layers[self.layer].map(self.slot);
        let (o, i) = (map.weight.out(), map.weight.input());
        let mut dx = vec![0f32; n * i];
        map.weight.backward(g, n, &mut dx);
        match self.adapter {
            Some(adapter) => self.adapter_backward(adapter, [x, g], n, &mut dx, gradients),
            None => {
                for (index, module) in self.model.architecture().modules.iter().enumerate() {
                    if module.slot == self.slot {
                        let dw = gradients.weight(self.layer, index);
                        let g = View::columns(g, n, o, module.first, module.rows).t();
                        matmul(ViewMut::new(dw, module.rows, i), true, 1.0, g, View::new(x, n, i));
                    }
                }
            }
        }
        dx
    }

    fn adapter_backward(
        &self,
        adapter: &Adapter,
        [x, g]: [&[f32]; 2],
        n: usize,
        dx: &mut [f32],
        gradients: &mut Gradients,
    ) {
        let parts = self.parts();
        let (o, i) = self.model.architecture().shape(self.slot);
        let (r, scale) = (adapter.config().r, adapter.config().scale());
        let low = Self::low(&parts, x, (n, i, r));
        for (p, part) in parts.iter().enumerate() {
            let (rows, first) = (part.module.rows, part.module.first);
            let g = View::columns(g, n, o, first, rows);
            let mut d_low = vec![0f32; n * r];
            matmul(ViewMut::new(&mut d_low, n, r), false, scale, g, View::new(&part.b, rows, r));
            let d_low = View::new(&d_low, n, r);
            let [da, db] = gradients.pair(self.layer, part.index);
            let low = View::columns(&low, n, parts.len() * r, p * r, r);
            match &part.module.order {
                None => matmul(ViewMut::new(db, rows, r), true, scale, g.t(), low),
                Some(order) => {
                    let mut own = vec![0f32; rows * r];
                    matmul(ViewMut::new(&mut own, rows, r), false, scale, g.t(), low);
                    for (from, &to) in own.chunks_exact(r).zip(order) {
                        db[to * r..(to + 1) * r].iter_mut().zip(from).for_each(|(x, y)| *x += y);
                    }
                }
            }
            matmul(ViewMut::new(da, r, i), true, 1.0, d_low.t(), View::new(x, n, i));
            matmul(ViewMut::new(dx, n, i), true, 1.0, d_low, View::new(part.a, r, i));
        }
    }
}
