"""Checks what `grts solve --json` printed: `summary.py PRINTED STORED`.

One JSON object with exactly the promised keys at every level, numbers that can be true, and the same object in the
run's `summary.json`. Exits 1 with one line for each fault. Standard library only.
"""

import json
import math
import sys

ESTIMATE = {"mean", "low", "high", "n"}
SUMMARY = {
    "run", "stop_reason", "iterations", "dialogues", "tokens", "seconds", "value", "reference_value", "h_min",
    "exploitability", "blue", "red",
}  # fmt: skip
BLUE = {"asr", "asr_by_turn", "grid_asr", "worst_cell_asr", "probe_asr", "helpfulness", "over_refusal"}
RED = {"population", "support", "vendi", "coverage"}
STOP_REASONS = {"converged", "budget", "iterations", "interrupted"}

faults = []


def fault(place, problem):
    faults.append(f"{place}: {problem}")


def members(value, keys, place):
    """The object's values by key; those that are missing are None."""
    if not isinstance(value, dict):
        fault(place, f"not an object but {value!r}")
        return dict.fromkeys(keys)
    for key in sorted(keys - value.keys()):
        fault(place, f"no key `{key}`")
    for key in sorted(value.keys() - keys):
        fault(place, f"unknown key `{key}`")
    return {key: value.get(key) for key in keys}


def number(value, place, low=-math.inf, high=math.inf, whole=False):
    kind = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kind):
        fault(place, f"not a number of the right kind: {value!r}")
    elif not (math.isfinite(value) and low <= value <= high):
        fault(place, f"{value} is outside [{low}, {high}]")


def estimate(value, place, low=-math.inf, high=math.inf):
    found = members(value, ESTIMATE, place)
    for key in ("mean", "low", "high"):
        number(found[key], f"{place}.{key}", low, high)
    number(found["n"], f"{place}.n", 1, whole=True)
    ends = [found[key] for key in ("low", "mean", "high")]
    if all(isinstance(end, (int, float)) for end in ends) and not ends[0] <= ends[1] <= ends[2]:
        fault(place, f"the interval [{ends[0]}, {ends[2]}] does not hold its mean {ends[1]}")


def blue(value, place):
    found = members(value, BLUE, place)
    for key in BLUE - {"asr_by_turn"}:
        estimate(found[key], f"{place}.{key}", 0, 1)
    turns = found["asr_by_turn"]
    if not isinstance(turns, list) or not turns:
        fault(f"{place}.asr_by_turn", "not a list with one estimate a turn")
        return
    for turn, item in enumerate(turns, 1):
        estimate(item, f"{place}.asr_by_turn[{turn}]", 0, 1)
    if turns[-1] != found["asr"]:
        fault(f"{place}.asr", "differs from the last of `asr_by_turn`")


def summary(value):
    found = members(value, SUMMARY, "summary")
    if not isinstance(found["run"], str) or not found["run"]:
        fault("run", f"not a name: {found['run']!r}")
    if found["stop_reason"] not in STOP_REASONS:
        fault("stop_reason", f"{found['stop_reason']!r} is none of {sorted(STOP_REASONS)}")
    for key in ("iterations", "dialogues", "tokens"):
        number(found[key], key, 1, whole=True)
    number(found["seconds"], "seconds", 0)
    estimate(found["value"], "value", 0, 1)
    number(found["reference_value"], "reference_value", 0, 1)
    number(found["h_min"], "h_min", 0, 1)
    exploitability = members(found["exploitability"], {"restricted", "probe"}, "exploitability")
    estimate(exploitability["restricted"], "exploitability.restricted", 0, 1)
    probe = members(exploitability["probe"], {"red_gain", "blue_gain"}, "exploitability.probe")
    for key, gain in probe.items():
        estimate(gain, f"exploitability.probe.{key}", -2, 2)
    sides = members(found["blue"], {"initial", "final"}, "blue")
    for key, side in sides.items():
        blue(side, f"blue.{key}")
    red = members(found["red"], RED, "red")
    number(red["population"], "red.population", 1, whole=True)
    number(red["support"], "red.support", 1, whole=True)
    estimate(red["vendi"], "red.vendi", 0)
    estimate(red["coverage"], "red.coverage", 0, 1)


def main():
    printed, stored = (json.load(open(path, encoding="utf-8")) for path in sys.argv[1:3])
    summary(printed)
    if printed != stored:
        fault("stdout", "differs from the run's `summary.json`")
    for line in faults:
        print(f"summary: {line}", file=sys.stderr)
    if not faults:
        reason, seconds = printed["stop_reason"], printed["seconds"]
        print(f"summary: all keys are there; ended by {reason} after {seconds:.0f} s")
    sys.exit(1 if faults else 0)


main()
