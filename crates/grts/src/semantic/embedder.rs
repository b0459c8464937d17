//! Where vectors of utterances come from.

use crate::error::Error;
use crate::policy::Base;
use grts_lm::bert::SentenceEncoder;

/// A map from texts to vectors.
#[derive(Clone, Copy)]
pub enum Embedder<'a> {
    /// Mean of the last hidden states of the model that plays.
    Base(&'a Base),
    /// A sentence encoder, as its authors pool and normalise it.
    Sentences(&'a SentenceEncoder),
}

impl Embedder<'_> {
    /// Numbers of a vector.
    pub fn width(&self) -> usize {
        match self {
            Self::Base(base) => base.model.config().hidden_size(),
            Self::Sentences(encoder) => encoder.width(),
        }
    }

    /// One vector a text.
    ///
    /// # Errors
    /// When a text outgrows the base's context window (a sentence encoder cuts it), or a tokenizer cannot read it.
    pub fn vectors(&self, texts: &[&str]) -> Result<Vec<Vec<f64>>, Error> {
        match self {
            Self::Base(base) => pool(base, texts),
            Self::Sentences(encoder) => {
                let vectors = encoder.embed(texts).map_err(|e| Error::engine(&e))?;
                Ok(vectors.into_iter().map(|v| v.into_iter().map(f64::from).collect()).collect())
            }
        }
    }
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
