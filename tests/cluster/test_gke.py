"""The gke backend on a real control plane with fake nodes: from Jobs to events, each told once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

from sweep.backends import Ended, PointDone, PointStarted, Started
from sweep.backends.gke import Gke
from sweep.plan import job_name
from tests.cluster.fakes import Logs, objects
from tests.cluster.following import follow, of, planned, with_objects
from tests.cluster.kit.cluster import Cluster

# -------------------------------------------------------------------------------------------------------- the good case


def test_a_deployment_runs_and_each_point_is_told_once(cluster: Cluster, namespace: str) -> None:
    deployments, config = with_objects(planned(3), namespace)
    with Logs(cluster, namespace, deployments):
        (events,) = follow(deployments, config)
    keys = [attempt.key for attempt in deployments[0].attempts]
    assert [event.key for event in of(PointDone, events)] == keys
    assert [event.key for event in of(PointStarted, events)] == keys
    assert next(event.node for event in of(Started, events)).startswith("a4x-")
    assert events[-1] == Ended()
    first, second, _ = of(PointDone, events)
    assert first.report["performance"] and first.exit_code == 0
    assert first.environment["image_digest"] == "sha256:fake" and first.environment["gpu_name"] == "NVIDIA GB200"
    assert {"queued_s", "pull_s"} <= set(first.environment) and "queued_s" not in second.environment


def test_what_is_created_is_what_helm_rendered_and_the_job_owns_its_files(cluster: Cluster, namespace: str) -> None:
    deployments, config = with_objects(planned(1), namespace)
    with Logs(cluster, namespace, deployments):
        follow(deployments, config)
    (job,), (files,) = (
        objects(cluster, namespace, "jobs"),
        [m for m in objects(cluster, namespace, "configmaps") if m["metadata"]["name"].startswith("sweep-")],
    )
    asked_job, asked_files = map(json.loads, deployments[0].objects)
    for asked, there in ((asked_job, job), (asked_files, files)):
        for part in ("name", "namespace", "labels"):
            assert asked["metadata"][part] == there["metadata"][part]
    assert asked_files["data"] == files["data"]
    assert [owner["uid"] for owner in files["metadata"]["ownerReferences"]] == [job["metadata"]["uid"]]
    name = job["metadata"]["name"]

    def gone() -> bool:
        return name not in {made["metadata"]["name"] for made in objects(cluster, namespace, "configmaps")}

    cluster.kubectl("delete", "job", name, "-n", namespace)
    cluster.wait("the ConfigMap goes with its Job", gone)


def test_two_hundred_deployments_at_once_cost_few_requests(cluster: Cluster, namespace: str) -> None:
    notes = {"fake.test/start": "2s"}  # so that every log is there before its pod runs, as with a real kubelet
    deployments, config = with_objects(planned(200, nodes=200), namespace, run="300ms", podAnnotations=notes)
    assert len(deployments) == 200
    counted: list[int] = []
    with Logs(cluster, namespace, deployments):
        told = follow(deployments, config, requests=counted)
    assert [[event.key for event in of(PointDone, events)] for events in told] == [
        [attempt.key for attempt in deployment.attempts] for deployment in deployments
    ]
    assert all(events[-1] == Ended() for events in told)
    assert counted[0] / 200 <= 6


# --------------------------------------------------------------------------------------------- taken over, side by side


def test_what_was_begun_by_another_is_taken_over_and_told_from_its_beginning(cluster: Cluster, namespace: str) -> None:
    deployments, config = with_objects(planned(2), namespace, run="3s")
    with Logs(cluster, namespace, deployments):
        (begun,) = follow(deployments, config, until=lambda event: isinstance(event, PointDone))
        (again,) = follow(deployments, config)  # the same Job is asked for
        seen = replace(deployments[0], objects=(), exists=True)  # as taken stock of: it has ended meanwhile
        (adopted,) = follow([seen], config)
    keys = [attempt.key for attempt in deployments[0].attempts]
    assert [event.key for event in of(PointDone, begun)] == keys[:1]
    for events in (again, adopted):
        assert [event.key for event in of(PointDone, events)] == keys
        assert events[-1] == Ended()
    assert len(objects(cluster, namespace, "jobs")) == 1


def test_a_job_of_the_same_name_with_other_contents_is_refused(cluster: Cluster, namespace: str) -> None:
    deployments, config = with_objects(planned(1), namespace)
    job = json.loads(deployments[0].objects[0])
    job["metadata"]["annotations"]["trtllm-bench.sweep/spec-hash"] = "another"
    cluster.kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(job))
    (events,) = follow(deployments, config)
    (ended,) = of(Ended, events)
    assert ended.kind == "backend_error" and "with other contents exists; sweep gc removes it" in ended.message
    assert len(objects(cluster, namespace, "jobs")) == 1


def test_two_sweeps_in_one_namespace_do_not_see_each_other(cluster: Cluster, namespace: str) -> None:
    one, config = with_objects(planned(2, nodes=2, sweep_id="11111111"), namespace, run="2s")
    other, _ = with_objects(planned(2, nodes=2, sweep_id="22222222"), namespace, run="2s")
    with Logs(cluster, namespace, [*one, *other]):
        told = follow([*one, *other], config)
    for deployment, events in zip([*one, *other], told, strict=True):
        assert [event.key for event in of(PointDone, events)] == [attempt.key for attempt in deployment.attempts]
    assert len({deployment.deployment_id for deployment in [*one, *other]}) == 4


def test_a_cancelled_deployment_leaves_nothing(cluster: Cluster, namespace: str) -> None:
    deployments, config = with_objects(planned(2, nodes=2), namespace, run="60s")

    async def begin_and_cancel() -> list[Any]:
        backend = Gke(config)
        events = backend.deploy(deployments[0])
        other = backend.deploy(deployments[1])
        try:
            async for event in other:
                if isinstance(event, Started):
                    break
            async for event in events:
                if isinstance(event, Started):
                    break
            await backend.cancel(deployments[0].deployment_id)
            return [event async for event in events]
        finally:
            await events.aclose()  # type: ignore[attr-defined]
            await other.aclose()  # type: ignore[attr-defined]
            await backend.close()

    rest = asyncio.run(begin_and_cancel())
    assert isinstance(rest[-1], Ended) and rest[-1].kind == "cancelled"
    left = job_name(deployments[1].deployment_id)
    cluster.wait("its pod and files are gone", lambda: _names(cluster, namespace, "pods", "configmaps", of=left))


def _names(cluster: Cluster, namespace: str, *kinds: str, of: str) -> bool:
    """Say whether all objects of ours there belong to one Job."""
    names = [found["metadata"]["name"] for kind in kinds for found in objects(cluster, namespace, kind)]
    ours = [name for name in names if name.startswith("sweep-")]
    return len(ours) == len(kinds) and all(name.startswith(of) for name in ours)
