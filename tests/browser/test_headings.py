"""What the page says in its headings of predictions of another model, and where only a maximum bounds a P99."""

from __future__ import annotations

import base64
import re
import struct
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

import sweep
from sweep.table import Results
from tests.browser.conftest import Opener, page_of
from tests.browser.tables import MODEL, measured, points, simulated
from tests.browser.test_page import plot, walk

OTHER = "nvidia/DeepSeek-V3.1-NVFP4"
SHORT: dict[str, Any] = {"shapes": ((1024, 1024),)}


def changed(results: Results, name: str, **columns: Any) -> Results:
    """Return a copy of a table with other values in some columns; a function of the rows gives them."""
    made = Results(results.folder.parent / name)
    rows = results.load().assign(sweep_id=made.open_or_create(), **columns)
    made.append(rows.astype(object).where(rows.notna(), None).to_dict("records"))
    return made


@pytest.fixture
def stood_in(tmp_path: Path) -> Results:
    return changed(simulated(Results(tmp_path / "x"), **SHORT), "stood-in", predicted_as=f"{OTHER} fmha=bfloat16")


def test_every_heading_of_predictions_names_the_model_that_stood_in(opened: Opener, stood_in: Results) -> None:
    page = opened(page_of(stood_in))
    told = f"predicted as {OTHER}"
    for place in ("#banner", "#about", "#best", "#layout-tables h3"):
        expect(page.locator(place)).to_contain_text(told)
    for of in ("front", "tput", "latency", "effect"):
        plot(page, 0, of)
        expect(page.locator(f"#{of}-plots figcaption").first).to_contain_text(told)
        assert told in str(page.locator(f"#{of}-plots .plot").first.get_attribute("aria-label"))
    page.locator("#row-table tbody tr").first.click()
    expect(page.locator("#row header")).to_contain_text(told)


def test_a_model_under_its_own_name_and_measurements_say_nothing(opened: Opener, tmp_path: Path) -> None:
    own = changed(simulated(Results(tmp_path / "x"), **SHORT), "own", predicted_as=f"{MODEL.id} gemm=fp8")
    expect(opened(page_of(own)).locator("#banner")).not_to_contain_text("predicted as")
    real = changed(measured(tmp_path / "real", of=points(**SHORT), repeats=1), "beside", predicted_as=OTHER)
    page = opened(page_of(real))
    plot(page)
    assert "predicted as nvidia" not in page.locator("main").inner_text().split("Provenance")[0]


def test_of_several_models_each_says_its_own(opened: Opener, tmp_path: Path) -> None:
    one = simulated(Results(tmp_path / "x"), **SHORT)
    simulated(one, **SHORT, model="Qwen/Qwen3-4B")
    names = {MODEL.id: OTHER, "Qwen/Qwen3-4B": "Qwen/Qwen3-VL-4B-Instruct"}
    page = opened(page_of(changed(one, "several", predicted_as=lambda df: df["model"].map(names))))
    for model, name in names.items():
        short = model.rpartition("/")[2]
        expect(page.locator("#banner")).to_contain_text(f"{model}: predicted as {name}.")
        for place in ("#front-plots figure", "#layout-tables h3", "#best tbody th"):
            expect(page.locator(place).filter(has_text=short)).to_contain_text(f"predicted as {name}")
    expect(page.locator("#about")).not_to_contain_text("predicted as")


def drawn_title(page: Page, label: str) -> tuple[int, bytes]:
    """Save the first chart; return the height of its picture, and the picture."""
    plot(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save PNG").first.click()
    content = Path(download.value.path()).read_bytes()
    return struct.unpack(">I", content[20:24])[0], content


def test_a_saved_picture_has_a_line_more_for_it_and_the_page_is_as_before(
    opened: Opener, stood_in: Results, tmp_path: Path
) -> None:
    plain, _ = drawn_title(opened(page_of(simulated(Results(tmp_path / "plain"), **SHORT))), "plain")
    page = opened(page_of(stood_in))
    plot(page)
    before = page.locator("#front-plots canvas").first.bounding_box()
    higher, content = drawn_title(page, "stood in")
    assert higher > plain
    assert page.locator("#front-plots canvas").first.bounding_box() == before
    image = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    dark = """async (source) => {
      const image = new Image();
      await new Promise((done) => { image.onload = done; image.src = source; });
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [image.width, image.height];
      const drawing = canvas.getContext("2d");
      drawing.drawImage(image, 0, 0);
      const { data } = drawing.getImageData(0, 0, image.width, 4);
      return data.some((value, index) => index % 4 < 3 && value < 200);
    }"""
    assert not page.evaluate(dark, image), "the first line of the title is cut by the picture's edge"


# -------------------------------------------------------------------------------------------------------------- bounds


@pytest.fixture
def few(tmp_path: Path) -> Results:
    """Measured points, of which those up to c=16 have too few requests for a P99."""
    return measured(tmp_path / "few", of=points(**SHORT), repeats=1)


def test_the_page_and_best_give_one_answer_and_mark_it(opened: Opener, few: Results) -> None:
    df = sweep.load(few.folder)
    limit = float(df.loc[df["ttft_ms_p99"].isna(), "ttft_ms_max"].quantile(0.6))
    (row,) = sweep.best(df, f"ttft_ms_p99 <= {limit!r}").itertuples()
    assert pd.isna(row.ttft_ms_p99) and row.ttft_ms_p99_at_most == row.ttft_ms_max
    page = opened(page_of(few))
    page.locator("#least-speed").fill("")
    page.locator("#most-ttft").fill(repr(limit))
    cells = page.locator("#best tbody tr td")
    expect(cells.first).to_have_text(f"{row.output_tput_per_gpu:,.0f}")
    shown = re.sub("[^0-9.]", "", cells.last.inner_text())
    assert cells.last.inner_text().startswith("≤ ") and float(shown) == pytest.approx(row.ttft_ms_max, rel=0.01)
    expect(page.locator("#best-note")).to_contain_text("≤ is the maximum in the place of a percentile")


def test_a_bound_is_marked_wherever_a_p99_stands(opened: Opener, few: Results) -> None:
    page = opened(page_of(few))
    rows = page.locator("#row-table tbody tr")
    df = sweep.load(few.folder)
    for row in df[df["ttft_ms_p99"].isna()].head(3).itertuples():
        cell = rows.filter(has_text=row.point_id[:8]).locator("td").filter(has_text="≤ ")
        assert float(re.sub("[^0-9.]", "", cell.inner_text())) == pytest.approx(row.ttft_ms_max, rel=0.01)
    said = walk(page, 0)
    assert any("TTFT P99 ≤ " in told for told in said) and any(re.search(r"TTFT P99 \d", told) for told in said)
    page.locator("#layout-metric").select_option("TTFT P99, ms")
    grid = page.locator("#layout-tables tbody tr").first.locator("td")
    expect(grid.first).to_contain_text("≤ ")
    bounded = page.locator("#layout-tables td").filter(has_text="≤ ")
    assert not any("winner" in (cell.get_attribute("class") or "") for cell in bounded.all())
    bounded.first.click()
    expect(page.locator("#row")).to_be_visible()


def test_without_a_maximum_no_limit_is_kept_and_the_page_says_why(opened: Opener, few: Results) -> None:
    made = changed(few, "unbounded", ttft_ms_p99=float("nan"), ttft_ms_max=float("nan"))
    page = opened(page_of(made))
    page.locator("#most-ttft").fill("1e9")
    ok = sweep.load(made.folder)["point_id"].nunique()
    expect(page.locator("#best tbody")).to_contain_text(
        f"no point keeps these limits; {ok} points without TTFT P99 and maximum"
    )
