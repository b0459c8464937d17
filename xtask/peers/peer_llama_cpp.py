"""llama.cpp through its C interface: one `llama_batch` with a token of every sequence a step, greedy."""

import ctypes

import llama_cpp
import numpy as np

from measuring import SAID, THREADS, arguments, emit, prompt, seconds


class Engine:
    """A model with a context for `b` sequences of at most `length` tokens."""

    def __init__(self, model, b, length):
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_seq_max = b * (-(-length // 32) * 32), b
        params.n_batch = params.n_ubatch = 2048
        params.n_threads = params.n_threads_batch = THREADS
        self.b, self.capacity = b, 2048
        self.context = llama_cpp.llama_init_from_model(model, params)
        if not self.context:
            raise RuntimeError(f"llama.cpp makes no context for {b} sequences")
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        self.batch = llama_cpp.llama_batch_init(self.capacity, 0, 1)
        array = np.ctypeslib.as_array
        self.token, self.position = array(self.batch.token, (self.capacity,)), array(self.batch.pos, (self.capacity,))
        self.counts, self.wanted = array(self.batch.n_seq_id, (self.capacity,)), array(self.batch.logits, (self.capacity,))
        self.counts[:] = 1

    def close(self):
        llama_cpp.llama_batch_free(self.batch)
        llama_cpp.llama_free(self.context)

    def sequences(self, ids):
        for i, row in enumerate(ids):
            self.batch.seq_id[i][0] = row

    def read(self, tokens, positions, wanted):
        """Decodes one batch whose sequences are set and returns the next token of each wanted row."""
        n = self.batch.n_tokens = len(tokens)
        self.token[:n], self.position[:n], self.wanted[:n] = tokens, positions, wanted
        code = llama_cpp.llama_decode(self.context, self.batch)
        if code != 0:
            raise RuntimeError(f"llama_decode returned {code}")
        outputs = self.b if wanted is True else int(np.sum(wanted))
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits(self.context), (outputs, self.vocab))
        if not np.isfinite(logits[0, :8]).all():
            raise RuntimeError("logits are not finite")
        return logits.argmax(1)

    def read_prompts(self, length):
        """First tokens of all rows; prompts are read as many at once as a batch holds."""
        rows_at_once = self.capacity // length
        first = []
        for start in range(0, self.b, rows_at_once):
            rows = range(start, min(start + rows_at_once, self.b))
            tokens = [token for row in rows for token in prompt(row, length, self.vocab)]
            self.sequences([row for row in rows for _ in range(length)])
            positions = list(range(length)) * len(rows)
            last = np.array([p == length - 1 for p in positions])
            first.append(self.read(tokens, positions, last))
        return np.concatenate(first)


def generate(model, b, length, new):
    """Seconds for `new` tokens a row after the first, and the tokens of row 0."""
    engine = Engine(model, b, length + new + 1)
    tokens = engine.read_prompts(length)
    engine.sequences(range(b))
    said = [int(tokens[0])]

    def loop():
        nonlocal tokens
        for position in range(length, length + new):
            tokens = engine.read(tokens, position, True)
            said.append(int(tokens[0]))

    time, _ = seconds(loop)
    engine.close()
    return time, said


def main():
    args = arguments(["decode-tiny", "decode-half"])
    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    path = args.model / f"model.{args.precision}.gguf"
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
    if not model:
        raise RuntimeError(f"llama.cpp cannot load {path.name}")
    build = llama_cpp.llama_print_system_info().decode()
    for b in args.batches:
        generate(model, b, args.prompt, 4)
        time, said = generate(model, b, args.prompt, args.new)
        emit(
            "llama.cpp",
            args.row,
            variant="batched decode",
            precision=args.precision,
            b=b,
            tokens_per_s=b * args.new / time,
            said=said[:SAID],
            build=build,
        )


if __name__ == "__main__":
    main()
