"""What launchers/publish.py tells of an attempt, as a line of the pod's log or as files on a volume, read back.

    SWEEP_STEP point POINT REPEAT-ATTEMPT       what the launcher is doing now
    SWEEP_STEP passed POINT REPEAT-ATTEMPT      stop.txt said not to begin it
    SWEEP_STEP published POINT REPEAT-ATTEMPT   its result follows, though it was not begun here
    SWEEP_RESULT {"point": ..., "attempt": ...} an attempt has ended

A pod's log is anybody's text: what is no such line is passed over, what is one and broken is a ReportError. A value may
have any type and any size; what gets through here fits into a row, a path, a pickle and the arithmetic of times.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sweep.errors import NONSENSE, ReportError
from sweep.report.value import object_of, utf8
from sweep.table import STATED_BY_POD, Type, columns_of, is_of, shown

RESULT, STEP = "SWEEP_RESULT ", "SWEEP_STEP "
BEGUN, PASSED, ANNOUNCED = "point", "passed", "published"
INTERRUPTED = "interrupted"
"""The outcome of an attempt that ended with its pod; the next pod of the same Job measures it anew."""

STATES: Mapping[str, str] = {
    "ended": "",
    "timeout": "its time limit ended it",
    INTERRUPTED: "",  # its exit code says so
    "sick": "UnexpectedAdmissionError: the GPUs cannot be used",
}
"""What each outcome of the launcher says to failure.classify."""

DEEPEST = 32
"""Levels of JSON within JSON. A report has four; a thousand can be read, but neither pickled nor written again."""
LONGEST_ATTEMPT = timedelta(days=60)
"""No attempt takes longer: a clock was set while it ran, and the row would be charged decades of GPU-hours."""
_ATTEMPT = re.compile(r"(\d{1,9})-(\d{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One attempt as its pod told it.

    report: the bench's JSON; None where it wrote none, or where it is too long for a line (`cut`).
    environment: columns of the row.
    deployment, sweep: whose pod told it; empty where it does not say.
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
    deployment: str = ""
    sweep: str = ""

    @property
    def state(self) -> str:
        """What ended it from outside, in words that failure.classify knows; empty where it ended by itself."""
        return STATES.get(self.outcome, self.outcome)


def read_result(line: str) -> Published:
    """Return what a SWEEP_RESULT line says.

    Raises:
        ReportError: it is cut, or not one of publish.py.
    """
    said = _decoded(line.removeprefix(RESULT), f"a {RESULT.strip()} line")
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
        ReportError: env.json is not one of publish.py. A report that is no JSON, or states a key twice, counts as none.
    """
    try:
        columns = _decoded(environment, "it")
        about = columns["attempt"]
    except (ReportError, *NONSENSE) as error:
        raise ReportError(f"an env.json does not say whose it is: {error}") from None
    try:
        bench_said = None if report is None else _decoded(report, "a report.json")
    except ReportError:
        bench_said = None
    return _published(about, bench_said, columns, log_tail)


def _decoded(text: str, what: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ReportError: it is not JSON, states a key twice, or is nested too deeply.
    """
    try:
        value = json.loads(text, object_pairs_hook=object_of)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{what} is no JSON: {error}") from None
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    if level:
        raise ReportError(f"{what} is nested more than {DEEPEST} levels deep")
    return value


def _published(about: Any, report: Any, environment: Any, log_tail: Any) -> Published:
    try:
        exit_code, outcome = about["exit_code"], about["outcome"]
        if type(exit_code) is not int or not is_of(Type.INTEGER, exit_code):
            raise ValueError(f"its exit code is {shown(exit_code)}")
        if not isinstance(outcome, str):
            raise ValueError(f"its outcome is {shown(outcome)}")
        started_at, ended_at = _time(about["started_at"]), _time(about["ended_at"])
        if ended_at - started_at > LONGEST_ATTEMPT:
            raise ValueError(f"it took from {started_at} to {ended_at}")
        return Published(
            key=key_of(about["point"], about["attempt"]),
            outcome=utf8(outcome),
            exit_code=exit_code,
            report=report if isinstance(report, dict) else None,
            environment=columns_of(environment if isinstance(environment, dict) else {}, STATED_BY_POD),
            started_at=started_at,
            ended_at=ended_at,
            log_tail=utf8(log_tail) if isinstance(log_tail, str) else "",
            cut=bool(about.get("report_too_long")),
            deployment=str(about.get("deployment") or ""),
            sweep=str(about.get("sweep") or ""),
        )
    except NONSENSE as error:
        raise ReportError(f"what a pod published makes no sense: {type(error).__name__}: {error}") from None


def key_of(point_id: str, attempt: str) -> tuple[str, int, int]:
    """Return (point_id, repeat, number) of an attempt that a pod calls REPEAT-NUMBER.

    Raises:
        ValueError: it is not written so, or the point is not one that a file can be called by.
    """
    is_name = isinstance(point_id, str) and point_id.isprintable() and point_id not in ("", ".", "..")
    if not is_name or {"/", " "} & set(point_id):
        raise ValueError(f"there is no point {shown(point_id)}")
    found = _ATTEMPT.fullmatch(attempt) if isinstance(attempt, str) else None
    if found is None:
        raise ValueError(f"there is no attempt {shown(attempt)}")
    return point_id, int(found[1]), int(found[2])


def _time(text: Any) -> datetime:
    time = None
    if isinstance(text, str):
        with contextlib.suppress(ValueError):
            time = datetime.fromisoformat(text)
    if time is None or not is_of(Type.TIME, time):
        raise ValueError(f"{shown(text)} is not a usable time with a zone")
    return time.astimezone(UTC)
