"""compare and show, as a person types them; the commands run in this process, which is what `python -m sweep` does."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sweep.analysis import compare
from sweep.cli import run_command
from sweep.comparison_summary import comparison_as_data
from sweep.summary import cell
from sweep.table import Results, arrow_schema
from sweep.terminal import printable
from tests.patience import HANG_S
from tests.standins import sweeps

TRUTH = sweeps.points(shapes=1)
LESS_NOISE: dict[str, Any] = {"between_starts": 0.003, "within": 0.002}


def put(folder: Path, frame: pd.DataFrame) -> str:
    """Write rows as a results table."""
    results = Results(folder)
    added = {"sweep_id": results.open_or_create(), "kv_cache_dtype": "fp8", "attention_dp": False, "pp": 1}
    known = [{name: value for name, value in row.items() if pd.notna(value)} for row in frame.to_dict("records")]
    results.append([dict.fromkeys(arrow_schema().names) | {"attempt": 1} | row | added for row in known])
    return str(folder)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    tmp = tmp_path_factory.mktemp("results")
    failed = sweeps.measured(2, TRUTH, **LESS_NOISE)
    failed.loc[failed["concurrency"] == 1024, ["status", "failure_kind"]] = ["failed", "oom"]
    frames = {
        "a": sweeps.measured(1, TRUTH, **LESS_NOISE),
        "same": sweeps.measured(2, TRUTH, **LESS_NOISE),
        "slower": sweeps.measured(3, TRUTH, speed=0.9, **LESS_NOISE),
        "driver": sweeps.measured(4, TRUTH, **LESS_NOISE).assign(driver_version="590.2"),
        "failed": failed,
        "all failed": sweeps.measured(2, TRUTH).assign(status="failed", failure_kind="oom"),
        "once": sweeps.measured(5, TRUTH, repeats=1),
        "predicted": TRUTH.assign(source="simulated", repeat=1),
        "both": pd.concat([sweeps.measured(6, TRUTH), TRUTH.assign(source="simulated", repeat=1)]),
    }
    return {name: put(tmp / name, frame) for name, frame in frames.items()}


class Said:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def command(*arguments: str) -> Said:
        code = run_command(arguments)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return command


# ------------------------------------------------------------------------------------------------------------ compare


def test_the_verdict_comes_first_and_its_reasons_after(run: Any, tables: dict[str, str]) -> None:
    said = run("compare", tables["a"], tables["slower"])
    assert said.code == 0 and said.err == ""
    assert "B is SLOWER (output_tput_per_gpu)" in said.out
    assert "Noise from repeats: 0." in said.out
    for word in ("1024/1024", "geometric mean", "hypervolume", "throughput at", "TP8 EP8 KV fp8 c=1024"):
        assert word in said.out
    assert "Points: 33 slower" in said.out


def test_the_exit_code_says_what_fail_on_names(run: Any, tables: dict[str, str]) -> None:
    assert run("compare", tables["a"], tables["slower"], "--fail-on", "regression").code == 1
    assert run("compare", tables["slower"], tables["a"], "--fail-on", "regression").code == 0
    assert run("compare", tables["a"], tables["same"], "--fail-on", "regression", "--fail-on", "missing").code == 0
    missing = run("compare", tables["a"], tables["failed"], "--fail-on", "missing")
    assert missing.code == 1
    assert "3  points only in A: failed (oom) in B" in missing.out
    assert run("compare", tables["failed"], tables["a"], "--fail-on", "missing").code == 0


def test_a_gate_that_cannot_be_answered_does_not_pass(run: Any, tables: dict[str, str]) -> None:
    for other in ("driver", "predicted"):
        said = run("compare", tables["a"], tables[other], "--fail-on", "regression")
        assert said.code == 2 and "--fail-on regression cannot be answered" in said.err


def test_what_is_missing_is_found_where_nothing_can_be_compared(run: Any, tables: dict[str, str]) -> None:
    both = ("--fail-on", "regression", "--fail-on", "missing")
    for a in ("a", "predicted"):
        said = run("compare", tables[a], tables["all failed"], *both)
        assert (
            said.code == 1
            and "B is NOT COMPARABLE" in said.out
            and "33  points only in A: failed (oom) in B" in said.out
        )
        assert "--fail-on missing: 33 points of A have no ok row in B" in said.err
    assert run("compare", tables["a"], tables["driver"], *both).code == 2
    assert run("compare", tables["a"], tables["all failed"], "--fail-on", "regression").code == 2
    as_json = run("compare", tables["a"], tables["all failed"], *both, "--json")
    assert as_json.code == 1 and len(json.loads(as_json.out)["unmatched"]) == 33


def test_what_it_ran_on_is_told_and_can_be_allowed(run: Any, tables: dict[str, str]) -> None:
    said = run("compare", tables["a"], tables["driver"])
    assert "B is NOT COMPARABLE" in said.out
    assert "33  not comparable: driver_version 580.1 → 590.2" in said.out
    allowed = run("compare", tables["a"], tables["driver"], "--allow", "cuda_version, driver_version")
    assert "B is SAME" in allowed.out and "Points: 33 same" in allowed.out
    assert "c=1024" not in allowed.out
    assert "c=1024" in run("compare", tables["a"], tables["driver"], "--allow", "driver_version", "--all").out


def test_assumed_noise_is_told_and_can_be_set(run: Any, tables: dict[str, str]) -> None:
    said = run("compare", tables["once"], tables["once"])
    assert "No point has a repeat, so noise is ASSUMED: 2.5% between engine starts" in said.out
    assert "Noise as given: 1.0%" in run("compare", tables["once"], tables["once"], "--noise", "1%").out
    assert "Noise as given: 1.0%" in run("compare", tables["once"], tables["once"], "--noise", "0.01").out


def test_predictions_are_marked_and_never_judged(run: Any, tables: dict[str, str]) -> None:
    said = run("compare", tables["a"], tables["predicted"])
    assert said.code == 0 and "PREDICTED" in said.out and "MAPE" in said.out
    assert not any(word in said.out for word in ("SLOWER", "FASTER", "SAME"))
    mixed = run("compare", tables["both"], tables["both"])
    assert mixed.code == 2 and "--source measured,simulated" in mixed.err
    assert "PREDICTED" in run("compare", tables["both"], tables["both"], "--source", "measured,simulated").out
    assert "Both are predictions" in run("compare", tables["both"], tables["predicted"], "--source", "simulated").out


def test_json_is_one_object(run: Any, tables: dict[str, str]) -> None:
    said = json.loads(run("compare", tables["a"], tables["slower"], "--json", "--at", "50,60").out)
    assert said["verdict"] == "slower" and len(said["rows"]) == 33
    assert [test["at"] for test in said["tests"]] == [None, None, 50, 60]
    assert said["noise"]["assumed"] is False and said["noise"]["degrees_of_freedom"] == pytest.approx(24)
    assert set(said) == {"verdict", "metric", "changed", "noise", "notes", "tests", "rows", "unmatched"}


def test_assumed_noise_has_no_degrees_of_freedom_in_json() -> None:
    once = sweeps.measured(5, TRUTH, repeats=1)
    said = comparison_as_data(compare(once, once))
    assert said["noise"]["degrees_of_freedom"] is None
    json.dumps(said, allow_nan=False)
    assert comparison_as_data(compare(once, once.iloc[:0]))["noise"] is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--noise", "much"], "--noise must be a number, not 'much'"),
        (["--at", "30,x"], "--at must be a number, not 'x'"),
        (["--at", "nan"], "--at must be a number, not 'nan'"),
        (["--at", "30,inf"], "--at must be a number, not 'inf'"),
        (["--at", "1e400"], "--at must be a number, not '1e400'"),
        (["--at", ""], "--at must be a number, not ''"),
        (["--noise", "nan"], "--noise must be a number, not 'nan'"),
        (["--alpha=-inf%"], "--alpha must be a number, not '-inf%'"),
        (["--metric", "started_at"], "the column started_at holds no numbers but datetime64"),
        (["--metric", "driver_version"], "the column driver_version holds no numbers"),
        (["--metric", "streaming"], "the column streaming holds no numbers"),
        (["--metric", ""], "the rows have no column"),
        (["--metric", "tps_per_usr"], 'did you mean "tps_per_user"'),
        (["--source", "measurd"], 'did you mean "measured"'),
        (["--allow", "driver"], 'did you mean "driver_version"'),
    ],
)
def test_mistakes_cost_one_message(run: Any, tables: dict[str, str], arguments: list[str], told: str) -> None:
    said = run("compare", tables["a"], tables["same"], *arguments)
    assert (said.code, said.out) == (2, "") and told in said.err
    assert "holds no table" in run("compare", tables["a"], "nowhere").err


def test_rows_that_do_not_tell_their_layout_are_listed(run: Any, tables: dict[str, str], tmp_path: Path) -> None:
    """Imported reports of benchmark_serving know neither tp nor ep, others no concurrency."""
    unknown = dict.fromkeys(("tp", "ep", "concurrency", "isl", "engine_id"), pd.NA)
    row = TRUTH.head(1).assign(repeat=1, **unknown)
    table = put(tmp_path / "imported", row)
    said = run("compare", table, put(tmp_path / "again", row), "--all")
    assert said.code == 0 and "?/1024 KV fp8 c=?" in said.out


def test_allow_is_named_only_where_it_helps(run: Any, tables: dict[str, str]) -> None:
    said = run("compare", tables["a"], tables["same"], "--metric", "energy_j")
    assert "33  not comparable: no number" in said.out and "--allow" not in said.out
    assert "--allow NAME" in run("compare", tables["a"], tables["driver"]).out


def test_a_reader_that_goes_away_opens_no_gate(tables: dict[str, str]) -> None:
    for other, code in (("slower", 1), ("same", 0)):
        command = [sys.executable, "-m", "sweep", "compare", tables["a"], tables[other], "--fail-on", "regression"]
        read, write = os.pipe()
        os.close(read)
        ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=HANG_S)
        os.close(write)
        assert (ended.returncode, ended.stderr) == (code, b"")


# --------------------------------------------------------------------------------------------------------------- show


def csv_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def test_rows_are_sorted_and_chosen(run: Any, tables: dict[str, str]) -> None:
    columns = ("--csv", "--columns", "tp,ep,concurrency")
    where = ("--where", "concurrency in [1, 1024] and status == 'ok'")
    once = tables["once"]
    assert csv_of(run("show", once, *columns, *where, "--sort", "-tp,ep,concurrency").out) == [
        ["tp", "ep", "concurrency"],
        *[[tp, ep, c] for tp, ep in (("8", "8"), ("4", "1"), ("4", "4")) for c in ("1", "1024")],
    ]
    down = csv_of(run("show", once, *columns, *where, "--sort", "concurrency", "--desc").out)[1:]
    assert [row[2] for row in down] == ["1024"] * 3 + ["1"] * 3
    assert csv_of(run("show", once, *columns, "--sort=-concurrency").out)[1][2] == "1024"
    assert run("show", once, "--where", "tp > 100", "--json").out == ""


def test_json_keeps_every_digit(run: Any, tables: dict[str, str]) -> None:
    lines = run("show", tables["once"], "--json").out.splitlines()
    shown = [json.loads(line)["output_tput_per_gpu"] for line in lines]
    assert shown == pytest.approx(Results(Path(tables["once"])).load()["output_tput_per_gpu"].tolist(), rel=1e-14)


def test_json_keeps_the_microseconds_of_times(run: Any, tmp_path: Path) -> None:
    began = datetime(2025, 11, 7, 12, 0, 0, 123456, tzinfo=UTC)
    table = put(tmp_path / "timed", TRUTH.head(1).assign(repeat=1, started_at=began))
    shown = json.loads(run("show", table, "--json", "--columns", "started_at,ended_at").out)
    assert datetime.fromisoformat(shown["started_at"]) == began and shown["ended_at"] is None


def test_several_tables_and_all_attempts_are_shown(run: Any, tables: dict[str, str], tmp_path: Path) -> None:
    both = run("show", tables["once"], tables["predicted"], "--csv", "--columns", "source").out
    assert both.count("simulated") == both.count("measured") == 33
    again = pd.concat([TRUTH.head(1).assign(status="failed", attempt=1), TRUTH.head(1).assign(attempt=2)])
    table = put(tmp_path / "again", again.assign(repeat=1))
    assert run("show", table, "--csv", "--columns", "status").out.split() == ["status", "ok"]
    assert run("show", table, "--csv", "--columns", "status", "--all-attempts").out.split() == [
        "status",
        "failed",
        "ok",
    ]


def test_csv_holds_no_formula(run: Any, tmp_path: Path) -> None:
    formulas = ["=cmd|'/c calc'!A1", "@SUM(A1)", "-2+3+cmd|x", "+1", "\tx", "\r=1", "\n=1", "-5", "fine", "a=b", "'=1"]
    rows = pd.concat([TRUTH.head(1).assign(model=text, node=text, tps_per_user=-8.5) for text in formulas])
    table = put(tmp_path / "hostile", rows.assign(repeat=range(1, len(rows) + 1), failure_message=None))
    columns = ("--columns", "model,tps_per_user,node,failure_message,repeat")
    shown = csv_of(run("show", table, "--csv", *columns).out)[1:]
    assert [row[1] for row in shown] == ["-8.5"] * len(formulas)  # numbers stay numbers
    assert all(row[0] == row[2] and not row[0].startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for row in shown)
    assert [row[0] for row in shown if row[0] in ("fine", "a=b")] == ["fine", "a=b"]
    as_json = [json.loads(line)["model"] for line in run("show", table, "--json", *columns).out.splitlines()]
    assert as_json == formulas  # which says it exactly
    for text, row in zip(formulas, shown, strict=True):
        assert row[0].removeprefix("'" if text != "'=1" else "").replace("\\r", "\r") == text


def test_csv_holds_no_formula_in_full_width_or_behind_blanks(run: Any, tmp_path: Path) -> None:
    signs = ["\uff1d", "\uff0b", "\uff0d", "\uff20", *"=+-@"]
    formulas = [f"{before}{sign}1" for sign in signs for before in ("", " ", "\u00a0", "\u3000 ", "\ufeff", "\u200b")]
    plain = [" 1=1", "a", " ", "\u00a0a", "\u200b"]
    texts = [*formulas, *plain]
    rows = pd.concat([TRUTH.head(1).assign(model=text, node=text) for text in texts])
    table = put(tmp_path / "hidden", rows.assign(repeat=range(1, len(rows) + 1)))
    shown = [row[0] for row in csv_of(run("show", table, "--csv", "--columns", "model,repeat").out)[1:]]
    assert shown == [printable(f"'{text}") for text in formulas] + [printable(text) for text in plain]


def test_each_column_is_shown_once(run: Any, tables: dict[str, str]) -> None:
    twice = ("--columns", "tp, isl,tp", "--where", "concurrency == 1 and tp == 8")
    assert run("show", tables["once"], "--json", *twice).out == '{"tp": 8, "isl": 1024}\n'
    assert csv_of(run("show", tables["once"], "--csv", *twice).out) == [["tp", "isl"], ["8", "1024"]]


@pytest.mark.parametrize("width", [20, 60, 80, 200])
def test_no_number_is_cut_where_the_terminal_is_narrow(
    width: int, run: Any, tables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.summary.WIDTH_ELSEWHERE", width)
    frame = Results(Path(tables["once"])).load()
    shown = run("show", tables["once"]).out
    lines = {tuple(line.split()) for line in shown.splitlines()}
    for row in frame.itertuples():
        numbers = (cell(row.output_tput_per_gpu), cell(row.tps_per_user))
        assert any({str(row.concurrency), *numbers} <= set(line) for line in lines)
    assert ("In all rows: status ok, source measured" in shown) == (width < 100)


@pytest.mark.parametrize("width", [20, 60, 80, 200])
@pytest.mark.parametrize("other", ["slower", "predicted"])
def test_no_number_of_a_comparison_is_broken(
    width: int, other: str, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.summary.WIDTH_ELSEWHERE", width)
    long = {"model": "nvidia/DeepSeek-R1-0528-NVFP4-v2", "attention_dp": True}
    a = sweeps.measured(1, TRUTH, **LESS_NOISE).assign(**long)
    b = sweeps.measured(3, TRUTH, speed=0.9, **LESS_NOISE).assign(**long)
    b = b if other == "slower" else TRUTH.assign(source="simulated", repeat=1, **long)
    for frame in (a, b):
        frame["output_tput_per_gpu"] *= 100
    paths = put(tmp_path / "a", a), put(tmp_path / "b", b)
    shown = run("compare", *paths, "--all").out
    found = compare(*(Results(Path(path)).load() for path in paths))
    words = set(shown.split())
    if other == "slower":
        for row in (*found.rows.itertuples(), *found.tests.itertuples()):
            figures = [f"{x:,.0f}" if x >= 10_000 else cell(x) for x in (row.a, row.b)]
            assert {*figures, f"{row.ratio:.3f}", f"{row.ratio_low:.3f}"} <= words
            interval = f"{row.ratio_low:.3f} – {row.ratio_high:.3f}"
            assert any(interval in line and figures[0] in line for line in shown.splitlines())
    else:
        for row in found.tests.itertuples():
            assert {f"{row.median_ratio:.3f}", f"{row.mape:.1%}", f"{row.worst_ratio:.2f}"} <= words
    if other == "slower" and width >= 80:
        assert max(len(line) for line in shown.splitlines() if "–" in line or "──" in line) <= width


def test_people_see_failures_and_that_predictions_are_no_measurements(run: Any, tables: dict[str, str]) -> None:
    assert "failed" in run("show", tables["failed"]).out
    assert "simulated" in run("show", tables["predicted"]).out
    assert "are predictions" in run("show", tables["predicted"], "--columns", "tp,tps_per_user").out
    assert "are predictions" not in run("show", tables["once"], "--columns", "tp").out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--columns", "islx"], 'no column islx; did you mean "isl"'),
        (["--sort", "-islx"], 'no column islx; did you mean "isl"'),
        (["--desc"], "give --sort COLUMN"),
        (["--where", "islx > 3"], 'names islx, which is no column; did you mean "isl"'),
    ],
)
def test_mistakes_of_show_cost_one_message(run: Any, tables: dict[str, str], arguments: list[str], told: str) -> None:
    said = run("show", tables["once"], *arguments)
    assert (said.code, said.out) == (2, "") and told in said.err


# ------------------------------------------------------------------------------------------------------ other programs


def test_duckdb_and_polars_read_the_table(tables: dict[str, str]) -> None:
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    parts = f"{tables['failed']}/table/part-*.parquet"
    query = f"select status, count(*), max(output_tput_per_gpu) from '{parts}' group by status order by status"
    frame = Results(Path(tables["failed"])).load()
    wanted = frame.groupby("status").agg(n=("tp", "size"), best=("output_tput_per_gpu", "max"))
    assert duckdb.sql(query).fetchall() == [(status, row.n, row.best) for status, row in wanted.iterrows()]
    types = dict(duckdb.sql(f"select column_name, column_type from (describe select * from '{parts}')").fetchall())
    kinds = ("isl", "attention_dp", "model", "tps_per_user", "started_at")
    assert [types[name] for name in kinds] == ["BIGINT", "BOOLEAN", "VARCHAR", "DOUBLE", "TIMESTAMP WITH TIME ZONE"]
    read = polars.read_parquet(parts)
    assert read.filter(polars.col("status") == "ok")["output_tput_per_gpu"].max() == wanted.loc["ok", "best"]
    assert read["isl"].dtype == polars.Int64 and read["started_at"].dtype.time_zone == "UTC"
