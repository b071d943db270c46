"""Which files there are, what each of them is, and which belong to one run.

What a file is, is told by what is in it, not by its name. Files of one folder that are called the same up to their
last suffix are of one run, and so are report.json, log.txt, env.json, ... in a folder of their own (as under
results/NAME/raw).
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from sweep.importing import podlogs
from sweep.importing.value import FileKind, Run, open_file, read_file
from sweep.published import RESULT, STEP
from sweep.report.requests import are_records
from sweep.report.serving import is_serving

HEAD_BYTES = 64 << 10
MOST_ZEROS = 0.01
"""Share of zero bytes that a log may have in it, of a tool that went wrong."""
SUFFIXES = frozenset(".json .txt .log .out .err .request_json .output_json .iteration_log .jsonl".split())
"""Files of a folder that are looked at; a file that is named itself may be called anything."""


class Unreadable(Exception):
    """A file of which nothing can be made, and why."""


def find_runs(paths: Sequence[Path], unpacked: Path) -> tuple[list[Run], dict[Path, str], int]:
    """Return the runs, the files that cannot be read and why, and how many files of folders were passed over.

    unpacked: an empty folder for what is taken out of the logs of pods; it must outlive the runs.

    A file that is named is a row of its own, unless it only belongs to a report (per-request records, steps). Of a
    folder each run is one row.
    """
    runs: dict[tuple[Path, str], Run] = {}
    unreadable: dict[Path, str] = {}
    passed_over = 0
    of_pods: list[Run] = []
    for path in paths:
        named = not path.is_dir()
        for file in [path] if named else sorted(p for p in path.rglob("*") if p.is_file()):
            if not named and (plain_name(file).suffix not in SUFFIXES or file.name.startswith(".")):
                passed_over += 1
                continue
            try:
                kind = kind_of(file)
            except Unreadable as error:
                unreadable[file] = str(error)
                continue
            except (OSError, EOFError, zlib.error) as error:  # behind its beginning it cannot be read or unpacked
                unreadable[file] = _why(error)
                continue
            if kind is FileKind.POD_LOG:
                told, damaged = podlogs.unpack(file, unpacked / f"{len(of_pods)}")
                if damaged:
                    unreadable[file] = "; ".join(damaged)
                if told or damaged:
                    of_pods += told
                    continue
                kind = FileKind.LOG  # its pod ended before it told of a point
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
    return [*(run for run in runs.values() if run.named), *of_pods], unreadable, passed_over


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
    except (OSError, EOFError, zlib.error) as error:
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
    return FileKind.POD_LOG if STEP.encode() in head or RESULT.encode() in head else FileKind.LOG


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


def plain_name(path: Path) -> Path:
    return path.with_suffix("") if path.suffix == ".gz" else path


def _run_of(path: Path) -> tuple[Path, str]:
    """Return what files of one run have in common; in a folder with a report.json that is the folder."""
    if (path.parent / "report.json").is_file() or (path.parent / "env.json").is_file():
        return path.parent, ""
    name = plain_name(path)
    return path.parent, name.stem if name.suffix in SUFFIXES else name.name


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
