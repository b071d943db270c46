"""What is ours on a cluster: names, labels, listing, deleting."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from sweep.backends import Stage
from sweep.backends.fields import Form, Object, mapping, text
from sweep.backends.gke import conditions
from sweep.backends.gke.conditions import Standing
from sweep.backends.kubernetes import Cluster
from sweep.errors import ClusterError
from sweep.published import key_of

LABEL = "trtllm-bench.sweep"
JOBS, PODS = "/apis/batch/v1/namespaces/{namespace}/jobs", "/api/v1/namespaces/{namespace}/pods"
CONFIG_MAPS, EVENTS = "/api/v1/namespaces/{namespace}/configmaps", "/api/v1/namespaces/{namespace}/events"
JOB_UID = "kueue.x-k8s.io/job-uid"
"""Label of a Workload, and the only one that Kueue gives it."""
JOB_NAMES = ("batch.kubernetes.io/job-name", "job-name")
"""Labels of a Job's pods."""


class Gone(Exception):
    """The object is not there."""


async def unless_gone(asking: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """Return an answer.

    Raises:
        Gone: there is no such object.
    """
    try:
        return await asking
    except ClusterError as error:
        if error.status == 404:
            raise Gone from error
        raise


def of_sweep(sweep_id: str) -> str:
    """Return the selector of everything of a sweep."""
    return f"{LABEL}/sweep-id={sweep_id}"


def annotation(thing: Object, name: str) -> str:
    """Return an annotation of ours, an empty text where it has none."""
    return text(thing, "metadata", "annotations", f"{LABEL}/{name}")


def attempts_of(job: Object) -> Iterator[tuple[str, int, int]]:
    """Yield what a Job measures, in order, as its annotation says."""
    for word in annotation(job, "attempts").split():
        point_id, _, attempt = word.partition(":")
        with contextlib.suppress(ValueError):
            yield key_of(point_id, attempt)


async def kueue_path(cluster: Cluster, **how: Any) -> str | None:
    """Return where Kueue's kinds are, in the version that this server prefers; None without Kueue."""
    try:
        group = await unless_gone(cluster.request("GET", "/apis/kueue.x-k8s.io", **how))
    except Gone:
        return None
    version = text(group, "preferredVersion", "groupVersion")
    if not version:
        raise ClusterError("the API server does not tell which version of Kueue it has")
    return f"/apis/{version}"


async def workloads_path(cluster: Cluster) -> str | None:
    """Return where Kueue's Workloads are; None without Kueue."""
    path = await kueue_path(cluster)
    return f"{path}/namespaces/{{namespace}}/workloads" if path else None


async def delete_job(cluster: Cluster, name: str) -> None:
    """Delete a Job with its pods and its ConfigMap; one that is gone already is fine."""
    body = json.dumps({"propagationPolicy": "Background"})
    with contextlib.suppress(Gone):
        await unless_gone(cluster.request("DELETE", f"{JOBS}/{name}", body=body))


STOP_FILE = "stop.txt"
"""In the ConfigMap: attempts that are not to begin any more, a line each, as points.txt names them. The launcher reads
it before each point; the kubelet brings it into the pod within a minute or two."""


async def stop_points(cluster: Cluster, job: str, keys: Iterable[tuple[str, int, int]]) -> None:
    """Tell a running pod which attempts it must not begin."""
    told = "".join(f"{point_id} {repeat}-{number}\n" for point_id, repeat, number in keys)
    body, kind = json.dumps({"data": {STOP_FILE: told}}), "application/merge-patch+json"
    with contextlib.suppress(Gone):
        await unless_gone(cluster.request("PATCH", f"{CONFIG_MAPS}/{job}", body=body, content_type=kind))


def avoids_nodes(job: Object) -> bool:
    """Say whether a Job must not run on nodes that it names."""
    return "nodeAffinity" in mapping(job, "spec", "template", "spec", "affinity")


async def pods_of(cluster: Cluster, jobs: Collection[str], **how: Any) -> list[str]:
    """Return the names of the pods of these Jobs that have not ended, also after the Jobs themselves are gone."""
    pods = await _pods(cluster, JOB_NAMES[0], **how)
    return [text(pod, "metadata", "name") for pod in pods if job_of(pod) in jobs]


async def pods_of_sweep(cluster: Cluster, sweep_id: str) -> list[str]:
    """Return the names of all pods of a sweep that have not ended."""
    return [text(pod, "metadata", "name") for pod in await _pods(cluster, of_sweep(sweep_id))]


async def _pods(cluster: Cluster, selector: str, **how: Any) -> list[Object]:
    listed = await cluster.request("GET", PODS, params={"labelSelector": selector}, form=Form.LIST, **how)
    return [pod for pod in listed["items"] if not conditions.is_over(pod)]


async def jobs_of_owner(cluster: Cluster, owner: str) -> list[str]:
    """Return the names of the Jobs of one person's sweeps: the owner is an annotation, because names are no labels."""
    ours = {"labelSelector": "app.kubernetes.io/name=trtllm-bench,app.kubernetes.io/managed-by=sweep"}
    listed = await cluster.request("GET", JOBS, params=ours, form=Form.LIST)
    return [text(job, "metadata", "name") for job in listed["items"] if annotation(job, "owner") == owner]


@dataclass(slots=True)
class Seen:
    """Jobs by name, pods by Job and name, Workloads by the Job's uid.

    lost: the last pod of a Job that was deleted, as it was then: it says why, and the Job does not.
    kueue: whether Workloads can be seen at all.
    """

    jobs: dict[str, Object] = field(default_factory=dict)
    pods: dict[str, dict[str, Object]] = field(default_factory=dict)
    lost: dict[str, Object] = field(default_factory=dict)
    workloads: dict[str, Object] = field(default_factory=dict)
    kueue: bool = False

    @classmethod
    def of(cls, jobs: Iterable[Object], pods: Iterable[Object], workloads: Iterable[Object] | None) -> Seen:
        """Sort what was listed."""
        seen = cls(kueue=workloads is not None)
        for job in jobs:
            seen.jobs[job["metadata"]["name"]] = job
        for pod in pods:
            seen.pods.setdefault(job_of(pod), {})[pod["metadata"]["name"]] = pod
        for workload in workloads or ():
            seen.workloads[uid_of(workload)] = workload
        return seen

    def pod(self, job: str) -> Object | None:
        """Return the newest pod of a Job."""
        pods = self.pods.get(job, {}).values()
        return max(pods, key=lambda pod: text(pod, "metadata", "creationTimestamp"), default=None)

    def workload(self, job: str) -> Object | None:
        """Return Kueue's Workload of a Job."""
        return self.workloads.get(text(self.jobs.get(job), "metadata", "uid"))

    def standing(self, job: str) -> Standing:
        """Return where a Job stands."""
        standing = conditions.read(self.jobs.get(job), self.pod(job), self.workload(job), self.lost.get(job))
        if standing.stage is Stage.QUEUED and not self.kueue:
            return replace(standing, broken=False, message="suspended; Kueue's reasons cannot be seen")
        return standing


def job_of(pod: Object) -> str:
    """Return the name of a pod's Job."""
    return next((name for label in JOB_NAMES if (name := text(pod, "metadata", "labels", label))), "")


def uid_of(workload: Object) -> str:
    """Return the uid of a Workload's Job."""
    return text(workload, "metadata", "labels", JOB_UID)
