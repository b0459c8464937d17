//! The semantic space: utterances as unit vectors, and how diverse a set of them is.
//!
//! An [`Embedder`] makes vectors; the space puts its origin where they differ. By default they are the base model's own
//! mean-pooled last hidden states: nothing to download, and it knows the words of the scenario. Hidden states share a large
//! common direction that makes everything look alike, so the origin is the mean embedding of reference texts (scripted
//! attacks), subtracted before vectors are normalised. A sentence encoder was trained for cosines about 0 and keeps its own.

mod archive;
mod bleu;
mod embedder;
mod report;

pub use archive::Archive;
pub use bleu::{SelfBleu, words};
pub use embedder::Embedder;
pub use report::{DiversityReport, LARGEST_BLEU, SMALLEST_BLEU, Vendi, measure, strategies};

use crate::error::Error;
use grts_game::diversity::Spectrum;
use grts_game::matrix::Matrix;

/// A centred embedding.
pub struct SemanticSpace<'a> {
    embedder: Embedder<'a>,
    origin: Vec<f64>, // (d)
}

impl<'a> SemanticSpace<'a> {
    /// The space of `embedder`; of the base's, with the mean of `reference` as origin.
    ///
    /// # Errors
    /// When a text outgrows the model's context window.
    pub fn new(embedder: Embedder<'a>, reference: &[&str]) -> Result<Self, Error> {
        let d = embedder.width();
        let origin = match embedder {
            Embedder::Sentences(_) => vec![0.0; d],
            Embedder::Base(_) => {
                let pooled = embedder.vectors(reference)?;
                let n = pooled.len().max(1) as f64;
                (0..d).map(|i| pooled.iter().map(|v| v[i]).sum::<f64>() / n).collect()
            }
        };
        Ok(Self { embedder, origin })
    }

    /// One unit vector `(d)` a text.
    ///
    /// # Errors
    /// When a text outgrows the model's context window.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f64>>, Error> {
        let mut vectors = self.embedder.vectors(texts)?;
        for vector in &mut vectors {
            vector.iter_mut().zip(&self.origin).for_each(|(x, o)| *x -= o);
            let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
            vector.iter_mut().for_each(|x| *x /= norm);
        }
        Ok(vectors)
    }

    /// Effective number of distinct texts: the Vendi score of their cosine kernel.
    ///
    /// # Errors
    /// When a text outgrows the context window, or there is no text.
    pub fn vendi(&self, texts: &[&str]) -> Result<f64, Error> {
        let vectors = self.embed(texts)?;
        let n = vectors.len();
        let kernel = Matrix::from_fn(n, n, |i, j| dot(&vectors[i], &vectors[j])).map_err(|e| failed(&e))?;
        Ok(Spectrum::of_kernel(&kernel).map_err(|e| failed(&e))?.vendi(1.0))
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn failed(error: &grts_game::GameError) -> Error {
    Error::Failed { problem: format!("diversity of attacks: {error}"), hint: String::new() }
}
