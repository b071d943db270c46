"""Which files there are and what each of them is.

What a file is shows in its content, not in its name. Files of one folder that have the same name up to their last
suffix are of one run, and so are report.json, log.txt, env.json, ... in a folder of their own (as under
results/NAME/raw); pairs.py says which texts are of one run besides.
"""

from __future__ import annotations

import json
import os
import re
import stat
import zlib
from collections.abc import Sequence
from pathlib import Path

from sweep.errors import UsageError
from sweep.importing import appended, podlogs
from sweep.importing.names import SUFFIXES, ends_as_stream, plain_name, stem_of
from sweep.importing.pairs import Group, Text, runs_of
from sweep.importing.texts import HEAD_BYTES
from sweep.importing.value import FileKind, Run, open_file, read_file, why
from sweep.published import RESULT, STEP
from sweep.report.requests import are_records

MOST_ZEROS = 0.01
"""Share of zero bytes that a log may have in it, of a tool that went wrong."""
_CUT_REPORT = re.compile(
    rb"\{\s*\"engine\"\s*:\s*\{|\{.*?\"(?:backend|endpoint_type|model_id|tokenizer_id|num_prompts|request_rate)\"\s*:",
    re.DOTALL,
)
"""How the reports of trtllm-bench and of benchmark_serving begin."""
_CUT_RECORDS = re.compile(rb"\[\s*\{\s*\"id\"\s*:\s*\d+,\s*\"num_input_tokens\"")
_NO_REPORT = "it is JSON, but no report of trtllm-bench or benchmark_serving"


class Unreadable(Exception):
    """A file of which nothing can be made, and why."""


class Endless(Unreadable):
    """What is not a file of a disk: a pipe, a device, something of the kernel. It may never end."""


class NotOurs(Unreadable):
    """A file that nobody would take for a log or report: in a folder it is only named."""


def find_runs(paths: Sequence[Path], unpacked: Path) -> tuple[list[Run], dict[Path, str], dict[Path, str]]:
    """Return the runs, the files that gave no row though they were named or should have, and others of folders; why.

    unpacked: an empty folder for what is taken out of files that hold many runs; it must outlive the runs.

    A report that is named is a row of its own, and so is a run's text. Of a folder each run is one row.
    """
    groups: dict[tuple[Path, str], Group] = {}
    unreadable: dict[Path, str] = {}
    others: dict[Path, str] = {}
    asked: set[Path] = set()
    of_many: list[Run] = []
    for path in paths:
        named = not os.path.isdir(path)
        try:
            files = [path] if named else _files_under(path)
        except OSError as error:
            unreadable[path] = why(error)
            continue
        for file in files:
            asked |= {file} if named else set()
            if not named and not _is_looked_at(file):
                others[file] = "its name is not that of a log or report"
                continue
            key = _run_of(file)
            group = groups.setdefault(key, Group(*key))
            try:
                kind = kind_of(file)
                if kind in (FileKind.POD_LOG, FileKind.REPORTS):
                    unpack = podlogs.unpack if kind is FileKind.POD_LOG else appended.unpack
                    found, damaged = unpack(file, unpacked / f"{len(of_many)}")
                    if damaged:
                        unreadable[file] = "; ".join(damaged)
                    of_many += found
                    if found or damaged:
                        continue
                _add(group, file, kind, named=named)
            except Unreadable as error:
                (others if isinstance(error, (NotOurs, Endless)) else unreadable)[file] = str(error)
            except (OSError, EOFError, zlib.error) as error:
                unreadable[file] = why(error)
    runs, of_none = runs_of(groups.values())
    others |= of_none
    unreadable |= {file: why for file, why in others.items() if file in asked}
    return [*runs, *of_many], unreadable, {file: why for file, why in others.items() if file not in asked}


def _add(group: Group, file: Path, kind: FileKind, *, named: bool) -> None:
    """Put a file into its group, once; a file of a folder whose kind is there already is the same run's again."""
    if kind in (FileKind.LOG, FileKind.POD_LOG):  # of a pod that ended before it told of a point
        if file not in group.texts:
            group.texts[file] = Text.of(file, named=named)
        group.texts[file].named |= named
        return
    first = group.files.setdefault(kind, file)
    if first != file:
        raise NotOurs(f"it is the same run's as {first.name}")
    if named and kind is FileKind.REPORT and file not in group.named:
        group.named.append(file)


def _is_looked_at(path: Path) -> bool:
    name = plain_name(path)
    return not name.name.startswith(".") and (name.suffix in SUFFIXES or ends_as_stream(name.name))


def _files_under(folder: Path) -> list[Path]:
    """Return the regular files of a folder and of those in it, in the order of their names; links to folders are not
    followed.

    Raises:
        OSError: the folder cannot be listed; of what lies in it that is no reason to stop.
    """
    files: list[Path] = []
    left = [os.fspath(folder)]
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
                    elif os.path.isfile(entry.path):
                        files.append(Path(entry.path))
        except OSError:
            if not files and not left and not os.access(folder, os.R_OK | os.X_OK):
                raise
    return sorted(files)


def _expect_an_end(path: Path) -> None:
    """Refuse what is not a file of a disk.

    Files of the kernel (/proc/kmsg) say that they are regular and empty, and then wait for what is to be read.

    Raises:
        Endless: it may never end.
        OSError: it is not there, or cannot be opened.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise Endless("it is not a regular file; the output of a program is read from the standard input, as -")
    if about.st_size == 0:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            waits = os.read(file, 1) != b""
        except BlockingIOError:
            waits = True
        finally:
            os.close(file)
        if waits:
            raise Endless("it is a file of the kernel, which may never end")


def kind_of(path: Path) -> FileKind:
    """Return what a file holds.

    Raises:
        Unreadable: it is neither a text nor one of the JSON files of a benchmark.
        OSError, EOFError: it cannot be opened or unpacked.
    """
    _expect_an_end(path)
    if path.name == "env.json":
        return FileKind.ENVIRONMENT
    with open_file(path) as file:
        head = file.read(HEAD_BYTES)
    if head.count(b"\0") > len(head) * MOST_ZEROS:
        raise Unreadable("it is not text")
    start = head.lstrip()
    if start[:1] in (b"{", b"["):
        first, _, rest = start.partition(b"\n")
        if re.match(rb"\{\s*['\"]", first) and _is_step(first):
            return FileKind.ITERATIONS
        if appended.are_reports(start):
            return FileKind.REPORTS
        if rest.lstrip()[:1] == first[:1] and _is_json(first):
            raise NotOurs("it is JSON, one text a line, and no file of a benchmark's")
    if re.match(rb"\{\s*['\"}]", start):
        return _kind_of_json(path, FileKind.REPORT if _CUT_REPORT.match(start) else None)
    if re.match(rb"\[\s*\{", start):
        return _kind_of_json(path, FileKind.REQUESTS if _CUT_RECORDS.match(start) else None)
    return FileKind.POD_LOG if STEP.encode() in head or RESULT.encode() in head else FileKind.LOG


def _kind_of_json(path: Path, cut_is: FileKind | None) -> FileKind:
    try:
        text = read_file(path)
    except UsageError as error:
        raise Unreadable(str(error).removeprefix(f"{path} ")) from None
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        if appended.are_reports(text):  # the first one is longer than the head
            return FileKind.REPORTS
        if cut_is is None:
            raise Unreadable(_NO_REPORT) from None
        return cut_is  # a run that was killed while it wrote
    if are_records(said):
        return FileKind.REQUESTS
    if isinstance(said, dict):
        if appended.is_report(said):
            return FileKind.REPORT
        if said and all(key.isdigit() and isinstance(value, str) for key, value in said.items()):
            return FileKind.OUTPUTS
    raise Unreadable(_NO_REPORT)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _is_step(line: bytes) -> bool:
    return b"iterLatencyMS" in line or (b"kvCacheStats" in line and b"iter" in line)


def _run_of(path: Path) -> tuple[Path, str]:
    """Return what files of one run have in common; in a folder with a report.json that is the folder."""
    if (path.parent / "report.json").is_file() or (path.parent / "env.json").is_file():
        return path.parent, ""
    return path.parent, stem_of(path)
