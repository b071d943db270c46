"""launchers/: real bash, real processes, the stand-in for trtllm-bench."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from sweep.point import SETTINGS, Bench, Model, MoeBackend
from sweep.report import parse_report, weigh
from sweep.table import STATED_BY_POD
from tests.patience import HANG_S
from tests.test_matrix import CHECKED, LLAMA, R1

ROOT = Path(__file__).parent.parent
STANDIN = Path(__file__).parent / "standins" / "trtllm_bench.py"
TEXT = "kv_cache_config: {enable_block_reuse: false, free_gpu_memory_fraction: 0.9}\n"
MARK = "SWEEP_RESULT "

COMMIT = "3f1c0a7b" * 5
HF = f"""#!/bin/bash
echo "$@" >>"$HF_CALLS"
[ "${{HF_HUB_DISABLE_PROGRESS_BARS:-}}" = 1 ] || printf 'Fetching: 10%%|#   |\\rFetching: 20%%|##  |'
sleep "${{HF_SECONDS:-0}}"
while [ $# -gt 0 ]; do
    if [ "$1" = --local-dir ]; then
        echo '{{}}' >"$2/config.json"
        mkdir -p "$2/.cache/huggingface/download"
        printf '%s\\n' {COMMIT} etag 1.0 >"$2/.cache/huggingface/download/config.json.metadata"
    fi
    shift
done
exit "${{HF_EXIT:-0}}"
"""
NVIDIA_SMI = """#!/bin/bash
case "$1" in
--help-query-gpu) printf '"%s"\\n' timestamp uuid name driver_version memory.total power.draw clocks.current.sm \\
    clocks_event_reasons.active ecc.errors.uncorrected.volatile.total ;;
--query-gpu=memory.used) if [ -e "${USED:-}" ]; then . "$USED"; else echo 0; fi ;;
*)  echo "timestamp, uuid, name, driver_version, memory.total [MiB], power.draw [W], clocks.current.sm [MHz],"\\
        "clocks_event_reasons.active, ecc.errors.uncorrected.volatile.total"
    while true; do # the first at once, as nvidia-smi -lms does
        echo "$(date +'%Y/%m/%d %H:%M:%S.%3N'), GPU-1, NVIDIA GB200, 580.1, 189000 MiB, 700.00 W, 1500 MHz,"\\
            "0x0000000000000004, 0"
        sleep 0.1
    done ;;
esac
"""


class Pod:
    """What a pod of the chart sees, below one folder."""

    def __init__(
        self,
        folder: Path,
        deployment: plan.Deployment,
        *,
        limit_s: int = 60,
        start_s: int = 60,
        weights_gb: float = 0.1,  # what the machine of the tests has room for
    ) -> None:
        self.folder, self.deployment = folder, deployment
        self.files, self.bin, self.results = folder / "files", folder / "bin", folder / "results"
        for made in (self.files, self.bin, self.results, folder / "trtllm"):
            made.mkdir(parents=True)
        for source in (*(ROOT / "launchers").iterdir(), ROOT / "sweep" / "telemetry.py"):
            if source.is_file():
                shutil.copy(source, self.files)
        texts = {deployment.model.id: TEXT}
        deployment = replace(deployment, model=replace(deployment.model, weights_gb=weights_gb))
        for name, text in files_of(deployment, texts, limit_s=limit_s, start_s=start_s).items():
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

    def start(self, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(),
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )

    def folder_of(self, number: int) -> Path:
        return self.folder / "work" / self.deployment.attempts[number].point_id / "1-1"

    def left(self) -> str:
        """Return the processes of trtllm-bench that are still there."""
        found = subprocess.run(["pgrep", "-f", str(self.bin / "trtllm-bench")], capture_output=True, text=True)
        return found.stdout

    def run(self, **environment: str) -> tuple[int, list[dict[str, Any]], str]:
        done = subprocess.run(
            self.command(),
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
            cwd=self.folder,
        )
        return done.returncode, results_in(done.stdout), done.stderr

    def case(self, result: Mapping[str, Any], settings: Mapping[str, Any]) -> validity.Case:
        """Return what the gate judges of a result whose files lie on the volume."""
        folder = self.results / "s1" / result["point"] / result["attempt"]
        with (folder / "log.txt").open("rb") as log:
            return validity.case_of(settings, weigh(report=(folder / "report.json").read_bytes(), log=log))

    @property
    def downloads(self) -> list[str]:
        calls = self.folder / "hf-calls"
        return calls.read_text().splitlines() if calls.exists() else []


def results_in(text: str) -> list[dict[str, Any]]:
    lines = [line for line in text.splitlines() if line.startswith(MARK)]
    assert all(len(line.encode()) <= 12 * 1024 for line in lines)
    return [json.loads(line.removeprefix(MARK)) for line in lines]


PROVED_BY_ENGINE = frozenset(
    {"tp", "pp", "ep", "attention_dp", "chunked_prefill", "max_batch_size", "max_num_tokens", "max_seq_len"}
)


def deployment(concurrency: Iterable[int] = (1, 4), model: Model = LLAMA, **changed: Any) -> plan.Deployment:
    settings = CHECKED | {"isl": 16, "osl": 8, "num_requests": 8} | changed | {"model": model.id}
    grown = expand({"grid": {"concurrency": list(concurrency)}}, settings, model)
    (made,) = plan.make([(model, grown)], sweep_id="s1", nodes=1).deployments
    return made


def until(probe: Callable[[], object]) -> None:
    end = time.monotonic() + HANG_S
    while not probe():
        assert time.monotonic() < end
        time.sleep(0.05)


def terminated(begun: subprocess.Popen[str]) -> tuple[int, list[dict[str, Any]], str]:
    """Send SIGTERM, and return what `run` does."""
    begun.send_signal(signal.SIGTERM)
    out, said = begun.communicate(timeout=HANG_S)
    return begun.returncode, results_in(out), said


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
        case = pod.case(result, asked(attempt.point))
        assert validity.judge(case) == ()
        assert not PROVED_BY_ENGINE & set(validity.unverified(case))
        assert datetime.fromisoformat(result["started_at"]) <= datetime.fromisoformat(result["ended_at"])
    first, second = told
    assert datetime.fromisoformat(second["started_at"]) >= datetime.fromisoformat(first["ended_at"])
    assert ("--config" in said) == (version == "1.3.0")


@pytest.mark.parametrize("version", ["1.2.0rc2", "1.3.0"])
def test_a_latency_point_passes_the_gate_and_what_it_sets_itself_is_not_proved(tmp_path: Path, version: str) -> None:
    pod = Pod(tmp_path / "pod", deployment([1], bench=Bench.LATENCY))
    code, (result,), said = pod.run(STANDIN_VERSION=version)
    assert code == 0, said
    case = pod.case(result, asked(pod.deployment.attempts[0].point))
    assert (case.arguments["enable_chunked_prefill"], case.arguments["max_num_tokens"]) == ("False", "3072")
    assert validity.judge(case) == ()
    missing = set(validity.unverified(case))
    assert {"max_batch_size", "max_num_tokens", "chunked_prefill"} <= missing
    assert not (PROVED_BY_ENGINE - validity.SET_BY_LATENCY) & missing


@pytest.mark.parametrize("version", ["1.2.0rc2", "1.3.0"])
def test_the_engine_tells_mtp_attention_dp_and_moe_backend(tmp_path: Path, version: str) -> None:
    settings = {"ep": 4, "attention_dp": True, "mtp_layers": 3, "moe_backend": MoeBackend.TRTLLM}
    pod = Pod(tmp_path / "pod", deployment([8], model=R1, **settings))
    code, (result,), said = pod.run(STANDIN_VERSION=version)
    assert code == 0, said
    case = pod.case(result, asked(pod.deployment.attempts[0].point))
    assert validity.judge(case) == ()
    assert not (PROVED_BY_ENGINE | {"mtp_layers", "moe_backend"}) & set(validity.unverified(case))
    lost = dict(case.arguments) | {"enable_attention_dp": "False"}
    assert validity.judge(replace(case, arguments=lost)) == (
        "the engine was started with attention_dp = false, not true",
    )


def test_the_environment_is_columns(pod: Pod) -> None:
    pod.program("nvidia-smi", NVIDIA_SMI)
    image = "registry/trtllm@sha256:" + "0" * 64
    code, told, said = pod.run(STANDIN_SECONDS="1.5", SWEEP_IMAGE=image, CUDA_VERSION="13.0.1", HF_SECONDS="5")
    assert code == 0, said
    for result in told:
        environment = result["environment"]
        assert environment.keys() - set(STATED_BY_POD) == {
            *("image", "engine_option", "dataset_by", "weights_path", "weights_commit")
        }
        assert (environment["node"], environment["gpu_name"], environment["driver_version"]) == (
            *("a4x-0001", "NVIDIA GB200"),
            "580.1",
        )
        assert (environment["slowdown"], environment["power_capped"], environment["sm_clock_mhz"]) == ("", True, 1500)
        assert environment["energy_j"] == pytest.approx(environment["bench_s"] * 700, rel=0.2)
        assert environment["load_s"] >= 0
        assert environment["bench_s"] == result["report"]["performance"]["total_latency_ms"] / 1e3 >= 1.5
        assert (environment["image"], environment["image_digest"]) == (image, "sha256:" + "0" * 64)
        assert (environment["cuda_version"], environment["gpu_memory_gib"]) == ("13.0.1", 189000 / 1024)
        assert (environment["engine_option"], environment["dataset_by"]) == (
            *("--extra_llm_api_options", "prepare_dataset.py"),
        )
        assert environment["weights_path"] == str(pod.folder / "cache" / "weights" / LLAMA.id.replace("/", "--"))
        assert environment["weights_commit"] == COMMIT
        assert datetime.fromisoformat(environment["reported_at"]).tzinfo is not None
    first, second = (result["environment"]["download_s"] for result in told)
    assert 0 < second < first  # its dataset alone, without the weights' 5 s
    assert first >= 5


def test_the_download_s_seconds_are_those_of_weights_and_dataset(pod: Pod) -> None:
    pod.program("trtllm-bench", f'#!/bin/bash\ncase $* in *--help) sleep 3 ;; esac\nexec "{pod.folder}/bench" "$@"\n')
    pod.program("../bench", STANDIN.read_text())
    code, told, said = pod.run()
    assert code == 0, said
    (probed,) = (line for line in said.splitlines() if "engine options by" in line)
    begun = next(line for line in said.splitlines() if line.endswith("begins"))
    after = datetime.fromisoformat(begun.split()[0]) - datetime.fromisoformat(probed.split()[0])
    assert told[0]["environment"].get("download_s", 0) <= after.total_seconds() + 1


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
    folder = pod.folder / "weights" / below
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    named = {"SWEEP_WEIGHTS_MODEL": LLAMA.id} if below == "." else {}
    code, told, said = pod.run(SWEEP_WEIGHTS=str(pod.folder / "weights"), **named)
    assert (code, len(told), pod.downloads) == (0, 2, []), said
    assert Path(told[0]["environment"]["weights_path"]).samefile(folder)


@pytest.mark.parametrize("named", ["", "Qwen/Qwen3-32B"])
def test_a_volume_that_may_be_another_model_s_folder_is_refused(pod: Pod, named: str) -> None:
    (pod.folder / "weights").mkdir()
    (pod.folder / "weights" / "config.json").write_text("{}")
    code, told, said = pod.run(SWEEP_WEIGHTS=str(pod.folder / "weights"), SWEEP_WEIGHTS_MODEL=named)
    assert (code, told) == (1, [])
    assert f"no config.json of {LLAMA.id}" in said
    assert "weights.model must say so" in said


def test_missing_weights_are_told(pod: Pod) -> None:
    (pod.folder / "weights").mkdir()
    code, told, said = pod.run(SWEEP_WEIGHTS=str(pod.folder / "weights"))
    assert (code, told) == (1, [])
    assert f"no config.json of {LLAMA.id}" in said


def test_a_download_is_told_in_lines(pod: Pod) -> None:
    code, _, said = pod.run(HF_SECONDS="1", SWEEP_PROGRESS_S="0.2")
    assert code == 0, said
    assert f"downloading {LLAMA.id}: 0 of 0.1 GB\n" in said
    assert "Fetching" not in said


def test_a_download_that_does_not_fit_is_not_begun(tmp_path: Path) -> None:
    pod = Pod(tmp_path / "pod", deployment(), weights_gb=1e9)
    code, told, said = pod.run()
    assert (code, told, pod.downloads) == (1, [], [])
    assert "GB are free" in said
    assert classify(said.splitlines(), exit_code=code).kind == "out_of_disk"


@pytest.mark.parametrize("what", ["the download", "another pod's"])
def test_weights_have_a_time_limit(tmp_path: Path, what: str) -> None:
    pod = Pod(tmp_path / "pod", deployment(), start_s=1)
    with holding(pod) if what == "another pod's" else contextlib.nullcontext():
        code, told, said = pod.run(HF_SECONDS="600")
    assert (code, told) == (124, [])
    assert "longer than their time limit of 1 s (backend.start_timeout_s)" in said
    assert classify(said.splitlines(), exit_code=code).kind == "timeout"


def test_sigterm_ends_the_wait_for_another_pod_s_download(pod: Pod) -> None:
    with holding(pod):
        begun = pod.start()
        lines: list[str] = []
        while "another pod of this node" not in "".join(lines):
            assert begun.stderr is not None
            lines.append(begun.stderr.readline())
        code, told, _ = terminated(begun)
    assert (code, told, pod.downloads) == (143, [], [])


@contextlib.contextmanager
def holding(pod: Pod) -> Iterator[None]:
    """Hold the lock of the weights, as another pod would."""
    lock = pod.folder / "cache" / "weights" / f"{LLAMA.id.replace('/', '--')}.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# ------------------------------------------------------------------------------------------------- what must be there


def test_an_image_without_trtllm_bench_is_told(pod: Pod) -> None:
    (pod.bin / "trtllm-bench").unlink()
    code, told, said = pod.run()
    assert (code, told, pod.downloads) == (1, [], [])
    assert "does not tell its options" in said
    assert classify(said.splitlines(), exit_code=code).kind == "usage"


def test_a_results_volume_that_cannot_be_written_ends_the_pod_before_its_weights(pod: Pod) -> None:
    (pod.results / "s1").write_text("a file where the folder should be")
    code, told, said = pod.run()
    assert (code, told, pod.downloads) == (1, [], [])
    assert "the results volume cannot be written" in said
    assert "gcloud storage buckets add-iam-policy-binding gs://" in said


def test_a_results_volume_that_fails_later_loses_no_line(pod: Pod) -> None:
    breaks = f'rm -rf "{pod.results}/s1"; touch "{pod.results}/s1"'
    pod.program(
        "trtllm-bench", f'#!/bin/bash\ncase $* in *--dataset*) {breaks} ;; esac\nexec "{pod.folder}/bench" "$@"\n'
    )
    pod.program("../bench", STANDIN.read_text())
    code, told, said = pod.run()
    assert code == 0, said
    assert [bool(result["report"]) for result in told] == [True, True]
    assert all("s1" in result["unsaved"] for result in told)
    assert said.count("is told by its line only") == 2


def test_a_publisher_that_fails_ends_the_pod(pod: Pod) -> None:
    broken = f'rm "{pod.files}/telemetry.py"'
    pod.program(
        "trtllm-bench", f'#!/bin/bash\ncase $* in *--dataset*) {broken} ;; esac\nexec "{pod.folder}/bench" "$@"\n'
    )
    pod.program("../bench", STANDIN.read_text())
    code, told, said = pod.run()
    assert (code, told) == (1, [])
    assert f"ended in step 'point {pod.deployment.attempts[0].point_id}'" in said


# ----------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        *((kind, kind) for kind in ("oom", "kv_cache_too_small", "invalid_config", "nccl", "interrupted", "no_report")),
        ("engine_too_short", "request_too_long"),
        ("mapping", "invalid_config"),
        ("oom_as_nccl", "oom"),
        ("hang_detected", "hang"),
        ("fault_of_the_program", "unknown"),
    ],
)
def test_a_point_that_fails_does_not_end_the_others(pod: Pod, fault: str, kind: str) -> None:
    code, told, _ = pod.run(STANDIN_FAIL=fault, STANDIN_FAIL_AT="4")
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
    assert pod.left() == ""


def test_a_rank_that_left_the_process_group_does_not_outlive_its_point(pod: Pod) -> None:
    code, told, said = pod.run(STANDIN_FAIL="stray_rank")
    assert (code, [bool(result["report"]) for result in told]) == (0, [True, True]), said
    assert pod.left() == ""


def test_a_sick_gpu_ends_the_pod(pod: Pod) -> None:
    code, told, said = pod.run(STANDIN_FAIL="sick_gpu")
    assert (code, len(told)) == (3, 1)
    assert "this node is given up" in said


def used(pod: Pod, says: str, *, once: bool = False, after: int = 0) -> dict[str, str]:
    """Make nvidia-smi say something of the memory that is used; once only, or from so many points on."""
    pod.program("nvidia-smi", NVIDIA_SMI)
    path, count = pod.folder / "used", pod.folder / "count"
    points = pod.folder / "work"
    when = f'[ "$(ls -d "{points}"/*/ | wc -l)" -gt {after} ]' + (f' && [ ! -e "{count}" ]' if once else "")
    path.write_text(f'if {when}; then touch "{count}"; {says}; else echo 0; fi\n')
    return {"USED": str(path)}


def test_memory_that_a_point_never_frees_is_a_sick_gpu(pod: Pod) -> None:
    code, told, said = pod.run(**used(pod, "echo 90000", after=1))
    assert (code, [result["outcome"] for result in told]) == (3, ["ended", "sick"]), said
    assert classify(told[1]["log_tail"].splitlines(), exit_code=3).kind == "sick_gpu"


def test_memory_that_others_use_from_the_beginning_is_only_told(pod: Pod) -> None:
    code, told, said = pod.run(**used(pod, "echo 90000"))
    assert (code, [result["outcome"] for result in told]) == (0, ["ended", "ended"]), said
    assert said.count("warning: 90000 MiB of a GPU are in use before the first point") == 1


@pytest.mark.parametrize("says", ["exit 9", "echo '[N/A]'"])
def test_an_nvidia_smi_that_fails_once_or_knows_nothing_is_no_sick_gpu(pod: Pod, says: str) -> None:
    code, told, said = pod.run(**used(pod, says, once=says.startswith("exit")))
    assert (code, [result["outcome"] for result in told]) == (0, ["ended", "ended"]), said


def test_an_nvidia_smi_that_always_fails_is_a_sick_gpu(pod: Pod) -> None:
    code, told, said = pod.run(**used(pod, "echo 'Unable to determine the device handle: Unknown Error'; exit 255"))
    assert (code, [result["outcome"] for result in told]) == (3, ["sick"]), said
    assert "Unable to determine the device handle" in told[0]["log_tail"]


def test_an_nvidia_smi_that_hangs_is_not_waited_for(pod: Pod) -> None:
    pod.program("nvidia-smi", "#!/bin/bash\nexec sleep 600\n")
    ask = f"import sys; sys.path.insert(0, {str(pod.files)!r}); import publish; publish.ANSWER_S = 0.2; publish.main()"
    done = subprocess.run(
        [sys.executable, "-c", ask, "query"], env=pod.environment(), capture_output=True, text=True, timeout=HANG_S
    )
    assert (done.returncode, done.stdout.startswith("timestamp,")) == (0, True), done.stderr


def test_sigterm_publishes_what_was_done(pod: Pod) -> None:
    at = str(pod.deployment.attempts[1].point.concurrency)
    begun = pod.start(STANDIN_FAIL="hang", STANDIN_FAIL_AT=at)
    log = pod.folder_of(1) / "log.txt"
    until(lambda: log.exists() and "Loading" in log.read_text())
    code, told, said = terminated(begun)
    assert code == 143, said
    assert [result["outcome"] for result in told] == ["ended", "interrupted"]
    first, second = (pod.results / "s1" / attempt.point_id / "1-1" for attempt in pod.deployment.attempts)
    assert ((first / "done.json").exists(), (second / "done.json").exists()) == (True, False)

    code, again, said = pod.run()  # the same pod, begun anew by its queue
    assert (code, again[0]) == (0, told[0]), said
    assert (again[1]["outcome"], bool(again[1]["report"])) == ("ended", True)


def test_what_is_not_wanted_any_more_is_not_begun(pod: Pod) -> None:
    first, second = pod.deployment.attempts
    (pod.files / "stop.txt").write_text(f"{second.point_id} 1-1\n")
    code, told, said = pod.run()
    assert (code, [result["point"] for result in told]) == (0, [first.point_id])
    assert f"point {second.point_id} attempt 1-1 is not wanted any more" in said


def test_sigterm_while_a_dataset_is_made_begins_no_point(pod: Pod) -> None:
    making = pod.folder / "making"
    script = pod.folder / "trtllm" / "prepare_dataset.py"
    script.write_text(f"import time; open({str(making)!r}, 'w'); time.sleep(600)\n")
    begun = pod.start()
    until(making.exists)
    code, told, said = terminated(begun)
    assert (code, [(result["outcome"], result["exit_code"]) for result in told]) == (143, [("interrupted", 143)])
    assert "begins" not in said


def test_sigterm_while_a_gpu_is_waited_for_begins_no_point(pod: Pod) -> None:
    asked = used(pod, "echo 90000")
    begun = pod.start(**asked, SWEEP_FREE_WAIT_S="600")
    until((pod.folder / "count").exists)
    code, told, said = terminated(begun)
    assert (code, [(result["outcome"], result["exit_code"]) for result in told]) == (143, [("interrupted", 143)])
    assert "begins" not in said


def test_a_bench_that_ended_by_itself_is_not_called_interrupted(pod: Pod) -> None:
    """SIGTERM comes while the report is there already and the bench says goodbye."""
    ready = pod.folder / "ready"
    text = STANDIN.read_text().replace(
        '"report_then_crash":\n        sys.exit(1)',
        '"goodbye":\n        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n'
        f"        Path({str(ready)!r}).touch(); time.sleep(600)",
    )
    pod.program("trtllm-bench", text)
    begun = pod.start(STANDIN_FAIL="goodbye")
    until(ready.exists)
    assert (pod.folder_of(0) / "report.json").exists()
    code, told, said = terminated(begun)
    assert (code, [(result["outcome"], bool(result["report"])) for result in told]) == (143, [("ended", True)]), said


def test_a_dataset_that_cannot_be_made_is_a_failed_point(pod: Pod) -> None:
    (pod.folder / "trtllm" / "prepare_dataset.py").unlink()
    code, told, _ = pod.run()
    assert code == 0
    assert {(r["exit_code"], r["report"]) for r in told} == {(1, None)}
    assert "prepare_dataset.py is there" in told[0]["log_tail"]


def test_a_dataset_that_is_not_ready_in_time_is_a_failed_point(pod: Pod) -> None:
    (pod.folder / "trtllm" / "prepare_dataset.py").write_text("import time; time.sleep(600)\n")
    code, told, said = pod.run(SWEEP_DATASET_S="1")
    assert (code, [result["outcome"] for result in told]) == (0, ["timeout", "timeout"]), said


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


def test_the_token_does_not_leave_by_what_is_said_of_weights_and_datasets(pod: Pod) -> None:
    pod.program("hf", HF.replace("exit ", 'echo "token is $HF_TOKEN" >&2\nexit '))
    (pod.folder / "trtllm" / "prepare_dataset.py").write_text("import os; raise SystemExit(os.environ['HF_TOKEN'])\n")
    code, told, said = pod.run(HF_TOKEN="hf_secret123")
    assert (code, told[0]["exit_code"]) == (0, 1)
    assert "token is ***" in said
    assert "***" in told[0]["log_tail"]
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
        timeout=HANG_S,
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
