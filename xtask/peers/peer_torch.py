"""Plain PyTorch: greedy decoding by the hand-written loop of `decoder.py`."""

import torch

from decoder import Decoder
from measuring import SAID, THREADS, arguments, emit, prompt, seconds


def generate(decoder, b, length, new):
    """Seconds for `new` tokens a row after the prompt was read and the first token chosen, and the tokens of row 0."""
    decoder.cache(b, length + new + 1)
    tokens = torch.tensor([prompt(row, length, decoder.vocab) for row in range(b)])
    token = decoder.step(tokens, 0).argmax(-1, keepdim=True)
    said = [token]

    def loop():
        for position in range(length, length + new):
            said.append(decoder.step(said[-1], position).argmax(-1, keepdim=True))

    time, _ = seconds(loop)
    return time, torch.cat(said, 1)[0].tolist()


@torch.inference_mode()
def main():
    torch.set_num_threads(THREADS)
    args = arguments(["decode-tiny", "decode-half"])
    decoder = Decoder(args.model, torch.bfloat16 if args.precision == "bf16" else torch.float32)
    for b in args.batches:
        generate(decoder, b, args.prompt, 4)
        time, said = generate(decoder, b, args.prompt, args.new)
        emit(
            "torch",
            args.row,
            variant="hand loop",
            precision=args.precision,
            b=b,
            tokens_per_s=b * args.new / time,
            said=said[:SAID],
        )


if __name__ == "__main__":
    main()
