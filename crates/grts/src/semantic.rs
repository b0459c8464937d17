//! The semantic space: utterances as unit vectors, and how diverse a set of them is.
//!
//! The embedding is the base model's own mean-pooled last hidden state: nothing to download, and it knows the words of the
//! scenario. Hidden states share a large common direction that makes everything look alike, so the space has an origin:
//! the mean embedding of reference texts (the untrained attacker's), subtracted before vectors are normalised.

use crate::error::Error;
use crate::policy::Base;
use grts_game::diversity::vendi_score;
use grts_game::matrix::Matrix;

/// A centred embedding.
pub struct SemanticSpace<'a> {
    base: &'a Base,
    origin: Vec<f64>, // (d)
}

impl<'a> SemanticSpace<'a> {
    /// The space whose origin is the mean of `reference`.
    ///
    /// # Errors
    /// When a text outgrows the model's context window.
    pub fn new(base: &'a Base, reference: &[&str]) -> Result<Self, Error> {
        let pooled = pool(base, reference)?;
        let n = pooled.len().max(1) as f64;
        let d = base.model.config().hidden_size();
        let origin = (0..d).map(|i| pooled.iter().map(|v| v[i]).sum::<f64>() / n).collect();
        Ok(Self { base, origin })
    }

    /// One unit vector `(d)` a text.
    ///
    /// # Errors
    /// When a text outgrows the model's context window.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f64>>, Error> {
        let mut vectors = pool(self.base, texts)?;
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
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        let n = vectors.len();
        let kernel = Matrix::from_fn(n, n, |i, j| dot(&vectors[i], &vectors[j])).map_err(|e| failed(&e))?;
        vendi_score(&kernel).map_err(|e| failed(&e))
    }
}

fn failed(error: &grts_game::GameError) -> Error {
    Error::Failed { problem: format!("diversity of attacks: {error}"), hint: String::new() }
}

/// Mean of the last hidden states of each text.
fn pool(base: &Base, texts: &[&str]) -> Result<Vec<Vec<f64>>, Error> {
    let tokens: Vec<Vec<u32>> =
        texts.iter().map(|t| base.text.encode(t)).collect::<Result<_, _>>().map_err(|e| Error::engine(&e))?;
    let slices: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
    let hidden = base.model.hidden_states(&slices).map_err(|e| Error::engine(&e))?;
    let d = base.model.config().hidden_size();
    let mean = |states: &Vec<f32>| {
        let rows = (states.len() / d).max(1) as f64;
        (0..d).map(|i| states.iter().skip(i).step_by(d).map(|x| f64::from(*x)).sum::<f64>() / rows).collect()
    };
    Ok(hidden.iter().map(mean).collect())
}
