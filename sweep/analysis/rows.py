"""Which rows of a DataFrame answer a question, and how they are grouped."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sweep.errors import UsageError, nearest

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SPEED = "tps_per_user"
CLOCK = "sm_clock_mhz"
SAME_CLOCK = 1.03
"""Largest ratio of two mean SM clocks that are taken for the same: a power cap alone moves them by a percent or two."""


def expect(df: pd.DataFrame, names: Iterable[str]) -> None:
    """Raise UsageError where df lacks one of these columns."""
    for name in names:
        if name not in df.columns:
            raise UsageError(f"the rows have no column {name}{nearest(name, map(str, df.columns))}")


def numbers(df: pd.DataFrame, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the numbers of a column, NaN where none is known; an infinite one is none: nothing was measured so.

    Raises:
        UsageError: df lacks the column, or it holds no numbers.
    """
    import numpy as np

    expect(df, (name,))
    column = df[name]
    try:
        if not _may_hold_numbers(column):
            raise TypeError
        values = column.to_numpy("float64", na_value=np.nan)
    except (TypeError, ValueError):
        raise UsageError(f"the column {name} holds no numbers but {column.dtype}") from None
    return np.where(np.isfinite(values), values, np.nan)


def _may_hold_numbers(column: pd.Series) -> bool:
    """Return whether a column is of numbers; NumPy would also make numbers of times, and of texts such as 580.1."""
    import pandas as pd

    kind = pd.api.types
    if column.dtype == object:
        return all(map(is_number, column.dropna()))
    return kind.is_numeric_dtype(column.dtype) and not kind.is_bool_dtype(column.dtype)


def levels(said: Any, what: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the numbers that were asked for, one or more, in their order, shape (numbers,).

    Raises:
        UsageError: they are no numbers, or more than a list of them.
    """
    import numpy as np

    try:
        found = np.atleast_1d(np.asarray(said, dtype="float64"))
    except (TypeError, ValueError):
        found = None
    if said is None or found is None or found.ndim > 1:
        raise UsageError(f"{what} must have one or more numbers, not {said!r}")
    return found


def is_number(value: Any) -> bool:
    """Return whether a value is one number, of Python or of NumPy; True and "3" are none."""
    import numpy as np

    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def names(said: str | Iterable[str]) -> list[str]:
    """Return names of columns; one alone needs no list."""
    return [said] if isinstance(said, str) else list(said)


def ok(df: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return for each row whether its numbers may be used; without a `status` all may."""
    import numpy as np

    if "status" not in df.columns:
        return np.ones(len(df), bool)
    return np.asarray(df["status"].eq("ok").fillna(False).to_numpy(bool))


def group_columns(df: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """Return the columns that make a group: those of `by`, and `source`, so that no prediction passes as measured.

    Raises:
        UsageError: df lacks one of them.
    """
    expect(df, names(by))
    return list(dict.fromkeys([*(["source"] if "source" in df.columns else []), *names(by)]))


def group_numbers(df: pd.DataFrame, keys: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the number of each row's group, in the order of the groups' values; null is a value like any other."""
    import numpy as np

    if not keys:
        return np.zeros(len(df), np.int64)
    return np.asarray(df.groupby(list(keys), dropna=False).ngroup().to_numpy("int64"))


def warn_of_lack(df: pd.DataFrame, names: Sequence[str], stacklevel: int) -> None:
    """Warn that of the ok rows of df, where there are some, none has a number in each of these columns."""
    import numpy as np

    usable = ok(df)
    if usable.any():
        lacking = [name for name in names if not (usable & ~np.isnan(numbers(df, name))).any()]
        told = f"no row has {' or '.join(lacking)}" if lacking else f"no row has both {' and '.join(names)}"
        hint = ": it needs streaming, and benchmark_serving (bench=serve) does not report it" * (lacking == [SPEED])
        warnings.warn(told + hint, stacklevel=stacklevel + 1)


def warn_of_clocks(rows: pd.DataFrame, group: np.ndarray[Any, np.dtype[np.int64]], stacklevel: int) -> None:
    """Warn where rows of one group ran at different GPU clocks, so that part of their difference is the clock's."""
    if CLOCK not in rows.columns or not rows[CLOCK].notna().any():
        return
    clocks = rows[CLOCK].groupby(group)
    if (clocks.max() / clocks.min()).max() > SAME_CLOCK:
        low, high = rows[CLOCK].min(), rows[CLOCK].max()
        told = f"rows that are compared ran at mean SM clocks from {low:,.0f} to {high:,.0f} MHz (column {CLOCK})"
        warnings.warn(told, stacklevel=stacklevel + 1)
