//! What a tokenizer puts around plain text: the first token that most models were trained to see.
//!
//! A chat template writes its own; plain text gets what `transformers` gives it in `tokenizer(text)`: the tokens of the
//! post-processor in `tokenizer.json`, unless `tokenizer_config.json` says `add_bos_token` or `add_eos_token`, which then
//! decides. Apart from [`crate::text`], which never adds anything, so that dialogues hold only what was said.

use crate::{Error, Result};
use serde_json::Value;
use std::path::Path;
use tokenizers::Tokenizer;

/// Token ids before and after plain text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Affixes {
    /// Before: usually one, or none.
    pub before: Vec<u32>,
    /// After: usually none.
    pub after: Vec<u32>,
}

impl Affixes {
    /// Reads `tokenizer.json` and `tokenizer_config.json` of a Hugging Face directory.
    ///
    /// # Errors
    /// A missing or damaged file.
    pub fn load(directory: &Path) -> Result<Self> {
        let path = directory.join("tokenizer.json");
        let tokenizer = Tokenizer::from_file(&path).map_err(|e| Error::format(&path, e.to_string()))?;
        let config_path = directory.join("tokenizer_config.json");
        let text = std::fs::read_to_string(&config_path).map_err(Error::io("read", &config_path))?;
        let config: Value = serde_json::from_str(&text).map_err(|e| Error::format(&config_path, e.to_string()))?;
        let processed = of_post_processor(&tokenizer).map_err(|e| Error::format(&path, e.to_string()))?;
        let decided = |side: &str, otherwise: Vec<u32>| match &config[format!("add_{side}_token")] {
            Value::Bool(true) => token(&tokenizer, &config[format!("{side}_token")]).into_iter().collect(),
            Value::Bool(false) => Vec::new(),
            _ => otherwise,
        };
        Ok(Self { before: decided("bos", processed.before), after: decided("eos", processed.after) })
    }
}

/// The special tokens at both ends of a text that is one letter.
fn of_post_processor(tokenizer: &Tokenizer) -> tokenizers::Result<Affixes> {
    let encoding = tokenizer.encode("a", true)?;
    let special = encoding.get_special_tokens_mask();
    let ids = encoding.get_ids();
    let first = special.iter().position(|s| *s == 0).unwrap_or(ids.len());
    let last = special.iter().rposition(|s| *s == 0).map_or(ids.len(), |i| i + 1);
    Ok(Affixes { before: ids[..first].to_vec(), after: ids[last..].to_vec() })
}

/// The id of a token that is written as text or as an object with its `content`.
fn token(tokenizer: &Tokenizer, value: &Value) -> Option<u32> {
    tokenizer.token_to_id(value.as_str().or_else(|| value["content"].as_str())?)
}
