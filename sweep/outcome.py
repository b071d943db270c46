"""What became of an attempt: its evidence, judged. The driver, `import` and `--reparse` all come here.

A report that passes the gate is ok, one that does not is invalid with every reason, its numbers kept; without a report
the log, the exit code and the state of the container say what failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sweep import failure, validity
from sweep.point import Model
from sweep.report import Evidence
from sweep.table import Outcome, Status

INVALID = "invalid_report"
"""The failure_kind of rows whose report did not pass the gate."""
VAGUE = frozenset({failure.NO_REPORT, failure.UNKNOWN})
"""What is said of a log that tells nothing of its end: with --log_level warning the report is not printed."""
MOST_MESSAGE = 4000
"""Characters of a failure message."""


def conclude(
    asked: Mapping[str, Any],
    evidence: Evidence,
    *,
    log: Iterable[str] = (),
    model: Model | None = None,
    environment: Mapping[str, Any] | None = None,
    started_at: datetime | None = None,
    exit_code: int | None = None,
    state: str | None = None,
) -> Outcome:
    """Judge what a run left behind.

    Args:
        asked: settings by name; what was not asked for is missing or None.
        log: the lines of the log; read only where it holds no report.
        environment: columns that say how the run went.
        state: what the container, pod or Job says of its end.
    """
    if evidence.report is None:
        found = failure.classify(log, exit_code=exit_code, state=state)
        message = found.message
        if evidence.problem is not None:
            message = f"{evidence.problem}; {message}" if found.kind != failure.NO_REPORT else evidence.problem
        return Outcome(
            status=Status.FAILED,
            iterations=evidence.iterations,
            failure_kind=found.kind,
            failure_message=message[:MOST_MESSAGE],
            exit_code=exit_code,
        )
    case = validity.case_of(asked, evidence, model=model, environment=environment or {}, started_at=started_at)
    reasons = validity.judge(case)
    if evidence.problem is not None:
        reasons = (*reasons, evidence.problem)
    if evidence.log is not None and evidence.log.report is None and (found := failure.classify(log)).kind not in VAGUE:
        reasons = (
            *reasons,
            f"the log ends with a failure ({found.kind}) and holds no report: the JSON may be an old one",
        )
    return Outcome(
        status=Status.INVALID if reasons else Status.OK,
        report=evidence.report,
        iterations=evidence.iterations,
        unverified=validity.unverified(case),
        failure_kind=INVALID if reasons else None,
        failure_message="; ".join(reasons)[:MOST_MESSAGE] or None,
        exit_code=exit_code,
    )
