"""`--request_json`: one record per request, from which every metric follows; they are computed here again.

Times are nanoseconds of a monotonic clock. The rules are trtllm-bench's: percentiles are sorted[int(n * p)], the time
of the run is from the first start to the last end. Exists from 1.0 on, for `throughput` only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sweep.errors import ReportError
from sweep.report.value import Distribution, Report

_KEYS = (
    *("num_input_tokens", "num_total_output_tokens", "start_timestamp", "first_token_timestamp", "end_timestamp"),
    *("decode_iteration",),
)
LONGEST_NS = 10**18


def are_records(said: Any) -> bool:
    """Tell per-request records by the keys of the first one."""
    return isinstance(said, list) and bool(said) and isinstance(said[0], Mapping) and set(_KEYS[:5]) <= said[0].keys()


def parse_requests(said: Sequence[Mapping[str, Any]]) -> Report:
    """Return the report that follows from the records; of settings it knows nothing.

    Raises:
        ReportError: a record lacks a number, or its times run backwards.
    """
    if not are_records(said):
        raise ReportError("these are no per-request records")
    records = [_record(record, number) for number, record in enumerate(said)]
    inputs, outputs, starts, firsts, ends, steps = zip(*records, strict=True)
    streaming = all(first >= 0 for first in firsts)
    n, total_ns = len(records), max(ends) - min(starts)
    if total_ns <= 0:
        raise ReportError("the per-request records cover no time")
    e2el = [end - start for start, end in zip(starts, ends, strict=True)]
    failed = sum(1 for record in said if record.get("error_tokens") or not record["num_total_output_tokens"])
    tokens_in, tokens_out = sum(inputs), sum(outputs)
    lengths = [tokens / (step + 1) for tokens, step in zip(outputs, steps, strict=True)]
    ttft = tpot = speed = None
    if streaming:
        ttft = [first - start for start, first in zip(starts, firsts, strict=True)]
        decoding = [end - first for first, end in zip(firsts, ends, strict=True)]
        tpot = [ns / (tokens - 1) if tokens > 1 else 0.0 for ns, tokens in zip(decoding, outputs, strict=True)]
        speed = [(tokens - 1) / ns if ns else 0.0 for ns, tokens in zip(decoding, outputs, strict=True)]
    return Report(
        streaming=streaming,
        num_requests=n,
        requests_failed=failed,
        concurrency_mean=math.fsum(e2el) / total_ns,
        isl_mean=tokens_in / n,
        osl_mean=tokens_out / n,
        duration_s=total_ns / 1e9,
        request_tput_rps=n / total_ns * 1e9,
        output_tput_tps=tokens_out / total_ns * 1e9,
        total_tput_tps=(tokens_in + tokens_out) / total_ns * 1e9,
        tps_per_user=None if speed is None else math.fsum(speed) / n * 1e9,
        tps_per_user_e2e=math.fsum(t / ns if ns else 0.0 for t, ns in zip(outputs, e2el, strict=True)) / n * 1e9,
        tps_per_user_distribution=None if speed is None else _distribution(speed, 1e9),
        ttft_ms=None if ttft is None else _distribution(ttft, 1e-6),
        tpot_ms=None if tpot is None else _distribution(tpot, 1e-6),
        e2el_ms=_distribution(e2el, 1e-6),
        acceptance_length=_distribution(lengths, 1.0) if max(lengths) > 1 else None,  # 1: nothing was speculated
        isl=_distribution(inputs, 1.0),
        osl=_distribution(outputs, 1.0),
        seq_len=_distribution([i + o for i, o in zip(inputs, outputs, strict=True)], 1.0),
    )


def _record(said: Any, number: int) -> tuple[int, ...]:
    whole = isinstance(said, Mapping) and set(_KEYS[:5]) <= said.keys()
    values = tuple(said.get(key, 0) for key in _KEYS) if whole else ()
    if not values or any(type(value) is not int or abs(value) > LONGEST_NS for value in values):
        raise ReportError(f"per-request record {number} is damaged")
    inputs, outputs, start, first, end, steps = values
    if min(inputs, outputs, start, steps) < 0 or end < start or (first >= 0 and not start <= first <= end):
        raise ReportError(f"per-request record {number} is damaged: its times or tokens are impossible")
    return values


def _distribution(values: Iterable[float], scale: float) -> Distribution:
    ordered = sorted(values)
    n = len(ordered)
    p50, p90, p95, p99 = (ordered[min(int(n * share), n - 1)] * scale for share in (0.5, 0.9, 0.95, 0.99))
    mean = math.fsum(ordered) / n * scale
    return Distribution(mean=mean, p50=p50, p90=p90, p95=p95, p99=p99, min=ordered[0] * scale, max=ordered[-1] * scale)
