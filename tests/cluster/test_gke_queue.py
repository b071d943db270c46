"""Jobs that wait in a queue of Kueue."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sweep import composition, doctor
from sweep.backends import Ended, Event, PointDone, Released, Stage, Started, Waiting
from sweep.backends.gke.readiness import Finding, Level
from sweep.cluster import nodes_by_quota
from sweep.config import GkeBackend
from sweep.plan import Deployment
from tests.cluster.commands import Line
from tests.cluster.fakes import Logs, objects
from tests.cluster.following import follow, of, planned, with_objects
from tests.cluster.kit.cluster import Cluster
from tests.cluster.queues import LEVELS, Queues, condition
from tests.patience import HANG_S

EXAMPLES = Path(__file__).parents[2] / "charts" / "trtllm-bench" / "examples"


BLOCK = {"kueue.x-k8s.io/podset-required-topology": LEVELS[0]}


def examined(config: dict[str, Any], deployments: Sequence[Deployment]) -> list[Finding]:
    return doctor.examine(GkeBackend(**config), deployments[0].objects[0])


def test_jobs_beyond_the_quota_wait_and_say_why(cluster: Cluster, namespace: str, queues: Queues) -> None:
    deployments, config = with_objects(planned(3, nodes=3), namespace, queue=queues.make(4))
    with Logs(cluster, namespace, deployments):
        told = follow(deployments, config)
    assert all(events[-1] == Ended() and of(PointDone, events) for events in told)
    waited = [event.message for events in told for event in of(Waiting, events) if event.stage is Stage.QUEUED]
    assert any("insufficient unused quota" in message for message in waited)


def test_a_job_beyond_any_quota_says_so_and_is_kept(cluster: Cluster, namespace: str, queues: Queues) -> None:
    deployments, config = with_objects(planned(1), namespace, queue=queues.make(2))

    def said(event: Event) -> bool:
        return isinstance(event, Waiting) and "insufficient quota" in event.message

    (events,) = follow(deployments, config, until=said)
    assert events[-1].stage is Stage.QUEUED
    assert len(objects(cluster, namespace, "jobs")) == 1


def test_a_preempted_job_goes_back_to_the_queue_and_measures_once(
    cluster: Cluster, namespace: str, queues: Queues
) -> None:
    name = queues.make(4)
    deployments, config = with_objects(planned(2), namespace, run="8s", queue=name)
    above, _ = with_objects(
        planned(1, sweep_id="22222222"), namespace, queue=name, queuePriorityClass=queues.priority()
    )

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
    cluster: Cluster, namespace: str, queues: Queues
) -> None:
    """Kueue makes no Workload for such a Job, and tells nobody."""
    deployments, config = with_objects(
        planned(1), namespace, queue=queues.make(4), queuePriorityClass="no-such-class", pending_timeout_s=2
    )
    (events,) = follow(deployments, config)
    (ended,) = of(Ended, events)
    assert "WorkloadPriorityClass" in ended.message and ended.kind == "backend_error"
    assert not any("has not taken notice" in event.message for event in of(Waiting, events))  # too soon to say
    assert not objects(cluster, namespace, "jobs")


def test_a_job_that_kueue_ends_for_good_is_told_as_a_time_out(cluster: Cluster, namespace: str, queues: Queues) -> None:
    """Beyond max-exec-time a Job stays suspended for ever, and never fails."""
    deployments, config = with_objects(planned(1), namespace, run="60s", queue=queues.make(4), maxExecTimeSeconds=2)
    with Logs(cluster, namespace, deployments, fault=lambda number, line: None):
        (events,) = follow(deployments, config)
    assert isinstance(events[-1], Ended)
    assert "MaximumExecutionTimeExceeded" in json.dumps([str(event) for event in events])
    assert not of(PointDone, events)


@pytest.mark.parametrize("kind", ["clusterqueue", "localqueue"])
def test_a_queue_that_is_stopped_is_waited_for(kind: str, cluster: Cluster, namespace: str, queues: Queues) -> None:
    name = queues.make(4)
    deployments, config = with_objects(planned(1), namespace, queue=name)
    stopped = name if kind == "localqueue" else None
    queues.patch(kind, {"stopPolicy": "Hold"}, stopped)
    (judged,) = [found for found in examined(config, deployments) if found.level is Level.WARNING]
    assert "is stopped (Hold): Jobs wait until it goes on" in judged.message

    def go_on() -> None:
        cluster.wait("its Workload", lambda: queues.workloads())
        queues.patch(kind, {"stopPolicy": "None"}, stopped)

    with Logs(cluster, namespace, deployments):
        (events,) = follow(deployments, config, at_once=go_on)
    assert events[-1] == Ended() and len(of(PointDone, events)) == 1


@pytest.mark.parametrize("kind", ["clusterqueue", "localqueue"])
def test_a_queue_that_is_drained_measures_the_rest_once_it_goes_on(
    kind: str, cluster: Cluster, namespace: str, queues: Queues
) -> None:
    name = queues.make(4)
    deployments, config = with_objects(planned(2), namespace, run="20s", queue=name)
    stopped = name if kind == "localqueue" else None

    def drain() -> None:
        queues.patch(kind, {"stopPolicy": "HoldAndDrain"}, stopped)
        cluster.wait("its pod is gone", lambda: not objects(cluster, namespace, "pods"))
        queues.patch(kind, {"stopPolicy": "None"}, stopped)

    with Logs(cluster, namespace, deployments, each_s=3.0):
        (events,) = follow(deployments, config, at_first_point=drain)
    assert [event.key for event in of(PointDone, events)] == [attempt.key for attempt in deployments[0].attempts]
    held = [type(event) for event in events if isinstance(event, (Started, Released))]
    assert events[-1] == Ended() and held[:3] == [Started, Released, Started]
    assert any("QueueStopped" in event.message for event in of(Waiting, events))
    assert of(PointDone, events)[-1].environment["evictions"] == 1


def test_what_a_person_deactivated_tells_the_command_that_undoes_it(
    cluster: Cluster, namespace: str, queues: Queues
) -> None:
    """Also of a Job that never ran, which is no eviction."""
    deployments, config = with_objects(planned(2, nodes=2), namespace, run="16s", queue=queues.make(4))
    commands: list[str] = []

    def deactivate() -> None:
        cluster.wait("both Workloads", lambda: len(queues.workloads()) == 2)
        for workload in queues.workloads():
            queues.patch("workload", {"active": False}, workload["metadata"]["name"])

    def undo(event: Event) -> bool:
        if isinstance(event, Waiting) and "deactivated by a person" in event.message:
            command = event.message.partition("this resumes it: ")[2]
            if command not in commands:
                commands.append(command)
                cluster.kubectl(*shlex.split(command)[1:])
        return False

    with Logs(cluster, namespace, deployments, each_s=4.0):
        told = follow(deployments, config, until=undo, at_first_point=deactivate)
    assert len(commands) == 2
    assert all(events[-1] == Ended() and len(of(PointDone, events)) == 1 for events in told)
    counted = [done.environment["evictions"] for events in told for done in of(PointDone, events)]
    assert sorted(counted) == [0, 1]


def test_a_driver_that_is_killed_takes_over_what_runs_and_what_waits(
    cluster: Cluster, namespace: str, queues: Queues, tmp_path: Path
) -> None:
    line = Line(namespace, tmp_path, f"backend.queue={queues.make(4)}", "run.nodes=2", run="4s")
    with Logs(cluster, namespace, line.deployments()):
        process = line.begin("run")
        cluster.wait("one runs, one waits", lambda: admitted(queues) == [False, True])
        process.kill()
        process.communicate()
        line.run("run")
        jobs = {job["metadata"]["uid"] for job in objects(cluster, namespace, "jobs")}
        assert "nothing to do" in line.run("run")[1]
    assert [(row["status"], row["attempt"]) for row in line.rows()] == [("ok", 1)] * 4
    assert len(jobs) == 2


def test_a_preempted_job_is_charged_for_its_stays_on_nodes_only(
    cluster: Cluster, namespace: str, queues: Queues, tmp_path: Path
) -> None:
    name, stay_s = queues.make(4), 15
    line = Line(namespace, tmp_path, f"backend.queue={name}", "run.nodes=1", run="20s")
    higher = {"queue": name, "queuePriorityClass": queues.priority()}
    above, _ = with_objects(planned(1, sweep_id="22222222"), namespace, run=f"{stay_s}s", **higher)
    ours = line.deployments()
    with Logs(cluster, namespace, [*ours, *above], each_s=2.0):
        began = time.monotonic()
        process = line.begin("run")
        cluster.wait("it runs", lambda: "Running" in phases(cluster, namespace))
        for text in above[0].objects:
            cluster.kubectl("create", "-n", namespace, "-f", "-", stdin=text)
        process.communicate(timeout=HANG_S)
        took_s = time.monotonic() - began
    rows = line.rows()
    assert [row["status"] for row in rows] == ["ok"] * 4 and max(row["evictions"] for row in rows) == 1
    held_s = sum(row["gpu_hours"] for row in rows) * 3600 / 4
    assert 0 < held_s < took_s - stay_s + 1


def phases(cluster: Cluster, namespace: str) -> list[str]:
    return [pod["status"].get("phase", "") for pod in objects(cluster, namespace, "pods")]


def admitted(queues: Queues) -> list[bool]:
    return sorted(condition(workload, "Admitted").get("status") == "True" for workload in queues.workloads())


def test_a_person_with_the_role_alone_runs_a_sweep_in_a_queue(
    cluster: Cluster, namespace: str, queues: Queues, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(namespace, tmp_path, f"backend.queue={queues.make(4)}", "run.nodes=2")
    cluster.kubectl("apply", "-n", namespace, "-f", str(EXAMPLES / "role.yaml"))
    cluster.kubectl("create", "rolebinding", "sweep", "-n", namespace, "--role=sweep", "--user=nobody")
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig("nobody")))
    with Logs(cluster, namespace, line.deployments()):
        line.run("run")
    assert [row["status"] for row in line.rows()] == ["ok"] * 4
    assert "2 Jobs of smoke" in line.run("gc")[1]


# ------------------------------------------------------------------------------------------ Dynamic Workload Scheduler


@pytest.fixture
def dws(cluster: Cluster, queues: Queues) -> str:
    """A queue whose nodes are asked for first, as DWS does; a request that fails twice is rejected."""
    check, retries = queues.namespace, {"backoffBaseSeconds": 1, "backoffLimitCount": 1}
    request = {"provisioningClassName": "queued-provisioning.gke.io", "managedResources": ["nvidia.com/gpu"]}
    queues.apply("ProvisioningRequestConfig", request | {"retryStrategy": retries})
    parameters = {"apiGroup": "kueue.x-k8s.io", "kind": "ProvisioningRequestConfig", "name": check}
    queues.apply("AdmissionCheck", {"controllerName": "kueue.x-k8s.io/provisioning-request", "parameters": parameters})
    name = queues.make(4, admissionChecksStrategy={"admissionChecks": [{"name": check}]})
    cluster.wait("the check works", queues.is_active)
    return name


class Autoscaler:
    """Answers ProvisioningRequests of a namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster, self._namespace = cluster, namespace
        self.answered: list[str] = []
        self.seen: list[dict[str, Any]] = []

    def answer(self, *conditions: tuple[str, str]) -> None:
        """Wait for a request that was not answered yet, and give it conditions with a message each."""
        self._cluster.wait("a ProvisioningRequest", self._next)
        name = self.seen[-1]["metadata"]["name"]
        self.answered.append(name)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        said = [
            {"type": kind, "status": "True", "reason": kind, "message": message, "lastTransitionTime": now}
            for kind, message in conditions
        ]
        patch = json.dumps({"status": {"conditions": said}})
        named = ("provisioningrequest", name, "-n", self._namespace)
        self._cluster.kubectl("patch", *named, "--subresource=status", "--type=merge", "-p", patch)

    def _next(self) -> bool:
        found = objects(self._cluster, self._namespace, "provisioningrequests")
        new = [dict(request) for request in found if request["metadata"]["name"] not in self.answered]
        self.seen += new[:1]
        return bool(new)


def test_nodes_that_are_asked_for_first_are_waited_for(
    cluster: Cluster, namespace: str, queues: Queues, dws: str
) -> None:
    given = {"queue": dws, "dws": {"maxRunDurationSeconds": 3600}}
    deployments, config = with_objects(planned(1), namespace, **given)
    autoscaler = Autoscaler(cluster, namespace)
    told: list[str] = []

    def grant() -> None:
        cluster.wait("that it waits for its check is told", lambda: any("admission check" in each for each in told))
        autoscaler.answer(("Accepted", "in the queue"), ("Provisioned", "there they are"))

    def note(event: Event) -> bool:
        told.extend([event.message] if isinstance(event, Waiting) else [])
        return False

    with Logs(cluster, namespace, deployments):
        (events,) = follow(deployments, config, at_once=grant, until=note)
    assert events[-1] == Ended() and len(of(PointDone, events)) == 1
    assert any(f"admission check {namespace}: Pending" in each for each in told)
    assert not any("Quota reserved" in each for each in told)
    assert autoscaler.seen[0]["spec"]["parameters"]["maxRunDurationSeconds"] == "3600"


def test_nodes_that_cannot_be_had_end_the_deployment_for_all_its_points(
    cluster: Cluster, namespace: str, queues: Queues, dws: str
) -> None:
    deployments, config = with_objects(planned(2), namespace, queue=dws)
    autoscaler = Autoscaler(cluster, namespace)

    def refuse() -> None:
        for _ in range(2):
            autoscaler.answer(("Failed", "no capacity in zone"))

    (events,) = follow(deployments, config, at_once=refuse)
    (ended,) = of(Ended, events)
    assert (ended.kind, ended.ends_all) == ("quota", True) and "no capacity in zone" in ended.message
    assert any("no capacity in zone" in event.message for event in of(Waiting, events))
    assert objects(cluster, namespace, "jobs") == []


# ------------------------------------------------------------------------------------------------------------ topology


def test_a_queue_with_a_topology_measures_and_avoids_nodes(cluster: Cluster, namespace: str, queues: Queues) -> None:
    """All nodes but one are avoided, so one Job waits for the other."""
    names = [node["metadata"]["name"] for node in json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]]
    given = {"queue": queues.make(72, levels=LEVELS), "avoidNodes": names[1:], "podAnnotations": BLOCK}
    deployments, config = with_objects(planned(2, nodes=2), namespace, **given)
    with Logs(cluster, namespace, deployments):
        told = follow(deployments, config)
    assert all(events[-1] == Ended() and len(of(PointDone, events)) == 1 for events in told)
    assert {event.node for events in told for event in of(Started, events)} == {names[0]}


def test_where_all_nodes_of_a_topology_are_avoided_no_other_is_left(
    cluster: Cluster, namespace: str, queues: Queues
) -> None:
    names = [node["metadata"]["name"] for node in json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]]
    given = {"queue": queues.make(72, levels=LEVELS), "avoidNodes": names, "podAnnotations": BLOCK}
    deployments, config = with_objects(planned(1), namespace, pending_timeout_s=2, **given)
    (events,) = follow(deployments, config)
    (ended,) = of(Ended, events)
    assert ended.kind == "no_other_node" and "excluded: affinity: 18" in ended.message
    assert objects(cluster, namespace, "jobs") == []


# ------------------------------------------------------------------------------------------------------ before a run


@pytest.mark.parametrize(
    ("broken", "name", "level", "said"),
    [
        ("flavor", "quota", Level.ERROR, "FlavorNotFound: Can't admit new workloads: references missing Resource"),
        ("check", "quota", Level.ERROR, "AdmissionCheckNotFound"),
        ("inactive check", "quota", Level.WARNING, "AdmissionCheckInactive"),
        ("namespace", "quota", Level.ERROR, "its namespaceSelector does not match the labels"),
        ("level", "topology", Level.ERROR, "no flavor of the queue has the topology level some/level"),
    ],
)
def test_a_queue_that_admits_nothing_is_told_before_a_run(
    broken: str, name: str, level: Level, said: str, cluster: Cluster, namespace: str, queues: Queues
) -> None:
    given: dict[str, Any] = {}
    if broken.endswith("check"):
        given["admissionChecksStrategy"] = {"admissionChecks": [{"name": namespace}]}
    if broken == "inactive check":
        queues.apply("AdmissionCheck", {"controllerName": "nobody.test/works-on-it"})
    if broken == "namespace":
        given["namespaceSelector"] = {"matchLabels": {"team": "bench"}}
    if broken == "level":
        given["levels"] = LEVELS
    queue = queues.make(4, **given, flavor={} if broken == "flavor" else None)
    notes = {"kueue.x-k8s.io/podset-required-topology": "some/level"} if broken == "level" else {}
    deployments, config = with_objects(planned(1), namespace, queue=queue, podAnnotations=notes)

    def judged() -> list[Finding]:
        return [f for f in examined(config, deployments) if f.level not in (Level.OK, Level.UNKNOWN)]

    cluster.wait("Kueue has looked at it", lambda: broken in ("namespace", "level") or judged())
    (found,) = judged()
    assert (found.name, found.level) == (name, level) and said in found.message
    if broken == "namespace":
        cluster.kubectl(*found.mend.split()[1:])
        assert judged() == []


def test_a_queue_that_only_its_namespace_sees_tells_that_it_is_inactive(
    cluster: Cluster, namespace: str, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployments, config = with_objects(planned(1), namespace, queue=queues.make(4, flavor={}))
    cluster.kubectl("apply", "-n", namespace, "-f", str(EXAMPLES / "role.yaml"))
    cluster.kubectl("create", "rolebinding", "sweep", "-n", namespace, "--role=sweep", "--user=nobody")
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig("nobody")))

    def judged() -> list[Finding]:
        return [found for found in examined(config, deployments) if found.level is Level.WARNING]

    cluster.wait("Kueue has looked at it", judged)
    assert [found.name for found in judged()] == ["quota"] and "ClusterQueueIsInactive" in judged()[0].message


def test_what_a_person_with_the_role_cannot_see_names_the_role_that_lets_them(
    cluster: Cluster, namespace: str, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"queue": queues.make(4), "queuePriorityClass": "no-such-class"}
    deployments, config = with_objects(planned(1), namespace, **given)
    cluster.kubectl("apply", "-n", namespace, "-f", str(EXAMPLES / "role.yaml"))
    cluster.kubectl("create", "rolebinding", "sweep", "-n", namespace, "--role=sweep", "--user=nobody")
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig("nobody")))
    unseen = {found.name: found for found in examined(config, deployments) if found.level is Level.UNKNOWN}
    assert {"quota", "nodes", "priority"} <= unseen.keys()
    assert "cluster-role.yaml" in unseen["priority"].mend and "cluster-role.yaml" in unseen["quota"].mend
    cluster.kubectl("apply", "-f", str(EXAMPLES / "cluster-role.yaml"))
    cluster.kubectl("create", "clusterrolebinding", namespace, "--clusterrole=sweep", "--user=nobody")
    cluster.wait("they are seen", lambda: not [f for f in examined(config, deployments) if f.level is Level.UNKNOWN])
    assert {f.name for f in examined(config, deployments) if f.level is Level.ERROR} == {"priority"}
    cluster.kubectl("delete", "clusterrolebinding", namespace)


def test_a_queue_named_default_takes_what_names_none(
    cluster: Cluster, namespace: str, queues: Queues, tmp_path: Path
) -> None:
    queues.make(8, name="default")
    deployments, config = with_objects(planned(1), namespace)
    (found,) = [found for found in examined(config, deployments) if found.name == "queue"]
    assert found.level is Level.OK and "where backend.queue names none" in found.message
    cfg = composition.read(["+experiment=smoke", "backend=gke", f"backend.namespace={namespace}"])
    assert cfg is not None and nodes_by_quota(cfg) == 2
    with Logs(cluster, namespace, deployments):
        (events,) = follow(deployments, config)
    assert events[-1] == Ended() and len(queues.workloads()) <= 1


def test_the_queue_and_its_quota_are_looked_at_before_a_run(cluster: Cluster, namespace: str, queues: Queues) -> None:
    def judged(**values: object) -> list[tuple[str, str, str]]:
        deployments, config = with_objects(planned(1), namespace, **values)
        found = doctor.examine(GkeBackend(**config), deployments[0].objects[0])
        return [(f.name, f.level, f.message) for f in found if f.name in ("queue", "quota", "priority")]

    name = queues.make(4)
    assert [(about, level) for about, level, _ in judged(queue=name)] == [("queue", "ok"), ("quota", "ok")]
    (other,) = judged(queue="a5x")
    assert other[:2] == ("queue", "error") and "there are a4x" in other[2]
    (past,) = judged()
    assert past[:2] == ("queue", "warning")
    assert ("priority", "error") in [found[:2] for found in judged(queue=name, queuePriorityClass="no-such-class")]
    cluster.kubectl("delete", "localqueue", name, "-n", namespace)
    queues.make(2)
    _, quota = judged(queue=name)
    assert quota[:2] == ("quota", "error") and "would wait for ever" in quota[2]


def test_without_run_nodes_a_sweep_spreads_over_the_quota(
    cluster: Cluster, namespace: str, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spread(*given: str) -> int | None:
        said = ["+experiment=smoke", "backend=gke", f"backend.namespace={namespace}", *given]
        cfg = composition.read(said)
        assert cfg is not None
        return nodes_by_quota(cfg)

    name = f"backend.queue={queues.make(15)}"
    assert spread(name) == 3
    assert spread(name, "run.nodes=2") is None and spread() is None and spread("backend.queue=other") is None
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig("nobody")))
    assert spread(name) is None  # may not see it
