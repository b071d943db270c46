"""What is known of a percentile that is null: it is at most the maximum.

With fewer than 100 requests a P99 would be one of the slowest few, so it is null, and so is a P95 of fewer than 20.
No percentile is above the maximum, though: a limit that the slowest request keeps is kept by the P99 too, whatever it
is. One that the slowest does not keep is not known to be kept. Wherever the maximum stands in for a percentile this is
shown: `≤` before the number, or a column of its own (`ttft_ms_p99_at_most`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, Any]

PERCENTILES = ("p95", "p99")
"""Those that few requests do not have."""
AT_MOST = "≤"
"""Stands before a maximum in the place of a percentile; a blank follows."""
WHY = f"{AT_MOST} : at most the maximum, since a P99 needs 100 requests and a P95 20"


def maximum_of(name: str) -> str | None:
    """Return the column that bounds a percentile: `ttft_ms_max` of `ttft_ms_p99`; None of any other column."""
    of, _, stat = name.rpartition("_")
    return f"{of}_max" if of and stat in PERCENTILES else None


def column_of(name: str) -> str:
    """Return the name of the column that says what a percentile is at most."""
    return f"{name}_at_most"


def at_most(df: pd.DataFrame, name: str) -> Array:
    """Return the maximum where a percentile is null, NaN where it is known itself or there is no maximum."""
    import numpy as np

    from sweep.analysis import rows as of

    most = maximum_of(name)
    if most is None or most not in df.columns:
        return np.full(len(df), np.nan)
    return np.where(np.isnan(of.numbers(df, name)), of.numbers(df, most), np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class Range:
    """Numbers of a column of which some are only known to lie between two ends.

    low, high: pandas' Float64, equal where the number is known; NA is an end that is not known.
    """

    low: Any
    high: Any

    @property
    def dtype(self) -> Any:
        return self.high.dtype

    @property
    def known(self) -> Any:
        """The numbers themselves, NA where only an end is known."""
        import pandas as pd

        found = self.low.copy()
        found[~(self.low == self.high).to_numpy(bool, na_value=False)] = pd.NA
        return found

    def __neg__(self) -> Range:
        return Range(-self.high, -self.low)


def ends(value: Any) -> tuple[Any, Any]:
    """Return the ends between which a value lies; both are the value itself where it is not a Range."""
    return (value.low, value.high) if isinstance(value, Range) else (value, value)


def known(value: Any) -> Any:
    """Return a value without what is only bounded."""
    return value.known if isinstance(value, Range) else value


def arithmetic(
    operation: Callable[[Any, Any], Any], of_columns: Callable[[Any, Any], Any] | None = None
) -> Callable[[Any, Any], Any]:
    """Return an operation for ranges too: their ends for + - and for * / by a number, else only what is known.

    of_columns: how columns do it, where that is not the operation itself.
    """
    exact = of_columns or operation

    def compute(a: Any, b: Any) -> Any:
        if not isinstance(a, Range) and not isinstance(b, Range):
            return exact(a, b)
        if operation is operator.add or operation is operator.sub:
            (low, high), (other_low, other_high) = ends(a), ends(b if operation is operator.add else -b)
            return Range(low + other_low, high + other_high)
        if operation is operator.mul and isinstance(b, Range):
            a, b = b, a
        if isinstance(b, Range) or operation not in (operator.mul, operator.truediv):
            return exact(known(a), known(b))
        low, high = exact(a.low, b), exact(a.high, b)
        return Range(_where(b < 0, high, low), _where(b < 0, low, high))

    return compute


def _where(condition: Any, yes: Any, no: Any) -> Any:
    if not hasattr(condition, "to_numpy"):
        return yes if condition else no
    found, chosen = no.copy(), condition.to_numpy(bool, na_value=False)
    found[chosen] = yes[chosen]
    return found


_OPPOSITE: Mapping[Callable[[Any, Any], Any], Callable[[Any, Any], Any]] = {
    operator.lt: operator.ge,
    operator.le: operator.gt,
    operator.gt: operator.le,
    operator.ge: operator.lt,
}


def compared(operation: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    """Return a comparison of which one or both are ranges: true or false where every value between the ends says so."""
    (a_low, a_high), (b_low, b_high) = ends(a), ends(b)
    if operation is operator.ne:
        return ~compared(operator.eq, a, b)
    if operation is operator.eq:
        yes, no = known(a) == known(b), (a_high < b_low) | (a_low > b_high)
    elif operation in (operator.lt, operator.le):
        yes, no = operation(a_high, b_low), _OPPOSITE[operation](a_low, b_high)
    else:
        yes, no = operation(a_low, b_high), _OPPOSITE[operation](a_high, b_low)
    yes, no = yes.to_numpy(bool, na_value=False), no.to_numpy(bool, na_value=False)
    return _decided(yes, no)


def _decided(yes: Array, no: Array) -> Any:
    import pandas as pd

    return pd.arrays.BooleanArray(yes, ~(yes | no))
