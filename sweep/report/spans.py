"""The figures of a report as intervals: each may be off by half of its last printed digit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sweep.report.value import Distribution, Report, Tool

HALF_A_DIGIT = 0.51
"""Of the last printed digit, in either direction; ties can round either way."""
FLOATING_POINT = 2e-7
"""Relative error of what was computed, or copied by somebody, in single precision (2^-23)."""
THREE_DIGITS_FROM = 100_000
"""From here on the dataset's numbers are printed as 1.31e+05."""
TWO_DECIMALS = frozenset({"draft_tokens", "accepted_draft_tokens", "draft_acceptance_rate", "acceptance_length"})
LENGTHS = ("isl", "osl", "seq_len")


class Span(NamedTuple):
    """All values that a figure may have, of at least 0."""

    low: float
    high: float

    def plus(self, other: Span) -> Span:
        return Span(self.low + other.low, self.high + other.high)

    def minus(self, other: Span) -> Span:
        return Span(self.low - other.high, self.high - other.low)

    def times(self, other: Span) -> Span:
        return Span(self.low * other.low, self.high * other.high)

    def over(self, other: Span) -> Span:
        return Span(self.low / other.high, self.high / other.low if other.low > 0 else math.inf)


def exactly(value: float) -> Span:
    return Span(value, value)


@dataclass(frozen=True, slots=True)
class Figures:
    """A report, and what the rules need of it.

    requests: those that the throughputs count.
    osl: how long the outputs were, at least and at most; None where that is not known.
    """

    report: Report
    requests: int
    duration_s: Span
    osl: Span | None

    def span(self, name: str, value: float) -> Span:
        two = name in TWO_DECIMALS or self.of_serving
        half = HALF_A_DIGIT * (1e-2 if two else 1e-4) + FLOATING_POINT * value
        if math.inf > value >= THREE_DIGITS_FROM and name in LENGTHS:
            half += HALF_A_DIGIT * 10.0 ** (math.floor(math.log10(value)) - 2)
        return Span(max(0.0, value - half), value + half)

    def of(self, name: str, stat: str | None = None) -> Span | None:
        """Return a figure of the report, None where it does not state it."""
        value = getattr(self.report, name)
        if stat is not None and value is not None:
            value = getattr(value, stat)
        return None if value is None else self.span(name, value)

    @property
    def of_serving(self) -> bool:
        return self.report.tool is Tool.BENCHMARK_SERVING


def figures_of(report: Report, asked: int | None) -> Figures:
    """Return the report with its output lengths, where they are known.

    No request gives more tokens than it was asked for. So where the mean is that of what was asked for (the dataset of
    trtllm-bench, or one length for all), each request gave just that; where it is less, some ended early.
    """
    serving = report.tool is Tool.BENCHMARK_SERVING
    duration = report.duration_s
    half = (5.1e-3 if serving else 5.1e-8) + FLOATING_POINT * duration
    osl: Span | None = None
    if report.osl_mean is not None:
        if serving:
            osl = exactly(asked) if asked == report.osl_mean else None
        elif report.osl is not None and report.dataset_requests == report.num_requests and report.osl.mean is not None:
            half_a_length = 5.2e-3 * report.osl.mean if report.osl.mean >= THREE_DIGITS_FROM else 2e-4
            if abs(report.osl_mean - report.osl.mean) <= half_a_length + FLOATING_POINT * report.osl_mean:
                osl = _between(report.osl)
    return Figures(
        report=report,
        requests=report.num_requests - (report.requests_failed or 0) * serving,
        duration_s=Span(max(0.0, duration - half), duration + half),
        osl=osl,
    )


def _between(lengths: Distribution) -> Span | None:
    low, high = lengths.min, lengths.max
    if low is None or high is None or low > high:
        return None
    return Span(low, high * (1.0051 if high >= THREE_DIGITS_FROM else 1.0))


def differs(name: str, stated: Span, expected: Span, why: str) -> Iterator[str]:
    if stated.high < expected.low or stated.low > expected.high:
        middle = (stated.low + stated.high) / 2
        low, high = f"{expected.low:.6g}", f"{expected.high:.6g}"
        yield f"{name} is {middle:.6g}, but {why} give {low if low == high else f'{low} to {high}'}"
