"""All that is left of one run, weighed together: its JSON, its log, its per-request records, its steps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, BinaryIO

from sweep.errors import ReportError
from sweep.report.agreement import Precision, disagreements
from sweep.report.iterations import Iterations, StepReader
from sweep.report.log import Log, read_log, together
from sweep.report.requests import parse_requests
from sweep.report.serving import is_serving, parse_serving
from sweep.report.trtllm_json import decode, parse_json
from sweep.report.value import Report, object_of

LONGEST_LINE = 1 << 20
"""Bytes of a line of --iteration_log, which has some thousand; of a longer one nothing can be read."""
MOST_TOLD = 5
"""Of many disagreements so many are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one run left behind, read.

    report: the most exact account there is: the JSON, else the printed report, else what follows from the records.
    problem: why there is no report, or why there is none where there should be one.
    disagreements: figures that two accounts state differently.
    arguments: what the engine dumped of its arguments, by dotted key of the engine YAML.
    """

    report: Report | None = None
    problem: str | None = None
    disagreements: tuple[str, ...] = ()
    arguments: Mapping[str, str]
    iterations: Iterations | None = None
    log: Log | None = None


def parse_report(said: str | bytes | Mapping[str, Any]) -> Report:
    """Return the report of a JSON text, of trtllm-bench or of benchmark_serving; also already decoded.

    Raises:
        ReportError: it is neither, or not complete.
    """
    decoded = said if isinstance(said, Mapping) else decode(said)
    try:
        return parse_serving(decoded) if is_serving(decoded) else parse_json(decoded)
    except RecursionError:  # JSON may be nested a little deeper than Python can follow
        raise ReportError("the report is nested too deeply") from None


def weigh(
    *,
    report: str | bytes | Mapping[str, Any] | None = None,
    log: BinaryIO | None = None,
    beside: Sequence[BinaryIO] = (),
    requests: str | bytes | None = None,
    iterations: BinaryIO | None = None,
) -> Evidence:
    """Read all that a run left behind.

    Args:
        report: the JSON of --report_json, or of benchmark_serving.
        log: what the bench printed, to stdout if its streams are apart.
        beside: what else was printed, by it or by its server.
        requests: the JSON of --request_json.
        iterations: the lines of --iteration_log.
    """
    read = None if log is None else together([*map(read_log, beside), read_log(log)])
    accounts: dict[str, Report] = {}  # the most exact one first
    problems: list[str] = []
    if report is not None:
        try:
            accounts["JSON"] = parse_report(report)
        except ReportError as error:
            problems.append(str(error))
    if read is not None and read.report is not None:
        accounts["text"] = read.report
    elif read is not None and read.problem is not None:
        problems.append(read.problem)
    if requests is not None:
        try:
            accounts["records"] = _parse_records(requests)
        except ReportError as error:
            problems.append(str(error))
    told = [
        f"{name} and {other} disagree on {what}"
        for (name, one), (other, second) in combinations(accounts.items(), 2)
        for what in disagreements(one, second, Precision.PRINTED if "text" in (name, other) else Precision.EXACT)
    ]
    steps = None if iterations is None else read_steps(iterations)
    best = next(iter(accounts.values()), None)
    if best is not None and best.requests_failed is None and "records" in accounts:
        best = replace(best, requests_failed=accounts["records"].requests_failed)  # a report does not say it
    return Evidence(
        report=best,
        problem="; ".join(problems) or None,
        disagreements=tuple(told[:MOST_TOLD] + ([f"and {len(told) - MOST_TOLD} more"] if told[MOST_TOLD:] else [])),
        arguments=read.arguments if read is not None else {},
        iterations=steps or (read.iterations if read is not None else None),
        log=read,
    )


def read_steps(stream: BinaryIO) -> Iterations | None:
    """Read the file of --iteration_log; None where it holds no step."""
    steps = StepReader()
    while line := stream.readline(LONGEST_LINE):
        steps.logged(line.decode("utf-8-sig", "replace"))
    return steps.summary()


def _parse_records(said: str | bytes) -> Report:
    try:
        records = json.loads(said, object_pairs_hook=object_of)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"the per-request records are no JSON, or were cut off: {error}") from None
    return parse_requests(records)
