"""Commands with paths: they read tables and files, and ask no configuration."""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.cli.exits import Exit
from sweep.errors import NONSENSE, UsageError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from sweep.analysis import Comparison
    from sweep.importing import Imported
    from sweep.table import Results

MOST_INPUT_BYTES = 8 << 30
"""What is read of the standard input at most: it is kept as a file for as long as it is imported."""


def show(arguments: list[str]) -> int:
    """Print the rows of a table."""
    from sweep import analysis, summary
    from sweep.table import load

    parser = _parser("show", "Print the rows of one or more tables, failed ones too.")
    parser.add_argument("folders", nargs="+", metavar="results/NAME")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object per row and line")
    form.add_argument(
        "--csv",
        action="store_true",
        help="comma-separated, with a header; a text that a spreadsheet would compute begins with an apostrophe",
    )
    parser.add_argument("--columns", help="comma-separated names; results/README.md explains them")
    parser.add_argument(
        "--where",
        metavar="CONDITION",
        help="only rows that meet it, for example \"status == 'ok' and ttft_ms_p99 < 500\"; the maximum bounds a P99 or"
        " P95 that is null for lack of requests",
    )
    parser.add_argument("--sort", metavar="COLUMNS", help="comma-separated names; -NAME is downwards, nulls come last")
    parser.add_argument("--desc", action="store_true", help="sort downwards")
    parser.add_argument("--all-attempts", action="store_true", help="the tries before the last one of each repeat, too")
    said = parser.parse_args(_joined(arguments, "--sort"))
    folders = [_existing(folder).folder for folder in said.folders]
    frame = load(folders, status="all", attempts="all" if said.all_attempts else "last")
    columns = _names(said.columns) if said.columns else None
    _expect_columns(frame, columns or ())
    if said.where:
        for name, lacking in analysis.undecided(frame, said.where).items():
            if count := int((lacking & frame["status"].eq("ok")).sum()):
                rows = "1 ok row lacks" if count == 1 else f"{count} ok rows lack"
                print(f"sweep: {rows} {name} and its maximum, so no limit on it is met", file=sys.stderr)
        frame = frame[analysis.rows_where(frame, said.where)]
    if said.sort or said.desc:
        frame = _sorted(frame, said.sort, said.desc)
    if said.json:
        _print_json_lines(frame[columns] if columns else frame)
    elif said.csv:
        _defused(frame[columns] if columns else frame).to_csv(sys.stdout, index=False)
    else:
        summary.print_rows(frame, columns)
    return Exit.OK


def _joined(arguments: Sequence[str], option: str) -> list[str]:
    """Write `--sort -NAME` as `--sort=-NAME`: else argparse takes the value for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == option:
            joined[-1] = f"{option}={argument}"
        else:
            joined.append(argument)
    return joined


def _names(text: str) -> list[str]:
    """Return comma-separated names, each once."""
    return list(dict.fromkeys(name.strip() for name in text.split(",")))


def _expect_columns(frame: pd.DataFrame, names: Iterable[str]) -> None:
    for name in names:
        if name not in frame:
            raise UsageError(f"there is no column {name or repr(name)}{nearest(name, frame.columns)}")


def _sorted(frame: pd.DataFrame, columns: str | None, downwards: bool) -> pd.DataFrame:
    if columns is None:
        raise UsageError("--desc sorts downwards by what? give --sort COLUMN")
    said = _names(columns)
    names = [name.removeprefix("-") for name in said]
    _expect_columns(frame, names)
    upwards = [name.startswith("-") == downwards for name in said]
    return frame.sort_values(names, ascending=upwards, kind="stable")


def _print_json_lines(frame: pd.DataFrame) -> None:
    for row in json.loads(frame.to_json(orient="records", date_format="iso", date_unit="us", double_precision=15)):
        print(json.dumps(row))


FORMULA = "=+-@＝＋－＠"
"""What begins a cell that a spreadsheet computes, in full width too (OWASP, "CSV Injection")."""
SEPARATORS = ("\t", "\r", "\n")
"""What may end a cell, so that the next one begins with what follows."""


def _defused(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with an apostrophe before each text that would be a formula; numbers stay as they are."""
    return frame.map(lambda value: f"'{value}" if isinstance(value, str) and _is_formula(value) else value)


def _is_formula(text: str) -> bool:
    """Return whether a spreadsheet may compute a text; some ignore blanks and invisible characters before a formula."""
    first = next((each for each in text if each.isprintable() and not each.isspace()), "")
    return text.startswith(SEPARATORS) or (first != "" and first in FORMULA)


def compare(arguments: list[str]) -> int:
    """Say what is faster and what is slower in one table than in another."""
    from sweep import analysis, comparison_summary

    parser = _parser(
        "compare",
        "Say what is faster, slower or the same in B beside A, as a whole and point by point, and how sure that is."
        " Points are matched by their settings. Measured against simulated gives the errors of the prediction."
        " Exit code 1: --fail-on names what was found.",
    )
    parser.add_argument("a", metavar="results/A")
    parser.add_argument("b", metavar="results/B")
    parser.add_argument("--json", action="store_true", help="one JSON object: verdict, tests, rows, noise, notes")
    parser.add_argument("--all", action="store_true", help="list every point, those that are the same too")
    parser.add_argument(
        "--fail-on",
        action="append",
        default=[],
        choices=["regression", "missing"],
        help="exit code 1 where the sweep as a whole is slower, or where a point of A has no ok row in B",
    )
    parser.add_argument("--metric", default="output_tput_per_gpu", metavar="COLUMN", help="default: %(default)s")
    parser.add_argument("--at", metavar="LIST", help="tok/s/user at which throughput is compared, for example 30,60")
    parser.add_argument(
        "--noise", metavar="SHARE", help="standard deviation between engine starts, for example 2%% or 0.02"
    )
    parser.add_argument("--alpha", metavar="SHARE", default="5%", help="chance of a false alarm; default: 5%%")
    parser.add_argument("--allow", default="", metavar="COLUMNS", help="what may differ, for example driver_version")
    parser.add_argument(
        "--source", metavar="SOURCE", help="where tables hold both: measured, simulated, or one of each: A's,B's"
    )
    said = parser.parse_args(arguments)
    source_a, _, source_b = (said.source or "").partition(",")
    a, b = _of_source(said.a, source_a), _of_source(said.b, source_b or source_a)
    found = analysis.compare(
        a,
        b,
        metric=said.metric,
        at=None if said.at is None else [_number("--at", text) for text in said.at.split(",")],
        noise=None if said.noise is None else _number("--noise", said.noise),
        alpha=_number("--alpha", said.alpha),
        allow=[name for name in _names(said.allow) if name],
    )
    if empty := [*_nothing_in(said.a, a, source_a), *_nothing_in(said.b, b, source_b or source_a)]:
        found = replace(found, notes=(*empty, *found.notes))
    if said.json:
        print(json.dumps(comparison_summary.comparison_as_data(found)))
    else:
        comparison_summary.print_comparison(found, said.a, said.b, every_row=said.all)
    return _gate(found, said.fail_on)


def _gate(found: Comparison, fail_on: Sequence[str]) -> Exit:
    """Return the exit code that --fail-on asks for; what is missing is found also where nothing can be compared."""
    from sweep.analysis import Verdict

    missing = int((found.unmatched["side"] == "a").sum()) if "missing" in fail_on else 0
    if missing:
        print(f"sweep: --fail-on missing: {missing} points of A have no ok row in B, see above", file=sys.stderr)
    elif "regression" in fail_on and found.verdict in (Verdict.NOT_COMPARABLE, Verdict.PREDICTION):
        raise UsageError("--fail-on regression cannot be answered: nothing measured was compared, see above")
    return Exit.REGRESSION if missing or ("regression" in fail_on and found.regressed) else Exit.OK


def _of_source(folder: str, source: str) -> pd.DataFrame:
    """Return the rows of a table; where it holds measured and simulated ones, those of the source that is asked for."""
    from sweep.table import Source

    frame = _existing(folder).load()
    if source and source not in list(Source):
        raise UsageError(f"--source {source} is none of {', '.join(Source)}{nearest(source, Source)}")
    if not source and frame.loc[frame["status"] == "ok", "source"].nunique() > 1:
        raise UsageError(
            f"{folder} holds measured and simulated rows; choose: --source measured, --source simulated, or"
            " --source measured,simulated to hold B's predictions against A's measurements"
        )
    return frame[frame["source"] == source] if source else frame


def _nothing_in(folder: str, frame: pd.DataFrame, source: str) -> list[str]:
    """Return why nothing of a table can be compared, where it has no ok row of its source."""
    kind = f"{source} rows" if source else "rows"
    if frame.empty:
        return [f"{folder}: there are no {kind} yet."]
    return [] if frame["status"].eq("ok").any() else [f"{folder}: none of its {len(frame):,} {kind} is ok."]


def _number(option: str, text: str) -> float:
    """Return the number that an option says; 2% is 0.02."""
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{option} must be a number, not {text!r}")
    return number


MOST_IGNORED = 50
"""Of the files of folders that were ignored so many are named."""


def import_files(arguments: list[str]) -> int:
    """Make rows of reports and logs."""
    from sweep import importing

    parser = _parser(
        "import",
        "Reports and logs that you already have become rows: of trtllm-bench 0.16 to 1.4 and benchmark_serving, JSON"
        " or text, pod logs, folders, .gz. Each run is judged as one of sweep is; a log of a failure is a row too, and"
        " what one run printed to two files is one row. Exit code 3: a file that was given gave no row; it is named.",
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
    if not all(file.strip() for file in said.files):
        raise UsageError("import what? a FILE is empty; write . for the current folder")
    into = None if said.into is None else results_at(said.into)
    given: dict[str, Any] = {}
    for name, value in map(importing.parse_setting, said.set):
        if name in given:
            raise UsageError(f"--set {name} is given twice")
        given[name] = value
    pattern = None if said.pattern is None else importing.Pattern.of(said.pattern)
    with tempfile.TemporaryDirectory(prefix="sweep-import-") as folder:
        paths = [Path(file) if file != "-" else _standard_input(Path(folder)) for file in said.files]
        runs, unreadable, ignored = importing.find_runs(paths, Path(folder) / "unpacked")
        for run in runs:  # what came by standard input lies in no folder of the user's
            run.named = [Path(file.name) if file.parent == Path(folder) else file for file in run.named]
        imported = _with_notes(importing.read_runs(runs, given, pattern, unreadable))
        if into is not None:
            rows, known = importing.add_to(into, imported)
        else:
            rows, known = [item.row() for item in imported], 0
    for path, why in unreadable.items():
        shown = path.name if path.parent == Path(folder) else path
        print(f"sweep: cannot read {shown}: {why}", file=sys.stderr)
    _tell_import(rows, as_json=said.json, into=said.into, known=known, ignored=sorted(ignored))
    named = {*paths, *(Path(path.name) for path in paths if path.parent == Path(folder))}
    return Exit.INCOMPLETE if named & unreadable.keys() else Exit.OK


def _with_notes(imported: Iterable[Imported]) -> Iterator[Imported]:
    """Yield runs; print first what their files hold beyond the row."""
    for item in imported:
        for note in item.notes:
            print(f"sweep: {item.named}: {note}", file=sys.stderr)
        yield item


def _tell_import(
    rows: Sequence[Mapping[str, Any]], *, as_json: bool, into: str | None, known: int, ignored: Sequence[Path]
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
    if ignored:
        names = [path.name for path in ignored[:MOST_IGNORED]]
        names += [f"and {len(ignored) - MOST_IGNORED} more"] if len(ignored) > MOST_IGNORED else []
        told.append(f"{len(ignored)} other files passed over: {', '.join(names)}")
    print(f"import{f' into {into}' if into else ''}: {', '.join(told) or 'nothing'}", file=sys.stderr)


def _reparse(folder: str) -> int:
    from sweep import importing
    from sweep.config import SweepConfig

    results = _existing(folder)
    configs = []
    for config_hash, config in results.configs().items():
        try:
            configs.append(SweepConfig.of(config, results.folder.parent))
        except NONSENSE as error:
            file, why = results.config_file(config_hash), f"{type(error).__name__}: {error}"
            raise UsageError(
                f"{file} is not a configuration of a sweep ({why}); restore it, or move it away"
            ) from error
    models = {part.model.id: part.model for config in configs for part in config.parts}
    changes, kept = importing.reparse(results, models)
    counts = Counter(f"{before} → {now}" for before, now in changes if before != now)
    told = ", ".join(f"{count} {change}" for change, count in counts.items()) or "no status changed"
    print(f"{len(changes)} rows made again: {told}; {kept} without evidence kept as they were", file=sys.stderr)
    return Exit.OK


def _standard_input(folder: Path) -> Path:
    path, size = folder / "standard-input", 0
    if sys.stdin is None:
        raise UsageError("the standard input is closed; give files or folders instead of -")
    with path.open("wb") as file:
        while piece := sys.stdin.buffer.read(1 << 20):
            file.write(piece)
            size += len(piece)
            if size > MOST_INPUT_BYTES:
                raise UsageError(f"more than {MOST_INPUT_BYTES >> 30} GiB by standard input; name a file instead")
    return path


def results_at(folder: str) -> Results:
    """Return the table of a folder that the command line names.

    Raises:
        UsageError: it is empty, which would be the current folder, or not UTF-8.
    """
    from sweep.table import Results

    if not folder.strip():
        raise UsageError(f"name the folder of a table, for example results/NAME, not {folder!r}")
    try:
        folder.encode()
    except UnicodeEncodeError:  # Arrow takes no other
        raise UsageError(f"{folder} cannot hold a table: its name is not UTF-8") from None
    return Results(Path(folder))


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
    results = results_at(folder)
    results.expect_table()
    return results
