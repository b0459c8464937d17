"""Random Llama checkpoints, LoRA adapters, and the logits and gradients that PyTorch computes from them.

Weights are far larger than a fresh initialisation (std 0.2), so that a wrong rotary base, norm, head grouping or adapter
scale moves a logit by much more than the tolerance (`sensitivity.py` measures by how much).
"""

import json
import warnings
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.models.llama import modeling_llama

# PEFT looks for the base by the name in the adapter, to see whether its vocabulary grew: it did not.
warnings.filterwarnings("ignore", message="Could not find a config file")
warnings.filterwarnings("ignore", category=FutureWarning)

# 256 bytes, 6 special tokens, 18 merges: small, because every logit of every position is stored.
VOCAB_SIZE = 280
COMMON = dict(
    vocab_size=VOCAB_SIZE,
    hidden_size=32,
    intermediate_size=56,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=64,
    rms_norm_eps=1e-5,
    attention_bias=False,
    mlp_bias=False,
)
BASES = {
    # Grouped queries (4 heads on 2), tied head, f32, `config.json` as transformers 5 writes it.
    "llama-tiny": dict(seed=1, num_key_value_heads=2, head_dim=8, rope_theta=1e4, tie_word_embeddings=True),
    # Own head, heads wider than hidden / heads, bf16, `config.json` spelled as transformers 4 did.
    "llama-untied": dict(seed=2, num_key_value_heads=4, head_dim=12, rope_theta=5e5, tie_word_embeddings=False),
}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADAPTERS = {
    "adapter-a": dict(seed=3, r=4, lora_alpha=8, target_modules=LINEAR),
    "adapter-b": dict(seed=4, r=3, lora_alpha=3, target_modules=["q_proj", "v_proj"], use_rslora=True),
}
WITH_GRADIENTS = ("llama-tiny", "adapter-a")
LENGTHS = (1, 7, 23)
STD = 0.2


def randomise(parameters: dict[str, torch.Tensor], seed: int) -> None:
    """Normal(0, STD), norms Normal(1, STD); drawn in the order of the names, so that the order of modules is no input."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in sorted(parameters):
            values = torch.randn(parameters[name].shape, generator=generator) * STD
            parameters[name].copy_(values + 1.0 if "norm" in name else values)


def write_base(directory: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """A Hugging Face directory without its tokenizer files."""
    settings = dict(BASES[directory.name])
    seed, theta = settings.pop("seed"), settings.pop("rope_theta")
    special = {f"{k}_token_id": getattr(tokenizer, f"{k}_token_id") for k in ("bos", "eos", "pad")}
    rope = {"rope_type": "default", "rope_theta": theta}
    model = LlamaForCausalLM(LlamaConfig(**COMMON, **settings, **special, rope_parameters=rope))
    randomise(dict(model.named_parameters()), seed)
    model.generation_config.update(do_sample=True, temperature=0.7, top_k=8, top_p=0.9, **special)
    tied = settings["tie_word_embeddings"]
    (model if tied else model.to(torch.bfloat16)).save_pretrained(directory)
    if not tied:
        rewrite_json(directory / "config.json", lambda c: spell_as_version_4(c, theta))


def spell_as_version_4(config: dict, theta: float) -> dict:
    """Most published checkpoints still have these keys; `load` proves that transformers reads them alike."""
    config = {k: v for k, v in config.items() if k not in ("rope_parameters", "dtype", "transformers_version")}
    return dict(sorted((config | dict(rope_theta=theta, rope_scaling=None, torch_dtype="bfloat16")).items()))


def write_adapter(directory: Path, base: Path) -> None:
    """A PEFT directory with random A and B (PEFT's own initialisation has B = 0, which would test nothing)."""
    settings = dict(ADAPTERS[directory.name])
    seed = settings.pop("seed")
    lora = LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **settings)
    model = get_peft_model(load(base), lora)
    randomise({n: p for n, p in model.named_parameters() if "lora_" in n}, seed)
    model.save_pretrained(directory)
    (directory / "README.md").unlink()
    # PEFT keeps the targets in a set, whose order differs from run to run, and writes where the base was on this disk.
    fixed = dict(target_modules=settings["target_modules"], base_model_name_or_path=base.name)
    rewrite_json(directory / "adapter_config.json", lambda c: c | fixed)


def load(base: Path, adapter: Path | None = None, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter, is_trainable=True)
    return model.to(dtype).eval()


@contextmanager
def float64_throughout():
    """`transformers` computes norms and rotary angles in f32 whatever the model's type; here they follow the input.

    Without this a "float64" reference would carry f32 rounding, and its gradients could not be checked by differences.
    """
    norm, rotary = modeling_llama.LlamaRMSNorm, modeling_llama.LlamaRotaryEmbedding
    kept = norm.forward, rotary.forward

    def norm_forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    def rotary_forward(self, x, position_ids):
        dim, theta = self.config.head_dim, self.config.rope_parameters["rope_theta"]
        frequencies = theta ** (-torch.arange(0, dim, 2, dtype=x.dtype) / dim)
        angles = position_ids[..., None].to(x.dtype) * frequencies
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()

    norm.forward, rotary.forward = norm_forward, rotary_forward
    try:
        yield
    finally:
        norm.forward, rotary.forward = kept


def draw_sequences(bos: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(5)
    return [[bos] + torch.randint(0, VOCAB_SIZE, (n - 1,), generator=generator).tolist() for n in LENGTHS]


def logits(model: torch.nn.Module, ids: list[int]) -> torch.Tensor:
    """(t, v)"""
    return model(torch.tensor([ids]), use_cache=False).logits[0]


def next_token_loss(model: torch.nn.Module, ids: list[int]) -> torch.Tensor:
    """Mean over the t - 1 predictions, in the model's own type (`labels=` would compute it in f32)."""
    return torch.nn.functional.cross_entropy(logits(model, ids)[:-1], torch.tensor(ids[1:]))


def write_expected(out: Path) -> None:
    """`sequences.json`, `losses.json`, `logits.*.safetensors` and `gradients.*.safetensors`."""
    tiny, untied = (out / name for name in BASES)
    sequences = draw_sequences(load(tiny).config.bos_token_id)
    write_json(out / "sequences.json", {"sequences": sequences})
    losses = {}
    for base, adapter in [(tiny, None), (untied, None), (tiny, out / "adapter-a"), (tiny, out / "adapter-b")]:
        name = (adapter or base).name
        with float64_throughout():
            exact = load(base, adapter, torch.float64)
            tensors = {f"f64.{i}": logits(exact, ids) for i, ids in enumerate(sequences)}
            loss = next_token_loss(exact, sequences[-1])
            losses[name] = loss.item()
            loss.backward()
        single = {f"f32.{i}": logits(load(base, adapter), ids) for i, ids in enumerate(sequences)}
        difference = max((tensors[k.replace("32", "64")] - v).abs().max().item() for k, v in single.items())
        print(f"{name}: f32 and f64 logits differ by at most {difference:.1e}")
        save(out / f"logits.{name}.safetensors", tensors if adapter else tensors | single)
        if name in WITH_GRADIENTS:
            save(out / f"gradients.{name}.safetensors", gradients(exact))
    write_json(out / "losses.json", losses)


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """By the name that the parameter has on disk."""
    if not isinstance(model, PeftModel):
        return {name: p.grad for name, p in model.named_parameters()}
    by_id = {id(p): p.grad for p in model.parameters() if p.requires_grad}
    return {name: by_id[id(p)] for name, p in model_state(model).items()}


def model_state(model: PeftModel) -> dict[str, torch.Tensor]:
    parameters = dict(model.named_parameters())
    return get_peft_model_state_dict(model, state_dict={n: p for n, p in parameters.items() if "lora_" in n})


def save(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file({k: v.detach().to(torch.float32).contiguous() for k, v in tensors.items()}, path)


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value) + "\n")


def rewrite_json(path: Path, change) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text())), indent=2) + "\n")
