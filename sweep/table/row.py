"""One attempt becomes one row."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sweep import __version__
from sweep.errors import nearest
from sweep.point import SETTINGS, identity
from sweep.report.value import utf8
from sweep.table.schema import (
    COLUMNS,
    ENVIRONMENT,
    NAMES,
    REQUESTS_NEEDED,
    SCHEMA_VERSION,
    STATS,
    Group,
    Source,
    Status,
    Type,
    is_of,
)
from sweep.table.storable import shown

if TYPE_CHECKING:
    from sweep.plan import Attempt, Deployment
    from sweep.report import Iterations, Report

IMPORT = "import"
"""The backend of rows that `python -m sweep import` made."""

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
        "effective_requests_failed": "requests_failed",
        "effective_concurrency": "concurrency",
        "effective_concurrency_mean": "concurrency_mean",
        "effective_isl_mean": "isl_mean",
        "effective_osl_mean": "osl_mean",
        "request_tput_rps": "request_tput_rps",
        "request_goodput_rps": "request_goodput_rps",
        "output_tput_tps": "output_tput_tps",
        "total_tput_tps": "total_tput_tps",
        "tps_per_user": "tps_per_user",
        "tps_per_user_e2e": "tps_per_user_e2e",
        "bench_s": "duration_s",
        "trtllm_version": "version",
        "gpu_name": "gpu_name",
        "gpu_memory_gib": "gpu_memory_gib",
        "output_tput_per_gpu": "output_tput_per_gpu",
        "energy_j": "energy_j",
        "power_w_per_gpu": "power_w_per_gpu",
        "output_tokens_per_j": "output_tokens_per_j",
    }.items()
)

_EMPTY: Mapping[str, Any] = dict.fromkeys(NAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended. `report` is there where status is ok or invalid."""

    status: Status
    report: Report | None = None
    iterations: Iterations | None = None
    unverified: tuple[str, ...] = ()
    failure_kind: str | None = None
    failure_message: str | None = None
    exit_code: int | None = None


def make_row(
    *,
    sweep_id: str,
    deployment: Deployment | None,
    attempt: Attempt,
    outcome: Outcome,
    source: Source,
    backend: str,
    started_at: datetime,
    ended_at: datetime,
    environment: Mapping[str, Any],
    config_hash: str | None = None,
    log_path: str | None = None,
) -> dict[str, Any]:
    """Return the row of one attempt, with every column.

    Where no attempt was made (skipped, infeasible), `attempt` is 0. What the environment gives stands before what
    follows from the report, for example `bench_s`. A P99 of fewer than 100 requests and a P95 of fewer than 20 are
    null: by nearest rank they are the maximum.

    Args:
        deployment: None where none was made for it.
        started_at, ended_at: with a time zone.
        environment: provenance, times, power and prediction; the names are columns (`schema.ENVIRONMENT`).

    Raises:
        ValueError: the environment names what is no such column or has no value of its type, or a time has no zone or
            is out of reach; all are mistakes in a backend.
    """
    for name, value in environment.items():
        if name not in ENVIRONMENT:
            raise ValueError(f"environment: {name} is no column that a backend may give{nearest(name, ENVIRONMENT)}")
        if not is_of(ENVIRONMENT[name], value):
            raise ValueError(f"environment: {name} is {shown(value)}, which is not a usable {ENVIRONMENT[name]}")
    if started_at.tzinfo is None or ended_at.tzinfo is None:
        raise ValueError(f"started_at and ended_at need a time zone: {started_at}, {ended_at}")
    if not (is_of(Type.TIME, started_at) and is_of(Type.TIME, ended_at)):
        raise ValueError(f"started_at and ended_at are not usable times: {started_at}, {ended_at}")
    point = attempt.point
    row = _row_of({name: getattr(point, name) for name in SETTINGS}, outcome, environment)
    row.update(
        sweep_id=sweep_id,
        point_id=attempt.point_id,
        engine_id=point.engine_id,
        deployment_id=None if deployment is None else deployment.deployment_id,
        repeat=attempt.repeat,
        attempt=0 if outcome.status in (Status.SKIPPED, Status.INFEASIBLE) else attempt.number,
        source=source.value,
        backend=backend,
        started_at=started_at,
        ended_at=ended_at,
        gpus_used=point.gpus,
        gpus_held=None if deployment is None else deployment.gpus_held,
        config_hash=config_hash or row["config_hash"],
        log_path=log_path,
    )
    _add_derived(row, Source(source))
    return row


def imported_row(
    *,
    settings: Mapping[str, Any],
    outcome: Outcome,
    source: Source,
    environment: Mapping[str, Any],
    sweep_id: str | None = None,
    repeat: int = 1,
    log_path: str | None = None,
    started_at: datetime | None = None,
    ended_at: datetime | None = None,
) -> dict[str, Any]:
    """Return the row of a run that was not ours, with every column; what nobody said of it is null.

    Its `point_id` is the hash over the settings that are known, so the same settings give the same point.
    """
    known = {name: value for name, value in settings.items() if value is not None}
    row = _row_of(settings, outcome, environment)
    tp, pp = known.get("tp"), known.get("pp")
    row.update(
        sweep_id=sweep_id,
        point_id=identity(known),
        engine_id=identity({name: value for name, value in known.items() if SETTINGS[name].engine}),
        repeat=repeat,
        attempt=1,
        source=source.value,
        backend=IMPORT,
        gpus_used=tp * pp if tp and pp else None,
        log_path=log_path,
        started_at=started_at,
        ended_at=ended_at,
    )
    _add_derived(row, source)
    return row


def remade_row(
    before: Mapping[str, Any],
    *,
    settings: Mapping[str, Any],
    outcome: Outcome,
    environment: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a row made again from its evidence; what the evidence does not say is as before."""
    row = _row_of(settings, outcome, environment)
    for name in _KEPT:
        if row[name] is None:
            row[name] = before[name]
    _add_derived(row, Source(before["source"]))
    return row


_PREDICTION = tuple(c.name for c in COLUMNS if c.group is Group.PREDICTION and c.name != "residual")
_KEPT = (
    *("sweep_id", "point_id", "engine_id", "deployment_id", "repeat", "attempt", "source", "backend"),
    *("started_at", "ended_at", "gpus_used", "gpus_held", "config_hash", "log_path", "imported_from", "node"),
    *("price_usd_per_gpu_hour", *_PREDICTION),
    *("steps", "steps_over_time", "kv_cache_util_mean", "kv_cache_util_max", "step_requests_mean", "step_requests_max"),
)
"""What no evidence says."""


def _row_of(settings: Mapping[str, Any], outcome: Outcome, environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return what every row has, whoever ran it."""
    row = dict(_EMPTY)
    for name, value in settings.items():
        row[name] = value.value if isinstance(value, StrEnum) else value
    if outcome.report is not None:
        _add_report(row, outcome.report)
        row["unverified_settings"] = ",".join(outcome.unverified)
    if outcome.iterations is not None:
        _add_iterations(row, outcome.iterations)
    row["sweep_version"] = __version__
    row.update(environment)
    if outcome.report is not None and outcome.report.version is not None:
        row["trtllm_version"] = outcome.report.version  # of the number, whatever else is installed
    row.update(
        schema_version=SCHEMA_VERSION,
        status=outcome.status.value,
        failure_kind=outcome.failure_kind,
        failure_message=None if outcome.failure_message is None else utf8(outcome.failure_message),
        exit_code=outcome.exit_code,
    )
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
        ("itl_ms", report.itl_ms),
        ("e2el_ms", report.e2el_ms),
    ):
        if distribution is not None:
            for stat in kept:
                if (name := f"{column}_{stat}") in row:  # the mean of tps_per_user is tps_per_user itself
                    row[name] = getattr(distribution, stat)
    for column, distribution in (("isl", report.isl), ("osl", report.osl)):
        if distribution is not None:
            row[f"effective_{column}_min"], row[f"effective_{column}_max"] = distribution.min, distribution.max
    for column in ("draft_tokens", "accepted_draft_tokens", "draft_acceptance_rate", "acceptance_length"):
        if (distribution := getattr(report, column)) is not None:
            row[f"{column}_mean"] = distribution.mean
    if report.memory_clock_ghz is not None:
        row["memory_clock_mhz"] = report.memory_clock_ghz * 1e3
    if report.extra:
        row["report_extra"] = json.dumps({name: _as_json(value) for name, value in report.extra.items()})


def _as_json(value: float | str) -> float | str:
    """Return a value that JSON can hold and that others can read: NaN, infinity and longer integers become strings."""
    return value if isinstance(value, (str, bool)) or abs(value) <= sys.float_info.max else str(value)


def _add_iterations(row: dict[str, Any], steps: Iterations) -> None:
    row["steps"] = steps.steps
    for name in ("kv_cache_util_mean", "kv_cache_util_max", "step_requests_mean", "step_requests_max"):
        row[name] = getattr(steps, name)
    series = {"kv_cache_util": steps.kv_cache_util_series, "step_requests": steps.step_requests_series}
    row["steps_over_time"] = json.dumps(series)


def _add_derived(row: dict[str, Any], source: Source) -> None:
    """Fill what follows from other columns. Simulated rows hold no GPU, so they have neither GPU-hours nor cost."""
    output, total, price, held = (
        row[name] for name in ("output_tput_tps", "total_tput_tps", "price_usd_per_gpu_hour", "gpus_held")
    )
    if row["gpus_used"]:
        row["output_tput_per_gpu"] = None if output is None else output / row["gpus_used"]
        row["tput_per_gpu"] = None if total is None else total / row["gpus_used"]
    if source is Source.MEASURED:
        if row["started_at"] is not None and held is not None:
            row["gpu_hours"] = held * (row["ended_at"] - row["started_at"]).total_seconds() / 3600
            row["cost_usd"] = None if price is None else row["gpu_hours"] * price
        if output is not None and row["predicted_output_tput_tps"]:
            row["residual"] = output / row["predicted_output_tput_tps"] - 1
        if output and row["bench_s"] and row["energy_j"] and row["output_tokens_per_j"] is None:
            row["output_tokens_per_j"] = output * row["bench_s"] / row["energy_j"]
    if price is not None and output and held is not None:
        row["cost_usd_per_million_output_tokens"] = price * held / 3600 / output * 1e6
