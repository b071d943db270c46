"""The gke backend on a real control plane with fake nodes: from a plan to rows, whatever happens to Jobs and pods."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import yaml

from sweep import chart, plan
from sweep.backends import Ended, Event, PointDone, PointStarted, Started
from sweep.backends.gke import Gke
from sweep.config import GkeBackend
from sweep.matrix import expand
from tests.cluster.fakes import Logs, objects
from tests.cluster.kit.cluster import Cluster
from tests.test_matrix import CHECKED, LLAMA

TEXT = "kv_cache_config: {enable_block_reuse: false, free_gpu_memory_fraction: 0.9}\n"
SWEEP = "0a1b2c3d"
DEADLINE_S = 120


def planned(points: int, nodes: int = 1, sweep_id: str = SWEEP) -> list[plan.Deployment]:
    settings = CHECKED | {"model": LLAMA.id, "isl": 16, "osl": 8, "num_requests": 8}
    grown = expand({"grid": {"concurrency": list(range(1, points + 1))}}, settings, LLAMA)
    return list(plan.make([(LLAMA, grown)], sweep_id=sweep_id, source="measured", nodes=nodes).deployments)


def with_objects(
    deployments: Sequence[plan.Deployment], namespace: str, run: str = "1s", **values: Any
) -> tuple[list[plan.Deployment], dict[str, Any]]:
    """Render deployments as the command line does, and return them with the backend's configuration."""
    settings = {name: values.pop(name) for name in list(values) if name in GkeBackend.__dataclass_fields__}
    notes = {"fake.test/run": run} | values.pop("podAnnotations", {})
    config = GkeBackend(namespace=namespace, values=values | {"podAnnotations": notes}, **settings)
    made = chart.render(
        deployments, config=config, namespace=namespace, sweep_name="test", engine_texts={LLAMA.id: TEXT}
    )
    ready = [
        replace(r.deployment, objects=tuple(json.dumps(yaml.safe_load(text)) for text in (r.job, r.config_map)))
        for r in made
    ]
    return ready, {name: getattr(config, name) for name in GkeBackend.__dataclass_fields__}


def follow(
    deployments: Sequence[plan.Deployment],
    config: dict[str, Any],
    *,
    until: Callable[[Event], bool] = lambda event: False,
) -> list[list[Event]]:
    """Carry all deployments at once, each to its end or to the first event of which `until` is true."""

    async def one(backend: Gke, deployment: plan.Deployment) -> list[Event]:
        told: list[Event] = []
        async for event in backend.deploy(deployment):
            told.append(event)
            if until(event):
                break
        return told

    async def all_of_them() -> list[list[Event]]:
        backend = Gke(config)
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await asyncio.gather(*(one(backend, deployment) for deployment in deployments))
        finally:
            await backend.close()

    return asyncio.run(all_of_them())


def of(kind: type, events: Sequence[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


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
