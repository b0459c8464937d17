//! What a decoder computes, apart from where its numbers come from: one description for every model family.
//!
//! The two paths ([`crate::decode`] and [`crate::train`]) read this and nothing else; a family is a function that fills it in
//! ([`crate::families`]). A layer has four linear maps, whatever a checkpoint calls and splits them: queries, keys and values
//! in one, the attention's output, the feed-forward's input (gate above up, where it is gated), its output. A *module* is
//! what a checkpoint stores and PEFT adapts; it fills some rows of one of the four.

/// The normalisation before and after a layer's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// x / rms(x) · w.
    Rms,
    /// x / rms(x) · (1 + w), as in Gemma.
    RmsPlusOne,
    /// (x − mean) / deviation · w + b.
    Layer,
}

/// How attention and feed-forward join the residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Residual {
    /// x += attention(norm(x)); x += mlp(norm(x)).
    Sequential,
    /// x += norm(attention(norm(x))); x += norm(mlp(norm(x))), as in Gemma 2.
    Sandwich,
    /// x += attention(norm₁(x)) + mlp(norm₂(x)), as in GPT-NeoX.
    Parallel,
    /// The same with one norm, as in StableLM.
    ParallelShared,
}

/// The non-linearity of the feed-forward layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// x · sigmoid(x).
    Silu,
    /// Gaussian error linear unit, exact.
    Gelu,
    /// Its tanh approximation.
    GeluTanh,
}

/// One of a layer's four linear maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Slot {
    /// d → queries, keys, values.
    Qkv,
    /// Queries → d.
    Output,
    /// d → gate, up; or d → up.
    Up,
    /// Feed-forward width → d.
    Down,
}

impl Slot {
    pub(crate) const ALL: [Self; 4] = [Self::Qkv, Self::Output, Self::Up, Self::Down];
}

/// A linear module as the checkpoint has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Module {
    /// Name inside a layer: `self_attn.q_proj`.
    pub(crate) name: &'static str,
    /// Which of the four maps it fills.
    pub(crate) slot: Slot,
    /// First row of the map that it fills.
    pub(crate) first: usize,
    /// Rows: its output features.
    pub(crate) rows: usize,
    /// Whether it has a bias.
    pub(crate) bias: bool,
    /// Where row i of the map lies in the module, when not in order (GPT-NeoX interleaves heads).
    pub(crate) order: Option<Vec<usize>>,
}

impl Module {
    /// Last part of the name, as in PEFT's `target_modules`.
    pub(crate) fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or_default()
    }

    /// The module's row that fills row `first + i` of the map.
    pub(crate) fn source(&self, i: usize) -> usize {
        self.order.as_ref().map_or(i, |order| order[i])
    }
}

/// Rotary angles: frequencies of the rotated half, and a factor on cosines and sines.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RopeSpec {
    /// One per pair of rotated dimensions; their number is half the rotated width.
    pub(crate) frequencies: Vec<f64>,
    /// Multiplies cosines and sines.
    pub(crate) factor: f64,
}

/// Names of tensors outside the four maps; `{n}` is never part of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Names {
    /// `model.embed_tokens`.
    pub(crate) embed: &'static str,
    /// Learned positions, where there are some.
    pub(crate) positions: Option<&'static str>,
    /// Before the layer's number: `model.layers`.
    pub(crate) layers: &'static str,
    /// Before attention (or before both parts).
    pub(crate) input_norm: &'static str,
    /// Before the feed-forward layer.
    pub(crate) mlp_norm: Option<&'static str>,
    /// After attention and after the feed-forward layer, in a sandwich.
    pub(crate) after: Option<[&'static str; 2]>,
    /// Of queries and keys.
    pub(crate) qk_norm: Option<[&'static str; 2]>,
    /// `model.norm`.
    pub(crate) norm: &'static str,
    /// `lm_head`.
    pub(crate) head: &'static str,
    /// What some files leave out at the front of every name: `transformer.`.
    pub(crate) optional_prefix: &'static str,
}

/// Everything the arithmetic depends on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Architecture {
    /// Rows of the embedding.
    pub(crate) vocab: usize,
    /// Width of the residual stream.
    pub(crate) d: usize,
    /// Width of the feed-forward layer.
    pub(crate) ff: usize,
    /// Decoder layers.
    pub(crate) layers: usize,
    /// Query heads.
    pub(crate) heads: usize,
    /// Key and value heads.
    pub(crate) kv_heads: usize,
    /// Width of a head.
    pub(crate) head_dim: usize,
    /// Longest context, in tokens.
    pub(crate) context: usize,
    /// Which norm.
    pub(crate) norm: NormKind,
    /// ε of the norms.
    pub(crate) eps: f32,
    /// How parts join.
    pub(crate) residual: Residual,
    /// Non-linearity.
    pub(crate) activation: Activation,
    /// Whether the feed-forward layer is activation(gate) · up.
    pub(crate) gated: bool,
    /// Distinct rotary tables.
    pub(crate) ropes: Vec<RopeSpec>,
    /// Table of each layer; `None` when positions are learned.
    pub(crate) rope_of: Vec<Option<usize>>,
    /// Attention window of each layer: a query sees the last so many positions, its own included.
    pub(crate) windows: Vec<Option<usize>>,
    /// Factor of attention scores.
    pub(crate) attention_scale: f32,
    /// `c · tanh(score / c)`.
    pub(crate) attention_softcap: Option<f32>,
    /// The same on logits.
    pub(crate) logits_softcap: Option<f32>,
    /// Factor of embeddings.
    pub(crate) embed_scale: f32,
    /// Whether the head is the embedding.
    pub(crate) tied: bool,
    /// Linear modules of a layer, in file order.
    pub(crate) modules: Vec<Module>,
    /// Whether linear weights are stored `(in, out)`, as GPT-2's.
    pub(crate) transposed: bool,
    /// Tensor names.
    pub(crate) names: Names,
}

impl Architecture {
    /// Width of all query heads.
    pub(crate) fn q_dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key (or value) heads.
    pub(crate) fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Width of queries, keys and values together.
    pub(crate) fn qkv_dim(&self) -> usize {
        self.q_dim() + 2 * self.kv_dim()
    }

    /// Output features of the feed-forward layer's first map.
    pub(crate) fn up_dim(&self) -> usize {
        self.ff * if self.gated { 2 } else { 1 }
    }

    /// `(out, in)` of a map.
    pub(crate) fn shape(&self, slot: Slot) -> (usize, usize) {
        match slot {
            Slot::Qkv => (self.qkv_dim(), self.d),
            Slot::Output => (self.d, self.q_dim()),
            Slot::Up => (self.up_dim(), self.d),
            Slot::Down => (self.d, self.ff),
        }
    }

    /// Whether norms have a bias.
    pub(crate) fn norm_has_bias(&self) -> bool {
        self.norm == NormKind::Layer
    }

    /// What is added to a norm's weights.
    pub(crate) fn norm_offset(&self) -> f32 {
        if self.norm == NormKind::RmsPlusOne { 1.0 } else { 0.0 }
    }

    /// First position that a query at `position` of layer `n` sees.
    pub(crate) fn first_seen(&self, n: usize, position: usize) -> usize {
        self.windows[n].map_or(0, |window| (position + 1).saturating_sub(window))
    }

    /// `prefix.{n}.name` of a tensor inside a layer.
    pub(crate) fn in_layer(&self, n: usize, name: &str) -> String {
        format!("{}.{n}.{name}", self.names.layers)
    }
}
