"""The files of one run."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import BinaryIO

MOST_JSON_BYTES = 1 << 30


class FileKind(Enum):
    """What a file holds. Of the last three alone no row can be made; of a POD_LOG many."""

    REPORT = "report"
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
    """Open a file, unpacked if it is a .gz."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def read_file(path: Path) -> bytes:
    with open_file(path) as file:
        return file.read(MOST_JSON_BYTES)
