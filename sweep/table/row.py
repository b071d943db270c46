"""One attempt becomes one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sweep import __version__
from sweep.errors import nearest
from sweep.point import SETTINGS
from sweep.table.schema import ENVIRONMENT, NAMES, REQUESTS_NEEDED, SCHEMA_VERSION, STATS, Source, Status

if TYPE_CHECKING:
    from sweep.plan import Attempt, Deployment
    from sweep.report import Report

STATED: Mapping[str, str] = {  # setting: the field of Report that states it
    "model": "model",
    "gpu": "gpu_name",
    "tp": "tp",
    "pp": "pp",
    "ep": "ep",
    "max_batch_size": "max_batch_size",
    "max_num_tokens": "max_num_tokens",
    "max_seq_len": "max_seq_len",
    "scheduler_policy": "scheduler_policy",
    "kv_cache_dtype": "kv_cache_dtype",
    "kv_cache_free_gpu_mem_fraction": "kv_cache_free_gpu_mem_fraction",
    "streaming": "streaming",
    "num_requests": "num_requests",
    "isl": "isl_mean",
    "osl": "osl_mean",
}
"""All other settings are nowhere in a report: attention DP, MoE backend, requested concurrency, chunked prefill, ..."""

_NULL_IS_AN_ANSWER = frozenset({"kv_cache_dtype"})
"""A report always has it, and null states that the cache is not quantised; of the others, null states nothing."""

_PLAIN: tuple[tuple[str, Callable[[Any], Any]], ...] = tuple(
    (column, attrgetter(field))
    for column, field in {
        "effective_model": "model",
        "effective_gpu": "gpu_name",
        "effective_engine_backend": "engine_backend",
        "effective_dtype": "dtype",
        "effective_quantization": "quantization",
        "effective_kv_cache_dtype": "kv_cache_dtype",
        "effective_tp": "tp",
        "effective_pp": "pp",
        "effective_ep": "ep",
        "effective_max_batch_size": "max_batch_size",
        "effective_max_num_tokens": "max_num_tokens",
        "effective_max_seq_len": "max_seq_len",
        "effective_scheduler_policy": "scheduler_policy",
        "effective_kv_cache_free_gpu_mem_fraction": "kv_cache_free_gpu_mem_fraction",
        "effective_streaming": "streaming",
        "effective_num_requests": "num_requests",
        "effective_concurrency_mean": "concurrency_mean",
        "effective_isl_mean": "isl_mean",
        "effective_isl_min": "isl.min",
        "effective_isl_max": "isl.max",
        "effective_osl_mean": "osl_mean",
        "effective_osl_min": "osl.min",
        "effective_osl_max": "osl.max",
        "request_tput_rps": "request_tput_rps",
        "output_tput_tps": "output_tput_tps",
        "total_tput_tps": "total_tput_tps",
        "tps_per_user": "tps_per_user",
        "tps_per_user_e2e": "tps_per_user_e2e",
        "bench_s": "duration_s",
        "trtllm_version": "version",
        "gpu_name": "gpu_name",
        "gpu_memory_gib": "gpu_memory_gib",
    }.items()
)

_EMPTY: Mapping[str, Any] = dict.fromkeys(NAMES)


def make_row(
    *,
    sweep_id: str,
    deployment: Deployment,
    attempt: Attempt,
    status: Status,
    source: Source,
    backend: str,
    started_at: datetime,
    ended_at: datetime,
    report: Report | None,
    environment: Mapping[str, Any],
    failure_kind: str | None = None,
    failure_message: str | None = None,
    exit_code: int | None = None,
    config_hash: str | None = None,
    log_path: str | None = None,
) -> dict[str, Any]:
    """Return the row of one attempt, with every column.

    Where no attempt was made (skipped, infeasible), `attempt` is 0. What the environment gives stands before what
    follows from the report, for example `bench_s`. A P99 of fewer than 100 requests and a P95 of fewer than 20 are
    null: by nearest rank they are the maximum.

    Args:
        started_at, ended_at: with a time zone.
        environment: provenance, times, power and prediction; the names are columns (`schema.ENVIRONMENT`).

    Raises:
        ValueError: the environment names what is no such column, or a time has no zone. Both are mistakes in a backend.
    """
    for name in environment:
        if name not in ENVIRONMENT:
            raise ValueError(f"environment: {name} is no column that a backend may give{nearest(name, ENVIRONMENT)}")
    if started_at.tzinfo is None or ended_at.tzinfo is None:
        raise ValueError(f"started_at and ended_at need a time zone: {started_at}, {ended_at}")
    point = attempt.point
    row = dict(_EMPTY)
    for name in SETTINGS:
        value = getattr(point, name)
        row[name] = value.value if isinstance(value, StrEnum) else value
    if report is not None:
        _add_report(row, report)
    row["sweep_version"] = __version__
    row.update(environment)
    row.update(
        schema_version=SCHEMA_VERSION,
        sweep_id=sweep_id,
        point_id=attempt.point_id,
        engine_id=point.engine_id,
        deployment_id=deployment.deployment_id,
        repeat=attempt.repeat,
        attempt=0 if status in (Status.SKIPPED, Status.INFEASIBLE) else attempt.number,
        status=status.value,
        source=source.value,
        backend=backend,
        started_at=started_at,
        ended_at=ended_at,
        gpus_used=point.gpus,
        gpus_held=deployment.gpus_held,
        failure_kind=failure_kind,
        failure_message=failure_message,
        exit_code=exit_code,
        config_hash=config_hash or row["config_hash"],
        log_path=log_path,
    )
    _add_derived(row, Source(source))
    return row


def _add_report(row: dict[str, Any], report: Report) -> None:
    for column, read in _PLAIN:
        row[column] = read(report)
    requests = report.num_requests
    kept = [stat for stat in STATS if requests >= REQUESTS_NEEDED.get(stat, 0)]
    for column, distribution in (
        ("tps_per_user", report.tps_per_user_distribution),
        ("ttft_ms", report.ttft_ms),
        ("tpot_ms", report.tpot_ms),
        ("e2el_ms", report.e2el_ms),
    ):
        if distribution is not None:
            for stat in kept:
                if (name := f"{column}_{stat}") in row:  # the mean of tps_per_user is tps_per_user itself
                    row[name] = getattr(distribution, stat)
    for column in ("draft_tokens", "accepted_draft_tokens", "draft_acceptance_rate", "acceptance_length"):
        if (distribution := getattr(report, column)) is not None:
            row[f"{column}_mean"] = distribution.mean
    if report.memory_clock_ghz is not None:
        row["memory_clock_mhz"] = report.memory_clock_ghz * 1e3
    stated = {
        name for name, field in STATED.items() if name in _NULL_IS_AN_ANSWER or getattr(report, field) is not None
    }
    row["unverified_settings"] = ",".join(n for n in SETTINGS if n not in stated and row[n] is not None)


def _add_derived(row: dict[str, Any], source: Source) -> None:
    """Fill what follows from other columns. Simulated rows hold no GPU, so they have neither GPU-hours nor cost."""
    output, price = row["output_tput_tps"], row["price_usd_per_gpu_hour"]
    if output is not None:
        row["output_tput_per_gpu"] = output / row["gpus_used"]
        row["tput_per_gpu"] = row["total_tput_tps"] / row["gpus_used"]
    if source is Source.MEASURED:
        held_s = (row["ended_at"] - row["started_at"]).total_seconds()
        row["gpu_hours"] = row["gpus_held"] * held_s / 3600
        if price is not None:
            row["cost_usd"] = row["gpu_hours"] * price
        if output is not None and row["predicted_output_tput_tps"]:
            row["residual"] = output / row["predicted_output_tput_tps"] - 1
    if price is not None and output:
        row["cost_usd_per_million_output_tokens"] = price * row["gpus_held"] / 3600 / output * 1e6
