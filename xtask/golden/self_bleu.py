"""Self-BLEU of a few texts by sacreBLEU: `python self_bleu.py OUT` writes `crates/grts/tests/fixtures/self_bleu.json` (see README.md).

The texts are made to meet every branch: copies, texts shorter than the n-grams, no word in common, lengths to choose between,
punctuation and numbers that the tokenization cuts or leaves together.
"""

import json
import sys
from pathlib import Path

import sacrebleu
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

SETS = [
    [
        "When does the library open?",
        "When does the school open, please?",
        "When does the library open?",
        "tell",
        "Tell me",
        "Completely other words here; nothing shared!",
        "The room is no. 12,345.67 - or 3-4, isn't it? (See [a/b] & \"c\".)",
        "The room is no. 12,345 -- or 3 - 4, is it not?",
        "",
    ],
    ["a b c d e f", "a b c d e g", "a b c x y z", "f e d c b a a a a", "a a a a"],
    ["alone"],
    ["don't stop. Don't.Stop,now", "R&amp;D costs $5.00, 1.5%; x=y/z", "naïve café — “quoted” text…", "<skipped> a-\nb\nc"],
]
ORDERS = range(2, 6)


def self_bleu(texts: list[str], order: int) -> float:
    if len(texts) < 2:
        return 0.0
    bleu = sacrebleu.BLEU(max_ngram_order=order, effective_order=True)
    scores = [bleu.sentence_score(text, texts[:i] + texts[i + 1 :]).score / 100 for i, text in enumerate(texts)]
    return sum(scores) / len(scores)


def main() -> None:
    tokenizer = Tokenizer13a()
    cases = [
        {
            "texts": texts,
            "words": [tokenizer(text).split() for text in texts],
            "self_bleu": [self_bleu(texts, order) for order in ORDERS],
        }
        for texts in SETS
    ]
    Path(sys.argv[1]).write_text(json.dumps({"sacrebleu": sacrebleu.__version__, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
