"""Pictures of a table: every point is in them, predictions say so, and they are readable in the dark."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pandas as pd
import pytest

import sweep
from sweep.errors import UsageError
from sweep.figures import charts, pictures
from tests.browser.tables import measured, simulated

SVG = "{http://www.w3.org/2000/svg}"
TEXTLESS = {"none", "transparent"}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Measured and simulated rows of one KV dtype: four layouts, three ISL/OSL."""
    results = measured(tmp_path_factory.mktemp("results") / "night")
    found = sweep.load(simulated(results).folder)
    return found[found["kv_cache_dtype"].eq("fp8")]


@pytest.fixture(scope="module")
def of_measured(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["source"].eq("measured")]


def words(drawn: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(drawn).iter(f"{SVG}text")]


def test_a_front_has_a_panel_for_each_isl_osl_and_names_every_layout(of_measured: pd.DataFrame) -> None:
    said = words(pictures.svg(pictures.fronts(of_measured)))
    assert {"ISL 1024 / OSL 1024", "ISL 8192 / OSL 1024", "ISL 1024 / OSL 8192"} <= set(said)
    assert {"TP4", "TP4 EP4", "TP4 EP4 attention DP", "TP8 EP8"} <= set(said)
    assert "nvidia/DeepSeek-R1-NVFP4-v2 on GB200" in said


@pytest.mark.parametrize("log", [False, True])
def test_every_point_is_drawn_once_and_repeats_as_their_mean(of_measured: pd.DataFrame, log: bool) -> None:
    limited = of_measured[of_measured["concurrency"].gt(0)]
    chart = pictures.curves(of_measured, "e2el_ms_p50", "E2E P50, ms", log=log).to_dict()
    drawn = [row for data in chart["datasets"].values() for row in data if "source" in row]
    points = limited.groupby(["isl", "osl", "tp", "ep", "attention_dp", "concurrency"], dropna=False)["e2el_ms_p50"]
    assert sorted(row["y"] for row in drawn) == pytest.approx(sorted(points.mean()), rel=1e-3)


def test_one_concurrency_is_the_only_one_on_its_axis(of_measured: pd.DataFrame) -> None:
    one = of_measured[of_measured["concurrency"] == 64]
    said = words(pictures.svg(pictures.curves(one, "ttft_ms_p50", "TTFT P50, ms", log=True)))
    assert "64" in said and not {"32", "128", "65536"} & set(said)


def test_a_panel_with_a_prediction_and_the_title_say_so(rows: pd.DataFrame, of_measured: pd.DataFrame) -> None:
    predicted = rows[rows["source"].eq("simulated")]
    for draw in (pictures.fronts, lambda df: pictures.curves(df, "output_tput_per_gpu", charts.PER_GPU)):
        told = words(pictures.svg(draw(predicted)))
        assert told.count(charts.MARK) == 3
        assert any(text.startswith("PREDICTED, not measured: ") for text in told)
        assert any(text.startswith("partly PREDICTED: ") for text in words(pictures.svg(draw(rows))))
        assert "PREDICTED" not in pictures.svg(draw(of_measured))


def test_every_colour_has_another_in_the_dark(rows: pd.DataFrame) -> None:
    drawn = pictures.svg(pictures.fronts(rows))
    used = set(re.findall(r'(?:fill|stroke)="([^"]+)"', drawn.split("</style>")[1])) - TEXTLESS
    assert used <= set(pictures.IN_THE_DARK)
    assert all(f'[fill="{light}"]{{fill:{dark}}}' in drawn for light, dark in pictures.IN_THE_DARK.items())


def test_the_same_rows_give_the_same_bytes(rows: pd.DataFrame) -> None:
    shuffled = rows.sample(frac=1, random_state=1)
    assert pictures.svg(pictures.fronts(rows)) == pictures.svg(pictures.fronts(shuffled))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda df: df.drop(columns="tps_per_user"), "no column tps_per_user"),
        (lambda df: df.assign(tps_per_user=float("nan")), "nothing to draw: no ok row has tps_per_user"),
        (lambda df: df.assign(status="failed"), "nothing to draw"),
        (lambda df: pd.concat([df, df.assign(kv_cache_dtype="auto")]), "differ in kv_cache_dtype too"),
        (lambda df: pd.concat([df, df.assign(model="another")]), r"differ in model too.* df\[df.model == "),
        (lambda df: pd.concat([df.assign(pp=number) for number in (1, 2, 3)]), "12 layouts, and 8"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(of_measured: pd.DataFrame, change: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pictures.fronts(change(of_measured))  # type: ignore[operator]


def test_a_picture_is_small_and_asks_for_nothing(rows: pd.DataFrame, tmp_path: Path) -> None:
    drawn = pictures.svg(pictures.fronts(rows))
    assert len(drawn) < 150_000
    assert not re.search(r"<script|<image|href=|url\(http|@import", drawn)
