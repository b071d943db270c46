"""What a table costs: a row with its evidence, and what resuming reads of ten thousand rows.

python -m tests.benchmarks.table

CPU time, so that a busy machine matters little; syncs to a slow disk are not in it.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sweep.table import Results
from tests.test_table import POINT, report, row

ROWS_OF_A_PART, PARTS = 34, 300


def cpu_seconds(what: Callable[[], object]) -> float:
    begin = time.process_time()
    what()
    return time.process_time() - begin


def main() -> None:
    """Measure and print."""
    said, numbers = report(), itertools.count(1)
    points = [replace(POINT, concurrency=n) for n in range(1, 17)]
    with tempfile.TemporaryDirectory() as folder:
        results = Results(Path(folder) / "written")
        results.open_or_create()

        def batch() -> None:
            for point in points:
                results.write_evidence((point.point_id, next(numbers), 1), said, {"node": "n1"}, "log\n" * 100)
            results.append([row(point=point, said=said) for point in points])

        with results.lock():
            batch()
            taken = cpu_seconds(lambda: [batch() for _ in range(10)]) / 10 / len(points)
        print(f"a row with its evidence, 16 in a batch: {taken * 1e3:.2f} ms of CPU")

        results = Results(Path(folder) / "read")
        results.open_or_create()
        rows = [row(repeat=n) for n in range(ROWS_OF_A_PART)]
        with results.lock():
            for _ in range(PARTS):
                results.append(rows)
        taken = cpu_seconds(results.history)
        print(f"history of {ROWS_OF_A_PART * PARTS:,} rows in {PARTS} parts: {taken:.2f} s of CPU")
        results.compact()
        print(f"the same, compacted: {cpu_seconds(results.history):.2f} s of CPU")


if __name__ == "__main__":
    sys.exit(main())
