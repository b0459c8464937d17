//! `config.json` as Hugging Face spells it: kept as it was read, and understood as an architecture.

use crate::architecture::Architecture;
use crate::families;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::Path;

/// A model's configuration. (De)serialises as the `config.json` it came from; reading one that is not supported fails with
/// the key that stands in the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct ModelConfig {
    pub(crate) json: Map<String, Value>,
    pub(crate) architecture: Architecture,
}

impl TryFrom<Map<String, Value>> for ModelConfig {
    type Error = String;

    fn try_from(json: Map<String, Value>) -> std::result::Result<Self, String> {
        Ok(Self { architecture: families::architecture(&json)?, json })
    }
}

impl From<ModelConfig> for Map<String, Value> {
    fn from(config: ModelConfig) -> Self {
        config.json
    }
}

impl ModelConfig {
    /// Reads and checks `path` (`config.json`).
    ///
    /// # Errors
    /// Names the key that is missing, contradictory or not supported.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let json: Map<String, Value> = serde_json::from_str(&text).map_err(|e| Error::format(path, e.to_string()))?;
        Self::try_from(json).map_err(|reason| Error::format(path, reason))
    }

    /// Rows of the embedding.
    pub fn vocab_size(&self) -> usize {
        self.architecture.vocab
    }

    /// Width `d` of the residual stream.
    pub fn hidden_size(&self) -> usize {
        self.architecture.d
    }

    /// Longest context, in tokens.
    pub fn context(&self) -> usize {
        self.architecture.context
    }

    /// `model_type`: the family.
    pub fn model_type(&self) -> &str {
        self.json.get("model_type").and_then(Value::as_str).unwrap_or_default()
    }

    /// Ids that end an utterance, as this file has them; `generation_config.json` may name more.
    pub fn eos(&self) -> Vec<u32> {
        token_ids(self.json.get("eos_token_id"))
    }
}

/// One id, a list of them, or none.
pub(crate) fn token_ids(value: Option<&Value>) -> Vec<u32> {
    let id = |v: &Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(id).collect(),
        Some(one) => id(one).into_iter().collect(),
        None => Vec::new(),
    }
}
