"""The files of one run."""

from __future__ import annotations

import contextlib
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

from sweep.errors import UsageError
from sweep.importing.texts import plain

MOST_JSON_BYTES = 256 << 20
"""A JSON file is held in memory whole. One with the texts of 5,000 requests of 8,192 tokens has about 200 MB."""
MOST_JSON_VALUES = 10_000_000
"""Decoded they take up to 100 bytes each, however few they have in the file. 5,000 requests with the latency of each of
1,024 tokens are half of it."""
LONGEST_PIECE = 1 << 20
"""Characters of a line that are read at once; a line of a pod has some 12,000."""


class FileKind(Enum):
    """What a file holds. Of the last three alone no row can be made; of a POD_LOG and of REPORTS many."""

    REPORT = "report"
    REPORTS = "reports"
    LOG = "log"
    POD_LOG = "pod_log"
    REQUESTS = "requests"
    ITERATIONS = "iterations"
    ENVIRONMENT = "environment"
    OUTPUTS = "outputs"


@dataclass(slots=True)
class Run:
    """The files of one run; `named` are those that each become a row.

    beside: texts of the run without a report, read before its LOG: what went to the other stream, a server's log.
    """

    files: dict[FileKind, Path] = field(default_factory=dict)
    beside: list[Path] = field(default_factory=list)
    named: list[Path] = field(default_factory=list)


def open_file(path: Path) -> BinaryIO:
    """Open a file, unpacked if it is a .gz, as UTF-8 without a byte order mark.

    Raises:
        OSError, EOFError, zlib.error: it cannot be opened or unpacked.
    """
    with contextlib.ExitStack() as opened:
        file: Any = gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115
        text = plain(opened.enter_context(file))
        opened.pop_all()
    return text


def read_file(path: Path) -> bytes:
    """Return all of a JSON file.

    Raises:
        UsageError: it holds more than would be decoded in bounded memory.
    """
    with open_file(path) as file:
        said = file.read(MOST_JSON_BYTES + 1)
    if len(said) > MOST_JSON_BYTES:
        raise UsageError(f"{path} is more than {MOST_JSON_BYTES >> 20} MiB of JSON, which is the most that is read")
    if sum(map(said.count, (b",", b"[", b"{"))) > MOST_JSON_VALUES:
        raise UsageError(f"{path} has more than {MOST_JSON_VALUES:,} values of JSON, which is the most that is read")
    return said


def pieces_of(path: Path) -> Iterator[str]:
    """Yield the lines of a text with their ends; one that is longer than LONGEST_PIECE comes in pieces."""
    with io.TextIOWrapper(open_file(path), encoding="utf-8", errors="replace") as file:
        while piece := file.readline(LONGEST_PIECE):
            yield piece


def why(error: Exception) -> str:
    """Return why a file cannot be opened, read or unpacked."""
    return str(getattr(error, "strerror", None) or error)
