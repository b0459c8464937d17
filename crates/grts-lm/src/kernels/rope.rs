//! Rotary positions: rows of cosines and sines, made as far as texts reach.

use crate::architecture::RopeSpec;
use std::sync::{Arc, RwLock};

/// Rotary tables of one set of frequencies, grown on demand up to the context.
#[derive(Debug)]
pub(crate) struct Rope {
    spec: RopeSpec,
    context: usize,
    angles: RwLock<Arc<Angles>>,
}

/// Cosines and sines of the first positions, `(positions, half)` each.
#[derive(Debug, Default)]
pub(crate) struct Angles {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rope {
    pub(crate) fn new(spec: &RopeSpec, context: usize) -> Self {
        Self { spec: spec.clone(), context, angles: RwLock::default() }
    }

    /// A table of at least `positions` positions.
    pub(crate) fn angles(&self, positions: usize) -> Arc<Angles> {
        let half = self.spec.frequencies.len();
        let enough = |angles: &Angles| angles.cos.len() >= positions * half && angles.half == half;
        if let Ok(angles) = self.angles.read()
            && enough(&angles)
        {
            return Arc::clone(&angles);
        }
        let mut angles = self.angles.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !enough(&angles) {
            // Doubled, so that a growing text makes a table a few times only.
            let positions = (2 * positions).max(256).min(self.context.max(positions));
            *angles = Arc::new(Angles::new(&self.spec, positions));
        }
        Arc::clone(&angles)
    }
}

impl Angles {
    fn new(spec: &RopeSpec, positions: usize) -> Self {
        let pairs = (0..positions).flat_map(|p| spec.frequencies.iter().map(move |f| (p as f64 * f).sin_cos()));
        let (sin, cos) = pairs.map(|(s, c)| ((spec.factor * s) as f32, (spec.factor * c) as f32)).unzip();
        Self { half: spec.frequencies.len(), cos, sin }
    }

    /// Cosines and sines of one position.
    #[cfg(feature = "candle")]
    pub(crate) fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let span = position * self.half..(position + 1) * self.half;
        (&self.cos[span.clone()], &self.sin[span])
    }

    /// Rotates every head of one row `(heads, head_dim)` in place, by `position`. Dimensions beyond the rotated width stay.
    pub(crate) fn rotate(&self, row: &mut [f32], head_dim: usize, position: usize) {
        self.turn(row, head_dim, position, 1.0);
    }

    /// The transposed map, which takes gradients back through [`Angles::rotate`].
    pub(crate) fn rotate_back(&self, row: &mut [f32], head_dim: usize, position: usize) {
        self.turn(row, head_dim, position, -1.0);
    }

    fn turn(&self, row: &mut [f32], head_dim: usize, position: usize, sign: f32) {
        let span = position * self.half..(position + 1) * self.half;
        let (cos, sin) = (&self.cos[span.clone()], &self.sin[span]);
        for head in row.chunks_exact_mut(head_dim) {
            let (first, second) = head[..2 * self.half].split_at_mut(self.half);
            for i in 0..self.half {
                let (a, b, s) = (first[i], second[i], sign * sin[i]);
                first[i] = a * cos[i] - b * s;
                second[i] = b * cos[i] + a * s;
            }
        }
    }
}
