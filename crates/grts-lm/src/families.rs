//! Model families: from the keys of a `config.json` to an [`Architecture`].
//!
//! Each family is one function. A key that would change the arithmetic and is not implemented is refused by name, so that a
//! checkpoint never runs with silently different mathematics. Keys and defaults are those of `transformers`, versions 4
//! and 5 (which nests rotary settings in `rope_parameters`).

use crate::architecture::{Activation, Architecture, Module, Names, NormKind, Residual, RopeSpec, Slot};
use serde_json::{Map, Value};
use std::f64::consts::TAU;

pub(crate) type Fallible<T> = std::result::Result<T, String>;

/// `model_type`s that are read.
const FAMILIES: &str = "llama, mistral, qwen2, qwen3, gemma2, gemma3_text, phi3, gpt2, gpt_neox or stablelm";

/// The architecture that `config` describes.
pub(crate) fn architecture(config: &Map<String, Value>) -> Fallible<Architecture> {
    let keys = Keys(config);
    let family = keys.text("model_type").unwrap_or("absent");
    let built = match family {
        "llama" => llama(keys),
        "mistral" => mistral(keys),
        "qwen2" => qwen2(keys),
        "qwen3" => qwen3(keys),
        "gemma2" => gemma2(keys),
        "gemma3_text" => gemma3(keys),
        "phi3" => phi3(keys),
        "gpt2" => gpt2(keys),
        "gpt_neox" => gpt_neox(keys),
        "stablelm" => stablelm(keys),
        other => Err(format!("`model_type` is `{other}`; {FAMILIES} is read")),
    }?;
    check(&built)?;
    Ok(built)
}

fn check(a: &Architecture) -> Fallible<()> {
    if !a.heads.is_multiple_of(a.kv_heads) {
        let (heads, kv_heads) = (a.heads, a.kv_heads);
        return Err(format!("`num_attention_heads` {heads} is not a multiple of `num_key_value_heads` {kv_heads}"));
    }
    if !a.ropes.is_empty() && !a.head_dim.is_multiple_of(2) {
        return Err(format!("`head_dim` {} is odd: rotary embedding needs pairs", a.head_dim));
    }
    Ok(())
}

/// The keys of a `config.json`; `null` counts as absent.
#[derive(Clone, Copy)]
pub(crate) struct Keys<'a>(pub(crate) &'a Map<String, Value>);

impl<'a> Keys<'a> {
    fn get(self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn text(self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    /// A size of at least 1.
    pub(crate) fn size(self, key: &str) -> Fallible<usize> {
        self.size_if(key)?.ok_or_else(|| format!("`{key}` is missing"))
    }

    pub(crate) fn size_if(self, key: &str) -> Fallible<Option<usize>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64() {
            Some(0) => Err(format!("`{key}` is 0")),
            Some(size) => Ok(Some(size as usize)),
            None => Err(format!("`{key}` is {value}; it must be a whole number")),
        }
    }

    fn number(self, key: &str) -> Fallible<f64> {
        self.number_if(key)?.ok_or_else(|| format!("`{key}` is missing"))
    }

    pub(crate) fn number_if(self, key: &str) -> Fallible<Option<f64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let finite = value.as_f64().filter(|x| x.is_finite());
        finite.map(Some).ok_or_else(|| format!("`{key}` is {value}; it must be a number"))
    }

    pub(crate) fn flag(self, key: &str, default: bool) -> Fallible<bool> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| format!("`{key}` is {value}; it must be true or false"))
    }

    fn numbers(self, key: &str) -> Fallible<Vec<f64>> {
        let list =
            self.get(key).and_then(Value::as_array).ok_or_else(|| format!("`{key}` must be a list of numbers"))?;
        list.iter().map(|x| x.as_f64().ok_or_else(|| format!("`{key}` holds {x}"))).collect()
    }

    fn nested(self, key: &str) -> Option<Self> {
        self.get(key)?.as_object().map(Keys)
    }

    /// Refuses anything but `only` (or absence).
    pub(crate) fn only(self, key: &str, only: &Value) -> Fallible<()> {
        match self.get(key) {
            Some(value) if value != only => Err(format!("`{key}` is {value}; only {only} is supported")),
            _ => Ok(()),
        }
    }

    pub(crate) fn activation(self, key: &str, default: &'static str) -> Fallible<Activation> {
        match self.text(key).unwrap_or(default) {
            "silu" | "swish" => Ok(Activation::Silu),
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
            other => Err(format!("`{key}` is `{other}`; silu, gelu, gelu_new or gelu_pytorch_tanh is supported")),
        }
    }
}

const LLAMA_NAMES: Names = Names {
    embed: "model.embed_tokens",
    positions: None,
    layers: "model.layers",
    input_norm: "input_layernorm",
    mlp_norm: Some("post_attention_layernorm"),
    after: None,
    qk_norm: None,
    norm: "model.norm",
    head: "lm_head",
    optional_prefix: "",
};

/// Sizes that most families spell alike.
struct Sizes {
    d: usize,
    ff: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    layers: usize,
}

impl Sizes {
    fn read(keys: Keys<'_>) -> Fallible<Self> {
        let (d, heads) = (keys.size("hidden_size")?, keys.size("num_attention_heads")?);
        Ok(Self {
            d,
            ff: keys.size("intermediate_size")?,
            heads,
            kv_heads: keys.size_if("num_key_value_heads")?.unwrap_or(heads),
            head_dim: keys.size_if("head_dim")?.unwrap_or(d / heads),
            layers: keys.size("num_hidden_layers")?,
        })
    }

    /// q, k, v, o, gate, up, down apart, with biases on (q k v, o, the rest).
    fn split_modules(&self, [qkv, output, mlp]: [bool; 3]) -> Vec<Module> {
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let module = |name, slot, first, rows, bias| Module { name, slot, first, rows, bias, order: None };
        vec![
            module("self_attn.q_proj", Slot::Qkv, 0, q, qkv),
            module("self_attn.k_proj", Slot::Qkv, q, kv, qkv),
            module("self_attn.v_proj", Slot::Qkv, q + kv, kv, qkv),
            module("self_attn.o_proj", Slot::Output, 0, self.d, output),
            module("mlp.gate_proj", Slot::Up, 0, self.ff, mlp),
            module("mlp.up_proj", Slot::Up, self.ff, self.ff, mlp),
            module("mlp.down_proj", Slot::Down, 0, self.d, mlp),
        ]
    }
}

/// Llama, from which the others differ.
fn llama_like(keys: Keys<'_>, biases: [bool; 3], tied: bool) -> Fallible<Architecture> {
    let sizes = Sizes::read(keys)?;
    let context = keys.size("max_position_embeddings")?;
    let rope = rope(keys, sizes.head_dim, context, 10_000.0)?;
    Ok(Architecture {
        vocab: keys.size("vocab_size")?,
        d: sizes.d,
        ff: sizes.ff,
        layers: sizes.layers,
        heads: sizes.heads,
        kv_heads: sizes.kv_heads,
        head_dim: sizes.head_dim,
        context: rope.context,
        norm: NormKind::Rms,
        eps: keys.number_if("rms_norm_eps")?.unwrap_or(1e-6) as f32,
        residual: Residual::Sequential,
        activation: keys.activation("hidden_act", "silu")?,
        gated: true,
        ropes: vec![rope.spec],
        rope_of: vec![Some(0); sizes.layers],
        windows: vec![None; sizes.layers],
        attention_scale: (1.0 / (sizes.head_dim as f64).sqrt()) as f32,
        attention_softcap: None,
        logits_softcap: None,
        embed_scale: 1.0,
        tied: keys.flag("tie_word_embeddings", tied)?,
        modules: sizes.split_modules(biases),
        transposed: false,
        names: LLAMA_NAMES,
    })
}

fn llama(keys: Keys<'_>) -> Fallible<Architecture> {
    let (attention, mlp) = (keys.flag("attention_bias", false)?, keys.flag("mlp_bias", false)?);
    llama_like(keys, [attention, attention, mlp], false)
}

fn mistral(keys: Keys<'_>) -> Fallible<Architecture> {
    let built = llama_like(keys, [false; 3], false)?;
    let windows = vec![keys.size_if("sliding_window")?; built.layers];
    Ok(Architecture { windows, ..built })
}

fn qwen2(keys: Keys<'_>) -> Fallible<Architecture> {
    let built = llama_like(keys, [true, false, false], false)?;
    let windows = qwen_windows(keys, built.layers)?;
    Ok(Architecture { windows, ..built })
}

fn qwen3(keys: Keys<'_>) -> Fallible<Architecture> {
    let bias = keys.flag("attention_bias", false)?;
    let built = llama_like(keys, [bias, bias, false], false)?;
    let windows = qwen_windows(keys, built.layers)?;
    let names = Names { qk_norm: Some(["self_attn.q_norm", "self_attn.k_norm"]), ..LLAMA_NAMES };
    Ok(Architecture { windows, names, ..built })
}

fn qwen_windows(keys: Keys<'_>, layers: usize) -> Fallible<Vec<Option<usize>>> {
    if !keys.flag("use_sliding_window", false)? {
        return Ok(vec![None; layers]);
    }
    let from = keys.get("max_window_layers").and_then(Value::as_u64).unwrap_or(28) as usize;
    windows(keys, layers, |n| n >= from)
}

/// The window on sliding layers: those of `layer_types`, or by `sliding`.
fn windows(keys: Keys<'_>, layers: usize, sliding: impl Fn(usize) -> bool) -> Fallible<Vec<Option<usize>>> {
    let window = keys.size_if("sliding_window")?;
    let types = keys.get("layer_types").and_then(Value::as_array);
    if types.is_some_and(|types| types.len() != layers) {
        return Err(format!("`layer_types` does not name {layers} layers"));
    }
    let slides = |n: usize| match types.map(|types| types[n].as_str().unwrap_or_default()) {
        None => Ok(sliding(n)),
        Some("sliding_attention") => Ok(true),
        Some("full_attention") => Ok(false),
        Some(other) => {
            Err(format!("`layer_types` names `{other}`; sliding_attention and full_attention are supported"))
        }
    };
    (0..layers).map(|n| Ok(slides(n)?.then_some(window).flatten())).collect()
}

fn gemma(keys: Keys<'_>, sliding: impl Fn(usize) -> bool) -> Fallible<Architecture> {
    let bias = keys.flag("attention_bias", false)?;
    let built = llama_like(keys, [bias, bias, false], true)?;
    keys.only("use_bidirectional_attention", &Value::Bool(false))?;
    Ok(Architecture {
        norm: NormKind::RmsPlusOne,
        residual: Residual::Sandwich,
        activation: keys.activation("hidden_activation", "gelu_pytorch_tanh")?,
        windows: windows(keys, built.layers, sliding)?,
        attention_scale: (1.0 / keys.number_if("query_pre_attn_scalar")?.unwrap_or(256.0).sqrt()) as f32,
        attention_softcap: keys.number_if("attn_logit_softcapping")?.map(|x| x as f32),
        logits_softcap: keys.number_if("final_logit_softcapping")?.map(|x| x as f32),
        embed_scale: (built.d as f64).sqrt() as f32,
        names: Names {
            mlp_norm: Some("pre_feedforward_layernorm"),
            after: Some(["post_attention_layernorm", "post_feedforward_layernorm"]),
            ..LLAMA_NAMES
        },
        ..built
    })
}

fn gemma2(keys: Keys<'_>) -> Fallible<Architecture> {
    gemma(keys, |n| n.is_multiple_of(2))
}

fn gemma3(keys: Keys<'_>) -> Fallible<Architecture> {
    let pattern = keys.size_if("sliding_window_pattern")?.or(keys.size_if("_sliding_window_pattern")?).unwrap_or(6);
    let built = gemma(keys, |n| !(n + 1).is_multiple_of(pattern))?;
    // Sliding layers turn by a base of their own, unscaled.
    let nested = keys.nested("rope_parameters");
    let [global, local] = match nested.and_then(|n| Some([n.nested("full_attention")?, n.nested("sliding_attention")?]))
    {
        Some([full, sliding]) => [
            scaled_rope(full, keys, built.head_dim, built.context, 1e6)?,
            scaled_rope(sliding, keys, built.head_dim, built.context, 1e4)?,
        ],
        None => {
            let base = keys.number_if("rope_local_base_freq")?.unwrap_or(10_000.0);
            let local = RopeSpec { frequencies: frequencies(base, built.head_dim), factor: 1.0 };
            [rope(keys, built.head_dim, built.context, 1e6)?, Rope { spec: local, context: built.context }]
        }
    };
    Ok(Architecture {
        ropes: vec![global.spec, local.spec],
        rope_of: built.windows.iter().map(|window| Some(usize::from(window.is_some()))).collect(),
        names: Names { qk_norm: Some(["self_attn.q_norm", "self_attn.k_norm"]), ..built.names },
        ..built
    })
}

fn phi3(keys: Keys<'_>) -> Fallible<Architecture> {
    let built = llama_like(keys, [false; 3], false)?;
    let module = |name, slot, rows| Module { name, slot, first: 0, rows, bias: false, order: None };
    let modules = vec![
        module("self_attn.qkv_proj", Slot::Qkv, built.qkv_dim()),
        module("self_attn.o_proj", Slot::Output, built.d),
        module("mlp.gate_up_proj", Slot::Up, built.up_dim()),
        module("mlp.down_proj", Slot::Down, built.d),
    ];
    let windows = vec![keys.size_if("sliding_window")?; built.layers];
    Ok(Architecture { modules, windows, ..built })
}

fn gpt2(keys: Keys<'_>) -> Fallible<Architecture> {
    let (d, heads, layers) = (keys.size("n_embd")?, keys.size("n_head")?, keys.size("n_layer")?);
    let ff = keys.size_if("n_inner")?.unwrap_or(4 * d);
    keys.only("add_cross_attention", &Value::Bool(false))?;
    keys.only("scale_attn_by_inverse_layer_idx", &Value::Bool(false))?;
    let scaled = keys.flag("scale_attn_weights", true)?;
    let module = |name, slot, rows| Module { name, slot, first: 0, rows, bias: true, order: None };
    Ok(Architecture {
        vocab: keys.size("vocab_size")?,
        d,
        ff,
        layers,
        heads,
        kv_heads: heads,
        head_dim: d / heads,
        context: keys.size("n_positions")?,
        norm: NormKind::Layer,
        eps: keys.number_if("layer_norm_epsilon")?.unwrap_or(1e-5) as f32,
        residual: Residual::Sequential,
        activation: keys.activation("activation_function", "gelu_new")?,
        gated: false,
        ropes: Vec::new(),
        rope_of: vec![None; layers],
        windows: vec![None; layers],
        attention_scale: if scaled { (1.0 / ((d / heads) as f64).sqrt()) as f32 } else { 1.0 },
        attention_softcap: None,
        logits_softcap: None,
        embed_scale: 1.0,
        tied: keys.flag("tie_word_embeddings", true)?,
        modules: vec![
            module("attn.c_attn", Slot::Qkv, 3 * d),
            module("attn.c_proj", Slot::Output, d),
            module("mlp.c_fc", Slot::Up, ff),
            module("mlp.c_proj", Slot::Down, d),
        ],
        transposed: true,
        names: Names {
            embed: "transformer.wte",
            positions: Some("transformer.wpe"),
            layers: "transformer.h",
            input_norm: "ln_1",
            mlp_norm: Some("ln_2"),
            norm: "transformer.ln_f",
            optional_prefix: "transformer.",
            ..LLAMA_NAMES
        },
    })
}

fn gpt_neox(keys: Keys<'_>) -> Fallible<Architecture> {
    let sizes = Sizes::read(keys)?;
    let (heads, dh, d) = (sizes.heads, sizes.head_dim, sizes.d);
    let context = keys.size("max_position_embeddings")?;
    let rope = rope(keys, dh, context, 10_000.0)?;
    let bias = keys.flag("attention_bias", true)?;
    // The file has query, key and value of a head together; the map has all queries, all keys, all values.
    let order = (0..3 * d).map(|i| i % d / dh * 3 * dh + i / d * dh + i % dh).collect();
    let module = |name, slot, rows, bias| Module { name, slot, first: 0, rows, bias, order: None };
    let parallel = keys.flag("use_parallel_residual", true)?;
    Ok(Architecture {
        vocab: keys.size("vocab_size")?,
        d,
        ff: sizes.ff,
        layers: sizes.layers,
        heads,
        kv_heads: heads,
        head_dim: dh,
        context: rope.context,
        norm: NormKind::Layer,
        eps: keys.number_if("layer_norm_eps")?.unwrap_or(1e-5) as f32,
        residual: if parallel { Residual::Parallel } else { Residual::Sequential },
        activation: keys.activation("hidden_act", "gelu")?,
        gated: false,
        ropes: vec![rope.spec],
        rope_of: vec![Some(0); sizes.layers],
        windows: vec![None; sizes.layers],
        attention_scale: (1.0 / (dh as f64).sqrt()) as f32,
        attention_softcap: None,
        logits_softcap: None,
        embed_scale: 1.0,
        tied: keys.flag("tie_word_embeddings", false)?,
        modules: vec![
            Module { order: Some(order), ..module("attention.query_key_value", Slot::Qkv, 3 * d, bias) },
            module("attention.dense", Slot::Output, d, bias),
            module("mlp.dense_h_to_4h", Slot::Up, sizes.ff, true),
            module("mlp.dense_4h_to_h", Slot::Down, d, true),
        ],
        transposed: false,
        names: Names {
            embed: "gpt_neox.embed_in",
            layers: "gpt_neox.layers",
            norm: "gpt_neox.final_layer_norm",
            head: "embed_out",
            ..LLAMA_NAMES
        },
    })
}

fn stablelm(keys: Keys<'_>) -> Fallible<Architecture> {
    let built = llama_like(keys, [keys.flag("use_qkv_bias", false)?, false, false], false)?;
    keys.only("qk_layernorm", &Value::Bool(false))?;
    let shared = keys.flag("use_parallel_residual", false)?;
    Ok(Architecture {
        norm: NormKind::Layer,
        eps: keys.number_if("layer_norm_eps")?.unwrap_or(1e-5) as f32,
        residual: if shared { Residual::ParallelShared } else { Residual::Sequential },
        names: Names { mlp_norm: LLAMA_NAMES.mlp_norm.filter(|_| !shared), ..LLAMA_NAMES },
        ..built
    })
}

/// Rotary settings, and the context for which they hold.
struct Rope {
    spec: RopeSpec,
    context: usize,
}

fn frequencies(base: f64, width: usize) -> Vec<f64> {
    (0..width / 2).map(|i| base.powf(-2.0 * i as f64 / width as f64)).collect()
}

/// Rotary settings wherever this version of transformers puts them.
fn rope(keys: Keys<'_>, head_dim: usize, context: usize, default_base: f64) -> Fallible<Rope> {
    let empty = Map::new();
    // Gemma 3 has one set for each kind of layer.
    let nested = keys.nested("rope_parameters").map(|n| n.nested("full_attention").unwrap_or(n));
    let scaling = nested.or(keys.nested("rope_scaling")).unwrap_or(Keys(&empty));
    scaled_rope(scaling, keys, head_dim, context, default_base)
}

fn scaled_rope(
    scaling: Keys<'_>,
    keys: Keys<'_>,
    head_dim: usize,
    context: usize,
    default_base: f64,
) -> Fallible<Rope> {
    let first = |names: [(Keys<'_>, &str); 3]| -> Fallible<Option<f64>> {
        names.into_iter().map(|(keys, name)| keys.number_if(name)).find(|x| !matches!(x, Ok(None))).unwrap_or(Ok(None))
    };
    let base =
        first([(scaling, "rope_theta"), (keys, "rope_theta"), (keys, "rotary_emb_base")])?.unwrap_or(default_base);
    let neox = keys.text("model_type") == Some("gpt_neox") || keys.text("model_type") == Some("stablelm");
    let share = first([(scaling, "partial_rotary_factor"), (keys, "partial_rotary_factor"), (keys, "rotary_pct")])?;
    let share = share.unwrap_or(if neox { 0.25 } else { 1.0 });
    let width = (head_dim as f64 * share) as usize;
    let plain = frequencies(base, width);
    let original = scaling.size_if("original_max_position_embeddings")?;
    let original = original.or(keys.size_if("original_max_position_embeddings")?);
    let kind = scaling.text("rope_type").or(scaling.text("type")).unwrap_or("default");
    let spec = match kind {
        // Dynamic scaling begins beyond the window that `max_position_embeddings` names, where no text goes here.
        "default" | "dynamic" => RopeSpec { frequencies: plain, factor: 1.0 },
        "linear" => {
            let factor = scaling.number("factor")?;
            RopeSpec { frequencies: plain.iter().map(|f| f / factor).collect(), factor: 1.0 }
        }
        "llama3" => llama3(scaling, &plain, original.unwrap_or(context) as f64)?,
        "yarn" => yarn(scaling, &plain, width, base, original.unwrap_or(context) as f64)?,
        "longrope" | "su" => {
            let original = original.unwrap_or(context);
            let spec = longrope(scaling, &plain, context as f64, original as f64)?;
            // Beyond the original window other factors hold, for all positions at once: a cache cannot follow.
            return Ok(Rope { spec, context: context.min(original) });
        }
        other => return Err(format!("rope scaling `{other}` is not supported")),
    };
    Ok(Rope { spec, context })
}

fn llama3(scaling: Keys<'_>, plain: &[f64], original: f64) -> Fallible<RopeSpec> {
    let factor = scaling.number("factor")?;
    let (low, high) = (scaling.number("low_freq_factor")?, scaling.number("high_freq_factor")?);
    let scale = |f: &f64| {
        let turns = original * f / TAU; // of the original window
        if turns > high {
            *f
        } else if turns < low {
            f / factor
        } else {
            let smooth = (turns - low) / (high - low);
            (1.0 - smooth) * f / factor + smooth * f
        }
    };
    Ok(RopeSpec { frequencies: plain.iter().map(scale).collect(), factor: 1.0 })
}

fn yarn(scaling: Keys<'_>, plain: &[f64], width: usize, base: f64, original: f64) -> Fallible<RopeSpec> {
    let factor = scaling.number("factor")?;
    let fast = scaling.number_if("beta_fast")?.unwrap_or(32.0);
    let slow = scaling.number_if("beta_slow")?.unwrap_or(1.0);
    let dimension = |turns: f64| width as f64 * (original / (turns * TAU)).ln() / (2.0 * base.ln());
    let (mut low, mut high) = (dimension(fast), dimension(slow));
    if scaling.flag("truncate", true)? {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(width as f64 - 1.0));
    let span = if low == high { 0.001 } else { high - low };
    let blend = |(i, f): (usize, &f64)| {
        let kept = 1.0 - ((i as f64 - low) / span).clamp(0.0, 1.0);
        f / factor * (1.0 - kept) + f * kept
    };
    let mscale = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
    let weights = (scaling.number_if("mscale")?, scaling.number_if("mscale_all_dim")?);
    let attention = match (scaling.number_if("attention_factor")?, weights) {
        (Some(given), _) => given,
        (None, (Some(one), Some(all))) if one != 0.0 && all != 0.0 => mscale(one) / mscale(all),
        _ => mscale(1.0),
    };
    Ok(RopeSpec { frequencies: plain.iter().enumerate().map(blend).collect(), factor: attention })
}

fn longrope(scaling: Keys<'_>, plain: &[f64], context: f64, original: f64) -> Fallible<RopeSpec> {
    let short = scaling.numbers("short_factor")?;
    if short.len() != plain.len() {
        return Err(format!("`short_factor` has {} numbers, {} are due", short.len(), plain.len()));
    }
    let factor = match scaling.number_if("factor")? {
        Some(factor) => factor,
        None => context / original,
    };
    let attention = scaling.number_if("attention_factor")?;
    let default = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
    Ok(RopeSpec {
        frequencies: plain.iter().zip(short).map(|(f, s)| f / s).collect(),
        factor: attention.unwrap_or(default),
    })
}
