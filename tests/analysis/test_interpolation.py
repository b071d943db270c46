from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.analysis import interpolate, pareto
from sweep.errors import UsageError

NAMES = ["isl", "osl", "source", "status", "tps_per_user", "output_tput_per_gpu"]


def frame(*rows: tuple[object, ...]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=NAMES).astype({"source": "string", "status": "string"})


DF = frame(
    (1024, 1024, "measured", "ok", 20.0, 2000.0),
    (1024, 1024, "measured", "ok", 100.0, 100.0),
    (1024, 1024, "measured", "ok", 50.0, 800.0),
    (1024, 1024, "measured", "ok", 50.0, 800.0),  # a repeat that is equal
    (1024, 1024, "measured", "ok", 10.0, 900.0),  # beaten
    (1024, 1024, "measured", "failed", 500.0, 9e9),
    (1024, 1024, "simulated", "ok", 40.0, 5000.0),
    (8192, 1024, "measured", "ok", 5.0, 10.0),
)


def test_each_group_and_value_has_one_row() -> None:
    found = interpolate(DF, at={"tps_per_user": [50, 40]})
    assert found.columns.tolist() == ["source", "isl", "osl", "tps_per_user", "output_tput_per_gpu"]
    assert found.iloc[:, :4].values.tolist() == [
        ["measured", 1024, 1024, 50.0],
        ["measured", 1024, 1024, 40.0],
        ["measured", 8192, 1024, 50.0],
        ["measured", 8192, 1024, 40.0],
        ["simulated", 1024, 1024, 50.0],
        ["simulated", 1024, 1024, 40.0],
    ]
    assert found.output_tput_per_gpu.tolist() == pytest.approx(
        [800.0, 1096.6, np.nan, np.nan, np.nan, 5000.0], nan_ok=True, abs=0.1
    )
    assert interpolate(DF, at={"tps_per_user": 50}, by=[]).source.tolist() == ["measured", "simulated"]


def test_nothing_is_said_outside_of_the_front() -> None:
    found = interpolate(DF, at={"tps_per_user": [10, 19.99, 20, 100, 100.01, np.nan]}).iloc[:6]
    assert found.output_tput_per_gpu.notna().tolist() == [False, False, True, True, False, False]


@given(
    st.lists(st.tuples(st.floats(1, 1e3), st.floats(1, 1e4)), min_size=1, max_size=10), st.lists(st.floats(0, 1.1e3))
)
def test_the_answer_lies_between_its_neighbours_on_the_front(
    points: list[tuple[float, float]], wanted: list[float]
) -> None:
    df = pd.DataFrame(points, columns=["tps_per_user", "output_tput_per_gpu"])
    front = pareto(df, by=()).drop_duplicates()
    xs, ys = front.tps_per_user.to_numpy(), front.output_tput_per_gpu.to_numpy()
    found = interpolate(df, at={"tps_per_user": sorted(wanted)}, by=())
    known = found.dropna()
    assert len(known) == sum(xs[0] <= value <= xs[-1] for value in wanted)
    for x, y in known.values:
        assert ys[xs >= x].max() * (1 - 1e-9) <= y <= ys[xs <= x].min() * (1 + 1e-9)
    assert known.output_tput_per_gpu.is_monotonic_decreasing or np.allclose(
        np.maximum(0, np.diff(known.output_tput_per_gpu)), 0, atol=1e-6
    )


def test_an_empty_table_has_no_answer() -> None:
    assert interpolate(DF.iloc[:0], at={"tps_per_user": 50}).columns.tolist() == ["source", *NAMES[:2], *NAMES[4:]]
    assert interpolate(DF[DF.status == "failed"], at={"tps_per_user": 50}).empty
    assert interpolate(DF.iloc[:0].drop(columns="source"), at={"tps_per_user": 50}, by=()).empty


def test_what_cannot_be_answered_is_told() -> None:
    with pytest.raises(UsageError, match="at must name one column"):
        interpolate(DF, at={})
    with pytest.raises(UsageError, match='no column tps_per_usr; did you mean "tps_per_user"'):
        interpolate(DF, at={"tps_per_usr": 50})
    wrongs: tuple[Any, ...] = ([30], 30, None, "tps_per_user")
    for wrong in wrongs:
        with pytest.raises(UsageError, match="at must name one column"):
            interpolate(DF, at=wrong)
    values: tuple[Any, ...] = ("fast", None, [[30, 60]], [[30], [60, 70]], {"x": 1})
    for value in values:
        with pytest.raises(UsageError, match="must have one or more numbers, not " + re.escape(repr(value))):
            interpolate(DF, at={"tps_per_user": value})
    with pytest.raises(UsageError, match="asks for tps_per_user where it is what is asked itself"):
        interpolate(DF, at={"tps_per_user": 50}, y="tps_per_user")
    with pytest.raises(UsageError, match="asks for isl where it is a group itself"):
        interpolate(DF, at={"isl": 1024})


def test_what_is_infinite_is_no_end_of_the_front() -> None:
    df = frame(*DF.values.tolist(), (1024, 1024, "measured", "ok", float("inf"), 1.0))
    wanted = {"tps_per_user": [30, 101]}
    pd.testing.assert_frame_equal(interpolate(df, at=wanted), interpolate(DF, at=wanted))
