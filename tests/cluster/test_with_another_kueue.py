"""What needs Kueue down or configured otherwise: there is one for all tests, so these restart it, and run last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweep import doctor
from sweep.backends import Ended, PointDone, Released, Started, Waiting
from sweep.backends.gke.readiness import Finding, Level
from sweep.config import GkeBackend
from tests.cluster.commands import Line
from tests.cluster.fakes import Logs, objects
from tests.cluster.following import follow, of, planned, with_objects
from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.kueue import Kueue
from tests.cluster.queues import Queues, condition

# ------------------------------------------------------------------------------------------------------ Kueue is down


@pytest.fixture
def stopped(kueue: Kueue) -> Iterator[Kueue]:
    """Kueue, which the test may stop; it runs again afterwards."""
    yield kueue
    kueue.stop()
    kueue.start()


def trial(namespace: str, **values: Any) -> Finding:
    """Return what a Job that is only tried says."""
    deployments, config = with_objects(planned(1), namespace, **values)
    (found,) = [f for f in doctor.examine(GkeBackend(**config), deployments[0].objects[0]) if f.name == "job"]
    return found


def test_a_job_waits_to_be_made_until_kueue_is_back(
    cluster: Cluster, namespace: str, queues: Queues, stopped: Kueue
) -> None:
    name = queues.make(4)
    assert trial(namespace, queue=name).level is Level.OK
    stopped.stop()
    found = trial(namespace, queue=name)
    assert found.level is Level.WARNING and "failed calling webhook" in found.message
    deployments, config = with_objects(planned(1), namespace, queue=name)
    with Logs(cluster, namespace, deployments):
        (events,) = follow(deployments, config, at_once=stopped.start)
    assert "does not take it yet" in events[0].message and "failed calling webhook" in events[0].message
    assert events[-1] == Ended() and len(of(PointDone, events)) == 1
    assert len(objects(cluster, namespace, "jobs")) == 1


def test_points_are_told_while_kueue_is_down(cluster: Cluster, namespace: str, queues: Queues, stopped: Kueue) -> None:
    """Its Job is not Complete before Kueue is back: the finalizer of the pod goes through a webhook."""
    deployments, config = with_objects(planned(2, nodes=2), namespace, run="3s", queue=queues.make(4))

    def away() -> None:
        stopped.stop()
        cluster.wait("the pod has ended", lambda: _phases(cluster, namespace) == ["Succeeded"])
        stopped.start()

    with Logs(cluster, namespace, deployments):
        told = follow(deployments, config, at_first_point=away)
    assert all(events[-1] == Ended() and len(of(PointDone, events)) == 1 for events in told)


def test_what_still_ends_is_told_when_it_is_deleted(
    cluster: Cluster, namespace: str, queues: Queues, stopped: Kueue, tmp_path: Path
) -> None:
    line = Line(namespace, tmp_path, f"backend.queue={queues.make(4)}", run="600s")
    process = line.begin("run")
    cluster.wait("its pod runs", lambda: _phases(cluster, namespace) == ["Running"])
    stopped.stop()
    process.terminate()
    process.communicate()
    _, first = line.run("gc")
    assert "1 Jobs of smoke" in first and "still terminating, on their nodes until then: sweep-" in first
    _, second = line.run("gc")
    assert "0 Jobs of smoke" in second and "still terminating" in second
    stopped.start()
    cluster.wait("all is gone", lambda: not objects(cluster, namespace, "pods") and not queues.workloads())
    assert "still terminating" not in line.run("gc")[1]


def _phases(cluster: Cluster, namespace: str) -> list[str]:
    return [pod["status"].get("phase", "") for pod in objects(cluster, namespace, "pods")]


# ------------------------------------------------------------------------------------- Kueue waits for pods to be ready


@pytest.fixture(scope="module")
def impatient(kueue: Kueue) -> Iterator[None]:
    """Kueue takes a Job's quota back where its pod is not ready soon, and gives it up the third time."""
    again = {"timestamp": "Eviction", "backoffBaseSeconds": 1, "backoffLimitCount": 2}
    with kueue.configured(waitForPodsReady={"timeout": "4s", "requeuingStrategy": again}):
        yield


@pytest.mark.usefixtures("impatient")
def test_a_pod_that_is_ready_late_is_begun_anew(cluster: Cluster, namespace: str, queues: Queues) -> None:
    """There is no node for it at first."""
    labels = {"fake.test/pool": namespace}
    queue = queues.make(4, node_labels={})
    deployments, config = with_objects(planned(1), namespace, queue=queue, nodeSelector=labels)

    def provide() -> None:
        cluster.wait("it was evicted", lambda: any(condition(w, "Evicted") for w in queues.workloads()))
        cluster.kubectl("label", "node", "a4x-0000", f"fake.test/pool={namespace}")

    with Logs(cluster, namespace, deployments):
        (events,) = follow(deployments, config, at_once=provide)
    assert events[-1] == Ended() and len(of(PointDone, events)) == 1
    assert any("PodsReadyTimeout" in event.message for event in of(Waiting, events))
    assert any("tried" in event.message and "again at" in event.message for event in of(Waiting, events))
    assert isinstance(next(event for event in events if isinstance(event, (Started, Released))), Started)


@pytest.mark.usefixtures("impatient")
def test_a_job_that_is_given_up_for_good_ends(cluster: Cluster, namespace: str, queues: Queues) -> None:
    notes = {"fake.test/start": "600s"}
    deployments, config = with_objects(planned(2), namespace, queue=queues.make(4), podAnnotations=notes)
    (events,) = follow(deployments, config)
    (ended,) = of(Ended, events)
    assert (ended.kind, ended.ends_all) == ("evicted", True)
    assert "DeactivatedDueToRequeuingLimitExceeded" in ended.message
    assert objects(cluster, namespace, "jobs") == []


# ------------------------------------------------------------------------------------ Kueue manages some namespaces


@pytest.fixture(scope="module")
def choosy(kueue: Kueue) -> Iterator[None]:
    """Kueue manages only namespaces with a label."""
    with kueue.configured(managedJobsNamespaceSelector={"matchLabels": {"kueue": "managed"}}):
        yield


@pytest.mark.usefixtures("choosy")
def test_a_namespace_that_kueue_does_not_manage_is_told_and_not_tried_again(
    cluster: Cluster, namespace: str, queues: Queues, tmp_path: Path
) -> None:
    given = (f"backend.queue={queues.make(4)}", "backend.pending_timeout_s=2", "run.nodes=1")
    line = Line(namespace, tmp_path, *given)
    line.run("run", expect=3)
    rows = line.rows()
    assert len(rows) == 4 and {row["failure_kind"] for row in rows} == {"backend_error"}, rows
    assert "its namespace is not one that Kueue manages" in rows[0]["failure_message"]
    assert objects(cluster, namespace, "jobs") == []
    cluster.kubectl("label", "namespace", namespace, "kueue=managed")
    deployments, config = with_objects(planned(1), namespace, queue="a4x")
    with Logs(cluster, namespace, deployments):
        (events,) = follow(deployments, config)
    assert events[-1] == Ended() and not any("has not taken notice" in event.message for event in of(Waiting, events))
