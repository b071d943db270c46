"""From the command line to rows, on a real node: kubelet, containerd, the rendered Job, the real launcher.

Stand-ins are trtllm-bench and nvidia-smi only. Each test types what a user types; what is common to all stands in
`Site.command`: where the cluster is, and where weights, datasets and results lie.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import sweep
from sweep.backends.gke import conditions
from sweep.failure import classify
from tests.cluster.conftest import IMAGE
from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.node import NAME, Node
from tests.patience import HANG_S
from tests.test_launcher import HOSTILE, MARK

ROOT = Path(__file__).parent.parent.parent
MODEL = "meta-llama/Llama-3.1-8B-Instruct"


class Site:
    """A namespace on the real node, with claims for weights and results that are folders here."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        self.cluster, self.namespace, self.folder = cluster, namespace, folder
        self.weights, self.results, self.cache = folder / "weights", folder / "results", folder / "cache"
        self.tables = folder / "tables"
        self.kubectl("create", "namespace", namespace)
        for name in ("weights", "results"):
            (folder / name).mkdir()
            self._claim(name, folder / name)

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        return str(self.cluster.kubectl("-n", self.namespace, *arguments, stdin=stdin, check=check))

    def list(self, kinds: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", kinds, "-o", "json"))["items"]
        return [thing for thing in found if thing["metadata"]["name"] != "kube-root-ca.crt"]

    def log(self) -> str:
        """Return the log of the pod that began last; an empty text before one has."""
        pods = [pod for pod in self.list("pods") if "startTime" in pod["status"]]
        newest = max(pods, key=lambda pod: str(pod["status"]["startTime"]), default=None)
        return self.kubectl("logs", newest["metadata"]["name"], check=False) if newest else ""

    def create(self, *manifests: dict[str, Any]) -> None:
        self.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))

    def have_weights(self, model: str = MODEL) -> None:
        (self.weights / model).mkdir(parents=True)
        (self.weights / model / "config.json").write_text("{}")

    def command(self, *more: str, command: str = "run", volume: bool = True) -> list[str]:
        results = ["backend.values.results.claimName=results", f"backend.results_uri=file://{self.results}"]
        return [
            *(sys.executable, "-m", "sweep", command, "+experiment=smoke", "backend=gke"),
            f"backend.namespace={self.namespace}",
            f"backend.values.cache.hostPath={self.cache}",
            "backend.values.weights.claimName=weights",
            *(results if volume else []),
            f"results_dir={self.tables}",
            *more,
        ]

    def run(self, *more: str, command: str = "run", volume: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*more, command=command, volume=volume),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )

    def rows(self) -> pd.DataFrame:
        return sweep.load(self.tables / "smoke", status="all")

    def _claim(self, name: str, folder: Path) -> None:
        volume = f"{self.namespace}-{name}"
        size = {"storage": "1Gi"}
        common = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
        self.create(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": volume},
                "spec": common
                | {"capacity": size, "hostPath": {"path": str(folder), "type": "Directory"}}
                | {"claimRef": {"namespace": self.namespace, "name": name}},
            },
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": name},
                "spec": common | {"volumeName": volume, "resources": {"requests": size}},
            },
        )


@pytest.fixture
def site(real_node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("KUBECONFIG", str(real_node.cluster.kubeconfig("admin")))
    name = f"t-{secrets.token_hex(4)}"
    made = Site(real_node.cluster, name, tmp_path)
    real_node.cluster.wait("service account", lambda: made.kubectl("get", "serviceaccount", "default"))
    return made


def standin(**said: object) -> str:
    """Return the override that gives the pod these variables."""
    pairs = ", ".join(f"{{name: STANDIN_{name.upper()}, value: '{value}'}}" for name, value in said.items())
    return f"backend.values.env=[{pairs}]"


def wait(what: str, probe: Callable[[], object], seconds: float = HANG_S) -> None:
    end = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < end, f"{what}: not so after {seconds} s"
        time.sleep(0.1)


# -------------------------------------------------------------------------------------------------------- the good case


def test_smoke_is_measured_from_weights_in_a_folder_to_rows_and_only_once(site: Site, real_node: Node) -> None:
    site.have_weights()
    done = site.run()
    assert done.returncode == 0, done.stderr
    rows = site.rows()
    assert sorted(zip(rows["concurrency"], rows["kv_cache_dtype"], strict=True)) == [
        *((1, "auto"), (1, "fp8"), (16, "auto"), (16, "fp8"))
    ]
    for column, value in {
        "status": "ok",
        "source": "measured",
        "backend": "gke",
        "node": NAME,
        "image_digest": real_node.images[IMAGE],
        "gpu_name": "NVIDIA GB200",
        "driver_version": "580.1",
        "trtllm_version": "1.2.0rc2",
        "gpus_held": 4,
    }.items():
        assert set(rows[column]) == {value}, column
    assert (rows["load_s"] > 0).all() and (rows["bench_s"] > 0).all() and (rows["output_tput_tps"] > 0).all()
    in_order = rows.sort_values("ended_at")  # start-up is charged to the first row
    assert list(in_order["queued_s"].notna()) == list(in_order["pull_s"].notna()) == [True, False, False, False]
    # one dataset for 16 requests and one for 32, kept for the next pod
    datasets = sorted((site.cache / "datasets").glob("*.jsonl"))
    assert sorted(len(path.read_text().splitlines()) for path in datasets) == [16, 32]
    said = site.log()
    assert said.count("all points are measured") == 1 and "downloading" not in said
    for point, log_path in zip(rows["point_id"], rows["log_path"], strict=True):
        kept = site.tables / "smoke" / "raw" / point / "1-1"
        assert site.tables / "smoke" / log_path == kept / "log.txt"
        assert "TensorRT LLM version: 1.2.0rc2" in (kept / "log.txt").read_text()
        published = site.results / rows["sweep_id"][0] / point / "1-1"
        for name in ("report.json", "env.json"):
            assert json.loads((kept / name).read_text()), name
        assert json.loads((kept / "report.json").read_text()) == json.loads((published / "report.json").read_text())
        assert (published / "done.json").exists()

    command = [sys.executable, "-m", "sweep", "import", "--json", "-"]
    by_hand = subprocess.run(command, input=said, capture_output=True, text=True, timeout=HANG_S, check=True)
    imported = [json.loads(line) for line in by_hand.stdout.splitlines()]
    assert sorted(row["output_tput_tps"] for row in imported) == sorted(rows["output_tput_tps"])

    again = site.run()
    assert (again.returncode, "nothing to do" in again.stderr) == (0, True), again.stderr
    assert len(site.list("jobs")) == 1
    assert site.rows().equals(rows)
    assert site.run(command="gc").returncode == 0
    wait("gc leaves nothing", lambda: not site.list("jobs,pods,configmaps"))


def test_a_dataset_is_made_once_and_a_later_pod_finds_it(site: Site) -> None:
    site.have_weights()
    one = ("concurrency=1", "kv_cache_dtype=auto", "matrix.derive.num_requests='16'")
    assert site.run(*one).returncode == 0
    (dataset,) = (site.cache / "datasets").glob("*.jsonl")
    made = dataset.stat().st_mtime_ns
    done = site.run("concurrency=16", "kv_cache_dtype=auto", "matrix.derive.num_requests='16'")
    assert done.returncode == 0, done.stderr
    assert dataset.stat().st_mtime_ns == made
    assert set(site.rows()["status"]) == {"ok"}
    assert len(site.list("jobs")) == 2


# ----------------------------------------------------------------------------------------------------------- failures


def test_a_point_over_its_time_limit_is_a_row_and_the_next_one_is_measured(site: Site) -> None:
    site.have_weights()
    # a run with a limit below its prediction does not begin; of this model there is none
    limited = ("model.predict_as=null", "backend.point_timeout_s=3")
    done = site.run("kv_cache_dtype=auto", *limited, standin(fail="hang", fail_at=1))
    assert done.returncode == 3, done.stderr
    late, good = site.rows().sort_values("concurrency").itertuples()
    assert (late.status, late.failure_kind, late.node) == ("failed", "timeout", NAME)
    assert (good.status, good.deployment_id) == ("ok", late.deployment_id)
    assert good.started_at >= late.ended_at
    assert 3 <= (late.ended_at - late.started_at).total_seconds() < 60
    # an ended Job goes by itself, with its pod and its files
    (job,) = site.list("jobs")
    assert job["spec"]["ttlSecondsAfterFinished"] == 86400
    patch = json.dumps({"spec": {"ttlSecondsAfterFinished": 1}})
    site.kubectl("patch", "job", job["metadata"]["name"], "--type=merge", "-p", patch)
    wait("its time to live is over", lambda: not site.list("jobs,pods,configmaps"))


def test_a_bench_without_memory_on_the_gpu_is_a_row_of_its_own(site: Site) -> None:
    site.have_weights()
    done = site.run("kv_cache_dtype=auto", standin(fail="oom", fail_at=16))
    assert done.returncode == 3, done.stderr
    good, bad = site.rows().sort_values("concurrency").itertuples()
    assert (good.status, bad.status, bad.failure_kind, bad.exit_code) == ("ok", "failed", "oom", 1)
    assert "CUDA out of memory" in bad.failure_message
    assert "CUDA out of memory" in (site.tables / "smoke" / bad.log_path).read_text()


@pytest.mark.parametrize("fault", ["host_memory", "host_memory_of_all"])
def test_a_container_over_its_memory_limit_is_told_as_such(site: Site, fault: str) -> None:
    site.have_weights()
    limits = [{"type": "Container", "default": {"memory": "192Mi", "cpu": "1"}}]
    metadata = {"name": "limits"}
    site.create({"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": {"limits": limits}})
    done = site.run("kv_cache_dtype=auto", standin(fail=fault, fail_at=16))
    assert done.returncode == 3, done.stderr
    (pod,) = site.list("pods")
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended["reason"] == "OOMKilled"
    assert ended["exitCode"] == 137 or fault == "host_memory"
    good, bad = site.rows().sort_values("concurrency").itertuples()
    assert (good.status, bad.status, bad.failure_kind, bad.exit_code) == ("ok", "failed", "oom", 137)


@pytest.mark.parametrize("volume", [True, False], ids=["evicted", "deleted, with nothing but its log"])
def test_a_pod_that_must_go_publishes_what_is_done_and_the_same_command_measures_the_rest(
    site: Site, volume: bool
) -> None:
    site.have_weights()
    begun = subprocess.Popen(
        site.command("kv_cache_dtype=auto", "run.retry.attempts=1", standin(fail="hang", fail_at=16), volume=volume),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait("the second point begins", lambda: site.log().count("SWEEP_STEP point") == 2)
        (pod,) = site.list("pods")
        name = pod["metadata"]["name"]
        if volume:
            eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
            path = f"/api/v1/namespaces/{site.namespace}/pods/{name}/eviction"
            site.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
        else:
            site.kubectl("delete", "pod", name, "--wait=false")
        said, _ = begun.communicate(timeout=HANG_S)
    finally:
        begun.kill()
        begun.wait()
    assert begun.returncode == 3, said
    good, cut = site.rows().sort_values("concurrency").itertuples()
    assert (good.status, cut.status, cut.exit_code) == ("ok", "failed", 143)
    assert cut.failure_kind in ("evicted", "interrupted"), cut.failure_message  # as the pod itself tells, or the Job

    done = site.run("kv_cache_dtype=auto", volume=volume)
    assert done.returncode == 0, done.stderr
    kept, measured = site.rows().sort_values("concurrency").itertuples()
    assert (kept.status, kept.attempt, kept.started_at) == ("ok", 1, good.started_at)
    assert (measured.status, measured.attempt) == ("ok", 2)


def test_a_pod_over_its_deadline_publishes_and_keeps_its_log_and_its_job_fails(site: Site) -> None:
    """The pod's deadline is for what no limit of the launcher's ends; here it is made short."""
    site.have_weights()
    out = site.folder / "rendered"
    done = site.run("kv_cache_dtype=auto", standin(fail="hang", fail_at=16), "--out", str(out), command="render")
    assert done.returncode == 0, done.stderr
    found = [made for path in out.rglob("*.yaml") for made in yaml.safe_load_all(path.read_text())]
    objects = [made for made in found if made and "kind" in made]
    (job,) = (made for made in objects if made["kind"] == "Job")
    pod_spec = job["spec"]["template"]["spec"]
    assert job["spec"]["activeDeadlineSeconds"] - pod_spec["activeDeadlineSeconds"] == 7 * 24 * 3600
    pod_spec["activeDeadlineSeconds"] = 20
    site.create(*objects)

    def failed() -> Any:
        (made,) = site.list("jobs")
        return next((c for c in made["status"].get("conditions", ()) if c["type"] == "Failed"), None)

    wait("the Job has failed", failed, HANG_S)
    assert failed()["reason"] == "BackoffLimitExceeded"
    (pod,) = site.list("pods")
    assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "DeadlineExceeded")
    told = [json.loads(line.removeprefix(MARK)) for line in site.log().splitlines() if line.startswith(MARK)]
    assert [result["outcome"] for result in told] == ["ended", "interrupted"]
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143
    standing = conditions.read(site.list("jobs")[0], pod)
    assert standing.ended
    assert classify([], exit_code=standing.exit_code, state=standing.message).kind == "timeout"


# -------------------------------------------------------------------------------------------------- data, not commands


def test_a_hostile_model_name_is_only_a_name(site: Site) -> None:
    site.have_weights(HOSTILE)
    quoted = HOSTILE.replace("'", "\\'")
    facts = ("precision=bf16", "weights_gb=16.1", "moe=false", "kv_cache_dtype=null", "predict_as=null")
    given = (f"model.id='{quoted}'", *(f"model.{fact}" for fact in facts))
    done = site.run("concurrency=1", "kv_cache_dtype=auto", *given)
    assert done.returncode == 0, done.stderr
    (row,) = site.rows().itertuples()
    assert (row.status, row.model) == ("ok", HOSTILE)
    assert [path for folder in (site.folder, ROOT) for path in folder.rglob("evil")] == []
