"""Charts and the page, without a browser: what is drawn, what is told, and that nothing in it can act."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tempfile
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sweep.figures import account, charts, page
from sweep.figures.effects import effects
from sweep.figures.page import PARTS, SCRIPTS
from sweep.figures.rows import describe, layouts, varied
from sweep.plan import Attempt, Deployment
from sweep.point import MoeBackend, Point
from sweep.table import Outcome, Results, Source, Status, make_row
from sweep.terminal import printable
from tests.browser.tables import BEGIN, MODEL, measured, points, report, simulated

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u2028"


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Measured rows with all that can go wrong."""
    return measured(tmp_path_factory.mktemp("results") / "night")


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    """Rows as they come back from a table."""
    with tempfile.TemporaryDirectory() as folder:
        results = Results(Path(folder) / "table")
        results.open_or_create()
        results.append(rows)
        return results.load(last_attempt_only=False)


def row(point: Point, status: Status = Status.OK, source: Source = Source.MEASURED, repeat: int = 1) -> dict[str, Any]:
    attempt = Attempt(point=point, point_id=point.point_id, repeat=repeat)
    return make_row(
        sweep_id="s1",
        deployment=Deployment.of("s1", MODEL, (attempt,), gpus_held=4),
        attempt=attempt,
        outcome=Outcome(status=status, report=report(point) if status is Status.OK else None),
        source=source,
        backend="gke",
        started_at=BEGIN,
        ended_at=BEGIN,
        environment={},
    )


def point(**settings: Any) -> Point:
    return next(points(**{"shapes": ((1024, 1024),), **settings}))


def made(results: Results, **more: Any) -> str:
    given: dict[str, Any] = {"results_dir": "results", "written_at": datetime(2026, 2, 1, tzinfo=UTC)}
    attempts = results.load(last_attempt_only=False)
    return page(results.name, attempts, configs=results.configs(), **{**given, **more})


def data_of(text: str) -> dict[str, Any]:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    data: dict[str, Any] = json.loads(found)
    return data


# --------------------------------------------------------------------------------------------------------------- rows


def decoded(column: dict[str, Any], count: int) -> list[Any]:
    if "one" in column:
        return [column["one"]] * count
    if "all" in column:
        return list(column["all"])
    return [None if at < 0 else column["of"][at] for at in column["at"]]


def test_the_page_carries_every_value_of_every_row(night: Results) -> None:
    df = night.load()
    columns = describe(df)["columns"]
    assert set(columns) == {name for name in df if df[name].notna().any()}
    for name, column in columns.items():
        for said, real in zip(decoded(column, len(df)), df[name], strict=True):
            if pd.isna(real):
                assert said is None, name
            elif isinstance(real, pd.Timestamp):
                assert said == real.strftime("%Y-%m-%dT%H:%M:%SZ")
            else:
                assert said == (pytest.approx(real, rel=1e-5) if isinstance(real, float) else real), name


def test_layouts_are_named_by_what_is_more_than_one() -> None:
    rows = [row(point(tp=tp, ep=ep, attention_dp=dp)) for tp, ep, dp in ((1, 1, False), (4, 1, False), (4, 4, True))]
    assert layouts(frame(*rows)) == ["TP1", "TP4", "TP4 EP4 attention DP"]


def test_what_varies_is_in_the_declared_order() -> None:
    df = frame(row(point(concurrency=1)), row(point(concurrency=4, max_batch_size=8)))
    assert varied(df) == ["concurrency", "max_batch_size"]


# ------------------------------------------------------------------------------------------------------------ effects


def test_what_an_import_does_not_tell_is_no_effect() -> None:
    backend, none = row(point(moe_backend=MoeBackend.CUTLASS)), row(point())
    assert [effect.name for effect in effects(frame(none, backend))] == ["moe_backend default → CUTLASS"]
    assert effects(frame({**none, "backend": "import"}, backend)) == []
    assert effects(frame({**none, "backend": "import", "tp": None}, backend)) == []


def test_an_effect_pairs_rows_that_differ_in_one_setting_only() -> None:
    df = frame(
        row(point(ep=1, concurrency=1)),
        row(point(ep=4, concurrency=1)),
        row(point(ep=1, concurrency=4)),
        row(point(ep=4, concurrency=16)),
    )
    (effect,) = effects(df)
    assert (effect.name, effect.at, effect.pairs) == ("EP 1 → 4", "TP4", ((0, 1),))


def test_a_setting_that_goes_along_is_told() -> None:
    rows = [row(point(attention_dp=dp, max_batch_size=size)) for dp, size in ((False, 1024), (True, 256))]
    effect = next(effect for effect in effects(frame(*rows)) if effect.setting == "attention_dp")
    assert (effect.name, effect.along) == ("attention DP off → on", ("max_batch_size",))


def test_a_default_is_a_value_that_others_are_held_against() -> None:
    rows = [row(point(moe_backend=backend)) for backend in (MoeBackend.TRTLLM, None)]
    (effect,) = effects(frame(*rows))
    assert (effect.name, effect.pairs) == ("moe_backend default → TRTLLM", ((1, 0),))


def test_sources_and_rows_without_a_number_are_never_a_pair() -> None:
    one, other = point(ep=1), point(ep=4)
    assert [e for e in effects(frame(row(one), row(other, source=Source.SIMULATED))) if e.pairs] == []
    assert [e for e in effects(frame(row(one), row(other, Status.FAILED))) if e.pairs] == []


def test_repeats_make_no_more_pairs() -> None:
    df = frame(*[row(point(ep=ep), repeat=repeat) for ep in (1, 4) for repeat in (1, 2)])
    (effect,) = effects(df)
    assert effect.pairs == ((0, 2),)


def test_layouts_that_differ_in_two_settings_are_held_against_the_nearest() -> None:
    df = frame(row(point(tp=4, ep=1)), row(point(tp=4, ep=4)), row(point(tp=8, ep=8)))
    assert [effect.name for effect in effects(df)] == ["EP 1 → 4", "TP 4 → 8, EP 4 → 8"]


# --------------------------------------------------------------------------------------------------------- accounting


def test_all_gpu_hours_are_told_once(night: Results) -> None:
    attempts = night.load(last_attempt_only=False)
    told = account.hours(attempts)
    assert told["total"] == pytest.approx(attempts.gpu_hours.sum())
    assert sum(sum(of["parts"].values()) for of in told["layouts"]) == pytest.approx(told["total"])
    lost = attempts.loc[attempts.status.ne("ok"), "gpu_hours"].sum()
    assert sum(of["parts"]["no number"] for of in told["layouts"]) == pytest.approx(lost)
    assert told["cost_usd"] == pytest.approx(attempts.cost_usd.sum())
    assert told["priced"] == pytest.approx(told["total"])
    attempts.loc[attempts.index % 2 == 0, "cost_usd"] = None
    half = account.hours(attempts)
    assert half["priced"] == pytest.approx(attempts.gpu_hours[attempts.index % 2 == 1].sum())
    assert told["repeated"] == len(attempts) - len(night.load()) > 0


def test_predictions_cost_no_gpu_hours_and_say_what_measuring_would_take(tmp_path: Path) -> None:
    df = simulated(Results(tmp_path / "predicted")).load()
    told = account.hours(df)
    assert (told["layouts"], told["total"], told["cost_usd"]) == ([], 0, None)
    assert told["predicted"] == pytest.approx((df.bench_s * df.gpus_held).sum() / 3600)


def test_the_origin_of_rows_is_told_with_how_many_have_it(night: Results) -> None:
    facts = {fact["name"]: fact["values"] for fact in account.provenance(night.load())}
    assert facts["GPU driver"] == [["580.95.05", len(night.load())]]
    assert facts["SM clock"][0][0] == "1,935 to 1,965 MHz"
    assert facts["slowdown"][0][0] == "none"
    assert len(facts["node"]) == 4


def test_the_command_to_repeat_names_where_the_configuration_lies(night: Results) -> None:
    (config_hash,) = night.configs()
    assert account.commands(night.load(), "results") == [f"python -m sweep +rerun={config_hash}"]
    assert account.commands(night.load(), "my results")[0].endswith(" results_dir='my results'")


def test_the_same_pruning_of_two_configurations_is_told_once() -> None:
    cells = {"same point as another": 3, "excluded": 9}
    (told,) = account.pruned({"a": {"pruned": cells}, "b": {"pruned": dict(cells)}, "c": {}})
    assert told == {"configs": ["a", "b"], "cells": [("excluded", 9), ("same point as another", 3)]}


# ------------------------------------------------------------------------------------------------------------- charts


def drawn(source: str, **more: Any) -> list[dict[str, Any]]:
    looks = {"fill": "#fff", "stroke": "#000", "shape": "circle", "size": 40, "opacity": 1, "side": "right"}
    return [
        looks | {"x": x, "y": 100.0 / x, "front": True, "source": source, "series": "a", "label": "TP4"} | more
        for x in (1, 4)
    ]


@pytest.mark.parametrize("chart", [charts.front, lambda rows: charts.curve(rows, "ms", log=True), charts.effect])
def test_a_chart_with_a_simulated_row_says_so_in_itself(chart: Any) -> None:
    import altair as alt
    import vl_convert

    def picture(rows: list[dict[str, Any]]) -> str:
        drawing = (
            chart(alt.InlineData(values=rows))
            if chart is not charts.effect
            else chart(alt.InlineData(values=rows), "%")
        )
        said: str = vl_convert.vegalite_to_svg(drawing.to_dict())
        return said

    assert charts.MARK not in picture(drawn("measured"))
    assert charts.MARK in picture(drawn("simulated"))
    assert charts.MARK in picture(drawn("measured") + drawn("simulated"))


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2.2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("theme", "colours"), [("light", charts.LIGHT), ("dark", charts.DARK)])
def test_colours_keep_the_contrast_of_wcag_aa(theme: str, colours: tuple[str, ...]) -> None:
    style = (PARTS / "page.css").read_text()
    block = style[style.index(":root {" if theme == "light" else ':root[data-theme="dark"] {') :].split("}")[0]
    named = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})\b", block))
    named = {name: code if len(code) == 7 else "#" + "".join(c * 2 for c in code[1:]) for name, code in named.items()}
    for text in ("ink", "soft", "accent", "bad"):
        assert contrast(named[text], named["ground"]) >= 4.5, text
        assert contrast(named[text], named["panel"]) >= 4.5, text
    assert contrast(named["mark-ink"], named["mark-ground"]) >= 4.5
    for colour in (*colours, named["strong-line"]):
        assert contrast(colour, named["ground"]) >= (4.5 if colour in colours else 3), colour


# --------------------------------------------------------------------------------------------------------------- page


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_fetches_nothing(night: Results) -> None:
    reader = Reader()
    reader.feed(made(night))
    for tag, attributes in reader.tags:
        assert tag not in ("link", "img", "iframe", "base", "object"), tag
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    (policy,) = [a["content"] for t, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert "unsafe-inline" not in policy.split("style-src")[0]


def test_only_our_scripts_may_run(night: Results) -> None:
    text = made(night)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    allowed = re.findall(r"'sha256-([^']+)'", text)
    assert [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts] == allowed


def test_hostile_names_stay_data(tmp_path: Path) -> None:
    results = Results(tmp_path / "x")
    sweep_id = results.open_or_create()
    config_hash = results.write_config({"pruned": {HOSTILE: 1}})
    bad = row(point(image=HOSTILE), Status.FAILED) | {
        "sweep_id": sweep_id,
        "failure_message": HOSTILE,
        "config_hash": config_hash,
    }
    results.append([bad])
    text = page(
        HOSTILE,
        results.load(last_attempt_only=False),
        configs=results.configs(),
        results_dir=HOSTILE,
        written_at=BEGIN,
    )
    ours = (text.split('id="data">')[0], text.split('id="data">')[1].split("</script>")[0])
    assert not any(markup in part for part in ours for markup in ("<img", "<script>alert"))
    reader = Reader()
    reader.feed(text)
    assert [tag for tag, _ in reader.tags].count("script") == 3
    data = data_of(text)
    assert data["name"] == printable(HOSTILE)
    assert data["pruned"][0]["cells"] == [[printable(HOSTILE), 1]]
    assert data["rows"]["columns"]["image"]["one"] == printable(HOSTILE)


def test_what_turns_a_line_around_is_shown_as_an_escape(tmp_path: Path) -> None:
    odd = "a\u202eb\u2028c\u2066d\x1b[2Je\x85f\u200bg"
    shown = r"a\u202eb\u2028c\u2066d\x1b[2Je\x85f\u200bg"
    results = Results(tmp_path / "x")
    sweep_id = results.open_or_create()
    config_hash = results.write_config({"pruned": {odd: 1}})
    known = {"sweep_id": sweep_id, "config_hash": config_hash, "node": odd, "trtllm_version": odd}
    failed = known | {"failure_kind": "oom", "failure_message": f"{odd}\n\tat x"}
    results.append([row(point(model=odd)) | known, row(point(image=odd, tp=2, ep=2), Status.FAILED) | failed])
    attempts = results.load(last_attempt_only=False)
    text = page(odd, attempts, configs=results.configs(), results_dir=odd, written_at=BEGIN)
    ours, (_, rest) = text.split("<style>")[0], text.split('id="data">')
    assert f"<title>{shown}" in ours
    assert all(part.replace("\n", "").replace("\t", "").isprintable() for part in (ours, rest.split("</script>")[0]))
    data = data_of(text)
    assert data["name"] == shown and data["pruned"][0]["cells"] == [[shown, 1]]
    columns = data["rows"]["columns"]
    assert columns["node"]["one"] == shown and shown in columns["model"]["of"] and shown in columns["image"]["of"]
    assert columns["failure_message"]["of"] == [f"{shown}\n\tat x"]
    everything = json.dumps(data, ensure_ascii=False)
    assert "\\u001b" not in everything and "\\u0085" not in everything


def test_an_empty_table_has_a_page(tmp_path: Path) -> None:
    results = Results(tmp_path / "fresh")
    results.open_or_create()
    assert data_of(made(results, live=True))["rows"]["count"] == 0


def test_a_table_without_streaming_is_told_by_end_to_end_speed() -> None:
    silent = row(point(streaming=False)) | {"tps_per_user": None}
    text = page("x", frame(silent), configs={}, results_dir="results", written_at=BEGIN)
    assert data_of(text)["speed"] == "tps_per_user_e2e"
    assert "tok/s per user, end to end" in json.dumps(data_of(text)["charts"]["front"], ensure_ascii=False)


def test_the_last_attempts_are_shown_and_earlier_ones_counted(night: Results) -> None:
    data = data_of(made(night))
    assert data["rows"]["count"] == len(night.load())
    assert data["hours"]["repeated"] > 0


def test_every_script_of_the_page_is_in_it(night: Results) -> None:
    assert {path.stem for path in PARTS.glob("*.js")} == set(SCRIPTS)
    text = made(night)
    for name in SCRIPTS:
        assert (PARTS / f"{name}.js").read_text().strip().splitlines()[-1] in text
