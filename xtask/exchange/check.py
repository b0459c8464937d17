"""Opens what `grts` wrote in another program, and writes what `grts` must open. `cargo xtask check-exchange` runs it.

    python check.py PROGRAM FOLDER      PROGRAM: numpy, pandas, pygambit, open_spiel

Every game of the folder has a `NAME.json` with what its files hold, floats in the shortest decimals that read back to
them. Equal means equal to the bit. One line of JSON a check; what a program writes lies in `from-PROGRAM/` afterwards.
"""

import json
import pathlib
import sys

NEAR = 1e-9  # of a value that two solvers found


def say(game, file, what, ok, note=""):
    print(json.dumps({"game": game, "file": file, "what": what, "ok": bool(ok), "note": note}), flush=True)


def numpy_program(folder, out, game, truth):
    import numpy as np

    payoff = np.array(truth["payoff"])
    array = np.load(folder / f"{game}.npy")
    say(game, "npy", "payoffs equal", array.dtype == np.float64 and np.array_equal(array, payoff))
    with np.load(folder / f"{game}.npz") as archive:
        wanted = {key: value for key, value in truth.items() if key != "value"}
        same = [np.array_equal(archive[key], np.array(value)) for key, value in wanted.items()]
        whole = sorted(archive.files) == sorted(wanted) and archive["count"].dtype.kind in "iu"
        say(game, "npz", "all arrays equal, integer counts, names as `<U`", all(same) and whole)
    np.save(out / f"{game}.npy", np.asfortranarray(payoff))
    arrays = {key: np.array(value) for key, value in truth.items() if key != "value"}
    np.savez_compressed(out / f"{game}.npz", **arrays)


def pandas_program(folder, out, game, truth):
    import numpy as np
    import pandas as pd
    import pyarrow.parquet

    fields = [("n", "count"), ("low", "low"), ("high", "high"), ("mean", "payoff")]

    def compare(table, file, how, tolerance=0.0):
        near = lambda a, b: np.allclose(a, b, rtol=tolerance, atol=0.0)
        wide = lambda column: table.pivot(index="row", columns="col", values=column).loc[truth["row_names"], truth["col_names"]]
        same = [near(wide(column).to_numpy(), np.array(truth[key])) for column, key in fields]
        spread = near(wide("sd").to_numpy(), np.sqrt(np.array(truth["variance"])))
        say(game, file, how, all(same) and spread)

    text = dict(dtype={"row": str, "col": str}, keep_default_na=False)
    compare(pd.read_csv(folder / f"{game}.csv", **text), "csv", "`read_csv`, pivoted: equal to 1e-15, which is its parser's", 1e-15)
    table = pd.read_parquet(folder / f"{game}.parquet")
    compare(table, "parquet", "`read_parquet`, pivoted: equal")
    schema = pyarrow.parquet.read_schema(folder / f"{game}.parquet")
    kinds = ["string", "string", "double", "int64", "double", "double", "double"]
    say(game, "parquet", "types of pyarrow's columns", [str(kind) for kind in schema.types] == kinds)
    for compression in ["snappy", "gzip", "none"]:
        table.to_parquet(out / f"{game}-{compression}.parquet", compression=compression)
    table.astype({"row": "category", "col": "category"}).to_parquet(out / f"{game}-category.parquet", row_group_size=7)
    table.to_csv(out / f"{game}.csv", index=False)


def pygambit_program(folder, out, game, truth):
    import numpy as np
    import pygambit

    found = pygambit.read_nfg(str(folder / f"{game}.nfg"))
    red, blue = (array.astype(float) for array in found.to_arrays(dtype=float))
    payoff = np.array(truth["payoff"])
    say(game, "nfg", "payoffs equal", np.array_equal(red, payoff) and np.array_equal(blue, -payoff))
    value = pygambit.nash.lp_solve(found, rational=False).equilibrium.payoffs["Red"]
    off = abs(value - truth["value"])
    say(game, "nfg", "`lp_solve`: the value of `grts nash`", off <= NEAR, f"off by {off:.1e}")
    (out / f"{game}.nfg").write_text(found.to_nfg(), encoding="utf-8")


def open_spiel_program(folder, out, game, truth):
    import csv

    import numpy as np
    import pyspiel
    from open_spiel.python.algorithms import lp_solver

    payoff = np.array(truth["payoff"])

    def compare(found, file, how):
        same = np.array_equal(np.array(found.row_utilities()).reshape(payoff.shape), payoff)
        same = same and np.array_equal(np.array(found.col_utilities()).reshape(payoff.shape), -payoff)
        say(game, file, how, same)
        return found

    with np.load(folder / f"{game}.npz") as archive:
        from_archive = compare(pyspiel.create_matrix_game(archive["payoff"], -archive["payoff"]), "npz", "as a matrix game: payoffs equal")
    with open(folder / f"{game}.csv", newline="", encoding="utf-8") as file:
        means = np.array([float(line["mean"]) for line in csv.DictReader(file)]).reshape(payoff.shape)
    compare(pyspiel.create_matrix_game(means, -means), "csv", "as a matrix game: payoffs equal")
    from_nfg = pyspiel.load_game(f"nfg_game(filename={folder / game}.nfg)")
    compare(from_nfg, "nfg", "`nfg_game`: payoffs equal")
    if game != "scales":
        for file, found in [("npz", from_archive), ("nfg", from_nfg)]:
            off = abs(lp_solver.solve_zero_sum_matrix_game(found)[2] - truth["value"])
            say(game, file, "`lp_solver`: the value of `grts nash` to 1e-7", off <= 1e-7, f"off by {off:.1e}")
    (out / f"{game}.nfg").write_text(pyspiel.game_to_nfg_string(from_archive), encoding="utf-8")


def main():
    program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    out = folder / f"from-{program}"
    out.mkdir()
    for path in sorted(folder.glob("*.json")):
        truth = json.loads(path.read_text(encoding="utf-8"))
        try:
            globals()[f"{program}_program"](folder, out, path.stem, truth)
        except Exception as error:  # A check that cannot be made has failed, and the others are still made.
            say(path.stem, "", "opens", False, f"{type(error).__name__}: {error}")


main()
