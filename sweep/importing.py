"""Files that people already have become rows: reports, logs, per-request records; packed or not, alone or in folders.

What a file is, is told by what is in it, not by its name. Files of one folder that are called the same up to their
last suffix are of one run, and so are report.json, log.txt, env.json, ... in a folder of their own (as under
results/NAME/raw): together they are the evidence of a row, held against each other.

A report does not state every setting. What was given (`--set`), or stands in the file's name by a pattern, counts as
asked for, and the report is judged by it; all else comes from the report, or is null.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from sweep.errors import UsageError, nearest
from sweep.outcome import VAGUE, conclude
from sweep.point import GPUS, SETTINGS, Bench, KvCacheDtype, Model, SchedulerPolicy
from sweep.report import Evidence, Report, Tool, weigh
from sweep.report.requests import are_records
from sweep.report.serving import is_serving
from sweep.table import ENVIRONMENT, Outcome, Results, Source, Status, imported_row, remade_row
from sweep.table.schema import Type, is_of

HEAD_BYTES = 64 << 10
MOST_ZEROS = 0.01
"""Share of zero bytes that a log may have in it, of a tool that went wrong."""
MOST_JSON_BYTES = 1 << 30
SUFFIXES = frozenset(".json .txt .log .out .err .request_json .output_json .iteration_log .jsonl".split())
"""Files of a folder that are looked at; a file that is named itself may be called anything."""
SIMULATED_VERSION = "simulated"
"""How the version begins that sweep's own simulator writes into its reports."""


class FileKind(Enum):
    """What a file holds. Of the last three alone no row can be made."""

    REPORT = "report"
    LOG = "log"
    REQUESTS = "requests"
    ITERATIONS = "iterations"
    ENVIRONMENT = "environment"
    OUTPUTS = "outputs"


class Unreadable(Exception):
    """A file of which nothing can be made, and why."""


@dataclass(slots=True)
class Run:
    """The files of one run; `named` are those that each become a row."""

    files: dict[FileKind, Path] = field(default_factory=dict)
    named: list[Path] = field(default_factory=list)


# -------------------------------------------------------------------------------------------------------------- files


def find_runs(paths: Sequence[Path]) -> tuple[list[Run], dict[Path, str], int]:
    """Return the runs, the files that cannot be read and why, and how many files of folders were passed over.

    A file that is named is a row of its own, unless it only belongs to a report (per-request records, steps). Of a
    folder each run is one row.
    """
    runs: dict[tuple[Path, str], Run] = {}
    unreadable: dict[Path, str] = {}
    passed_over = 0
    for path in paths:
        named = not path.is_dir()
        for file in [path] if named else sorted(p for p in path.rglob("*") if p.is_file()):
            if not named and (_plain_name(file).suffix not in SUFFIXES or file.name.startswith(".")):
                passed_over += 1
                continue
            try:
                kind = kind_of(file)
            except Unreadable as error:
                unreadable[file] = str(error)
                continue
            run = runs.setdefault(_run_of(file), Run())
            is_row = kind in (FileKind.REPORT, FileKind.LOG) and (named or not run.named)
            if file in run.named or (not named and kind in run.files):
                continue
            run.files.setdefault(kind, file)
            if is_row:
                run.named.append(file)
    for run in runs.values():
        if not run.named and FileKind.REQUESTS in run.files:
            run.named.append(run.files[FileKind.REQUESTS])  # every metric follows from them
    alone = [file for run in runs.values() if not run.named for file in run.files.values()]
    unreadable |= dict.fromkeys(alone, "it belongs to a report, which is not here")
    return [run for run in runs.values() if run.named], unreadable, passed_over


def kind_of(path: Path) -> FileKind:
    """Return what a file holds.

    Raises:
        Unreadable: it cannot be opened or unpacked, or is neither a text nor one of the JSON files of a benchmark.
    """
    if path.name == "env.json":
        return FileKind.ENVIRONMENT
    try:
        with open_file(path) as file:
            head = file.read(HEAD_BYTES)
    except (OSError, EOFError) as error:
        raise Unreadable(_why(error)) from None
    if head.count(b"\0") > len(head) * MOST_ZEROS:
        raise Unreadable("it is no text")
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:1] == b"{":
        first = start.splitlines()[0]
        if re.match(rb"\{\s*['\"]", first) and _is_step(first):
            return FileKind.ITERATIONS
        return _kind_of_json(path, cut_is=FileKind.REPORT)
    if re.match(rb"\[\s*\{", start):
        return _kind_of_json(path, cut_is=FileKind.REQUESTS)
    return FileKind.LOG


def _kind_of_json(path: Path, cut_is: FileKind) -> FileKind:
    try:
        said = json.loads(read_file(path))
    except (ValueError, RecursionError):
        return cut_is  # a run that was killed while it wrote
    if are_records(said):
        return FileKind.REQUESTS
    if isinstance(said, dict):
        if is_serving(said) or {"performance", "request_info"} & said.keys():
            return FileKind.REPORT
        if said and all(key.isdigit() and isinstance(value, str) for key, value in said.items()):
            return FileKind.OUTPUTS
    raise Unreadable("it is JSON, but no report of trtllm-bench or benchmark_serving")


def _is_step(line: bytes) -> bool:
    return b"iterLatencyMS" in line or (b"kvCacheStats" in line and b"iter" in line)


def open_file(path: Path) -> BinaryIO:
    """Open a file, unpacked if it is a .gz."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def read_file(path: Path) -> bytes:
    with open_file(path) as file:
        return file.read(MOST_JSON_BYTES)


def _plain_name(path: Path) -> Path:
    return path.with_suffix("") if path.suffix == ".gz" else path


def _run_of(path: Path) -> tuple[Path, str]:
    """Return what files of one run have in common; in a folder with a report.json that is the folder."""
    if (path.parent / "report.json").is_file() or (path.parent / "env.json").is_file():
        return path.parent, ""
    name = _plain_name(path)
    return path.parent, name.stem if name.suffix in SUFFIXES else name.name


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


# ----------------------------------------------------------------------------------------------------------- settings


def parse_setting(said: str) -> tuple[str, Any]:
    """Return name and value of `--set NAME=VALUE`.

    Raises:
        UsageError: there is no such setting, or it has no such value.
    """
    name, equals, text = said.partition("=")
    if not equals:
        raise UsageError(f"--set {said}: give NAME=VALUE, for example --set concurrency=64")
    return name, _value(name, text)


def _value(name: str, text: str) -> Any:
    if name not in SETTINGS:
        raise UsageError(f"there is no setting {name}{nearest(name, SETTINGS)}")
    setting = SETTINGS[name]
    value = text if setting.type is str else yaml.safe_load(text) if re.fullmatch(r"[\w.+-]*", text) else text
    return setting.check(value)


@dataclass(frozen=True, slots=True)
class Pattern:
    """Where settings stand in a file's name, with or without its suffix, for example `*_tp{tp}_c{concurrency}*`."""

    regex: re.Pattern[str]
    text: str

    @classmethod
    def of(cls, text: str) -> Pattern:
        """Return the pattern of a text: {NAME} is the value of a setting, * is anything, all else is itself.

        Raises:
            UsageError: a name is no setting, or stands there twice.
        """
        parts = re.split(r"(\{\w*\}|\*)", text)
        names = [part[1:-1] for part in parts if part.startswith("{")]
        for name in names:
            if name not in SETTINGS:
                raise UsageError(f"--pattern {text}: there is no setting {name}{nearest(name, SETTINGS)}")
            if names.count(name) > 1:
                raise UsageError(f"--pattern {text}: {name} stands there twice")
        if not names:
            raise UsageError(f"--pattern {text}: name a setting, for example *_tp{{tp}}_c{{concurrency}}*")
        regex = "".join(
            ".*" if part == "*" else f"(?P<{part[1:-1]}>[^_/]+?)" if part.startswith("{") else re.escape(part)
            for part in parts
        )
        return cls(re.compile(regex), text)

    def settings(self, path: Path) -> dict[str, Any]:
        """Return the settings in the file's name; none where it does not match.

        Raises:
            UsageError: what stands there is no value of the setting.
        """
        found = self.regex.fullmatch(_plain_name(path).stem) or self.regex.fullmatch(path.name)
        return {name: _value(name, text) for name, text in found.groupdict().items()} if found else {}


def settings_of(report: Report) -> dict[str, Any]:
    """Return the settings that a report states, as near as it states them; the others are missing."""
    length = {"isl": report.isl_mean, "osl": report.osl_mean}
    stated: dict[str, Any] = {
        "bench": Bench.SERVE if report.tool is Tool.BENCHMARK_SERVING else None,
        "model": report.model,
        "gpu": next((gpu for gpu in GPUS if gpu in (report.gpu_name or "").lower().split()), None),
        **{name: None if mean is None or not mean.is_integer() else int(mean) for name, mean in length.items()},
        "concurrency": report.concurrency,
        "num_requests": report.num_requests,
        "streaming": report.streaming,
        "tp": report.tp,
        "pp": report.pp,
        "ep": report.effective_ep,
        "max_batch_size": report.max_batch_size,
        "max_num_tokens": report.max_num_tokens,
        "max_seq_len": report.max_seq_len,
        "kv_cache_free_gpu_mem_fraction": report.kv_cache_free_gpu_mem_fraction,
    }
    if report.version is not None:  # benchmark_serving knows nothing of the engine
        dtype = (report.kv_cache_dtype or KvCacheDtype.AUTO).lower()
        stated["kv_cache_dtype"] = dtype if dtype in list(KvCacheDtype) else None
    policy = (report.scheduler_policy or "").lower().replace(" ", "_")
    stated["scheduler_policy"] = policy if policy in list(SchedulerPolicy) else None
    return {name: value for name, value in stated.items() if value is not None}


# --------------------------------------------------------------------------------------------------------------- rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """One run, read: what its row says and what is kept of it."""

    named: Path
    asked: Mapping[str, Any]
    settings: Mapping[str, Any]
    outcome: Outcome
    environment: Mapping[str, Any]
    source: Source
    report_text: str | None
    requests_text: str | None
    log_excerpt: str

    def row(self, **of_table: Any) -> dict[str, Any]:
        """Return its row; `of_table` are sweep_id, repeat and log_path where it lands in one."""
        return imported_row(
            settings=self.settings,
            outcome=self.outcome,
            source=self.source,
            environment=self.environment,
            **{"log_path": str(self.named)} | of_table,
        )


def read_run(run: Run, given: Mapping[str, Any], pattern: Pattern | None) -> Iterator[Imported]:
    """Yield what becomes of a run, once for each of its named files.

    Raises:
        UsageError: the pattern finds what is no value of a setting.
        OSError: a file went away or cannot be unpacked.
    """
    report = _text_of(run, FileKind.REPORT)
    requests = _text_of(run, FileKind.REQUESTS)
    evidence = read_evidence(run.files, report=report, requests=requests)
    environment, asked_before = read_environment(run.files.get(FileKind.ENVIRONMENT))
    for named in run.named:
        asked = {**asked_before, **(pattern.settings(named) if pattern is not None else {}), **given}
        settings = {**(settings_of(evidence.report) if evidence.report is not None else {}), **asked}
        outcome = conclude(settings, evidence, log=_lines(run.files.get(FileKind.LOG)), environment=environment)
        version = "" if evidence.report is None else evidence.report.version or ""
        yield Imported(
            named=named,
            asked=asked,
            settings=settings,
            outcome=outcome,
            environment=environment | {"imported_from": str(named)},
            source=Source.SIMULATED if version.startswith(SIMULATED_VERSION) else Source.MEASURED,
            report_text=report,
            requests_text=requests,
            log_excerpt="" if evidence.log is None else evidence.log.excerpt,
        )


def read_evidence(files: Mapping[FileKind, Path], *, report: str | None, requests: str | None) -> Evidence:
    """Weigh the files of one run."""
    log, steps = files.get(FileKind.LOG), files.get(FileKind.ITERATIONS)
    with contextlib.ExitStack() as opened:
        return weigh(
            report=report,
            log=None if log is None else opened.enter_context(open_file(log)),
            requests=requests,
            iterations=None if steps is None else opened.enter_context(open_file(steps)),
        )


def read_environment(path: Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what an env.json says: columns of the row, and the settings that were given to an import.

    What is no such column is passed over, so that an env.json of a newer sweep can be read.
    """
    if path is None:
        return {}, {}
    try:
        said = json.loads(read_file(path))
    except (ValueError, RecursionError):
        return {}, {}
    if not isinstance(said, dict):
        return {}, {}
    columns = {name: _typed(name, value) for name, value in said.items() if name in ENVIRONMENT}
    given = said.get("settings")
    settings = {n: SETTINGS[n].check(v) for n, v in given.items() if n in SETTINGS} if isinstance(given, dict) else {}
    return {name: value for name, value in columns.items() if value is not None}, settings


def _typed(name: str, value: Any) -> Any:
    """Return a value of an env.json in its column's type, or None where it is none of it."""
    kind = ENVIRONMENT[name]
    if kind is Type.TIME and isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = datetime.fromisoformat(value)
    return value if is_of(kind, value) else None


def _text_of(run: Run, kind: FileKind) -> str | None:
    path = run.files.get(kind)
    return None if path is None else read_file(path).decode("utf-8", "replace")


def _lines(path: Path | None) -> Iterator[str]:
    if path is not None:
        with io.TextIOWrapper(open_file(path), encoding="utf-8", errors="replace") as file:
            yield from file


# -------------------------------------------------------------------------------------------------------------- tables


def add_to(results: Results, imported: Sequence[Imported]) -> tuple[list[dict[str, Any]], int]:
    """Append the rows to a table, with their evidence; return them and how many were in it already.

    A run is the same as one before if it took as long, to the printed digits, for as many requests; a failed one if it
    comes from the same file with the same message. The same settings again are the next repeat of the point.
    """
    with results.lock():
        sweep_id = results.open_or_create()
        known = _Known(results)
        rows: list[dict[str, Any]] = []
        for item in imported:
            row = item.row(sweep_id=sweep_id)
            if known.has(row):
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
    return rows, len(imported) - len(rows)


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)


class _Known:
    """The runs that a table holds."""

    COLUMNS = ("point_id", "source", "repeat", "status", "bench_s", "effective_num_requests", "imported_from")

    def __init__(self, results: Results) -> None:
        self._durations: set[tuple[int, int]] = set()
        self._failures: set[tuple[str, str]] = set()
        self._repeats: dict[tuple[str, str], int] = {}
        for row in results.rows((*self.COLUMNS, "failure_message")):
            self._add(row)

    def _add(self, row: Mapping[str, Any]) -> None:
        point = (row["point_id"], row["source"])
        self._repeats[point] = max(self._repeats.get(point, 0), row["repeat"])
        if row["bench_s"] is not None:
            self._durations.add((row["effective_num_requests"], round(row["bench_s"] * 1e6)))
        elif row["imported_from"] is not None:
            self._failures.add((row["imported_from"], row["failure_message"]))

    def has(self, row: Mapping[str, Any]) -> bool:
        if row["bench_s"] is None:
            return (row["imported_from"], row["failure_message"]) in self._failures
        duration = round(row["bench_s"] * 1e6)  # printed to 0.1 microseconds, so neighbours are the same
        return any((row["effective_num_requests"], duration + off) in self._durations for off in (-1, 0, 1))

    def next_repeat(self, row: Mapping[str, Any]) -> int:
        """Return the number of this repeat and remember the run."""
        repeat = self._repeats.get((row["point_id"], row["source"]), 0) + 1
        self._add({**row, "repeat": repeat})
        return repeat


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
            files = {kind: folder / name for kind, name in EVIDENCE.items() if (folder / name).is_file()}
            if not files.keys() & {FileKind.REPORT, FileKind.LOG, FileKind.REQUESTS}:
                kept += 1
                rows.append(row)
                continue
            again = _again(row, files, models)
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


def _again(row: Mapping[str, Any], files: Mapping[FileKind, Path], models: Mapping[str, Model]) -> dict[str, Any]:
    run = Run(files=dict(files))
    report, requests = _text_of(run, FileKind.REPORT), _text_of(run, FileKind.REQUESTS)
    evidence = read_evidence(files, report=report, requests=requests)
    environment, given = read_environment(files.get(FileKind.ENVIRONMENT))
    settings = {name: row[name] for name in SETTINGS}
    if row["imported_from"] is not None:
        stated = {} if evidence.report is None else settings_of(evidence.report)
        settings = dict.fromkeys(SETTINGS) | stated | given
    outcome = conclude(
        settings,
        evidence,
        log=_lines(files.get(FileKind.LOG)),
        model=models.get(row["model"]),
        environment=environment,
        started_at=row["started_at"],
        exit_code=row["exit_code"],
    )
    if outcome.status == Status.FAILED and row["status"] == Status.FAILED and outcome.failure_kind in VAGUE:
        told = {name: row[name] for name in ("failure_kind", "failure_message")}
        outcome = Outcome(status=Status.FAILED, iterations=outcome.iterations, exit_code=row["exit_code"], **told)
    return remade_row(row, settings=settings, outcome=outcome, environment=environment)
