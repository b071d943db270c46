"""Jobs that wait in a queue: on Kueue itself."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import yaml

from sweep import composition, doctor
from sweep.backends import Ended, Event, PointDone, Released, Stage, Started, Waiting
from sweep.cluster import nodes_by_quota
from sweep.config import GkeBackend
from tests.cluster.fakes import Logs, objects
from tests.cluster.following import follow, of, planned, with_objects
from tests.cluster.kit.cluster import Cluster

pytestmark = pytest.mark.usefixtures("kueue")
KUEUE = "kueue.x-k8s.io/v1beta2"

Queue = Callable[..., str]


@pytest.fixture
def queue(cluster: Cluster, namespace: str) -> Queue:
    """Make a LocalQueue with a quota of so many GPUs, for this test alone."""

    def make(gpus: int) -> str:
        flavor = {"name": "a4x", "resources": [{"name": "nvidia.com/gpu", "nominalQuota": gpus}]}
        made = [
            {
                "kind": "ResourceFlavor",
                "metadata": {"name": "a4x"},
                "spec": {"nodeLabels": {"cloud.google.com/gke-accelerator": "nvidia-gb200"}},
            },
            {
                "kind": "ClusterQueue",
                "metadata": {"name": namespace},
                "spec": {
                    "namespaceSelector": {},
                    "preemption": {"withinClusterQueue": "LowerPriority"},
                    "resourceGroups": [{"coveredResources": ["nvidia.com/gpu"], "flavors": [flavor]}],
                },
            },
            {
                "kind": "LocalQueue",
                "metadata": {"name": "a4x", "namespace": namespace},
                "spec": {"clusterQueue": namespace},
            },
            {"kind": "WorkloadPriorityClass", "metadata": {"name": "very-high"}, "value": 1000},
        ]
        text = yaml.safe_dump_all({"apiVersion": KUEUE, **thing} for thing in made)
        cluster.kubectl("apply", "-f", "-", stdin=text)
        return "a4x"

    return make


def test_jobs_beyond_the_quota_wait_and_say_why(cluster: Cluster, namespace: str, queue: Queue) -> None:
    deployments, config = with_objects(planned(3, nodes=3), namespace, queue=queue(4))
    with Logs(cluster, namespace, deployments):
        told = follow(deployments, config)
    assert all(events[-1] == Ended() and of(PointDone, events) for events in told)
    waited = [event.message for events in told for event in of(Waiting, events) if event.stage is Stage.QUEUED]
    assert any("insufficient unused quota" in message for message in waited)


def test_a_job_beyond_any_quota_says_so_and_is_kept(cluster: Cluster, namespace: str, queue: Queue) -> None:
    deployments, config = with_objects(planned(1), namespace, queue=queue(2))

    def said(event: Event) -> bool:
        return isinstance(event, Waiting) and "insufficient quota" in event.message

    (events,) = follow(deployments, config, until=said)
    assert events[-1].stage is Stage.QUEUED
    assert len(objects(cluster, namespace, "jobs")) == 1


def test_a_preempted_job_goes_back_to_the_queue_and_measures_once(
    cluster: Cluster, namespace: str, queue: Queue
) -> None:
    name = queue(4)
    deployments, config = with_objects(planned(2), namespace, run="8s", queue=name)
    above, _ = with_objects(planned(1, sweep_id="22222222"), namespace, queue=name, queuePriorityClass="very-high")

    def preempt() -> None:
        for text in above[0].objects:
            cluster.kubectl("create", "-n", namespace, "-f", "-", stdin=text)

    with Logs(cluster, namespace, [*deployments, *above], each_s=1.5):  # the second point comes after the eviction
        (events,) = follow(deployments, config, at_first_point=preempt)
    assert [event.key for event in of(PointDone, events)] == [attempt.key for attempt in deployments[0].attempts]
    assert events[-1] == Ended()
    assert any("evicted" in event.message and "reempt" in event.message for event in of(Waiting, events))
    held = [type(event) for event in events if isinstance(event, (Started, Released))]
    assert held[:3] == [Started, Released, Started]
    assert of(PointDone, events)[-1].environment["evictions"] == 1


def test_a_priority_class_that_does_not_exist_ends_in_a_clear_message(
    cluster: Cluster, namespace: str, queue: Queue
) -> None:
    """Kueue makes no Workload for such a Job, and tells nobody."""
    deployments, config = with_objects(
        planned(1), namespace, queue=queue(4), queuePriorityClass="no-such-class", pending_timeout_s=2
    )
    (events,) = follow(deployments, config)
    (ended,) = of(Ended, events)
    assert "WorkloadPriorityClass" in ended.message
    assert not objects(cluster, namespace, "jobs")


def test_a_job_that_kueue_ends_for_good_is_told_as_a_time_out(cluster: Cluster, namespace: str, queue: Queue) -> None:
    """Beyond max-exec-time a Job stays suspended for ever, and never fails."""
    deployments, config = with_objects(planned(1), namespace, run="60s", queue=queue(4), maxExecTimeSeconds=2)
    with Logs(cluster, namespace, deployments, fault=lambda number, line: None):
        (events,) = follow(deployments, config)
    assert isinstance(events[-1], Ended)
    assert "MaximumExecutionTimeExceeded" in json.dumps([str(event) for event in events])
    assert not of(PointDone, events)


def test_a_queue_that_is_stopped_is_waited_for(cluster: Cluster, namespace: str, queue: Queue) -> None:
    deployments, config = with_objects(planned(1), namespace, queue=queue(4))
    stop = ("patch", "clusterqueue", namespace, "--type=merge", "-p")
    cluster.kubectl(*stop, '{"spec": {"stopPolicy": "Hold"}}')

    def go_on() -> None:
        cluster.wait("its Workload", lambda: objects(cluster, namespace, "workloads"))
        cluster.kubectl(*stop, '{"spec": {"stopPolicy": "None"}}')

    with Logs(cluster, namespace, deployments):
        (events,) = follow(deployments, config, at_once=go_on)
    assert events[-1] == Ended() and len(of(PointDone, events)) == 1


# ------------------------------------------------------------------------------------------------------ before a run


def test_the_queue_and_its_quota_are_looked_at_before_a_run(cluster: Cluster, namespace: str, queue: Queue) -> None:
    def judged(**values: object) -> list[tuple[str, str, str]]:
        deployments, config = with_objects(planned(1), namespace, **values)
        found = doctor.examine(GkeBackend(**config), deployments[0].objects[0])
        return [(f.name, f.level, f.message) for f in found if f.name in ("queue", "quota", "priority")]

    name = queue(4)
    assert [(about, level) for about, level, _ in judged(queue=name)] == [("queue", "ok"), ("quota", "ok")]
    (other,) = judged(queue="a5x")
    assert other[:2] == ("queue", "error") and "there are a4x" in other[2]
    (past,) = judged()
    assert past[:2] == ("queue", "warning")
    assert ("priority", "error") in [found[:2] for found in judged(queue=name, queuePriorityClass="no-such-class")]
    cluster.kubectl("delete", "localqueue", name, "-n", namespace)
    queue(2)
    _, quota = judged(queue=name)
    assert quota[:2] == ("quota", "error") and "would wait for ever" in quota[2]


def test_without_run_nodes_a_sweep_spreads_over_the_quota(
    cluster: Cluster, namespace: str, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spread(*given: str) -> int | None:
        said = ["+experiment=smoke", "backend=gke", f"backend.namespace={namespace}", *given]
        cfg = composition.read(said)
        assert cfg is not None
        return nodes_by_quota(cfg)

    name = f"backend.queue={queue(15)}"
    assert spread(name) == 3
    assert spread(name, "run.nodes=2") is None and spread() is None and spread("backend.queue=other") is None
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig("nobody")))
    assert spread(name) is None  # may not see it
