"""The columns of the results table: names, types, units, meaning; and the Arrow schema made from them.

This is the one place that says what a row holds. The Parquet schema, the checks of a row, results/README.md and the
help of the command line are made from COLUMNS. Columns that are settings come from `point.SETTINGS`.

A column may be added without a new SCHEMA_VERSION: in older parts it is null. A column that is renamed, or that changes
its type, unit or meaning, needs a new version and a line in the list below, so that `load` can read older parts.

    1   first version
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sweep.point import SETTINGS, Setting

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
VERSION_KEY = b"sweep.schema_version"
"""Key of the version in the metadata of a part's schema."""

STATS = ("mean", "p50", "p90", "p95", "p99", "min", "max")
"""What is kept of a distribution; also the fields of `report.Distribution`."""

REQUESTS_NEEDED: Mapping[str, int] = {"p95": 20, "p99": 100}
"""Percentiles are nearest-rank (sorted[int(n * p)]): with fewer requests they are the maximum, so they are null."""


class Status(StrEnum):
    """How an attempt ended."""

    OK = "ok"
    INVALID = "invalid"
    FAILED = "failed"
    SKIPPED = "skipped"
    INFEASIBLE = "infeasible"


STATUSES: Mapping[Status, str] = {
    Status.OK: "measured (or simulated), and the report passed every rule of the gate",
    Status.INVALID: "there is a report, but it is not of this point or not to be trusted: do not use its metrics",
    Status.FAILED: "the attempt ended without a report; failure_kind and failure_message say why",
    Status.SKIPPED: "not attempted, because of a budget, a deadline or earlier failures (attempt 0)",
    Status.INFEASIBLE: "not attempted, because it cannot run, for example for lack of memory (attempt 0)",
}


class Source(StrEnum):
    """Where the numbers of a row come from."""

    MEASURED = "measured"
    SIMULATED = "simulated"


class Type(StrEnum):
    """Types of columns, in Arrow's words."""

    STRING = "string"
    INTEGER = "int64"
    DOUBLE = "double"
    BOOL = "bool"
    TIME = "timestamp[us, tz=UTC]"


class Group(StrEnum):
    """What a column is about; the sections of results/README.md, in this order."""

    IDENTITY = "identity"
    SETTING = "setting"
    EFFECTIVE = "effective"
    METRIC = "metric"
    TIME = "time"
    COST = "cost"
    POWER = "power"
    PREDICTION = "prediction"
    FAILURE = "failure"
    PROVENANCE = "provenance"


LEAST_INTEGER, MOST_INTEGER = -(2**63), 2**63 - 1
MOST_EXACT = 2**53
"""Up to here a double holds every integer exactly; Arrow refuses to make one of any other."""
FIRST_YEAR, LAST_YEAR = 1970, 2261
"""Local years of a time that can be used: nanoseconds since 1970 end in 2262, and time arithmetic has room on both
sides."""


def columns_of(environment: Mapping[str, Any], names: Iterable[str] | None = None) -> dict[str, Any]:
    """Return the columns that an env.json states, in the columns' types.

    names: the columns that it may state; STATED by default.

    Anything else is ignored, so that an env.json of a newer sweep can be read: other names, values of another type or
    outside its range. None of these numbers can be negative.
    """
    allowed = STATED if names is None else names
    columns = {name: _typed(ENVIRONMENT[name], environment[name]) for name in allowed if name in environment}
    return {name: value for name, value in columns.items() if value is not None}


def _typed(kind: Type, value: Any) -> Any:
    if kind is Type.TIME and isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = datetime.fromisoformat(value)
    elif kind is Type.DOUBLE and type(value) is int and abs(value) <= sys.float_info.max:
        value = float(value)
    if not is_of(kind, value) or (isinstance(value, (int, float)) and value < 0):
        return None
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def is_of(kind: Type, value: Any) -> bool:
    """Return whether a column of this type can hold a value, in its range too; every column can hold null.

    Integers have 64 bits, doubles are finite, strings are valid Unicode (UTF-8 has no half surrogates), a time has a
    zone and lies in a year that can be used.
    """
    if value is None:
        return True
    if isinstance(value, bool):
        return kind is Type.BOOL
    match kind:
        case Type.STRING:
            return isinstance(value, str) and _is_unicode(value)
        case Type.INTEGER:
            return isinstance(value, int) and LEAST_INTEGER <= value <= MOST_INTEGER
        case Type.DOUBLE:
            if isinstance(value, int):
                return -MOST_EXACT <= value <= MOST_EXACT
            return isinstance(value, float) and -sys.float_info.max <= value <= sys.float_info.max
        case Type.TIME:
            return isinstance(value, datetime) and value.tzinfo is not None and FIRST_YEAR <= value.year <= LAST_YEAR
    return False


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table."""

    name: str
    type: Type
    unit: str
    meaning: str
    group: Group


def _identity() -> Iterator[Column]:
    for name, kind, meaning in (
        ("schema_version", Type.INTEGER, "version of the table's schema that wrote the row"),
        ("sweep_id", Type.STRING, "the sweep: random, made once, kept in sweep.json"),
        ("point_id", Type.STRING, "the point: hash over every setting that can change the number"),
        ("engine_id", Type.STRING, "the engine: hash over what one loaded engine fixes"),
        ("deployment_id", Type.STRING, "the start on one set of GPUs that measured the point"),
        ("repeat", Type.INTEGER, "which independent measurement of the point, from 1"),
        ("attempt", Type.INTEGER, "which try at this repeat, from 1; 0 where none was made"),
        ("status", Type.STRING, "how the attempt ended: " + ", ".join(Status)),
        ("source", Type.STRING, "where the numbers come from: " + " or ".join(Source)),
        ("backend", Type.STRING, "what ran it: simulated, local, gke; import where a person did"),
        (
            "started_at",
            Type.TIME,
            "begin of the attempt; the first of a deployment begins when it got its GPUs, and the first after an"
            " eviction by so much earlier as the evicted pod had held them for no row",
        ),
        ("ended_at", Type.TIME, "end of the attempt; both are null where nobody knows, in imported rows"),
    ):
        yield Column(name, kind, "", meaning, Group.IDENTITY)


def _setting_type(setting: Setting) -> Type:
    return {bool: Type.BOOL, int: Type.INTEGER, float: Type.DOUBLE}.get(setting.type, Type.STRING)


def _settings() -> Iterator[Column]:
    for setting in SETTINGS.values():
        yield Column(setting.name, _setting_type(setting), setting.unit, setting.meaning, Group.SETTING)


def _effective() -> Iterator[Column]:
    for name, kind, unit, meaning in (
        ("model", Type.STRING, "", "model that the report names"),
        ("gpu", Type.STRING, "", "first GPU that the report names; null before TensorRT-LLM 1.2.0rc3"),
        ("engine_backend", Type.STRING, "", "runtime of TensorRT-LLM: Pytorch or TRT"),
        ("dtype", Type.STRING, "", "dtype of the activations"),
        ("quantization", Type.STRING, "", "quantisation of the weights, in TensorRT-LLM's words"),
        ("kv_cache_dtype", Type.STRING, "", "dtype of the KV cache in TensorRT-LLM's words; null where none is pinned"),
        ("tp", Type.INTEGER, "GPUs", "tensor parallelism given on the command line of the bench"),
        ("pp", Type.INTEGER, "GPUs", "pipeline parallelism given on the command line of the bench"),
        ("ep", Type.INTEGER, "GPUs", "expert parallelism; null where the command line gave none"),
        ("max_batch_size", Type.INTEGER, "requests", "requests in one step"),
        ("max_num_tokens", Type.INTEGER, "tokens", "tokens in one step"),
        ("max_seq_len", Type.INTEGER, "tokens", "longest sequence; only engines of the TRT runtime state it"),
        ("scheduler_policy", Type.STRING, "", "how requests were admitted, in TensorRT-LLM's words"),
        (
            "kv_cache_free_gpu_mem_fraction",
            Type.DOUBLE,
            "",
            "share of the free GPU memory that the KV cache took; null where the engine YAML has another say",
        ),
        ("streaming", Type.BOOL, "", "whether tokens were streamed"),
        ("num_requests", Type.INTEGER, "requests", "requests that were measured"),
        (
            "requests_failed",
            Type.INTEGER,
            "requests",
            "requests without a success; trtllm-bench does not say it, it ends at the first",
        ),
        ("concurrency", Type.INTEGER, "requests", "requests in flight at most; only bench=serve states it"),
        (
            "concurrency_mean",
            Type.DOUBLE,
            "requests",
            "mean requests in flight; below the setting by ramp-up and -down",
        ),
        ("isl_mean", Type.DOUBLE, "tokens", "mean input length of the measured requests"),
        ("isl_min", Type.DOUBLE, "tokens", "shortest input of the dataset"),
        ("isl_max", Type.DOUBLE, "tokens", "longest input of the dataset"),
        ("osl_mean", Type.DOUBLE, "tokens", "mean output length of the measured requests"),
        ("osl_min", Type.DOUBLE, "tokens", "shortest output of the dataset"),
        ("osl_max", Type.DOUBLE, "tokens", "longest output of the dataset"),
    ):
        yield Column(f"effective_{name}", kind, unit, meaning, Group.EFFECTIVE)
    meaning = (
        "comma-separated settings that neither the report nor the engine's dump of its arguments proves: TP, EP and"
        " batch limits in a report only echo the command line, and `trtllm-bench latency` sets batch limits and"
        " chunking itself"
    )
    yield Column("unverified_settings", Type.STRING, "", meaning, Group.EFFECTIVE)


_STAT_MEANING = {
    "mean": "mean over requests",
    "p50": "median over requests",
    "p90": "90th percentile",
    "p95": "95th percentile; null below 20 requests: it is at most the maximum",
    "p99": "99th percentile; null below 100 requests: it is at most the maximum",
    "min": "smallest of all requests",
    "max": "largest of all requests",
}


def _metrics() -> Iterator[Column]:
    per_gpu, per_user = "tokens/s/GPU", "tokens/s/user"
    for name, unit, meaning in (
        ("request_tput_rps", "requests/s", "requests over the time from the first start to the last end"),
        ("request_goodput_rps", "requests/s", "the same of requests within the latencies asked for; bench=serve only"),
        ("output_tput_tps", "tokens/s", "output tokens over the time from the first start to the last end"),
        ("total_tput_tps", "tokens/s", "input and output tokens over the same time"),
        ("output_tput_per_gpu", per_gpu, "output_tput_tps / gpus_used"),
        ("tput_per_gpu", per_gpu, "total_tput_tps / gpus_used"),
        ("tps_per_user", per_user, "speed that a user sees after the first token: mean of 1/TPOT; streaming only"),
        ("tps_per_user_e2e", per_user, "mean of OSL over end-to-end latency, so with the prefill in it"),
    ):
        yield Column(name, Type.DOUBLE, unit, meaning, Group.METRIC)
    for name, unit, what, only in (
        ("tps_per_user", per_user, "1/TPOT", "streaming only"),
        ("ttft_ms", "ms", "time to first token", "streaming only"),
        ("tpot_ms", "ms", "time per output token after the first, (E2E - TTFT) / (OSL - 1)", "streaming only"),
        ("itl_ms", "ms", "time between two tokens", "bench=serve only; trtllm-bench does not report it"),
        ("e2el_ms", "ms", "end-to-end latency", ""),
    ):
        for stat in STATS:
            if (name, stat) != ("tps_per_user", "mean"):  # that is tps_per_user itself
                meaning = f"{what}: {_STAT_MEANING[stat]}" + (f"; {only}" if only else "")
                yield Column(f"{name}_{stat}", Type.DOUBLE, unit, meaning, Group.METRIC)
    for name, unit, meaning in (
        ("draft_tokens_mean", "tokens", "tokens drafted per request, mean; speculative decoding only"),
        ("accepted_draft_tokens_mean", "tokens", "drafted tokens that were accepted per request, mean"),
        ("draft_acceptance_rate_mean", "", "accepted over drafted tokens, mean over requests"),
        ("acceptance_length_mean", "tokens", "tokens per step of one request, mean; 1 is no gain"),
        ("kv_cache_util_mean", "", "share of the KV cache's blocks in use, mean over the engine's steps"),
        ("kv_cache_util_max", "", "largest share of the KV cache's blocks in use"),
        ("step_requests_mean", "requests", "requests in one step of the engine, mean over steps"),
        ("step_requests_max", "requests", "most requests in one step of the engine"),
    ):
        yield Column(name, Type.DOUBLE, unit, meaning, Group.METRIC)
    meaning = "steps that the engine logged: --iteration_log, or print_iter_log in the engine YAML"
    yield Column("steps", Type.INTEGER, "", meaning, Group.METRIC)
    meaning = "JSON: kv_cache_util and step_requests as means over up to 32 equally long stretches of the run"
    yield Column("steps_over_time", Type.STRING, "", meaning, Group.METRIC)
    meaning = "JSON: what else the report said, by the name it has there"
    yield Column("report_extra", Type.STRING, "", meaning, Group.METRIC)


def _rest() -> Iterator[Column]:
    integer, double, string, boolean = Type.INTEGER, Type.DOUBLE, Type.STRING, Type.BOOL
    for name, meaning in (
        ("queued_s", "waiting for GPUs"),
        ("pull_s", "pulling the image"),
        ("download_s", "fetching weights and dataset"),
        ("load_s", "loading the engine, until it serves"),
        ("bench_s", "the measurement itself, first request to last answer"),
    ):
        start_up = "" if name == "bench_s" else "; charged to the first row of its engine start, so that sums are right"
        yield Column(name, double, "s", meaning + start_up, Group.TIME)
    for name, kind, unit, meaning, group in (
        ("gpus_used", integer, "GPUs", "tp * pp: what per-GPU metrics divide by", Group.COST),
        ("gpus_held", integer, "GPUs", "GPUs that were blocked: what cost and budget count", Group.COST),
        ("gpu_hours", double, "GPU h", "gpus_held * (ended_at - started_at); null where simulated", Group.COST),
        ("price_usd_per_gpu_hour", double, "USD/GPU h", "price that the configuration gave", Group.COST),
        ("cost_usd", double, "USD", "gpu_hours * price; null without a price and where simulated", Group.COST),
        (
            "cost_usd_per_million_output_tokens",
            double,
            "USD",
            "price of gpus_held at output_tput_tps in steady state, start-up not counted; null without a price",
            Group.COST,
        ),
        ("energy_j", double, "J", "energy of all used GPUs while measuring; null unless all were read", Group.POWER),
        ("power_w_per_gpu", double, "W/GPU", "mean power of a GPU while measuring; null unless valid", Group.POWER),
        ("output_tokens_per_j", double, "tokens/J", "output tokens over energy_j; null unless valid", Group.POWER),
        ("predicted_as", string, "", "model and quantisation of the operator database that stood for ours", None),
        ("simulator_version", string, "", "version of sweep's simulator and of the database's reader", None),
        ("db_version", string, "", "version of the operator database", None),
        ("predicted_output_tput_tps", double, "tokens/s", "what output_tput_tps was predicted to be", None),
        ("predicted_output_tput_per_gpu", double, "tokens/s/GPU", "what output_tput_per_gpu was predicted to be", None),
        ("predicted_tps_per_user", double, "tokens/s/user", "what tps_per_user was predicted to be", None),
        ("predicted_ttft_ms_p50", double, "ms", "what ttft_ms_p50 was predicted to be", None),
        ("predicted_tpot_ms_p50", double, "ms", "what tpot_ms_p50 was predicted to be", None),
        ("residual", double, "", "output_tput_tps / predicted_output_tput_tps - 1, of measured rows", None),
        ("failure_kind", string, "", "class of the failure, see below; null where the status is ok", Group.FAILURE),
        ("failure_message", string, "", "what failed, in one or a few lines", Group.FAILURE),
        ("exit_code", integer, "", "exit code of the bench", Group.FAILURE),
        ("log_path", string, "", "where the log lies", Group.FAILURE),
        ("node", string, "", "node it ran on; comma-separated where there were several", Group.PROVENANCE),
        ("zone", string, "", "zone of the cluster", Group.PROVENANCE),
        ("evictions", integer, "", "how often its queue evicted the deployment and began it anew", Group.PROVENANCE),
        ("image_digest", string, "", "digest of the image that ran", Group.PROVENANCE),
        ("trtllm_version", string, "", "version of TensorRT-LLM that the report or the image states", Group.PROVENANCE),
        ("sweep_version", string, "", "version of sweep that wrote the row", Group.PROVENANCE),
        ("driver_version", string, "", "version of the GPU driver", Group.PROVENANCE),
        ("cuda_version", string, "", "version of CUDA", Group.PROVENANCE),
        ("gpu_name", string, "", "name of the GPU as the driver says it", Group.PROVENANCE),
        ("gpu_memory_gib", double, "GiB", "memory of one GPU as the driver says it", Group.PROVENANCE),
        ("sm_clock_mhz", double, "MHz", "mean SM clock while measuring", Group.PROVENANCE),
        ("memory_clock_mhz", double, "MHz", "memory clock; the maximum where the report states it", Group.PROVENANCE),
        (
            "power_capped",
            boolean,
            "",
            "whether a software power cap was active while measuring: normal for a busy GPU, seen in sm_clock_mhz",
            Group.PROVENANCE,
        ),
        (
            "slowdown",
            string,
            "",
            "comma-separated thermal and hardware slowdowns while measuring; empty: none; such a row is invalid",
            Group.PROVENANCE,
        ),
        (
            "memory_errors_uncorrected",
            integer,
            "",
            "uncorrected memory errors while measuring; such a row is invalid",
            Group.PROVENANCE,
        ),
        ("reported_at", Type.TIME, "", "when the bench wrote its report", Group.PROVENANCE),
        ("imported_from", string, "", "file that an imported row was read from", Group.PROVENANCE),
        (
            "config_hash",
            string,
            "",
            "configs/HASH.yaml is the configuration that asked for the point",
            Group.PROVENANCE,
        ),
    ):
        yield Column(name, kind, unit, meaning, group or Group.PREDICTION)


COLUMNS: tuple[Column, ...] = (*_identity(), *_settings(), *_effective(), *_metrics(), *_rest())
NAMES: tuple[str, ...] = tuple(column.name for column in COLUMNS)
TYPES: Mapping[str, Type] = {column.name: column.type for column in COLUMNS}

STATED_BY_POD: tuple[str, ...] = (
    *("download_s", "load_s", "bench_s"),
    *("energy_j", "power_w_per_gpu"),
    *("node", "image_digest", "trtllm_version", "driver_version", "cuda_version", "gpu_name", "gpu_memory_gib"),
    *("sm_clock_mhz", "memory_clock_mhz", "power_capped", "slowdown", "memory_errors_uncorrected", "reported_at"),
)
"""Columns that a pod may state of itself: those that launchers/publish.py writes."""
STATED: tuple[str, ...] = (*STATED_BY_POD, "queued_s", "pull_s", "zone", "evictions")
"""Columns that an env.json may state: the pod's, and what the backend saw of the pod."""
PREDICTED_BY: tuple[str, ...] = ("predicted_as", "simulator_version", "db_version")
"""Columns that only a simulated run states."""

ENVIRONMENT: Mapping[str, Type] = {
    name: TYPES[name]
    for name in (
        *STATED,
        "output_tokens_per_j",
        *(column.name for column in COLUMNS if column.group is Group.PREDICTION and column.name != "residual"),
        "price_usd_per_gpu_hour",
    )
}
"""Columns that a backend may give in an event's `environment`, and the price of the configuration; their types."""

KEY = ("sweep_id", "point_id", "source", "repeat")
"""What one repeat of a point is recognised by; its last row is the one that counts."""


@functools.cache
def arrow_schema() -> pa.Schema:
    """Return the explicit schema that every part carries, with the version, units and meanings in its metadata."""
    import pyarrow as pa

    types = {
        Type.STRING: pa.string(),
        Type.INTEGER: pa.int64(),
        Type.DOUBLE: pa.float64(),
        Type.BOOL: pa.bool_(),
        Type.TIME: pa.timestamp("us", tz="UTC"),
    }
    fields = [pa.field(c.name, types[c.type], metadata={"unit": c.unit, "meaning": c.meaning}) for c in COLUMNS]
    return pa.schema(fields, metadata={VERSION_KEY: str(SCHEMA_VERSION), "pandas": pandas_metadata(NAMES)})


_PANDAS: Mapping[Type, tuple[str, str]] = {  # pandas_type, numpy_type
    Type.STRING: ("unicode", "string"),
    Type.INTEGER: ("int64", "Int64"),
    Type.DOUBLE: ("float64", "float64"),
    Type.BOOL: ("bool", "boolean"),
    Type.TIME: ("datetimetz", "datetime64[us]"),
}


def pandas_metadata(names: Iterable[str]) -> str:
    """Return the metadata by which pandas reads these columns with nullable types.

    Without them a null would turn integers into floats and booleans into objects.
    Format: https://pandas.pydata.org/docs/development/developer.html
    """
    of_name = {column.name: column for column in COLUMNS}
    columns = [
        {
            "name": name,
            "field_name": name,
            "pandas_type": _PANDAS[of_name[name].type][0],
            "numpy_type": _PANDAS[of_name[name].type][1],
            "metadata": {"timezone": "UTC"} if of_name[name].type is Type.TIME else None,
        }
        for name in names
    ]
    creator = {"library": "sweep", "version": str(SCHEMA_VERSION)}
    return json.dumps(
        {
            "index_columns": [],
            "column_indexes": [],
            "columns": columns,
            "creator": creator,
            "pandas_version": "2.2.3",
        }
    )
