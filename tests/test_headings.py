"""What tables and pictures say above their numbers: as which model they were predicted, and what is only a bound."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import sweep
from sweep import summary
from sweep.analysis import compare, stand_ins
from sweep.cli import run_command
from sweep.figures import pictures
from sweep.table import Results
from tests.browser.tables import MODEL, measured, points, simulated
from tests.test_comparison_summary import put

OTHER = "nvidia/DeepSeek-V3.1-NVFP4"
SMALL: dict[str, Any] = {"shapes": ((1024, 1024),)}
FEW = [point for point in points(**SMALL) if point.concurrency == 4]
"""Points of 32 requests each."""


def predicted_as(results: Results, name: str | None, **more: Any) -> Results:
    """Add predictions of one KV dtype to a table; as what they were predicted is told in their rows."""
    made = simulated(Results(results.folder.parent / "made"), **SMALL, kv_cache_dtype="fp8", **more)
    results.open_or_create()
    rows = made.load().drop_duplicates("point_id").assign(predicted_as=name, sweep_id=results.sweep_id)
    results.append(rows.astype(object).where(rows.notna(), None).to_dict("records"))
    return results


@pytest.fixture
def predicted(tmp_path: Path) -> Results:
    return predicted_as(Results(tmp_path / "predicted"), f"{OTHER} fmha=bfloat16")


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run_command(arguments) == 0
    return capsys.readouterr().out


def test_a_model_under_its_own_name_is_no_stand_in() -> None:
    df = pd.DataFrame(
        {
            "model": ["a/x", "a/x", "b", "c", "c", "d", None],
            "source": ["simulated"] * 5 + ["measured", "simulated"],
            "predicted_as": ["a/x gemm=fp8", "a/x", None, "e/y gemm=fp8 kv=fp8 extrapolated to nvfp4", "z", "w", "w"],
        }
    )
    assert stand_ins(df) == {"c": "e/y, z"}
    assert stand_ins(df.astype("string")) == {"c": "e/y, z"}
    assert stand_ins(df.drop(columns="predicted_as")) == {} == stand_ins(df.iloc[:0])


def test_the_heading_of_a_table_of_rows_says_so(predicted: Results, capsys: pytest.CaptureFixture[str]) -> None:
    told = f"{MODEL.id}: predicted as {OTHER}"
    assert said(capsys, "show", str(predicted.folder)).splitlines()[0] == told
    assert told in said(capsys, "show", str(predicted.folder), "--columns", "tp")
    assert "predicted as" not in said(capsys, "show", str(predicted.folder), "--where", "source == 'measured'")
    own = predicted_as(Results(predicted.folder.parent / "own"), MODEL.id)
    assert "predicted as" not in said(capsys, "show", str(own.folder))


def test_a_comparison_says_of_which_side_it_is(predicted: Results, capsys: pytest.CaptureFixture[str]) -> None:
    own = predicted_as(Results(predicted.folder.parent / "own"), MODEL.id)
    here, there = str(predicted.folder), str(own.folder)
    assert f"In A and B, {MODEL.id} is predicted as {OTHER}." in said(capsys, "compare", here, here)
    assert f"In B, {MODEL.id} is predicted as {OTHER}." in said(capsys, "compare", there, here)
    real = measured(predicted.folder.parent / "real", of=points(**SMALL, kv_cache_dtype="fp8"), repeats=1)
    out = said(capsys, "compare", str(real.folder), here)
    assert f"In B, {MODEL.id} is predicted as {OTHER}." in out and out.index("predicted as") < out.index("MAPE")


def test_pictures_say_so_under_their_title(predicted: Results) -> None:
    df = sweep.load(predicted.folder)
    for chart in (pictures.fronts(df), pictures.curves(df, "output_tput_per_gpu", "tok/s")):
        assert f">predicted as {OTHER}<" in pictures.svg(chart)
    own = pictures.svg(pictures.fronts(df.assign(predicted_as=MODEL.id)))
    assert "predicted as" not in own and "predicted as" not in pictures.svg(
        pictures.fronts(df.drop(columns="predicted_as"))
    )


# ------------------------------------------------------------------------------------------------------------- bounds


def test_a_null_p99_shows_its_maximum_with_a_mark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = measured(tmp_path / "few", of=FEW, repeats=1).load()
    assert few["ttft_ms_p99"].isna().all() and few["ttft_ms_max"].notna().all()
    most = summary.cell(float(few["ttft_ms_max"].iloc[0]))
    out = said(capsys, "show", str(tmp_path / "few"))
    assert f"≤ {most}" in out and "≤ : at most the maximum, since a P99 needs 100 requests and a P95 20" in out
    out = said(capsys, "show", str(tmp_path / "few"), "--columns", "tp,ttft_ms_p50")
    assert "≤" not in out
    csv = said(capsys, "show", str(tmp_path / "few"), "--csv", "--columns", "ttft_ms_p99,ttft_ms_max")
    assert pd.read_csv(io.StringIO(csv))["ttft_ms_p99"].isna().all()  # a program gets what the table has


def test_show_and_best_keep_the_same_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "both"
    df = measured(folder, of=points(**SMALL), repeats=1).load()
    ok = df[df["status"].eq("ok")]
    limit = float(ok.loc[ok["ttft_ms_p99"].isna(), "ttft_ms_max"].median())
    where = f"ttft_ms_p99 <= {limit!r} and status == 'ok'"
    kept = ok[ok["ttft_ms_p99"].fillna(ok["ttft_ms_max"]) <= limit]
    shown = said(capsys, "show", str(folder), "--csv", "--columns", "point_id", "--where", where).split()[1:]
    assert set(shown) == set(kept["point_id"]) and 0 < len(kept) < len(ok)
    best = sweep.best(df, where)
    assert best["output_tput_per_gpu"].tolist() == [kept["output_tput_per_gpu"].max()]
    assert best["ttft_ms_p99_at_most"].tolist() == best["ttft_ms_max"].tolist()


def test_rows_without_percentile_and_maximum_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    df = measured(tmp_path / "few", of=FEW, repeats=1).load()
    rows = df.head(3).assign(ttft_ms_max=[1.0, float("nan"), float("nan")], status=["ok", "ok", "failed"])
    table = put(tmp_path / "some", rows.drop(columns=["sweep_id", "kv_cache_dtype", "attention_dp", "pp"]))
    assert run_command(["show", table, "--csv", "--columns", "tp", "--where", "ttft_ms_p99 < 500"]) == 0
    told = capsys.readouterr()
    assert len(told.out.split()) == 2
    assert "1 ok row lacks ttft_ms_p99 and its maximum, so no limit on it is met" in told.err


def test_a_comparison_of_a_p99_marks_bounds_and_computes_nothing_with_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = str(measured(tmp_path / "both", of=points(**SMALL), repeats=1).folder)
    df = Results(Path(both)).load()
    found = compare(df, df, metric="ttft_ms_p99")
    few = found.rows["a"].isna()
    assert few.any() and set(found.rows.loc[few, "verdict"]) == {"not comparable"}
    assert found.rows.loc[few, ["a_at_most", "b_at_most"]].notna().all(axis=None)
    assert found.rows.loc[~few, ["a_at_most", "b_at_most"]].isna().all(axis=None)
    out = said(capsys, "compare", both, both, "--metric", "ttft_ms_p99", "--all")
    most = summary.cell(float(found.rows.loc[few, "a_at_most"].iloc[0]))
    assert f"≤ {most}" in out and "≤ : at most the maximum" in out
    assert f"{few.sum():>6}  not comparable: too few requests for this percentile" in out
    assert "a_at_most" not in compare(df, df).rows


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("measured,simulated", "there are no measured rows yet"),
        ("measured", "there are no measured rows yet"),
        ("simulated,measured", "there are no measured rows yet"),
    ],
)
def test_a_table_without_measured_rows_is_named(
    source: str, told: str, predicted: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(predicted.folder)
    out = said(capsys, "compare", folder, folder, "--source", source)
    assert f"{folder}: {told}" in " ".join(out.split())
    assert "there are no" not in said(capsys, "compare", folder, folder)


def test_a_table_whose_rows_all_failed_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    df = measured(tmp_path / "x", of=FEW, repeats=1).load()
    table = put(
        tmp_path / "bad", df.assign(status="failed").drop(columns=["sweep_id", "kv_cache_dtype", "attention_dp", "pp"])
    )
    assert f"none of its {len(df)} rows is ok" in said(capsys, "compare", str(tmp_path / "x"), table)
