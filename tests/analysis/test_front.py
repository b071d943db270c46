import itertools
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.analysis import pareto
from sweep.analysis.front import areas
from sweep.errors import UsageError

COLUMNS = ["isl", "osl", "source", "status", "tps_per_user", "output_tput_per_gpu"]


def frame(rows: Iterable[tuple[object, ...]]) -> pd.DataFrame:
    df = pd.DataFrame(list(rows), columns=COLUMNS)
    types = {"isl": "Int64", "osl": "Int64", "source": "string", "status": "string"}
    return df.astype(types | dict.fromkeys(COLUMNS[4:], "float64"))


def dominated(df: pd.DataFrame) -> list[bool]:
    """The definition, row by row."""
    rows: list[Any] = list(df.itertuples(index=False))
    return [
        any(
            (a.isl, a.osl, a.source) == (b.isl, b.osl, b.source)
            and b.tps_per_user >= a.tps_per_user
            and b.output_tput_per_gpu >= a.output_tput_per_gpu
            and (b.tps_per_user, b.output_tput_per_gpu) != (a.tps_per_user, a.output_tput_per_gpu)
            for b in rows
        )
        for a in rows
    ]


coordinate = st.sampled_from([float("nan"), 0.0, 1.0, 2.0, 3.0, 4.0]) | st.floats(0, 1e6)
row = st.tuples(
    st.sampled_from([1024, 8192]),
    st.just(1024),
    st.sampled_from(["measured", "simulated"]),
    st.sampled_from(["ok", "ok", "ok", "failed", None]),
    coordinate,
    coordinate,
)


@pytest.mark.filterwarnings("ignore:no row has")
@given(st.lists(row, max_size=30))
def test_the_front_is_what_no_row_of_its_group_dominates(rows: list[tuple[object, ...]]) -> None:
    df = frame(rows)
    usable = df[(df.status == "ok").fillna(False) & df.tps_per_user.notna() & df.output_tput_per_gpu.notna()]
    wanted = usable[~np.array(dominated(usable), bool)]
    wanted = wanted.sort_values(["source", "isl", "osl", "tps_per_user"], kind="stable")
    pd.testing.assert_frame_equal(pareto(df), wanted)


def test_measured_and_simulated_rows_never_compete() -> None:
    df = frame([(1, 1, "measured", "ok", 1.0, 1.0), (1, 1, "simulated", "ok", 9.0, 9.0)])
    assert pareto(df).source.tolist() == ["measured", "simulated"]
    assert pareto(df, by=()).source.tolist() == ["measured", "simulated"]
    assert pareto(df, by=("source",)).source.tolist() == ["measured", "simulated"]


def test_a_null_in_a_group_column_is_a_group() -> None:
    df = frame([(None, 1, "measured", "ok", 1.0, 1.0), (2, 1, "measured", "ok", 9.0, 9.0)])
    assert len(pareto(df)) == 2


def test_what_is_infinite_was_not_measured_and_beats_nothing() -> None:
    inf = float("inf")
    df = frame(
        [
            (1, 1, "measured", "ok", inf, 1.0),
            (1, 1, "measured", "ok", 1.0, inf),
            (1, 1, "measured", "ok", 2.0, 2.0),
            (1, 1, "measured", "ok", 1.0, -inf),
        ]
    )
    assert pareto(df).index.tolist() == [2]


def test_a_column_without_numbers_has_no_front() -> None:
    with pytest.raises(UsageError, match="the column source holds no numbers"):
        pareto(frame([(1, 1, "measured", "ok", 1.0, 1.0)]), x="source")


def test_an_empty_table_has_an_empty_front() -> None:
    assert pareto(frame([])).shape == (0, len(COLUMNS))
    assert pareto(frame([(1, 1, "measured", "failed", 1.0, 1.0)])).empty


def test_an_unknown_column_is_named() -> None:
    with pytest.raises(UsageError, match='no column tps_per_usr; did you mean "tps_per_user"'):
        pareto(frame([]), x="tps_per_usr")


def test_rows_without_the_figures_of_a_front_are_told() -> None:
    df = pd.DataFrame({"isl": 1, "osl": 1, "tps_per_user": [None, None], "output_tput_per_gpu": [2.0, 1.0]})
    with pytest.warns(UserWarning, match=r"no row has tps_per_user: it needs streaming, and .*bench=serve") as told:
        assert pareto(df).empty
    assert told[0].filename == __file__
    with pytest.warns(UserWarning, match="no row has both tps_per_user and output_tput_per_gpu"):
        assert pareto(df.assign(tps_per_user=[None, 3.0], output_tput_per_gpu=[2.0, None])).empty
    assert pareto(df.assign(status="failed")).empty  # nobody expects a front of these


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=1, max_size=12))
def test_the_area_of_a_front_is_that_of_the_union_of_its_boxes(points: list[tuple[float, float]]) -> None:
    xs, ys = np.array(points).T
    edges = np.unique([0.0, *xs])
    wanted = sum((b - a) * ys[xs >= b].max() for a, b in itertools.pairwise(edges))
    assert areas(xs, ys) == pytest.approx(wanted)
    assert areas(np.stack([xs, 2 * xs]), np.stack([ys, ys])) == pytest.approx([wanted, 2 * wanted])


@pytest.mark.parametrize(
    ("clocks", "told"), [([1980.0, 1410.0], True), ([1500.0, 1480.0], False), ([1500.0, None], False)]
)
def test_rows_at_other_clocks_are_not_compared_silently(clocks: list[float | None], told: bool) -> None:
    df = pd.DataFrame({"tps_per_user": [1.0, 2.0], "output_tput_per_gpu": [2.0, 1.0], "sm_clock_mhz": clocks, "isl": 1})
    for by in ((), ("isl",)):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            assert len(pareto(df, by=by)) == 2
        assert [str(w.message) for w in found] == (
            ["rows that are compared ran at mean SM clocks from 1,410 to 1,980 MHz (column sm_clock_mhz)"]
            if told
            else []
        )
