"""Commands with paths: they read tables and files, and ask no configuration."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.cli.exits import Exit
from sweep.errors import UsageError, nearest

if TYPE_CHECKING:
    from sweep.table import Results


def show(arguments: list[str]) -> int:
    """Print the rows of a table."""
    from sweep import summary

    parser = _parser("show", "Print the rows of a table.")
    parser.add_argument("folder", help="results/NAME")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object per row and line")
    form.add_argument("--csv", action="store_true", help="comma-separated, with a header")
    parser.add_argument("--columns", help="comma-separated names; results/README.md explains them")
    said = parser.parse_args(arguments)
    frame = _existing(said.folder).load()
    columns = said.columns.split(",") if said.columns else None
    for column in columns or ():
        if column not in frame:
            raise UsageError(f"there is no column {column}{nearest(column, frame.columns)}")
    if said.json:
        for row in json.loads(frame[columns or list(frame)].to_json(orient="records", date_format="iso")):
            print(json.dumps(row))
    elif said.csv:
        frame[columns or list(frame)].to_csv(sys.stdout, index=False)
    else:
        summary.print_rows(frame, columns)
    return Exit.OK


def import_files(arguments: list[str]) -> int:
    """Make rows of reports and logs."""
    from sweep import importing

    parser = _parser(
        "import",
        "Reports and logs that you already have become rows: of trtllm-bench 0.16 to 1.4 and benchmark_serving, JSON"
        " or text, pod logs, folders, .gz. Each file is judged as a run of sweep is; a log of a failure is a row too. "
        "Exit code 3: some files could not be read at all; they are named.",
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="a file or a folder; - is the standard input")
    parser.add_argument("--into", metavar="results/NAME", help="append the rows to this table, evidence kept beside it")
    parser.add_argument("--json", action="store_true", help="one JSON object per row and line, every column")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting that the reports do not state, for example concurrency=64; what they state must agree",
    )
    parser.add_argument(
        "--pattern",
        metavar="TEXT",
        help="where settings stand in the files' names, for example '*_tp{tp}_c{concurrency}*'",
    )
    parser.add_argument("--reparse", metavar="results/NAME", help="make all rows of a table again from its raw/")
    said = parser.parse_intermixed_args(arguments)
    if said.reparse is not None:
        if said.files or said.into or said.set or said.pattern:
            raise UsageError("--reparse makes the rows of one table again and takes nothing else")
        return _reparse(said.reparse)
    if not said.files:
        raise UsageError("import what? give files or folders, for example: python -m sweep import logs/*.txt --json")
    given = dict(importing.parse_setting(text) for text in said.set)
    pattern = None if said.pattern is None else importing.Pattern.of(said.pattern)
    with tempfile.TemporaryDirectory(prefix="sweep-import-") as folder:
        paths = [Path(file) if file != "-" else _standard_input(Path(folder)) for file in said.files]
        runs, unreadable, passed_over = importing.find_runs(paths, Path(folder) / "unpacked")
        for run in runs:  # what came by standard input lies in no folder of the user's
            run.named = [Path(file.name) if file.parent == Path(folder) else file for file in run.named]
        imported = [item for run in runs for item in importing.read_run(run, given, pattern)]
        rows, known = [item.row() for item in imported], 0
        if said.into is not None:
            rows, known = importing.add_to(results_at(Path(said.into)), imported)
    for path, why in unreadable.items():
        print(f"sweep: cannot read {path}: {why}", file=sys.stderr)
    _tell_import(rows, as_json=said.json, into=said.into, known=known, passed_over=passed_over)
    return Exit.INCOMPLETE if unreadable else Exit.OK


def _tell_import(
    rows: Sequence[Mapping[str, Any]], *, as_json: bool, into: str | None, known: int, passed_over: int
) -> None:
    from sweep import summary

    if as_json:
        for row in rows:
            print(json.dumps(row, default=str))
    else:
        summary.print_imported(rows)
    counts = Counter(row["status"] for row in rows)
    told = [f"{count} {status}" for status, count in counts.items()]
    told += [f"{known} in the table already"] if known else []
    told += [f"{passed_over} other files passed over"] if passed_over else []
    print(f"import{f' into {into}' if into else ''}: {', '.join(told) or 'nothing'}", file=sys.stderr)


def _reparse(folder: str) -> int:
    from sweep import importing
    from sweep.config import SweepConfig

    results = _existing(folder)
    configs = [SweepConfig.of(config, results.folder.parent) for config in results.configs().values()]
    models = {part.model.id: part.model for config in configs for part in config.parts}
    changes, kept = importing.reparse(results, models)
    counts = Counter(f"{before} → {now}" for before, now in changes if before != now)
    told = ", ".join(f"{count} {change}" for change, count in counts.items()) or "no status changed"
    print(f"{len(changes)} rows made again: {told}; {kept} without evidence kept as they were", file=sys.stderr)
    return Exit.OK


def _standard_input(folder: Path) -> Path:
    path = folder / "standard-input"
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return path


def results_at(folder: Path) -> Results:
    from sweep.table import Results

    return Results(folder)


def compact(arguments: list[str]) -> int:
    """Merge the parts of a table."""
    parser = _parser("compact", "Merge the parts of a table into one; readers see the old or the new one.")
    parser.add_argument("folder", help="results/NAME")
    results = _existing(parser.parse_args(arguments).folder)
    results.compact()
    print(f"{results.table_dir} is one part now", file=sys.stderr)
    return Exit.OK


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"python -m sweep {command}", description=description)


def _existing(folder: str) -> Results:
    results = results_at(Path(folder))
    if not results.table_dir.is_dir():
        raise UsageError(f"{folder} holds no table (there is no folder {results.table_dir})")
    return results
