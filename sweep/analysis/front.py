"""The Pareto front: which points are worth having, and the area that they span."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sweep.analysis import rows as of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, Any]


def pareto(
    df: pd.DataFrame,
    x: str = "tps_per_user",
    y: str = "output_tput_per_gpu",
    by: Sequence[str] = ("isl", "osl"),
) -> pd.DataFrame:
    """Return the rows that no other row of their group beats: none is at least as good in both and better in one.

    More is better in x and in y; for a figure where less is better, such as a latency, negate the column first. Rows
    that are not ok, or lack x or y, are left out; what is infinite was not measured and counts as lacking. Rows that
    are equal in both x and y are all kept. Measured and simulated rows are never compared: where df has a `source`,
    each source has its own front. Rows of several models compete unless `by` holds `model`. All repeats of a point
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
            the clock's; or there are ok rows, and none has both x and y.

    Raises:
        UsageError: df lacks a column, or x or y holds no numbers.

    Example:
        >>> import pandas
        >>> df = pandas.DataFrame({"tps_per_user": [10.0, 20.0, 15.0], "output_tput_per_gpu": [900.0, 400.0, 300.0]})
        >>> pareto(df, by=()).tps_per_user.tolist()
        [10.0, 20.0]
    """
    import numpy as np

    every_x, every_y = of.numbers(df, x), of.numbers(df, y)
    keys = of.group_columns(df, by)
    usable = np.flatnonzero(of.ok(df) & ~np.isnan(every_x) & ~np.isnan(every_y))
    if not len(usable):
        of.warn_of_lack(df, (x, y), stacklevel=2)
    wanted = [*keys, *([of.CLOCK] if of.CLOCK in df.columns else [])]
    rows = df[list(dict.fromkeys(wanted))].iloc[usable]
    group = of.group_numbers(rows, keys)
    of.warn_of_clocks(rows, group, stacklevel=2)
    xs, ys = every_x[usable], every_y[usable]
    front = np.flatnonzero(_unbeaten(xs, ys, group))
    found: pd.DataFrame = df.iloc[usable[front[np.lexsort((xs[front], group[front]))]]]
    return found


def _unbeaten(xs: Array, ys: Array, group: Array) -> Array:
    """Return for each row whether no other of its group is at least as good in both and better in one."""
    import numpy as np
    import pandas as pd

    if not len(xs):
        return np.zeros(0, bool)
    order = np.argsort(-xs, kind="stable")
    order = order[np.argsort(group[order], kind="stable")]
    x_down, of_group = xs[order], group[order]
    highest = pd.Series(ys[order]).groupby(of_group).cummax().to_numpy()
    # A run is what has the same x in a group; its highest y is beaten where the runs before, of larger x, have as much.
    begins = np.ones(len(xs), bool)
    begins[1:] = (x_down[1:] != x_down[:-1]) | (of_group[1:] != of_group[:-1])
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(xs)) - 1
    before = np.where(of_group[first] == of_group[first - 1], highest[first - 1], -np.inf)
    before[0] = -np.inf
    run = np.cumsum(begins) - 1
    unbeaten = np.zeros(len(xs), bool)
    unbeaten[order] = (ys[order] == highest[last][run]) & (highest[last] > before)[run]
    return unbeaten


def areas(xs: Array, ys: Array) -> Array:
    """Return the hypervolume of the front of each line of points: the area that it dominates, down to zero in x and y.

    xs, ys: positive, of shape (..., points); computed along the last axis for all lines at once.
    """
    import numpy as np

    order = np.argsort(-xs, axis=-1, kind="stable")
    x_down = np.take_along_axis(xs, order, -1)
    reached = np.maximum.accumulate(np.take_along_axis(ys, order, -1), axis=-1)  # by this x or a larger one
    widths = x_down - np.concatenate([x_down[..., 1:], np.zeros_like(x_down[..., :1])], axis=-1)
    return np.asarray((widths * reached).sum(axis=-1))
