"""A Llama or Qwen2 decoder in plain PyTorch with a static KV cache: the fastest loop that we know how to write by hand.

It leaves out what costs a general library time: no module calls, no growing cache, no mask, no logits but the last. Query,
key and value are one matrix product, gate and up another; heads that share a key are laid along the query's time axis, so
that keys are never repeated.
"""

import json

import torch
import torch.nn.functional as F
from safetensors.torch import load_file


class Decoder:
    """Weights of a Hugging Face directory and the step over them."""

    def __init__(self, directory, dtype):
        config = json.loads((directory / "config.json").read_text())
        weights = {k: v.to(dtype).contiguous() for k, v in load_file(directory / "model.safetensors").items()}
        self.h, self.d = config["num_attention_heads"], config["hidden_size"]
        self.kv = config.get("num_key_value_heads") or self.h
        self.dh = config.get("head_dim") or self.d // self.h
        self.eps, self.vocab = config["rms_norm_eps"], config["vocab_size"]
        self.theta = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
        self.dtype = dtype
        self.layers = [self._layer(weights, n) for n in range(config["num_hidden_layers"])]
        self.embed, self.norm = weights["model.embed_tokens.weight"], weights["model.norm.weight"]
        self.head = self.embed if config["tie_word_embeddings"] else weights["lm_head.weight"]

    @staticmethod
    def _layer(weights, n):
        def join(names, end):
            found = [weights.get(f"model.layers.{n}.{name}.{end}") for name in names]
            return torch.cat(found).contiguous() if found[0] is not None else None

        qkv = [f"self_attn.{x}_proj" for x in "qkv"]
        return {
            "qkv": join(qkv, "weight"),
            "bias": join(qkv, "bias"),
            "o": join(["self_attn.o_proj"], "weight"),
            "gate_up": join(["mlp.gate_proj", "mlp.up_proj"], "weight"),
            "down": join(["mlp.down_proj"], "weight"),
            "norm1": join(["input_layernorm"], "weight"),
            "norm2": join(["post_attention_layernorm"], "weight"),
        }

    def cache(self, b, length):
        """Keys and values `(layers, b, kv, length, dh)` and the rotary tables; call before the first step."""
        shape = (len(self.layers), b, self.kv, length, self.dh)
        self.keys, self.values = torch.zeros(shape, dtype=self.dtype), torch.zeros(shape, dtype=self.dtype)
        frequency = self.theta ** -(torch.arange(0, self.dh, 2, dtype=torch.float64) / self.dh)
        angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency  # (length, dh / 2)
        angle = torch.cat([angle, angle], dim=1)
        self.cos, self.sin = angle.cos().to(self.dtype), angle.sin().to(self.dtype)
        self.sin[:, : self.dh // 2] *= -1

    def step(self, tokens, first):
        """Reads `tokens` (b, t) at positions `first…` and returns the logits after the last, (b, vocab)."""
        b, t = tokens.shape
        cos, sin = self.cos[first : first + t], self.sin[first : first + t]
        x = F.embedding(tokens, self.embed)
        for n, layer in enumerate(self.layers):
            h = F.rms_norm(x, (self.d,), layer["norm1"], self.eps)
            qkv = F.linear(h, layer["qkv"], layer["bias"]).view(b, t, self.h + 2 * self.kv, self.dh)
            qk = qkv[:, :, : self.h + self.kv].transpose(1, 2)  # (b, h + kv, t, dh)
            qk = qk * cos + torch.roll(qk, self.dh // 2, -1) * sin
            q, k = qk[:, : self.h], qk[:, self.h :]
            keys, values = self.keys[n], self.values[n]
            keys[:, :, first : first + t] = k
            values[:, :, first : first + t] = qkv[:, :, self.h + self.kv :].transpose(1, 2)
            a = self._attend(q, keys[:, :, : first + t], values[:, :, : first + t])
            x = x + F.linear(a, layer["o"])
            h = F.rms_norm(x, (self.d,), layer["norm2"], self.eps)
            gate, up = F.linear(h, layer["gate_up"]).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, layer["down"])
        return F.linear(F.rms_norm(x[:, -1], (self.d,), self.norm, self.eps), self.head)

    def _attend(self, q, keys, values):
        """Attention of `q` (b, h, t, dh) over the cache; returns (b, t, h · dh)."""
        b, h, t, dh = q.shape
        if t > 1:
            share = h // self.kv
            keys, values = keys.repeat_interleave(share, 1), values.repeat_interleave(share, 1)
            a = F.scaled_dot_product_attention(q, keys, values, is_causal=True)
            return a.transpose(1, 2).reshape(b, t, h * dh)
        q = q.reshape(b, self.kv, h // self.kv, dh)
        return F.scaled_dot_product_attention(q, keys, values).reshape(b, 1, h * dh)
