"""Folders of other people: which files are of one run, and which are of none."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from sweep.cli import run_command
from sweep.table import load
from tests.labelled import LABELS, labelled

DATA = Path(__file__).parent / "data"
REPORTS, FAILURES, HUNT = DATA / "reports", DATA / "failures", DATA / "hunt"
STREAMING = (REPORTS / "1.2.0rc2-throughput-streaming.txt").read_text()
LATENCY = (REPORTS / "1.2.0rc2-latency.txt").read_text()
SERVING = (REPORTS / "serving-default.txt").read_text()
BARS = "Loading safetensors weights in parallel: 100%|##########| 80/80 [00:10<00:00,  8.00it/s]\n"
OOM = (
    "Traceback (most recent call last):\n"
    '  File "/usr/local/bin/trtllm-bench", line 8, in <module>\n'
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n"
)
STARTED = "[11/07/2025-03:11:02] [TRT-LLM] [I] Preparing to run throughput benchmark...\n"
SERVER = (
    "INFO:     Started server process [4711]\n"
    "INFO:     Application startup complete.\n"
    "INFO:     Uvicorn running on http://0.0.0.0:8000 (Press CTRL+C to quit)\n"
    'INFO:     127.0.0.1:5 - "POST /v1/completions HTTP/1.1" 200 OK\n'
)


class Imported:
    """Exit code, rows and messages of one command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.err = code, err
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]

    @property
    def row(self) -> dict[str, Any]:
        (row,) = self.rows
        return row


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def command(*arguments: Any) -> Imported:
        code = run_command(["import", "--json", *map(str, arguments)])
        return Imported(code, *capsys.readouterr())

    return command


def write(folder: Path, **texts: str) -> list[Path]:
    """Write files by name; `__` stands for a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name.replace("__", ".").replace("_dash_", "-") for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text)
    return paths


# --------------------------------------------------------------------------------------------- two texts of one run

PAIRS = [
    ("trtllm-bench.out", "trtllm-bench.err"),
    ("bench_tp4_c16.log", "bench_tp4_c16.err"),
    ("slurm-4711.out", "slurm-4711.err"),
    ("NAME.stdout", "NAME.stderr"),
    ("NAME.o4711", "NAME.e4711"),
    ("NAME.o4711.3", "NAME.e4711.3"),
    ("NAME_stdout.txt", "NAME_stderr.txt"),
    ("NAME.out.txt", "NAME.err.txt"),
    ("NAME-out.log", "NAME-error.log"),
    ("NAME.txt", "NAME.stderr.txt"),
    ("NAME.log", "NAME.log.err"),
    ("stdout.txt", "stderr.txt"),
    ("stdout", "stderr"),
    ("out.4711", "err.4711"),
    ("stdout_tp4.log", "stderr_tp4.log"),
    ("run.out.gz", "run.err.gz"),
    ("client.log", "server.log"),
    ("bench.log", "server.log"),
    ("tp4_client.log", "tp4_server.log"),
    ("tp4.log", "tp4_server.log"),
    ("bench_c16.out", "server.log"),
    ("serving.txt", "trtllm-serve.log"),
]


def put(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(("out", "err"), PAIRS)
def test_two_texts_of_one_run_are_one_row(run: Any, tmp_path: Path, out: str, err: str, order: int) -> None:
    put(tmp_path / out, STREAMING)
    put(tmp_path / err, SERVER if "serve" in err else BARS)
    imported = run(*[tmp_path / out, tmp_path / err][::order])
    assert (imported.code, imported.row["status"], imported.err.count("cannot read")) == (0, "ok", 0)
    assert imported.row["imported_from"] == str(tmp_path / out)
    if Path(out).suffix in (".out", ".log", ".txt", ".gz", ".stdout", ".o4711"):
        assert run(tmp_path).row == imported.row


@pytest.mark.parametrize("order", [1, -1])
def test_a_failure_is_read_from_both(run: Any, tmp_path: Path, order: int) -> None:
    paths = write(tmp_path, slurm__out=STARTED, slurm__err=OOM)
    imported = run(*paths[::order])
    assert (imported.code, imported.row["failure_kind"]) == (0, "oom")
    assert run(tmp_path).row["failure_kind"] == "oom"


def test_the_rows_of_a_pair_are_kept_with_both_texts(run: Any, tmp_path: Path) -> None:
    paths = write(tmp_path / "logs", x__err=OOM, x__out=STARTED)
    run("--into", tmp_path / "table", *paths)
    (log,) = (tmp_path / "table" / "raw").rglob("log.txt")
    assert STARTED.strip() in log.read_text() and OOM in log.read_text()
    assert "0 row" not in run("--into", tmp_path / "table", *reversed(paths)).err
    assert len(load(tmp_path / "table", status="all")) == 1
    assert run_command(["import", "--reparse", str(tmp_path / "table")]) == 0
    assert list(load(tmp_path / "table", status="all")["failure_kind"]) == ["oom"]


def test_an_empty_stderr_is_no_file_that_gave_nothing(run: Any, tmp_path: Path) -> None:
    paths = write(tmp_path, x__out=STREAMING, x__err="")
    assert run(*paths).code == 0
    assert "passed over" not in run(tmp_path).err


def test_what_the_engine_said_on_stderr_counts(run: Any, tmp_path: Path) -> None:
    dump = "[I] LLM Args: enable_attention_dp=True, max_batch_size=1024\n"
    paths = write(tmp_path, x__out=STREAMING, x__err=dump)
    assert run("--set", "attention_dp=false", *paths).row["status"] == "invalid"
    assert "attention_dp" not in run("--set", "attention_dp=true", *paths).row["unverified_settings"]


def test_json_and_both_texts_are_one_run_of_a_folder(run: Any, tmp_path: Path) -> None:
    shutil.copy(REPORTS / "1.2.0rc2-throughput-streaming.json", tmp_path / "x.json")
    write(tmp_path, x__out=STREAMING, x__err=BARS)
    assert run(tmp_path).row["imported_from"] == str(tmp_path / "x.json")
    write(tmp_path, x__out=STREAMING.replace("6168.0470", "6186.0470"))
    assert "JSON and text disagree" in run(tmp_path).row["failure_message"]


def test_two_reports_are_two_runs_whatever_they_are_called(run: Any, tmp_path: Path) -> None:
    paths = write(tmp_path, x__out=STREAMING, x__err=LATENCY, bench__log=SERVING)
    for arguments in itertools.permutations(paths):
        assert [row["status"] for row in run(*arguments).rows] == ["ok"] * 3
    assert len({row["output_tput_tps"] for row in run(tmp_path).rows}) == 3


def test_the_same_report_in_both_texts_is_one_run(run: Any, tmp_path: Path) -> None:
    paths = write(tmp_path, x__out=STREAMING, x__log=BARS + STREAMING)
    assert run(*paths).row["status"] == run(tmp_path).row["status"] == "ok"


def test_a_server_of_several_clients_is_no_run(run: Any, tmp_path: Path) -> None:
    write(tmp_path, server__log=SERVER + STARTED, c1__log=SERVING, c4__log=STREAMING)
    imported = run(tmp_path)
    assert (imported.code, [row["status"] for row in imported.rows]) == (0, ["ok", "ok"])
    assert "1 other files passed over: server.log" in imported.err


def test_a_server_that_died_is_a_failure(run: Any, tmp_path: Path) -> None:
    paths = write(tmp_path, server__log=SERVER + OOM, client__log="Traffic request rate: inf\n")
    assert run(*paths).row["failure_kind"] == run(tmp_path).row["failure_kind"] == "oom"
    assert run(paths[0]).row["failure_kind"] == "oom"


def test_runs_of_two_folders_stay_apart(run: Any, tmp_path: Path) -> None:
    for name, text in (("a", STREAMING), ("b", LATENCY)):
        write(tmp_path / name, stdout__txt=text, stderr__txt=BARS)
    assert [row["status"] for row in run(tmp_path).rows] == ["ok", "ok"]


# ------------------------------------------------------------------------------------------------- what is not a run

NO_RUNS = {
    "notes.txt": "Results of the week\n\nW1 is best, W3 ran out of memory (CUDA out of memory at c=512).\n",
    "todo.txt": "- W3 failed with torch.OutOfMemoryError: CUDA out of memory\n- rerun trtllm-bench with tp=8\n",
    "week.txt": "W3 torch.OutOfMemoryError: CUDA out of memory\nW4 - RuntimeError: NCCL, c=512: KeyError: 'x'\n",
    "table.md.txt": "| run | result |\n| --- | --- |\n| W3 | torch.OutOfMemoryError: CUDA out of memory |\n",
    "command.txt": "trtllm-bench --model x throughput --dataset ds.txt --tp 4\n",
    "run.txt": "#!/bin/bash\nset -e\nsrun trtllm-bench -m x throughput || echo 'Error: failed'\n",
    "requirements.txt": "tensorrt_llm==1.2.0\ntorch==2.9.0\nnvidia-nccl-cu12==2.27\n",
    "pip.txt": "Package      Version\n------------ -------\ntensorrt-llm 1.2.0\ntorch        2.9.0\n",
    "env.txt": "SLURM_JOB_ID=4711\nLD_LIBRARY_PATH=/usr/local/lib/python3.12/dist-packages/tensorrt_llm/libs\n",
    "nvidia-smi.txt": "Thu Nov 26 04:00:00 2026\n| NVIDIA-SMI 580.95.05   CUDA Version: 13.0     |\n",
    "topo.txt": "\tGPU0\tGPU1\tCPU Affinity\nGPU0\t X \tNV18\t0-71\nGPU1\tNV18\t X \t0-71\n",
    "ps.txt": "USER PID COMMAND\nroot 4711 python3 /usr/local/bin/trtllm-bench --model x throughput\n",
    "engine.txt": "kv_cache_config:\n  dtype: fp8\nmoe_config:\n  backend: TRTLLM\nprint_iter_log: true\n",
    "versions.txt": "python: 3.12.3\ndocker: 27.1\ngit: 4f2c1e\nmpirun: 5.0.7\nError: none\n",
    "samples.csv": "index, clocks.sm\n5, 1980 MHz\n",
    "table.txt": "concurrency,tok/s\n1,109.9\n64,6168.0\n",
    "dataset.txt": '{"task_id": 0, "input_ids": [101, 102], "output_tokens": 128}\n' * 5,
    "code.txt": '{"prompt": "Why?\\nTraceback (most recent call last):\\nValueError: x", "output_tokens": 9}\n' * 5,
    "dataset.jsonl": '{"task_id": 0, "prompt": "Serving Benchmark Result", "output_tokens": 128}\n' * 5,
    "sharegpt.json": '[{"id": "a", "conversations": [{"from": "human", "value": "Hello"}]}]',
    "cut.json": '{"prompts": [{"id": "a", "text": "Hel',
    "cut-list.json": '[{"id": "a", "conversations": [{"from": "hum',
    "config.json": '{"architectures": ["DeepseekV3ForCausalLM"], "num_hidden_layers": 61}',
    "nccl-tests.txt": "# nThread 1 nGpus 8 minBytes 8\n#       size    count    type\n  8  2  float  sum  -1  30.1\n",
    "genai-perf.txt": "            NVIDIA GenAI-Perf | LLM Metrics\n| Time To First Token (ms) | 16.2 |\n",
    "throughput.txt": "Throughput: 12.30 requests/s, 12595.20 total tokens/s, 6297.60 output tokens/s\n",
    "mlperf.txt": "=" * 48 + "\nMLPerf Results Summary\n" + "=" * 48 + "\nSUT name : x\nSamples per second: 12.3\n",
    "README.txt": "Prints =Serving Benchmark Result= at its end; = PYTORCH BACKEND stands before.\n",
    "rules.txt": "=" * 59 + "\nDONE\n" + "=" * 59 + "\n",
    "blank.txt": "\n\n",
    "empty.log": "",
}


@pytest.mark.parametrize("name", NO_RUNS)
def test_what_is_not_a_run_is_refused_where_it_is_named(run: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(NO_RUNS[name])
    imported = run("--into", tmp_path / "table", tmp_path / name)
    assert (imported.code, imported.rows) == (3, [])
    assert f"sweep: cannot read {tmp_path / name}: it is " in imported.err
    assert load(tmp_path / "table", status="all").empty


def test_what_is_not_a_run_is_named_and_left_in_a_folder(run: Any, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for name, text in NO_RUNS.items():
        (tmp_path / "logs" / name).write_text(text)
    (tmp_path / "logs" / "W1.txt").write_text(STREAMING)
    imported = run("--into", tmp_path / "table", tmp_path / "logs")
    assert (imported.code, imported.row["status"]) == (0, "ok")
    (line,) = [line for line in imported.err.splitlines() if "passed over" in line]
    assert f"{sum(not name.endswith('.json') for name in NO_RUNS)} other files passed over: " in line
    assert all(name in (imported.err if name.endswith(".json") else line) for name in NO_RUNS)
    assert len(load(tmp_path / "table", status="all")) == 1


def test_ignored_files_are_named(run: Any, tmp_path: Path) -> None:
    write(tmp_path, NOTES__txt="Results\n", pic__png="x", W1__txt=STREAMING)
    assert "2 other files passed over: NOTES.txt, pic.png" in run(tmp_path).err


def test_nothing_on_the_standard_input_is_refused(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert run("-").code == 3


RUNS = {
    "started.txt": STARTED,
    "cpp.txt": "[TensorRT-LLM][INFO] Engine version 1.2.0 found in the config file\n",
    "version.txt": "[TensorRT-LLM] TensorRT-LLM version: 1.2.0rc2\n",
    "serving.txt": "Starting initial single prompt test run...\n",
    "namespace.txt": "Namespace(backend='openai', base_url=None, host='x', num_prompts=320)\n",
    "traced.sh.txt": "+ trtllm-bench --model x throughput --dataset ds.txt\n",
    "container.txt": "==================\n== TensorRT LLM ==\n==================\n\nNVIDIA Release 25.12\n",
    "traceback.txt": "Traceback (most recent call last):\n  File x, line 1\nKeyError: 'isl'\n",
    "exception.txt": "torch.AcceleratorError: CUDA error: an illegal memory access was encountered\n",
    "shell.txt": "/var/spool/slurmd/job4711/slurm_script: line 12: trtllm-bench: command not found\n",
    "killed.txt": "run.sh: line 3:  4711 Killed                  trtllm-bench --model x throughput\n",
    "cancelled.txt": "slurmstepd: error: *** JOB 4711 ON node-a CANCELLED AT 2026-11-20T10:00:00 ***\n",
    "srun.txt": "srun: error: node-a: task 0: Exited with exit code 1\n",
    "docker.txt": "docker: Error response from daemon: manifest for x:9 not found: manifest unknown.\n",
    "resolve.txt": "curl: (6) Could not resolve host: huggingface.co\n",
    "layer.txt": "docker: failed to register layer: write /usr/lib/libtorch.so: no space left on device.\n",
    "click.txt": "Usage: trtllm-bench throughput [OPTIONS]\n\nError: Missing option '--dataset'.\n",
    "hub.txt": "Fetching 31 files:   3%|3         | 1/31 [00:10<05:00, 10.00s/it]\n",
    "usage.txt": "usage: benchmark_serving.py [-h]\nbenchmark_serving.py: error: unrecognized arguments: --x\n",
    "segv.txt": "*** Process received signal ***\nSignal: Segmentation fault (11)\n",
    "cut.txt": STREAMING[: len(STREAMING) // 2],
    "cut.json": (REPORTS / "1.2.0rc2-throughput-streaming.json").read_text()[:300],
    "cut-serving.json": (REPORTS / "serving-default.json").read_text()[:300],
}


@pytest.mark.parametrize("name", RUNS)
def test_the_log_of_a_run_that_left_no_report_is_a_failed_row(run: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(RUNS[name])
    assert (run(tmp_path / name).code, run(tmp_path).row["status"]) == (0, "failed")


@pytest.mark.parametrize("label", sorted(set(LABELS) - {"blanks", "comment of a script"}))
@pytest.mark.parametrize("name", ["started.txt", "traceback.txt", "exception.txt", "srun.txt"])
def test_so_it_is_behind_a_label(run: Any, tmp_path: Path, name: str, label: str) -> None:
    (tmp_path / name).write_text(labelled(RUNS[name], LABELS[label]))
    assert run(tmp_path).row["status"] == "failed"


@pytest.mark.parametrize(
    "path",
    [*sorted(FAILURES.glob("*.txt")), *sorted(HUNT.glob("fail-*.txt")), *HUNT.glob("slurm-*")],
    ids=lambda p: p.name,
)
def test_every_known_failure_is_a_run(run: Any, tmp_path: Path, path: Path) -> None:
    shutil.copy(path, tmp_path)
    assert run(tmp_path).row["status"] == "failed"


# ------------------------------------------------------------------------------------------- the same run, another run


def test_runs_of_other_settings_that_took_as_long_are_other_runs(run: Any, tmp_path: Path) -> None:
    text = (REPORTS / "1.2.0rc2-throughput-streaming.json").read_text()
    changes = {
        "a.json": ("nvidia/Llama-3.3-70B-Instruct-FP4", "org/a"),
        "b.json": ("nvidia/Llama-3.3-70B-Instruct-FP4", "org/b"),
        "c.json": ('"tp_size": 4', '"tp_size": 8'),
        "d.json": ('"kv_cache_dtype": "FP8"', '"kv_cache_dtype": "auto"'),
    }
    for name, (old, new) in changes.items():
        assert old in text
        (tmp_path / name).write_text(text.replace(old, new))
    into = tmp_path / "table"
    run("--into", into, *(tmp_path / name for name in changes))
    assert len(load(into, status="all")) == 4
    assert "4 in the table already" in run("--into", into, *(tmp_path / name for name in changes)).err


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("name", sorted(path.stem for path in REPORTS.glob("*.json") if "expected" not in path.name))
def test_json_and_text_of_one_run_are_one_row(run: Any, tmp_path: Path, name: str, order: int) -> None:
    for path in [REPORTS / f"{name}.json", REPORTS / f"{name}.txt"][::order]:
        run("--into", tmp_path / "table", path)
    assert len(load(tmp_path / "table", status="all")) == 1


def test_a_setting_that_one_import_gives_makes_no_other_run(run: Any, tmp_path: Path) -> None:
    path = REPORTS / "1.2.0rc2-throughput-streaming.json"
    run("--into", tmp_path / "table", path)
    assert "1 in the table already" in run("--into", tmp_path / "table", "--set", "concurrency=64", path).err


def test_runs_that_took_as_long_and_made_other_numbers_are_two(run: Any, tmp_path: Path) -> None:
    one = json.loads((REPORTS / "serving-default.json").read_text())
    other = one | {"median_ttft_ms": one["median_ttft_ms"] + 1}
    (tmp_path / "a.json").write_text(json.dumps(one))
    (tmp_path / "b.json").write_text(json.dumps(other))
    run("--into", tmp_path / "table", tmp_path / "a.json", tmp_path / "b.json")
    assert len(load(tmp_path / "table", status="all")) == 2


def test_logs_of_their_own_names_are_runs_beside_a_report_json(run: Any, tmp_path: Path) -> None:
    shutil.copy(REPORTS / "1.2.0rc2-throughput-streaming.json", tmp_path / "report.json")
    write(tmp_path, log__txt=STREAMING, a__log=OOM, b__log="KeyError: 'x'\n", b__err=BARS)
    expected = ["failed", "failed", "ok"]
    assert sorted(row["status"] for row in run(tmp_path).rows) == expected
    assert sorted(row["status"] for row in run(*tmp_path.glob("*.*")).rows) == [*expected, "ok"]  # JSON and its text


def test_one_log_beside_a_report_json_is_its_run(run: Any, tmp_path: Path) -> None:
    shutil.copy(REPORTS / "1.2.0rc2-throughput-streaming.json", tmp_path / "report.json")
    write(tmp_path, bench__out=STREAMING.replace("6168.0470", "6186.0470"), bench__err=BARS)
    assert "JSON and text disagree" in run(tmp_path).row["failure_message"]
