"""The best point under conditions, such as a latency that users accept."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sweep.analysis import bounds
from sweep.analysis import rows as of
from sweep.analysis.where import figure_of, percentiles_in, rows_where, undecided

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def best(
    df: pd.DataFrame,
    where: str | None = None,
    maximize: str = "output_tput_per_gpu",
    by: Sequence[str] = ("isl", "osl"),
) -> pd.DataFrame:
    """Return of each group the row that meets the condition with the highest figure.

    Rows that are not ok, or lack a number that the condition or the figure asks for, are left out: what is not known
    meets no limit. A P99 below 100 requests, or a P95 below 20, is null, but at most the maximum: where that keeps an
    upper limit the percentile keeps it too, and `ttft_ms_p99_at_most` beside `ttft_ms_p99` shows it. Measured and
    simulated rows are never compared: where df has a `source`, each source has its own best row. Rows of several models
    compete unless `by` holds `model`. All repeats of a point compete as single rows; take means first where that is not
    wanted.

    Args:
        df: rows of `sweep.load`, with `status` where not all rows are ok.
        where: for example `"ttft_ms_p99 < 500 and tps_per_user >= 30"`, in the language of `require` and `exclude`:
            columns, numbers, texts, comparison, arithmetic, `and or not in`, `min max ceil`, `null`; units are those of
            the columns. None asks for nothing.
        maximize: a column, or what is computed from columns: `"-ttft_ms_p50"` finds the lowest.
        by: columns whose values make a group; null is a value like any other. Empty: one group for each source.

    Returns:
        At most one row of df per group, with all columns and its index, sorted by group. A group in which no row meets
        the condition has none. Of equal figures the first row of df is taken. For each P99 and P95 that the condition
        names and whose maximum is a column of df there is one column more, behind it: `ttft_ms_p99_at_most` is
        `ttft_ms_max` where `ttft_ms_p99` is null, and NaN where it is known itself.

    Warns:
        UserWarning: rows of one group ran at different GPU clocks (`sm_clock_mhz`); or a group has no row, and some of
            its rows lack both a percentile that the condition names and its maximum.

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
    percentiles = []
    if where is not None:
        asked, held = held, held & rows_where(df, where)
        percentiles = percentiles_in(df, where)
        if lacking := undecided(df, where):
            group_of = of.group_numbers(df, keys)
            _warn_of_unbounded(lacking, asked & ~np.isin(group_of, group_of[held]))
    usable = np.flatnonzero(held)
    rows = df[[*keys, *([of.CLOCK] if of.CLOCK in df.columns and of.CLOCK not in keys else [])]].iloc[usable]
    group = of.group_numbers(rows, keys)
    of.warn_of_clocks(rows, group, stacklevel=2)
    order = np.lexsort((-figure[usable], group))
    first = np.ones(len(order), bool)
    first[1:] = group[order][1:] != group[order][:-1]
    found: pd.DataFrame = df.iloc[usable[order[first]]]
    for name in percentiles:
        if bounds.maximum_of(name) in df.columns and bounds.column_of(name) not in df.columns:
            found = found.copy()
            place = found.columns.tolist().index(name)
            found.insert(place + 1, bounds.column_of(name), bounds.at_most(found, name))
    return found


def _warn_of_unbounded(undecided: Mapping[str, np.ndarray[Any, Any]], unanswered: np.ndarray[Any, Any]) -> None:
    """Warn of rows of groups without an answer that might meet the condition, if one knew a percentile of theirs."""
    for name, rows in undecided.items():
        if count := int((rows & unanswered).sum()):
            told = f"{count} row{'s' * (count > 1)} of groups without an answer lack{'s' * (count == 1)} {name} and"
            told += f" {bounds.maximum_of(name)}, so {'they meet' if count > 1 else 'it meets'} no limit on {name}"
            warnings.warn(told, stacklevel=3)
