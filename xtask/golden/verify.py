"""Opens what Rust wrote with `transformers` and `peft`: `python verify.py BASE_DIR ADAPTER_DIR TOKENS_JSON`.

ADAPTER_DIR is `-` for the base alone. TOKENS_JSON is a file, or the JSON itself: token ids of one sequence, or a list of
sequences. Prints one JSON object: `logits` (one row of vocab_size values a position; for a list of sequences one such
matrix each), `loaded`, `num_parameters`, and what the tokenizer and chat template make of a fixed dialogue.
Nothing may be forgiven: a tensor that is missing, left over or silently re-initialised ends with exit code 1.
"""

import argparse
import json
import os
import sys
import warnings
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")

import torch
from peft import PeftModel
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

DIALOGUE = [
    {"role": "user", "content": "when does the archive open?"},
    {"role": "assistant", "content": "the archive opens at nine."},
    {"role": "user", "content": "thank you. and the harbour?"},
]


def open_base(directory: str) -> torch.nn.Module:
    model, info = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    problems = {kind: sorted(map(str, names)) for kind, names in info.items() if names}
    if problems:
        raise ValueError(f"{directory}: the weights do not fit config.json: {problems}")
    return model.eval()


def open_adapter(model: torch.nn.Module, directory: str) -> torch.nn.Module:
    """PEFT only warns about tensors that it did not find or use, so what it holds is compared with the file."""
    model = PeftModel.from_pretrained(model, directory).eval()
    held, on_disk = get_peft_model_state_dict(model), load_file(Path(directory) / "adapter_model.safetensors")
    if held.keys() != on_disk.keys():
        raise ValueError(f"{directory}: tensors not used or not found: {sorted(held.keys() ^ on_disk.keys())}")
    different = [name for name, tensor in on_disk.items() if not torch.equal(tensor.float(), held[name].float())]
    if different:
        raise ValueError(f"{directory}: values not taken over: {different}")
    return model


def open_text(directory: str) -> dict:
    tokenizer = AutoTokenizer.from_pretrained(directory)
    rendered = tokenizer.apply_chat_template(DIALOGUE, tokenize=False, add_generation_prompt=True)
    ids = tokenizer.apply_chat_template(DIALOGUE, add_generation_prompt=True, return_dict=False)
    return {"rendered": rendered, "ids": ids, "decoded": tokenizer.decode(ids), "num_tokens": len(tokenizer)}


def read_tokens(argument: str) -> list:
    text = argument if argument.lstrip().startswith("[") else Path(argument).read_text()
    return json.loads(text)


def logits(model: torch.nn.Module, tokens: list) -> list:
    if tokens and isinstance(tokens[0], list):
        return [logits(model, sequence) for sequence in tokens]
    with torch.no_grad():
        return model(torch.tensor([tokens]), use_cache=False).logits[0].tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("base", "adapter", "tokens"):
        parser.add_argument(name)
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    warnings.simplefilter("ignore")  # problems that matter are raised here, not warned about
    torch.set_num_threads(1)
    tokens = read_tokens(arguments.tokens)
    chat = open_text(arguments.base)
    model = open_base(arguments.base)
    if arguments.adapter != "-":
        model = open_adapter(model, arguments.adapter)
    result = {"logits": logits(model, tokens), "loaded": True, "num_parameters": sum(p.numel() for p in model.parameters())}
    print(json.dumps(result | {"chat": chat}))


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
