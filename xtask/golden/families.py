"""Writes a small checkpoint of every model family: `python families.py --out DIR` (see README.md).

What `llama.py` does for two Llama models in depth, this does for each family once, and for its variants where they change
the arithmetic. The decoders are those of `transformers`; nothing here knows how one works. Two runs write the same bytes.
"""

import argparse
import os
import shutil
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")

import torch
from transformers.utils import logging

import checkpoint
import text_families
from cases import CASES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="directory to write into; made when absent")
    parser.add_argument("--text-out", type=Path, help="the same for the tokenizers; left out: not written")
    parser.add_argument("--only", nargs="*", default=sorted(CASES), choices=sorted(CASES), help="these cases alone")
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    for name in arguments.only:
        shutil.rmtree(arguments.out / name, ignore_errors=True)  # the number of shards may have been another
        checkpoint.write_case(arguments.out / name, CASES[name])
    if arguments.text_out:
        text_families.write_all(arguments.text_out)

    for out in filter(None, (arguments.out, arguments.text_out)):
        files = [path for path in out.rglob("*") if path.is_file()]
        for path in files:
            path.chmod(0o644)  # safetensors makes them private
        print(f"{len(files)} files, {sum(path.stat().st_size for path in files)} bytes in {out}")


if __name__ == "__main__":
    main()
