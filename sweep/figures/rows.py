"""Rows as the page carries them: column by column, short, and with what it filters and groups by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sweep.point import SETTINGS
from sweep.table import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 6
"""Significant digits of what was measured: far more than repeats agree in, and half of the page's size."""

LOAD = ("isl", "osl", "concurrency", "num_requests")
"""Settings that say what is asked of an engine, not what it is."""
LAYOUT = ("tp", "pp", "ep", "attention_dp")
"""Settings that say how a model lies on its GPUs."""


def encode(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the columns that say anything, each in the shortest of three ways.

    `one`: the value of all rows; `of` and `at`: different values, and for each row the index of its own (-1: null);
    `all`: one value for each row, null where there is none. Times are ISO 8601 in UTC.
    """
    found = {}
    for column in COLUMNS:
        if column.name in frame.columns and frame[column.name].notna().any():
            about = {"unit": column.unit, "meaning": column.meaning, "group": str(column.group)}
            found[column.name] = about | _values(frame[column.name])
    return found


def _values(values: pd.Series[Any]) -> dict[str, Any]:
    import pandas as pd

    if isinstance(values.dtype, pd.DatetimeTZDtype):
        values = values.dt.strftime("%Y-%m-%dT%H:%M:%SZ").astype("string")
    if values.notna().all() and values.nunique() == 1:
        return {"one": _plain(values.iloc[0])}
    if pd.api.types.is_string_dtype(values) or pd.api.types.is_bool_dtype(values):
        at, of = pd.factorize(values)
        return {"of": [_plain(value) for value in of], "at": at.tolist()}
    return {
        "all": [None if value is None else _plain(value) for value in values.astype(object).where(values.notna(), None)]
    }


def _plain(value: Any) -> Any:
    """Return a scalar as JSON has it; infinity, which JSON has not, as null."""
    import math

    import pandas as pd

    if isinstance(value, str) or pd.api.types.is_bool(value):
        return value if isinstance(value, str) else bool(value)
    if pd.api.types.is_integer(value):
        return int(value)
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def layouts(frame: pd.DataFrame) -> list[str]:
    """Return how each row's model lies on its GPUs, for people: `TP4 EP4 attention DP`."""
    return [layout_name(*row) for row in zip(*(plain(frame, name) for name in LAYOUT), strict=True)]


def layout_name(tp: int | None, pp: int | None, ep: int | None, attention_dp: bool | None) -> str:
    """Return the name of a layout; what is 1 is left out, but for TP1 alone."""
    parts = [
        f"{name}{value}" for name, value in (("TP", tp), ("PP", pp), ("EP", ep)) if value is not None and value > 1
    ]
    if not parts and tp is not None:
        parts = [f"TP{tp}"]
    parts += ["attention DP"] if attention_dp else []
    return " ".join(parts) or "layout not told"


def plain(frame: pd.DataFrame, name: str) -> list[Any]:
    """Return a column's values as Python has them, null as None."""
    return [None if missing else value for value, missing in zip(frame[name].tolist(), frame[name].isna(), strict=True)]


def varied(frame: pd.DataFrame) -> list[str]:
    """Return the settings in which rows differ, in their declared order."""
    return [name for name in SETTINGS if frame[name].nunique(dropna=False) > 1]


def describe(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the rows with their names, the settings that vary and the layouts, ready for JSON."""
    names = layouts(frame)
    order = dict.fromkeys(sorted(set(names), key=lambda name: (-names.count(name), name)))
    return {
        "count": len(frame),
        "columns": encode(frame),
        "settings": list(SETTINGS),
        "varied": varied(frame),
        "layout": {"of": list(order), "at": [list(order).index(name) for name in names]},
    }


def value_counts(values: pd.Series[Any]) -> Mapping[Any, int]:
    """Return how many rows have each value, the most frequent first; null is left out."""
    return {_plain(value): int(count) for value, count in values.value_counts().items()}
