from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.analysis.where import figure_of, rows_where
from sweep.errors import UsageError
from sweep.expression import compile_expression

DF = pd.DataFrame(
    {
        "tps": [1.0, np.nan, 3.0],
        "tp": pd.array([0, None, 2], dtype="Int64"),
        "model": pd.array(["x/R1", None, "y"], dtype="string"),
        "concurrency": [0, 4, 64],
        "attention_dp": pd.array([True, False, None], dtype="boolean"),
        "kv_cache_dtype": ["fp8", "auto", "fp8"],
        "node": pd.Series(["q", None, "r"], dtype=object),
        "zone": pd.Categorical(["a", "b", None]),
        "started_at": pd.to_datetime(["2026-01-01", "2026-02-02", None], utc=True),
    }
)


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("tps < 2", [1, 0, 0]),
        ("not tps < 2", [0, 0, 1]),  # of a null nobody knows whether it is less
        ("tps < 2 or attention_dp", [1, 0, 0]),
        ("not (tps > 2 and attention_dp)", [1, 1, 0]),  # false and anything is false
        ("attention_dp", [1, 0, 0]),
        ("attention_dp == false", [0, 1, 0]),
        ("tps == null", [0, 1, 0]),
        ("model != null and zone != null", [1, 0, 0]),
        ("model == 'y'", [0, 0, 1]),
        ("model != 'y'", [1, 0, 0]),
        ("'R1' in model", [1, 0, 0]),
        ("model in 'x/R1 and more'", [1, 0, 0]),
        ("model in ['y', 'z']", [0, 0, 1]),
        ("model not in ['y', 'z']", [1, 0, 0]),
        ("node == 'q' or zone == 'b'", [1, 1, 0]),
        ("concurrency > 10", [1, 0, 1]),  # 0 is unlimited
        ("concurrency == 'unlimited'", [1, 0, 0]),
        ("concurrency in [4, 'unlimited']", [1, 1, 0]),
        ("concurrency < 'unlimited'", [0, 1, 1]),
        ("1 < tps <= 3", [0, 0, 1]),
        ("max(tps, tp) == 3 and ceil(tps / 2) == 2", [0, 0, 1]),
        ("2 in [tp, tps]", [0, 0, 1]),
        ("tps / tp > 1", [0, 0, 1]),  # what divides by 0 is not known
        ("tps / (tps - 1) > 1", [0, 0, 1]),
        ("not tps / (tps - 1) > 1", [0, 0, 0]),
        ("not tps % (tps - 1) > 1", [0, 0, 1]),
        ("kv_cache_dtype == 'fp8' and tp == 2", [0, 0, 1]),
        ("started_at > '2026-01-15'", [0, 1, 0]),
        ("not started_at > '2026-01-15'", [1, 0, 0]),
        ("started_at - started_at < '1h'", [1, 1, 0]),
        ("tp", [0, 0, 1]),
        ("1 < 2", [1, 1, 1]),
        ("1 in []", [0, 0, 0]),
    ],
)
def test_conditions_over_columns(condition: str, wanted: list[int]) -> None:
    assert rows_where(DF, condition).tolist() == [bool(value) for value in wanted]


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("tpss < 2", 'names tpss, which is no column; did you mean "tps"?'),
        ("kv_cache_dtype == 'fp9'", "kv_cache_dtype is never 'fp9'; did you mean \"fp8\"?"),
        ("kv_cache_dtype == fp8", "a text needs quotes: 'fp8'"),
        ("tp == '2'", "tp is never '2'; write its values without quotes"),
        ("attention_dp == 'true'", "attention_dp is never 'true'; write its values without quotes"),
        ("concurrency == 'unlimted'", 'did you mean "unlimited"?'),
        ("tps == '1'", "a text and a number cannot be compared"),
        ("model < 3", "a text and a number cannot be compared"),
        ("model", "gives no true or false"),
        ("model and tps", "a text is neither true nor false"),
        ("[tps]", "gives no true or false"),
        ("tps == [1]", "a list can only stand after in"),
        ("tps in 3", "in needs a list or a text"),
        ("model in node", "a text can be sought in a column"),
        ("tps < null", "null is neither more nor less"),
        ("tps + model > 1", "arithmetic is for numbers"),
        ("max(tps, model) > 1", "arithmetic is for numbers"),
        ("started_at > 'soon'", "has no value for started_at=a column of datetime64"),
        ("tps.sum() > 1", "can be called"),
        ("@tps", "is no expression"),
    ],
)
def test_what_is_no_condition_is_told(condition: str, said: str) -> None:
    with pytest.raises(UsageError) as told:
        rows_where(DF, condition)
    assert said in str(told.value)


def test_figures_are_computed_from_columns() -> None:
    assert figure_of(DF, "-tps").tolist() == pytest.approx([-1, np.nan, -3], nan_ok=True)
    assert figure_of(DF, "2 * tps + concurrency").tolist() == pytest.approx([np.inf, np.nan, 70], nan_ok=True)
    assert figure_of(DF, "3").tolist() == [3, 3, 3]
    assert figure_of(DF, "1 / (tps - 1)").tolist() == pytest.approx([np.nan, np.nan, 0.5], nan_ok=True)
    assert figure_of(DF.assign(tps=np.inf), "-tps").tolist() == pytest.approx([np.nan] * 3, nan_ok=True)
    for text in ("model", "'a'", "[tps]", "started_at"):
        with pytest.raises(UsageError, match="gives no numbers"):
            figure_of(DF, text)


numbers = st.sampled_from([-1.0, 0.0, 1.0, 2.5])
names = st.sampled_from(["a", "b", "1", "2.5"])
comparisons = st.builds(" ".join, st.tuples(names, st.sampled_from(["<", "<=", "==", "!=", ">"]), names))
conditions = st.recursive(
    comparisons,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
        | st.builds("(not {})".format, inner)
    ),
    max_leaves=6,
)


@given(conditions, st.lists(st.tuples(numbers, numbers), max_size=5))
def test_without_nulls_a_column_gives_what_each_cell_does(condition: str, rows: list[tuple[float, float]]) -> None:
    of_cell = compile_expression(condition, {"a": None, "b": None})
    df = pd.DataFrame(rows, columns=["a", "b"], dtype="float64")
    assert rows_where(df, condition).tolist() == [of_cell({"a": a, "b": b}) for a, b in rows]


@given(st.text(max_size=40))
def test_any_text_is_a_condition_or_one_message(text: str) -> None:
    with contextlib.suppress(UsageError):
        rows_where(DF, text)
