"""Writes the means of a run's meta-game as CSV: `record.py RUN/run.sqlite OUT.csv`. Standard library only.

One line for each red policy, one column for each blue one, shortest decimals that read back exactly. An entry that was
played in several units is their pooled mean.
"""

import sqlite3
import sys


def main():
    source, target = sys.argv[1:3]
    database = sqlite3.connect(f"file:{source}?mode=ro", uri=True)
    query = 'SELECT "row", "col", SUM(count), SUM(count * mean) FROM entries GROUP BY 1, 2'
    means = {(row, col): total / count for row, col, count, total in database.execute(query)}
    rows, cols = (max(index) + 1 for index in zip(*means))
    with open(target, "w", encoding="utf-8", newline="\n") as file:
        for row in range(rows):
            file.write(",".join(repr(means[row, col]) for col in range(cols)) + "\n")


main()
