"""What benchmark_serving (tensorrt_llm.serve.scripts) saves with --save-result, or prints, becomes a Report.

Its percentiles are those that were asked for, interpolated linearly. It knows the client's side only: no layout, no
dtype, and neither ISL nor OSL as settings. The key of the goodput has a colon in it (`"request_goodput:"`). Older
versions print no lines for all and for failed requests; then only the successful ones are known.
`user_throughput` is the mean over requests of OSL / E2E.

2026's JSON has energy as an object, and `avg_decoded_tokens_per_iter`, which was one number, as an object of
statistics; both are also printed. With speculative decoding that figure is the acceptance length; else it is 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from sweep.errors import ReportError
from sweep.point import UNLIMITED
from sweep.report.energy import energy_fields
from sweep.report.text import NUMBER
from sweep.report.value import MOST_COUNT, Distribution, Report, Tool, utf8

_FIGURES = {"ttft": "ttft_ms", "tpot": "tpot_ms", "itl": "itl_ms", "e2el": "e2el_ms"}
_STATS = {"mean": "mean", "median": "p50", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
_ACCEPTANCE_STATS = _STATS | {"min": "min", "max": "max"}
_KEY = re.compile(r"(mean|median|std|p[\d.]+)_(ttft|tpot|itl|e2el)_ms")
_DETAILS = frozenset({"input_lens", "output_lens", "ttfts", "itls", "generated_texts", "errors"})
"""Of --save-detailed: one entry per request."""

_HEADER = re.compile(r"=+ Serving Benchmark Result =+")
_END = re.compile(r"={20,}")
_LINE = re.compile(r"([A-Za-z][^:]*?)\s*:\s+(\S+)")
_STAT_LINE = re.compile(r"(Mean|Median|P[\d.]+) (TTFT|TPOT|ITL|E2EL) \(ms\)")
_ACCEPTANCE = "avg_decoded_tokens_per_iter"
_ACCEPTANCE_LINE = re.compile(r"(?:(Mean|Median|Min|Max|P[\d.]+) )?Avg Decoded Tokens per Iter", re.IGNORECASE)
_LABELS = {
    "total requests": "num_prompts",
    "successful requests": "completed",
    "failed requests": "failed",
    "total failed requests": "failed",
    "maximum request concurrency": "max_concurrency",
    "benchmark duration (s)": "duration",
    "total input tokens": "total_input_tokens",
    "total generated tokens": "total_output_tokens",
    "request throughput (req/s)": "request_throughput",
    "request goodput (req/s)": "request_goodput:",
    "output token throughput (tok/s)": "output_throughput",
    "total token throughput (tok/s)": "total_token_throughput",
    "user throughput (tok/s)": "user_throughput",
}
_COUNTS = frozenset({"num_prompts", "completed", "failed", "total_input_tokens", "total_output_tokens"})


def is_serving(said: Mapping[str, Any]) -> bool:
    """Tell benchmark_serving's JSON by the keys that every version has."""
    return {"duration", "completed", "request_throughput", "output_throughput"} <= said.keys()


def parse_serving(said: Mapping[str, Any]) -> Report:
    """Return the report of benchmark_serving's JSON, decoded.

    Raises:
        ReportError: a key is missing, or no number of its kind.
    """
    completed, failed = _count(said, "completed"), _count_or_none(said, "failed")
    asked = _count_or_none(said, "num_prompts")
    if asked is None:
        asked = completed + (failed or 0)
    elif failed is None:
        failed = max(0, asked - completed)
    concurrency = said.get("max_concurrency")
    if "max_concurrency" in said and concurrency in (None, "None"):
        concurrency = UNLIMITED
    stats: dict[str, dict[str, float]] = {figure: {} for figure in _FIGURES.values()}
    extra: dict[str, float | str] = {}
    for key, value in said.items():
        if value is None or isinstance(value, bool):
            continue
        if found := _KEY.fullmatch(key):
            stat, figure = found.groups()
            if stat in _STATS:
                stats[_FIGURES[figure]][_STATS[stat]] = _number(said, key)
                continue
        if key not in _TAKEN and key not in _DETAILS:
            extra |= _flat(utf8(key), value)
    return Report(
        tool=Tool.BENCHMARK_SERVING,
        model=_text(said.get("model_id")),
        concurrency=None if concurrency is None else _count({"max_concurrency": concurrency}, "max_concurrency"),
        num_requests=asked,
        requests_failed=failed,
        isl_mean=_mean(_count_or_none(said, "total_input_tokens"), completed),
        osl_mean=_mean(_count_or_none(said, "total_output_tokens"), completed),
        duration_s=_number(said, "duration"),
        request_tput_rps=_number(said, "request_throughput"),
        request_goodput_rps=_number_or_none(
            said, "request_goodput:" if "request_goodput:" in said else "request_goodput"
        ),
        output_tput_tps=_number(said, "output_throughput"),
        total_tput_tps=_number_or_none(said, "total_token_throughput"),
        tps_per_user_e2e=_number_or_none(said, "user_throughput"),
        extra=extra,
        ttft_ms=_distribution(stats["ttft_ms"]),
        tpot_ms=_distribution(stats["tpot_ms"]),
        itl_ms=_distribution(stats["itl_ms"]),
        e2el_ms=_distribution(stats["e2el_ms"]),
        acceptance_length=_acceptance_length(said),
        **energy_fields(extra, duration_s=_number(said, "duration")),
    )


def _flat(path: str, value: Any) -> Iterator[tuple[str, float | str]]:
    """Yield texts and numbers by their dotted path; lists are of --save-detailed or of the environment."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(f"{path}.{utf8(str(key))}", item)
    elif isinstance(value, str):
        yield path, utf8(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, value


def _acceptance_length(said: Mapping[str, Any]) -> Distribution | None:
    """Return the tokens that a request got per step, however a version says it; None where nothing was speculated.

    Raises:
        ReportError: a statistic is not a number.
    """
    block = said.get(_ACCEPTANCE)
    whole: dict[str, Any] = dict(block) if isinstance(block, Mapping) else {"mean": block}
    if isinstance(percentiles := whole.get("percentiles"), Mapping):
        whole |= percentiles
    whole |= {key.removesuffix(f"_{_ACCEPTANCE}"): said[key] for key in said if key.endswith(f"_{_ACCEPTANCE}")}
    stats: dict[str, float] = {}
    for key in whole:
        stat = _ACCEPTANCE_STATS.get(key.removesuffix(".0"))
        if stat is not None and (number := _number_or_none(whole, key)) is not None:
            stats[stat] = number
    return Distribution(**stats) if stats.get("mean") else None


_TAKEN = frozenset(
    "model_id num_prompts completed failed duration total_input_tokens total_output_tokens request_throughput"
    " request_goodput: request_goodput output_throughput total_token_throughput user_throughput max_concurrency".split()
)


class ServingText:
    """Reads lines until a report is complete; also those before it, where the concurrency stands."""

    def __init__(self) -> None:
        self._said: dict[str, Any] = {}
        self._open = False
        self._damage: str | None = None

    @property
    def open(self) -> bool:
        return self._open

    def feed(self, line: str) -> Report | None:
        """Take one whole line; return a report when this line is its end.

        Raises:
            ReportError: the line is the end of a report that is damaged or lacks a line.
        """
        line = line.strip()
        if _HEADER.fullmatch(line):
            self._said = {key: self._said[key] for key in ("max_concurrency", "failed") if key in self._said}
            self._open, self._damage = True, None
        elif self._open and _END.fullmatch(line):
            said, damage = self._said, self._damage
            self._said, self._open = {}, False
            if damage is not None:
                raise ReportError(f"the printed report is damaged: {damage}")
            return parse_serving(said)
        elif found := _LINE.fullmatch(line):
            self._take(found[1], found[2], line)
        return None

    def _take(self, label: str, value: str, line: str) -> None:
        key = _LABELS.get(label.lower())
        if key is None and (stat := _STAT_LINE.fullmatch(label)):
            key = f"{stat[1].lower()}_{stat[2].lower()}_ms"
        elif key is None and (accepted := _ACCEPTANCE_LINE.fullmatch(label)):
            key = f"{accepted[1].lower()}_{_ACCEPTANCE}" if accepted[1] else _ACCEPTANCE
        if key in ("max_concurrency", "failed") or self._open:
            if value == "None":
                self._said[key or label] = None
            elif NUMBER.fullmatch(value):
                self._said[key or label] = int(value) if value.isdigit() and len(value) < 20 else float(value)
            elif key is not None and self._open:
                self._damage = f"not what is printed there: {line[:80]!r}"


def _text(value: Any) -> str | None:
    return utf8(value) if isinstance(value, str) else None


def _number_or_none(said: Mapping[str, Any], key: str) -> float | None:
    value = said.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1e300:  # NaN is not either
        raise ReportError(f"the report's {key} is not a number of at least 0 but {str(value)[:60]!r}")
    return float(value)


def _number(said: Mapping[str, Any], key: str) -> float:
    value = _number_or_none(said, key)
    if value is None:
        raise ReportError(f"the report is not complete: {key} is missing")
    return value


def _count_or_none(said: Mapping[str, Any], key: str) -> int | None:
    value = _number_or_none(said, key)
    if value is None:
        return None
    if not value.is_integer() or value > MOST_COUNT:
        raise ReportError(f"the report's {key} is not a count but {said[key]!r}")
    return math.floor(value)


def _count(said: Mapping[str, Any], key: str) -> int:
    value = _count_or_none(said, key)
    if value is None:
        raise ReportError(f"the report is not complete: {key} is missing")
    return value


def _distribution(stats: Mapping[str, float]) -> Distribution | None:
    return Distribution(**stats) if stats else None


def _mean(total: int | None, requests: int) -> float | None:
    return None if total is None or not requests else total / requests
