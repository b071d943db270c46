"""Inputs after public bug reports and scripts: `tests/data/hunt/index.json` says where each is from and what is right.

Logs and reports go through `python -m sweep import`, experiments through `python -m sweep plan`, states of a cluster
through `failure.classify`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweep.cli import run_command
from sweep.failure import KINDS, Policy, classify

HUNT = Path(__file__).parent / "data" / "hunt"
ENTRIES = json.loads((HUNT / "index.json").read_text())
STATES = json.loads((HUNT / "states.json").read_text())
KINDS_SINCE = {
    "fail-nvidia-container-cli-requirement.txt": "driver_too_old",
    "fail-driver-error-803.txt": "driver_too_old",
    "kserve-4513-driver-too-old": "driver_too_old",
    "fail-zmq-address-in-use.txt": "port_in_use",
}
"""What is `unknown` in the index, whose notes ask for a kind of its own where its policy differs."""


def entries(*kinds: str) -> list[Any]:
    """Return the entries of these kinds as parameters."""
    return [
        pytest.param(
            entry["name"],
            entry["expected"],
            id=entry["name"],
        )
        for entry in ENTRIES
        if entry["kind"].startswith(kinds)
    ]


LOGS = ("line-labels", "stdout-and-stderr", "not-a-log", "failure", "serving-report", "sbatch")


@pytest.mark.parametrize(("name", "expected"), entries(*LOGS))
def test_a_log_or_report(name: str, expected: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    code = run_command(["import", "--json", str(HUNT / name)])
    printed = capsys.readouterr()
    rows = [json.loads(line) for line in printed.out.splitlines()]
    assert len(rows) == expected["rows"], printed.err
    assert code == (0 if rows else 3)
    assert "Traceback" not in printed.err
    expected = expected | ({"failure_kind": KINDS_SINCE[name]} if name in KINDS_SINCE else {})
    for row in rows:
        for column, value in expected.items():
            if column in row:
                assert row[column] == (pytest.approx(value) if isinstance(value, float) else value), column
        assert expected.get("message_has", "") in (row["failure_message"] or "")


def plan(experiment: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Plan an experiment that lies in a folder of its own, as a user's would."""
    (folder / "experiment").mkdir(parents=True, exist_ok=True)
    shutil.copy(experiment, folder / "experiment" / "hunted.yaml")
    command = [
        "plan",
        "--config-dir",
        str(folder),
        "+experiment=hunted",
        f"results_dir={folder / 'results'}",
        *arguments,
    ]
    return subprocess.run(
        [sys.executable, "-m", "sweep", *command], capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"}
    )


def planned(experiment: str, folder: Path) -> list[dict[str, Any]]:
    """Return the points of `plan --json`."""
    ended = plan(HUNT / experiment, folder, "--json")
    assert ended.returncode == 0, ended.stderr
    deployments = json.loads(ended.stdout)["deployments"]
    return [attempt["settings"] for deployment in deployments for attempt in deployment["attempts"]]


COUNTED = [pytest.param(*param.values, id=param.id) for param in entries("matrix") if "plan_points" in param.values[1]]


@pytest.mark.parametrize(("name", "expected"), COUNTED)
def test_a_matrix_has_its_points(name: str, expected: dict[str, Any], tmp_path: Path) -> None:
    assert len(planned(name, tmp_path)) == expected["plan_points"]


def test_more_gpus_than_a_node_has_are_refused(tmp_path: Path) -> None:
    ended = plan(HUNT / "exp-g4-recipe.yaml", tmp_path)
    assert "tp * pp = 8 is more than the 4 GPUs of a gb200 node" in ended.stdout + ended.stderr


@pytest.mark.parametrize("name", ["exp-cuda-graph-both-keys.yaml"])
def test_engine_keys_that_exclude_each_other_never_reach_a_pod(name: str, tmp_path: Path) -> None:
    ended = plan(HUNT / name, tmp_path, "--json")
    if ended.returncode == 2:
        assert "batch_sizes" in ended.stderr and "max_batch_size" in ended.stderr
        return
    (settings,) = planned(name, tmp_path)
    assert json.loads(settings["engine"])["cuda_graph_config"].keys() >= {"max_batch_size"}
    assert "batch_sizes" not in json.loads(settings["engine"])["cuda_graph_config"]


@pytest.mark.parametrize("name", ["exp-engine-mapping-in-axis.yaml"])
def test_a_mapping_of_the_engine_in_an_axis(name: str, tmp_path: Path) -> None:
    ended = plan(HUNT / name, tmp_path, "--json")
    assert ended.returncode == 0 or "engine.cuda_graph_config.max_batch_size" in ended.stderr


@pytest.mark.parametrize("name", ["exp-waterfall.yaml"])
def test_lines_of_different_points_differ(name: str, tmp_path: Path) -> None:
    printed = plan(HUNT / name, tmp_path).stdout
    texts = [line.split(maxsplit=2)[2] for line in printed.splitlines() if "12/256" in line]  # behind number and id
    assert len(texts) == len(set(texts)) == 3, printed


@pytest.mark.parametrize("name", ["model-mxfp4.yaml"])
def test_a_model_whose_precision_the_database_lacks_can_be_measured(name: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    shutil.copy(HUNT / name, tmp_path / "model" / "gpt-oss.yaml")
    ended = plan(HUNT / "exp-qwen3-blog.yaml", tmp_path, "model=gpt-oss", "--json")
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(("name", "expected"), entries("environment"))
def test_a_terminal_that_cannot_print_everything(name: str, expected: dict[str, Any]) -> None:
    setting, *command = (HUNT / name).read_text().split()
    variable, _, value = setting.partition("=")
    ended = subprocess.run(
        [sys.executable, *command[1:]], capture_output=True, text=True, env={**os.environ, variable: value}
    )
    assert ended.returncode == expected["exit_code"], ended.stderr


@pytest.mark.parametrize("name", STATES)
def test_a_state_of_a_cluster(name: str) -> None:
    expected, kind = STATES[name]["expected_kind"], classify([], state=STATES[name]["state"]).kind
    if expected.startswith("tried again"):
        assert KINDS[kind].policy in (Policy.RETRY_ELSEWHERE, Policy.RETRY_LATER)
    else:
        assert kind in KINDS_SINCE.get(name, expected)
