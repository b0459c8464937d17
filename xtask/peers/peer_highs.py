"""Solves matrix games by HiGHS, simplex and interior point, one thread. Reads a `.npy` game, prints a line of JSON a method.

The clock runs during `Highs.run` alone: building the model in Python is not counted. Small games are solved several
times, each in a fresh model, and the median counts, as for grts.
"""

import argparse
import json
import statistics
import time

import highspy
import numpy as np


def model(a, method):
    """max v s.t. Aᵀp ≥ v, Σp = 1, p ≥ 0, column by column; the last variable is v."""
    m, n = a.shape
    h = highspy.Highs()
    h.setOptionValue("output_flag", False)
    h.setOptionValue("threads", 1)
    h.setOptionValue("parallel", "off")
    h.setOptionValue("solver", method)
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = m + 1, n + 1
    lp.col_cost_ = np.append(np.zeros(m), -1.0)
    lp.col_lower_ = np.append(np.zeros(m), -highspy.kHighsInf)
    lp.col_upper_ = np.full(m + 1, highspy.kHighsInf)
    lp.row_lower_ = np.append(np.zeros(n), 1.0)
    lp.row_upper_ = np.append(np.full(n, highspy.kHighsInf), 1.0)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = np.append(np.arange(m + 1) * (n + 1), m * (n + 1) + n).astype(np.int32)
    rows = np.arange(n + 1)
    lp.a_matrix_.index_ = np.append(np.tile(rows, m), rows[:n]).astype(np.int32)
    columns = np.hstack([a, np.ones((m, 1))]).ravel()
    lp.a_matrix_.value_ = np.append(columns, -np.ones(n))
    h.passModel(lp)
    return h


def solve(a, method, budget):
    seconds = []
    while not seconds or (sum(seconds) < budget and len(seconds) < 15):
        h = model(a, method)
        begun = time.perf_counter()
        h.run()
        seconds.append(time.perf_counter() - begun)
    solution, (m, n) = h.getSolution(), a.shape
    p = np.clip(np.array(solution.col_value)[:m], 0, None)
    q = np.clip(-np.array(solution.row_dual)[:n], 0, None)
    if q.sum() == 0:
        q = np.clip(np.array(solution.row_dual)[:n], 0, None)
    p, q = p / max(p.sum(), 1e-300), q / max(q.sum(), 1e-300)
    return statistics.median(seconds), float((a @ q).max() - (p @ a).min())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("game")
    parser.add_argument("--budget", type=float, default=0.1, help="seconds after which a small game is not solved again")
    arguments = parser.parse_args()
    a = np.load(arguments.game)
    for method in ["simplex", "ipm"]:
        seconds, nash_conv = solve(a, method, arguments.budget)
        print(json.dumps({"method": method, "seconds": seconds, "nash_conv": nash_conv}), flush=True)


if __name__ == "__main__":
    main()
