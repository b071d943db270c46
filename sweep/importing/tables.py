"""Imported rows land in a table, once; and a table's rows are made again from its evidence."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sweep.errors import NONSENSE
from sweep.importing.known import Known
from sweep.importing.runs import Imported, lines_of, read_environment, read_evidence, text_of
from sweep.importing.settings import settings_of
from sweep.importing.value import FileKind
from sweep.outcome import VAGUE, conclude
from sweep.point import SETTINGS, Model
from sweep.table import Outcome, Results, Source, Status, remade_row, storable

log = logging.getLogger(__name__)


def add_to(results: Results, imported: Iterable[Imported]) -> tuple[list[dict[str, Any]], int]:
    """Append the rows to a table, with their evidence; return them and how many were in it already.

    A run is the same as one before if it took as long for as many requests and no setting or figure that both state
    differs, to the printed digits; a failed one if it comes from the same file, with the same message and beginning.
    The same settings again are the next repeat of the point.
    """
    with results.lock():
        sweep_id = results.open_or_create()
        known = Known(results)
        rows: list[dict[str, Any]] = []
        known_before = 0
        for item in imported:
            row = item.row(sweep_id=sweep_id)
            if known.has(row):
                known_before += 1
                continue
            row["repeat"] = known.next_repeat(row)
            key = (row["point_id"], row["repeat"], row["attempt"])
            about = {**item.environment, "settings": {name: _plain(value) for name, value in item.asked.items()}}
            folder = results.write_evidence(
                key, item.report_text, about, item.log_excerpt, item.source, requests=item.requests_text
            )
            log = folder.relative_to(results.folder) / "log.txt"
            row["log_path"] = str(log) if item.log_excerpt else None
            rows.append(row)
        results.append(rows)
    return rows, known_before


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)


def reparse(results: Results, models: Mapping[str, Model]) -> tuple[list[tuple[str, str]], int]:
    """Make the rows of a table again from raw/; return (status before, now) of each, and how many had no evidence.

    The table is exchanged in one step, as `compact` does. What the evidence does not say (identity, settings, times,
    what a backend said of a failure) is kept.
    """
    changes: list[tuple[str, str]] = []
    kept = 0
    with results.lock():
        rows = []
        for row in results.rows():
            folder = results.evidence_dir((row["point_id"], row["repeat"], row["attempt"]), Source(row["source"]))
            files = {kind: folder / name for kind, name in EVIDENCE.items() if _is_kept(folder / name)}
            if not files.keys() & {FileKind.REPORT, FileKind.LOG, FileKind.REQUESTS}:
                kept += 1
                rows.append(row)
                continue
            try:
                again = storable(_again(row, files, models))
            except (OSError, *NONSENSE) as error:
                log.warning("the row of %s stays as it was: %s: %s", folder, type(error).__name__, error)
                kept += 1
                rows.append(row)
                continue
            changes.append((row["status"], again["status"]))
            rows.append(again)
        results.replace(rows)
    return changes, kept


EVIDENCE: Mapping[FileKind, str] = {
    FileKind.REPORT: "report.json",
    FileKind.LOG: "log.txt",
    FileKind.REQUESTS: "requests.json",
    FileKind.ITERATIONS: "iterations.log",
    FileKind.ENVIRONMENT: "env.json",
}
"""What the files under results/NAME/raw are called."""


def _is_kept(file: Path) -> bool:
    """Return whether there is evidence; evidence is not synced, so that a power cut may leave an empty file."""
    return file.is_file() and file.stat().st_size > 0


def _again(row: Mapping[str, Any], files: Mapping[FileKind, Path], models: Mapping[str, Model]) -> dict[str, Any]:
    report, requests = text_of(files, FileKind.REPORT), text_of(files, FileKind.REQUESTS)
    evidence = read_evidence(files, report=report, requests=requests)
    environment, given = read_environment(files.get(FileKind.ENVIRONMENT), Source(row["source"]))
    settings = {name: row[name] for name in SETTINGS}
    if row["imported_from"] is not None:
        stated = {} if evidence.report is None else settings_of(evidence.report)
        settings = dict.fromkeys(SETTINGS) | stated | given
    outcome = conclude(
        settings,
        evidence,
        log=lines_of(files.get(FileKind.LOG)),
        model=models.get(row["model"]),
        environment=environment,
        started_at=row["started_at"],
        exit_code=row["exit_code"],
    )
    if outcome.status == Status.FAILED and row["status"] == Status.FAILED and outcome.failure_kind in VAGUE:
        told = {name: row[name] for name in ("failure_kind", "failure_message")}
        outcome = Outcome(status=Status.FAILED, iterations=outcome.iterations, exit_code=row["exit_code"], **told)
    return remade_row(row, settings=settings, outcome=outcome, environment=environment)
