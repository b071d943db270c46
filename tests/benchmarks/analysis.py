"""How long questions to a million rows take, and how often a comparison is right.

python -m tests.benchmarks.analysis [--compares N]

The second part draws sweeps of 132 points with 2 % noise, 1.5 % of it between engine starts, and compares them: how
often equal ones look different, how often a slower one is found, and how often a single slower point is.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import sweep
from sweep.table import Results, arrow_schema
from tests.standins import sweeps

ROWS = 1_000_000
COLUMNS = (
    "point_id deployment_id repeat source status model isl osl concurrency tp ep attention_dp kv_cache_dtype"
    " output_tput_per_gpu tps_per_user ttft_ms_p50 ttft_ms_p99 tpot_ms_p50 e2el_ms_p50 sm_clock_mhz"
).split()
SLOWER_POINT = 70


def write_rows(folder: Path) -> None:
    """Write a table of a million rows, 5 repeats of each point, one row in twenty failed, as `compact` leaves it."""
    rng, points = np.random.default_rng(1), ROWS // 5
    drawn: dict[str, Any] = {
        "sweep_id": np.full(ROWS, "0123456789ab"),
        "point_id": np.repeat([f"{number:016x}" for number in range(points)], 5),
        "deployment_id": np.repeat([f"d{number:09d}" for number in range(ROWS // 100)], 100),
        "repeat": np.tile(np.arange(1, 6), points),
        "attempt": np.ones(ROWS, int),
        "source": np.full(ROWS, "measured"),
        "status": np.where(rng.random(ROWS) < 0.95, "ok", "failed"),
        "model": np.full(ROWS, "nvidia/DeepSeek-R1-NVFP4-v2"),
        "kv_cache_dtype": np.repeat(rng.choice(["auto", "fp8"], points), 5),
        "attention_dp": np.repeat(rng.random(points) < 0.5, 5),
    }
    for name, choices in {"isl": [1024, 8192], "osl": [1024, 8192], "tp": [2, 4], "ep": [1, 4]}.items():
        drawn[name] = np.repeat(rng.choice(choices, points), 5)
    drawn["concurrency"] = np.repeat(2 ** rng.integers(0, 11, points), 5)
    for name in COLUMNS:
        drawn.setdefault(name, rng.random(ROWS) * 1000 + 1)
    drawn["sm_clock_mhz"] = np.full(ROWS, 1900.0)
    schema = arrow_schema()
    arrays = [
        pa.array(drawn[field.name], field.type) if field.name in drawn else pa.nulls(ROWS, field.type)
        for field in schema
    ]
    results = Results(folder)
    results.open_or_create()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), results.table_dir / f"part-{1:019d}-00000000.parquet")


def speed() -> None:
    """Print how long each question takes."""
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp) / "big"
        write_rows(folder)
        sweep.load(folder, columns=["isl"])  # imports pandas and Arrow
        df = _timed("load of twenty columns, ok rows only", lambda: sweep.load(folder, columns=COLUMNS))
    assert df.shape[1] == 20
    sweep.compare(df.head(100), df.head(100))  # imports scipy
    condition = "ttft_ms_p99 < 500 and tps_per_user >= 30 and kv_cache_dtype == 'fp8'"
    _timed("pareto", lambda: sweep.pareto(df))
    _timed("best", lambda: sweep.best(df, condition))
    _timed("interpolate", lambda: sweep.interpolate(df, at={"tps_per_user": [100, 500]}))
    half = len(df) // 20
    _timed(f"compare of {half:,} with {half:,} rows", lambda: sweep.compare(df.head(half), df.head(half)))


def _timed(what: str, question: Callable[[], Any]) -> Any:
    began, cpu_began = time.perf_counter(), time.process_time()
    answer = question()
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    print(f"| {what} | {wall_s:.2f} | {cpu_s:.2f} |", flush=True)
    return answer


def one(seed: int, case: dict[str, Any]) -> tuple[bool, bool, int, bool]:
    """Compare two drawn sweeps; return slower?, faster?, false alarms among the points, the slower point found?"""
    truth = sweeps.points()
    few = case.get("few", False)
    a = sweeps.measured(2 * seed, truth, repeats=case.get("a", 5), one_start_per_repeat=few)
    factor = np.full(len(truth), 1 - case.get("slower", 0.0))
    if "point" in case:
        factor[SLOWER_POINT] = 1 - case["point"]
    b = sweeps.measured(2 * seed + 1, truth, repeats=case.get("b", 5), speed=factor, one_start_per_repeat=few)
    found = sweep.compare(a, b)
    said = set(found.tests["verdict"])
    flagged = found.rows["verdict"] != "same"
    at = found.rows["point_id"] == truth["point_id"][SLOWER_POINT]
    hit = found.rows.loc[at, "verdict"].item() == "slower"
    return "slower" in said, "faster" in said, int(flagged[~at].sum()), hit


CASES: dict[str, dict[str, Any]] = {
    "equal": {},
    "equal, 2 repeats": {"a": 2, "b": 2},
    "equal, 2 repeats of one start each": {"a": 2, "b": 2, "few": True},
    "equal, 3 repeats of one start each": {"a": 3, "b": 3, "few": True},
    "equal, 5 repeats against 1": {"b": 1},
    "equal, no repeats (noise assumed)": {"a": 1, "b": 1},
    "all points 5 % slower": {"slower": 0.05},
    "all points 5 % slower, 2 repeats": {"slower": 0.05, "a": 2, "b": 2},
    "all points 5 % slower, no repeats": {"slower": 0.05, "a": 1, "b": 1},
    "one point 5 % slower": {"point": 0.05},
    "one point 10 % slower": {"point": 0.1},
}


def statistics(compares: int) -> None:
    """Print how often each case is seen as what it is."""
    print("\n| case | compares | slower | faster | any other point told | the slower point told |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for name, case in CASES.items():
            print(f"\r{name:<50}", end="", file=sys.stderr, flush=True)
            count = compares * (3 if name == "equal" else 1)
            found = list(pool.map(functools.partial(one, case=case), range(count), chunksize=10))
            slower, faster, others, hits = (np.array(column) for column in zip(*found, strict=True))
            hit = f"{hits.mean():.0%}" if "point" in case else ""
            untrue = "" if "slower" in case else f"{(others > 0).mean():.1%}"
            print(f"| {name} | {count} | {slower.mean():.1%} | {faster.mean():.1%} | {untrue} | {hit} |", flush=True)
    print(file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compares", type=int, default=100, help="of each case; 0 leaves them out")
    said = parser.parse_args()
    print(f"analysis, {os.cpu_count()} CPUs; {ROWS:,} rows\n\n| question | s | CPU s |\n| --- | ---: | ---: |")
    speed()
    if said.compares:
        statistics(said.compares)


if __name__ == "__main__":
    main()
