"""The log of a pod of ours: each SWEEP_RESULT line in it is a run, with its report, its environment and its own log.

`kubectl logs` gives such a log, also with --timestamps or --prefix, and also after grep.
"""

from __future__ import annotations

import io
import json
import re
import zlib
from pathlib import Path

from sweep.errors import ReportError
from sweep.importing.value import FileKind, Run, open_file
from sweep.published import RESULT, Published, read_result

LINE = re.compile(re.escape(RESULT) + r"\{.*")


def unpack(path: Path, folder: Path) -> tuple[list[Run], list[str]]:
    """Write what each attempt of a pod's log left as files of its own; return them, and which lines cannot be read.

    No run is returned where the pod told of none: then the log itself is what there is.
    """
    runs, damaged, number = [], [], 0
    try:
        with io.TextIOWrapper(open_file(path), encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, start=1):
                found = LINE.search(line)
                if found is None:
                    continue
                try:
                    said = read_result(found[0].rstrip("\r\n"))
                except ReportError as error:
                    damaged.append(f"line {number}: {error}")
                    continue
                if said.cut:
                    damaged.append(f"line {number}: the report was too long for a line; the results volume has it")
                    continue
                runs.append(_write(said, path, folder / f"{number}"))
    except (OSError, EOFError, zlib.error) as error:  # a .gz that was cut, for example; what came before is whole
        damaged.append(f"after line {number} it cannot be read: {getattr(error, 'strerror', None) or error}")
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
