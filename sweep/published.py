"""What launchers/publish.py tells of an attempt, as a line of the pod's log or as files on a volume, read back.

    SWEEP_STEP point POINT REPEAT-ATTEMPT       what the launcher is doing now
    SWEEP_STEP passed POINT REPEAT-ATTEMPT      stop.txt said not to begin it
    SWEEP_RESULT {"point": ..., "attempt": ...} an attempt has ended

A pod's log is anybody's text: what is no such line is passed over, what is one and broken is a ReportError.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sweep.errors import ReportError
from sweep.table import columns_of

RESULT, STEP = "SWEEP_RESULT ", "SWEEP_STEP "
BEGUN, PASSED = "point", "passed"
INTERRUPTED = "interrupted"
"""The outcome of an attempt that ended with its pod; the next pod of the same Job measures it anew."""

STATES: Mapping[str, str] = {
    "ended": "",
    "timeout": "its time limit ended it",
    INTERRUPTED: "",  # its exit code says so
    "sick": "UnexpectedAdmissionError: the GPUs cannot be used",
}
"""What each outcome of the launcher says to failure.classify."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One attempt as its pod told it.

    report: the bench's JSON; None where it wrote none, or where it is too long for a line (`cut`).
    environment: columns of the row.
    """

    key: tuple[str, int, int]
    outcome: str
    exit_code: int
    report: Mapping[str, Any] | None
    environment: Mapping[str, Any]
    started_at: datetime
    ended_at: datetime
    log_tail: str = ""
    cut: bool = False

    @property
    def state(self) -> str:
        """What ended it from outside, in words that failure.classify knows; empty where it ended by itself."""
        return STATES.get(self.outcome, self.outcome)


def read_result(line: str) -> Published:
    """Return what a SWEEP_RESULT line says.

    Raises:
        ReportError: it is cut, or not one of publish.py.
    """
    try:
        said = json.loads(line.removeprefix(RESULT))
    except (ValueError, RecursionError) as error:
        raise ReportError(f"a {RESULT.strip()} line is no JSON: {error}") from None
    if not isinstance(said, dict):
        raise ReportError(f"a {RESULT.strip()} line holds no object")
    return _published(said, said.get("report"), said.get("environment"), said.get("log_tail"))


def read_step(line: str, step: str = BEGUN) -> tuple[str, int, int] | None:
    """Return the attempt that a SWEEP_STEP line says to begin, or to be passed over; None where it tells of another."""
    words = line.removeprefix(STEP).split()
    try:
        return key_of(words[1], words[2]) if words[0] == step else None
    except (IndexError, ValueError):
        return None


def read_files(environment: str, report: str | None, log_tail: str) -> Published:
    """Return what the files of an attempt say: env.json, report.json and the end of log.txt.

    Raises:
        ReportError: env.json is not one of publish.py. A report that is no JSON counts as none.
    """
    try:
        columns = json.loads(environment)
        about = columns["attempt"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ReportError(f"an env.json does not say whose it is: {error}") from None
    try:
        bench_said = json.loads(report) if report is not None else None
    except (ValueError, RecursionError):
        bench_said = None
    return _published(about, bench_said, columns, log_tail)


def _published(about: Any, report: Any, environment: Any, log_tail: Any) -> Published:
    try:
        return Published(
            key=key_of(about["point"], about["attempt"]),
            outcome=str(about["outcome"]),
            exit_code=int(about["exit_code"]),
            report=report if isinstance(report, dict) else None,
            environment=columns_of(environment if isinstance(environment, dict) else {}),
            started_at=_time(about["started_at"]),
            ended_at=_time(about["ended_at"]),
            log_tail=str(log_tail or ""),
            cut=bool(about.get("report_too_long")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReportError(f"what a pod published makes no sense: {type(error).__name__}: {error}") from None


def key_of(point_id: str, attempt: str) -> tuple[str, int, int]:
    """Return (point_id, repeat, number) of an attempt that a pod calls REPEAT-NUMBER.

    Raises:
        ValueError: it is not written so.
    """
    repeat, _, number = attempt.partition("-")
    return (str(point_id), int(repeat), int(number))


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return time
