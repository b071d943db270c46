"""How a sweep on fake nodes goes on after failures, limits and changes of mind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import sweep
from sweep.backends.gke.objects import annotation
from sweep.plan import Deployment, job_name
from sweep.simulate import simulate
from tests.cluster.commands import BEGUN, Line
from tests.cluster.fakes import ROOT, Fault, Logs, objects
from tests.cluster.kit.cluster import Cluster
from tests.patience import HANG_S
from tests.standins import Linear

QUICK = ("run.retry.backoff_s=1",)


@pytest.fixture(autouse=True)
def _no_driver_stays() -> Iterator[None]:
    yield
    while BEGUN:
        with BEGUN.pop() as process:
            process.kill()


def again(deployment: Deployment, first: int) -> Deployment:
    """Return the deployment that tries again all from this attempt on."""
    tried = tuple(replace(attempt, number=2) for attempt in deployment.attempts[first:])
    return Deployment.of(deployment.sweep_id, deployment.model, tried, deployment.gpus_held)


def ended_sick(line: str) -> str:
    said: dict[str, Any] = json.loads(line.partition(" ")[2])
    return "SWEEP_RESULT " + json.dumps(said | {"report": None, "exit_code": 3, "outcome": "sick"})


def unless_sick(number: int, told: str) -> str | None:
    """The second point of the first deployment meets a sick GPU, and the pod ends."""
    if '"attempt":"1-1"' not in told or number == 0:
        return told
    return ended_sick(told) if number == 1 else None


def test_what_a_sick_node_did_not_measure_is_measured_on_another(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    line = Line(namespace, tmp_path, *QUICK, "run.quarantine.failures=1")
    (first,) = line.deployments()
    second = again(first, 1)
    with Logs(cluster, namespace, [first, second], fault=unless_sick):
        _, err = line.run()
    assert "3 measurements go on in 1 new deployments, 3 of them again after a failure" in err
    rows = sweep.load(line.folder, attempts="all", status="all").sort_values("attempt").to_dict("records")
    kinds = [(row["attempt"], row["status"], row["failure_kind"]) for row in rows]
    assert [(a, s) for a, s, _ in kinds] == [(1, "ok")] + [(1, "failed")] * 3 + [(2, "ok")] * 3
    assert sorted(kind for _, status, kind in kinds if status == "failed") == ["no_result", "not_reached", "sick_gpu"]
    (sick,) = {row["node"] for row in rows if row["failure_kind"] == "sick_gpu"}
    jobs = {job["metadata"]["name"]: job for job in objects(cluster, namespace, "jobs")}
    affinity = json.dumps(jobs[job_name(second.deployment_id)]["spec"]["template"]["spec"]["affinity"])
    assert "NotIn" in affinity and sick in affinity
    assert sick not in {row["node"] for row in rows if row["attempt"] == 2}
    out, _ = line.run("status")
    assert f"node {sick} is avoided until" in out and "1 failures (sick_gpu)" in out


def test_gpu_hours_add_up_and_a_spent_budget_begins_no_further_job(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    one_by_one = ("run.max_points_per_deployment=1", "run.max_deployments=1")
    line = Line(namespace, tmp_path, *one_by_one, "run.budget.gpu_hours=0.01", "price_per_gpu_hour=2", run="14s")
    with Logs(cluster, namespace, line.deployments()):
        out, _ = line.run(expect=3)
    rows = line.rows()
    measured = [row for row in rows if row["status"] == "ok"]
    assert len(measured) == len(objects(cluster, namespace, "jobs")) == 1
    assert measured[0]["gpu_hours"] > 0 and measured[0]["cost_usd"] == pytest.approx(2 * measured[0]["gpu_hours"])
    assert [row["failure_kind"] for row in rows if row["status"] == "skipped"] == ["budget"] * 3
    assert "skipped (budget)" in out and "run.budget.gpu_hours" in out


@pytest.fixture
def volume(cluster: Cluster, tmp_path: Path) -> Path:
    """A folder that stands for a bucket; the driver that would mount it is known."""
    driver = {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "spec": {"podInfoOnMount": True}}
    name = {"metadata": {"name": "gcsfuse.csi.storage.gke.io"}}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(driver | name))
    (tmp_path / "volume").mkdir()
    return tmp_path / "volume"


def on(volume: Path) -> tuple[str, ...]:
    return "backend.bucket=mine", f"backend.results_uri=file://{volume}", "run.nodes=2"


def predict(folder: Path) -> None:
    """Run the same sweep on predictions, into the same table."""
    command = [sys.executable, "-m", "sweep", "+experiment=smoke", f"results_dir={folder / 'results'}"]
    subprocess.run(command, check=True, capture_output=True, timeout=HANG_S)


def both_ended(cluster: Cluster, namespace: str) -> bool:
    jobs = objects(cluster, namespace, "jobs")
    return len(jobs) == 2 and all(job["status"].get("succeeded") for job in jobs)


def test_a_sweep_is_submitted_and_left_and_collected_by_the_same_command(
    cluster: Cluster, namespace: str, tmp_path: Path, volume: Path
) -> None:
    line = Line(namespace, tmp_path, *on(volume), "run.detach=true")
    deployments = line.deployments()
    with Logs(cluster, namespace, deployments):
        _, err = line.run()
        assert "2 deployments run on without us (2 new); the same command collects what they measure" in err
        assert line.rows() == []
        cluster.wait("both end", lambda: both_ended(cluster, namespace))
        _, err = line.run()
        assert "0 deployments run on" not in err
    assert sorted(row["status"] for row in line.rows()) == ["ok"] * 4
    assert len(objects(cluster, namespace, "jobs")) == 2


def test_a_sweep_whose_jobs_are_in_one_place_does_not_begin_in_another(
    cluster: Cluster, namespace: str, tmp_path: Path, volume: Path
) -> None:
    other = f"{namespace[:50]}-other"
    cluster.kubectl("create", "namespace", other)
    named = (namespace, other, "no-such-namespace")
    here, there, nowhere = (Line(place, tmp_path, *on(volume), "run.detach=true") for place in named)
    predict(tmp_path)  # what is only predicted is not collected
    with Logs(cluster, namespace, here.deployments()):
        here.run()
        cluster.wait("both end", lambda: both_ended(cluster, namespace))
        for line, words in ((there, ()), (there, ("status",)), (there, ("gc",)), (nowhere, ()), (nowhere, ("gc",))):
            _, err = line.run(*words, expect=2)
            assert f"namespace {namespace} of kubectl context" in err and f"backend.namespace={namespace}" in err
        assert len(objects(cluster, namespace, "jobs")) == 2
        here.run()
    assert [row["status"] for row in here.rows() if row["source"] == "measured"] == ["ok"] * 4
    there.given += ["concurrency=2"]  # what has ended and is in the table holds nobody
    there.run()
    assert len(objects(cluster, other, "jobs")) > 0
    cluster.kubectl("delete", "namespace", other, "--wait=false")


def test_what_lies_on_the_volume_is_collected_when_its_jobs_are_kept_no_longer(
    cluster: Cluster, namespace: str, tmp_path: Path, volume: Path
) -> None:
    line = Line(namespace, tmp_path, *on(volume), "run.detach=true")
    predict(tmp_path)
    deployments = line.deployments()
    with Logs(cluster, namespace, deployments):
        line.run()
        cluster.wait("both end", lambda: both_ended(cluster, namespace))
    publish_all(volume, deployments)
    cluster.kubectl("delete", "jobs", "--all", "-n", namespace)
    status, _ = line.run("status", expect=3)
    assert "its results lie on the volume" in status and "collected by the same command" in status
    line.run()
    rows = [row for row in line.rows() if row["source"] == "measured"]
    assert sorted(row["status"] for row in rows) == ["ok"] * 4
    assert {row["deployment_id"] for row in rows} == {each.deployment_id for each in deployments}
    assert objects(cluster, namespace, "jobs") == []


def test_a_sweep_that_is_extended_spreads_over_all_its_nodes_while_its_ended_jobs_are_kept(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    line = Line(namespace, tmp_path, "run.nodes=2")
    with Logs(cluster, namespace, line.deployments()):
        line.run()
        before = objects(cluster, namespace, "jobs")
        extended = ("run.nodes=2", "matrix.grid.concurrency=[1,16,32,64]", "run.retry.attempts=1")
        Line(namespace, tmp_path, *extended).run(expect=3)  # nobody tells what the new pods measured
    made = [annotation(job, "attempts").split() for job in objects(cluster, namespace, "jobs")]
    first = [words for words in made if all(word.endswith(":1-1") for word in words)]
    assert len(before) == 2 and len(first) == 4


def publish_all(volume: Path, deployments: list[Deployment]) -> None:
    """Put on the volume what pods would."""
    for deployment in deployments:
        for attempt in deployment.attempts:
            folder = volume / "of-a-pod" / attempt.point_id
            folder.mkdir(parents=True)
            (folder / "report.json").write_text(json.dumps(simulate(attempt.point, deployment.model, Linear())))
            (folder / "began").write_text(str(time.time() - 60))
            (folder / "log.txt").write_text("the end of its log\n")
            environ = os.environ | {"SWEEP_DEPLOYMENT_ID": deployment.deployment_id}
            command = [sys.executable, str(ROOT / "launchers" / "publish.py"), "attempt", str(folder)]
            command += ["--point", attempt.point_id, "--attempt", f"{attempt.repeat}-{attempt.number}"]
            command += ["--exit-code", "0", "--outcome", "ended", "--into", str(volume / deployment.sweep_id)]
            path = os.pathsep.join((str(ROOT / "launchers"), str(ROOT / "sweep")))
            subprocess.run(command, env=environ | {"PYTHONPATH": path}, check=True, timeout=HANG_S, capture_output=True)


PAST = "run.deadline=2026-01-01T00:00:00+00:00"


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=HANG_S)


def killed_once(cluster: Cluster, line: Line, what: str, holds: Callable[[], bool]) -> None:
    """Begin a run, and kill its driver once something holds."""
    process = line.begin("run")
    cluster.wait(what, holds)
    kill(process)


def measures(line: Line) -> bool:
    return "published" in line.run("status", expect=3)[0]


def succeeded(cluster: Cluster, namespace: str, count: int) -> bool:
    return count == sum(bool(job["status"].get("succeeded")) for job in objects(cluster, namespace, "jobs"))


def has_begun(cluster: Cluster, namespace: str) -> bool:
    return any(pod["status"].get("phase") == "Running" for pod in objects(cluster, namespace, "pods"))


def test_what_has_ended_is_collected_though_its_deadline_is_over(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    line = Line(namespace, tmp_path, run="4s")
    with Logs(cluster, namespace, line.deployments()):
        killed_once(cluster, line, "it runs", lambda: has_begun(cluster, namespace))
        cluster.wait("it ends", lambda: succeeded(cluster, namespace, 1))
        Line(namespace, tmp_path, PAST, run="4s").run()
    assert [row["status"] for row in line.rows()] == ["ok"] * 4


def test_a_job_that_is_over_its_deadline_when_it_is_taken_over_ends_after_what_it_has_told(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    line, late = (Line(namespace, tmp_path, *more, run="200s") for more in ((), (PAST,)))
    with Logs(cluster, namespace, line.deployments(), each_s=5):
        killed_once(cluster, line, "one point is published", lambda: "1 published" in line.run("status", expect=3)[0])
        late.run(expect=3)
    rows = line.rows()
    measured = [row for row in rows if row["status"] == "ok"]
    assert 1 <= len(measured) < 4 and len(rows) == 4
    assert {row["failure_kind"] for row in rows if row["status"] != "ok"} == {"deadline"}
    cluster.wait("its Job is gone", lambda: objects(cluster, namespace, "jobs") == [])


def test_what_a_narrowed_sweep_wants_no_more_is_told_to_the_pod(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    line = Line(namespace, tmp_path, run="60s")
    (deployment,) = line.deployments()
    narrow = Line(namespace, tmp_path, "kv_cache_dtype=fp8", run="60s")
    wanted = {a.point_id for a in deployment.attempts if a.point.kv_cache_dtype == "fp8"}
    unwanted = {a.point_id for a in deployment.attempts} - wanted

    def is_told() -> bool:
        made = {m["metadata"]["name"]: m for m in objects(cluster, namespace, "configmaps")}
        files = made.get(job_name(deployment.deployment_id), {"data": {}})
        return any(point_id in files["data"].get("stop.txt", "") for point_id in unwanted)

    with Logs(cluster, namespace, [deployment], each_s=6):
        killed_once(cluster, line, "it measures", lambda: measures(line))
        process = narrow.begin("run")
        cluster.wait("its pod is told", is_told)
        _, err = narrow.run("gc", expect=2)  # the driver would make it again
        assert "is being written by pid" in err
        _, err = process.communicate(timeout=HANG_S)
        assert process.returncode == 0, err
    rows = {row["point_id"]: row["status"] for row in narrow.rows()}
    assert wanted <= set(rows) and set(rows.values()) == {"ok"}


def test_what_was_measured_before_the_sweep_was_narrowed_is_not_lost(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    line, narrow = (Line(namespace, tmp_path, *more, run="4s") for more in ((), ("kv_cache_dtype=auto",)))
    with Logs(cluster, namespace, line.deployments()):
        killed_once(cluster, line, "it runs", lambda: has_begun(cluster, namespace))
        cluster.wait("it ends", lambda: succeeded(cluster, namespace, 1))
        narrow.run()
        assert [row["status"] for row in line.rows()] == ["ok"] * 4
        _, err = line.run()
    assert "nothing to do" in err
    assert len(objects(cluster, namespace, "jobs")) == 1


def test_a_job_that_nobody_wants_any_more_is_deleted(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    one, other = (
        Line(namespace, tmp_path, f"matrix.grid.concurrency=[{c}]", run=run) for c, run in ((1, "600s"), (16, "1s"))
    )
    former = one.deployments()
    with Logs(cluster, namespace, [*former, *other.deployments()], fault=unless_of(former)):
        killed_once(cluster, one, "it runs", lambda: has_begun(cluster, namespace))
        other.run()
    assert [row["concurrency"] for row in other.rows()] == [16, 16]
    (job,) = objects(cluster, namespace, "jobs")
    assert job["metadata"]["name"] != job_name(former[0].deployment_id)


def unless_of(deployments: list[Deployment]) -> Fault:
    """These tell nothing."""
    points = {attempt.point_id for deployment in deployments for attempt in deployment.attempts}
    return lambda _, told: None if any(point in told for point in points) else told


def test_what_was_begun_to_be_measured_again_is_collected_by_a_command_that_does_not_say_so(
    cluster: Cluster, namespace: str, tmp_path: Path, volume: Path
) -> None:
    line = Line(namespace, tmp_path, *on(volume))
    first = line.deployments()
    second = [again(deployment, 0) for deployment in first]
    with Logs(cluster, namespace, [*first, *second]):
        line.run()
        Line(namespace, tmp_path, *on(volume), "run.redo=all", "run.detach=true").run()
        line.run()
    rows = sweep.load(line.folder, attempts="all", status="all")
    assert sorted(zip(rows["attempt"], rows["status"], strict=True)) == [(1, "ok")] * 4 + [(2, "ok")] * 4
    assert len(objects(cluster, namespace, "jobs")) == 4


def test_a_pod_that_takes_the_place_of_another_is_told_what_was_measured(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    line = Line(namespace, tmp_path, run="60s")
    (deployment,) = line.deployments()
    name = job_name(deployment.deployment_id)

    def suspend(whether: bool) -> None:
        cluster.kubectl("patch", "job", name, "-n", namespace, "-p", json.dumps({"spec": {"suspend": whether}}))

    def is_told() -> bool:
        (files,) = [m for m in objects(cluster, namespace, "configmaps") if m["metadata"]["name"] == name]
        return f"{deployment.attempts[0].point_id} 1-1" in files["data"].get("stop.txt", "")

    with Logs(cluster, namespace, [deployment], fault=lambda number, told: told if number == 0 else None):
        process = line.begin("run")
        cluster.wait("the first is measured", lambda: line.folder.is_dir() and len(line.rows()) == 1)
        suspend(True)
        cluster.wait("its pod is gone", lambda: objects(cluster, namespace, "pods") == [])
        suspend(False)
        cluster.wait("the next pod is told", is_told)
        kill(process)


def test_gc_of_an_owner_deletes_all_of_that_person_and_nothing_else(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    lines = {who: Line(namespace, tmp_path / who, f"backend.owner={who}", run="60s") for who in ("ann", "bob")}
    deployments = {who: line.deployments()[0] for who, line in lines.items()}
    with Logs(cluster, namespace, list(deployments.values()), fault=lambda number, told: None):
        for count, line in enumerate(lines.values(), start=1):
            process = line.begin("run")

            def running(count: int = count) -> bool:
                return count == sum(p["status"].get("phase") == "Running" for p in objects(cluster, namespace, "pods"))

            cluster.wait("it runs", running)
            kill(process)
        out, err = Line(namespace, tmp_path / "nobody").run("gc", "--owner", "ann")
    assert out.split() == [job_name(deployments["ann"].deployment_id)] and "1 Jobs of owner ann deleted" in err
    left = {job["metadata"]["name"] for job in objects(cluster, namespace, "jobs")}
    assert left == {job_name(deployments["bob"].deployment_id)}
