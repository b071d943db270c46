"""`python -m sweep ... backend=gke` on fake nodes: rows in the table, whatever becomes of the driver."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from sweep import cluster as clusters
from sweep import composition
from sweep.plan import Deployment, job_name
from tests.cluster.commands import BEGUN, Line
from tests.cluster.fakes import Logs, objects
from tests.cluster.kit.cluster import Cluster
from tests.patience import HANG_S

TOKEN = "admin-token"


@pytest.fixture(autouse=True)
def _no_driver_stays() -> Iterator[None]:
    yield
    while BEGUN:
        with BEGUN.pop() as process:
            process.kill()


def expect_each_point_once(line: Line, deployments: Sequence[Deployment]) -> None:
    keys = sorted(attempt.key for deployment in deployments for attempt in deployment.attempts)
    rows = line.rows()
    assert sorted((row["point_id"], row["repeat"], row["attempt"]) for row in rows) == keys
    assert {(row["status"], row["source"], row["backend"]) for row in rows} == {("ok", "measured", "gke")}


def began(cluster: Cluster, namespace: str, count: int) -> Callable[[], bool]:
    """Return whether so many pods run."""
    return lambda: count == sum(pod["status"].get("phase") == "Running" for pod in objects(cluster, namespace, "pods"))


def test_a_sweep_lands_in_its_table_and_the_same_command_has_nothing_to_do(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    line = Line(namespace, tmp_path, "run.nodes=2")
    deployments = line.deployments()
    with Logs(cluster, namespace, deployments):
        out, err = line.run()
    assert len(deployments) == 2
    expect_each_point_once(line, deployments)
    assert "measured" in out and "smoke: 4/4 (measured)" in err
    for row in line.rows():
        assert row["node"].startswith("a4x-") and row["image_digest"] == "sha256:fake" and row["gpus_held"] == 4
    _, err = line.run()
    assert "all 4 points have their row; nothing to do" in err
    assert len(objects(cluster, namespace, "jobs")) == 2
    seen = json.dumps(objects(cluster, namespace, "jobs")) + json.dumps(objects(cluster, namespace, "configmaps"))
    texts = [p.read_bytes() for p in line.folder.rglob("*") if p.is_file()]
    assert TOKEN not in seen + out + err and not any(TOKEN.encode() in text for text in texts)


def test_what_a_killed_driver_left_is_taken_over_and_measured_once(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    line = Line(namespace, tmp_path, "run.nodes=2", run="15s")
    deployments = line.deployments()
    with Logs(cluster, namespace, deployments, each_s=2):
        first = line.begin("run")
        cluster.wait("both run", began(cluster, namespace, 2))

        def seen() -> bool:
            out, _ = line.run("status", expect=3)
            assert "running: " in out and "a4x-" in out
            return out.count("measuring") == out.count(" of 2, ") == 2

        cluster.wait("both measure", seen)
        first.send_signal(signal.SIGKILL)
        first.communicate(timeout=HANG_S)
        line.run()
    expect_each_point_once(line, deployments)
    assert sorted(job["metadata"]["name"] for job in objects(cluster, namespace, "jobs")) == sorted(
        job_name(deployment.deployment_id) for deployment in deployments
    )


def test_what_ended_while_no_driver_lived_is_collected(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    line = Line(namespace, tmp_path, run="2s")
    deployments = line.deployments()
    with Logs(cluster, namespace, deployments):
        first = line.begin("run")
        cluster.wait("it runs", began(cluster, namespace, 1))
        first.send_signal(signal.SIGKILL)
        first.communicate(timeout=HANG_S)
        cluster.wait("it ends", lambda: objects(cluster, namespace, "jobs")[0]["status"].get("succeeded") == 1)
        out, _ = line.run("status", expect=3)
        assert "ended" in out and "collected by the same command" in out
        line.run()
    expect_each_point_once(line, deployments)
    assert len(objects(cluster, namespace, "pods")) == 1
    out, _ = line.run("status")
    assert "in the table" in out and "collected by" not in out


@pytest.mark.parametrize(("on_interrupt", "left"), [("keep", 2), ("delete", 0)])
def test_an_interrupt_keeps_the_jobs_or_deletes_them_as_asked(
    cluster: Cluster, namespace: str, tmp_path: Path, on_interrupt: str, left: int
) -> None:
    line = Line(namespace, tmp_path, "run.nodes=2", f"backend.on_interrupt={on_interrupt}", run="60s")
    with Logs(cluster, namespace, line.deployments(), fault=lambda number, told: None):
        process = line.begin("run")
        cluster.wait("both run", began(cluster, namespace, 2))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 130
    assert ("2 deployments go on" if left else "2 deployments were deleted") in err
    cluster.wait("what is left", lambda: len(objects(cluster, namespace, "jobs")) == left)


def test_gc_deletes_what_is_of_this_sweep_and_nothing_else(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    mine, other = (Line(namespace, tmp_path / name, run="60s") for name in ("mine", "other"))
    with Logs(cluster, namespace, [*mine.deployments(), *other.deployments()], fault=lambda number, told: None):
        for line in (mine, other):
            process = line.begin("run")
            cluster.wait("it runs", began(cluster, namespace, 1 + (line is other)))
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=HANG_S)
        out, err = mine.run("gc")
    (deleted,) = (job_name(deployment.deployment_id) for deployment in mine.deployments())
    (kept,) = (job_name(deployment.deployment_id) for deployment in other.deployments())
    assert out.split() == [deleted] and "1 Jobs of smoke" in err

    def ours(kind: str) -> set[str]:
        names = {str(made["metadata"]["name"]) for made in objects(cluster, namespace, kind)}
        return {name for name in names if name.startswith("sweep-")}

    cluster.wait("Job and ConfigMap are gone", lambda: ours("jobs") == ours("configmaps") == {kept})
    cluster.wait("its pod is gone", lambda: all(name.startswith(kept) for name in ours("pods")))


def test_what_render_writes_is_what_a_run_creates(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    line = Line(namespace, tmp_path)
    deployments = line.deployments()
    line.run("render", f"--out={tmp_path / 'out'}")
    with Logs(cluster, namespace, deployments):
        line.run()
    cfg = composition.read(line.given)
    assert cfg is not None
    (created,) = clusters.dress(cfg, line.plan().deployments)
    folder = tmp_path / "out" / job_name(deployments[0].deployment_id)
    written = [yaml.safe_load((folder / file).read_text()) for file in ("job.yaml", "configmap.yaml")]
    assert [json.loads(text) for text in created.objects] == written
    (job,) = objects(cluster, namespace, "jobs")
    assert job["metadata"]["annotations"] == written[0]["metadata"]["annotations"]
    assert {file.name for file in (folder / "files").iterdir()} == set(written[1]["data"])


def test_without_a_cluster_a_run_says_so_in_one_sentence(
    namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", os.devnull)
    _, err = Line(namespace, tmp_path).run(expect=2)
    assert "get-credentials" in err and "Traceback" not in err
