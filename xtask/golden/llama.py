"""Writes every golden fixture of `grts-lm`: `python llama.py --out DIR` (see README.md).

The fixtures are what `transformers`, `peft`, `tokenizers` and `torch.optim` compute on small random weights. Nothing here
re-implements a decoder: a reference written by hand would share its author's mistakes with the code under test. The one
exception is named in `decoder.float64_throughout`. Two runs on one machine write the same bytes.
"""

import argparse
import os
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")

import torch
from transformers.utils import logging

import decoder
import steps
import text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="directory to write into; made when absent")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    vocabulary = text.train_tokenizer(decoder.VOCAB_SIZE)
    for name in decoder.BASES:
        decoder.write_base(out / name, vocabulary)
        text.write_tokenizer(out / name, vocabulary)
    for name in decoder.ADAPTERS:
        decoder.write_adapter(out / name, out / "llama-tiny")
    decoder.write_expected(out)
    text.write_cases(out / "text.json", [out / name for name in decoder.BASES])
    steps.write_adamw(out / "adamw.json")
    steps.write_sampling(out / "sampling.json")

    files = [path for path in out.rglob("*") if path.is_file()]
    for path in files:
        path.chmod(0o644)  # safetensors makes them private
    print(f"{len(files)} files, {sum(path.stat().st_size for path in files)} bytes in {out}")


if __name__ == "__main__":
    main()
