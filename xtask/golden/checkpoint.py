"""One random checkpoint of a family, its LoRA adapter, and the logits, gradients and greedy tokens that PyTorch computes."""

import json
import zlib
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, AutoModelForCausalLM

import decoder
from cases import VOCAB_SIZE, Case

LENGTHS = (7, 40)
NUM_NEW_TOKENS = 64
# Greedy decoding must not hang on a rounding: the best logit leads by this much at each of the 64 steps.
MARGIN = 1e-3
# What the f32 of PyTorch itself may be away from f64; Rust is allowed five times as much.
OWN_ERROR = 2e-5


class Float64(TorchFunctionMode):
    """Every request for f32 becomes one for f64.

    `transformers` computes norms, rotary angles and softmax in f32 whatever the model's type. `decoder.float64_throughout`
    writes two functions of Llama anew; for ten families this changes the type alone and leaves the formulas theirs.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.float:
            return args[0].double()
        if function is torch.Tensor.view:  # may read a file's bytes as what they are
            return function(*args, **(kwargs or {}))
        widen = lambda x: torch.float64 if x is torch.float32 else x
        return function(*map(widen, args), **{k: widen(v) for k, v in (kwargs or {}).items()})

    def __enter__(self):
        torch.set_default_dtype(torch.float64)
        return super().__enter__()

    def __exit__(self, *exception):
        torch.set_default_dtype(torch.float32)
        return super().__exit__(*exception)


def seed_of(name: str) -> int:
    return zlib.crc32(name.encode())


def centre(name: str, model_type: str) -> float:
    """Of a parameter's distribution: a norm's weight is near the value at which it does nothing."""
    is_norm = any(part in name for part in ("norm", "ln_")) and name.endswith("weight")
    return 1.0 if is_norm and not model_type.startswith("gemma") else 0.0


def spread(name: str, model_type: str) -> float:
    """Gemma multiplies its tied embedding by sqrt(hidden): as wide as the rest, it would only ever repeat its input."""
    return decoder.STD / 2 if model_type.startswith("gemma") and "embed_tokens" in name else decoder.STD


def randomise(parameters: dict[str, torch.Tensor], seed: int, model_type: str) -> None:
    """Normal(centre, spread), biases too, in the order of the names."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in sorted(parameters):
            values = torch.randn(parameters[name].shape, generator=generator) * spread(name, model_type)
            parameters[name].copy_(values + centre(name, model_type))


def write_base(directory: Path, case: Case) -> None:
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(case.model_type, **case.config))
    randomise(dict(model.named_parameters()), seed_of(directory.name) + case.seed, case.model_type)
    model.to(getattr(torch, case.dtype)).save_pretrained(directory, max_shard_size=case.max_shard_size)
    (directory / "generation_config.json").unlink()
    config = json.loads((directory / "config.json").read_text())
    old = json.dumps(spell_as_version_4(config, case), indent=2)
    (directory / "config.v4.json").write_text(old + "\n")


def spell_as_version_4(config: dict, case: Case) -> dict:
    """Without what transformers 5 brought; `write_expected` proves that both spellings are one model."""
    new = {"rope_parameters", "dtype", "transformers_version", "layer_types", "_sliding_window_pattern"}
    kept = {k: v for k, v in config.items() if k not in new}
    return dict(sorted((kept | case.version_4 | {"torch_dtype": case.dtype}).items()))


def write_adapter(directory: Path, case: Case) -> None:
    lora = LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, r=4, lora_alpha=8, **case.adapter)
    model = get_peft_model(load(directory.parent), lora)
    randomise(decoder.model_state(model), seed_of(directory.parent.name + "/adapter"), case.model_type)
    model.save_pretrained(directory)
    (directory / "README.md").unlink()
    fixed = dict(target_modules=case.adapter["target_modules"], base_model_name_or_path=directory.parent.name)
    decoder.rewrite_json(directory / "adapter_config.json", lambda c: c | fixed)


def load(base: Path, adapter: Path | None = None, config: dict | None = None) -> torch.nn.Module:
    """In f32, or in f64 under `Float64`; `config` in place of the one on disk."""
    settings = {} if config is None else {"config": config}
    dtype = torch.get_default_dtype()
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation="eager", **settings)
    if adapter is not None:
        model = decoder.PeftModel.from_pretrained(model, adapter, is_trainable=True).to(dtype)
    wrong = {n: t.dtype for n, t in [*model.named_parameters(), *model.named_buffers()] if t.dtype != dtype}
    assert not wrong, wrong
    return model.eval()


def version_4_config(base: Path):
    fields = json.loads((base / "config.v4.json").read_text())
    return AutoConfig.for_model(**fields)


def greedy(model: torch.nn.Module, prompt: list[int]) -> list[int]:
    model.generation_config.eos_token_id = None
    ids = torch.tensor([prompt])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NUM_NEW_TOKENS)
    return out[0, len(prompt) :].tolist()


def margins(model: torch.nn.Module, prompt: list[int], continuation: list[int]) -> torch.Tensor:
    """By how much each token leads the next best; (64,). Without a cache, one pass a token: longrope looks at the length."""
    leads = []
    for i, token in enumerate(continuation):
        last = decoder.logits(model, prompt + continuation[:i])[-1]
        others = last.clone()
        others[token] = -torch.inf
        leads.append(last[token] - others.max())
    return torch.stack(leads)


def draw_prompt(single: torch.nn.Module, exact: torch.nn.Module, seed: int) -> dict:
    """The first of many prompts whose continuation is beyond doubt and not one token over and over."""
    generator = torch.Generator().manual_seed(seed + 1)
    for _ in range(40):
        prompt = [0] + torch.randint(6, VOCAB_SIZE, (4,), generator=generator).tolist()
        continuation = greedy(single, prompt)
        if len(set(continuation)) < 8:
            continue
        with Float64(), torch.no_grad():
            lead = margins(exact, prompt, continuation).min().item()
        if lead > MARGIN:
            return {"prompt": prompt, "greedy": continuation, "greedy_margin": lead}
    raise ValueError("no prompt leads to a varied continuation: scale the weights otherwise")


def write_expected(base: Path, case: Case) -> None:
    seed = seed_of(base.name)
    generator = torch.Generator().manual_seed(seed)
    draw = lambda n: [0] + torch.randint(0, VOCAB_SIZE, (n - 1,), generator=generator).tolist()
    sequences = [draw(n) for n in LENGTHS]
    single = load(base)
    with Float64():
        exact = load(base)
    assert all(torch.equal(a.double(), b) for a, b in zip(single.parameters(), exact.parameters(), strict=True))
    with Float64():
        tensors = {f"logits.{i}": decoder.logits(exact, ids).detach() for i, ids in enumerate(sequences)}
        loss = decoder.next_token_loss(exact, sequences[1]).item()
    with torch.no_grad():
        error = max(
            (tensors[f"logits.{i}"] - decoder.logits(single, ids)).abs().max().item() for i, ids in enumerate(sequences)
        )
        old = load(base, config=version_4_config(base))
        assert torch.equal(decoder.logits(old, sequences[1]), decoder.logits(single, sequences[1])), "config.v4.json"
    expected = {"sequences": sequences, "loss": loss} | draw_prompt(single, exact, seed)
    if case.adapter:
        adapted, expected["adapter_loss"] = adapter_tensors(base, sequences[1])
        with torch.no_grad():
            adapted_single = decoder.logits(load(base, base / "adapter"), sequences[1])
        error = max(error, (adapted["adapter.logits.1"] - adapted_single).abs().max().item())
        tensors |= adapted
    size = max(t.abs().max().item() for n, t in tensors.items() if "logits" in n)
    tokens = f"greedy margin {expected['greedy_margin']:.1e}, {len(set(expected['greedy']))} tokens"
    print(f"{base.name}: f32 - f64 {error:.1e}, logits up to {size:.1f}, {tokens}", flush=True)
    assert error <= OWN_ERROR, base
    decoder.save(base / "expected.safetensors", tensors)
    decoder.write_json(base / "expected.json", expected)


def adapter_tensors(base: Path, ids: list[int]) -> tuple[dict[str, torch.Tensor], float]:
    with Float64():
        model = load(base, base / "adapter")
        tensors = {"adapter.logits.1": decoder.logits(model, ids).detach()}
        loss = decoder.next_token_loss(model, ids)
        loss.backward()
    return tensors | {f"grad.{name}": g for name, g in decoder.gradients(model).items()}, loss.item()


def write_case(directory: Path, case: Case) -> None:
    directory.mkdir(parents=True)
    write_base(directory, case)
    if case.adapter:
        write_adapter(directory / "adapter", case)
    write_expected(directory, case)
