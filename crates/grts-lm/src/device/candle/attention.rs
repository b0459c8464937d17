//! Causal attention of a pass: head norms, rotary positions, windows, soft caps, caches.
//!
//! A text's key of position p lies in cell p of its row, so that what a query sees is a matter of two numbers. Flash
//! attention is used where the build has it and the tensors qualify (half precision on a GPU, nothing to be trained);
//! its inputs are the packed rows themselves.

use super::decoder::{Pass, softcap, softmax};
use crate::architecture::Architecture;
use crate::weights::NormAt;
use candle_core::{DType, Device, Result, Tensor};

/// Keys and values `(b · capacity, kv)` of each layer of a batch.
pub(super) struct Store {
    layers: Vec<[Tensor; 2]>,
    capacity: usize,
    /// Cell of each new row, `(n, kv)`: what `scatter_set` asks for.
    cells: Option<Tensor>,
}

impl Store {
    /// Room for `texts` texts of `capacity` tokens.
    pub(super) fn new(
        a: &Architecture,
        (texts, capacity): (usize, usize),
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let zeros = || Tensor::zeros((texts * capacity, a.kv_dim()), dtype, device);
        let layers = (0..a.layers).map(|_| Ok([zeros()?, zeros()?])).collect::<Result<_>>()?;
        Ok(Self { layers, capacity, cells: None })
    }

    /// Copies a text's keys and values, `[layer]`, in.
    pub(super) fn put(&self, text: usize, cache: &[[Tensor; 2]]) -> Result<()> {
        for (own, from) in self.layers.iter().zip(cache) {
            for (own, from) in own.iter().zip(from) {
                own.slice_set(from, 0, text * self.capacity)?;
            }
        }
        Ok(())
    }

    /// Copies the first `count` keys and values of a text, `[layer]`, out.
    pub(super) fn take(&self, text: usize, count: usize) -> Result<Vec<[Tensor; 2]>> {
        // Not `copy`, which would copy the whole store for each text.
        let own = |t: &Tensor| t.narrow(0, text * self.capacity, count)?.force_contiguous();
        self.layers.iter().map(|[k, v]| Ok([own(k)?, own(v)?])).collect()
    }

    /// Makes ready for new rows at these texts and positions.
    pub(super) fn expect(&mut self, places: &[(usize, usize)], a: &Architecture, device: &Device) -> Result<()> {
        let cells: Vec<u32> = places.iter().map(|(text, at)| (text * self.capacity + at) as u32).collect();
        let cells = Tensor::new(cells, device)?.reshape(((), 1))?;
        self.cells = Some(cells.broadcast_as((places.len(), a.kv_dim()))?.contiguous()?);
        Ok(())
    }

    /// Writes new rows of a layer; all of its keys and values that are seen, `(b, s, kv)` each.
    fn extend(&self, layer: usize, new: [&Tensor; 2], seen: usize) -> Result<[Tensor; 2]> {
        let write = |own: &Tensor, new: &Tensor| {
            if let Some(cells) = &self.cells {
                own.scatter_set(cells, &new.contiguous()?, 0)?;
            }
            let width = own.dim(1)?;
            own.reshape(((), self.capacity, width))?.narrow(1, 0, seen)
        };
        let [k, v] = &self.layers[layer];
        Ok([write(k, new[0])?, write(v, new[1])?])
    }
}

/// Where keys and values are.
pub(super) enum Keys<'a> {
    /// In the rows of this pass: whole texts.
    Own,
    /// In a store, which the rows of this pass are added to.
    Stored(&'a mut Store),
}

impl Pass<'_> {
    /// `(n, q + 2 kv)` → `(n, q)`.
    pub(super) fn attention(&self, n: usize, qkv: &Tensor, keys: &mut Keys<'_>) -> Result<Tensor> {
        let (a, grid) = (self.a(), &self.rows.grid);
        let dtype = self.decoder.dtype;
        let part = |first, width| qkv.narrow(1, first, width)?.contiguous();
        let q = self.prepared(n, &part(0, a.q_dim())?, NormAt::Query)?.to_dtype(dtype)?;
        let k = self.prepared(n, &part(a.q_dim(), a.kv_dim())?, NormAt::Key)?.to_dtype(dtype)?;
        let v = part(a.q_dim() + a.kv_dim(), a.kv_dim())?.to_dtype(dtype)?;
        let [k, v] = match keys {
            Keys::Own => [grid.spread(&k)?, grid.spread(&v)?],
            Keys::Stored(store) => store.extend(n, [&k, &v], grid.seen)?,
        };
        #[cfg(feature = "flash-attn")]
        if super::flash::qualifies(a, &q) {
            return super::flash::attention(a, n, grid, [&q, &k, &v]);
        }
        let (b, t, s) = (grid.texts, grid.most, grid.seen);
        let (kv, group, dh) = (a.kv_heads, a.heads / a.kv_heads, a.head_dim);
        let q = grid.spread(&q)?.reshape((b, t, kv, group, dh))?.permute((0, 2, 3, 1, 4))?;
        let q = q.reshape((b, kv, group * t, dh))?;
        let k = k.reshape((b, s, kv, dh))?.permute((0, 2, 3, 1))?.contiguous()?;
        let v = v.reshape((b, s, kv, dh))?.transpose(1, 2)?.contiguous()?;
        let scores = q.matmul(&k)?.to_dtype(DType::F32)?.affine(f64::from(a.attention_scale), 0.0)?;
        let mut scores = softcap(scores, a.attention_softcap)?.reshape((b, kv, group, t, s))?;
        if let Some(mask) = grid.mask(a.windows[n]) {
            scores = scores.broadcast_add(mask)?;
        }
        let p = softmax(&scores)?.to_dtype(dtype)?.reshape((b, kv, group * t, s))?;
        let mixed = p.matmul(&v)?.reshape((b, kv, group, t, dh))?.permute((0, 3, 1, 2, 4))?;
        grid.collect(&mixed.reshape((b * t, a.q_dim()))?)?.to_dtype(DType::F32)
    }

    /// Heads `(n, heads · dh)` of queries or keys with norm and rotation done.
    fn prepared(&self, layer: usize, x: &Tensor, at: NormAt) -> Result<Tensor> {
        let (n, width) = x.dims2()?;
        let dh = self.a().head_dim;
        let x = self.norm(layer, at, &x.reshape((n, width / dh, dh))?)?;
        let Some(table) = self.a().rope_of[layer] else { return x.reshape((n, width)) };
        let [cos, sin] = &self.rows.angles[table];
        let half = cos.dim(2)?;
        let (first, second) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
        let turned = [
            (first.broadcast_mul(cos)? - second.broadcast_mul(sin)?)?,
            (second.broadcast_mul(cos)? + first.broadcast_mul(sin)?)?,
            x.narrow(2, 2 * half, dh - 2 * half)?,
        ];
        let kept = if 2 * half == dh { &turned[..2] } else { &turned[..] };
        Tensor::cat(kept, 2)?.reshape((n, width))
    }
}

#[cfg(test)]
mod tests {
    use super::Store;
    use candle_core::{Device, Storage, Tensor};

    #[test]
    fn what_a_text_takes_along_is_its_own_and_no_more() {
        let cell = |first: f32| Tensor::arange(first, first + 24.0, &Device::Cpu).unwrap().reshape((12, 2)).unwrap();
        let store = Store { layers: vec![[cell(0.0), cell(100.0)]], capacity: 4, cells: None };
        let taken = store.take(1, 3).unwrap();
        for (tensor, first) in taken[0].iter().zip([8.0, 108.0]) {
            let numbers = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(numbers, (0..6).map(|i| first + i as f32).collect::<Vec<_>>());
            let Storage::Cpu(storage) = &*tensor.storage_and_layout().0 else { panic!("not on the processor") };
            assert_eq!(storage.as_slice::<f32>().unwrap().len(), 6);
        }
        store.put(2, &taken).unwrap();
        assert_eq!(store.take(2, 3).unwrap()[0][1].to_vec2::<f32>().unwrap()[2], [112.0, 113.0]);
    }
}
