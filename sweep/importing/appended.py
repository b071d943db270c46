"""Reports of benchmark_serving in one file, one a line: vLLM's --append-result and sglang's --output-file add to it."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

from sweep.importing.value import MOST_JSON_BYTES, FileKind, Run, open_file, why
from sweep.report.serving import is_serving


def is_report(value: Any) -> bool:
    """Return whether decoded JSON is a report of trtllm-bench or of benchmark_serving."""
    return isinstance(value, dict) and (is_serving(value) or bool({"performance", "request_info"} & value.keys()))


def are_reports(text: bytes) -> bool:
    """Return whether a text begins with a line that is a report, and another object follows."""
    first, _, rest = text.lstrip().partition(b"\n")
    return rest.lstrip()[:1] == b"{" and is_report(_decoded(first))


def unpack(path: Path, folder: Path) -> tuple[list[Run], list[str]]:
    """Write each report to a file of its own; return them, and which lines are none."""
    runs: list[Run] = []
    damaged: list[str] = []
    number = 0
    try:
        with open_file(path) as file:
            while line := file.readline(MOST_JSON_BYTES):
                number += 1
                value = _decoded(line)
                if is_report(value) or (value is None and line.startswith(b"{")):  # one that was cut off has a row, too
                    runs.append(_write(line, path, number, folder / f"{len(runs)}"))
                elif line.strip():
                    damaged.append(f"line {number}: it is not a report of trtllm-bench or benchmark_serving")
    except (OSError, EOFError, zlib.error) as error:
        damaged.append(f"after line {number} it cannot be read: {why(error)}")
    return runs, damaged


def _write(line: bytes, path: Path, number: int, folder: Path) -> Run:
    folder.mkdir(parents=True)
    report = folder / FileKind.REPORT.value
    report.write_bytes(line)
    return Run(files={FileKind.REPORT: report}, named=[path.with_name(f"{path.name}#{number}")])


def _decoded(line: bytes) -> Any:
    """Return the value of a JSON text, None where it is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
