//! One vector a text: a directory of `sentence-transformers`, which says in files of its own how states are pooled.
//!
//! `modules.json` names a chain; Transformer, Pooling and Normalize are read, and a chain with anything else is refused, since
//! leaving a module out would give other vectors without a word. What a text contains is never a control token: a typed
//! `[SEP]` is five characters.

use super::Encoder;
use crate::{Error, Result};
use serde_json::Value;
use std::path::{Component, Path, PathBuf};
use tokenizers::{Tokenizer, TruncationParams};

/// A BERT with tokenizer, pooling and normalisation.
pub struct SentenceEncoder {
    encoder: Encoder,
    tokenizer: Tokenizer,
    path: PathBuf,
    lowercase: bool,
    pools: Vec<Pool>,
    normalised: bool,
}

/// From the states of a text's tokens to one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pool {
    /// The first token's.
    First,
    /// The largest of each dimension.
    Max,
    Mean,
    /// Sum over the root of the count.
    MeanRoot,
}

/// Flags of a pooling configuration in the order in which vectors are put side by side, and what newer files call them.
const POOLS: [(&str, &str, Pool); 4] = [
    ("pooling_mode_cls_token", "cls", Pool::First),
    ("pooling_mode_max_tokens", "max", Pool::Max),
    ("pooling_mode_mean_tokens", "mean", Pool::Mean),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", Pool::MeanRoot),
];

impl SentenceEncoder {
    /// Loads `modules.json` and what it names.
    ///
    /// # Errors
    /// Those of [`Encoder::load`]; a module or a way of pooling that is not read; a tokenizer of another vocabulary.
    pub fn load(directory: &Path) -> Result<Self> {
        let modules = Modules::load(directory)?;
        let encoder = Encoder::load(&modules.transformer)?;
        let pools = pools(&modules.pooling, encoder.width())?;
        let settings = optional_json(&modules.transformer.join("sentence_bert_config.json"))?;
        let path = modules.transformer.join("tokenizer.json");
        let damaged = |e: tokenizers::Error| Error::format(&path, e.to_string());
        let mut tokenizer = Tokenizer::from_file(&path).map_err(damaged)?;
        let largest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0) as usize;
        if largest >= encoder.vocab_size() {
            let vocab = encoder.vocab_size();
            let reason = format!(
                "token id {largest} does not fit the encoder's `vocab_size` {vocab}: it belongs to another model"
            );
            return Err(Error::format(&path, reason));
        }
        let asked = settings["max_seq_length"].as_u64().map_or(usize::MAX, |n| n as usize);
        let max_length = asked.min(encoder.context());
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(Some(TruncationParams { max_length, ..TruncationParams::default() }))
            .map_err(damaged)?;
        tokenizer.set_encode_special_tokens(true);
        let lowercase = settings["do_lower_case"].as_bool().unwrap_or(false);
        Ok(Self { encoder, tokenizer, path, lowercase, pools, normalised: modules.normalised })
    }

    /// Numbers of a vector.
    pub fn width(&self) -> usize {
        self.pools.len() * self.encoder.width()
    }

    /// One vector `(width)` a text; of unit length where the directory normalises.
    ///
    /// # Errors
    /// When the tokenizer cannot encode a text.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let lowered: Vec<String> =
            if self.lowercase { texts.iter().map(|t| t.to_lowercase()).collect() } else { Vec::new() };
        let texts = if self.lowercase { lowered.iter().map(String::as_str).collect() } else { texts.to_vec() };
        let encodings =
            self.tokenizer.encode_batch_fast(texts, true).map_err(|e| Error::format(&self.path, e.to_string()))?;
        let tokens: Vec<&[u32]> = encodings.iter().map(tokenizers::Encoding::get_ids).collect();
        self.encoder.read(&tokens, |states| self.pool(states))
    }

    fn pool(&self, states: &[f32]) -> Vec<f32> {
        let d = self.encoder.width();
        if states.is_empty() {
            return vec![0.0; self.width()];
        }
        let mut vector: Vec<f32> = self.pools.iter().flat_map(|pool| pool.of(states, d)).collect();
        if self.normalised {
            let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt().max(1e-12);
            vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
        }
        vector
    }
}

impl Pool {
    fn of(self, states: &[f32], d: usize) -> Vec<f32> {
        let rows = states.chunks_exact(d);
        let count = rows.len() as f32;
        let sum = |scale: f32| {
            let mut sum = vec![0f32; d];
            rows.clone().for_each(|row| crate::kernels::axpy(&mut sum, scale, row));
            sum
        };
        match self {
            Self::First => states[..d].to_vec(),
            Self::Mean => sum(1.0 / count),
            Self::MeanRoot => sum(1.0 / count.sqrt()),
            Self::Max => {
                let mut most = vec![f32::NEG_INFINITY; d];
                rows.for_each(|row| most.iter_mut().zip(row).for_each(|(m, x)| *m = m.max(*x)));
                most
            }
        }
    }
}

/// The chain of `modules.json`.
struct Modules {
    transformer: PathBuf,
    /// The pooling's `config.json`.
    pooling: PathBuf,
    normalised: bool,
}

impl Modules {
    fn load(directory: &Path) -> Result<Self> {
        let path = directory.join("modules.json");
        let refuse = |reason: String| Error::format(&path, reason);
        let json = read_json(&path)?;
        let list = json.as_array().ok_or_else(|| refuse("it must be a list of modules".to_owned()))?;
        let mut chain = Vec::new();
        for module in list {
            let kind = module["type"].as_str().and_then(|t| t.rsplit('.').next()).unwrap_or_default();
            let place = Path::new(module["path"].as_str().unwrap_or_default());
            if place.components().any(|part| !matches!(part, Component::Normal(_))) {
                return Err(refuse(format!("module `{kind}` lies outside the directory: `{}`", place.display())));
            }
            chain.push((kind, directory.join(place)));
        }
        match chain.as_slice() {
            [("Transformer", transformer), ("Pooling", pooling), rest @ ..]
                if rest.iter().all(|(kind, _)| *kind == "Normalize") =>
            {
                let (transformer, pooling) = (transformer.clone(), pooling.join("config.json"));
                Ok(Self { transformer, pooling, normalised: !rest.is_empty() })
            }
            _ => {
                let kinds: Vec<String> = chain.iter().map(|(kind, _)| format!("`{kind}`")).collect();
                Err(refuse(format!(
                    "it chains {}; `Transformer`, `Pooling` and perhaps `Normalize` are read",
                    kinds.join(", ")
                )))
            }
        }
    }
}

/// Ways of pooling that the configuration at `path` turns on, for states of width `d`.
fn pools(path: &Path, d: usize) -> Result<Vec<Pool>> {
    let json = read_json(path)?;
    let refuse = |reason: String| Err(Error::format(path, reason));
    if let Some(width) = json["word_embedding_dimension"].as_u64().filter(|width| *width != d as u64) {
        return refuse(format!("`word_embedding_dimension` is {width}, the encoder's `hidden_size` is {d}"));
    }
    let named = json["pooling_mode"].as_str();
    let on = |flag: &str, name: &str| named == Some(name) || json[flag] == Value::Bool(true);
    let known: Vec<Pool> =
        POOLS.into_iter().filter(|(flag, name, _)| on(flag, name)).map(|(_, _, pool)| pool).collect();
    let flags = json.as_object().into_iter().flatten();
    let foreign = flags
        .filter(|(key, value)| key.starts_with("pooling_mode_") && **value == Value::Bool(true))
        .find(|(key, _)| !POOLS.iter().any(|(flag, ..)| flag == key));
    match (foreign, known.is_empty()) {
        (Some((flag, _)), _) => refuse(format!("`{flag}` is not supported")),
        (None, true) => {
            let flags: Vec<String> = POOLS.iter().map(|(flag, ..)| format!("`{flag}`")).collect();
            refuse(format!("no way of pooling is turned on that is read: {}", flags.join(", ")))
        }
        (None, false) => Ok(known),
    }
}

fn read_json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    serde_json::from_str(&text).map_err(|e| Error::format(path, e.to_string()))
}

fn optional_json(path: &Path) -> Result<Value> {
    if path.is_file() { read_json(path) } else { Ok(Value::Null) }
}
