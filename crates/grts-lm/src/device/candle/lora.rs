//! Low-rank updates of a batch whose rows speak through different adapters.
//!
//! The adapters of a batch are stacked, shorter ones and missing modules filled with zeros, and its rows are laid out as
//! `(adapters, most rows of one, in)`: two products a map, however many adapters there are. On a device the number
//! of launches is what counts, not the zeros. The modules of a map share one A; their B lie beside each other, block by block.

use super::rows::Routing;
use crate::architecture::{Architecture, Slot};
use crate::lora::Adapter;
use candle_core::{D, Device, Result, Tensor};
use std::sync::{Arc, OnceLock};

/// A `(Σ r, in)` and B `(Σ r, out)`, scale inside, of each adapted map: `[layer][slot]`.
type Slots = Vec<[Option<[Tensor; 2]>; 4]>;

/// An adapter's tensors on the device that asked first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Loras(OnceLock<Arc<Slots>>);

/// The maps of `adapter`, whose pair of layer n and module i is `pair(n, i)`: A `(r, in)`, B `(rows, r)` in the module's order.
pub(super) fn slots(
    a: &Architecture,
    adapter: &Adapter,
    device: &Device,
    pair: impl Fn(usize, usize) -> Result<Option<[Tensor; 2]>>,
) -> Result<Slots> {
    let scale = f64::from(adapter.config().scale());
    let map = |n: usize, slot: Slot| -> Result<Option<[Tensor; 2]>> {
        let (out, _) = a.shape(slot);
        let (mut all_a, mut all_b) = (Vec::new(), Vec::new());
        for (i, module) in a.modules.iter().enumerate().filter(|(_, module)| module.slot == slot) {
            let Some([low, mut high]) = pair(n, i)? else { continue };
            if let Some(order) = &module.order {
                let order: Vec<u32> = order.iter().map(|&row| row as u32).collect();
                high = high.index_select(&Tensor::new(order, device)?, 0)?;
            }
            let after = out - module.first - module.rows;
            all_b.push(high.t()?.contiguous()?.pad_with_zeros(1, module.first, after)?.affine(scale, 0.0)?);
            all_a.push(low);
        }
        Ok(if all_a.is_empty() { None } else { Some([Tensor::cat(&all_a, 0)?, Tensor::cat(&all_b, 0)?]) })
    };
    let layer = |n| {
        let [qkv, output, up, down] = Slot::ALL.map(|slot| map(n, slot));
        Ok([qkv?, output?, up?, down?])
    };
    (0..a.layers).map(layer).collect()
}

fn of_adapter(a: &Architecture, adapter: &Adapter, device: &Device) -> Result<Arc<Slots>> {
    let r = adapter.config().r;
    let pair = |n: usize, i: usize| {
        let Some(pair) = adapter.get(n, i) else { return Ok(None) };
        let low = Tensor::from_slice(&pair.a, (r, pair.a.len() / r), device)?;
        Ok(Some([low, Tensor::from_slice(&pair.b, (pair.b.len() / r, r), device)?]))
    };
    let here = |slots: &&Arc<Slots>| {
        slots.iter().flatten().flatten().next().is_some_and(|[low, _]| low.device().same_device(device))
    };
    let kept = &adapter.forms().device.0;
    if let Some(slots) = kept.get().filter(here) {
        return Ok(Arc::clone(slots));
    }
    let slots = Arc::new(self::slots(a, adapter, device, pair)?);
    // Where another device was first, nothing is kept.
    let _ = kept.set(Arc::clone(&slots));
    Ok(slots)
}

/// The adapters of a batch: A `(k, Σ r, in)`, B `(k, Σ r, out)` of each map that any of them adapts.
pub(super) struct Lora(Slots);

impl Lora {
    /// `None` where every row is the base's.
    pub(super) fn of(a: &Architecture, adapters: &[Option<&Adapter>], device: &Device) -> Result<Option<Self>> {
        if adapters.iter().all(Option::is_none) {
            return Ok(None);
        }
        let own = |adapter: &Option<&Adapter>| adapter.map(|adapter| of_adapter(a, adapter, device)).transpose();
        let all = adapters.iter().map(own).collect::<Result<Vec<_>>>()?;
        let map = |n: usize, slot: usize| stack(all.iter().map(|slots| slots.as_ref()?[n][slot].as_ref()).collect());
        let layer = |n| Ok([map(n, 0)?, map(n, 1)?, map(n, 2)?, map(n, 3)?]);
        Ok(Some(Self((0..a.layers).map(layer).collect::<Result<_>>()?)))
    }

    /// One adapter, whose tensors may be in training.
    pub(super) fn one(slots: &Slots) -> Result<Self> {
        let map = |of: &Option<[Tensor; 2]>| stack(vec![of.as_ref()]);
        let layer = |[q, o, u, d]: &[_; 4]| Ok([map(q)?, map(o)?, map(u)?, map(d)?]);
        Ok(Self(slots.iter().map(layer).collect::<Result<_>>()?))
    }

    /// What is added to a map's output for `x (n, in)`: `(n, out)`.
    pub(super) fn update(&self, n: usize, slot: Slot, x: &Tensor, routing: &Routing) -> Result<Option<Tensor>> {
        let Some([low, high]) = &self.0[n][slot as usize] else { return Ok(None) };
        let rows = routing.spread(x)?.contiguous()?; // (k, m, in)
        let out = rows.matmul(&low.transpose(1, 2)?)?.matmul(high)?; // (k, m, out)
        routing.collect(&out.flatten_to(1)?).map(Some)
    }
}

/// Stacks one map of several adapters, with zeros where one has less.
fn stack(maps: Vec<Option<&[Tensor; 2]>>) -> Result<Option<[Tensor; 2]>> {
    let widest = maps.iter().flatten().map(|[low, _]| low.dims()[0]).max().unwrap_or(0);
    let Some(some) = maps.iter().flatten().next() else { return Ok(None) };
    let side = |i: usize| {
        let filled = |map: &Option<&[Tensor; 2]>| match map {
            Some(map) => map[i].pad_with_zeros(0, 0, widest - map[i].dim(0)?),
            None => Tensor::zeros((widest, some[i].dim(D::Minus1)?), some[i].dtype(), some[i].device()),
        };
        Tensor::stack(&maps.iter().map(filled).collect::<Result<Vec<_>>>()?, 0)
    };
    Ok(Some([side(0)?, side(1)?]))
}
