"""Two accounts of one run, held against each other: JSON and text, or a report and its per-request records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from enum import Enum
from typing import Any

from sweep.report.value import DISTRIBUTIONS, Report, Tool

_STATS = ("mean", "p50", "p90", "p95", "p99", "min", "max")
_NOT_COMPARED = frozenset({"extra", "tool", "dataset_path", "engine_dir", "requests_failed", *DISTRIBUTIONS})
_HALF_DIGIT = 0.51
"""A printed number is off by half of its last digit; ties can round either way."""
_DECIMALS = {  # of the printed report, where it is not 4
    "duration_s": 7,  # 4 of a millisecond
    "kv_cache_free_gpu_mem_fraction": 4,  # 2 of a percent
    "gpu_memory_gib": 2,
    "memory_clock_ghz": 2,
    "draft_tokens": 2,
    "accepted_draft_tokens": 2,
    "draft_acceptance_rate": 2,
    "acceptance_length": 2,
}
_THREE_DIGITS_FROM = 99_999.5
"""From here on the dataset's numbers are printed as 1.31e+05."""


class Precision(Enum):
    """How exactly two accounts must agree."""

    EXACT = "but for floating point"
    PRINTED = "to the printed digits"


def disagreements(one: Report, other: Report, precision: Precision) -> Iterator[str]:
    """Yield each figure that both accounts state and that differs by more than `precision` allows.

    The example: `output_tput_tps: 6168.047 and 6186.047`.
    """
    for f in fields(Report):
        a, b = getattr(one, f.name), getattr(other, f.name)
        if f.name not in _NOT_COMPARED and a is not None and b is not None and _differ(f.name, a, b, precision, one):
            yield f"{f.name}: {a} and {b}"
    for name in DISTRIBUTIONS:
        first, second = getattr(one, name), getattr(other, name)
        if first is None or second is None:
            continue
        for stat in _STATS:
            a, b = getattr(first, stat), getattr(second, stat)
            if a is not None and b is not None and _differ(name, a, b, precision, one):
                yield f"{name} {stat}: {a} and {b}"


def _differ(name: str, a: Any, b: Any, precision: Precision, report: Report) -> bool:
    if not isinstance(a, float) and not isinstance(b, float):
        return bool(a != b)
    allowed = 1e-9 * max(abs(a), abs(b), 1e-9)
    if precision is Precision.PRINTED:
        serving = report.tool is Tool.BENCHMARK_SERVING and name not in ("isl_mean", "osl_mean")
        allowed += _HALF_DIGIT * 10.0 ** -(2 if serving else _DECIMALS.get(name, 4))
        if name in ("isl", "osl", "seq_len") and max(a, b) >= _THREE_DIGITS_FROM:
            allowed += 5.1e-3 * max(a, b)
    return bool(abs(a - b) > allowed)
