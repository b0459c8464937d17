//! An encoder's tensors, by the names that `BertModel` gives them; the prefix `bert.` of larger models may stand before each.

use super::{Encoder, Layer, Shape};
use crate::checkpoint::Checkpoint;
use crate::families::{Fallible, Keys};
use crate::kernels::{Packed, Precision, axpy};
use crate::weights::{Map, Norm};
use crate::{Error, Result};
use serde_json::{Map as Object, Value, json};
use std::path::Path;

const PREFIX: &str = "bert.";

impl Encoder {
    /// Loads `config.json` and `model.safetensors` (or its shards) of a BERT, in `f32`. A pooler or a head is left unread.
    ///
    /// # Errors
    /// A missing or truncated file, a key that asks for other arithmetic, a missing tensor or one of the wrong shape or type,
    /// each named.
    pub fn load(directory: &Path) -> Result<Self> {
        let path = directory.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let config: Object<String, Value> =
            serde_json::from_str(&text).map_err(|e| Error::format(&path, e.to_string()))?;
        let shape = Shape::of(Keys(&config)).map_err(|reason| Error::format(&path, reason))?;
        let tensors = Tensors { checkpoint: Checkpoint::open(directory, PREFIX)?, d: shape.d };
        let (d, ff) = (shape.d, shape.ff);
        let words = tensors.read("embeddings.word_embeddings.weight", &[shape.vocab, d])?;
        let mut positions = tensors.read("embeddings.position_embeddings.weight", &[shape.context, d])?;
        let types = tensors.read("embeddings.token_type_embeddings.weight", &[shape.types, d])?;
        positions.chunks_exact_mut(d).for_each(|row| axpy(row, 1.0, &types[..d]));
        let norm = tensors.norm("embeddings.LayerNorm")?;
        let layer = |n: usize| {
            let name = |part: &str| format!("encoder.layer.{n}.{part}");
            let qkv = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
            Ok(Layer {
                qkv: tensors.map(&qkv, d, d)?,
                output: tensors.map(&[name("attention.output.dense")], d, d)?,
                up: tensors.map(&[name("intermediate.dense")], ff, d)?,
                down: tensors.map(&[name("output.dense")], d, ff)?,
                after_attention: tensors.norm(&name("attention.output.LayerNorm"))?,
                after_mlp: tensors.norm(&name("output.LayerNorm"))?,
            })
        };
        let layers = (0..shape.layers).map(layer).collect::<Result<_>>()?;
        Ok(Self { shape, words, positions, norm, layers })
    }
}

impl Shape {
    /// Keys and defaults of `transformers`; what would change the arithmetic is refused by name.
    fn of(keys: Keys<'_>) -> Fallible<Self> {
        match keys.text("model_type").unwrap_or("absent") {
            "bert" => {}
            other => return Err(format!("`model_type` is `{other}`; an encoder of the type bert is read")),
        }
        keys.only("position_embedding_type", &json!("absolute"))?;
        keys.only("is_decoder", &json!(false))?;
        let (d, heads) = (keys.size("hidden_size")?, keys.size("num_attention_heads")?);
        if !d.is_multiple_of(heads) {
            return Err(format!("`hidden_size` {d} is not a multiple of `num_attention_heads` {heads}"));
        }
        Ok(Self {
            vocab: keys.size("vocab_size")?,
            d,
            ff: keys.size("intermediate_size")?,
            layers: keys.size("num_hidden_layers")?,
            heads,
            context: keys.size("max_position_embeddings")?,
            types: keys.size_if("type_vocab_size")?.unwrap_or(2),
            eps: keys.number_if("layer_norm_eps")?.unwrap_or(1e-12) as f32,
            activation: keys.activation("hidden_act", "gelu")?,
        })
    }
}

struct Tensors {
    checkpoint: Checkpoint,
    d: usize,
}

impl Tensors {
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.checkpoint.read(&format!("{PREFIX}{name}"), shape, "`config.json`")
    }

    fn norm(&self, name: &str) -> Result<Norm> {
        let weight = self.read(&format!("{name}.weight"), &[self.d])?;
        Ok(Norm { weight, bias: Some(self.read(&format!("{name}.bias"), &[self.d])?) })
    }

    /// The modules `names`, each `(out, input)` with a bias, one above the other.
    fn map(&self, names: &[String], out: usize, input: usize) -> Result<Map> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for name in names {
            weight.extend(self.read(&format!("{name}.weight"), &[out, input])?);
            bias.extend(self.read(&format!("{name}.bias"), &[out])?);
        }
        let row = |i: usize| &weight[i * input..(i + 1) * input];
        Ok(Map { weight: Packed::new(bias.len(), input, Precision::F32, row), bias: Some(bias) })
    }
}
