"""transformers and peft: `generate`, a training step, and dialogues between adapters that `set_adapter` switches."""

import time

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, DynamicCache, LogitsProcessor, LogitsProcessorList
from transformers.utils import logging

from measuring import SAID, THREADS, arguments, emit, median_seconds, peak_bytes, prompt, resident_bytes, seconds

PEER = "transformers"
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TURNS = 3
PLAYERS = 8


def load(args):
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype, attn_implementation="sdpa")
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model


def lora():
    return LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=TARGETS, task_type="CAUSAL_LM")


def prompts(rows, length, vocab):
    return torch.tensor([prompt(row, length, vocab) for row in rows])


class Clock(LogitsProcessor):
    """Notes when the logits of each step are there: the first are those after the prompt."""

    def __init__(self):
        self.times = []

    def __call__(self, input_ids, scores):
        self.times.append(time.perf_counter())
        return scores


@torch.inference_mode()
def decode(args):
    """`generate` as a user calls it; the time runs from the first choice of a token to the last."""
    model = load(args).eval()
    for b in args.batches:
        tokens = prompts(range(b), args.prompt, model.config.vocab_size)
        for new in (4, args.new):
            clock = Clock()
            said = model.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                do_sample=False,
                max_new_tokens=new + 1,
                logits_processor=LogitsProcessorList([clock]),
            )
        emit(
            PEER,
            args.row,
            variant="generate",
            precision=args.precision,
            b=b,
            tokens_per_s=b * args.new / (clock.times[-1] - clock.times[0]),
            said=said[0, args.prompt : args.prompt + SAID].tolist(),
        )


def train(args):
    """Forward, backward, clipping and AdamW on `batch` rows of `prompt` tokens, every token but the first scored."""
    model = load(args).train()
    if args.row.startswith("train-half"):
        model = get_peft_model(model, lora())
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    for b in args.batches:
        tokens = prompts(range(b), args.prompt, model.config.vocab_size)

        def step():
            loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            return loss.item()

        emit(
            PEER,
            args.row,
            variant="peft" if args.row.startswith("train-half") else "full",
            precision=args.precision,
            b=b,
            seconds=median_seconds(step, args.steps),
            peak_bytes=peak_bytes(),
        )


class Side:
    """Red or blue: the policies' names, and one text and cache for each group of rows that speak together."""

    def __init__(self, names, groups):
        self.names, self.groups = names, groups
        self.tokens = [None] * len(groups)
        self.caches = [DynamicCache() for _ in groups]

    def hear(self, group, tokens):
        known = self.tokens[group]
        self.tokens[group] = tokens if known is None else torch.cat([known, tokens], 1)

    def speak(self, model, group, new, **options):
        """Continues the rows of one group and returns what they said, `(rows, new)`."""
        text = self.tokens[group]
        said = model.generate(
            input_ids=text,
            attention_mask=torch.ones_like(text),
            past_key_values=self.caches[group],
            do_sample=False,
            max_new_tokens=new,
            **options,
        )
        self.tokens[group] = said
        return said[:, text.shape[1] :]


def switched(model, args):
    """64 dialogues, eight rows of one adapter at a time behind `set_adapter`; all caches are kept between turns."""
    rows = torch.arange(PLAYERS * PLAYERS).view(PLAYERS, PLAYERS)
    red = Side([f"red-{i}" for i in range(PLAYERS)], list(rows))
    blue = Side([f"blue-{i}" for i in range(PLAYERS)], list(rows.T))
    for side in (red, blue):
        for group, members in enumerate(side.groups):
            side.hear(group, prompts(members.tolist(), args.prompt, model.config.vocab_size))
    for _ in range(TURNS):
        for speaker, listener in ((red, blue), (blue, red)):
            said = []
            for group, name in enumerate(speaker.names):
                model.set_adapter(name)
                said.append(speaker.speak(model, group, args.new))
            said = torch.stack(said)  # (speaker, listener, new)
            for group in range(PLAYERS):
                listener.hear(group, said[:, group])
    return red.tokens[0][0].tolist()


def mixed(model, args):
    """The same dialogues with peft's `adapter_names`: 64 rows in one batch, an adapter named for each."""
    rows = list(range(PLAYERS * PLAYERS))
    red, blue = Side(["red"], [rows]), Side(["blue"], [rows])
    for side in (red, blue):
        side.hear(0, prompts(rows, args.prompt, model.config.vocab_size))
    names = {
        "red": [f"red-{row // PLAYERS}" for row in rows],
        "blue": [f"blue-{row % PLAYERS}" for row in rows],
    }
    for _ in range(TURNS):
        for speaker, listener in ((red, blue), (blue, red)):
            said = speaker.speak(model, 0, args.new, adapter_names=names[speaker.names[0]])
            listener.hear(0, said)
    return red.tokens[0][0].tolist()


@torch.inference_mode()
def dialogues(args):
    base = load(args).eval()
    model = None
    for side in ("red", "blue"):
        for i in range(PLAYERS):
            name, path = f"{side}-{i}", args.model / "adapters" / f"{side}-{i}"
            if model is None:
                model = PeftModel.from_pretrained(base, path, adapter_name=name)
            else:
                model.load_adapter(path, adapter_name=name)
    model.eval()
    spoken = 2 * TURNS * PLAYERS * PLAYERS * args.new
    for variant, play in (("set_adapter", switched), ("adapter_names", mixed)):
        spent, text = seconds(lambda play=play: play(model, args))
        emit(
            PEER,
            args.row,
            variant=variant,
            precision=args.precision,
            b=PLAYERS * PLAYERS,
            seconds=spent,
            tokens_per_s=spoken / spent,
            said=text[args.prompt : args.prompt + SAID],
        )


@torch.inference_mode()
def memory(args):
    """Resident set with the base alone, and with `batches` adapters on it. One token is read first: weights that are
    mapped from the file are not resident before."""
    model = load(args).eval()
    model(torch.zeros((1, 1), dtype=torch.long))
    base = resident_bytes()
    emit(PEER, args.row, variant="base", precision=args.precision, b=0, peak_bytes=base)
    (count,) = args.batches
    model = get_peft_model(model, lora(), adapter_name="adapter-0")
    for i in range(1, count):
        model.add_adapter(f"adapter-{i}", lora())
    emit(PEER, args.row, variant="with adapters", precision=args.precision, b=count, peak_bytes=resident_bytes())


def main():
    torch.set_num_threads(THREADS)
    logging.set_verbosity_error()
    half = ["decode-half", "train-half-f32", "train-half-bf16", "memory-half"]
    args = arguments(["decode-tiny", "train-tiny", "dialogues", "memory-tiny", *half])
    if args.row.startswith("decode"):
        decode(args)
    elif args.row.startswith("train"):
        train(args)
    elif args.row.startswith("memory"):
        memory(args)
    else:
        dialogues(args)


if __name__ == "__main__":
    main()
