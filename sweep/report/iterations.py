"""What the engine said of its steps becomes a compact summary: KV use and batch size over the run.

Two sources, of which a run has one or none: the file of `--iteration_log`, one line a step, a Python dict or JSON (keys
of the C++ IterationStats); and the lines that `print_iter_log: true` puts into the log, whose fields differ in order
and in `=` or `:` between versions.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_BUCKETS = 32
"""Buckets of the series over time; when they are full, neighbours are merged."""

TOO_MUCH = 1e15
"""No figure of a step is as large: it is damage, and sums of such would overflow."""

STEP = b"iter = "
"""What a line of print_iter_log has in it."""

_SCHEDULED = re.compile(rb"num_scheduled_requests\s*[:=]\s*(\d+)")
_KV = re.compile(rb"kv_cache_util\s*[:=]\s*([\d.]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Iterations:
    """A run's steps, of rank 0.

    kv_cache_util: share of the KV cache's blocks in use, 0 to 1; step_requests: requests in one step. Each as mean, as
    maximum and as means over up to 32 equally long stretches of the run, the first one first.
    """

    steps: int
    kv_cache_util_mean: float | None
    kv_cache_util_max: float | None
    kv_cache_util_series: tuple[float, ...]
    step_requests_mean: float | None
    step_requests_max: float | None
    step_requests_series: tuple[float, ...]


class _Series:
    """Mean, maximum and a few means over time of a stream of unknown length, in bounded memory."""

    def __init__(self) -> None:
        self.count, self.total, self.most = 0, 0.0, 0.0
        self._width, self._buckets = 1, [(0, 0.0)]  # (values, their sum)

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.most = max(self.most, value)
        if self._buckets[-1][0] == self._width:
            if len(self._buckets) == MOST_BUCKETS:
                pairs = zip(self._buckets[::2], self._buckets[1::2], strict=True)
                self._buckets = [(a + c, b + d) for (a, b), (c, d) in pairs]
                self._width *= 2
            self._buckets.append((0, 0.0))
        values, total = self._buckets[-1]
        self._buckets[-1] = (values + 1, total + value)

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None

    @property
    def series(self) -> tuple[float, ...]:
        return tuple(round(total / values, 4) for values, total in self._buckets if values)


class StepReader:
    """Takes the steps of one run, one by one."""

    def __init__(self) -> None:
        self._kv, self._requests, self._steps = _Series(), _Series(), 0

    def clear(self) -> None:
        """Forget what came: another run begins."""
        self.__init__()  # type: ignore[misc]

    def printed(self, line: bytes) -> None:
        """Take a line of print_iter_log."""
        scheduled, kv = _SCHEDULED.search(line), _KV.search(line)
        if scheduled or kv:
            self._add(_float(scheduled[1]) if scheduled else None, _float(kv[1]) if kv else None)

    def logged(self, line: str) -> bool:
        """Take a line of --iteration_log; return whether it is one."""
        stats = _decode(line)
        if stats is None or not ("iter" in stats and ("kvCacheStats" in stats or "iterLatencyMS" in stats)):
            return False
        used, most = _number(stats, "kvCacheStats", "usedNumBlocks"), _number(stats, "kvCacheStats", "maxNumBlocks")
        scheduled = _number(stats, "inflightBatchingStats", "numScheduledRequests")
        if scheduled is None:
            scheduled = _number({"": stats}, "", "numActiveRequests")
        self._add(scheduled, used / most if used is not None and most else None)
        return True

    def _add(self, requests: float | None, kv: float | None) -> None:
        self._steps += 1
        if requests is not None:
            self._requests.add(requests)
        if kv is not None:
            self._kv.add(kv)

    def summary(self) -> Iterations | None:
        """Return the summary; None if no step came."""
        if not self._steps:
            return None
        return Iterations(
            steps=self._steps,
            kv_cache_util_mean=self._kv.mean,
            kv_cache_util_max=self._kv.most if self._kv.count else None,
            kv_cache_util_series=self._kv.series,
            step_requests_mean=self._requests.mean,
            step_requests_max=self._requests.most if self._requests.count else None,
            step_requests_series=self._requests.series,
        )


def _decode(line: str) -> Mapping[str, Any] | None:
    try:
        stats = json.loads(line)
    except (ValueError, RecursionError):
        try:
            stats = ast.literal_eval(line.strip())  # a Python dict: single quotes, None, True
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return None
    return stats if isinstance(stats, dict) else None


def _number(stats: Mapping[str, Any], block: str, key: str) -> float | None:
    inner = stats.get(block)
    value = inner.get(key) if isinstance(inner, Mapping) else None
    plain = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < TOO_MUCH
    return value if plain else None


def _float(text: bytes) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value < TOO_MUCH else None
