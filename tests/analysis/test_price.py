from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from sweep.analysis import cost
from sweep.errors import UsageError

DF = pd.DataFrame(
    {
        "source": ["measured", "measured", "simulated", "measured"],
        "gpus_held": pd.array([4, None, 4, 4], dtype="Int64"),
        "gpus_used": pd.array([2, 2, 2, 2], dtype="Int64"),
        "output_tput_tps": [1000.0, 1000.0, 1000.0, None],
        "total_tput_tps": [3000.0, 3000.0, 3000.0, None],
        "price_usd_per_gpu_hour": [9.0, None, 9.0, 9.0],
        "gpu_hours": [0.5, 0.25, None, 0.5],
        "output_tokens_per_j": [0.5, None, None, None],
    },
    index=[10, 11, 12, 13],
)
PER_MILLION = [f"cost_usd_per_million_{kind}_tokens" for kind in ("input", "output", "total")]


def test_dollars_are_those_of_the_gpus_that_are_held() -> None:
    found = cost(DF, price_per_gpu_hour=3.6)
    four = [4 * 3.6 / 3600 / rate * 1e6 for rate in (2000, 1000, 3000)]
    assert found.loc[10, PER_MILLION].tolist() == pytest.approx(four)
    assert found.loc[11, PER_MILLION].tolist() == pytest.approx([value / 2 for value in four])  # imported: those used
    assert found.loc[12, PER_MILLION].tolist() == pytest.approx(four)
    assert found.loc[13, PER_MILLION].isna().all()
    assert found.cost_usd.tolist() == pytest.approx([1.8, 0.9, np.nan, 1.8], nan_ok=True)
    assert found.price_usd_per_gpu_hour.tolist() == [3.6] * 4
    assert found.index.tolist() == DF.index.tolist()
    assert "cost_usd_per_million_total_tokens" not in DF.columns


def test_there_is_no_default_price() -> None:
    found = cost(DF)
    assert found.loc[10, PER_MILLION].tolist() == pytest.approx([5.0, 10.0, 10 / 3])  # of the row's own configuration
    assert found.loc[11, PER_MILLION].isna().all()
    assert cost(DF.drop(columns="price_usd_per_gpu_hour"))[PER_MILLION].isna().all(axis=None)


def test_tokens_per_joule_where_the_power_is_valid() -> None:
    found = cost(DF)
    assert found.loc[10, ["input_tokens_per_j", "output_tokens_per_j", "total_tokens_per_j"]].tolist() == [
        1.0,
        0.5,
        1.5,
    ]
    assert found.loc[11:, "total_tokens_per_j"].isna().all()
    assert "total_tokens_per_j" not in cost(DF.drop(columns="output_tokens_per_j"))


def test_a_prompt_of_no_token_has_no_price() -> None:
    assert cost(DF.assign(total_tput_tps=1000.0), 1.0)[PER_MILLION[0]].isna().all()


@pytest.mark.parametrize(
    "wrong",
    [{"output_tput_tps": 0.0}, {"output_tput_tps": float("inf")}, {"gpus_held": 0}, {"gpus_held": -4}]
    + [{"price_usd_per_gpu_hour": price} for price in (-9.0, 0.0, float("inf"))],
)
def test_what_cannot_be_has_no_cost(wrong: dict[str, float]) -> None:
    found = cost(DF.head(1).assign(**wrong)).iloc[0]
    assert math.isnan(found["cost_usd_per_million_output_tokens"])
    if "output_tput_tps" in wrong:
        assert found[["input_tokens_per_j", "total_tokens_per_j"]].isna().all()
    if "price_usd_per_gpu_hour" in wrong:
        assert found[[*PER_MILLION, "price_usd_per_gpu_hour", "cost_usd"]].isna().all()
    if "gpus_held" in wrong:
        assert found[PER_MILLION].isna().all()


@pytest.mark.parametrize("name", ["output_tput_tps", "gpus_held", "price_usd_per_gpu_hour", "gpu_hours"])
def test_a_column_of_text_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=f"the column {name} holds no numbers"):
        cost(DF.assign(**{name: "much"}), None)


@pytest.mark.parametrize("price", [0, -1, float("nan"), float("inf"), "3", True])
def test_a_price_is_a_positive_number(price: float) -> None:
    with pytest.raises(UsageError, match="price_per_gpu_hour must be a positive number of USD"):
        cost(DF, price)


def test_a_price_may_be_any_number() -> None:
    for price in (3, np.int64(3), np.float32(3)):
        assert cost(DF, price).equals(cost(DF, 3.0))


def test_a_missing_column_is_named() -> None:
    with pytest.raises(UsageError, match="no column gpus_held"):
        cost(DF.drop(columns=["gpus_held", "gpus_used"]))
    with pytest.raises(UsageError, match="no column total_tput_tps"):
        cost(DF[["gpus_held", "output_tput_tps"]])
    assert cost(DF.drop(columns="gpus_held"), 1.0)[PER_MILLION[1]].notna().sum() == 3
