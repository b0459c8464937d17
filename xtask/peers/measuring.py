"""What every peer's script shares: the prompts, the clock, the memory, and the line of JSON that a measurement becomes.

Prompts are arithmetic, so that grts, PyTorch and llama.cpp read the same tokens without exchanging a file, and what they
say can be compared: `said` is the first tokens of row 0.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path

THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
SAID = 8


def prompt(row, length, vocab):
    """Token ids of the prompt of `row`; the same formula stands in `grts_rows.rs`."""
    return [(row * 31 + i * 7 + 3) % vocab for i in range(length)]


def arguments(rows):
    """What the Rust side says: the model, the row, and its sizes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True, help="directory of the model")
    parser.add_argument("--row", choices=rows, required=True)
    parser.add_argument("--batches", default="1", help="batch sizes, separated by commas")
    parser.add_argument("--prompt", type=int, default=16, help="tokens of a prompt")
    parser.add_argument("--new", type=int, default=32, help="tokens to generate")
    parser.add_argument("--steps", type=int, default=3, help="training steps that are timed")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parsed = parser.parse_args()
    parsed.batches = [int(b) for b in parsed.batches.split(",")]
    return parsed


def emit(peer, row, **values):
    print(json.dumps({"peer": peer, "row": row, **values}), flush=True)


def peak_bytes():
    """Largest resident set of this process. `ru_maxrss` is what Linux hands on across exec, so it is the second choice."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_bytes():
    """Resident set of this process now, from Linux's `/proc`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise OSError("no VmRSS in /proc/self/status")


def seconds(work):
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def median_seconds(work, times):
    """Median of `times` calls after one that warms up."""
    work()
    return statistics.median(seconds(work)[0] for _ in range(times))
