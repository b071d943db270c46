"""What the front gives at an interactivity that was not measured itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sweep.analysis import rows as of
from sweep.analysis.front import pareto
from sweep.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def interpolate(
    df: pd.DataFrame,
    at: Mapping[str, float | Sequence[float]],
    y: str = "output_tput_per_gpu",
    by: Sequence[str] = ("isl", "osl"),
) -> pd.DataFrame:
    """Return what the front of each group gives at these values: the throughput at an interactivity, for example.

    Between two neighbours on the front a monotone cubic (PCHIP) is drawn, so the answer lies between what they give.
    Outside of the front it is NaN: beyond its last point nothing was measured, and below its first point nothing gives
    more than that point, which is faster for each user too. Measured and simulated rows have fronts of their own, as
    in `sweep.pareto`.

    Args:
        df: rows of `sweep.load`; those that are not ok, or lack a number, are left out.
        at: one column and one or more values of it, for example `{"tps_per_user": [30, 50]}`, in tokens/s/user.
        y: by default `output_tput_per_gpu`, tokens/s/GPU; more is better, as it is in the column of `at`.
        by: columns whose values make a group; null is a value like any other. Empty: one group for each source.

    Returns:
        One row per group and value, numbered from 0: groups sorted, in each the values as `at` gives them. Columns are
        those of the group (with `source` where df has it), the column of `at` and y.

    Warns:
        UserWarning: rows of one group ran at different GPU clocks (`sm_clock_mhz`).

    Raises:
        UsageError: df lacks a column, or it holds no numbers; `at` has not exactly one column, or it is y or one of
            `by`; its values are no numbers.

    Example:
        >>> import pandas
        >>> df = pandas.DataFrame({"tps_per_user": [20.0, 50.0, 100.0], "output_tput_per_gpu": [2000.0, 800.0, 100.0]})
        >>> interpolate(df, at={"tps_per_user": [20, 60, 120]}, by=()).round(1).values.tolist()
        [[20.0, 2000.0], [60.0, 588.9], [120.0, nan]]
    """
    import numpy as np
    import pandas as pd

    if not isinstance(at, Mapping) or len(at) != 1:
        raise UsageError(f"at must name one column, for example at={{'tps_per_user': 50}}, not {at!r}")
    ((x, values),) = at.items()
    keys = of.group_columns(df, by)
    if x == y or x in keys:
        raise UsageError(
            f"at={{{x!r}: ...}} asks for {x} where it is {'what is asked' if x == y else 'a group'} itself"
        )
    wanted = of.levels(values, f"at={{{x!r}: ...}}")
    front = pareto(df, x=x, y=y, by=by)
    group = of.group_numbers(front, keys)
    parts: list[pd.DataFrame] = []
    for number in np.unique(group):
        rows = front[group == number]
        found = along_front(rows[x].to_numpy("float64"), rows[y].to_numpy("float64"), wanted)
        named = rows[keys].iloc[[0] * len(wanted)].reset_index(drop=True)
        parts.append(named.assign(**{x: wanted, y: found}))
    none: pd.DataFrame = df[keys].iloc[:0].assign(**{x: wanted[:0], y: wanted[:0]})
    return pd.concat(parts or [none], ignore_index=True)


def along_front(
    xs: np.ndarray[Any, Any], ys: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Return y at the wanted x, NaN outside the front; xs rises, and equal points may be there more than once."""
    import numpy as np
    from scipy.interpolate import PchipInterpolator

    new = np.ones(len(xs), bool)
    new[1:] = xs[1:] != xs[:-1]
    xs, ys = xs[new], ys[new]
    if len(xs) == 1:
        return np.where(wanted == xs[0], ys[0], np.nan)
    return np.asarray(PchipInterpolator(xs, ys, extrapolate=False)(wanted))
