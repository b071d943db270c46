from __future__ import annotations

import pandas as pd
import pytest

from sweep.analysis import best
from sweep.errors import UsageError


def frame(*rows: tuple[object, ...]) -> pd.DataFrame:
    names = ["isl", "osl", "source", "status", "concurrency", "ttft_ms_p99", "output_tput_per_gpu"]
    types = {"isl": "Int64", "source": "string", "status": "string", "ttft_ms_p99": "float64"}
    return pd.DataFrame(list(rows), columns=names).astype(types)


DF = frame(
    (8192, 1024, "measured", "ok", 4, 900.0, 100.0),
    (1024, 1024, "measured", "ok", 4, 100.0, 200.0),
    (1024, 1024, "measured", "ok", 64, 400.0, 800.0),
    (1024, 1024, "measured", "ok", 64, 300.0, 800.0),
    (1024, 1024, "measured", "ok", 256, None, 950.0),
    (1024, 1024, "measured", "invalid", 256, 100.0, 9e9),
    (1024, 1024, "measured", None, 256, 100.0, 9e9),
    (1024, 1024, "simulated", "ok", 64, 350.0, 5000.0),
)


def test_the_best_row_of_each_group_within_the_limit() -> None:
    found = best(DF, "ttft_ms_p99 < 500")
    assert found.index.tolist() == [2, 7]  # of equals the first; 8192 has none; simulated apart
    assert found.columns.tolist() == DF.columns.tolist()
    assert best(DF).index.tolist() == [4, 0, 7]
    assert best(DF, by=[]).index.tolist() == [4, 7]
    assert best(DF, by="osl").index.tolist() == [4, 7]


def test_any_figure_can_be_the_one_that_counts() -> None:
    assert best(DF, maximize="-ttft_ms_p99").index.tolist() == [1, 0, 7]
    assert best(DF, maximize="output_tput_per_gpu / concurrency", by=["concurrency"]).index.tolist() == [1, 2, 4, 7]


def test_a_null_in_a_group_column_is_a_group() -> None:
    df = frame((None, 1, "measured", "ok", 1, 1.0, 1.0), (2, 1, "measured", "ok", 1, 1.0, 9.0))
    assert len(best(df)) == 2


def test_no_row_makes_an_empty_answer() -> None:
    assert best(frame()).empty
    assert best(DF, "ttft_ms_p99 < 0").columns.tolist() == DF.columns.tolist()


def test_what_cannot_be_answered_is_told() -> None:
    with pytest.raises(UsageError, match='no column islx; did you mean "isl"'):
        best(DF, by=["islx"])
    with pytest.raises(UsageError, match='which is no column; did you mean "ttft_ms_p99"'):
        best(DF, "ttft_ms_p9 < 500")
    with pytest.raises(UsageError, match="gives no numbers"):
        best(DF, maximize="source")


def test_other_clocks_are_told() -> None:
    df = DF.assign(sm_clock_mhz=[1900.0, 1900, 1500, 1500, 1500, 1500, 1500, 1500])
    with pytest.warns(UserWarning, match="from 1,500 to 1,900 MHz") as told:
        best(df)
    assert told[0].filename == __file__
