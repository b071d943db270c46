"""Which way a column is better: more of a throughput, less of a latency; of a setting neither."""

from __future__ import annotations

from sweep.errors import UsageError
from sweep.point import SETTINGS

LESS = ("gpu_hours", "price_usd_per_gpu_hour", "effective_requests_failed", "evictions", "memory_errors_uncorrected")
"""Less of them is better, and their unit does not tell it."""

NEITHER = (
    "schema_version",
    "repeat",
    "attempt",
    "draft_tokens_mean",
    "kv_cache_util_mean",
    "kv_cache_util_max",
    "step_requests_mean",
    "step_requests_max",
    "steps",
    "gpus_used",
    "gpus_held",
    "residual",
    "exit_code",
    "gpu_memory_gib",
    "sm_clock_mhz",
    "memory_clock_mhz",
    "power_capped",
)
"""Numbers of the table, beside settings and what the engine states of them, that are neither good nor bad."""


def less_is_better(metric: str) -> bool:
    """Return whether less of a column is better, as of latencies, costs and energy.

    A column that the table does not have is known by its unit; without one, more is better.

    Raises:
        UsageError: neither is, so that no sweep can be called faster by it.
    """
    if metric in LESS or "_ms_" in metric or metric.startswith("cost_"):
        return True
    if metric in SETTINGS or metric in NEITHER or metric.startswith("effective_"):
        raise UsageError(
            f"neither more nor less {metric} is better, so it cannot say which sweep is faster; choose a throughput,"
            " latency, time, cost or energy, for example output_tput_per_gpu"
        )
    return metric.endswith(("_ms", "_s", "_j", "_w_per_gpu")) and not metric.endswith(("_per_j", "_per_s"))


def is_throughput(metric: str) -> bool:
    """Return whether a column is traded for interactivity; a front of speed against itself says nothing.

    Whole words only: `output` ends with tput.
    """
    return not {"tput", "goodput", "throughput"}.isdisjoint(metric.split("_"))
