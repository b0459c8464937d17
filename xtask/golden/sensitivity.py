"""Shows that the fixtures can fail: `python sensitivity.py DIR`, where DIR is what `llama.py` wrote.

Each line makes one mistake that a decoder could make and prints by how much it moves a logit; a mistake that moves none by
ten tolerances would pass unseen, and ends with exit code 1. The stored gradients are checked by differences of the loss.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

import torch
from jinja2 import Environment
from safetensors.torch import load_file
from transformers.models.llama import modeling_llama
from transformers.utils import logging

import decoder
import text

TOLERANCE = 1e-4


def halves_swapped(x: torch.Tensor) -> torch.Tensor:
    """Rotation of neighbours (2i, 2i + 1) instead of (i, i + d/2)."""
    return torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)


def interleaved(model):
    modeling_llama.rotate_half = halves_swapped


def rope_base(theta):
    return lambda model: model.config.rope_parameters.update(rope_theta=theta)


def each(kind, attribute, value):
    def change(model):
        for module in model.modules():
            if type(module).__name__ == kind:
                setattr(module, attribute, value)

    return change


def heads_tiled(model):
    """Query head h on key head h % 2 instead of h // 2: the same as exchanging query heads 1 and 2."""
    for layer in model.model.layers:
        q, o = layer.self_attn.q_proj.weight.data, layer.self_attn.o_proj.weight.data
        order = torch.arange(32).reshape(4, 8)[[0, 2, 1, 3]].flatten()
        q.copy_(q[order])
        o.copy_(o[:, order])


def tied(model):
    model.lm_head.weight = model.model.embed_tokens.weight


def scale(value):
    def change(model):
        for module in model.modules():
            if hasattr(module, "lora_A"):
                module.scaling["default"] = value

    return change


MISTAKES: list[tuple[str, str, Callable]] = [
    ("llama-tiny", "rotation of neighbours", interleaved),
    ("llama-tiny", "query heads tiled over key heads", heads_tiled),
    ("llama-tiny", "rms_norm_eps 1e-6", each("LlamaRMSNorm", "variance_epsilon", 1e-6)),
    ("llama-tiny", "gelu for silu", each("LlamaMLP", "act_fn", torch.nn.GELU())),
    ("llama-tiny", "rope_theta of llama-untied", rope_base(5e5)),
    ("llama-untied", "rope_theta 10000", rope_base(1e4)),
    ("llama-untied", "attention scaled by hidden / heads", each("LlamaAttention", "scaling", 8**-0.5)),
    ("llama-untied", "head tied", tied),
    ("adapter-a", "scale 1 for alpha / r", scale(1.0)),
    ("adapter-b", "alpha / r for alpha / sqrt(r)", scale(1.0)),
    ("adapter-b", "adapter left out", scale(0.0)),
]


def open_model(out: Path, name: str) -> torch.nn.Module:
    adapter = name in decoder.ADAPTERS
    return decoder.load(out / ("llama-tiny" if adapter else name), out / name if adapter else None, torch.float64)


def moved(out: Path, name: str, mistake: Callable, ids: list[int]) -> float:
    rotate_half = modeling_llama.rotate_half
    model = open_model(out, name)
    try:
        mistake(model)
        with decoder.float64_throughout(), torch.no_grad():
            wrong = decoder.logits(model, ids)
    finally:
        modeling_llama.rotate_half = rotate_half
    right = load_file(out / f"logits.{name}.safetensors")["f64.2"]
    return (wrong - right).abs().max().item()


def gradient_error(out: Path, name: str, ids: list[int]) -> float:
    """Relative error of the stored gradient along a random direction, against a central difference of the loss."""
    model, stored = open_model(out, name), load_file(out / f"gradients.{name}.safetensors")
    state = decoder.model_state(model) if name in decoder.ADAPTERS else dict(model.named_parameters())
    assert state.keys() == stored.keys(), name
    generator, h = torch.Generator().manual_seed(7), 1e-5
    directions = {k: torch.randn(g.shape, generator=generator, dtype=torch.float64) for k, g in stored.items()}
    losses = []
    with decoder.float64_throughout(), torch.no_grad():
        for step in (h, -2 * h):
            for k, direction in directions.items():
                state[k].data.add_(direction, alpha=step)
            losses.append(decoder.next_token_loss(model, ids).item())
    slope = (losses[0] - losses[1]) / (2 * h)
    return abs(sum((stored[k] * d).sum().item() for k, d in directions.items()) / slope - 1.0)


def main() -> None:
    out = Path(sys.argv[1])
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    ids = json.loads((out / "sequences.json").read_text())["sequences"][-1]
    good = True
    for name, what, mistake in [(n, "none", lambda model: None) for n in ("llama-tiny", "adapter-a")] + MISTAKES:
        size = moved(out, name, mistake, ids)
        good &= size < TOLERANCE / 10 if what == "none" else size > TOLERANCE * 10
        print(f"{name:13} {what:36} {size:.1e}")
    for name in decoder.WITH_GRADIENTS:
        error = gradient_error(out, name, ids)
        good &= error < 1e-5
        print(f"{name:13} {'gradient against differences':36} {error:.1e}")
    context = dict(bos_token="<|bos|>", messages=[{"role": "user", "content": "hello"}], add_generation_prompt=True)
    plain = Environment().from_string(text.TEMPLATES["llama-tiny"]).render(**context)
    good &= plain != "<|bos|><|user|>hello<|end|><|assistant|>"
    print(f"template without trim_blocks: {plain!r}")
    sys.exit(0 if good else "a mistake would pass unseen, or a stored value is wrong")


if __name__ == "__main__":
    main()
