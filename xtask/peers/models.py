"""Models that the Rust side cannot write: Qwen2.5-0.5B's shape in bf16 with random weights, and the GGUF files.

Weights are normal with deviation 0.04.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

SHAPE = {
    "vocab_size": 151936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "torch_dtype": "bfloat16",
}
EXTRA = {
    "llama": {"architectures": ["LlamaForCausalLM"], "head_dim": 64, "attention_bias": False, "mlp_bias": False},
    "qwen2": {"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": False},
}


def half_weights(kind):
    """Random tensors by name; one generator a tensor, so that both kinds share their values."""
    d, f, v, kv = SHAPE["hidden_size"], SHAPE["intermediate_size"], SHAPE["vocab_size"], 128
    shapes = {"q_proj": (d, d), "k_proj": (kv, d), "v_proj": (kv, d), "o_proj": (d, d)}
    mlp = {"gate_proj": (f, d), "up_proj": (f, d), "down_proj": (d, f)}
    yield "model.embed_tokens.weight", (v, d)
    for n in range(SHAPE["num_hidden_layers"]):
        at = f"model.layers.{n}"
        for name, shape in shapes.items():
            yield f"{at}.self_attn.{name}.weight", shape
            if kind == "qwen2" and name != "o_proj":
                yield f"{at}.self_attn.{name}.bias", shape[:1]
        for name, shape in mlp.items():
            yield f"{at}.mlp.{name}.weight", shape
        yield f"{at}.input_layernorm.weight", (d,)
        yield f"{at}.post_attention_layernorm.weight", (d,)
    yield "model.norm.weight", (d,)


def tensor(name, shape):
    if "norm" in name:
        return torch.ones(shape, dtype=torch.bfloat16)
    seed = int.from_bytes(name.encode(), "little") % (2**31 - 1)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return (values * 0.04).to(torch.bfloat16)


def write_half(directory, kind):
    directory.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor(name, shape) for name, shape in half_weights(kind)}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": kind, **SHAPE, **EXTRA[kind]}
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")


NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def gguf_name(name):
    name = name.replace("model.embed_tokens", "token_embd").replace("model.norm", "output_norm")
    name = name.replace("lm_head", "output").replace("model.layers.", "blk.")
    for ours, theirs in NAMES.items():
        name = name.replace(ours, theirs)
    return name


def interleaved(weight, heads):
    """Rows of a rotated projection in the order that llama.cpp's `llama` architecture rotates: neighbours, not halves."""
    rows = weight.shape[0] // heads // 2
    return weight.reshape(heads, 2, rows, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(directory, precision):
    import gguf

    config = json.loads((directory / "config.json").read_text())
    kind, heads = config["model_type"], config["num_attention_heads"]
    kv = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer = gguf.GGUFWriter(directory / f"model.{precision}.gguf", kind)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(head_dim)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    for name, values in load_file(directory / "model.safetensors").items():
        if kind == "llama" and "q_proj" in name:
            values = interleaved(values, heads)
        if kind == "llama" and "k_proj" in name:
            values = interleaved(values, kv)
        add_tensor(gguf, writer, gguf_name(name), values, precision)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_tensor(gguf, writer, name, values, precision):
    """Matrices in `precision`; vectors in f32, as llama.cpp's own converter writes them."""
    if precision == "f32" or values.dim() == 1:
        writer.add_tensor(name, values.float().contiguous().numpy())
        return
    bits = values.to(torch.bfloat16).contiguous().view(torch.uint8).numpy()
    writer.add_tensor(name, np.ascontiguousarray(bits), raw_dtype=gguf.GGMLQuantizationType.BF16)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--half", choices=["llama", "qwen2"], help="write a model of the 0.5B shape")
    parser.add_argument("--gguf", choices=["f32", "bf16"], help="convert the model in OUT for llama.cpp")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    if args.half:
        write_half(args.out, args.half)
    if args.gguf:
        write_gguf(args.out, args.gguf)


if __name__ == "__main__":
    main()
