"""What is seen of a sweep from outside: what readers read at any moment, and what lies about in the end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import sweep
from sweep.table import Results, Source
from tests.faults.model import Finding, Kind, Row, judge_reading

LOOK_S = 0.2
GRACE_S = 20.0
"""For how long processes and objects may still be going away."""
COLUMNS = ["point_id", "repeat", "attempt", "status", "source", "failure_kind", "failure_message"]


class Reader:
    """Reads the table again and again, as people do, in a thread of its own; a context manager.

    findings: what a reader must not see.
    compacting: a plain pandas.read_parquet may miss a file now (results/README.md says so).
    """

    def __init__(self, folder: Path) -> None:
        self.findings: list[Finding] = []
        self.compacting = False
        self.reads = 0
        self._folder = folder
        self._seen: frozenset[Row] = frozenset()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            self.look()

    def look(self) -> Sequence[Row]:
        """Read once, and return the rows."""
        with self._lock:
            if not (self._folder / "table").is_dir():
                if self._seen:
                    self.findings.append(Finding(kind=Kind.LOST, message="the table is gone"))
                return []
            self.reads += 1
            compacting, found = self.compacting, []
            try:
                found = [_rows(pd.read_parquet(self._folder / "table", columns=COLUMNS))]
            except FileNotFoundError as error:
                if not (compacting or self.compacting):
                    self._tell(error)
            except Exception as error:  # whatever it is, a person would see it
                self._tell(error)
            try:
                found.append(_rows(sweep.load(self._folder, columns=COLUMNS, attempts="all", status="all")))
            except Exception as error:
                self._tell(error)
            for rows in found:
                self.findings += judge_reading(self._seen, rows)
                self._seen |= frozenset(rows)
            return found[-1] if found else []

    def _tell(self, error: Exception) -> None:
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        self.findings.append(Finding(kind=Kind.LOST, message=f"the table cannot be read: {said}"))


def _rows(frame: pd.DataFrame) -> list[Row]:
    return [
        Row(
            point_id=str(row["point_id"]),
            repeat=int(row["repeat"]),
            attempt=int(row["attempt"]),
            status=str(row["status"]),
            failure_kind=_text(row["failure_kind"]),
            failure_message=_text(row["failure_message"]),
        )
        for row in frame.to_dict("records")
    ]


def _text(value: Any) -> str | None:
    return None if pd.isna(value) else str(value)


def missing_evidence(folder: Path, rows: Sequence[Row], source: Source) -> Iterator[Finding]:
    """Find ok rows whose report is not where it should be, whole."""
    results = Results(folder)
    for row in rows:
        if row.status == "ok":
            file = results.evidence_dir((row.point_id, row.repeat, row.attempt), source) / "report.json"
            try:
                json.loads(file.read_text())
            except (OSError, ValueError) as error:
                yield Finding(kind=Kind.LOST, message=f"{row.name}: its report cannot be read: {error}")


def leftover_files(folder: Path) -> Iterator[Finding]:
    """Find what a results folder may not hold once its last writer has ended."""
    for path in sorted(folder.rglob(".tmp-*")):
        yield Finding(kind=Kind.LEFT, message=f"{path.relative_to(folder)} in the results folder")
    with contextlib.suppress(FileNotFoundError), (folder / "run.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield Finding(kind=Kind.LEFT, message=f"run.lock is held: {lock.read()[:200]}")


def leftover_entries(folder: Path) -> Iterator[Finding]:
    """Find what lies in a folder for temporary files."""
    for path in sorted(folder.iterdir()):
        yield Finding(kind=Kind.LEFT, message=f"temporary {path.name}")


def processes_with(mark: str) -> dict[int, str]:
    """Return the command lines of the processes in whose environment a text stands, by process id."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (path / "environ").read_bytes() and int(path.name) != os.getpid():
                command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if command:  # a zombie has none
                    found[int(path.name)] = command
    return found


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def soon(gone: Callable[[], Sequence[str]], seconds: float = GRACE_S) -> Iterator[Finding]:
    """Wait until nothing is there any more, and find what still is."""
    deadline = time.monotonic() + seconds
    while (there := gone()) and time.monotonic() < deadline:
        time.sleep(0.1)
    for message in there:
        yield Finding(kind=Kind.LEFT, message=message)
