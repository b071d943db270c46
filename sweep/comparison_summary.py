"""What a person, or a program, reads of a comparison of two sweeps."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from sweep.analysis import Verdict, bounds
from sweep.summary import cell, console, layout, number, table_width, widened

if TYPE_CHECKING:
    from rich.console import Console

    from sweep.analysis import Comparison
    from sweep.analysis.noise import Noise

SHOWN_ROWS = 40
"""Points that are listed before the rest is counted only."""
SHOWN_REASONS = 8
NO_NUMBER, TOO_FEW = (
    "no number",
    "too few requests for this percentile, of which only the maximum is known (--all lists it)",
)
LONGEST_WORD = 12
"""Characters of a name's word that stay together in a narrow terminal."""

STYLES: Mapping[str, str] = {
    Verdict.FASTER: "green",
    Verdict.SLOWER: "red",
    Verdict.MIXED: "yellow",
    Verdict.SAME: "",
    Verdict.NOT_COMPARABLE: "yellow",
    Verdict.PREDICTION: "yellow",
}


def comparison_as_data(found: Comparison) -> dict[str, Any]:
    """Return a comparison as plain data, for `compare --json`."""
    return {
        "verdict": found.verdict.value,
        "metric": found.metric,
        "changed": {name: {"a": a, "b": b} for name, (a, b) in found.changed.items()},
        "noise": None if found.noise is None else _noise(found.noise),
        "notes": list(found.notes),
        "tests": _records(found.tests),
        "rows": _records(found.rows),
        "unmatched": _records(found.unmatched),
    }


def _noise(noise: Noise) -> dict[str, Any]:
    return {
        "between_starts": noise.between_starts,
        "within_start": noise.within_start,
        "assumed": noise.assumed,
        "degrees_of_freedom": noise.start_df if math.isfinite(noise.start_df) else None,
    }


def _records(frame: Any) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", date_format="iso", double_precision=15))
    return made


def print_comparison(found: Comparison, a: str, b: str, *, every_row: bool = False) -> None:
    """Print the verdict, the questions to the whole, and the points that differ.

    a, b: how the two sweeps are called.
    every_row: list the points that are the same, too.
    """
    out = console()
    out.print(f"A: {a}\nB: {b}", highlight=False, markup=False, soft_wrap=True)
    if found.verdict is Verdict.PREDICTION:
        out.print("One is PREDICTED, the other measured: how far the prediction is off", style="bold yellow")
    else:
        style = f"bold {STYLES[found.verdict]}".strip()
        out.print(f"\nB is {found.verdict.upper()} ({found.metric})", style=style, highlight=False)
    for name, (in_a, in_b) in found.changed.items():
        out.print(f"{name}: {in_a} → {in_b}", highlight=False, markup=False, soft_wrap=True)
    for note in found.notes:
        out.print(note, highlight=False, markup=False, soft_wrap=True)
    _print_unmatched(out, found.unmatched)
    if found.verdict is Verdict.PREDICTION:
        _print_errors(out, found)
        return
    if len(found.tests):
        _print_tests(out, found.tests)
    if len(found.rows):
        _print_rows(out, found.rows, every_row)


def _print_unmatched(out: Console, unmatched: Any) -> None:
    counts = unmatched.groupby(["side", "why"], sort=False).size()
    for (side, why), count in list(counts.items())[:SHOWN_REASONS]:
        out.print(f"  {count:>6,}  points only in {str(side).upper()}: {why}", highlight=False, markup=False)


def _print_tests(out: Console, tests: Any) -> None:
    columns = ("points of", "question", "n|", "A|", "B|", "B / A|", "95 % interval|", "sees from|", "verdict")
    rows = [
        (
            _group(tests, row),
            str(row.test) if math.isnan(row.at) else f"{row.test} {row.at:g} tok/s/user",
            str(row.points),
            _figure(row.a),
            _figure(row.b),
            f"{row.ratio:.3f}",
            f"{row.ratio_low:.3f} – {row.ratio_high:.3f}",
            f"{row.detectable:.1%}",
            row.verdict,
        )
        for row in tests.itertuples()
    ]
    _print_table(out, columns, rows)


def _print_rows(out: Console, rows: Any, every_row: bool) -> None:
    counts = rows["verdict"].value_counts()
    out.print("Points: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()), highlight=False)
    shown = rows if every_row else rows[rows["verdict"].isin([Verdict.FASTER, Verdict.SLOWER])]
    why = rows.loc[rows["verdict"] == Verdict.NOT_COMPARABLE, "differs"].replace("", NO_NUMBER)
    bounded = rows.filter(like="_at_most").notna().any(axis=1)
    reasons = why.mask(bounded & why.eq(NO_NUMBER), TOO_FEW).value_counts()
    for reason, count in list(reasons.items())[:SHOWN_REASONS]:
        out.print(f"  {count:>6,}  not comparable: {reason}", highlight=False, markup=False, soft_wrap=True)
    if set(reasons.index) - {NO_NUMBER, TOO_FEW}:
        out.print("--allow NAME compares them all the same.")
    if shown.empty:
        return
    ordered = shown.sort_values("ratio", na_position="last")
    listed = []
    for row in (ordered if every_row else ordered.head(SHOWN_ROWS)).itertuples():
        ratio = (f"{row.ratio:.3f}", f"{row.ratio_low:.3f} – {row.ratio_high:.3f}", f"{row.q:.3g}")
        known = ratio if not math.isnan(row.ratio) else ("", "", "")
        figures = (_figure(getattr(row, side), getattr(row, f"{side}_at_most", None)) for side in ("a", "b"))
        listed.append((_point(row), *figures, *known, row.verdict))
    _print_table(out, ("point", "A|", "B|", "B / A|", "95 % interval|", "q|", "verdict"), listed)
    if bounded[shown.index].any():
        out.print(bounds.WHY, style="dim")
    if not every_row and len(shown) > SHOWN_ROWS:
        out.print(f"and {len(shown) - SHOWN_ROWS:,} more; --all lists every point")


def _print_errors(out: Console, found: Comparison) -> None:
    columns = ("points of", "metric", "n|", "median predicted / measured|", "MAPE|", "worst|", "rank correlation|")
    tests: Any = found.tests
    rows = [
        (
            _group(tests, row),
            str(row.metric),
            str(row.points),
            f"{row.median_ratio:.3f}",
            f"{row.mape:.1%}",
            f"{row.worst_ratio:.2f}",
            "–" if math.isnan(row.rank_correlation) else f"{row.rank_correlation:.3f}",
        )
        for row in tests.itertuples()
    ]
    _print_table(out, columns, rows)


def _print_table(out: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; a name that ends with | is of a column of numbers.

    In a narrow terminal names are broken at their words, and columns stand closer. Numbers are never broken: where that
    is too wide still, the lines go on in the next ones of the terminal.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    cells = {name: [row[place] for row in rows] for place, name in enumerate(columns)}
    natural, least = {}, {}
    for name, values in cells.items():
        title = name.rstrip("|")
        natural[name] = max(map(len, [title, *values]))
        words = values if name.endswith("|") else [w[:LONGEST_WORD] for value in values for w in value.split()]
        least[name] = max(map(len, [*title.split(), *words]))
    padding = int(table_width(least.values()) <= out.width)
    widths = widened(least, natural, out.width - table_width(least.values(), padding=padding))
    out.width = max(out.width, table_width(widths.values(), padding=padding))
    table = Table(box=SIMPLE_HEAD, padding=(0, padding, 0, 0))
    for name, width in widths.items():
        justify: Literal["left", "right"] = "right" if name.endswith("|") else "left"
        table.add_column(name.rstrip("|"), justify=justify, overflow="fold", width=width)
    for row in rows:
        table.add_row(*(Text(each, STYLES[each]) if each in STYLES else each for each in row))
    out.print(table)


def _figure(value: float, most: Any = None) -> str:
    """Return a figure as people read it, or what bounds it; of a large one, digits behind the point say nothing."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else number(value, most)


def _group(tests: Any, row: Any) -> str:
    """Return what the points of a question have in common; columns with one value only are left out."""
    names = [
        name for name in tests.columns[: list(tests.columns).index("points")] if name not in ("test", "at", "metric")
    ]
    values = {
        name: getattr(row, name) for name in names if tests[name].dropna().nunique() > 1 or name in ("isl", "osl")
    }
    if all(cell(value) == "" for value in values.values()):
        return "all"
    lengths = "/".join(cell(values.pop(name)) or "?" for name in ("isl", "osl") if name in values)
    return " ".join([*(cell(value) for value in values.values()), lengths]).strip()


def _point(row: Any) -> str:
    kv = getattr(row, "kv_cache_dtype", None)
    lengths = "/".join(cell(value) or "?" for value in (row.isl, row.osl))
    load = {"": "?", "0": "unlimited"}.get(cell(row.concurrency), cell(row.concurrency))
    parts = [lengths, layout(row), f"KV {kv}" if cell(kv) else "", f"c={load}"]
    return " ".join(part for part in parts if part)
