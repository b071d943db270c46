"""A percentile that is null for lack of requests is at most the maximum, and nothing else is known of it."""

from __future__ import annotations

import operator

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.analysis import best, bounds
from sweep.analysis.where import figure_of, rows_where, undecided

DF = pd.DataFrame(
    {
        "isl": 1024,
        "osl": [1, 1, 1, 1],
        "ttft_ms_p99": [400.0, np.nan, np.nan, np.nan],
        "ttft_ms_max": [900.0, 450.0, 1800.0, np.nan],
        "tpot_ms_p95": [np.nan, 10.0, 10.0, 10.0],
        "tpot_ms_max": [12.0, 12.0, 12.0, 12.0],
        "tp": pd.array([1, 2, 4, 8], dtype="Int64"),
        "output_tput_per_gpu": [1.0, 2.0, 3.0, 4.0],
    }
)


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("ttft_ms_p99 < 500", [1, 1, 0, 0]),
        ("ttft_ms_p99 <= 450", [1, 1, 0, 0]),
        ("ttft_ms_p99 < 450", [1, 0, 0, 0]),
        ("500 > ttft_ms_p99", [1, 1, 0, 0]),
        ("ttft_ms_p99 > 300", [1, 0, 0, 0]),  # that the slowest was slower proves nothing
        ("not ttft_ms_p99 > 500", [1, 1, 0, 0]),
        ("not ttft_ms_p99 < 1000", [0, 0, 0, 0]),
        ("ttft_ms_p99 >= 2000", [0, 0, 0, 0]),
        ("not ttft_ms_p99 >= 2000", [1, 1, 1, 0]),
        ("ttft_ms_p99 == 450", [0, 0, 0, 0]),
        ("ttft_ms_p99 != 450", [1, 0, 0, 0]),
        ("ttft_ms_p99 != 500", [1, 1, 0, 0]),
        ("ttft_ms_p99 == null", [0, 1, 1, 1]),
        ("ttft_ms_p99 != null", [1, 0, 0, 0]),
        ("300 < ttft_ms_p99 < 500", [1, 0, 0, 0]),
        ("ttft_ms_p99 < 300 or ttft_ms_p99 > 500", [0, 0, 0, 0]),
        ("ttft_ms_p99 in [400, 450]", [1, 0, 0, 0]),
        ("ttft_ms_p99 / 1000 < 0.5", [1, 1, 0, 0]),
        ("-ttft_ms_p99 > -500", [1, 1, 0, 0]),
        ("1000 - ttft_ms_p99 > 500", [1, 1, 0, 0]),
        ("-2 * ttft_ms_p99 > -1000", [1, 1, 0, 0]),
        ("ttft_ms_p99 * 2 <= 900", [1, 1, 0, 0]),
        ("ttft_ms_p99 / tp < 460", [1, 1, 1, 0]),
        ("ttft_ms_p99 / -tp > -460", [1, 1, 1, 0]),
        ("ttft_ms_p99 + 100 * tpot_ms_p95 <= 1600", [1, 1, 0, 0]),
        ("ttft_ms_p99 < tpot_ms_p95 * 50", [0, 1, 0, 0]),  # 400 is less than 12 * 50, but of 0 * 50 nobody knows
        ("max(ttft_ms_p99, 100) < 500", [1, 1, 0, 0]),
        ("min(ttft_ms_p99, 10) <= 10", [1, 1, 1, 0]),
        ("ceil(ttft_ms_p99) <= 450", [1, 1, 0, 0]),
        ("ttft_ms_p99 * ttft_ms_p99 < 300000", [1, 0, 0, 0]),  # not followed: what is only bounded is not known
        ("1000 / ttft_ms_p99 > 2", [1, 0, 0, 0]),
        ("ttft_ms_p99 % 7 >= 0", [1, 0, 0, 0]),
        ("ttft_ms_p99", [1, 0, 0, 0]),
        ("tpot_ms_p95 < 13", [1, 1, 1, 1]),
        ("tpot_ms_p95 < 11", [0, 1, 1, 1]),
    ],
)
def test_a_limit_on_a_null_percentile_is_asked_of_the_maximum(condition: str, wanted: list[int]) -> None:
    assert rows_where(DF, condition).tolist() == [bool(value) for value in wanted]


def test_a_maximum_is_no_figure() -> None:
    assert figure_of(DF, "-ttft_ms_p99").tolist() == pytest.approx([-400, np.nan, np.nan, np.nan], nan_ok=True)
    assert best(DF, maximize="-ttft_ms_p99").index.tolist() == [0]


def test_without_a_maximum_no_limit_is_met() -> None:
    assert rows_where(DF.drop(columns="ttft_ms_max"), "ttft_ms_p99 < 500").tolist() == [True, False, False, False]
    assert rows_where(DF.assign(ttft_ms_max=np.inf), "ttft_ms_p99 < 500").tolist() == [True, False, False, False]
    found = undecided(DF, "ttft_ms_p99 < 500 and tp > 0")
    assert {name: rows.tolist() for name, rows in found.items()} == {"ttft_ms_p99": [False, False, False, True]}
    assert undecided(DF, "ttft_ms_p99 < 500 and tp < 8") == {}  # of the last one it would not matter
    assert undecided(DF, "tp < 8") == {}


def test_best_marks_what_the_maximum_bounds() -> None:
    found = best(DF, "ttft_ms_p99 < 2000")
    assert found.index.tolist() == [2]
    assert found.ttft_ms_p99.isna().all() and found.ttft_ms_p99_at_most.tolist() == [1800]
    names = found.columns.tolist()
    assert names.index("ttft_ms_p99_at_most") == names.index("ttft_ms_p99") + 1
    known = best(DF, "ttft_ms_p99 < 420")
    assert known.index.tolist() == [0] and known.ttft_ms_p99_at_most.isna().all()
    assert best(DF).columns.tolist() == DF.columns.tolist()
    assert best(DF, "tp < 4").columns.tolist() == DF.columns.tolist()
    again = best(found, "ttft_ms_p99 < 2000")
    assert again.columns.tolist() == found.columns.tolist()


def test_a_group_without_an_answer_says_that_nothing_bounds_its_percentile() -> None:
    df = DF.assign(osl=[1, 1, 1, 2])
    told = "1 row of groups without an answer lacks ttft_ms_p99 and ttft_ms_max, so it meets no limit on ttft_ms_p99"
    with pytest.warns(UserWarning, match=told) as warned:
        found = best(df, "ttft_ms_p99 < 500")
    assert found.index.tolist() == [1] and warned[0].filename == __file__
    assert best(df, "ttft_ms_p99 < 500 and tp < 8").index.tolist() == [1]  # no warning: TP8 is not asked for
    assert best(df.assign(ttft_ms_max=9e9), "ttft_ms_p99 < 500").index.tolist() == [0]  # known to be too slow


cells = st.tuples(st.sampled_from([-2.0, 0.0, 1.0, 3.0]), st.sampled_from([0.0, 1.0, 4.0]), st.booleans())
terms = st.sampled_from(["x_p99", "x_p99 + 1", "2 - x_p99", "x_p99 * b", "x_p99 / b", "-x_p99", "max(x_p99, b)", "b"])
conditions = st.builds(
    " ".join, st.tuples(terms, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.sampled_from(["0", "b", "2.5"]))
)


@given(conditions, st.lists(st.tuples(cells, st.sampled_from([-1.0, 0.0, 2.0])), min_size=1, max_size=5))
def test_whatever_the_percentile_is_what_is_said_to_hold_holds(
    condition: str, rows: list[tuple[tuple[float, float, bool], float]]
) -> None:
    """Hide some percentiles behind their maximum: a condition holds only where it holds of the hidden number too."""
    hidden = pd.DataFrame({"x_p99": [p for (p, _, _), _ in rows], "b": [b for _, b in rows]})
    shown = hidden.assign(
        x_p99=[np.nan if hide else p for (p, _, hide), _ in rows], x_max=[p + above for (p, above, _), _ in rows]
    )
    truth = rows_where(hidden, condition)
    assert not (rows_where(shown, condition) & ~truth).any()
    assert not (rows_where(shown, f"not ({condition})") & truth).any()
    visible = shown["x_p99"].notna().to_numpy()
    assert (rows_where(shown, condition) == truth)[visible].all()


def test_columns_of_percentiles() -> None:
    assert bounds.maximum_of("ttft_ms_p99") == "ttft_ms_max" and bounds.maximum_of("tps_per_user_p95")
    assert [bounds.maximum_of(name) for name in ("ttft_ms_p90", "p99", "ttft_ms_mean", "tp")] == [None] * 4
    assert bounds.arithmetic(operator.add)(1, 2) == 3
