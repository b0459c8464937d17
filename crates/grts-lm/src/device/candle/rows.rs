//! What one pass reads, as index tensors: packed rows, and how attention and adapters see them as grids.
//!
//! Rows of tokens lie end to end, without padding, through everything that works on rows. Attention wants `(texts, most
//! new tokens)`, low-rank products `(adapters, most rows)`; both are gathers there and back, and no gather at all where the
//! grid is the packed order, as in a step of generation.

use crate::architecture::Architecture;
use crate::weights::Model;
use candle_core::{Device, Result, Tensor};

/// Consecutive new tokens of one text.
#[derive(Debug, Clone)]
pub(super) struct Span {
    /// Which text of the batch.
    pub(super) text: usize,
    /// Position of the first of them.
    pub(super) position: usize,
    /// New tokens; at least one.
    pub(super) tokens: Vec<u32>,
    /// Which adapter of the batch.
    pub(super) adapter: usize,
}

/// Rows of a pass.
pub(super) struct Rows {
    /// Token ids `(n)`.
    pub(super) tokens: Tensor,
    /// Positions `(n)`.
    pub(super) positions: Tensor,
    /// Cosines and sines `(n, 1, half)` of each rotary table.
    pub(super) angles: Vec<[Tensor; 2]>,
    /// As attention sees them.
    pub(super) grid: Grid,
    /// As adapters see them.
    pub(super) routing: Routing,
}

impl Rows {
    /// Rows of `spans`, of a batch of so many texts and adapters.
    pub(super) fn new(model: &Model, spans: &[Span], sizes: (usize, usize), device: &Device) -> Result<Self> {
        let tokens: Vec<u32> = spans.iter().flat_map(|span| &span.tokens).copied().collect();
        let positions: Vec<usize> =
            spans.iter().flat_map(|span| span.position..span.position + span.tokens.len()).collect();
        let reach = positions.iter().max().map_or(1, |last| last + 1);
        let tables = model.ropes.iter().map(|rope| {
            let angles = rope.angles(reach);
            let (mut cos, mut sin) = (Vec::new(), Vec::new());
            for &position in &positions {
                let (c, s) = angles.at(position);
                cos.extend_from_slice(c);
                sin.extend_from_slice(s);
            }
            let table = |values: Vec<f32>| {
                let half = values.len() / positions.len();
                Tensor::from_vec(values, (positions.len(), 1, half), device)
            };
            Ok([table(cos)?, table(sin)?])
        });
        let angles = tables.collect::<Result<_>>()?;
        let (texts, adapters) = sizes;
        let owners: Vec<usize> = spans.iter().flat_map(|s| std::iter::repeat_n(s.adapter, s.tokens.len())).collect();
        Ok(Self {
            angles,
            grid: Grid::new(model.architecture(), spans, texts, device)?,
            routing: Routing::new(&owners, adapters, device)?,
            positions: Tensor::new(positions.iter().map(|&p| p as u32).collect::<Vec<_>>(), device)?,
            tokens: Tensor::new(tokens, device)?,
        })
    }
}

/// A gather of packed rows into a grid, and back; `None` where both have the same order.
struct Gather(Option<[Tensor; 2]>);

impl Gather {
    /// `spread[cell]` is the row of a cell, `collect[row]` the cell of a row.
    fn new(spread: Vec<u32>, collect: Vec<u32>, device: &Device) -> Result<Self> {
        let same = spread.len() == collect.len() && collect.iter().enumerate().all(|(i, x)| i as u32 == *x);
        if same {
            return Ok(Self(None));
        }
        Ok(Self(Some([Tensor::new(spread, device)?, Tensor::new(collect, device)?])))
    }

    fn spread(&self, x: &Tensor) -> Result<Tensor> {
        self.0.as_ref().map_or_else(|| Ok(x.clone()), |[spread, _]| x.contiguous()?.index_select(spread, 0))
    }

    fn collect(&self, x: &Tensor) -> Result<Tensor> {
        self.0.as_ref().map_or_else(|| Ok(x.clone()), |[_, collect]| x.contiguous()?.index_select(collect, 0))
    }
}

/// Rows by text. A cell beyond a text's new tokens repeats the last of them; its result is dropped.
pub(super) struct Grid {
    /// Texts `b`.
    pub(super) texts: usize,
    /// Most new tokens of a text, `t`.
    pub(super) most: usize,
    /// Positions that any of them sees, `s`.
    pub(super) seen: usize,
    /// Of each packed row, its text and position.
    pub(super) places: Vec<(usize, usize)>,
    gather: Gather,
    /// By window: 0 where a key is seen and −∞ where not, `(b, 1, 1, t, s)`; `None` where all are.
    masks: Vec<(Option<usize>, Option<Tensor>)>,
    /// As flash attention sees them.
    #[cfg(feature = "flash-attn")]
    pub(super) ends: Ends,
}

impl Grid {
    fn new(a: &Architecture, spans: &[Span], texts: usize, device: &Device) -> Result<Self> {
        let most = spans.iter().map(|span| span.tokens.len()).max().unwrap_or(0);
        let seen = spans.iter().map(|span| span.position + span.tokens.len()).max().unwrap_or(0);
        let (mut spread, mut cells) = (vec![0u32; texts * most], vec![0usize; texts * most]);
        let (mut collect, mut places) = (Vec::new(), Vec::new());
        for span in spans {
            let count = span.tokens.len();
            for i in 0..most {
                let own = i.min(count - 1);
                spread[span.text * most + i] = (places.len() + own) as u32;
                cells[span.text * most + i] = span.position + own;
            }
            collect.extend((0..count).map(|i| (span.text * most + i) as u32));
            places.extend((0..count).map(|i| (span.text, span.position + i)));
        }
        let gather = Gather::new(spread, collect, device)?;
        let mut masks: Vec<(Option<usize>, Option<Tensor>)> = Vec::new();
        for n in 0..a.layers {
            if masks.iter().any(|(window, _)| *window == a.windows[n]) {
                continue;
            }
            let hidden = |position: &usize| {
                let sees = a.first_seen(n, *position)..position + 1;
                (0..seen).map(move |key| if sees.contains(&key) { 0.0 } else { f32::NEG_INFINITY })
            };
            let mask: Vec<f32> = cells.iter().flat_map(hidden).collect();
            let all = mask.iter().all(|x| *x == 0.0);
            let tensor = || Tensor::from_vec(mask, (texts, 1, 1, most, seen), device);
            masks.push((a.windows[n], if all { None } else { Some(tensor()?) }));
        }
        Ok(Self {
            texts,
            most,
            seen,
            places,
            gather,
            masks,
            #[cfg(feature = "flash-attn")]
            ends: Ends::new(spans, seen, device)?,
        })
    }

    /// `(n, w)` → `(b, t, w)`.
    pub(super) fn spread(&self, x: &Tensor) -> Result<Tensor> {
        self.gather.spread(x)?.reshape((self.texts, self.most, x.dim(1)?))
    }

    /// `(b · t, w)` → `(n, w)`.
    pub(super) fn collect(&self, x: &Tensor) -> Result<Tensor> {
        self.gather.collect(x)
    }

    /// The mask of a layer with this window.
    pub(super) fn mask(&self, window: Option<usize>) -> Option<&Tensor> {
        self.masks.iter().find(|(other, _)| *other == window)?.1.as_ref()
    }
}

/// Texts end to end: where the new tokens of each end, and its keys.
#[cfg(feature = "flash-attn")]
pub(super) struct Ends {
    /// `(b + 1)`, from 0.
    pub(super) queries: Tensor,
    /// `(b + 1)`, from 0.
    pub(super) keys: Tensor,
    /// Of each key, its cell in `(b, s)`.
    pub(super) cells: Tensor,
}

#[cfg(feature = "flash-attn")]
impl Ends {
    fn new(spans: &[Span], seen: usize, device: &Device) -> Result<Self> {
        let (mut queries, mut keys, mut cells) = (vec![0u32], vec![0u32], Vec::new());
        let mut read = 0;
        for span in spans {
            let first = span.text * seen;
            cells.extend((first..first + span.position + span.tokens.len()).map(|cell| cell as u32));
            read += span.tokens.len();
            queries.push(read as u32);
            keys.push(cells.len() as u32);
        }
        let tensor = |values| Tensor::new::<Vec<u32>>(values, device);
        Ok(Self { queries: tensor(queries)?, keys: tensor(keys)?, cells: tensor(cells)? })
    }
}

/// Rows by adapter. A cell beyond an adapter's rows holds some other row; its result is dropped.
pub(super) struct Routing {
    adapters: usize,
    gather: Gather,
}

impl Routing {
    fn new(owners: &[usize], adapters: usize, device: &Device) -> Result<Self> {
        let mut rows = vec![Vec::new(); adapters];
        owners.iter().enumerate().for_each(|(row, &owner)| rows[owner].push(row as u32));
        let most = rows.iter().map(Vec::len).max().unwrap_or(0);
        let (mut spread, mut collect) = (vec![0; adapters * most], vec![0; owners.len()]);
        for (k, own) in rows.iter().enumerate() {
            for (i, &row) in own.iter().enumerate() {
                spread[k * most + i] = row;
                collect[row as usize] = (k * most + i) as u32;
            }
        }
        Ok(Self { adapters, gather: Gather::new(spread, collect, device)? })
    }

    /// `(n, w)` → `(k, m, w)`.
    pub(super) fn spread(&self, x: &Tensor) -> Result<Tensor> {
        let rows = self.gather.spread(x)?;
        rows.reshape((self.adapters, rows.dim(0)? / self.adapters, x.dim(1)?))
    }

    /// `(k · m, w)` → `(n, w)`.
    pub(super) fn collect(&self, x: &Tensor) -> Result<Tensor> {
        self.gather.collect(x)
    }
}
