"""Writes a small random BERT as a sentence-transformers directory and what that library makes of it: `python bert.py --out DIR`.

The hidden states are those of `transformers` in f64, the vectors those of `sentence-transformers` for every way of pooling
that grts reads. Two runs write the same bytes.
"""

import argparse
import json
import os
import shutil
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")

import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

import checkpoint

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = "the a open hour of library school mus room when does tell me word please is it for and or , . ? ! 1 2".split()
PIECES = ["##" + piece for piece in "s ing ed er eum a b c d e f g h i l m n o p r t u w y".split()] + list("abcdefghijklmnoprstuwy")
MAX_TOKENS = 16
TEXTS = [
    "When does the library open?",
    "Please tell me the word of the school, for it is room 12.",
    "THE LIBRARY is opening; the museum opened and the rooms or schools of the library and the museum are for me and the word",
    "tell",
    "",
    "a [SEP] b",
    "zzz 9 ~ the",
    "  the   hour\nof\tthe word ",
]
POOLINGS = {
    "cls": ["pooling_mode_cls_token"],
    "max": ["pooling_mode_max_tokens"],
    "mean": ["pooling_mode_mean_tokens"],
    "mean_sqrt": ["pooling_mode_mean_sqrt_len_tokens"],
    "all": [
        "pooling_mode_cls_token",
        "pooling_mode_max_tokens",
        "pooling_mode_mean_tokens",
        "pooling_mode_mean_sqrt_len_tokens",
    ],
}


def write_tokenizer(path: Path) -> int:
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(SPECIAL + WORDS + PIECES))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    # As in all-MiniLM: a file may ask for padding and truncation that the library overrules.
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]", length=10)
    tokenizer.enable_truncation(max_length=10)
    tokenizer.save(str(path))
    return len(vocabulary)


def write_model(directory: Path, vocab_size: int) -> None:
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=32,
        layer_norm_eps=1e-6,
        architectures=["BertModel"],
    )
    model = BertModel(config)
    # Wide enough for attention to choose and for GELU to bend: hidden states of near-zero weights would agree with anything.
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            values = torch.randn(parameter.shape, generator=generator) * 0.4
            centre = 1.0 if "LayerNorm.weight" in name else 0.0
            parameter.copy_(centre + (0.5 * values if parameter.dim() == 1 else values))
    config.save_pretrained(directory)
    save_file({n: t.detach().contiguous() for n, t in model.state_dict().items() if "position_ids" not in n}, directory / "model.safetensors")


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_modules(directory: Path, flags: list[str], normalised: bool) -> None:
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")] + [("2_Normalize", "Normalize")] * normalised
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(modules)
    ]
    write_json(directory / "modules.json", listed)
    known = sorted({flag for flags in POOLINGS.values() for flag in flags})
    write_json(directory / "1_Pooling/config.json", {"word_embedding_dimension": 24} | {f: f in flags for f in known})
    (directory / "2_Normalize").mkdir(exist_ok=True)


def encode(directory: Path) -> list[list[float]]:
    model = SentenceTransformer(str(directory), device="cpu")
    return [[round(float(x), 8) for x in row] for row in model.encode(TEXTS, batch_size=3)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="directory to write into; replaced when there is one")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)

    vocab_size = write_tokenizer(out / "tokenizer.json")
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    write_json(out / "tokenizer_config.json", special | {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512})
    write_json(out / "sentence_bert_config.json", {"max_seq_length": MAX_TOKENS, "do_lower_case": False})
    write_model(out, vocab_size)

    expected = {"texts": TEXTS, "vectors": {}}
    for name, flags in POOLINGS.items():
        write_modules(out, flags, normalised=False)
        expected["vectors"][name] = encode(out)
    write_modules(out, POOLINGS["mean"], normalised=True)
    expected["vectors"]["normalised"] = encode(out)

    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=MAX_TOKENS)
    expected["ids"] = [tokenizer.encode(text).ids for text in TEXTS]
    with checkpoint.Float64(), torch.no_grad():
        exact = BertModel.from_pretrained(out, attn_implementation="eager", dtype=torch.float64).eval()
        states = [exact(torch.tensor([ids])).last_hidden_state[0] for ids in expected["ids"]]
    expected["states"] = [[[round(x, 8) for x in row] for row in text.tolist()] for text in states]
    (out / "expected.json").write_text(json.dumps(expected) + "\n")

    files = [path for path in out.rglob("*") if path.is_file()]
    for path in files:
        path.chmod(0o644)
    print(f"{len(files)} files, {sum(path.stat().st_size for path in files)} bytes in {out}")


if __name__ == "__main__":
    main()
