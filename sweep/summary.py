"""What a person reads in the terminal: the plan, the state and the result of a sweep, as text and tables."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sweep import terminal
from sweep.backends import Stage
from sweep.durations import LOAD_S, Overlong, limit_for
from sweep.matrix import Reason
from sweep.plan import Outlook, Plan
from sweep.point import SETTINGS, Point
from sweep.point_labels import labels
from sweep.progress import duration

if TYPE_CHECKING:
    from rich.console import Console

    from sweep.backends.gke import Live
    from sweep.quarantine import Avoided

SHOWN_POINTS = 6
"""Points that `plan` lists at each end of the order."""
SHOWN_FRONT = 40
"""Points of one Pareto front that are printed after a run."""

WIDTH_OF_FILE = 32
"""Characters of a file's name before it is folded."""
WIDTH_ELSEWHERE = 140
"""Characters of a line where stdout is no terminal."""

DEFAULT_COLUMNS = (
    "status",
    "source",
    "isl",
    "osl",
    "tp",
    "ep",
    "attention_dp",
    "kv_cache_dtype",
    "concurrency",
    "output_tput_per_gpu",
    "tps_per_user",
    "ttft_ms_p99",
    "tpot_ms_p50",
)


def pruned_lines(pruned: Mapping[Reason, int]) -> list[str]:
    """Return one line per reason, the most frequent first."""
    ordered = sorted(pruned.items(), key=lambda item: (-item[1], str(item[0])))
    return [f"  {count:>6,}  {reason}" for reason, count in ordered]


def pruned_as_data(plan: Plan) -> dict[str, int]:
    """Return the pruning summary as plain data."""
    return {str(reason): count for reason, count in plan.pruned.items()}


def plan_as_data(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain data, for `plan --json`."""
    return {
        "cells": plan.cells,
        "pruned": pruned_as_data(plan),
        "points": len(plan.points),
        "done": plan.done,
        "to_do": len(plan.attempts),
        "engines": plan.engines,
        "engine_loads": plan.engine_loads,
        "engine_splits": list(plan.engine_splits),
        "deployments": [
            {
                "deployment_id": deployment.deployment_id,
                "gpus_held": deployment.gpus_held,
                "attempts": [
                    {"point_id": a.point_id, "repeat": a.repeat, "attempt": a.number, "settings": settings(a.point)}
                    for a in deployment.attempts
                ],
            }
            for deployment in plan.deployments
        ],
    }


def settings(point: Point) -> dict[str, Any]:
    """Return every setting of a point as plain data."""
    return {name: getattr(point, name) for name in SETTINGS}


def print_plan(plan: Plan, name: str, source: str) -> None:
    """Print what would run and why the rest does not."""
    print(f"{name}: {plan.cells:,} cells → {len(plan.points):,} points", end="")
    print(f" → {plan.engines:,} engines → {len(plan.deployments):,} deployments ({source})")
    if plan.pruned:
        print(f"\n{plan.cells - len(plan.points):,} cells are no points of their own:")
        print("\n".join(pruned_lines(plan.pruned)))
    print(f"\n{plan.done:,} of {plan.done + len(plan.attempts):,} measurements have their row, ", end="")
    print(f"{len(plan.attempts):,} are to do" + (f" ({plan.failed_before:,} again)" if plan.failed_before else ""))
    if plan.outlook.skipped:
        reasons = Counter(kind for kind, _ in plan.outlook.skipped.values()).most_common()
        print(f"{len(plan.outlook.skipped):,} are skipped: {', '.join(f'{count:,} {kind}' for kind, count in reasons)}")
    if hint := redo_hint(plan.outlook):
        print(hint)
    if not plan.attempts:
        return
    print(f"{plan.engine_loads:,} engine loads", end="")
    print(f"; engines differ in {', '.join(plan.engine_splits)}" if plan.engine_splits else "")
    print("\nOrder:")
    shown = list(enumerate(plan.attempts, start=1))
    cut, names = len(shown) > 2 * SHOWN_POINTS, labels({**plan.points, **{a.point_id: a.point for a in plan.attempts}})
    for number, attempt in shown[:SHOWN_POINTS] if cut else shown:
        print(f"  {number:>6,}  {attempt.point_id}  {names[attempt.point_id]}")
    if cut:
        print("          ...")
        for number, attempt in shown[-SHOWN_POINTS:]:
            print(f"  {number:>6,}  {attempt.point_id}  {names[attempt.point_id]}")


def overlong_lines(found: Sequence[Overlong], plan: Plan, timeout_s: int) -> list[str]:
    """Return which points would be ended before they have their report, and the limit that would do."""
    names, count = labels(plan.points), len(found)
    return [
        f"{count:,} of {len(plan.points):,} points would be ended by backend.point_timeout_s={timeout_s} ({LOAD_S} s of"
        " it are for the load), by prediction:",
        *(f"  {each.predicted_s:>9,.0f} s  {each.point_id}  {names[each.point_id]}" for each in found),
        f"set backend.point_timeout_s={limit_for(found)}, or leave {'it' if count == 1 else 'them'} out"
        " (matrix.exclude); a run does not begin before that",
    ]


def print_status(plan: Plan, frame: Any | None, *, holder: str | None, folder: Path) -> None:
    """Print what is done, failed (why) and to do; `frame` is None as long as there is no table."""
    so_far = "nothing yet" if frame is None else f"{plan.done:,} done"
    print(f"{folder}: {so_far}, {len(plan.attempts):,} to do", end="")
    print(f", {plan.failed_before:,} of them failed before" if plan.failed_before else "", end="")
    print(f", {len(plan.outlook.skipped):,} skipped" if plan.outlook.skipped else "")
    if hint := redo_hint(plan.outlook):
        print(hint)
    if frame is not None or holder:
        print(f"running: {holder}" if holder else "no run holds this table")
    if frame is not None:
        mine = frame[frame["point_id"].isin(list(plan.points))]
        print("\n".join(without_a_number(mine)), end="\n" if (mine["status"] != "ok").any() else "")


def nothing_to_do(plan: Plan, folder: Path) -> str:
    """Return why a run has nothing to do, how to have more, and what shows the rows."""
    reasons = [f"all {len(plan.points):,} points have their row; nothing to do", redo_hint(plan.outlook)]
    return ". ".join([*filter(None, reasons), f"To see them: python -m sweep show {shlex.quote(str(folder))}"])


def redo_hint(outlook: Outlook) -> str:
    """Return how many measurements were given up, and what measures them again; an empty text where there are none."""
    given_up = Counter(kind for kind, _ in outlook.given_up.values())
    if not given_up:
        return ""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in given_up.most_common())
    words = ["invalid"] if any(status == "invalid" for _, status in outlook.given_up.values()) else []
    words += ["failed"] if any(status == "failed" for _, status in outlook.given_up.values()) else []
    how = " and ".join(f"run.redo={word}" for word in words)
    return f"{given_up.total():,} are given up ({kinds}): {how} measures them again"


def quarantine_lines(nodes: Sequence[Avoided]) -> list[str]:
    """Return a line for each node that is avoided: how often it failed, how, and until when."""
    return [
        f"node {each.node} is avoided until {each.until:%Y-%m-%d %H:%M} UTC: {each.failures} failures"
        f" ({', '.join(each.kinds)})"
        for each in nodes
    ]


def print_live(deployments: Sequence[Live], plan: Plan, *, results_uri: str | None) -> None:
    """Print what is on the cluster: each deployment with its stage, node, age, and what it waits for or measures."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    now, to_do = datetime.now(UTC), {attempt.key for attempt in plan.attempts}
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("Job", "stage", "node", "age", "points", "what"):
        table.add_column(column, justify="right" if column in ("age", "points") else "left", overflow="fold")
    for live in sorted(deployments, key=lambda live: (live.standing.ended, list(Stage).index(live.standing.stage))):
        standing = live.standing
        stage, message = str(standing.stage), standing.message
        if standing.ended:
            stage = "ended" if to_do.intersection(live.attempts) else "in the table"
        if not live.whole and not standing.ended:
            message = "its ConfigMap is missing: a driver was killed as it made it; the same command makes it again"
        age = "" if live.since is None else duration((now - live.since).total_seconds())
        table.add_row(live.job, stage, standing.node or "", age, str(len(live.attempts)), message)
    out = console()
    out.print(table)
    if any(live.standing.ended and to_do.intersection(live.attempts) for live in deployments):
        out.print("What has ended is collected by the same command.")
    if results_uri is None and to_do:
        out.print(
            "Without backend.bucket or backend.results_uri the pods' logs are all there is: what a pod that is deleted"
            " told nobody is measured again.",
            soft_wrap=True,
        )


def without_a_number(frame: Any) -> list[str]:
    """Return one line per reason why rows have no number."""
    bad = frame[frame["status"] != "ok"]
    groups = bad.groupby(["status", "failure_kind", "failure_message"], dropna=False)
    return [f"  {len(rows):>6,}  {status} ({kind}): {message}" for (status, kind, message), rows in groups]


def print_result(frame: Any, plan: Plan, folder: Path) -> None:
    """Print the Pareto points of each ISL/OSL, what failed, and how to go on in pandas."""
    from rich.table import Table

    from sweep.analysis import bounds, pareto, stand_ins

    out = console()
    mine = frame[frame["point_id"].isin(list(plan.points))]
    streamed = bool(mine["tps_per_user"].notna().any())
    speed = "tps_per_user" if streamed else "tps_per_user_e2e"  # without streaming only end-to-end times are known
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        front = pareto(mine, x=speed, by=("model", "isl", "osl"))
    for group, rows in front.groupby(["model", "isl", "osl", "source"], sort=False):
        model, isl, osl, source = (str(value) for value in group)
        mark = "PREDICTED, not measured" if source == "simulated" else "measured"
        head = f"{model}  ISL {isl} / OSL {osl}  Pareto points, {mark}"
        if len(head) > out.width:  # else the terminal would break it in a word
            head = head.replace("  Pareto", "\nPareto")
        out.print(head, style="bold", soft_wrap=True)
        for name in stand_ins(rows).values():
            out.print(f"predicted as {name}", style="bold", highlight=False, markup=False, soft_wrap=True)
        table = Table()
        for column in ("layout", "KV", "concurrency", "tok/s/GPU", "tok/s/user", "TTFT p99 ms"):
            name = "tok/s/user, end to end" if column == "tok/s/user" and not streamed else column
            table.add_column(name, justify="left" if column in ("layout", "KV") else "right")
        for row in rows[:SHOWN_FRONT].itertuples():
            table.add_row(
                layout(row),
                str(row.kv_cache_dtype),
                str(row.concurrency or "unlimited"),
                f"{row.output_tput_per_gpu:,.0f}",
                f"{getattr(row, speed):,.1f}",
                number(row.ttft_ms_p99, row.ttft_ms_max, digits=0) or "–",
            )
        out.print(table)
        if len(rows) > SHOWN_FRONT:
            out.print(f"and {len(rows) - SHOWN_FRONT:,} more")
    if (unknown := front[front["ttft_ms_p99"].isna()])["ttft_ms_max"].notna().any():
        out.print(bounds.WHY, style="dim")
    if unknown["ttft_ms_max"].isna().any() and streamed:
        out.print("– : neither the P99 nor the maximum is known", style="dim")
    for warning in told:
        out.print(f"Take care: {warning.message}", style="yellow", soft_wrap=True)
    counts = mine["status"].value_counts()
    out.print(", ".join(f"{count} {status}" for status, count in counts.items()), highlight=False)
    for line in without_a_number(mine):
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    if (mine["source"] == "simulated").any():
        out.print("These rows are predictions of a simulator; no GPU was used.", style="bold yellow")
    out.print(f"\nTable: {folder / 'table'}\n", highlight=False, soft_wrap=True)
    out.print("  import pandas", highlight=False)
    out.print(f'  df = pandas.read_parquet("{folder / "table"}")', highlight=False, soft_wrap=True)
    out.print("or, only what is ok, the last attempt of each point:", highlight=False)
    out.print(f'  import sweep; df = sweep.load("{folder}")', highlight=False, soft_wrap=True)


def print_rows(frame: Any, columns: Sequence[str] | None) -> None:
    """Print rows as a table; without `columns`, those that most people want.

    Where the terminal is narrower than that, what all rows have in common is said once above it. No word of a title and
    no value is ever broken to fit: a line that is still too long goes on in the next one of the terminal.
    """
    from pandas.api.types import is_numeric_dtype
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from sweep.analysis import bounds, stand_ins

    names = list(columns or DEFAULT_COLUMNS)
    cells = {name: _cells(frame, name) for name in names}
    natural = {name: max(map(len, [name, *cells[name]])) for name in names}
    least = {name: max(map(len, [*name.split("_"), *cells[name]])) for name in names}
    for name in names:
        if not is_numeric_dtype(frame[name].dtype):
            least[name] = min(least[name], WIDTH_OF_FILE)
    out, common = console(), {}
    if columns is None and len(frame) > 1 and table_width(least.values()) > out.width:
        common = {name: cells[name][0] for name in names if len(set(cells[name])) == 1}
        names = [name for name in names if name not in common]
    widths = widened({name: least[name] for name in names}, natural, out.width - table_width(least[n] for n in names))
    out.width = max(out.width, table_width(widths.values()))
    for model, name in stand_ins(frame).items():
        out.print(f"{model}: predicted as {name}", style="bold", highlight=False, markup=False, soft_wrap=True)
    if common:
        told = ", ".join(f"{name.replace('_', ' ')} {value or '–'}" for name, value in common.items())
        out.print(f"In all rows: {told}", highlight=False, markup=False, soft_wrap=True)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in names:
        right = is_numeric_dtype(frame[name].dtype)
        title = name.replace("_", " ")
        table.add_column(title, overflow="fold", justify="right" if right else "left", width=widths[name])
    for row in zip(*(cells[name] for name in names), strict=True):
        table.add_row(*row)
    out.print(table)
    if any(text.startswith(bounds.AT_MOST) for name in names for text in cells[name]):
        out.print(bounds.WHY, style="dim", highlight=False)
    if "source" not in names and (frame["source"] == "simulated").any():
        out.print("Rows of source simulated are predictions; no GPU was used.", style="bold yellow")


def _cells(frame: Any, name: str) -> list[str]:
    """Return a column as people read it; a percentile that is null shows the maximum that bounds it."""
    from sweep.analysis import bounds

    if bounds.maximum_of(name) is None:
        return [cell(value) for value in frame[name]]
    return [number(value, most) for value, most in zip(frame[name], bounds.at_most(frame, name), strict=True)]


def table_width(columns: Iterable[int], *, padding: int = 1) -> int:
    """Return how wide a table of SIMPLE_HEAD is whose columns have these widths, and are padded on the right."""
    return 1 + sum(column + padding + 1 for column in columns)


def widened(least: Mapping[str, int], natural: Mapping[str, int], spare: int) -> dict[str, int]:
    """Return the widths of columns that share what is spare: first those get their natural width that lack least."""
    widths, spare = dict(least), max(0, spare)
    for name in sorted(least, key=lambda name: natural[name] - least[name]):
        widths[name] += min(spare, natural[name] - least[name])
        spare -= widths[name] - least[name]
    return widths


def print_imported(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print what became of imported files, one line each, and in full why some have no good number."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    if not rows:
        return
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    kind = ["kind"] if any(row["failure_kind"] for row in rows) else []
    for column in ("file", "status", *kind, "version", "model", "ISL/OSL", "layout", "requests", "tok/s", "tok/s/user"):
        justify: Literal["left", "right"] = "right" if column.startswith(("requests", "tok")) else "left"
        table.add_column(
            column, overflow="fold", justify=justify, min_width=WIDTH_OF_FILE if column == "file" else None
        )
    for row in rows:
        parallel = [f"{name.upper()}{row[name]}" for name in ("tp", "pp", "ep") if (row[name] or 1) > 1 or name == "tp"]
        table.add_row(
            Path(row["imported_from"]).name,
            row["status"],
            *(row["failure_kind"] or "" for _ in kind),
            row["trtllm_version"],
            (row["model"] or "").rpartition("/")[2],
            "/".join(cell(row[name]) or "?" for name in ("isl", "osl")),
            " ".join(parallel) if row["tp"] else "",
            cell(row["effective_num_requests"]),
            cell(row["output_tput_tps"]),
            cell(row["tps_per_user"]),
        )
    out = console()
    out.print(table)
    for row in rows:
        if row["failure_message"]:
            told = (
                f"{Path(row['imported_from']).name}: {row['status']} ({row['failure_kind']}): {row['failure_message']}"
            )
            out.print(told, highlight=False, markup=False, soft_wrap=True)


def cell(value: Any) -> str:
    """Return a value as people read it; nothing where it is null."""
    if value is None or str(value) in ("<NA>", "nan", "NaT"):
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.1f}" if abs(value) >= 10 or value == 0 else f"{value:.3g}"


def number(value: Any, at_most: Any = None, *, digits: int | None = None) -> str:
    """Return a number as people read it; where it is null and what bounds it is known, that with its mark.

    digits: behind the point; None chooses them by the number's size.
    """
    from sweep.analysis import bounds

    def shown(value: Any) -> str:
        return cell(value) if digits is None or not cell(value) else f"{value:,.{digits}f}"

    return shown(value) or (f"{bounds.AT_MOST} {shown(at_most)}" if cell(at_most) else "")


def layout(row: Any) -> str:
    """Return the parallelism of a row, for example `TP4 EP4 attention DP`; what an imported row does not know is left
    out."""
    told = {name: value for name in ("tp", "pp", "ep") if cell(value := getattr(row, name))}
    parts = [f"{name.upper()}{value}" for name, value in told.items() if value > 1 or name == "tp"]
    return " ".join([*parts, *(["attention DP"] if cell(row.attention_dp) == "True" else [])])


def console() -> Console:
    """Return what tables are printed with; where stdout is no terminal, lines of WIDTH_ELSEWHERE."""
    return terminal.console(width=None if sys.stdout.isatty() else WIDTH_ELSEWHERE)
