"""`python -m sweep import`: what people have becomes rows."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sweep.cli import run_command
from sweep.table import COLUMNS, Results, load
from tests.patience import HANG_S

DATA = Path(__file__).parent / "data"
REPORTS, FAILURES = DATA / "reports", DATA / "failures"
STREAMING = REPORTS / "1.2.0rc2-throughput-streaming.json"
RECORDS = "1.2.0rc2-throughput-streaming-perrequest"


class Said:
    """Exit code, rows and messages of one command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def row(self) -> dict[str, Any]:
        (row,) = self.rows
        return row


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def command(*arguments: Any) -> Said:
        code = run_command(["import", *map(str, arguments)])
        return Said(code, *capsys.readouterr())

    return command


# --------------------------------------------------------------------------------------------------------- logs of pods


def told(point: str, *, with_report: bool = True, **said: Any) -> str:
    """Return a line as launchers/publish.py writes it into the log of a pod."""
    about = {
        "point": point,
        "attempt": "1-1",
        "exit_code": 0,
        "outcome": "ended",
        "started_at": "2026-01-01T00:00:00+00:00",
        "ended_at": "2026-01-01T00:10:00+00:00",
        "report": json.loads(STREAMING.read_text()) if with_report else None,
        "environment": {"node": "a4x-7", "load_s": 12.5, "gpu_name": "NVIDIA GB200"},
        "log_tail": "the end\n",
    }
    return f"SWEEP_RESULT {json.dumps(about | said)}\n"


OOM = {
    "with_report": False,
    "exit_code": 1,
    "log_tail": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n",
}


@pytest.mark.parametrize("before", ["", "[pod/bench-x/bench] ", "2026-01-01T00:10:00.123456789Z "])
def test_each_result_in_the_log_of_a_pod_is_a_row(run: Any, tmp_path: Path, before: str) -> None:
    log = tmp_path / "pod.log"
    lines = [
        "SWEEP_STEP weights\n",
        "SWEEP_STEP point a 1-1\n",
        told("a"),
        "SWEEP_STEP point b 1-1\n",
        told("b", **OOM),
    ]
    log.write_text("".join(before + line for line in lines))
    said = run("--json", "--set", "concurrency=64", log)
    good, bad = said.rows
    assert said.code == 0
    assert (good["status"], good["output_tput_tps"], good["concurrency"]) == ("ok", 6168.046983341929, 64)
    assert (good["node"], good["load_s"], good["started_at"]) == ("a4x-7", 12.5, "2026-01-01 00:00:00+00:00")
    assert (bad["status"], bad["failure_kind"], bad["exit_code"]) == ("failed", "oom", 1)
    assert [Path(row["imported_from"]).name for row in said.rows] == ["pod.log#a:1-1", "pod.log#b:1-1"]


def test_the_lines_alone_are_enough_and_land_in_a_table_once(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((told("a") + told("b", **OOM)).encode())))
        assert run("--into", tmp_path / "table", "-").code == 0
    rows = load(str(tmp_path / "table"), status="all")
    assert sorted(rows["status"]) == ["failed", "ok"]
    assert len(list((tmp_path / "table").rglob("report.json"))) == 1


def test_what_cannot_be_read_of_a_pods_log_is_told(run: Any, tmp_path: Path) -> None:
    log = tmp_path / "pod.log"
    log.write_text(told("a")[:500] + "\n" + told("b", with_report=False, report_too_long=True) + told("c"))
    said = run("--json", log)
    assert said.code == 3 and len(said.rows) == 1
    assert "line 1: a SWEEP_RESULT line is no JSON" in said.err and "line 2: the report was too long" in said.err


def test_a_pod_that_told_of_no_point_is_a_failure_like_any_log(run: Any, tmp_path: Path) -> None:
    log = tmp_path / "pod.log"
    log.write_text("SWEEP_STEP weights\nhuggingface_hub.errors.GatedRepoError: 401 Client Error.\n")
    assert run("--json", log).row["status"] == "failed"


# --------------------------------------------------------------------------------------------------------- single files


def test_a_report_becomes_one_line_with_every_column(run: Any) -> None:
    said = run("--json", STREAMING)
    assert said.code == 0
    row = said.row
    assert list(row) == [column.name for column in COLUMNS]
    assert (row["status"], row["source"], row["backend"], row["trtllm_version"]) == (
        "ok",
        "measured",
        "import",
        "1.2.0rc2",
    )
    assert (row["isl"], row["osl"], row["num_requests"], row["tp"], row["pp"], row["ep"]) == (1024, 512, 300, 4, 1, 1)
    assert (row["kv_cache_dtype"], row["effective_kv_cache_dtype"], row["streaming"]) == ("fp8", "FP8", True)
    assert (row["concurrency"], row["attention_dp"], row["moe_backend"], row["bench"], row["image"]) == (None,) * 5
    assert row["output_tput_tps"] == 6168.046983341929
    assert row["output_tput_per_gpu"] == pytest.approx(6168.046983341929 / 4)
    assert (row["ttft_ms_p50"], row["e2el_ms_p99"]) == (307.359384, 5196.6760189999995)
    assert (row["started_at"], row["ended_at"], row["gpu_hours"], row["cost_usd"]) == (None,) * 4
    assert row["imported_from"] == row["log_path"] == str(STREAMING)
    assert {"tp", "ep", "max_batch_size"} <= set(row["unverified_settings"].split(","))


def test_many_files_are_many_lines_in_their_order(run: Any) -> None:
    files = sorted(REPORTS.glob("[01]*.txt")) + sorted(REPORTS.glob("[01]*streaming.json"))
    said = run("--json", *files, FAILURES / "handwritten-oom-cpp.txt")
    assert said.code == 0
    assert {row["imported_from"] for row in said.rows} == {
        str(f) for f in [*files, FAILURES / "handwritten-oom-cpp.txt"]
    }
    assert len(said.rows) == len(files) + 1
    assert [row["status"] for row in said.rows] == ["ok"] * len(files) + ["failed"]


@pytest.mark.parametrize("name", json.loads((FAILURES / "index.json").read_text()))
def test_a_log_of_a_failure_is_a_row(run: Any, name: str) -> None:
    said = run("--json", FAILURES / name)
    wanted = json.loads((FAILURES / "index.json").read_text())[name]["suggested_class"]
    assert said.code == 0
    assert (said.row["status"], said.row["failure_kind"]) == ("failed", wanted)
    assert said.row["failure_message"]
    assert said.row["output_tput_tps"] is None


def test_a_cut_report_is_none(run: Any, tmp_path: Path) -> None:
    cut = tmp_path / "cut.json"
    cut.write_text(STREAMING.read_text()[:1000])
    rows = run("--json", REPORTS / "derived" / "truncated.txt", cut).rows
    assert [(row["status"], row["failure_kind"]) for row in rows] == [("failed", "no_report")] * 2
    assert "no end" in rows[0]["failure_message"]
    assert "cut off" in rows[1]["failure_message"]


def test_benchmark_serving_states_its_concurrency(run: Any) -> None:
    for name in ("serving-default.json", "serving-default.txt"):
        row = run("--json", REPORTS / name).row
        assert (row["bench"], row["concurrency"], row["status"]) == ("serve", 64, "ok")
        assert (row["tp"], row["kv_cache_dtype"], row["gpus_used"], row["output_tput_per_gpu"]) == (None,) * 4
        assert row["ttft_ms_p99"] == pytest.approx(460.68, abs=0.005)
        assert row["itl_ms_mean"] == pytest.approx(10.50, abs=0.005)


def test_old_reports_say_what_they_say(run: Any) -> None:
    row = run("--json", REPORTS / "0.16.0-throughput-nonstreaming.txt").row
    assert (row["status"], row["output_tput_tps"], row["total_tput_tps"], row["ep"]) == ("ok", 16535.2656, None, None)
    assert row["output_tput_per_gpu"] == 16535.2656
    assert (row["e2el_ms_mean"], row["tput_per_gpu"], row["effective_concurrency_mean"]) == (None, None, None)
    row = run("--json", REPORTS / "0.19-throughput-streaming.json").row
    assert (row["tps_per_user"], row["effective_kv_cache_free_gpu_mem_fraction"]) == (None, 0.9)
    assert "token_output_speed_tok_s" in row["report_extra"]


def test_packed_files_and_the_standard_input(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (STREAMING.name, "1.2.0rc2-throughput-streaming.txt"):
        with gzip.open(tmp_path / f"{name}.gz", "wb") as packed:
            packed.write((REPORTS / name).read_bytes())
    rows = run("--json", *sorted(tmp_path.iterdir())).rows
    assert [row["status"] for row in rows] == ["ok", "ok"]
    said = io.BytesIO((REPORTS / "1.2.0rc2-latency.txt").read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(said))
    assert run("--json", "-").row["trtllm_version"] == "1.2.0rc2"


def test_few_requests_have_no_p99(run: Any) -> None:
    row = run("--json", REPORTS / f"{RECORDS}.txt").row
    assert (row["e2el_ms_p99"], row["e2el_ms_p95"]) == (None, None)
    assert row["e2el_ms_p90"] is not None


# ------------------------------------------------------------------------------------------- what is the log of a run


@pytest.mark.parametrize(
    "text",
    [
        "- TP8 with EP: died with Segmentation fault\n- TP4: 5935 tok/s\n",
        "Hi,\n\nthe pod said\n> RuntimeError: CUDA out of memory\nso I lowered the batch size.\n",
        "============ Serving Benchmark Result ============\nSuccessful requests:                     {completed}\n"
        "Benchmark duration (s):                  {duration:.2f}\n",
        "===========================================================\n= PYTORCH BACKEND\n"
        "===========================================================\nModel:\t\t\t<model>\n",
    ],
    ids=["notes", "mail", "template of benchmark_serving", "template of trtllm-bench"],
)
def test_what_only_speaks_of_runs_is_none(run: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "some.txt").write_text(text)
    said = run("--json", tmp_path)
    assert (said.rows, "1 other files passed over" in said.err) == ([], True)
    assert run("--json", tmp_path / "some.txt").code == 3


@pytest.mark.parametrize(
    ("text", "kind", "why"),
    [
        (
            "INFO:     Started server process [1]\nERROR:    [Errno 98] error while attempting to bind on address"
            " ('0.0.0.0', 8000): address already in use\n",
            "port_in_use",
            "address already in use",
        ),
        ("> RuntimeError: CUDA out of memory\n> see above\n", "oom", "CUDA out of memory"),
        ("There are not enough slots available in the system to satisfy the 8\n", "unknown", "not enough slots"),
        ("mpirun has detected an attempt to run as root.\n", "unknown", "run as root"),
        ("/usr/bin/python3: No module named tensorrt_llm.bench\n", "unknown", "No module named"),
        ("trtllm-bench: /lib/libc.so.6: version `GLIBC_2.38' not found (required by x)\n", "unknown", "GLIBC_2.38"),
        ("exec /usr/bin/bash: exec format error\n", "unknown", "exec format error"),
        ("[node:12] *** Process received signal ***\n[node:12] Signal: Segmentation fault (11)\n", "unknown", "fault"),
    ],
)
def test_a_program_that_dies_at_once_is_a_run(run: Any, tmp_path: Path, text: str, kind: str, why: str) -> None:
    (tmp_path / "run.log").write_text(text)
    row = run("--json", tmp_path / "run.log").row
    assert (row["status"], row["failure_kind"], why in row["failure_message"]) == ("failed", kind, True)


# -------------------------------------------------------------------------------------- lines that are entries of JSON


def times(lines: list[str]) -> list[tuple[str, str]]:
    return [(line, f"2026-01-17T18:48:{n // 50:02}.{n % 50:02}Z") for n, line in enumerate(lines)]


def by_docker(lines: list[str]) -> str:
    """Write a line to stdout in two parts and, between them, one to stderr."""
    parts = [part for line, time in times(lines) for part in ((line[:9], time), (line[9:] + "\n", time))]
    entries = [{"log": part, "stream": "stdout", "time": time} for part, time in parts]
    for place in range(len(entries) - 1, 0, -20):
        entries.insert(place, {"log": "[TRT-LLM] [I] working\n", "stream": "stderr", "time": entries[place]["time"]})
    return "".join(f"{json.dumps(entry)}\n" for entry in entries)


def by_gcloud(lines: list[str]) -> str:
    entries = [{"insertId": "a", "textPayload": line, "timestamp": time} for line, time in times(lines)]
    return json.dumps([{"protoPayload": {}, "timestamp": "2026-01-17T18:48:00Z"}, *entries], indent=2)


def by_gcloud_newest_first(lines: list[str]) -> str:
    return json.dumps([{"textPayload": line, "timestamp": time} for line, time in times(lines)][::-1])


def by_gcloud_structured(lines: list[str]) -> str:
    entries = [{"jsonPayload": {"message": f"{line}\n", "level": "info"}, "timestamp": t} for line, t in times(lines)]
    return "".join(f"{json.dumps(entry)}\n" for entry in entries)


def by_logcli(lines: list[str]) -> str:
    entries = [{"labels": {"pod": "bench"}, "line": line, "timestamp": time} for line, time in times(lines)]
    return "".join(f"{json.dumps(entry)}\n" for entry in entries[::-1])


def by_loki_cut(lines: list[str]) -> str:
    return "".join(f"{json.dumps({'line': line})}\n" for line in [*lines, "the end"])[:-5]


CARRIERS = [by_docker, by_gcloud, by_gcloud_newest_first, by_gcloud_structured, by_logcli, by_loki_cut]


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_log_of_entries_is_read_as_the_text_in_them(
    run: Any, tmp_path: Path, carrier: Callable[[list[str]], str]
) -> None:
    texts = {
        "bench.json": STREAMING.with_suffix(".txt").read_text(),
        "serving.log": (REPORTS / "serving-default.txt").read_text(),
        "failed.jsonl": (FAILURES / "handwritten-oom-cpp.txt").read_text(),
        "pod.json": f"SWEEP_STEP point a 1-1\n{told('a', **OOM)}",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(carrier(text.splitlines()))
    rows = {Path(row["imported_from"]).name: row for row in run("--json", tmp_path).rows}
    assert sorted(rows) == ["bench.json", "failed.jsonl", "pod.json#a:1-1", "serving.log"]
    bench, failed, pod, serving = (rows[name] for name in sorted(rows))
    assert (bench["status"], bench["output_tput_tps"], bench["ttft_ms_p50"]) == ("ok", 6168.047, 307.3594)
    assert (serving["status"], serving["concurrency"], serving["num_requests"]) == ("ok", 64, 320)
    assert (failed["status"], failed["failure_kind"], pod["failure_kind"]) == ("failed", "oom", "oom")


@pytest.mark.parametrize(
    "text", ['{"log": 1, "stream": "stdout"}', '{"line": "a", "tok": 3}', '[{"log": "a"}]', "[{}]"]
)
def test_other_json_is_no_log_of_entries(run: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "frame.json").write_text(text)
    said = run("--json", tmp_path / "frame.json")
    assert said.code == 3 and "it is JSON, but no report" in said.err


@pytest.mark.parametrize("details", [0, 100_000])
def test_each_report_that_was_appended_is_a_row(run: Any, tmp_path: Path, details: int) -> None:
    first = json.loads((REPORTS / "serving-default.json").read_text()) | {"generated_texts": ["x" * details]}
    second = {**first, "max_concurrency": 32}
    appended = tmp_path / "all_tp4.jsonl"
    appended.write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
    said = run("--json", "--pattern", "*_tp{tp}", appended)
    assert said.code == 0
    assert [(row["concurrency"], row["tp"], row["num_requests"]) for row in said.rows] == [(64, 4, 320), (32, 4, 320)]
    assert [Path(row["imported_from"]).name for row in said.rows] == ["all_tp4.jsonl#1", "all_tp4.jsonl#2"]
    appended.write_text(f'{json.dumps(first)}\n\n{{"a": 1}}\n{json.dumps(second)[:500]}')
    said = run("--json", appended)
    assert said.code == 3 and "line 3: it is not a report" in said.err
    assert [row["failure_kind"] for row in said.rows][1:] == ["no_report"]
    assert "cut off" in said.rows[1]["failure_message"]


LOOP = (REPORTS / "serving-default.txt").read_text()
FASTER = LOOP.replace(
    "P99 TTFT (ms):                           460.68", "P99 TTFT (ms):                           460.67"
)
CRASH = (FAILURES / "handwritten-oom-cpp.txt").read_text()


@pytest.mark.parametrize("label", ["", "2026-01-17T18:48:10.1Z ", "bench.log:{n}:"])
def test_a_log_of_several_runs_says_which_one_was_read(run: Any, tmp_path: Path, label: str) -> None:
    log = tmp_path / "loop.log"
    lines = f"{LOOP}\n{FASTER}\n".splitlines()
    log.write_text("".join(f"{label.format(n=n)}{line}\n" for n, line in enumerate(lines)))
    for into in ((), ("--into", tmp_path / "table")):
        said = run("--json", *into, log)
        assert said.code == 0 and said.row["ttft_ms_p99"] == 460.67
        assert f"sweep: {log}: 2 reports in it; the last one was read\n" in said.err


def test_a_failure_after_the_last_report_is_told(run: Any, tmp_path: Path) -> None:
    log = tmp_path / "loop.log"
    log.write_text(f"{LOOP}\n{CRASH}")
    said = run("--json", log)
    assert said.row["status"] == "ok"
    assert f"sweep: {log}: its last report is followed by a failure (oom): " in said.err
    log.write_text(f"{CRASH}\n{LOOP}")  # it was tried again
    assert "sweep: " not in run("--json", log).err


def test_the_same_report_again_is_one(run: Any, tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    ranks = (
        (f"0: {line}\n", f"1: {other}\n") for line, other in zip(LOOP.split("\n"), FASTER.split("\n"), strict=True)
    )
    for text in (LOOP + LOOP, "".join(line for pair in ranks for line in pair)):
        log.write_text(text)
        said = run("--json", log)
        assert said.row["status"] == "ok" and "sweep: " not in said.err


# -------------------------------------------------------------------------------------------------- one run, many files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "logs"
    made.mkdir()
    for suffix in ("json", "txt", "request_json", "output_json"):
        shutil.copy(REPORTS / f"{RECORDS}.{suffix}", made / f"run.{suffix}")
    (made / "notes.md").write_text("# not a report")
    return made


def test_a_run_in_a_folder_is_one_row(run: Any, folder: Path) -> None:
    said = run("--json", folder)
    assert said.code == 0
    assert (said.row["status"], said.row["imported_from"]) == ("ok", str(folder / "run.json"))
    assert "1 other files passed over" in said.err


def test_a_named_file_is_a_row_of_its_own_and_still_held_against_the_others(run: Any, folder: Path) -> None:
    assert [row["status"] for row in run("--json", *sorted(folder.glob("run.*"))).rows] == ["ok", "ok"]
    other = (folder / "run.txt").read_text().replace("168.9088", "186.9088")
    (folder / "run.txt").write_text(other)
    rows = run("--json", folder / "run.json", folder / "run.txt").rows
    assert [row["status"] for row in rows] == ["invalid", "invalid"]
    assert "JSON and text disagree on output_tput_tps" in rows[0]["failure_message"]
    assert rows[0]["failure_kind"] == "invalid_report"
    assert rows[0]["output_tput_tps"] == pytest.approx(168.9088, abs=1e-4)  # the numbers are kept


def test_records_that_disagree_make_a_row_invalid(run: Any, folder: Path) -> None:
    records = json.loads((folder / "run.request_json").read_text())
    records[0]["end_timestamp"] += 1000
    (folder / "run.request_json").write_text(json.dumps(records))
    row = run("--json", folder).row
    assert row["status"] == "invalid"
    assert "JSON and records disagree" in row["failure_message"]


def test_records_alone_give_every_metric(run: Any, folder: Path) -> None:
    row = run("--json", folder / "run.request_json").row
    assert (row["status"], row["model"], row["tp"], row["num_requests"]) == ("ok", None, None, 5)
    assert row["output_tput_tps"] == pytest.approx(168.9088, abs=1e-4)


def test_a_log_of_a_failure_beside_a_report_says_that_it_is_an_old_one(run: Any, folder: Path) -> None:
    (folder / "run.txt").write_text((FAILURES / "handwritten-oom-cpp.txt").read_text())
    row = run("--json", folder).row
    assert row["status"] == "invalid"
    assert "the log ends with a failure (oom)" in row["failure_message"]


def test_the_iteration_log_beside_it_is_summed_up(run: Any, folder: Path) -> None:
    step = "{'iter': 1, 'numActiveRequests': 7, 'kvCacheStats': {'maxNumBlocks': 4, 'usedNumBlocks': 1}}"
    (folder / "run.iteration_log").write_text(f"{step}\n" * 3)
    row = run("--json", folder).row
    assert (row["steps"], row["kv_cache_util_mean"], row["step_requests_max"]) == (3, 0.25, 7)
    assert json.loads(row["steps_over_time"])["kv_cache_util"] == [0.25, 0.25, 0.25]


def test_a_folder_of_an_attempt_is_one_row_with_its_environment(run: Any, tmp_path: Path) -> None:
    shutil.copy(STREAMING, tmp_path / "report.json")
    shutil.copy(STREAMING.with_suffix(".txt"), tmp_path / "log.txt")
    about = {"node": "n1", "slowdown": "hw_slowdown", "sm_clock_mhz": 1800, "load_s": "no number", "unheard": 1}
    (tmp_path / "env.json").write_text(json.dumps(about))
    row = run("--json", tmp_path).row
    assert (row["node"], row["sm_clock_mhz"], row["load_s"], row["status"]) == ("n1", 1800, None, "invalid")
    assert row["failure_message"] == "a GPU was slowed down: hw_slowdown"


# ------------------------------------------------------------------------------------------------------------- settings


def test_settings_can_be_given(run: Any) -> None:
    row = run(
        "--json", "--set", "concurrency=64", "--set", "attention_dp=false", "--set", "moe_backend=CUTLASS", STREAMING
    ).row
    assert (row["concurrency"], row["attention_dp"], row["moe_backend"], row["status"]) == (64, False, "CUTLASS", "ok")


def test_what_was_given_is_asked_of_the_report(run: Any) -> None:
    row = run("--json", "--set", "concurrency=256", "--set", "tp=8", STREAMING).row
    assert row["status"] == "invalid"
    assert "tp is 4, not 8" in row["failure_message"]
    assert "concurrency 256 gives at least" in row["failure_message"]


def test_settings_stand_in_names(run: Any, tmp_path: Path) -> None:
    for name in ("r1_tp4_dpfalse_c64.json", "r1_tp4_dptrue_c64.json.gz", "other.json"):
        if name.endswith(".gz"):
            (tmp_path / name).write_bytes(gzip.compress(STREAMING.read_bytes()))
        else:
            shutil.copy(STREAMING, tmp_path / name)
    rows = run("--json", "--pattern", "*_tp{tp}_dp{attention_dp}_c{concurrency}", tmp_path).rows
    assert [(row["concurrency"], row["attention_dp"]) for row in rows] == [(None, None), (64, False), (64, True)]


def test_a_dump_in_the_log_is_held_against_what_was_given(run: Any, tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text(
        "[I] LLM Args: enable_attention_dp=True, max_batch_size=1024\n" + STREAMING.with_suffix(".txt").read_text()
    )
    row = run("--json", "--set", "attention_dp=true", log).row
    assert row["status"] == "ok"
    assert not {"attention_dp", "max_batch_size"} & set(row["unverified_settings"].split(","))
    assert run("--json", "--set", "attention_dp=false", log).row["status"] == "invalid"


def test_a_dump_on_a_line_of_its_own_is_held_against_what_was_given(run: Any, tmp_path: Path) -> None:
    dump = (REPORTS / "cli" / "llm-args-dump.txt").read_text().replace("=256", "=1536").replace("=64", "=1024")
    log = tmp_path / "run.log"
    log.write_text(dump + STREAMING.with_suffix(".txt").read_text())
    given = ["--set", "ep=4", "--set", "attention_dp=false", "--set", "moe_backend=TRTLLM"]
    row = run("--json", *given, log).row
    assert "ep is 1, not 4" in row["failure_message"]  # of the report; the dump says nothing against it
    assert not {"tp", "pp", "attention_dp", "moe_backend"} & set(row["unverified_settings"].split(","))
    other = run("--json", "--set", "moe_backend=CUTLASS", log).row
    assert "moe_backend = trtllm, not cutlass" in other["failure_message"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "concurency=64"], 'there is no setting concurency; did you mean "concurrency"?'),
        (["--set", "concurrency"], "give NAME=VALUE"),
        (["--set", "concurrency=many"], "concurrency must be an integer, not 'many'"),
        (["--set", "tp=0"], "tp must be at least 1"),
        (["--set", "tp=4", "--set", "tp=8"], "--set tp is given twice"),
        (["--pattern", "tp{tpp}"], "there is no setting tpp"),
        (["--pattern", "tp{tp}_{tp}"], "tp stands there twice"),
        (["--pattern", "plain"], "name a setting"),
        (["--reparse", "results/x", "--set", "tp=1"], "takes nothing else"),
    ],
)
def test_mistakes_cost_one_sentence(run: Any, arguments: list[str], message: str) -> None:
    said = run(STREAMING, *arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("sweep: ")
    assert message in said.err
    assert said.err.count("\n") == 1


def test_nothing_to_import_is_a_mistake(run: Any) -> None:
    assert run().code == 2


# ----------------------------------------------------------------------------------------------------------- unreadable


def test_what_cannot_be_read_is_named(run: Any, tmp_path: Path) -> None:
    files = {
        name: tmp_path / name for name in ("absent.json", "picture.png", "config.json", "broken.gz", "outputs.json")
    }
    files["picture.png"].write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    files["config.json"].write_text('{"model": "x"}')
    files["broken.gz"].write_bytes(b"\x1f\x8b\x08nonsense")
    files["outputs.json"].write_text('{"1": "Hello", "2": "World"}')
    said = run("--json", *files.values(), STREAMING)
    assert said.code == 3
    assert said.row["status"] == "ok"
    for path in files.values():
        assert f"sweep: cannot read {path}: " in said.err
    assert "No such file" in said.err and "it is not text" in said.err and "no report of trtllm-bench" in said.err


def test_a_folder_of_nothing_gives_nothing(run: Any, tmp_path: Path) -> None:
    said = run("--json", tmp_path)
    assert (said.code, said.out) == (0, "")
    assert "nothing" in said.err


def test_without_json_people_read_a_table(run: Any) -> None:
    said = run(STREAMING, FAILURES / "handwritten-nccl.txt")
    assert "1.2.0rc2-throughput-streaming.json" in said.out
    assert "6,168.0" in said.out
    assert "failed (nccl): the GPUs could not talk to each other" in said.out


# --------------------------------------------------------------------------------------------------------------- tables


def test_rows_land_in_a_table_once(run: Any, tmp_path: Path) -> None:
    into = tmp_path / "results" / "old"
    files = [
        STREAMING,
        STREAMING.with_suffix(".txt"),
        REPORTS / "1.2.0rc2-latency.json",
        FAILURES / "handwritten-nccl.txt",
    ]
    said = run("--into", into, *files)
    assert said.code == 0
    assert "1 in the table already" in said.err  # the text of the first report
    df = load(into, status="all")
    assert sorted(df["status"]) == ["failed", "ok", "ok"]
    assert set(df["sweep_id"]) == {Results(into).sweep_id}
    again = run("--into", into, "--json", *files)
    assert (again.code, again.out) == (0, "")
    assert "4 in the table already" in again.err
    assert len(load(into, status="all")) == 3


def slower(said: Any, factor: float, key: str = "") -> Any:
    """Return the report of a run of which everything took longer by a factor."""
    if isinstance(said, dict):
        return {name: slower(value, factor, name if "percentiles" not in key else key) for name, value in said.items()}
    if key.endswith("_ms") or key in ("ttft_percentiles", "tpot_percentiles"):
        return said * factor
    return said / factor if "throughput" in key or "_tps_" in key or key.endswith("_tok_s") else said


def test_the_same_settings_again_are_another_repeat(run: Any, tmp_path: Path) -> None:
    (tmp_path / "second.json").write_text(json.dumps(slower(json.loads(STREAMING.read_text()), 1.0001)))
    into = tmp_path / "old"
    run("--into", into, STREAMING, tmp_path / "second.json")
    df = load(into)
    assert sorted(df["repeat"]) == [1, 2]
    assert df["point_id"].nunique() == 1
    assert list(df["log_path"].isna()) == [True, True]  # there was no log


def test_evidence_is_kept_beside_the_rows(run: Any, tmp_path: Path, folder: Path) -> None:
    into = tmp_path / "old"
    run("--into", into, "--set", "concurrency=5", folder)
    row = load(into, status="all").iloc[0]
    raw = into / "raw" / row["point_id"] / "1-1"
    assert sorted(path.name for path in raw.iterdir()) == ["env.json", "log.txt", "report.json", "requests.json"]
    assert (raw / "report.json").read_text() == (folder / "run.json").read_text()
    assert row["log_path"] == f"raw/{row['point_id']}/1-1/log.txt"


def test_reparse_makes_the_same_rows_again(run: Any, tmp_path: Path, folder: Path) -> None:
    into = tmp_path / "old"
    run("--into", into, "--set", "concurrency=64", STREAMING, REPORTS / "derived" / "full-log.txt")
    run("--into", into, folder, *sorted(FAILURES.glob("*.txt")), *sorted(REPORTS.glob("0*.txt")))
    before = pd.read_parquet(into / "table")
    said = run("--reparse", into)
    assert said.code == 0
    assert f"{len(before)} rows made again: no status changed; 0 without evidence" in said.err
    pd.testing.assert_frame_equal(pd.read_parquet(into / "table"), before)


def test_reparse_judges_anew(run: Any, tmp_path: Path, folder: Path) -> None:
    into = tmp_path / "old"
    run("--into", into, folder)
    (raw,) = (into / "raw").glob("*/1-1")
    about = json.loads((raw / "env.json").read_text())
    (raw / "env.json").write_text(json.dumps(about | {"memory_errors_uncorrected": 1}))
    said = run("--reparse", into)
    assert "1 rows made again: 1 ok → invalid" in said.err
    row = load(into, status="all").iloc[0]
    assert (row["status"], row["failure_message"]) == ("invalid", "1 uncorrected memory errors were counted")
    assert row["output_tput_tps"] > 0


def test_reparse_of_no_table_is_a_mistake(run: Any, tmp_path: Path) -> None:
    assert run("--reparse", tmp_path).code == 2


def test_simulated_reports_never_pass_as_measured(run: Any, tmp_path: Path) -> None:
    said = json.loads(STREAMING.read_text())
    said["engine"]["version"] = "simulated, sweep simulator 2"
    (tmp_path / "x.json").write_text(json.dumps(said))
    assert run("--json", tmp_path / "x.json").row["source"] == "simulated"


def test_the_command_starts_neither_ray_nor_hydra(tmp_path: Path) -> None:
    code = (
        "import sys; from sweep.cli import run_command;"
        f"run_command(['import', '--json', {str(STREAMING)!r}]);"
        "print([name for name in ('ray', 'hydra', 'pandas', 'pyarrow') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S)
    assert done.stderr.splitlines()[-1] == "[]"


# ------------------------------------------------------------------------------------------------------- hostile files


BOUNDED = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (1_200 << 20,) * 2)
resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 20,) * 2)
from sweep.cli import run_command
sys.exit(run_command(["import", "--json", *sys.argv[1:]]))
"""


def bounded(*arguments: Any) -> Said:
    """Import in a process that has 1.2 GB of address space."""
    command = [sys.executable, "-c", BOUNDED, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=HANG_S)
    return Said(done.returncode, done.stdout, done.stderr)


def packed(path: Path, begin: bytes, middle: bytes, millions: int, end: bytes = b"") -> Path:
    """Write a .gz of which the middle is as many MB of the same."""
    block = middle * ((1 << 20) // len(middle))
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(begin)
        for _ in range(millions):
            file.write(block)
        file.write(end)
    return path


def test_a_line_without_end_is_read_in_bounded_memory(tmp_path: Path) -> None:
    oom = b"\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n"
    log = packed(tmp_path / "line.log.gz", b"SWEEP_STEP weights\n", b"x", 1_500, oom)
    result = packed(tmp_path / "pod.log.gz", b'SWEEP_RESULT {"point": "', b"a", 1_500, b'"}\n' + told("b").encode())
    steps = packed(tmp_path / "run.iteration_log.gz", b'{"iter": 1, "iterLatencyMS": 2}\n', b"1", 1_500)
    shutil.copy(STREAMING, tmp_path / "run.json")
    said = bounded(log, result, tmp_path / "run.json", steps)
    assert said.code == 3, said.err
    assert [row["status"] for row in said.rows] == ["failed", "ok", "ok"]
    assert said.rows[0]["failure_kind"] == "oom" and said.rows[1]["steps"] == 1
    assert "pod.log.gz: line 1: a SWEEP_RESULT line is no JSON" in said.err


def carried_utf16(line: str) -> bytes:
    return line.encode("utf-16-le")


def carried_by_docker(line: str) -> bytes:
    return f"{json.dumps({'log': line, 'stream': 'stdout', 'time': '2026-01-17T18:48:10Z'})}\n".encode()


@pytest.mark.parametrize("carried", [carried_utf16, carried_by_docker])
def test_a_carried_text_is_read_in_bounded_memory(run: Any, tmp_path: Path, carried: Callable[[str], bytes]) -> None:
    begin = b"\xff\xfe" if carried is carried_utf16 else b""
    oom = carried("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n")
    log = packed(tmp_path / "long.log.gz", begin, carried(f"step {'x' * 10_000}\n"), 16, oom)
    tracemalloc.start()
    try:
        assert run("--json", log).row["failure_kind"] == "oom"
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


def test_more_json_than_fits_into_memory_is_refused(tmp_path: Path) -> None:
    long = packed(tmp_path / "long.json.gz", b'{"results": "', b"x", 1_500, b'"}')
    many = packed(tmp_path / "many.json.gz", b"[{", b"},{", 200, b"}]")
    said = bounded(long, many, STREAMING)
    assert said.code == 3 and said.row["status"] == "ok"
    assert f"cannot read {long}: is more than 256 MiB of JSON" in said.err
    assert f"cannot read {many}: has more than 10,000,000 values of JSON" in said.err
    (tmp_path / "env.json").write_bytes(b" " * (257 << 20))
    shutil.copy(STREAMING, tmp_path / "report.json")
    for file in (long, many):
        file.unlink()
    assert bounded(tmp_path).row["status"] == "ok"


def test_files_without_end_are_refused_where_they_are_named_and_ignored_in_a_folder(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    shutil.copy(STREAMING, logs / "run.json")
    os.mkfifo(logs / "pipe.txt")
    (logs / "loop").symlink_to(logs)
    (logs / "self.log").symlink_to(logs / "self.log")
    (logs / "random.log").symlink_to("/dev/urandom")
    (logs / "zero.json").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(logs / "socket.log"))
        said = bounded(logs)
        assert said.code == 0 and said.row["status"] == "ok" and "cannot read" not in said.err
        for name in ("pipe.txt", "self.log", "random.log", "zero.json", "socket.log"):
            said = bounded(logs / name, STREAMING)
            assert said.code == 3 and said.row["status"] == "ok"
            assert said.err.count("\n") == 2 and f"sweep: cannot read {logs / name}: " in said.err


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
def test_a_file_of_the_kernel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "linked.log").symlink_to("/proc/self/status")
    shutil.copy(STREAMING, tmp_path / "run.json")
    for path in ("/proc/self/status", "/proc/kmsg"):
        said = bounded(path)
        assert said.code == 3 and said.out == ""
    assert "it is a file of the kernel" in bounded("/proc/self/status").err
    said = bounded(tmp_path)
    assert said.code == 0 and said.row["imported_from"].endswith("run.json")


def test_a_deep_folder_is_read_to_its_end(run: Any, tmp_path: Path) -> None:
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1_500):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    shutil.copy(STREAMING, tmp_path / "run.json")
    assert run("--json", tmp_path).row["status"] == "ok"
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # too deep for shutil


def test_many_named_files_of_one_folder_cost_no_more_than_their_number(run: Any, tmp_path: Path) -> None:
    """Each pair of files that was held against each other made a million comparisons of a thousand."""
    shutil.copy(STREAMING, tmp_path / "report.json")
    for number in range(300):
        (tmp_path / f"{number}.log").write_text("RuntimeError: no\n")
    compared = 0

    def count(frame: Any, event: str, argument: object) -> None:
        nonlocal compared
        compared += event == "call" and frame.f_code.co_name == "__eq__"

    sys.setprofile(count)
    try:
        said = run("--json", *sorted(tmp_path.iterdir()))
    finally:
        sys.setprofile(None)
    assert len(said.rows) == 301 and compared < 20 * 301


def test_a_file_that_ends_too_early_is_named(run: Any, tmp_path: Path) -> None:
    whole = gzip.compress(os.urandom(1 << 18).hex().encode())
    for name in ("cut.log.gz", "cut.json.gz"):
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(b'{"a": "' + os.urandom(1 << 18).hex().encode())[:200_000])
    (tmp_path / "odd.log.gz").write_bytes(whole[:100_000] + b"\0" * 100 + whole[100_100:])
    for into in ((), ("--into", tmp_path / "table")):
        said = run(*sorted(tmp_path.glob("*.gz")), STREAMING, *into)
        assert said.code == 3 and "1 ok" in said.err
        for name in ("cut.log.gz", "cut.json.gz", "odd.log.gz"):
            assert f"cannot read {tmp_path / name}: " in said.err


def test_the_exit_code_is_of_the_files_that_were_named(run: Any, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"a": 1}')
    shutil.copy(STREAMING, tmp_path / "run.json")
    said = run("--json", tmp_path)
    assert said.code == 0 and said.row["status"] == "ok"
    assert "other.json: it is JSON, but" in said.err
    assert run("--json", tmp_path, tmp_path / "other.json").code == 3
    assert run("--json", tmp_path / "run.json").code == 0
    assert run("--json", tmp_path / "nowhere").code == 3
    assert run("--json", tmp_path / "run.json" / "below").code == 3
    assert run("--json", tmp_path / ("x" * 5_000)).code == 3
    into = ("--into", tmp_path / "table", tmp_path / "run.json")
    assert [run(*into).code, run(*into).code] == [0, 0]  # it has its row already


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-le", "utf-16-be"])
def test_a_byte_order_mark_tells_how_a_text_is_written(run: Any, tmp_path: Path, encoding: str) -> None:
    shutil.copy(REPORTS / f"{RECORDS}.request_json", tmp_path / "records.request_json")
    for name, text in (
        ("a.json", STREAMING.read_bytes()),
        ("b.txt", STREAMING.with_suffix(".txt").read_bytes()),
        ("c.json", (REPORTS / "serving-default.json").read_bytes()),
        ("d.request_json", (REPORTS / f"{RECORDS}.request_json").read_bytes()),
    ):
        (tmp_path / name).write_bytes(marked(text.decode(), encoding))
    (tmp_path / "a.iteration_log").write_bytes(marked('{"iter": 1, "iterLatencyMS": 2}\n', encoding))
    rows = run("--json", tmp_path).rows
    assert [row["status"] for row in rows] == ["ok"] * 5
    assert rows[0]["steps"] == 1
    failed = marked("vLLM\r\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\r\n", encoding)
    (tmp_path / "failed.txt.gz").write_bytes(gzip.compress(failed))
    assert run("--json", tmp_path / "failed.txt.gz").row["failure_kind"] == "oom"


def marked(text: str, encoding: str) -> bytes:
    return text.encode(encoding) if encoding.endswith("sig") else ("\ufeff" + text).encode(encoding)


def test_a_point_of_a_pods_log_names_no_folder(run: Any, tmp_path: Path) -> None:
    log = tmp_path / "pod.log"
    log.write_text("".join(map(told, ("a/b", "../../x", "/etc/x", "", "\0", "good"))))
    for into in ((), ("--into", tmp_path / "table")):
        said = run("--json", *into, log)
        assert said.code == 3 and said.row["imported_from"] == f"{log}#good:1-1"
        assert said.err.count("sweep: cannot read") == 1 and all(f"line {n}: " in said.err for n in (1, 2, 3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pod.log", "table"]


def test_the_table_says_of_which_kind_a_failure_is(run: Any) -> None:
    said = run(STREAMING, FAILURES / "handwritten-nccl.txt")
    (line,) = [line for line in said.out.splitlines() if "nccl.txt" in line and "failed" in line and "(" not in line]
    assert line.split()[1:3] == ["failed", "nccl"]
    assert "kind" not in run(STREAMING).out
