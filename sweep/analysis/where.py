"""The expression language over the columns of a DataFrame: conditions, and figures computed from columns.

The language is that of the matrix (`sweep/expression.py`); here a name stands for a whole column, and null is a third
truth value: a comparison with null is neither true nor false, and what is not known to be true does not hold. A
percentile that is null for lack of requests is known to be at most the maximum (bounds.py).
"""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sweep.analysis import bounds
from sweep.analysis import rows as of
from sweep.errors import UsageError
from sweep.expression import ARITHMETIC, Evaluate, Expression, Meaning, compile_expression
from sweep.point import SETTINGS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def rows_where(df: pd.DataFrame, condition: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return for each row whether the condition is known to hold.

    condition: for example `ttft_ms_p99 < 500 and tps_per_user >= 30`; names are columns of df, and a `concurrency` of 0
        (unlimited) is infinite. A row in which a column is null meets no condition on that column, nor does one in
        which it divides by 0. A P99 or P95 that is null is at most the maximum (`ttft_ms_max`, where df has it and it
        is known), and meets the upper limits that this meets.

    Raises:
        UsageError: the text is no expression, names no column, or its values cannot be combined.
    """
    import numpy as np

    return np.asarray(_holds(df, condition).to_numpy(bool, na_value=False))


def percentiles_in(df: pd.DataFrame, condition: str) -> list[str]:
    """Return the percentiles that a condition names and that a maximum may bound, sorted.

    Raises:
        UsageError: the text is no expression, or names no column.
    """
    return sorted(name for name in _compiled(df, condition).names if bounds.maximum_of(name))


def undecided(df: pd.DataFrame, condition: str) -> dict[str, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return for each percentile of a condition the rows that fail it for want of the percentile and its maximum.

    Percentiles that no row lacks so are left out, and those whose maximum is not a column of df.

    Raises:
        UsageError: as of rows_where.
    """
    import numpy as np

    is_open = np.asarray(_holds(df, condition).isna())
    found = {}
    for name in percentiles_in(df, condition):
        if bounds.maximum_of(name) not in df.columns:
            continue
        rows = is_open & np.isnan(of.numbers(df, name)) & np.isnan(bounds.at_most(df, name))
        if rows.any():
            found[name] = rows
    return found


def _holds(df: pd.DataFrame, condition: str) -> Any:
    """Return for each row whether the condition holds, an array of dtype boolean; NA where it is not known."""
    import numpy as np
    import pandas as pd

    found = _evaluate(df, condition)
    try:
        holds = _truth(found)
    except TypeError:
        raise UsageError(f'"{condition}" is no condition: it gives no true or false') from None
    return pd.array(np.full(len(df), holds), dtype="boolean") if isinstance(holds, bool) else holds


def figure_of(df: pd.DataFrame, text: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a number for each row, NaN where it is not known.

    text: a column, or what is computed from columns, for example `-ttft_ms_p99`. The maximum is not the figure of
        a percentile that is null.

    Raises:
        UsageError: the text is no expression, names no column, or gives no numbers.
    """
    import numpy as np
    import pandas as pd

    found = bounds.known(_evaluate(df, text))
    if not pd.api.types.is_numeric_dtype(getattr(found, "dtype", type(found))):
        raise UsageError(f'"{text}" gives no numbers')
    if np.ndim(found) == 0:
        return np.full(len(df), float(found))
    return np.asarray(found.to_numpy("float64", na_value=np.nan))


def _evaluate(df: pd.DataFrame, text: str) -> Any:
    expression = _compiled(df, text)
    return expression({name: _column(df, name) for name in expression.names})


def _compiled(df: pd.DataFrame, text: str) -> Expression:
    names = {name: SETTINGS[name].texts if name in SETTINGS else None for name in map(str, df.columns)}
    return compile_expression(text, names, infinite=("concurrency",), meaning=COLUMNS)


def _column(df: pd.DataFrame, name: str) -> Any:
    """Return the values of a column, as a Range where a maximum bounds some that are null."""
    import numpy as np
    import pandas as pd

    values = _values(df[name])
    if bounds.maximum_of(name) is None or not isinstance(values, pd.arrays.FloatingArray):
        return values
    most = bounds.at_most(df, name)
    bounded = ~np.isnan(most)
    if not bounded.any():
        return values
    high = values.copy()
    high[bounded] = most[bounded]
    return bounds.Range(values, high)


def _values(column: pd.Series) -> Any:
    """Return the values of a column as an array of pandas in which null is NA and numbers are Float64.

    What is infinite was not measured, and is NA too.
    """
    import numpy as np
    import pandas as pd

    kind = pd.api.types
    if column.dtype == object:
        column = column.astype("float64") if column.isna().all() else column.convert_dtypes()
    if kind.is_bool_dtype(column.dtype):
        return column.astype("boolean").array
    if kind.is_numeric_dtype(column.dtype):
        values = column.to_numpy("float64", na_value=float("nan"))
        return pd.arrays.FloatingArray(values, ~np.isfinite(values))
    if isinstance(column.dtype, pd.CategoricalDtype) or kind.is_string_dtype(column.dtype):
        return column.astype("string").array
    return column.array


def _truth(value: Any) -> Any:
    """Return a value as true, false or NA: a bool, or an array of dtype boolean.

    Raises:
        TypeError: it is a text.
    """
    import pandas as pd

    value = bounds.known(value)
    if not hasattr(value, "dtype"):
        if isinstance(value, (str, list)):
            raise TypeError("a text is neither true nor false")
        return bool(value)
    if pd.api.types.is_bool_dtype(value.dtype):
        return pd.Series(value).astype("boolean").array
    if pd.api.types.is_numeric_dtype(value.dtype):
        return _truth(value != 0)
    raise TypeError("a text is neither true nor false")


def _joined(operation: Callable[[Any, Any], Any]) -> Callable[[Sequence[Evaluate]], Evaluate]:
    def join(parts: Sequence[Evaluate]) -> Evaluate:
        return lambda env: functools.reduce(operation, [_truth(part(env)) for part in parts])

    return join


def _not(value: Any) -> Any:
    held = _truth(value)
    return not held if isinstance(held, bool) else ~held


def _comparison(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def compare(a: Any, b: Any) -> Any:
        import pandas as pd

        if a is None or b is None:
            return _with_null(operation, bounds.known(b if a is None else a))
        if isinstance(a, list) or isinstance(b, list):
            raise TypeError("a list can only stand after in")
        if _is_text(a) != _is_text(b) and not (_is_time(a) or _is_time(b)):
            raise TypeError("a text and a number cannot be compared")
        if isinstance(a, bounds.Range) or isinstance(b, bounds.Range):
            return bounds.compared(operation, a, b)
        found = _truth(operation(a, b))
        for value in (a, b):
            if _is_time(value):
                found[value.isna()] = pd.NA  # a missing time compares as false
        return found

    return compare


def _with_null(operation: Callable[[Any, Any], Any], value: Any) -> Any:
    if operation not in (operator.eq, operator.ne):
        raise TypeError("null is neither more nor less than anything")
    known = value is not None if not hasattr(value, "isna") else ~_truth(value.isna())
    return _not(known) if operation is operator.eq else known


def _in(a: Any, b: Any) -> Any:
    import pandas as pd

    if isinstance(b, list):
        return functools.reduce(operator.or_, [_comparison(operator.eq)(a, item) for item in b], False)
    if not (_is_text(a) and _is_text(b)):
        raise TypeError("in needs a list or a text on its right")
    if isinstance(b, str):
        return a in b if isinstance(a, str) else _truth(a.isin([part for part in set(a.dropna()) if part in b]))
    if not isinstance(a, str):
        raise TypeError("a text can be sought in a column, a column in a list")
    return _truth(pd.Series(b).str.contains(a, regex=False).array)


def _is_text(value: Any) -> bool:
    if isinstance(value, (str, list)):
        return True
    return getattr(getattr(value, "dtype", None), "name", "") == "string"


def _is_time(value: Any) -> bool:
    return getattr(getattr(value, "dtype", None), "kind", "") in ("M", "m")


def _unlimited(value: Any) -> Any:
    import numpy as np
    import pandas as pd

    if not isinstance(value, pd.arrays.FloatingArray):
        return value
    numbers = value.to_numpy("float64", na_value=np.nan)
    return pd.arrays.FloatingArray(np.where(numbers == 0, np.inf, numbers), np.isnan(numbers))


def _division(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a division whose result is not known where the divisor is 0: it is no number, and beats none."""

    def divide(a: Any, b: Any) -> Any:
        import numpy as np
        import pandas as pd

        found = operation(a, b)
        if not hasattr(b, "dtype") and b == 0:
            raise ZeroDivisionError("division by zero")
        if not hasattr(found, "dtype"):
            return found
        divisor = b.to_numpy("float64", na_value=np.nan) if hasattr(b, "dtype") else b
        numbers = found.to_numpy("float64", na_value=np.nan)
        return pd.arrays.FloatingArray(numbers, np.isnan(numbers) | (divisor == 0))

    return divide


def _each(name: str) -> Callable[..., Any]:
    """Return a function of numpy, by its name, that takes columns and numbers; numpy is imported where it is called."""

    def call(*values: Any) -> Any:
        import numpy as np

        if any(_is_text(value) for value in values):
            raise TypeError("arithmetic is for numbers")
        if any(isinstance(value, bounds.Range) for value in values):  # each of them grows with what it is given
            return bounds.Range(*(call(*(bounds.ends(value)[end] for value in values)) for end in (0, 1)))
        function = getattr(np, name)
        return function(values[0]) if function.nin == 1 else functools.reduce(function, values)

    return call


_OPERATIONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def _shown(value: Any) -> str:
    return f"a column of {value.dtype}" if hasattr(value, "dtype") else str(value)


COLUMNS = Meaning(
    noun="column",
    functions={"min": _each("minimum"), "max": _each("maximum"), "ceil": _each("ceil")},
    compare={
        **{kind: _comparison(operation) for kind, operation in _OPERATIONS.items()},
        ast.In: _in,
        ast.NotIn: lambda a, b: _not(_in(a, b)),
    },
    conjunction=_joined(operator.and_),
    disjunction=_joined(operator.or_),
    negation=_not,
    unlimited=_unlimited,
    is_text=_is_text,
    shown=_shown,
    arithmetic={
        kind: bounds.arithmetic(operation, _division(operation) if kind in (ast.Div, ast.FloorDiv, ast.Mod) else None)
        for kind, operation in ARITHMETIC.items()
    },
)
"""The words of the language over columns; every column is read once, and all rows are computed at a time."""
