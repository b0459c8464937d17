"""Writes the tables of `crates/grts/tests/fixtures`: what pandas 3.1.1 and pyarrow 26.0.1 make of a meta-game, well and badly.

    python fixtures.py ../../crates/grts/tests/fixtures
"""

import pathlib
import sys

import pandas as pd

folder = pathlib.Path(sys.argv[1])
table = pd.DataFrame(
    {
        "sd": [0.5, 0.5, 0.5, 0.0, 0.0, 0.0],
        "col": pd.Categorical(["x", "y", "é", "x", "y", "é"]),
        "row": pd.array([3, 3, 3, 1, 1, 1], dtype="int32"),
        "n": pd.array([8, 8, 8, 4, 4, 4], dtype="uint32"),
        "mean": pd.array([0.25, 0.5, 0.75, 1.0, -0.5, 0.125], dtype="float32"),
        "seen": [True, False, True, False, True, False],
    }
)
table.to_parquet(folder / "pandas.parquet", row_group_size=4)
table.to_parquet(folder / "zstd.parquet", compression="zstd")
table.assign(mean=[0.25, None, 0.75, 1.0, -0.5, 0.125]).astype({"mean": "Float64"}).to_parquet(folder / "missing.parquet")
table.assign(mean=["a", "b", "c", "d", "e", "f"]).to_parquet(folder / "words.parquet")
pd.DataFrame({"x": [0.25, 1.0], "y": [0.5, -0.5]}).to_parquet(folder / "wide.parquet")
