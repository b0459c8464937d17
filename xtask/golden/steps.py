"""AdamW steps of `torch.optim` and filtered probabilities of `transformers`' logits processors."""

import json
from pathlib import Path

import torch
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

ADAMW = dict(lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
INITIAL = [1.0, -2.0, 0.5, 0.0, 3.0, -0.25]
# The second and the fourth start at their target: gradient 0, where only the decay moves them.
TARGET = [0.0, -2.0, 4.0, 0.0, 2.9, 1.0]
STEPS = 3


def adamw(max_grad_norm: float | None) -> list[dict]:
    """Every step's gradient (as computed, before clipping), its norm, and the parameters after it; float64."""
    x = torch.tensor(INITIAL, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.AdamW([x], **ADAMW)
    records = []
    for _ in range(STEPS):
        x.grad = (x - torch.tensor(TARGET, dtype=torch.float64)).detach()
        record = {"gradient": x.grad.tolist(), "gradient_norm": x.grad.norm().item()}
        if max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_([x], max_grad_norm)
        optimiser.step()
        records.append(record | {"parameters": x.tolist()})
    return records


def write_adamw(path: Path) -> None:
    cases = [{"max_grad_norm": m, "steps": adamw(m)} for m in (None, 1.0)]
    value = {"settings": ADAMW, "initial": INITIAL, "target": TARGET, "cases": cases}
    path.write_text(json.dumps(value, indent=1) + "\n")


def sampling_case(name: str, logits: torch.Tensor, temperature: float, top_k: int | None, top_p: float) -> dict:
    """Temperature, then top-k, then top-p: the order of `generate`; `top_k` null and `top_p` 1 are switched off."""
    processors = [TemperatureLogitsWarper(temperature)]
    processors += [TopKLogitsWarper(top_k)] if top_k is not None else []
    processors += [TopPLogitsWarper(top_p)] if top_p < 1.0 else []
    scores = LogitsProcessorList(processors)(torch.zeros((1, 1), dtype=torch.long), logits[None])
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    return {"name": name, **settings, "logits": logits.tolist(), "probabilities": scores.softmax(-1)[0].tolist()}


def write_sampling(path: Path) -> None:
    generator = torch.Generator().manual_seed(6)
    draw = lambda scale: torch.randn(20, generator=generator).double() * scale
    dominant = draw(1.0)
    dominant[13] = 9.0  # more than top_p by itself: exactly one token stays
    tied = draw(1.0)
    tied[2] = tied[17] = tied.sort(descending=True).values[7]  # the eighth place is shared: top-k keeps them all
    cases = [
        sampling_case("spread", draw(1.5), 0.7, 8, 0.9),
        sampling_case("flat", draw(0.1), 0.7, 8, 0.9),
        sampling_case("dominant", dominant, 0.7, 8, 0.9),
        sampling_case("temperature_only", draw(1.0), 1.3, None, 1.0),
        sampling_case("top_k_tie", tied, 0.7, 8, 1.0),
    ]
    path.write_text(json.dumps({"cases": cases}, indent=1) + "\n")
