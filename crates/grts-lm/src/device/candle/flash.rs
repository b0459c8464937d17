//! Flash attention, from candle's kernels: forward only, half precision, on a GPU.
//!
//! It takes texts end to end, as the rows of a pass lie already, and lets the last new token of a text see its last key. Keys
//! and values are gathered out of the store, since it has room behind each text.

use super::rows::Grid;
use crate::architecture::Architecture;
use candle_core::{DType, Result, Tensor};

/// Widest head of the kernels.
const WIDEST: usize = 256;

/// Whether the kernels take these queries.
pub(super) fn qualifies(a: &Architecture, q: &Tensor) -> bool {
    let head = a.head_dim.is_multiple_of(8) && a.head_dim <= WIDEST;
    head && q.device().is_cuda() && q.dtype() == DType::BF16 && !q.track_op()
}

/// Queries `(n, q)`, keys and values `(b, s, kv)` → `(n, q)` as `f32`.
pub(super) fn attention(a: &Architecture, layer: usize, grid: &Grid, [q, k, v]: [&Tensor; 3]) -> Result<Tensor> {
    let seen = |x: &Tensor| {
        let rows = x.contiguous()?.reshape(((), a.kv_dim()))?.index_select(&grid.ends.cells, 0)?;
        rows.reshape(((), a.kv_heads, a.head_dim))
    };
    let out = candle_flash_attn::flash_attn_varlen_alibi_windowed_softcap(
        &q.reshape(((), a.heads, a.head_dim))?,
        &seen(k)?,
        &seen(v)?,
        None,
        &grid.ends.queries,
        &grid.ends.keys,
        grid.most,
        grid.seen,
        a.attention_scale,
        a.windows[layer].map(|window| window - 1),
        Some(0),
        a.attention_softcap.unwrap_or(0.0),
    )?;
    out.reshape(((), a.q_dim()))?.to_dtype(DType::F32)
}
