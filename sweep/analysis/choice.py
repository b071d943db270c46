"""The best point under conditions, such as a latency that users accept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweep.analysis import rows as of
from sweep.analysis.where import figure_of, rows_where

if TYPE_CHECKING:
    import pandas as pd


def best(
    df: pd.DataFrame,
    where: str | None = None,
    maximize: str = "output_tput_per_gpu",
    by: Sequence[str] = ("isl", "osl"),
) -> pd.DataFrame:
    """Return of each group the row that meets the condition with the highest figure.

    Rows that are not ok, or lack a number that the condition or the figure asks for, are left out: a latency that
    nobody knows meets no limit. Measured and simulated rows are never compared: where df has a `source`, each source
    has its own best row. Rows of several models compete unless `by` holds `model`. All repeats of a point compete as
    single rows; take means first where that is not wanted.

    Args:
        df: rows of `sweep.load`, with `status` where not all rows are ok.
        where: for example `"ttft_ms_p99 < 500 and tps_per_user >= 30"`, in the language of `require` and `exclude`:
            columns, numbers, texts, comparison, arithmetic, `and or not in`, `min max ceil`, `null`; units are those of
            the columns. None asks for nothing.
        maximize: a column, or what is computed from columns: `"-ttft_ms_p50"` finds the lowest.
        by: columns whose values make a group; null is a value like any other. Empty: one group for each source.

    Returns:
        At most one row of df per group, with all columns and its index, sorted by group. A group in which no row meets
        the condition has none. Of equal figures the first row of df is taken.

    Warns:
        UserWarning: rows of one group ran at different GPU clocks (`sm_clock_mhz`).

    Raises:
        UsageError: df lacks a column of `by`, `where` or `maximize` cannot be read or names no column.

    Example:
        >>> import pandas
        >>> df = pandas.DataFrame({
        ...     "isl": 1024, "osl": 1024, "concurrency": [4, 64, 256],
        ...     "ttft_ms_p99": [90.0, 410.0, 1900.0], "output_tput_per_gpu": [120.0, 810.0, 1990.0],
        ... })
        >>> best(df, "ttft_ms_p99 < 500").concurrency.tolist()
        [64]
        >>> best(df, maximize="-ttft_ms_p99").concurrency.tolist()
        [4]
    """
    import numpy as np

    keys = of.group_columns(df, by)
    figure = figure_of(df, maximize)
    held = of.ok(df) & ~np.isnan(figure)
    if where is not None:
        held &= rows_where(df, where)
    usable = np.flatnonzero(held)
    rows = df[[*keys, *([of.CLOCK] if of.CLOCK in df.columns and of.CLOCK not in keys else [])]].iloc[usable]
    group = of.group_numbers(rows, keys)
    of.warn_of_clocks(rows, group, stacklevel=2)
    order = np.lexsort((-figure[usable], group))
    first = np.ones(len(order), bool)
    first[1:] = group[order][1:] != group[order][:-1]
    found: pd.DataFrame = df.iloc[usable[order[first]]]
    return found
