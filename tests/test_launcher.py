"""launchers/: real bash, real processes, the stand-in for trtllm-bench."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweep import plan, validity
from sweep.failure import classify
from sweep.jobfiles import files_of
from sweep.matrix import expand
from sweep.point import SETTINGS
from sweep.report import parse_report
from sweep.table import ENVIRONMENT
from tests.test_matrix import CHECKED, LLAMA

ROOT = Path(__file__).parent.parent
STANDIN = Path(__file__).parent / "standins" / "trtllm_bench.py"
TEXT = "kv_cache_config: {enable_block_reuse: false, free_gpu_memory_fraction: 0.9}\n"
MARK = "SWEEP_RESULT "
DEADLINE_S = 120

HF = """#!/bin/bash
echo "$@" >>"$HF_CALLS"
while [ $# -gt 0 ]; do if [ "$1" = --local-dir ]; then echo '{}' >"$2/config.json"; fi; shift; done
exit "${HF_EXIT:-0}"
"""
NVIDIA_SMI = """#!/bin/bash
case "$1" in
--help-query-gpu) printf '"%s"\\n' timestamp uuid name driver_version memory.total power.draw clocks.current.sm \\
    clocks_event_reasons.active ecc.errors.uncorrected.volatile.total ;;
--query-gpu=memory.used) echo "${USED_MIB:-0}" ;;
*)  echo "timestamp, uuid, name, driver_version, memory.total [MiB], power.draw [W], clocks.current.sm [MHz],"\\
        "clocks_event_reasons.active, ecc.errors.uncorrected.volatile.total"
    while sleep 0.1; do
        echo "$(date +'%Y/%m/%d %H:%M:%S.%3N'), GPU-1, NVIDIA GB200, 580.1, 189000 MiB, 700.00 W, 1500 MHz,"\\
            "0x0000000000000004, 0"
    done ;;
esac
"""


class Pod:
    """What a pod of the chart sees, below one folder."""

    def __init__(self, folder: Path, deployment: plan.Deployment, limit_s: int = 60) -> None:
        self.folder, self.deployment = folder, deployment
        self.files, self.bin, self.results = folder / "files", folder / "bin", folder / "results"
        for made in (self.files, self.bin, self.results, folder / "trtllm"):
            made.mkdir(parents=True)
        for source in (
            ROOT / "launchers" / "trtllm-bench.sh",
            ROOT / "launchers" / "publish.py",
            ROOT / "sweep" / "telemetry.py",
        ):
            shutil.copy(source, self.files)
        for name, text in files_of(deployment, {deployment.model.id: TEXT}, limit_s).items():
            (self.files / name).write_text(text)
        self.program("trtllm-bench", STANDIN.read_text())
        self.program("hf", HF)
        shutil.copy(STANDIN, folder / "trtllm" / "prepare_dataset.py")

    def program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text.replace("#!/usr/bin/env python3", f"#!{sys.executable}", 1))
        path.chmod(0o755)

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": f"{self.bin}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "SWEEP_CACHE": str(self.folder / "cache"),
            "SWEEP_WORK": str(self.folder / "work"),
            "SWEEP_RESULTS": str(self.results),
            "SWEEP_ID": "s1",
            "SWEEP_DEPLOYMENT_ID": "d1",
            "SWEEP_NODE": "a4x-0001",
            "SWEEP_KILL_WAIT_S": "1",
            "SWEEP_FREE_WAIT_S": "1",
            "TRTLLM_ROOT": str(self.folder / "trtllm"),
            "HF_CALLS": str(self.folder / "hf-calls"),
        } | more

    def command(self) -> list[str]:
        return ["bash", str(self.files / "trtllm-bench.sh")]

    def run(self, **environment: str) -> tuple[int, list[dict[str, Any]], str]:
        done = subprocess.run(
            self.command(),
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
            cwd=self.folder,
        )
        return done.returncode, results_in(done.stdout), done.stderr

    @property
    def downloads(self) -> list[str]:
        calls = self.folder / "hf-calls"
        return calls.read_text().splitlines() if calls.exists() else []


def results_in(text: str) -> list[dict[str, Any]]:
    lines = [line for line in text.splitlines() if line.startswith(MARK)]
    assert all(len(line.encode()) <= 12 * 1024 for line in lines)
    return [json.loads(line.removeprefix(MARK)) for line in lines]


def deployment(concurrency: tuple[int, ...] = (1, 4), **changed: Any) -> plan.Deployment:
    settings = CHECKED | {"model": LLAMA.id, "isl": 16, "osl": 8, "num_requests": 8} | changed
    grown = expand({"grid": {"concurrency": list(concurrency)}}, settings, LLAMA)
    (made,) = plan.make([(LLAMA, grown)], sweep_id="s1", nodes=1).deployments
    return made


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path / "pod", deployment())


def asked(point: Any) -> Mapping[str, Any]:
    return {name: getattr(point, name) for name in SETTINGS}


# ------------------------------------------------------------------------------------------------------- the good case


@pytest.mark.parametrize("version", ["1.2.0rc2", "1.3.0"])
def test_every_point_is_measured_and_its_report_passes_the_gate(pod: Pod, version: str) -> None:
    code, told, said = pod.run(STANDIN_VERSION=version)
    assert code == 0, said
    assert [(r["point"], r["attempt"]) for r in told] == [(a.point_id, "1-1") for a in pod.deployment.attempts]
    for result, attempt in zip(told, pod.deployment.attempts, strict=True):
        assert (result["sweep"], result["deployment"], result["exit_code"], result["outcome"]) == (
            "s1",
            "d1",
            0,
            "ended",
        )
        report = parse_report(result["report"])
        assert validity.judge(validity.Case(asked=asked(attempt.point), report=report)) == ()
        assert datetime.fromisoformat(result["started_at"]) <= datetime.fromisoformat(result["ended_at"])
    first, second = told
    assert datetime.fromisoformat(second["started_at"]) >= datetime.fromisoformat(first["ended_at"])
    assert ("--config" in said) == (version == "1.3.0")


def test_the_environment_is_columns(pod: Pod) -> None:
    pod.program("nvidia-smi", NVIDIA_SMI)
    code, told, said = pod.run(STANDIN_SECONDS="1.5")
    assert code == 0, said
    for result in told:
        environment = result["environment"]
        assert environment.keys() <= ENVIRONMENT.keys()
        assert (environment["node"], environment["gpu_name"], environment["driver_version"]) == (
            *("a4x-0001", "NVIDIA GB200"),
            "580.1",
        )
        assert (environment["slowdown"], environment["power_capped"], environment["sm_clock_mhz"]) == ("", True, 1500)
        assert environment["energy_j"] == pytest.approx(1.5 * 700, rel=0.2)
        assert environment["load_s"] >= 0
        assert datetime.fromisoformat(environment["reported_at"]).tzinfo is not None
    assert [bool(result["environment"].get("download_s")) for result in told][1:] == [False]


def test_results_lie_on_the_volume_and_are_not_measured_again(pod: Pod) -> None:
    first = pod.run()[1]
    for attempt in pod.deployment.attempts:
        folder = pod.results / "s1" / attempt.point_id / "1-1"
        done = json.loads((folder / "done.json").read_text())
        assert {"report.json", "env.json", "log.txt", "requests.json"} - {"requests.json"} <= done["files"].keys()
        for name, about in done["files"].items():
            said = (folder / name).read_bytes()
            assert (len(said), hashlib.sha256(said).hexdigest()) == (about["size"], about["sha256"])
    code, again, said = pod.run(STANDIN_FAIL="oom")
    assert (code, again) == (0, first)
    assert "begins" not in said


def test_what_was_cut_while_it_was_published_is_measured_again(pod: Pod) -> None:
    pod.run()
    point = pod.deployment.attempts[0].point_id
    (pod.results / "s1" / point / "1-1" / "done.json").unlink()
    said = pod.run()[2]
    assert said.count("begins") == 1
    assert f"point {point} attempt 1-1 begins" in said


# ------------------------------------------------------------------------------------------------ weights and datasets


def test_weights_and_datasets_are_made_once(pod: Pod) -> None:
    pod.run()
    shutil.rmtree(pod.results)
    assert "downloading" not in pod.run()[2]
    (call,) = pod.downloads
    assert call.startswith(f"download {LLAMA.id} --local-dir ")
    assert len(list((pod.folder / "cache" / "datasets").glob("*.jsonl"))) == 1


def test_a_cut_download_goes_on_and_another_revision_is_another_folder(tmp_path: Path) -> None:
    pod = Pod(tmp_path / "pod", deployment(revision="abc"))
    code, told, said = pod.run(HF_EXIT="1")
    assert (code, told) == (1, [])
    assert f"the launcher ended in step 'weights of {LLAMA.id}'" in said
    assert pod.run()[0] == 0
    assert len(pod.downloads) == 2
    assert all("--revision abc" in call and call.endswith("@abc") for call in pod.downloads)


@pytest.mark.parametrize("below", [LLAMA.id, LLAMA.id.replace("/", "--"), LLAMA.id.partition("/")[2], "."])
def test_weights_on_a_volume_are_not_downloaded(pod: Pod, below: str) -> None:
    (pod.folder / "weights" / below).mkdir(parents=True)
    (pod.folder / "weights" / below / "config.json").write_text("{}")
    code, told, said = pod.run(SWEEP_WEIGHTS=str(pod.folder / "weights"))
    assert (code, len(told), pod.downloads) == (0, 2, []), said


def test_missing_weights_are_told(pod: Pod) -> None:
    (pod.folder / "weights").mkdir()
    code, told, said = pod.run(SWEEP_WEIGHTS=str(pod.folder / "weights"))
    assert (code, told) == (1, [])
    assert f"no config.json of {LLAMA.id}" in said


# ----------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("kind", ["oom", "kv_cache_too_small", "invalid_config", "nccl", "interrupted", "no_report"])
def test_a_point_that_fails_does_not_end_the_others(pod: Pod, kind: str) -> None:
    code, told, _ = pod.run(STANDIN_FAIL=kind, STANDIN_FAIL_AT="4")
    assert code == 0
    of = {result["point"]: result for result in told}
    for attempt in pod.deployment.attempts:
        result = of[attempt.point_id]
        if attempt.point.concurrency == 4:
            assert result["report"] is None
            assert classify(result["log_tail"].splitlines(), exit_code=result["exit_code"]).kind == kind
        else:
            assert result["report"] is not None


@pytest.mark.parametrize("how", ["hang", "slow_to_die"])
def test_a_point_that_takes_too_long_is_ended_with_all_its_processes(tmp_path: Path, how: str) -> None:
    pod = Pod(tmp_path / "pod", deployment(), limit_s=3)
    code, told, said = pod.run(STANDIN_FAIL=how, STANDIN_FAIL_AT="1")
    assert code == 0, said
    outcomes = {r["point"]: r["outcome"] for r in told}
    assert sorted(outcomes.values()) == ["ended", "timeout"]
    assert subprocess.run(["pgrep", "-f", str(pod.bin / "trtllm-bench")], capture_output=True).returncode == 1


def test_a_sick_gpu_ends_the_pod(pod: Pod) -> None:
    code, told, said = pod.run(STANDIN_FAIL="sick_gpu")
    assert (code, len(told)) == (3, 1)
    assert "this node is given up" in said


def test_memory_that_is_never_freed_is_a_sick_gpu(pod: Pod) -> None:
    pod.program("nvidia-smi", NVIDIA_SMI)
    code, told, _ = pod.run(USED_MIB="90000")
    assert (code, told[0]["outcome"]) == (3, "sick")
    assert classify(told[0]["log_tail"].splitlines(), exit_code=3).kind == "sick_gpu"


def test_sigterm_publishes_what_was_done(pod: Pod) -> None:
    begun = subprocess.Popen(
        pod.command(),
        env=pod.environment(STANDIN_FAIL="hang", STANDIN_FAIL_AT=str(pod.deployment.attempts[1].point.concurrency)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    second = pod.folder / "work" / pod.deployment.attempts[1].point_id / "1-1" / "log.txt"
    end = time.monotonic() + DEADLINE_S
    while not (second.exists() and "Loading" in second.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    begun.send_signal(signal.SIGTERM)
    out, said = begun.communicate(timeout=DEADLINE_S)
    assert begun.returncode == 143, said
    assert [result["outcome"] for result in results_in(out)] == ["ended", "interrupted"]


def test_a_dataset_that_cannot_be_made_is_a_failed_point(pod: Pod) -> None:
    (pod.folder / "trtllm" / "prepare_dataset.py").unlink()
    code, told, _ = pod.run()
    assert code == 0
    assert {(r["exit_code"], r["report"]) for r in told} == {(1, None)}
    assert "prepare_dataset.py is there" in told[0]["log_tail"]


# --------------------------------------------------------------------------------------------------- data, not commands

HOSTILE = 'o\'rg "x"/$(touch evil) `touch evil`; touch evil #\\ ü'


def test_a_hostile_model_name_is_only_a_name(tmp_path: Path) -> None:
    made = deployment()
    attempts = tuple(replace(a, point=replace(a.point, model=HOSTILE)) for a in made.attempts)
    pod = Pod(tmp_path / "pod", replace(made, model=replace(made.model, id=HOSTILE), attempts=attempts))
    code, told, said = pod.run()
    assert code == 0, said
    assert [r["report"]["engine"]["model"] for r in told] == [HOSTILE, HOSTILE]
    assert list(tmp_path.rglob("evil")) == []
    assert not (Path.cwd() / "evil").exists()


def test_the_token_never_leaves_the_pod(pod: Pod) -> None:
    code, told, said = pod.run(STANDIN_FAIL="leak", HF_TOKEN="hf_secret123")
    assert code == 0
    assert "token is ***" in told[0]["log_tail"]
    for text in (json.dumps(told), said, *(p.read_text() for p in pod.results.rglob("*.*") if p.is_file())):
        assert "hf_secret123" not in text


def test_a_long_log_is_cut_from_its_beginning(pod: Pod) -> None:
    noise = "print('ü' * 100 + ' of the log\\n' * 1); " * 1
    text = STANDIN.read_text().replace(
        "    begin = time.monotonic()\n",
        f"    for _ in range(2000): {noise}\n    print('the end')\n    begin = time.monotonic()\n",
    )
    pod.program("trtllm-bench", text)
    code, told, said = pod.run()
    assert code == 0, said
    assert told[0]["report"] is not None
    assert told[0]["log_tail"].endswith("the end\n")
    assert len(told[0]["log_tail"]) > 1000


def test_what_is_published_needs_no_package(tmp_path: Path) -> None:
    for source in (ROOT / "launchers" / "publish.py", ROOT / "sweep" / "telemetry.py"):
        shutil.copy(source, tmp_path)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import publish"],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"]},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_chart_s_example_by_hand_ends_with_a_report(tmp_path: Path) -> None:
    values = yaml.safe_load((ROOT / "charts" / "trtllm-bench" / "examples" / "llama-3.1-8b.yaml").read_text())
    pod = Pod(tmp_path / "pod", deployment())
    for old in pod.files.glob("*.txt"):
        old.unlink()
    for name, text in values["deployments"][0]["files"].items():
        (pod.files / name).write_text(text)
    code, told, said = pod.run()
    assert code == 0, said
    report = parse_report(told[0]["report"])
    assert (report.num_requests, report.isl_mean, report.osl_mean, report.streaming) == (320, 1024, 1024, True)
