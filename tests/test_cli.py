"""The command line, end to end: real Hydra, real Ray, real files, as a person types it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import sweep
from sweep.predict import SYSTEMS
from sweep.table import Results
from tests.patience import HANG_S
from tests.test_results_folder import read_only

ROOT = Path(__file__).parent.parent
SMOKE = "+experiment=smoke"


def environment(**changed: str) -> dict[str, str]:
    """The environment of a person's shell: without what a test runner or a container sets."""
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}
    return clean | {"PYTHONPATH": str(ROOT)} | changed


def run(*arguments: str, cwd: Path = ROOT, **changed: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sweep", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment(**changed), capture_output=True, text=True, timeout=HANG_S)


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sweep", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_rows(folder: Path, rows: int, process: subprocess.Popen[str]) -> int:
    """Return the number of rows as soon as there are at least `rows`."""
    deadline = time.monotonic() + HANG_S
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        count = (
            len(sweep.load(folder, columns=["point_id"], attempts="all", status="all"))
            if (folder / "table").is_dir()
            else 0
        )
        if count >= rows:
            return count
        time.sleep(0.02)
    raise AssertionError(f"no {rows} rows in time")


def ray_leftovers(pid: int) -> list[str]:
    """Processes and folders of the Ray that this process of ours started."""
    folders = [str(path) for path in Path(tempfile.gettempdir()).glob(f"sweep-ray-{pid}-*")]
    processes = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"/sweep-ray-{pid}-" in text:
            processes.append(text)
    return folders + processes


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One finished run of the smoke experiment."""
    results = tmp_path_factory.mktemp("results")
    done = run(SMOKE, f"results_dir={results}")
    return results / "smoke", done


# ------------------------------------------------------------------------------------------------------ without Ray


def test_help_helps() -> None:
    done = run("--help")
    assert done.returncode == 0
    for word in ("plan", "show", "ds_r1_grid", "deepseek-r1-nvfp4-v2", "kv_cache_dtype"):
        assert word in done.stdout


def test_the_gpus_that_can_be_predicted_are_named() -> None:
    for text in (run("--help").stdout, (ROOT / "README.md").read_text()):
        (line,) = [line for line in text.splitlines() if "gpu=h200" in line]
        assert all(gpu in line for gpu in SYSTEMS)


def test_cfg_prints_the_composed_configuration() -> None:
    done = run("--cfg", "job", SMOKE)
    assert done.returncode == 0 and "name: smoke" in done.stdout


@pytest.mark.parametrize("arguments", [("--version",), ("plan", "--version")])
def test_version_is_ours(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).stdout == f"sweep {sweep.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("+experiment=smoke", "--info", "defaults"),
        ("--info", "defaults", "+experiment=smoke"),
        ("+experiment=smoke", "--info"),
        ("--info=defaults", "+experiment=smoke"),
        ("+experiment=smoke", "-i", "isl=64"),
    ],
)
def test_info_may_stand_anywhere(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert "Defaults List" in done.stdout and "experiment/smoke" in done.stdout


def test_plan_explains_and_touches_nothing(tmp_path: Path) -> None:
    done = run("plan", "+experiment=ds_r1_grid", f"results_dir={tmp_path}/none", "run.nodes=1")
    assert done.returncode == 0, done.stderr
    assert "528 cells → 132 points → 3 engines → 1 deployments (simulated)" in done.stdout
    assert "176  refused: the checkpoint pins its KV cache to fp8, so kv_cache_dtype=nvfp4 is refused" in done.stdout
    assert "GB of weights on each of 2 GPUs, which have 198.7 GB" in done.stdout
    assert "132 are to do" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_status_before_the_first_run(tmp_path: Path) -> None:
    done = run("status", SMOKE, f"results_dir={tmp_path}/none")
    assert (done.returncode, done.stdout) == (3, f"{tmp_path}/none/smoke: nothing yet, 4 to do\n")


def test_plan_as_json_is_one_object(tmp_path: Path) -> None:
    done = run("plan", "--json", SMOKE, f"results_dir={tmp_path}", "run.nodes=1")
    plan = json.loads(done.stdout)
    assert (plan["cells"], plan["points"], plan["to_do"], len(plan["deployments"])) == (4, 4, 4, 1)
    assert plan["deployments"][0]["attempts"][0]["settings"]["isl"] == 128


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([SMOKE, "islx=3"], 'islx is unknown; did you mean "isl"?'),
        ([SMOKE, "backend=gke", "backend.quue=a4x"], 'backend.quue is unknown; did you mean "backend.queue"?'),
        ([SMOKE, "isl=abc"], "isl must be an integer"),
        (["+experiment=nope"], "experiment nope does not exist; there are ds_r1_grid"),
        ([SMOKE, "matrix.grid.concurrency=[]"], "matrix.grid.concurrency is empty"),
        ([SMOKE, "matrix.require=['__import__(1)']"], "only min, max, ceil can be called"),
        ([SMOKE, "matrix.require=['tpp > 1']"], 'did you mean "tp"'),
        ([SMOKE, "+matrix.grid.x=[{concurrency: 1}]"], "concurrency is set by two axes"),
        ([SMOKE, "pp=8"], "no point is left after pruning:\n       4  refused: tp * pp = 8"),
        ([SMOKE, "results_dir=/proc/nowhere"], "/proc/nowhere"),
        (["-m", "+experiment=smoke,recipe"], "  python -m sweep +experiment=recipe"),
        (["rn", SMOKE], 'rn is not a command; did you mean "run"?'),
        (["show", "results/none"], "holds no table"),
        (["+rerun=abc"], "has no configuration abc"),
        ([SMOKE, "run.redo=ttp == 4"], "run.redo is one of failed, invalid, all, or an expression over settings"),
        ([SMOKE, "run.deadline=soon"], "run.deadline is a time span such as 8h"),
        ([SMOKE, "run.budget.usd=5"], "run.budget.usd needs price_per_gpu_hour"),
        ([SMOKE, "run.budget.gpu_hours=0"], "run.budget.gpu_hours must be a number more than 0"),
        ([SMOKE, "run.retry.also=[tiemout]"], 'did you mean "timeout"'),
        ([SMOKE, "run.quarantine.failures=0"], "run.quarantine.failures must be an integer of at least 1"),
        ([SMOKE, "run.detach=true", "run.canary=true"], "run.detach leaves nobody who could heed run.canary"),
        ([SMOKE, "run.detach=true"], "run.detach needs backend=gke and a results volume"),
        (["gc", SMOKE, "--owner"], "gc of whom?"),
        (["-m", SMOKE, "isl=range(1,1000000000)"], "999,999,999 values of isl, and one sweep may have 1,000,000"),
        (["-m", SMOKE, "isl=range(1,10,0)"], "a step that is not 0"),
        (["-m", SMOKE, "isl=range(1,2000)", "osl=range(1,2000)"], "15,984,004 cells"),
        ([SMOKE, "run.repeats=1000000000"], "4,000,000,000 measurements"),
        ([SMOKE, "num_requests=1000000000000000000"], "num_requests must be at most 2,147,483,647"),
        ([SMOKE, "matrix.derive.num_requests='1e999-1e999'"], "give no number"),
        ([SMOKE, "model.predict_as.model=meta-llama/Llama-3.1-8B"], 'did you mean "meta-llama/Meta-Llama-3.1-8B"'),
        ([SMOKE, "gpu=h200", "model=deepseek-r1-nvfp4-v2"], "h200 has no FP4"),
    ],
)
def test_a_mistake_costs_one_message(arguments: list[str], said: str, tmp_path: Path) -> None:
    mine = [] if any("results_dir" in a for a in arguments) or arguments[0] == "show" else [f"results_dir={tmp_path}"]
    done = run(*arguments, *mine)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.startswith("sweep: ") and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_without_the_database_the_pip_line_is_told(tmp_path: Path) -> None:
    hidden = "import importlib.util as u\nreal = u.find_spec\n"
    hidden += "u.find_spec = lambda n, *a: None if n.startswith(('aiconfigurator', 'aisimulate')) else real(n, *a)\n"
    (tmp_path / "sitecustomize.py").write_text(hidden)
    done = run(SMOKE, f"results_dir={tmp_path}", PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert done.returncode == 2
    assert "pip install aiconfigurator-core==" in done.stderr


# ---------------------------------------------------------------------------------------------------------- with Ray


def test_smoke_ends_with_a_summary(smoke: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = smoke
    assert done.returncode == 0, done.stderr
    assert "Pareto points, PREDICTED, not measured" in done.stdout
    assert "4 ok" in done.stdout
    assert f'pandas.read_parquet("{folder}/table")' in done.stdout
    for word in ("ray", "WARNING", "Traceback"):
        assert word not in done.stderr


def test_the_lines_of_pandas_work(smoke: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = smoke
    loaded, plain = sweep.load(folder), pd.read_parquet(folder / "table")
    assert (loaded.dtypes == plain.dtypes).all()
    assert len(loaded) == len(plain) == 4
    assert set(loaded["source"]) == {"simulated"} and set(loaded["status"]) == {"ok"}
    assert (loaded["output_tput_per_gpu"] > 0).all()
    assert loaded["predicted_as"].str.len().min() > 5
    front = sweep.pareto(loaded)
    assert 0 < len(front) <= 4


def test_evidence_and_configuration_are_kept(smoke: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = smoke
    frame = sweep.load(folder)
    assert len(list(folder.glob("raw/*/*/report.json"))) == 4
    (config_hash,) = set(frame["config_hash"])
    assert Results(folder).read_config(config_hash)["pruned"] == {}


def test_the_same_command_again_does_nothing(smoke: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = smoke
    before = sorted(folder.glob("table/*"))
    done = run(SMOKE, f"results_dir={folder.parent}")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert "all 4 points have their row; nothing to do" in line and f"python -m sweep show {smoke[0]}" in line
    assert done.stdout == ""
    assert sorted(folder.glob("table/*")) == before


def test_only_what_measures_imports_ray(smoke: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """What a thread imports meanwhile can meet the warnings, or half of the modules, of what goes on beside it."""
    program = """
import sys
import threading
from sweep.cli import run_command
codes = [int(run_command(["run", *words])) for words in (["+experiment=smoke", "model.id=other/model"], sys.argv[1:])]
print(codes, "ray" in sys.modules, threading.enumerate() == [threading.main_thread()])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, SMOKE, f"results_dir={smoke[0].parent}"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.stdout == "[2, 0] False True\n", done.stderr


def test_a_finished_sweep_that_may_only_be_read_can_be_asked(
    smoke: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    folder = shutil.copytree(smoke[0], tmp_path / "smoke")
    command = [*read_only(folder), sys.executable, "-m", "sweep", SMOKE, f"results_dir={tmp_path}"]
    how: dict[str, Any] = dict(cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=HANG_S)
    done = subprocess.run(command, **how)
    assert done.returncode == 0 and "smoke: all 4 points have their row; nothing to do" in done.stderr, done.stderr
    more = subprocess.run([*command, "matrix.grid.concurrency=[1,2,3]"], **how)
    assert more.returncode == 2 and more.stdout == "" and more.stderr.startswith("sweep: cannot lock ")
    assert "measurements are still to do" in more.stderr
    folder.chmod(0o755)


def test_a_sweep_whose_id_was_lost_goes_on_under_the_same(
    smoke: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    results = Results(shutil.copytree(smoke[0], tmp_path / "smoke"))
    sweep_id = results.sweep_id
    results.sweep_file.unlink()
    assert run("status", SMOKE, f"results_dir={tmp_path}").returncode == 0
    done = run(SMOKE, f"results_dir={tmp_path}")
    assert done.returncode == 0 and "nothing to do" in done.stderr
    assert json.loads(results.sweep_file.read_text())["sweep_id"] == sweep_id
    results.append([row | {"sweep_id": "other"} for row in list(results.rows())[:1]])
    results.sweep_file.unlink()
    for command in (["run"], ["plan"], ["status"]):
        done = run(*command, SMOKE, f"results_dir={tmp_path}")
        assert done.returncode == 2 and done.stderr.startswith(f"sweep: {results.sweep_file} is missing, and "), command
        assert f"rows of 2 sweeps ({', '.join(sorted(['other', sweep_id]))})" in done.stderr


def test_a_name_with_a_nul_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "nul.yaml").write_text('# @package _global_\ndefaults: [smoke]\nname: "a\\0b"\n')
    for command in ("run", "plan", "status"):
        done = run(command, "--config-dir", str(tmp_path), "+experiment=nul", f"results_dir={tmp_path}")
        assert done.returncode == 2 and done.stderr.startswith("sweep: ") and done.stderr.count("\n") == 1, done.stderr


def test_rerun_repeats_a_stored_configuration(smoke: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = smoke
    (config_hash,) = set(sweep.load(folder)["config_hash"])
    done = run(f"+rerun={config_hash}", f"results_dir={folder.parent}")
    assert done.returncode == 0, done.stderr
    assert "smoke: all 4 points have their row" in done.stderr


def test_status_show_and_compact(smoke: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = smoke
    done = run("status", SMOKE, f"results_dir={folder.parent}")
    assert (done.returncode, "4 done, 0 to do" in done.stdout) == (0, True)
    rows = [json.loads(line) for line in run("show", str(folder), "--json").stdout.splitlines()]
    assert len(rows) == 4 and rows[0]["isl"] == 128 and rows[0]["started_at"].endswith("Z")
    csv = run("show", str(folder), "--csv", "--columns", "isl,tp,ttft_ms_p50").stdout.splitlines()
    assert csv[0] == "isl,tp,ttft_ms_p50" and len(csv) == 5
    assert "simulated" in run("show", str(folder)).stdout
    wrong = run("show", str(folder), "--columns", "islx")
    assert wrong.returncode == 2 and 'did you mean "isl"' in wrong.stderr
    assert run("compact", str(folder)).returncode == 0
    assert len(pd.read_parquet(folder / "table")) == 4


def test_a_new_axis_value_runs_only_the_new_points(smoke: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = smoke
    done = run("-m", SMOKE, "concurrency=1,4", f"results_dir={folder.parent}")
    assert done.returncode == 0, done.stderr
    frame = sweep.load(folder, attempts="all", status="all")
    assert len(frame) == 6 and frame["point_id"].is_unique


def test_points_are_measured_again_on_request_and_the_rows_before_stay(tmp_path: Path) -> None:
    mine = (SMOKE, f"results_dir={tmp_path}")
    assert run(*mine).returncode == 0
    done = run(*mine, "run.redo=concurrency == 16 and kv_cache_dtype == 'fp8'")
    assert done.returncode == 0, done.stderr
    assert "smoke: 1/1" in done.stderr
    frame = sweep.load(tmp_path / "smoke", attempts="all")
    assert sorted(frame["attempt"]) == [1, 1, 1, 1, 2]
    assert not (tmp_path / "smoke" / "redo.json").exists()
    again = run(*mine)
    assert "nothing to do" in again.stderr and len(sweep.load(tmp_path / "smoke", attempts="all")) == 5


def test_plan_and_status_show_what_is_left_of_a_redo_that_was_killed(tmp_path: Path) -> None:
    mine = (SMOKE, f"results_dir={tmp_path}")
    assert run(*mine).returncode == 0
    results = Results(tmp_path / "smoke")
    since = results.begin_redo("all")  # and each point but one has a new row
    results.append([row | {"attempt": 2} for row in results.rows()][1:])
    for command, told in (("plan", "1 are to do"), ("status", "3 done, 1 to do")):
        assert told in run(command, *mine, "run.redo=all").stdout
    assert results.redo_since("all") == since


def test_what_failed_when_it_was_measured_again_keeps_its_number_and_is_told(tmp_path: Path) -> None:
    mine = (SMOKE, f"results_dir={tmp_path}")
    assert run(*mine).returncode == 0
    results = Results(tmp_path / "smoke")
    before, *_ = results.rows()
    results.append([before | {"attempt": 2, "status": "failed", "failure_kind": "unknown"}])
    done = run(*mine)
    assert done.returncode == 3 and "1 are given up (1 unknown): run.redo=failed measures them again" in done.stderr
    assert set(sweep.load(tmp_path / "smoke")["attempt"]) == {1}


def test_repeats_that_are_asked_for_no_more_do_not_matter_to_the_exit_code(tmp_path: Path) -> None:
    mine = (SMOKE, f"results_dir={tmp_path}")
    assert run(*mine).returncode == 0
    results = Results(tmp_path / "smoke")
    failed, *_ = results.rows()
    results.append([failed | {"repeat": 2, "status": "failed", "failure_kind": "unknown"}])
    assert run(*mine).returncode == 0
    assert run(*mine, "run.repeats=2").returncode == 3


def test_a_budget_leaves_the_rest_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    mine = ("+experiment=llama70b_kv", f"results_dir={tmp_path}")
    done = run(*mine, "run.budget.gpu_hours=0.2")
    assert done.returncode == 3
    assert "skipped (budget): " in done.stdout and "of 0.2 GPU-hours are spent (run.budget.gpu_hours)" in done.stdout
    frame = sweep.load(tmp_path / "llama70b_kv", status="all")
    counts = frame["status"].value_counts()
    assert set(counts.index) == {"ok", "skipped"} and set(frame[frame["status"] == "skipped"]["attempt"]) == {0}
    done = run(*mine)
    assert done.returncode == 0, done.stderr
    frame = sweep.load(tmp_path / "llama70b_kv", status="all")
    assert set(frame["status"]) == {"ok"} and set(frame["attempt"]) == {1}


def test_a_budget_that_ends_measuring_again_leaves_the_rows_that_are_there(tmp_path: Path) -> None:
    mine = ("+experiment=llama70b_kv", f"results_dir={tmp_path}")
    assert run(*mine).returncode == 0
    points = len(sweep.load(tmp_path / "llama70b_kv"))
    done = run(*mine, "run.redo=all", "run.budget.gpu_hours=0.2")  # spent by the first run already
    assert done.returncode == 3 and "not all was begun: " in done.stderr
    assert len(sweep.load(tmp_path / "llama70b_kv")) == points
    assert run(*mine, "run.redo=all").returncode == 0  # goes on where that was cut
    assert set(sweep.load(tmp_path / "llama70b_kv")["attempt"]) == {2}


def test_a_model_without_data_gets_infeasible_rows(tmp_path: Path) -> None:
    done = run(SMOKE, "model.predict_as=null", f"results_dir={tmp_path}")
    assert done.returncode == 3
    assert "4  infeasible (no_prediction): the operator database has nothing near meta-llama" in done.stdout
    frame = sweep.load(tmp_path / "smoke", status="all")
    assert set(frame["status"]) == {"infeasible"} and set(frame["attempt"]) == {0}
    assert frame["failure_message"].str.len().min() > 10
    assert frame["output_tput_tps"].isna().all()
    again = run(SMOKE, "model.predict_as=null", f"results_dir={tmp_path}")
    assert again.returncode == 3 and "nothing to do" in again.stderr


def test_a_newer_table_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "smoke"
    folder.mkdir()
    (folder / "sweep.json").write_text('{"sweep_id": "x", "schema_version": 99}')
    done = run(SMOKE, f"results_dir={tmp_path}")
    assert done.returncode == 2 and "schema version 99" in done.stderr and "upgrade" in done.stderr


GRID = ("+experiment=ds_r1_grid", "matrix.grid.kv_cache_dtype=[fp8]")


def test_killed_at_any_moment_it_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    first = start(*GRID, f"results_dir={tmp_path}")
    had = wait_for_rows(tmp_path / "ds_r1_grid", 10, first)
    first.kill()
    first.communicate()
    before = sweep.load(tmp_path / "ds_r1_grid", attempts="all", status="all")
    assert len(before) >= had
    process = start(*GRID, f"results_dir={tmp_path}")
    counts = []
    while process.poll() is None:  # and pandas reads all the while
        counts.append(len(pd.read_parquet(tmp_path / "ds_r1_grid" / "table", columns=["point_id"])))
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert counts == sorted(counts) and counts[0] >= had
    after = sweep.load(tmp_path / "ds_r1_grid", attempts="all", status="all")
    assert len(after) == 132 and after["point_id"].is_unique
    assert set(before["point_id"]) <= set(after["point_id"])
    assert "132 ok" in out


@pytest.fixture
def slow(tmp_path: Path) -> tuple[str, ...]:
    """Arguments of a run that takes its time: a stand-in backend of 0.05 s per point."""
    (tmp_path / "backend").mkdir()
    (tmp_path / "backend" / "slow.yaml").write_text("name: tests.standins:Standin\nseconds: 0.05\n")
    return ("--config-dir", str(tmp_path), *GRID, "backend=slow", f"results_dir={tmp_path}/results")


def test_a_killed_worker_is_told_in_our_words_and_costs_no_row(tmp_path: Path, slow: tuple[str, ...]) -> None:
    done = run(*slow, "++backend.kill_once_at=16", f"++backend.marker={tmp_path}/marker", "isl=1024")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "marker").exists()
    assert "a worker process died" in done.stderr
    assert "raylet" not in done.stdout + done.stderr
    frame = sweep.load(tmp_path / "results" / "ds_r1_grid", attempts="all", status="all")
    assert frame["point_id"].is_unique and set(frame["status"]) == {"ok"}


def test_a_cluster_that_exists_is_joined_and_left_running(tmp_path: Path) -> None:
    own = environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0123456789abcdef" * 4, RAY_USAGE_STATS_ENABLED="0")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="joined-", dir="/tmp")
    ray = Path(sys.executable).parent / "ray"
    command = [str(ray), "start", "--head", "--block", f"--port={port}", "--include-dashboard=false", "--num-cpus=2"]
    head = subprocess.Popen(
        [*command, f"--temp-dir={folder}"], env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + HANG_S
        while not _listens(port):
            assert time.monotonic() < deadline and head.poll() is None
            time.sleep(0.1)
        token = own["RAY_AUTH_TOKEN"]
        done = run(
            SMOKE,
            f"results_dir={tmp_path}",
            f"ray.address=127.0.0.1:{port}",
            RAY_AUTH_MODE="token",
            RAY_AUTH_TOKEN=token,
        )
        assert done.returncode == 0, done.stderr
        assert set(sweep.load(tmp_path / "smoke")["status"]) == {"ok"}
        assert token not in done.stdout + done.stderr
        assert head.poll() is None
        assert _listens(port)
    finally:
        head.terminate()
        head.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_two_runs_of_one_sweep_the_second_stops(tmp_path: Path, slow: tuple[str, ...]) -> None:
    folder = tmp_path / "results" / "ds_r1_grid"
    slow = (*slow, "backend.seconds=5")  # two commands begin and end while the first one runs
    first = start(*slow)
    wait_for_rows(folder, 1, first)
    second = run(*slow)
    assert second.returncode == 2
    assert f"pid {first.pid}" in second.stderr and "since" in second.stderr
    status = run("status", *slow)
    assert f"pid {first.pid}" in status.stdout
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=HANG_S)
    assert first.returncode == 130
    assert "the same command" in err and "Traceback" not in err
    assert 0 < len(sweep.load(folder)) < 132
    assert str(len(sweep.load(folder))) + " rows of this run are kept" in err
    assert not ray_leftovers(first.pid)
