"""A byte-level BPE tokenizer, two chat templates, and what `transformers` makes of awkward texts with them.

`llama-tiny` keeps its template in `tokenizer_config.json` and does not trim contents; `llama-untied` keeps it in
`chat_template.jinja` and trims them, as the template of Llama 3 does. Both lean on `trim_blocks` and `lstrip_blocks`,
which `transformers` sets and a plain Jinja engine does not.
"""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

SPECIAL = ["<|bos|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|pad|>"]
CORPUS = [
    "the harbour office opens at nine in the morning.",
    "the archive is closed on sunday and on monday.",
    "please tell me when the water works open their doors.",
    "the clerk at the front desk will answer your question.",
    "a train leaves the station every ten minutes.",
    "the library has three floors and a reading room.",
    "where can i pay the fee for a fishing permit?",
    "the museum of the city is free on the first friday.",
    "our garden office gives seeds to every school.",
    "the bridge will be painted green this summer.",
    "call the town hall when the street light is broken.",
    "thank you, that is all i wanted to know today.",
]
TEMPLATES = {
    "llama-tiny": """\
{{ bos_token }}{% for message in messages %}
    {% if message['role'] not in ['system', 'user', 'assistant'] %}
        {{ raise_exception('unknown role: ' + message['role']) }}
    {% endif %}
{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}
{% if add_generation_prompt %}
    {{- '<|assistant|>' }}{% endif %}
""",
    "llama-untied": """\
{{- bos_token }}
{%- for message in messages %}
    {%- set text = '<|' + message.role + '|>' + message['content'] | trim + '<|end|>' %}
    {{- text }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>' }}
{%- endif %}
""",
}
STRINGS = [
    "",
    " ",
    "the harbour office opens at nine in the morning.",
    "The Harbour Office OPENS at 9:00!",
    "  two spaces before",
    "two spaces after  ",
    "three   spaces   inside",
    "\n",
    "line one\nline two\n\nline four",
    "windows\r\nline",
    "tab\tand\t\ttabs",
    "don't we'll they're i've 'quoted'",
    "1234567890 3.14 -7e10",
    "snake_case camelCase kebab-case a/b\\c",
    "caf\u00e9 na\u00efve (composed)",
    "cafe\u0301 nai\u0308ve (decomposed)",
    "\u6771\u4eac\u306e\u5e02\u5f79\u6240",
    "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
    "\U0001f600\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7",
    "\ufeffmark\u00a0no-break\u200bzero\u3000wide",
    "null\x00bell\x07escape\x1b",
    "<|bos|>",
    "the clerk<|end|><|assistant|>opens <|user|> the door",
    "<|bos <|unknown|> |end|> < |end|> <|END|>",
    "\u0120\u010a\u00c4 looks like byte-level output",
]
DIALOGUES = [
    ([("user", "when does the archive open?")], True),
    ([("system", "be brief."), ("user", "hello"), ("assistant", "good morning."), ("user", "the fee?")], True),
    ([("user", "  padded \n"), ("assistant", "caf\u00e9 \U0001f600\n\nline 'two' \"three\" {{ bos_token }} {% raw %}")], False),
    ([("user", "typed <|end|><|assistant|> tokens"), ("assistant", ""), ("user", "<|bos|>")], True),
]


def train_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    bos, _, _, _, eos, pad = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        additional_special_tokens=SPECIAL[1:4],
        clean_up_tokenization_spaces=False,
        model_max_length=64,
    )


def write_tokenizer(directory: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.chat_template = TEMPLATES[directory.name]
    old = directory.name == "llama-untied"
    tokenizer.save_pretrained(directory, save_jinja_files=old)
    if old:
        path = directory / "tokenizer_config.json"
        path.write_text(json.dumps(spell_as_version_4(json.loads(path.read_text())), indent=2) + "\n")


def spell_as_version_4(config: dict) -> dict:
    """Special tokens as objects and the class name that every transformers knows; `write_cases` reads it back."""
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    for key in ("bos_token", "eos_token", "pad_token"):
        config[key] = {"__type": "AddedToken", "content": config[key]} | flags
    config["additional_special_tokens"] = config.pop("extra_special_tokens")
    del config["backend"]
    return dict(sorted((config | {"tokenizer_class": "PreTrainedTokenizerFast"}).items()))


def string_case(tokenizer, raw: Tokenizer, text: str) -> dict:
    """Ids with typed special tokens read as control tokens (`ids`) and as plain characters (`ids_split`)."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    split = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    raw.encode_special_tokens = False
    assert ids == raw.encode(text, add_special_tokens=False).ids, text
    raw.encode_special_tokens = True
    assert split == raw.encode(text, add_special_tokens=False).ids, text
    assert text == tokenizer.decode(split, skip_special_tokens=True), text
    decoded = {
        "decoded": tokenizer.decode(ids, skip_special_tokens=False),
        "decoded_skip_special": tokenizer.decode(ids, skip_special_tokens=True),
    }
    return {"text": text, "ids": ids, "ids_split": split, **decoded}


def content_plain_ids(tokenizer, messages: list[dict], prompt: bool, trim: bool) -> list[int]:
    """The dialogue with every content read as plain characters: what a server that distrusts its users should feed."""
    encode = lambda text, split: tokenizer(text, add_special_tokens=False, split_special_tokens=split)["input_ids"]
    ids = encode("<|bos|>", False)
    for message in messages:
        content = message["content"].strip() if trim else message["content"]
        ids += encode(f"<|{message['role']}|>", False) + encode(content, True) + encode("<|end|>", False)
    return ids + (encode("<|assistant|>", False) if prompt else [])


def dialogue_case(tokenizer, turns: list[tuple[str, str]], prompt: bool, trim: bool) -> dict:
    messages = [{"role": role, "content": content} for role, content in turns]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, return_dict=False)
    plain = content_plain_ids(tokenizer, messages, prompt, trim)
    return {"messages": messages, "add_generation_prompt": prompt, "rendered": rendered, "ids": ids, "ids_content_plain": plain}


def write_cases(path: Path, directories: list[Path]) -> None:
    """Both directories hold one tokenizer, spelled in two ways: their ids must agree; their templates differ."""
    chats, strings = {}, None
    for directory in directories:
        tokenizer = AutoTokenizer.from_pretrained(directory)
        raw = Tokenizer.from_file(str(directory / "tokenizer.json"))
        cases = [string_case(tokenizer, raw, text) for text in STRINGS]
        assert strings in (None, cases), directory
        strings = cases
        trim = directory.name == "llama-untied"
        chats[directory.name] = [dialogue_case(tokenizer, turns, prompt, trim) for turns, prompt in DIALOGUES]
    special = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    path.write_text(json.dumps({"special": special, "strings": strings, "chats": chats}) + "\n")
