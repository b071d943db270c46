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
from types import MappingProxyType
from typing import Any

from sweep.errors import ReportError
from sweep.point import UNLIMITED
from sweep.report.energy import energy_fields, is_energy
from sweep.report.text import NUMBER
from sweep.report.value import MOST_COUNT, Distribution, Report, Tool, utf8

_FIGURES = {"ttft": "ttft_ms", "tpot": "tpot_ms", "itl": "itl_ms", "e2el": "e2el_ms"}
_STATS = {"mean": "mean", "median": "p50", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
_ACCEPTANCE_STATS = _STATS | {"min": "min", "max": "max"}
_KEY = re.compile(r"(mean|median|std|p[0-9.]+)_(ttft|tpot|itl|e2el)_ms")
_DETAILS = frozenset({"input_lens", "output_lens", "ttfts", "itls", "generated_texts", "errors"})
"""Of --save-detailed: one entry per request."""

_HEADER = re.compile(r"=+ Serving Benchmark Result =+")
_END = re.compile(r"={20,}")
_LINE = re.compile(r"([A-Za-z][^:]*?)\s*:\s+(\S+)(\s.*)?")  # people annotate what they quote
_FORM = re.compile(r"(?:0|[1-9][0-9]*)\.[0-9]{2}")
_ENERGY = re.compile(r"(?:0|[1-9][0-9]*)\.[0-9]{4}")
_WHOLE = re.compile(r"0|[1-9][0-9]{0,18}")
"""The only forms that known lines have numbers in, so that one that was cut or changed is seen."""
_STAT_LINE = re.compile(r"(Mean|Median|Std Dev|P[0-9.]+) (TTFT|TPOT|ITL|E2EL) \(ms\)")
_ACCEPTANCE = "avg_decoded_tokens_per_iter"
_ACCEPTANCE_LINE = re.compile(r"(?:(Mean|Median|Min|Max|P[0-9.]+) )?Avg Decoded Tokens per Iter", re.IGNORECASE)
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
_COUNTS = frozenset(
    {"num_prompts", "completed", "failed", "total_input_tokens", "total_output_tokens", "max_concurrency"}
)
_BEFORE = frozenset({"max_concurrency", "failed"})
"""What may stand before the report; what stands in it counts more."""


def is_serving(said: Mapping[str, Any]) -> bool:
    """Tell benchmark_serving's JSON by the keys that every version has."""
    return {"duration", "completed", "request_throughput", "output_throughput"} <= said.keys()


def parse_serving(said: Mapping[str, Any], more: Mapping[str, float] = MappingProxyType({})) -> Report:
    """Return the report of benchmark_serving's JSON, decoded.

    more: figures that are known by a printed label only; they go to `extra`.

    Raises:
        ReportError: a key is missing, no number of its kind, or contradicts another one.
    """
    completed, failed = _count(said, "completed"), _count_or_none(said, "failed")
    asked = _count_or_none(said, "num_prompts")
    if asked is None:
        asked = completed + (failed or 0)
    elif failed is None:
        failed = max(0, asked - completed)
    elif completed + failed != asked:
        raise ReportError(f"the report is damaged: of {asked} requests {completed} succeeded and {failed} failed")
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
                number = _number(said, key)
                if not math.isclose(stats[_FIGURES[figure]].setdefault(_STATS[stat], number), number, rel_tol=1e-9):
                    raise ReportError(f"the report is damaged: {key} is {number:g}, and another number elsewhere")
                continue
        if key not in _TAKEN and key not in _DETAILS:
            extra |= _flat(utf8(key), value)
    extra |= more
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
    """Reads lines until a report is complete; also those before it, where the concurrency stands.

    Lines that are not known have a namespace of their own: they may be of anything that writes into the same log. One
    that comes twice with two values is not kept; of a known line that is damage.
    """

    def __init__(self) -> None:
        self._before: dict[str, Any] = {}
        self._said: dict[str, Any] = {}
        self._more: dict[str, float] = {}
        self._unsure: set[str] = set()
        self._rest = ""
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
        whole, line = line, line.strip()
        if _HEADER.fullmatch(line):
            self._said, self._more, self._unsure, self._rest = {}, {}, set(), ""
            self._open, self._damage = True, None
        elif self._open and _END.fullmatch(line):
            said, damage = {**self._before, **self._said}, self._damage
            if any(value is _NO_NUMBER for value in said.values()):
                damage = "not a number before the report"
            more = {label: number for label, number in self._more.items() if label not in self._unsure}
            self._before, self._open = {}, False
            if damage is not None:
                raise ReportError(f"the printed report is damaged: {damage}")
            if missing := [key for key in _needed(said) if key not in said]:
                raise ReportError(f"the printed report is not complete: {', '.join(missing)} is missing")
            return parse_serving(said, more)
        else:
            found = _LINE.fullmatch(line)
            exactly = found is not None and self._take(found[1], found[2], line, alone=found[3] is None)
            if self._open and self._rest and not exactly:
                joined = _LINE.fullmatch((self._rest + whole).strip())
                if joined is not None and (_key_of(joined[1]) or is_energy(joined[1])):
                    self._damage = f"a line in two pieces: {joined[0][:80]!r}"
            energy = found is not None and is_energy(found[1])
            self._rest = "" if exactly or energy else whole
        return None

    def _take(self, label: str, value: str, line: str, *, alone: bool) -> bool:
        """Keep what a line states; return whether its label is exactly one that reports have."""
        key = _key_of(label)
        if key is not None:
            self._know(key, _printed(key, value), line)
        elif self._open and is_energy(label):
            number = float(value) if _ENERGY.fullmatch(value) else None
            if number is None or self._more.setdefault(label, number) != number:
                self._damage = f"not what is printed there, or two values for one line: {line[:80]!r}"
        elif self._open and alone and NUMBER.fullmatch(value) and float(value) < math.inf:
            self._unsure |= {label} if self._more.setdefault(label, float(value)) != float(value) else set()
        return key is not None

    def _know(self, key: str, printed: Any, line: str) -> None:
        if self._open and printed is _NO_NUMBER:
            self._damage = f"not what is printed there: {line[:80]!r}"
        elif self._open and self._said.setdefault(key, printed) != printed:
            self._damage = f"two values for one line: {line[:80]!r}"
        elif not self._open and key in _BEFORE:
            self._before[key] = printed


def _key_of(label: str) -> str | None:
    """Return the key of the JSON that a printed label stands for."""
    if stat := _STAT_LINE.fullmatch(label):
        return f"{stat[1].lower().removesuffix(' dev')}_{stat[2].lower()}_ms"
    if accepted := _ACCEPTANCE_LINE.fullmatch(label):
        return f"{accepted[1].lower()}_{_ACCEPTANCE}" if accepted[1] else _ACCEPTANCE
    return _LABELS.get(label.lower())


def _needed(said: Mapping[str, Any]) -> Iterator[str]:
    """Yield what every version prints: the tokens, and of each figure its mean and its median."""
    yield from ("total_input_tokens", "total_output_tokens")
    for figure in _FIGURES:
        if any(key.endswith(f"_{figure}_ms") for key in said):
            yield from (f"mean_{figure}_ms", f"median_{figure}_ms")


_NO_NUMBER = object()


def _printed(key: str, value: str) -> Any:
    """Return the number of a known line, None where it prints none, _NO_NUMBER where it has another form."""
    if value == "None":
        return None
    if not (_WHOLE if key in _COUNTS else _FORM).fullmatch(value):
        return _NO_NUMBER
    return int(value) if key in _COUNTS else float(value)


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
