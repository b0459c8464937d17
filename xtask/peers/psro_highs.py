"""PSRO with exact responses on matrix games (`.npy`) whose meta-strategies come from HiGHS, way by way.

One line a game and way, as `cargo xtask known-games blotto` prints its own: NashConv of the population's equilibrium in the
whole game at iterations 5, 10 and 20, and the iteration from which it is below 1e-9. Populations begin with policy 0; of
responses that are best within 1e-9 the first is taken.
"""

import argparse
import pathlib

import numpy as np
from peer_highs import model

WAYS = {
    "simplex": {"method": "simplex"},
    "simplex, no presolve": {"method": "simplex", "presolve": "off"},
    "simplex, two programs": {"method": "simplex", "programs": 2},
    "interior point": {"method": "ipm"},
    "interior point, no presolve": {"method": "ipm", "presolve": "off"},
    "interior point, no crossover": {"method": "ipm", "run_crossover": "off"},
    "interior point, two programs": {"method": "ipm", "programs": 2},
}


def distribution(values):
    values = np.clip(np.array(values), 0, None)
    return values / values.sum()


def equilibrium(a, method, programs=1, **options):
    """Both mixtures: the program's and its duals, or each from a program of its own."""

    def solution(payoffs):
        h = model(payoffs, method)
        for name, value in options.items():
            h.setOptionValue(name, value)
        h.run()
        return h.getSolution()

    ours, (m, n) = solution(a), a.shape
    if programs == 2:
        return distribution(ours.col_value[:m]), distribution(solution(-a.T).col_value[:n])
    duals = np.array(ours.row_dual[:n])
    return distribution(ours.col_value[:m]), distribution(-duals if duals.sum() < 0 else duals)


def curve(a, most, **way):
    rows, cols, found = [0], [0], []
    while not found or (found[-1] >= 1e-9 and len(found) <= most):
        p, q = equilibrium(a[np.ix_(rows, cols)], **way)
        of_rows, of_cols = a[:, cols] @ q, p @ a[rows]
        found.append(of_rows.max() - of_cols.min())
        row, col = np.argmax(of_rows >= of_rows.max() - 1e-9), np.argmax(of_cols <= of_cols.min() + 1e-9)
        rows += [] if row in rows else [row]
        cols += [] if col in cols else [col]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("game", nargs="+", type=pathlib.Path)
    parser.add_argument("--most", type=int, default=150, help="iterations at most")
    arguments = parser.parse_args()
    for path in arguments.game:
        a = np.load(path)
        for name, way in WAYS.items():
            found = curve(a, arguments.most, **way)
            at = [f"{found[k]:.3f}" if k < len(found) else "" for k in (5, 10, 20)]
            end = len(found) - 1 if found[-1] < 1e-9 else f"more than {arguments.most}"
            print(f"| {path.stem} | HiGHS, {name} | {' | '.join(at)} | {end} |", flush=True)


if __name__ == "__main__":
    main()
