//! The five differentiable ops of the training path, as candle custom ops.
//!
//! Composed from candle's own ops the same step costs about three times as much time and several times the memory
//! (they store gradients of frozen weights, score matrices and rows × vocabulary). Here a frozen weight gets no
//! gradient, attention recomputes its probabilities, and log-probabilities never keep a row of the vocabulary.
//! Batches are *packed*: `(n, d)` rows of many sequences one after another, no padding; [`Spans`] says where each begins.
//! CPU only: each op works on the calling thread.

use crate::kernels::{self, Rope, View, matmul};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Storage, Tensor, bail};
use std::sync::Arc;

/// Where each sequence of a packed batch lies: `(first row, rows)`.
pub(crate) type Spans = Arc<Vec<(usize, usize)>>;

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("a custom op was given a strided tensor"),
    }
}

/// Runs `f` on the values of contiguous CPU tensors.
fn with_values<const N: usize, T>(tensors: [&Tensor; N], f: impl FnOnce([&[f32]; N]) -> Result<T>) -> Result<T> {
    let contiguous: Vec<Tensor> = tensors.iter().map(|t| t.contiguous()).collect::<Result<_>>()?;
    let guards: Vec<_> = contiguous.iter().map(|t| t.storage_and_layout()).collect();
    let mut values: [&[f32]; N] = [&[]; N];
    for (value, (storage, layout)) in values.iter_mut().zip(&guards) {
        match &**storage {
            Storage::Cpu(cpu) => *value = slice(cpu, layout)?,
            _ => bail!("training ops run on the CPU"),
        }
    }
    f(values)
}

fn tensor(data: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(data, shape.into(), &Device::Cpu)
}

/// `x (n, i) · wᵀ` with `w (o, i)`.
struct Linear;

pub(crate) fn linear(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    x.apply_op2(w, Linear)
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let ((n, i), (o, _)) = (l1.shape().dims2()?, l2.shape().dims2()?);
        let mut out = vec![0f32; n * o];
        matmul(&mut out, false, 1.0, View::new(slice(s1, l1)?, n, i), View::new(slice(s2, l2)?, o, i).t());
        Ok((CpuStorage::F32(out), (n, o).into()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let ((n, i), (o, _)) = (x.dims2()?, w.dims2()?);
        with_values([x, w, grad], |[x_values, w_values, g]| {
            let dx = x.track_op().then(|| {
                let mut dx = vec![0f32; n * i];
                matmul(&mut dx, false, 1.0, View::new(g, n, o), View::new(w_values, o, i));
                tensor(dx, (n, i))
            });
            let dw = w.track_op().then(|| {
                let mut dw = vec![0f32; o * i];
                matmul(&mut dw, false, 1.0, View::new(g, n, o).t(), View::new(x_values, n, i));
                tensor(dw, (o, i))
            });
            Ok((dx.transpose()?, dw.transpose()?))
        })
    }
}

/// Root-mean-square norm of the rows of `x (n, d)` with `weight (d)`.
struct RmsNorm {
    eps: f32,
}

pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    x.apply_op2(weight, RmsNorm { eps })
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, d) = l1.shape().dims2()?;
        let (x, weight) = (slice(s1, l1)?, slice(s2, l2)?);
        let mut out = vec![0f32; n * d];
        for (o, row) in out.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
            kernels::rms_norm(o, row, weight, self.eps);
        }
        Ok((CpuStorage::F32(out), (n, d).into()))
    }

    /// With `r = 1/rms`: dx = r (g·w) − x r³/d Σ (g·w·x), dw = Σ_rows g·x·r.
    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (n, d) = x.dims2()?;
        with_values([x, w, grad], |[x, weight, grad]| {
            let (mut dx, mut dw) = (vec![0f32; n * d], vec![0f32; d]);
            let mut gw = vec![0f32; d];
            for ((row, g), out) in x.chunks_exact(d).zip(grad.chunks_exact(d)).zip(dx.chunks_exact_mut(d)) {
                let r = kernels::rms_norm(out, row, weight, self.eps);
                for i in 0..d {
                    gw[i] = g[i] * weight[i];
                    dw[i] += g[i] * row[i] * r;
                }
                let shared = r * r * r * kernels::dot(&gw, row) / d as f32;
                for i in 0..d {
                    out[i] = r * gw[i] - shared * row[i];
                }
            }
            let dw = if w.track_op() { Some(tensor(dw, d)?) } else { None };
            Ok((Some(tensor(dx, (n, d))?), dw))
        })
    }
}

/// `silu(gate) * up`, both `(n, f)`.
struct SwiGlu;

pub(crate) fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.apply_op2(up, SwiGlu)
}

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut out = slice(s1, l1)?.to_vec();
        kernels::swiglu(&mut out, slice(s2, l2)?);
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }

    fn bwd(&self, gate: &Tensor, up: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let shape = gate.shape();
        with_values([gate, up, grad], |[gate, up, grad]| {
            let (mut d_gate, mut d_up) = (vec![0f32; gate.len()], vec![0f32; gate.len()]);
            kernels::swiglu_backward(gate, up, grad, &mut d_gate, &mut d_up);
            Ok((Some(tensor(d_gate, shape)?), Some(tensor(d_up, shape)?)))
        })
    }
}

/// Causal attention with rotary positions inside each span; grouped heads.
pub(crate) struct Attention {
    pub(crate) spans: Spans,
    pub(crate) rope: Arc<Rope>,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

pub(crate) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, op: Attention) -> Result<Tensor> {
    q.apply_op3(k, v, op)
}

/// One query head of one span: strides let it address rows of the packed matrices.
struct Head {
    first_row: usize,
    rows: usize,
    q_at: usize,
    kv_at: usize,
}

impl Attention {
    fn heads_of_spans(&self) -> impl Iterator<Item = Head> + '_ {
        let group = self.heads / self.kv_heads;
        self.spans.iter().flat_map(move |&(first_row, rows)| {
            (0..self.heads).map(move |h| Head {
                first_row,
                rows,
                q_at: h * self.head_dim,
                kv_at: h / group * self.head_dim,
            })
        })
    }

    fn rotated(&self, x: &[f32], width: usize, inverse: bool) -> Vec<f32> {
        let mut out = x.to_vec();
        for &(first, rows) in self.spans.iter() {
            for (position, row) in out[first * width..(first + rows) * width].chunks_exact_mut(width).enumerate() {
                self.rope.rotate(row, position, inverse);
            }
        }
        out
    }

    /// Probabilities of query `t` of a head over keys 0..=t, into `p`.
    fn probabilities(&self, head: &Head, t: usize, q: &[f32], k: &[f32], p: &mut Vec<f32>) {
        let (dh, q_width, kv_width) = (self.head_dim, self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let scale = 1.0 / (dh as f32).sqrt();
        let at = (head.first_row + t) * q_width + head.q_at;
        let query = &q[at..at + dh];
        p.clear();
        p.extend((0..=t).map(|s| {
            let at = (head.first_row + s) * kv_width + head.kv_at;
            scale * kernels::dot(query, &k[at..at + dh])
        }));
        kernels::softmax(p);
    }

    fn forward(&self, q: &[f32], k: &[f32], v: &[f32], out: &mut [f32]) {
        let (dh, q_width, kv_width) = (self.head_dim, self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut p = Vec::new();
        for head in self.heads_of_spans() {
            for t in 0..head.rows {
                self.probabilities(&head, t, q, k, &mut p);
                let at = (head.first_row + t) * q_width + head.q_at;
                let o = &mut out[at..at + dh];
                for (s, weight) in p.iter().enumerate() {
                    let at = (head.first_row + s) * kv_width + head.kv_at;
                    kernels::axpy(o, *weight, &v[at..at + dh]);
                }
            }
        }
    }

    /// Accumulates gradients of rotated queries, rotated keys and values.
    fn backward(&self, [q, k, v, grad]: [&[f32]; 4], [dq, dk, dv]: [&mut [f32]; 3]) {
        let (dh, q_width, kv_width) = (self.head_dim, self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let scale = 1.0 / (dh as f32).sqrt();
        let (mut p, mut dp) = (Vec::new(), Vec::new());
        for head in self.heads_of_spans() {
            for t in 0..head.rows {
                self.probabilities(&head, t, q, k, &mut p);
                let at = (head.first_row + t) * q_width + head.q_at;
                let (query, g) = (&q[at..at + dh], &grad[at..at + dh]);
                dp.clear();
                for (s, weight) in p.iter().enumerate() {
                    let kv = (head.first_row + s) * kv_width + head.kv_at;
                    dp.push(kernels::dot(g, &v[kv..kv + dh]));
                    kernels::axpy(&mut dv[kv..kv + dh], *weight, g);
                }
                let mean = kernels::dot(&p, &dp);
                for s in 0..=t {
                    let ds = scale * p[s] * (dp[s] - mean);
                    let kv = (head.first_row + s) * kv_width + head.kv_at;
                    kernels::axpy(&mut dq[at..at + dh], ds, &k[kv..kv + dh]);
                    kernels::axpy(&mut dk[kv..kv + dh], ds, query);
                }
            }
        }
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "causal-attention"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q_width, kv_width) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let q = self.rotated(slice(s1, l1)?, q_width, false);
        let k = self.rotated(slice(s2, l2)?, kv_width, false);
        let mut out = vec![0f32; q.len()];
        self.forward(&q, &k, slice(s3, l3)?, &mut out);
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (q_width, kv_width) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let (q_shape, kv_shape) = (q.shape(), k.shape());
        with_values([q, k, v, grad], |[q, k, v, grad]| {
            let (q, k) = (self.rotated(q, q_width, false), self.rotated(k, kv_width, false));
            let (mut dq, mut dk, mut dv) = (vec![0f32; q.len()], vec![0f32; k.len()], vec![0f32; k.len()]);
            self.backward([&q, &k, v, grad], [&mut dq, &mut dk, &mut dv]);
            let dq = tensor(self.rotated(&dq, q_width, true), q_shape)?;
            let dk = tensor(self.rotated(&dk, kv_width, true), kv_shape)?;
            Ok((Some(dq), Some(dk), Some(tensor(dv, kv_shape)?)))
        })
    }
}

/// Log-probability of `targets[i]` under softmax(`hidden[i] · headᵀ`): `(n, d)`, `(v, d)` → `(n)`.
struct TokenLogprobs {
    targets: Arc<Vec<u32>>,
}

pub(crate) fn token_logprobs(hidden: &Tensor, head: &Tensor, targets: Arc<Vec<u32>>) -> Result<Tensor> {
    hidden.apply_op2(head, TokenLogprobs { targets })
}

/// Rows of logits held at once: bounds memory to `ROWS * v` floats.
const ROWS: usize = 128;

impl CustomOp2 for TokenLogprobs {
    fn name(&self) -> &'static str {
        "token-logprobs"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let ((n, d), (v, _)) = (l1.shape().dims2()?, l2.shape().dims2()?);
        let (hidden, head) = (slice(s1, l1)?, slice(s2, l2)?);
        let mut out = Vec::with_capacity(n);
        let mut logits = vec![0f32; ROWS.min(n) * v];
        for (rows, targets) in hidden.chunks(ROWS * d).zip(self.targets.chunks(ROWS)) {
            matmul(&mut logits, false, 1.0, View::new(rows, targets.len(), d), View::new(head, v, d).t());
            for (row, target) in logits.chunks_exact_mut(v).zip(targets) {
                let chosen = row[*target as usize];
                let (max, sum) = kernels::exp_shifted(row);
                out.push(chosen - max - sum.ln());
            }
        }
        Ok((CpuStorage::F32(out), n.into()))
    }

    /// d logits = g (onehot − softmax), recomputed chunk by chunk.
    fn bwd(
        &self,
        hidden: &Tensor,
        head: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let ((n, d), (v, _)) = (hidden.dims2()?, head.dims2()?);
        let track_head = head.track_op();
        let (dh, dw) = with_values([hidden, head, grad], |[hidden, head, grad]| {
            let mut dh = vec![0f32; n * d];
            let mut dw = vec![0f32; if track_head { v * d } else { 0 }];
            let mut logits = vec![0f32; ROWS.min(n) * v];
            let chunks = hidden.chunks(ROWS * d).zip(self.targets.chunks(ROWS)).zip(grad.chunks(ROWS));
            for (((rows, targets), g), dh) in chunks.zip(dh.chunks_mut(ROWS * d)) {
                let m = targets.len();
                matmul(&mut logits, false, 1.0, View::new(rows, m, d), View::new(head, v, d).t());
                for ((row, target), g) in logits.chunks_exact_mut(v).zip(targets).zip(g) {
                    kernels::softmax(row);
                    row.iter_mut().for_each(|p| *p *= -g);
                    row[*target as usize] += g;
                }
                let d_logits = View::new(&logits, m, v);
                matmul(dh, false, 1.0, d_logits, View::new(head, v, d));
                if track_head {
                    matmul(&mut dw, true, 1.0, d_logits.t(), View::new(rows, m, d));
                }
            }
            Ok((dh, dw))
        })?;
        let dw = if track_head { Some(tensor(dw, (v, d))?) } else { None };
        Ok((Some(tensor(dh, (n, d))?), dw))
    }
}

/// Rows `indices` of `table (v, d)` → `(n, d)`; the gradient scatters back only when the table is trained.
struct Gather {
    indices: Arc<Vec<u32>>,
}

pub(crate) fn gather(table: &Tensor, indices: Arc<Vec<u32>>) -> Result<Tensor> {
    table.apply_op1(Gather { indices })
}

impl CustomOp1 for Gather {
    fn name(&self) -> &'static str {
        "gather-rows"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, d) = layout.shape().dims2()?;
        let table = slice(storage, layout)?;
        let out: Vec<f32> =
            self.indices.iter().flat_map(|&i| &table[i as usize * d..(i as usize + 1) * d]).copied().collect();
        Ok((CpuStorage::F32(out), (self.indices.len(), d).into()))
    }

    fn bwd(&self, table: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (v, d) = table.dims2()?;
        let out = with_values([grad], |[grad]| {
            let mut out = vec![0f32; v * d];
            for (&i, g) in self.indices.iter().zip(grad.chunks_exact(d)) {
                kernels::axpy(&mut out[i as usize * d..(i as usize + 1) * d], 1.0, g);
            }
            Ok(out)
        })?;
        Ok(Some(tensor(out, (v, d))?))
    }
}
