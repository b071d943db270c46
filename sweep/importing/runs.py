"""One run's files become one outcome: the evidence is weighed, and judged by what was asked for."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sweep.errors import NONSENSE, ReportError, UsageError
from sweep.failure import classify
from sweep.importing.settings import Pattern, settings_of
from sweep.importing.value import FileKind, Run, open_file, pieces_of, read_file
from sweep.outcome import VAGUE, conclude
from sweep.point import SETTINGS
from sweep.published import Published, read_files
from sweep.report import Evidence, Log, weigh
from sweep.table import PREDICTED_BY, STATED, Outcome, Source, columns_of, imported_row, storable

log = logging.getLogger(__name__)

SIMULATED_VERSION = "simulated"
"""How the version begins that sweep's own simulator writes into its reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """One run, read: what its row says and what is kept of it; `notes` say what its log holds beyond that."""

    named: Path
    asked: Mapping[str, Any]
    settings: Mapping[str, Any]
    outcome: Outcome
    environment: Mapping[str, Any]
    source: Source
    started_at: datetime | None
    ended_at: datetime | None
    report_text: str | None
    requests_text: str | None
    log_excerpt: str
    notes: tuple[str, ...] = ()

    def row(self, **of_table: Any) -> dict[str, Any]:
        """Return its row; `of_table` are sweep_id, repeat and log_path where it lands in one."""
        row = imported_row(
            settings=self.settings,
            outcome=self.outcome,
            source=self.source,
            environment=self.environment,
            started_at=self.started_at,
            ended_at=self.ended_at,
            **{"log_path": path_text(self.named)} | of_table,
        )
        return storable(row)


def read_runs(
    runs: Iterable[Run], given: Mapping[str, Any], pattern: Pattern | None, unreadable: dict[Path, str]
) -> Iterator[Imported]:
    """Yield what becomes of runs, one after the other: their texts together may not fit into memory.

    unreadable: gains the files of which nothing can be made, with the reason.

    Raises:
        UsageError: the pattern finds what is not a value of a setting; before the first run is read.
    """
    runs = list(runs)
    if pattern is not None:
        for run in runs:
            for named in run.named:
                pattern.settings(named)
    for run in runs:
        try:
            yield from read_run(run, given, pattern)
        except (OSError, EOFError, zlib.error, *NONSENSE) as error:
            log.debug("%s cannot be read", run.named[0], exc_info=True)
            why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            unreadable |= dict.fromkeys(run.named, why)


def read_run(run: Run, given: Mapping[str, Any], pattern: Pattern | None) -> Iterator[Imported]:
    """Yield what becomes of a run, once for each of its named files.

    Raises:
        UsageError: the pattern finds what is no value of a setting.
        OSError: a file went away or cannot be unpacked.
    """
    report = text_of(run.files, FileKind.REPORT)
    requests = text_of(run.files, FileKind.REQUESTS)
    evidence = read_evidence(run.files, run.beside, report=report, requests=requests)
    version = "" if evidence.report is None else evidence.report.version or ""
    source = Source.SIMULATED if version.startswith(SIMULATED_VERSION) else Source.MEASURED
    environment, asked_before = read_environment(run.files.get(FileKind.ENVIRONMENT), source)
    end = _end_of(run.files.get(FileKind.ENVIRONMENT))
    for named in run.named:
        asked = {**asked_before, **(pattern.settings(named) if pattern is not None else {}), **given}
        settings = {**(settings_of(evidence.report) if evidence.report is not None else {}), **asked}
        outcome = conclude(
            settings,
            evidence,
            log=lines_of(*run.beside, run.files.get(FileKind.LOG)),
            environment=environment,
            started_at=None if end is None else end.started_at,
            exit_code=None if end is None else end.exit_code,
            state=None if end is None else end.state,
        )
        yield Imported(
            named=named,
            asked=asked,
            settings=settings,
            outcome=outcome,
            environment=environment | {"imported_from": path_text(named)},
            source=source,
            started_at=None if end is None else end.started_at,
            ended_at=None if end is None else end.ended_at,
            report_text=report,
            requests_text=requests,
            log_excerpt="" if evidence.log is None else evidence.log.excerpt,
            notes=() if evidence.log is None else tuple(_notes(evidence.log)),
        )


def _notes(log: Log) -> Iterator[str]:
    """Yield what a log holds besides the report that was read, such as the other runs of a shell loop."""
    if log.reports > 1:
        yield f"{log.reports} reports in it; the last one was read"
    if log.report is not None and (failure := classify(io.StringIO(log.after))).kind not in VAGUE:
        yield f"its last report is followed by a failure ({failure.kind}): {failure.message}"


def path_text(path: Path) -> str:
    """Return a path as a text that any file can hold; names need not be UTF-8."""
    return str(path).encode(errors="backslashreplace").decode()


def read_evidence(
    files: Mapping[FileKind, Path], beside: Sequence[Path] = (), *, report: str | None, requests: str | None
) -> Evidence:
    """Weigh the files of one run; `beside` are its texts besides its log."""
    log, steps = files.get(FileKind.LOG), files.get(FileKind.ITERATIONS)
    with contextlib.ExitStack() as opened:
        return weigh(
            report=report,
            log=None if log is None else opened.enter_context(open_file(log)),
            beside=[opened.enter_context(open_file(path)) for path in beside],
            requests=requests,
            iterations=None if steps is None else opened.enter_context(open_file(steps)),
        )


def read_environment(path: Path | None, source: Source) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what an env.json says: columns of the row, and the settings that were given to an import.

    What predicted the numbers only a simulated run says.
    """
    if path is None:
        return {}, {}
    try:
        said = json.loads(read_file(path))
    except (UsageError, ValueError, RecursionError):
        return {}, {}
    if not isinstance(said, dict):
        return {}, {}
    given = said.get("settings")
    settings: dict[str, Any] = {}
    for name, value in given.items() if isinstance(given, dict) else ():
        with contextlib.suppress(UsageError, *NONSENSE):  # a damaged value costs only itself
            settings |= {name: SETTINGS[name].check(value)}
    return columns_of(said, (*STATED, *PREDICTED_BY) if source is Source.SIMULATED else STATED), settings


def _end_of(path: Path | None) -> Published | None:
    """Return how a pod of ours says that the attempt ended; None where it was no pod of ours."""
    if path is None:
        return None
    try:
        return read_files(read_file(path).decode("utf-8", "replace"), None, "")
    except (ReportError, UsageError):
        return None


def text_of(files: Mapping[FileKind, Path], kind: FileKind) -> str | None:
    """Return the text of a file, None where there is none."""
    path = files.get(kind)
    return None if path is None else read_file(path).decode("utf-8", "replace")


def lines_of(*paths: Path | None) -> Iterator[str]:
    """Yield the lines of texts, none where there is none; very long ones in pieces."""
    for path in paths:
        if path is not None:
            yield from pieces_of(path)
