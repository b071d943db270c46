"""The page in a real browser: it opens from the disk, shows what the table says, and can be used with any hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

import sweep
from sweep.cli import run_command
from sweep.cli.pages import write
from sweep.table import Results
from tests.browser.conftest import Opener, page_of
from tests.browser.tables import measured, points, simulated

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
SHORT = ((1024, 1024),)
DARK = {"color_scheme": "dark"}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def plot(page: Page, number: int = 0, of: str = "front") -> object:
    """Bring a chart into view and wait until it is drawn."""
    found = page.locator(f"#{of}-plots .plot").nth(number)
    found.scroll_into_view_if_needed()
    found.locator("canvas").wait_for()
    return found


def walk(page: Page, number: int) -> list[str]:
    """Go along the front of a chart with the arrow key; return what each point says."""
    chart = plot(page, number)
    chart.focus()
    page.keyboard.press("ArrowRight")
    said = [page.locator("#said").inner_text()]
    while True:
        page.keyboard.press("ArrowRight")
        told = page.locator("#said").inner_text()
        if told == said[-1]:
            return said
        said.append(told)


# --------------------------------------------------------------------------------------------------------- it opens


@pytest.mark.parametrize("table", ["night", "predicted", "mixed"])
def test_every_chart_and_table_is_drawn(table: str, opened: Opener, request: pytest.FixtureRequest) -> None:
    page = opened(request.getfixturevalue(table).page_file)
    for place in ("front", "tput", "latency", "effect"):
        charts = page.locator(f"#{place}-plots .plot")
        assert charts.count() > 0
        for number in range(charts.count()):
            plot(page, number, place)
    assert page.locator("#layout-tables table").count() == 3
    assert page.locator("#row-table tbody tr").count() == 50


def test_an_empty_table_says_that_it_is_empty(opened: Opener, tmp_path: Path) -> None:
    results = Results(tmp_path / "fresh")
    results.open_or_create()
    page = opened(page_of(results))
    expect(page.locator("#rows-count")).to_have_text("0 rows")
    expect(page.locator("#problem-list")).to_have_text("There is no row yet.")


def test_hostile_names_are_words_and_do_nothing(opened: Opener, tmp_path: Path) -> None:
    results = Results(tmp_path / "x")
    simulated(results, image=HOSTILE)
    simulated(results, image="plain")
    page = opened(page_of(results))
    page.locator('.filter[data-name="image"] summary').click()
    expect(page.locator('.filter[data-name="image"]')).to_contain_text(HOSTILE)
    plot(page).focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tip")).to_contain_text("onerror=alert(2)")
    page.keyboard.press("Enter")
    expect(page.locator("#row")).to_be_visible()
    assert page.locator("img").count() == 0


# ------------------------------------------------------------------------------------------------- it tells the truth


def test_the_fronts_are_those_of_sweep_pareto(opened: Opener, predicted: Results) -> None:
    page, front = opened(predicted.page_file), sweep.pareto(sweep.load(predicted.folder))
    for number, (_, rows) in enumerate(front.groupby(["isl", "osl"])):
        said = [re.search(r"concurrency (\w+), predicted: tok/s/GPU ([\d.,]+)", told) for told in walk(page, number)]
        assert [(found[1], float(found[2].replace(",", ""))) for found in said if found] == [
            (
                "unlimited" if row.concurrency == 0 else str(row.concurrency),
                pytest.approx(row.output_tput_per_gpu, 0.01),
            )
            for row in rows.itertuples()
        ]


def test_the_best_throughput_keeps_the_limits(opened: Opener, night: Results) -> None:
    page, df = opened(night.page_file), sweep.load(night.folder, status="all")
    means = (
        df[df.status == "ok"]
        .groupby(["isl", "osl", "point_id"])[["output_tput_per_gpu", "tps_per_user", "ttft_ms_p99"]]
        .mean()
    )
    for least, most in (("100", ""), ("20", "400")):
        page.locator("#least-speed").fill(least)
        page.locator("#most-ttft").fill(most)
        able = means[(means.tps_per_user >= float(least)) & ~(means.ttft_ms_p99 > float(most or "inf"))]
        wanted = able.output_tput_per_gpu.groupby(["isl", "osl"]).max()
        told = [float(text.replace(",", "")) for text in page.locator("#best .big").all_inner_texts()]
        assert told == [pytest.approx(value, abs=0.5) for value in wanted]


def test_all_that_has_no_number_is_told_with_its_reason(opened: Opener, night: Results) -> None:
    page, df = opened(night.page_file), sweep.load(night.folder, status="all")
    told = page.locator("#problem-list tbody tr")
    bad = df[df.status != "ok"]
    assert sum(int(told.nth(i).locator("td").first.inner_text()) for i in range(told.count())) == len(bad)
    for message in bad.failure_message.unique():
        expect(page.locator("#problem-list")).to_contain_text(message)
    expect(page.locator("#pruned-list")).to_contain_text("105 cells of the matrix became no point")
    told.first.get_by_role("button").click()
    expect(page.locator("#row")).to_contain_text(bad.failure_message.mode()[0])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_predictions_cannot_be_missed(scheme: str, opened: Opener, predicted: Results) -> None:
    page = opened(predicted.page_file, color_scheme=scheme)
    expect(page.locator("#banner")).to_contain_text("PREDICTED, NOT MEASURED")
    assert page.title().startswith("PREDICTED")
    expect(page.locator("#legend .chip")).to_be_visible()
    for chart in page.locator("figure").all():
        expect(chart.locator(".chip")).to_be_visible()
    for row in page.locator("#row-table tbody tr, #best tbody tr").all():
        expect(row.locator(".chip")).to_be_visible()
    page.locator("#row-table tbody tr").first.click()
    expect(page.locator("#row header .chip")).to_be_visible()


def test_measured_rows_carry_no_such_mark(opened: Opener, night: Results) -> None:
    page = opened(night.page_file)
    expect(page.locator("#banner")).to_be_hidden()
    assert [chip for chip in page.locator(".chip").all() if chip.is_visible()] == []


def test_predictions_beside_measurements_are_shown_when_asked_for(opened: Opener, mixed: Results) -> None:
    page = opened(mixed.page_file)
    expect(page.locator("#banner")).to_contain_text("168 OF 336 ROWS ARE PREDICTED")
    assert page.locator("#best tbody tr").count() == 3
    expect(page.locator("#legend .chip")).to_have_count(0)
    page.get_by_role("button", name="Clear filters").click()
    assert page.locator("#best tbody tr").count() == 6
    expect(page.locator("#legend .chip")).to_be_visible()


def test_each_model_has_its_own_front_and_best_point(opened: Opener, tmp_path: Path) -> None:
    results = simulated(Results(tmp_path / "two"), shapes=SHORT)
    simulated(results, shapes=SHORT, model="meta-llama/Llama-3.3-70B")
    page = opened(page_of(results))
    names = ["1024 / 1024 · DeepSeek-R1-NVFP4-v2", "1024 / 1024 · Llama-3.3-70B"]
    for place in ("front", "tput", "latency"):
        assert page.locator(f"#{place}-plots figcaption b").all_inner_texts() == names
    assert page.locator("#best small").all_inner_texts() == [name.split(" · ")[1] for name in names]
    assert page.locator("#layout-tables table").count() == 2


def test_one_concurrency_is_the_only_one_on_its_axis(opened: Opener, tmp_path: Path) -> None:
    only = (point for point in points(SHORT) if point.concurrency == 64)
    page = opened(page_of(measured(tmp_path / "one", of=only)))
    plot(page, 0, "tput")
    scale = "[...plots.values()].find((plot) => plot.saved === 'tput').view"
    drawn = f"{scale}.scenegraph().root.items[0].items.flatMap(function all(one) {{ return one.role === 'axis-label'"
    texts = page.evaluate(f"{drawn} ? one.items.map((item) => item.text) : (one.items ?? []).flatMap(all) }})")
    assert 64 in texts and 65536 not in texts


def test_what_an_imported_report_does_not_say_is_not_told(opened: Opener, tmp_path: Path) -> None:
    reports = Path(__file__).parents[1] / "data" / "reports"
    files = [str(reports / f"{name}.json") for name in ("serving-default", "1.2.0rc2-throughput-nonstreaming")]
    results = Results(tmp_path / "imported")
    assert run_command(["import", *files, "--into", str(results.folder)]) == 0
    page = opened(page_of(results))
    expect(page.locator("#best")).to_contain_text("nobody told how many GPUs these used")
    expect(page.locator("#best")).to_contain_text("not told")
    expect(page.locator("#layout-tables")).to_contain_text("not told")
    for place in ("bar", "best", "layout-tables"):
        expect(page.locator(f"#{place}")).not_to_contain_text("default")
    expect(page.locator("#tput-plots")).to_contain_text("No row that passes the filters has both")


# -------------------------------------------------------------------------------------------------------- it is handy


def test_pointing_at_a_point_tells_every_setting_and_a_click_opens_its_row(opened: Opener, night: Results) -> None:
    page = opened(night.page_file)
    plot(page).focus()
    page.keyboard.press("ArrowRight")
    box = page.locator("#front-plots .ring").first.bounding_box()
    assert box is not None
    page.evaluate("document.activeElement.blur()")
    expect(page.locator("#tip")).to_be_hidden()
    page.mouse.move(box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2 - 3)
    tip = page.locator("#tip")
    expect(tip).to_be_visible()
    for words in ("TTFT P99", "mean of 2 repeats", "image", "max batch size", "scheduler policy", "KV cache"):
        expect(tip).to_contain_text(words)
    page.mouse.down()
    page.mouse.up()
    row = page.locator("#row")
    expect(row).to_be_visible()
    expect(row).to_contain_text("point_id")
    row.get_by_role("button", name="Show in the table").click()
    expect(page.locator("#row-table tr.here")).to_be_in_viewport()
    expect(page.locator("#row-table tr.here button")).to_be_focused()


def test_a_filter_holds_for_the_whole_page_and_over_a_reload(opened: Opener, night: Results) -> None:
    page, df = opened(night.page_file), sweep.load(night.folder, status="all")
    page.locator('.filter[data-name="layout"] summary').click()
    page.get_by_label("TP4 EP4 attention DP").check()
    wanted = int((df.attention_dp & df.tp.eq(4)).sum())
    expect(page.locator("#shown-count")).to_have_text(f"{wanted} of {len(df)} rows")
    expect(page.locator("#legend")).to_have_text("TP4 EP4 attention DP")
    assert set(page.locator("#row-table tbody td:nth-child(6)").all_inner_texts()) == {"TP4 EP4 attention DP"}
    page.reload()
    expect(page.locator("#shown-count")).to_have_text(f"{wanted} of {len(df)} rows")
    page.get_by_role("button", name="Clear filters").click()
    expect(page.locator("#shown-count")).to_have_text(f"{len(df)} rows")


def test_figures_and_colours_can_be_chosen(opened: Opener, night: Results) -> None:
    page = opened(night.page_file)
    page.get_by_label("Colour by").select_option("KV cache")
    expect(page.locator("#legend")).to_contain_text("KV cache fp8")
    page.locator("#layout-metric").select_option("TTFT P50, ms")
    expect(page.locator("#layout-tables td.winner").first).to_be_visible()
    page.locator("#latency-metric").select_option("TPOT P99, ms")
    plot(page, 0, "latency")
    assert "latency=tpot_ms_p99" in page.url


def test_rows_are_sorted_by_any_column(opened: Opener, night: Results) -> None:
    page, df = opened(night.page_file), sweep.load(night.folder, status="all")
    page.get_by_role("button", name="throughput").click()
    first = page.locator("#row-table tbody tr").first
    best = df.output_tput_per_gpu[df.status.isin(["ok", "invalid"])].max()
    expect(first).to_contain_text(f"{best:,.0f}")
    assert page.locator("th[aria-sort=descending]").count() == 1


def test_everything_works_without_a_mouse(opened: Opener, night: Results) -> None:
    page = opened(night.page_file)
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the results")).to_be_focused()
    summary = page.locator('.filter[data-name="shape"] summary')
    summary.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.locator("#shown-count")).to_contain_text(" of ")
    page.keyboard.press("Escape")
    expect(summary).to_be_focused()
    cell = page.locator("#layout-tables td[tabindex='0']").first
    cell.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#row")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#row")).to_be_hidden()
    assert page.evaluate("document.activeElement.matches('#layout-tables td')")


def test_the_theme_follows_the_system_and_can_be_changed(opened: Opener, night: Results) -> None:
    page = opened(night.page_file, **DARK)
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    plot(page)
    page.get_by_role("button", name="Light theme").click()
    light = page.evaluate(ground)
    assert (dark, light) == ("rgb(21, 24, 27)", "rgb(255, 255, 255)")
    page.reload()
    assert page.evaluate(ground) == light


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_wider_than_the_screen(width: int, opened: Opener, mixed: Results) -> None:
    page = opened(mixed.page_file, **{**PHONE, "viewport": {"width": width, "height": 844}})
    plot(page, 0, "effect")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_long_names_are_no_wider_than_the_screen(opened: Opener, tmp_path: Path) -> None:
    results = simulated(Results(tmp_path / "long"), image="registry.example/" + "very-long-" * 20)
    simulated(results, image="plain")
    page = opened(page_of(results))
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    expect(page.locator("#best tbody td").last).to_be_in_viewport()


def test_paper_has_every_chart_in_light_colours_and_says_what_is_filtered(opened: Opener, night: Results) -> None:
    page = opened(night.page_file, "#layout=TP4", **DARK)
    page.evaluate("window.addEventListener('beforeprint', () => (window.printed = onPaper()))")
    page.evaluate(
        "window.onPaper = () => ({ theme: document.documentElement.dataset.theme,"
        " canvases: document.querySelectorAll('.plot canvas').length })"
    )
    charts = page.locator(".plot").count()
    assert page.locator(".plot canvas").count() < charts
    page.pdf()
    assert page.evaluate("window.printed") == {"theme": "light", "canvases": charts}
    assert page.evaluate("onPaper().theme") == "dark"
    page.emulate_media(media="print")
    expect(page.locator("#filters")).to_contain_text("layout: TP4")
    expect(page.locator("#legend")).to_be_visible()
    expect(page.locator('.filter[data-name="shape"]')).to_be_hidden()


def test_a_finger_opens_a_point(opened: Opener, night: Results) -> None:
    page = opened(night.page_file, **PHONE)
    plot(page).focus()
    page.keyboard.press("ArrowRight")
    box = page.locator("#front-plots .ring").first.bounding_box()
    assert box is not None
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator("#row")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("table", ["night", "predicted"])
def test_axe_finds_nothing_against_wcag_aa(
    table: str, scheme: str, opened: Opener, request: pytest.FixtureRequest
) -> None:
    page = opened(request.getfixturevalue(table).page_file, color_scheme=scheme)
    plot(page)
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    for shown in ("page", "row"):
        if shown == "row":
            page.locator("#row-table tbody tr").first.click()
        found = Axe().run(page, options=rules | {"resultTypes": ["violations"]})
        assert found.violations_count == 0, found.generate_report()


def test_a_chart_is_saved_as_a_picture(opened: Opener, predicted: Results) -> None:
    page = opened(predicted.page_file)
    plot(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save PNG").first.click()
    assert download.value.suggested_filename == "predicted-front-1024-1024-predicted.png"
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")


# ---------------------------------------------------------------------------------------------------------- it is live


def test_a_live_page_takes_new_rows_and_keeps_its_place(opened: Opener, tmp_path: Path) -> None:
    results = measured(tmp_path / "night", repeats=1)
    write(results, results.page_file, live=True)
    page = opened(results.page_file)
    expect(page.locator("#live")).to_contain_text("live: 168 rows")
    page.locator('.filter[data-name="shape"] summary').click()
    page.get_by_role("checkbox", name="8192 / 1024").check()
    page.keyboard.press("Escape")
    plot(page, 0, "effect")
    page.locator("#effect-metric").focus()
    top = "document.getElementById('effects').getBoundingClientRect().top"
    before = page.evaluate(top)
    simulated(results, shapes=((8192, 1024),))
    write(results, results.page_file, live=True)
    expect(page.locator("#live")).to_contain_text("live: 224 rows")
    expect(page.locator("#shown-count")).to_have_text("112 of 224 rows")
    assert page.evaluate(top) == pytest.approx(before, abs=2)
    expect(page.locator("#effect-metric")).to_be_focused()
    write(results, results.page_file, live=False)
    expect(page.locator("#live")).to_be_hidden()
    assert page.locator("iframe").count() == 0
