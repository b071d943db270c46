"""The log of a pod of ours: each SWEEP_RESULT line in it is a run, with its report, its environment and its own log.

`kubectl logs` gives such a log, also with --timestamps or --prefix, and also after grep.
"""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

from sweep.errors import ReportError
from sweep.importing.value import FileKind, Run, pieces_of
from sweep.published import RESULT, Published, read_result

LINE = re.compile(re.escape(RESULT) + r"\{.*")


def unpack(path: Path, folder: Path) -> tuple[list[Run], list[str]]:
    """Write what each attempt of a pod's log left as files of its own; return them, and which lines cannot be read.

    No run is returned where the pod told of none: then the log itself is what there is.
    """
    runs: list[Run] = []
    damaged: list[str] = []
    number = 1
    try:
        for line in pieces_of(path):
            found = LINE.search(line)
            if found is not None:
                try:
                    said = read_result(found[0].rstrip("\r\n"))
                except ReportError as error:
                    damaged.append(f"line {number}: {error}")
                else:
                    if said.cut:
                        damaged.append(f"line {number}: the report was too long for a line; the results volume has it")
                    else:
                        runs.append(_write(said, path, folder / f"{len(runs)}"))
            number += line.endswith("\n")
    except (OSError, EOFError, zlib.error) as error:  # a .gz that was cut, for example; what came before is whole
        damaged.append(f"after line {number - 1} it cannot be read: {getattr(error, 'strerror', None) or error}")
    return runs, damaged


def _write(said: Published, path: Path, folder: Path) -> Run:
    point_id, repeat, number = said.key
    about = {
        "point": point_id,
        "attempt": f"{repeat}-{number}",
        "exit_code": said.exit_code,
        "outcome": said.outcome,
        "started_at": said.started_at.isoformat(),
        "ended_at": said.ended_at.isoformat(),
    }
    texts = {
        FileKind.ENVIRONMENT: json.dumps({**said.environment, "attempt": about}, default=str),
        FileKind.LOG: said.log_tail,
        FileKind.REPORT: "" if said.report is None else json.dumps(said.report),
    }
    folder.mkdir(parents=True)
    files = {kind: folder / f"{kind.value}" for kind, text in texts.items() if text}
    for kind, file in files.items():
        file.write_text(texts[kind], "utf-8", "replace")
    return Run(files=files, named=[path.with_name(f"{path.name}#{point_id}:{repeat}-{number}")])
