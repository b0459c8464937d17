//! `config.json` as Hugging Face spells it, for the Llama layout.
//!
//! Keys that would change the arithmetic and that this decoder does not implement are refused by name, so that a
//! checkpoint never runs with silently different mathematics.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Architecture of a Llama-layout decoder; field names are `config.json`'s.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// `["LlamaForCausalLM"]`.
    #[serde(default)]
    pub architectures: Vec<String>,
    /// `llama`.
    pub model_type: String,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width `d` of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads `h`.
    pub num_attention_heads: usize,
    /// Key and value heads; equal to the query heads when absent.
    #[serde(default)]
    pub num_key_value_heads: Option<usize>,
    /// Width of one head; `hidden_size / num_attention_heads` when absent.
    #[serde(default)]
    pub head_dim: Option<usize>,
    /// Longest context, in tokens.
    pub max_position_embeddings: usize,
    /// ε of the norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary angles. transformers ≥ 5 nests it in `rope_parameters`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_theta: Option<f64>,
    /// transformers ≥ 5: `{"rope_type": "default", "rope_theta": …}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_parameters: Option<RopeParameters>,
    /// transformers < 5: anything but absent or `default` is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<serde_json::Value>,
    /// Whether the output head is the embedding.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// `silu`; anything else is refused.
    pub hidden_act: String,
    /// Biases on the attention projections: refused.
    #[serde(default)]
    pub attention_bias: bool,
    /// Biases on the feed-forward projections: refused.
    #[serde(default)]
    pub mlp_bias: bool,
    /// First token of a text.
    #[serde(default)]
    pub bos_token_id: Option<u32>,
    /// Token, or tokens, that end an utterance.
    #[serde(default)]
    pub eos_token_id: Option<TokenIds>,
    /// Token that fills batches (never used here: batches are packed).
    #[serde(default)]
    pub pad_token_id: Option<u32>,
    /// Storage type of the weights, for readers other than this one.
    #[serde(default, alias = "torch_dtype", skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
}

/// Rotary settings of transformers ≥ 5.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RopeParameters {
    /// `default`; anything else is refused.
    pub rope_type: String,
    /// Base of the rotary angles.
    pub rope_theta: f64,
}

/// `eos_token_id` is one id or a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TokenIds {
    /// A single id.
    One(u32),
    /// Several; any of them ends an utterance.
    Many(Vec<u32>),
}

impl ModelConfig {
    /// Reads and checks `path` (`config.json`).
    ///
    /// # Errors
    /// Names the key that is missing, contradictory or not supported.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let config: Self = serde_json::from_str(&text).map_err(|e| Error::format(path, e.to_string()))?;
        config.check().map_err(|reason| Error::format(path, reason))?;
        Ok(config)
    }

    fn check(&self) -> std::result::Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.kv_heads()),
            ("head_dim", self.head_dim()),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        if let Some((key, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(format!("`{key}` is 0"));
        }
        if self.model_type != "llama" {
            return Err(format!("`model_type` is `{}`; this build reads `llama`", self.model_type));
        }
        if self.hidden_act != "silu" {
            return Err(format!("`hidden_act` is `{}`; the Llama layout uses `silu`", self.hidden_act));
        }
        if self.attention_bias || self.mlp_bias {
            return Err("`attention_bias` and `mlp_bias` are not supported".into());
        }
        if !self.num_attention_heads.is_multiple_of(self.kv_heads()) {
            return Err(format!(
                "`num_attention_heads` {} is not a multiple of `num_key_value_heads` {}",
                self.num_attention_heads,
                self.kv_heads()
            ));
        }
        if !self.head_dim().is_multiple_of(2) {
            return Err(format!("`head_dim` {} is odd: rotary embedding needs pairs", self.head_dim()));
        }
        self.check_rope()
    }

    fn check_rope(&self) -> std::result::Result<(), String> {
        let nested = self.rope_parameters.as_ref().map(|r| r.rope_type.as_str());
        let flat =
            self.rope_scaling.as_ref().filter(|v| !v.is_null()).map(|v| {
                v.get("rope_type").or_else(|| v.get("type")).and_then(|t| t.as_str()).unwrap_or("without a type")
            });
        match [nested, flat].into_iter().flatten().find(|kind| *kind != "default") {
            None => Ok(()),
            Some(kind) => Err(format!("rope scaling `{kind}` is not supported")),
        }
    }

    /// Key and value heads.
    pub fn kv_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or_else(|| self.hidden_size.checked_div(self.num_attention_heads).unwrap_or(0))
    }

    /// Base of the rotary angles.
    pub fn theta(&self) -> f64 {
        self.rope_parameters.as_ref().map(|r| r.rope_theta).or(self.rope_theta).unwrap_or(10_000.0)
    }

    /// Width of all query heads together.
    pub fn q_dim(&self) -> usize {
        self.num_attention_heads * self.head_dim()
    }

    /// Width of all key (or value) heads together.
    pub fn kv_dim(&self) -> usize {
        self.kv_heads() * self.head_dim()
    }

    /// Ids that end an utterance.
    pub fn eos(&self) -> Vec<u32> {
        match &self.eos_token_id {
            None => Vec::new(),
            Some(TokenIds::One(id)) => vec![*id],
            Some(TokenIds::Many(ids)) => ids.clone(),
        }
    }
}
