"""What runs in the pods of fake nodes, whichever Jobs a driver makes, and who holds a point at any moment."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sweep.backends.gke.objects import LABEL, annotation, job_of
from sweep.plan import Attempt, Deployment
from sweep.point import Model
from tests.cluster.fakes import LogFile, lines_of
from tests.cluster.kit.cluster import Client, Cluster
from tests.faults.model import Finding, Kind, PointRepeat

LOOK_S = 0.15
EACH_LINE_S = 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A Job as it was last seen."""

    name: str
    uid: str
    points: tuple[tuple[str, int, int], ...]
    over: bool
    expires: bool

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Job:
        keys = []
        for word in annotation(said, "attempts").split():
            point_id, _, attempt = word.partition(":")
            repeat, _, number = attempt.partition("-")
            keys.append((point_id, int(repeat), int(number)))
        ended = {c["type"] for c in said["status"].get("conditions") or () if c["status"] == "True"}
        return cls(
            name=said["metadata"]["name"],
            uid=said["metadata"]["uid"],
            points=tuple(keys),
            over=bool(ended & {"Complete", "Failed"}) or "deletionTimestamp" in said["metadata"],
            expires=said["spec"].get("ttlSecondsAfterFinished") is not None,
        )


class Pods:
    """Gives each pod of a sweep its log, and sees which Jobs hold what; a context manager.

    published: how often pods told the result of a (point, repeat).
    lost: those whose pods were taken away before they were read.
    """

    def __init__(self, cluster: Cluster, namespace: str, attempts: Mapping[str, tuple[Attempt, Model]]) -> None:
        self.findings: list[Finding] = []
        self.published: Counter[PointRepeat] = Counter()
        self.lost: set[PointRepeat] = set()
        self.running: dict[str, tuple[str, Job]] = {}
        self._cluster, self._client, self._namespace = cluster, Client(cluster), namespace
        self._attempts = attempts
        self._jobs: dict[str, Job] = {}
        self._logs: dict[str, LogFile] = {}
        self._told: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Pods:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)
        self._client.close()

    def jobs(self) -> list[Job]:
        """Return the sweep's Jobs that there are now."""
        said = json.loads(self._client.call("GET", f"/apis/batch/v1/namespaces/{self._namespace}/jobs"))
        return [Job.of(job) for job in said["items"] if annotation(job, "attempts")]

    def lose(self, pod: str) -> Job | None:
        """Note that a pod is being taken away, and return its Job."""
        _, job = self.running.get(pod, ("", None))
        if job is not None:
            self.lost |= {key[:2] for key in job.points}
        return job

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            with contextlib.suppress(OSError, RuntimeError, http.client.HTTPException):  # the API server is restarted
                self._look()

    def _look(self) -> None:
        jobs = {job.name: job for job in self.jobs()}
        self._jobs |= jobs
        holders: dict[PointRepeat, list[str]] = defaultdict(list)
        for job in jobs.values():
            for key in job.points:
                if not job.over:
                    holders[key[:2]].append(job.name)
        for (point_id, repeat), names in holders.items():
            if len(names) > 1 and f"{names}" not in self._told:
                self._told.add(f"{names}")
                said = f"{point_id} repeat {repeat} is held by {' and '.join(sorted(names))} at one moment"
                self.findings.append(Finding(kind=Kind.DOUBLED, message=said))
        path = f"/api/v1/namespaces/{self._namespace}/pods?resourceVersion=0"
        running = {}
        for pod in json.loads(self._client.call("GET", path))["items"]:
            name, owner = pod["metadata"]["name"], self._jobs.get(job_of(pod))
            if owner is None:
                continue
            if name not in self._logs:
                self._logs[name] = LogFile(self._cluster, self._client, self._namespace, name)
            if pod["status"].get("phase") == "Running":
                running[name] = (str(pod["spec"].get("nodeName")), owner)
            if pod["status"].get("phase") != "Pending" and name not in self._told:
                self._told.add(name)
                self._begin(name, owner)
        self.running = running

    def _begin(self, pod: str, job: Job) -> None:
        tries = [(self._attempts[point_id], repeat, number) for point_id, repeat, number in job.points]
        deployment = Deployment(
            deployment_id=job.name,
            sweep_id="",
            model=tries[0][0][1],
            attempts=tuple(replace(first, repeat=repeat, number=number) for (first, _), repeat, number in tries),
            gpus_held=4,
        )
        self.published.update(key[:2] for key in job.points)
        writing = threading.Thread(
            target=self._logs[pod].write, args=(lines_of(deployment), EACH_LINE_S, self._over), daemon=True
        )
        writing.start()


OTHER = "ffffffffffff"
"""The sweep of somebody else."""


def bystander(namespace: str) -> dict[str, Any]:
    """Return a Job of another sweep; it is suspended and stays."""
    container = {"name": "bench", "image": "none"}
    labels = {f"{LABEL}/sweep-id": OTHER}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "sweep-of-somebody-else", "namespace": namespace, "labels": labels},
        "spec": {
            "suspend": True,
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "restartPolicy": "Never"},
            },
        },
    }
