//! Norms of rows and their gradients.

use crate::architecture::NormKind;
use crate::kernels;
use crate::weights::{Model, Norm};

/// Two rows of scratch.
pub(super) struct Scratch(Vec<f32>, Vec<f32>);

impl Scratch {
    pub(super) fn new(width: usize) -> Self {
        Self(vec![0.0; width], vec![0.0; width])
    }
}

/// Norms of all rows `(n, width)`.
pub(super) fn normalise_rows(model: &Model, norm: &Norm, x: &[f32]) -> Vec<f32> {
    let width = norm.weight.len();
    let mut out = vec![0f32; x.len()];
    for (o, row) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
        norm.apply(model.architecture(), row, o);
    }
    out
}

/// Gradients through one row `x` of a norm: `dx += ∂norm(x)ᵀ g`, and by the norm's weights where they are trained (which
/// they are in root-mean-square norms only).
pub(super) fn normalise_backward(
    model: &Model,
    norm: &Norm,
    [x, g]: [&[f32]; 2],
    dx: &mut [f32],
    scratch: &mut Scratch,
    trained: Option<&mut [f32]>,
) {
    let a = model.architecture();
    let Scratch(gw, rest) = scratch;
    if a.norm == NormKind::Layer {
        layer_norm_backward([x, &norm.weight, g], a.eps, dx, (gw, rest));
        return;
    }
    let d = x.len();
    // With r = 1/rms: dx = r (g·w) − x r³/d Σ (g·w·x), dw = g·x·r.
    let r = 1.0 / (kernels::dot(x, x) / d as f32 + a.eps).sqrt();
    let offset = a.norm_offset();
    for i in 0..d {
        gw[i] = g[i] * (norm.weight[i] + offset);
    }
    let shared = r * r * r * kernels::dot(gw, x) / d as f32;
    for i in 0..d {
        dx[i] += r * gw[i] - shared * x[i];
    }
    if let Some(trained) = trained {
        for i in 0..d {
            trained[i] += g[i] * x[i] * r;
        }
    }
}

/// dx += r (gw − mean(gw) − x̂ mean(gw·x̂)), r = 1/deviation, x̂ the normalised row.
fn layer_norm_backward([x, weight, g]: [&[f32]; 3], eps: f32, dx: &mut [f32], (gw, hat): (&mut [f32], &mut [f32])) {
    let n = x.len() as f32;
    let mean = x.iter().sum::<f32>() / n;
    let r = 1.0 / (x.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / n + eps).sqrt();
    for i in 0..x.len() {
        gw[i] = g[i] * weight[i];
        hat[i] = (x[i] - mean) * r;
    }
    let first = gw.iter().sum::<f32>() / n;
    let second = kernels::dot(gw, &hat[..x.len()]) / n;
    for i in 0..x.len() {
        dx[i] += r * (gw[i] - first - hat[i] * second);
    }
}
