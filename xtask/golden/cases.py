"""The table of families: settings that make every feature of a family move a logit, and what each one is there to catch.

Windows are shorter than the sequences, soft-caps near the values they cap, rotary bases such that an interpolated frequency
lies between the two that are not, and every width differs from the others, so that no transposed axis fits by chance.
`mistakes` are the same config read wrongly; `family_sensitivity.py` shows that each would be seen.
"""

from dataclasses import dataclass, field

VOCAB_SIZE = 64
COMMON = dict(
    vocab_size=VOCAB_SIZE,
    hidden_size=32,
    intermediate_size=28,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=128,
    bos_token_id=0,
    eos_token_id=4,
    pad_token_id=5,
)
GROUPED = COMMON | dict(num_key_value_heads=2)
SWIGLU = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PHI3 = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
NEOX = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]
LLAMA3_ROPE = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
LONGROPE = dict(short_factor=[1.0, 1.25, 1.5], long_factor=[1.5, 4.0, 9.0])


def rope(theta: float, kind: str = "default", **settings) -> dict:
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=theta, **settings))


@dataclass(frozen=True)
class Case:
    model_type: str
    config: dict
    # In place of `rope_parameters` and of what transformers 4 did not have: the spelling of most published checkpoints.
    version_4: dict
    # LoraConfig, or None: the variants whose linear layers are those of another case carry no adapter.
    adapter: dict | None = None
    dtype: str = "float32"
    max_shard_size: str = "50GB"
    # Another one where the weights of the first lead every prompt to one token over and over.
    seed: int = 0
    mistakes: list[dict] = field(default_factory=list)


CASES = {
    # Wavelengths 6.3, 29 and 135 of head_dim 12 lie in the three bands of the rule: kept, smoothed, divided.
    "llama3": Case(
        "llama",
        GROUPED | dict(head_dim=12, rms_norm_eps=1e-5) | rope(1e4, "llama3", **LLAMA3_ROPE),
        dict(rope_theta=1e4, rope_scaling=dict(rope_type="llama3", **LLAMA3_ROPE)),
        adapter=dict(target_modules=SWIGLU),
        mistakes=[rope(1e4), rope(1e4, "llama3", **LLAMA3_ROPE | {"factor": 7.0}), dict(rms_norm_eps=1e-6)],
    ),
    "llama-linear": Case(
        "llama",
        GROUPED
        | dict(head_dim=8, tie_word_embeddings=True, attention_bias=True, mlp_bias=True)
        | rope(1e4, "linear", factor=4.0),
        dict(rope_theta=1e4, rope_scaling=dict(type="linear", factor=4.0)),
        mistakes=[rope(1e4)],
    ),
    # The ramp is 0, 1/2, 1, ...; the attention factor is left to the default 0.1 ln(factor) + 1.
    "llama-yarn": Case(
        "llama",
        GROUPED | dict(head_dim=12) | rope(1e3, "yarn", factor=4.0, original_max_position_embeddings=32),
        dict(rope_theta=1e3, rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32)),
        mistakes=[rope(1e3), rope(1e3, "yarn", factor=4.0, original_max_position_embeddings=32, attention_factor=1.0)],
    ),
    "mistral": Case(
        "mistral",
        GROUPED | dict(head_dim=12, sliding_window=8) | rope(1e4),
        dict(rope_theta=1e4),
        adapter=dict(target_modules=r"model\.layers\.\d+\.(self_attn\.[qv]_proj|mlp\.down_proj)"),
        dtype="bfloat16",
        mistakes=[dict(sliding_window=7), dict(sliding_window=9), dict(sliding_window=None)],
    ),
    # version_4 has a window that `use_sliding_window` switches off, as the published Qwen2 and Qwen2.5 do.
    "qwen2": Case(
        "qwen2",
        GROUPED | dict(tie_word_embeddings=True, rms_norm_eps=1e-6) | rope(1e6),
        dict(rope_theta=1e6, use_sliding_window=False, sliding_window=8, max_window_layers=0),
        adapter=dict(target_modules="all-linear"),
        dtype="float16",
        mistakes=[
            dict(use_sliding_window=True, sliding_window=8, layer_types=["full_attention", "sliding_attention"]),
            rope(1e4),
        ],
    ),
    "qwen2-window": Case(
        "qwen2",
        GROUPED | dict(use_sliding_window=True, sliding_window=8, max_window_layers=1) | rope(1e4),
        dict(rope_theta=1e4),
        mistakes=[
            dict(layer_types=[f"{a}_attention", f"{b}_attention"]) for a, b in (("full", "full"), ("sliding", "full"))
        ],
    ),
    "qwen3": Case(
        "qwen3",
        GROUPED | dict(head_dim=12, tie_word_embeddings=True, attention_bias=False) | rope(1e6),
        dict(rope_theta=1e6, use_sliding_window=False, sliding_window=None),
        adapter=dict(target_modules=SWIGLU),
        max_shard_size="25KB",
        mistakes=[rope(1e4), dict(rms_norm_eps=1e-5)],
    ),
    "gemma2": Case(
        "gemma2",
        GROUPED
        | dict(head_dim=12, rms_norm_eps=1e-3, sliding_window=8)
        | dict(query_pre_attn_scalar=10, attn_logit_softcapping=2.0, final_logit_softcapping=4.0)
        | rope(1e4),
        dict(rope_theta=1e4, hidden_act="gelu_pytorch_tanh"),
        adapter=dict(target_modules=SWIGLU),
        mistakes=[
            dict(sliding_window=7),
            dict(sliding_window=9),
            dict(layer_types=["full_attention", "sliding_attention"]),
            dict(query_pre_attn_scalar=12),
            dict(attn_logit_softcapping=None),
            dict(final_logit_softcapping=None),
            dict(hidden_activation="gelu"),
            dict(rms_norm_eps=1e-6),
        ],
    ),
    # Layers: sliding, full, sliding. `rope_scaling` belongs to the full layer alone.
    "gemma3": Case(
        "gemma3_text",
        GROUPED
        | dict(num_hidden_layers=3, head_dim=8, sliding_window=8, query_pre_attn_scalar=10, sliding_window_pattern=2)
        | dict(
            rope_parameters=dict(
                sliding_attention=dict(rope_type="default", rope_theta=1e2),
                full_attention=dict(rope_type="linear", rope_theta=1e3, factor=8.0),
            )
        ),
        dict(
            rope_theta=1e3,
            rope_local_base_freq=1e2,
            rope_scaling=dict(rope_type="linear", factor=8.0),
            sliding_window_pattern=2,
        ),
        adapter=dict(target_modules=["q_proj", "v_proj", "down_proj"]),
        mistakes=[
            dict(sliding_window=9),
            dict(layer_types=["sliding_attention"] * 2 + ["full_attention"]),
            dict(query_pre_attn_scalar=8),
            dict(
                rope_parameters={
                    k: dict(rope_type="linear", rope_theta=1e3, factor=8.0) for k in ("sliding_attention", "full_attention")
                }
            ),
            dict(
                rope_parameters=dict(
                    sliding_attention=dict(rope_type="default", rope_theta=1e2),
                    full_attention=dict(rope_type="default", rope_theta=1e3),
                )
            ),
        ],
    ),
    "phi3": Case(
        "phi3",
        GROUPED | dict(sliding_window=9, original_max_position_embeddings=128) | rope(1e4),
        dict(rope_theta=1e4, rope_scaling=None),
        adapter=dict(target_modules=PHI3, use_rslora=True),
        mistakes=[dict(sliding_window=8), dict(sliding_window=None)],
    ),
    # Three of four frequencies turn. Short factors up to 16 positions, long ones for all positions once there are more.
    "phi3-longrope": Case(
        "phi3",
        GROUPED
        | dict(tie_word_embeddings=True, original_max_position_embeddings=16)
        | rope(1e4, "longrope", partial_rotary_factor=0.75, **LONGROPE),
        dict(rope_theta=1e4, partial_rotary_factor=0.75, rope_scaling=dict(type="longrope", **LONGROPE)),
        mistakes=[
            rope(1e4, partial_rotary_factor=0.75),
            rope(1e4, "longrope", partial_rotary_factor=0.75, **LONGROPE | {"long_factor": LONGROPE["short_factor"]}),
            rope(1e4, "longrope", partial_rotary_factor=0.75, attention_factor=1.0, **LONGROPE),
        ],
    ),
    "gpt2": Case(
        "gpt2",
        dict(
            vocab_size=VOCAB_SIZE, n_embd=32, n_layer=2, n_head=4, n_positions=72, n_inner=28, activation_function="gelu_new"
        )
        | dict(bos_token_id=0, eos_token_id=4, pad_token_id=5),
        dict(n_ctx=72),
        adapter=dict(target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True),
        mistakes=[
            dict(activation_function="gelu"),
            dict(layer_norm_epsilon=1e-4),
            dict(scale_attn_by_inverse_layer_idx=True),
        ],
    ),
    "gpt-neox": Case(
        "gpt_neox",
        COMMON | dict(hidden_act="gelu", use_parallel_residual=True) | rope(1e3, partial_rotary_factor=0.5),
        dict(rotary_emb_base=1000, rotary_pct=0.5),
        adapter=dict(target_modules=NEOX),
        mistakes=[
            dict(use_parallel_residual=False),
            dict(hidden_act="gelu_new"),
            rope(1e3, partial_rotary_factor=1.0),
            rope(1e4, partial_rotary_factor=0.5),
        ],
    ),
    "gpt-neox-sequential": Case(
        "gpt_neox",
        COMMON
        | dict(hidden_act="gelu_new", use_parallel_residual=False, tie_word_embeddings=True)
        | rope(1e4, partial_rotary_factor=1.0),
        dict(rotary_emb_base=10000, rotary_pct=1.0),
        seed=1,
        mistakes=[dict(use_parallel_residual=True)],
    ),
    "stablelm": Case(
        "stablelm",
        GROUPED | dict(use_qkv_bias=True, layer_norm_eps=1e-5) | rope(1e3, partial_rotary_factor=0.5),
        dict(rope_theta=1e3, partial_rotary_factor=0.5, rope_scaling=None),
        adapter=dict(target_modules=SWIGLU),
        mistakes=[rope(1e3, partial_rotary_factor=1.0), dict(layer_norm_eps=1e-4), dict(hidden_act="gelu")],
    ),
    "stablelm-parallel": Case(
        "stablelm",
        GROUPED | dict(use_parallel_residual=True, qk_layernorm=True) | rope(1e3, partial_rotary_factor=0.5),
        dict(rope_theta=1e3, partial_rotary_factor=0.5),
        mistakes=[rope(1e3, partial_rotary_factor=1.0)],
    ),
}
