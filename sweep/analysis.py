"""Questions to the table: which points are worth having."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweep.errors import UsageError, nearest

if TYPE_CHECKING:
    import pandas as pd


SAME_CLOCK = 1.03
"""Largest ratio of two mean SM clocks that are taken for the same: a power cap alone moves them by a percent or two."""


def pareto(
    df: pd.DataFrame,
    x: str = "tps_per_user",
    y: str = "output_tput_per_gpu",
    by: Sequence[str] = ("isl", "osl"),
) -> pd.DataFrame:
    """Return the rows that no other row of their group beats: none is at least as good in both and better in one.

    More is better in x and in y; for a figure where less is better, such as a latency, negate the column first. Rows
    that are not ok, or lack x or y, are left out. Rows that are equal in both x and y are all kept. Measured and
    simulated rows are never compared: where df has a `source`, each source has its own front. All repeats of a point
    compete as single rows; take means first where that is not wanted.

    Args:
        df: rows of `sweep.load`, with the columns x, y, those of `by`, and `status` where not all rows are ok.
        x: by default `tps_per_user`, tokens/s/user; streaming only.
        y: by default `output_tput_per_gpu`, tokens/s/GPU.
        by: columns whose values make a group; null is a value like any other. Empty: one group for each source.

    Returns:
        Some rows of df with all columns and their index, sorted by group, then by x upwards (so y goes down).

    Warns:
        UserWarning: rows of one group ran at different GPU clocks (`sm_clock_mhz`), so that part of the difference is
            the clock's.

    Raises:
        UsageError: df lacks a column.

    Example:
        >>> import pandas
        >>> df = pandas.DataFrame({"tps_per_user": [10.0, 20.0, 15.0], "output_tput_per_gpu": [900.0, 400.0, 300.0]})
        >>> pareto(df, by=()).tps_per_user.tolist()
        [10.0, 20.0]
    """
    import numpy as np
    import pandas as pd

    for name in (x, y, *by):
        if name not in df.columns:
            raise UsageError(f"the rows have no column {name}{nearest(name, map(str, df.columns))}")
    keys = list(dict.fromkeys([*(["source"] if "source" in df.columns else []), *by]))
    ok = df["status"].eq("ok").fillna(False).to_numpy(bool) if "status" in df.columns else np.ones(len(df), bool)
    rows = df[ok & df[x].notna().to_numpy(bool) & df[y].notna().to_numpy(bool)]
    _warn_of_clocks(rows, keys)
    group = rows.groupby(keys, dropna=False).ngroup().to_numpy() if keys else np.zeros(len(rows), np.int64)
    xs, ys = rows[x].to_numpy("float64"), rows[y].to_numpy("float64")
    # From the largest x downwards, a row is on the front if its y is the highest so far in its group, and was not
    # reached by a larger x. Of one x the largest y comes first.
    order = np.lexsort((-ys, -xs, group))
    x_down, y_down, of_group = xs[order], ys[order], group[order]
    highest = pd.Series(y_down).groupby(of_group).cummax().to_numpy()
    rises = np.ones(len(rows), bool)
    rises[1:] = (highest[1:] != highest[:-1]) | (of_group[1:] != of_group[:-1])
    reached_at = np.maximum.accumulate(np.where(rises, np.arange(len(rows)), 0))
    front = order[(y_down == highest) & (x_down == x_down[reached_at])]
    found: pd.DataFrame = rows.iloc[front[np.lexsort((xs[front], group[front]))]]
    return found


def _warn_of_clocks(rows: pd.DataFrame, keys: Sequence[str]) -> None:
    if "sm_clock_mhz" not in rows.columns or not rows["sm_clock_mhz"].notna().any():
        return
    clocks = rows.groupby(list(keys), dropna=False)["sm_clock_mhz"] if keys else rows["sm_clock_mhz"]
    ratio = clocks.max() / clocks.min()
    if (ratio.max() if keys else ratio) > SAME_CLOCK:
        low, high = rows["sm_clock_mhz"].min(), rows["sm_clock_mhz"].max()
        told = f"rows that are compared ran at mean SM clocks from {low:,.0f} to {high:,.0f} MHz (column sm_clock_mhz)"
        warnings.warn(told, stacklevel=3)
