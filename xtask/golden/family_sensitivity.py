"""Shows that the families' fixtures can fail: `python family_sensitivity.py DIR`, where DIR is what `families.py` wrote.

Each line reads a `config.json` in a wrong way (`mistakes` in `cases.py`), or drops one kind of parameter, and prints by how
much that moves a logit of the longer sequence; less than four tolerances ends with exit code 1. Most move it by thousands;
the two forms of GELU differ by 5e-4 at most, which no choice of weights makes much larger.
"""

import json
import os
import sys
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

import torch
from safetensors.torch import load_file
from transformers import AutoConfig
from transformers.utils import logging

import checkpoint
import decoder
from cases import CASES

TOLERANCE = 1e-4
# Parameters by a part of their name; a decoder that forgets them reads them as what has no effect.
DROPPED = ("bias", "q_norm", "k_norm", "q_layernorm", "k_layernorm", "pre_feedforward", "post_feedforward", "ln_2", "wpe")


def moved(base: Path, model: torch.nn.Module, ids: list[int]) -> float:
    with torch.no_grad():
        wrong = decoder.logits(model, ids)
    return (wrong - load_file(base / "expected.safetensors")["logits.1"]).abs().max().item()


def misread(base: Path) -> list[tuple[str, torch.nn.Module]]:
    fields = json.loads((base / "config.json").read_text())
    return [(str(m), checkpoint.load(base, config=AutoConfig.for_model(**fields | m))) for m in CASES[base.name].mistakes]


def without(base: Path) -> list[tuple[str, torch.nn.Module]]:
    models = []
    for part in DROPPED:
        model = checkpoint.load(base)
        found = {n: p for n, p in model.named_parameters() if part in n}
        for name, parameter in found.items():
            torch.nn.init.constant_(parameter, checkpoint.centre(name, model.config.model_type))
        models += [(f"without {part}", model)] if found else []
    return models


def main(out: Path) -> int:
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    failures = 0
    for name in CASES:
        base = out / name
        ids = json.loads((base / "expected.json").read_text())["sequences"][1]
        for mistake, model in misread(base) + without(base):
            distance = moved(base, model, ids)
            failures += distance < 4 * TOLERANCE
            print(f"{name:20} {distance:8.1e}  {mistake}", flush=True)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
