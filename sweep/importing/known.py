"""The runs that a table holds: an imported run is new, or one of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sweep.point import SETTINGS, Bench
from sweep.table import Results
from sweep.table.row import IMPORT
from sweep.table.schema import STATS

_PRINTED, _HUNDREDTHS = 0.51e-4, 0.51e-2
"""What printing takes from a figure: trtllm-bench prints four decimals, benchmark_serving two."""
_MICROSECOND = 1.01e-6
"""trtllm-bench prints its duration to 0.1 microseconds."""
MOST_SECONDS = 1e15
"""More overflows, and is damage."""
_STATED = (
    *("effective_model", "effective_gpu", "effective_quantization", "effective_kv_cache_dtype", "trtllm_version"),
    *("effective_tp", "effective_pp", "effective_ep", "effective_max_batch_size", "effective_max_num_tokens"),
    *("effective_scheduler_policy", "effective_kv_cache_free_gpu_mem_fraction", "effective_streaming"),
    *("effective_concurrency", "effective_isl_mean", "effective_osl_mean"),
)
"""What reports state of a run's settings."""
_MEASURED = (
    *("request_tput_rps", "output_tput_tps", "total_tput_tps", "tps_per_user", "tps_per_user_e2e"),
    *(f"{name}_{stat}" for name in ("ttft_ms", "tpot_ms", "itl_ms", "e2el_ms") for stat in STATS),
)


class Known:
    """The runs that a table holds."""

    COLUMNS = tuple(
        dict.fromkeys(
            (
                *("point_id", "source", "backend", "bench", "repeat", "status", "bench_s", "effective_num_requests"),
                *("imported_from", "failure_message", "started_at"),
                *(*SETTINGS, *_STATED, *_MEASURED),
            )
        )
    )

    def __init__(self, results: Results) -> None:
        self._reports: dict[tuple[str, int, int], list[Mapping[str, Any]]] = {}
        self._failures: set[tuple[str, str, datetime | None]] = set()
        self._repeats: dict[tuple[str, str], int] = {}
        for row in results.rows(self.COLUMNS):
            self._add(row)

    def _add(self, row: Mapping[str, Any]) -> None:
        point = (row["point_id"], row["source"])
        self._repeats[point] = max(self._repeats.get(point, 0), row["repeat"])
        if row["bench_s"] is not None:
            self._reports.setdefault(_nearly(row), []).append({name: row[name] for name in self.COLUMNS})
        elif row["imported_from"] is not None:
            self._failures.add(_failure(row))

    def has(self, row: Mapping[str, Any]) -> bool:
        if row["bench_s"] is None:
            return _failure(row) in self._failures
        source, requests, duration = _nearly(row)
        near = (other for off in (-1, 0, 1) for other in self._reports.get((source, requests, duration + off), ()))
        return any(_same(row, other) for other in near)

    def next_repeat(self, row: Mapping[str, Any]) -> int:
        """Return the number of this repeat and remember the run."""
        repeat = self._repeats.get((row["point_id"], row["source"]), 0) + 1
        self._add({**row, "repeat": repeat})
        return repeat


def _nearly(row: Mapping[str, Any]) -> tuple[str, int, int]:
    """Return a key that rows of one run have in common, but for the duration, which may be off by one."""
    return row["source"], row["effective_num_requests"], round(min(row["bench_s"], MOST_SECONDS) * 100)


def _same(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two rows are of one run: nothing that both state differs, settings exactly, figures as printed."""
    serving = Bench.SERVE in (row["bench"], other["bench"])
    if abs(row["bench_s"] - other["bench_s"]) > (_HUNDREDTHS if serving else _MICROSECOND):
        return False
    settings = SETTINGS if row["backend"] == other["backend"] == IMPORT else ()  # one of ours has what was asked for
    off = _HUNDREDTHS if serving else _PRINTED
    return all(
        row[name] is None or other[name] is None or _equal(row[name], other[name], off)
        for name in (*_STATED, *settings, *_MEASURED)
    )


def _equal(one: Any, other: Any, off: float) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= off + 1e-9 * abs(one)
    return bool(one == other)


def _failure(row: Mapping[str, Any]) -> tuple[str, str, datetime | None]:
    return row["imported_from"], row["failure_message"], row["started_at"]
