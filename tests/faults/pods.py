"""What runs in the pods of fake nodes, whichever Jobs a driver makes, and who holds a point at any moment."""

from __future__ import annotations

import contextlib
import http.client
import json
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweep.backends.gke.objects import LABEL, annotation, job_of
from sweep.plan import Attempt, Deployment
from sweep.point import Model
from tests.cluster.fakes import LogFile, lines_of, publish
from tests.cluster.kit.cluster import Client, Cluster
from tests.faults.model import Finding, Kind, PointRepeat

LOOK_S = 0.15
EACH_LINE_S = 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A Job as it was last seen."""

    name: str
    uid: str
    sweep_id: str
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
            sweep_id=said["metadata"]["labels"][f"{LABEL}/sweep-id"],
            points=tuple(keys),
            over=bool(ended & {"Complete", "Failed"}) or "deletionTimestamp" in said["metadata"],
            expires=said["spec"].get("ttlSecondsAfterFinished") is not None,
        )


class Pods:
    """Gives each pod of a sweep its log, and sees which Jobs hold what; a context manager.

    published: how often pods told the result of a (point, repeat).
    lost: those whose pods were taken away before they were read.

    Args:
        volume: a folder to which pods write too.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        attempts: Mapping[str, tuple[Attempt, Model]],
        volume: Path | None = None,
    ) -> None:
        self.findings: list[Finding] = []
        self.published: Counter[PointRepeat] = Counter()
        self.lost: set[PointRepeat] = set()
        self.running: dict[str, tuple[str, Job]] = {}
        self._cluster, self._client, self._namespace = cluster, Client(cluster), namespace
        self._attempts, self._volume = attempts, volume
        self._jobs: dict[str, Job] = {}
        self._logs: dict[str, LogFile] = {}
        self._told: set[str] = set()
        self._there: set[str] = set()
        self._gone: set[str] = set()
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
        self._gone.add(pod)
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
        there = set()
        for pod in json.loads(self._client.call("GET", path))["items"]:
            name, owner = pod["metadata"]["name"], self._jobs.get(job_of(pod))
            if owner is None:
                continue
            there.add(name)
            if name not in self._logs:
                self._logs[name] = LogFile(self._cluster, self._client, self._namespace, name)
            if pod["status"].get("phase") == "Running":
                running[name] = (str(pod["spec"].get("nodeName")), owner)
            if pod["status"].get("phase") != "Pending" and name not in self._told:
                self._told.add(name)
                self._begin(name, owner)
        self.running = running
        self._gone |= self._there - there
        self._there = there

    def _begin(self, pod: str, job: Job) -> None:
        tries = [(self._attempts[point_id], repeat, number) for point_id, repeat, number in job.points]
        deployment = Deployment(
            deployment_id=job.name,
            sweep_id="",
            model=tries[0][0][1],
            attempts=tuple(replace(first, repeat=repeat, number=number) for (first, _), repeat, number in tries),
            gpus_held=4,
        )
        told = (pod, job, lines_of(deployment))
        threading.Thread(target=self._tell, args=told, daemon=True).start()

    def _tell(self, pod: str, job: Job, lines: Sequence[str]) -> None:
        """Write a pod's log line by line, and what it publishes; heed what it is told not to begin."""
        client, stopped = Client(self._cluster), False
        for line in lines:
            if line.startswith("SWEEP_STEP point "):
                stopped = line.removeprefix("SWEEP_STEP point ") in self._stops(client, job)
            if pod in self._gone or self._over.is_set():
                break
            if stopped:
                if not line.startswith(publish.MARK):
                    self._logs[pod].write([line.replace(" point ", " passed ")], EACH_LINE_S, self._over)
                continue
            if line.startswith(publish.MARK):
                self._publish(json.loads(line.removeprefix(publish.MARK)), job)
            self._logs[pod].write([line], EACH_LINE_S, self._over)
        client.close()

    def _stops(self, client: Client, job: Job) -> list[str]:
        path = f"/api/v1/namespaces/{self._namespace}/configmaps/{job.name}"
        with contextlib.suppress(OSError, RuntimeError, http.client.HTTPException):  # the API server is restarted
            return str(json.loads(client.call("GET", path))["data"].get("stop.txt", "")).splitlines()
        return []

    def _publish(self, said: dict[str, Any], job: Job) -> None:
        point_id, attempt = said["point"], said["attempt"]
        self.published[point_id, int(attempt.partition("-")[0])] += 1
        if self._volume is None:
            return
        report, environment, tail = (said.pop(name) for name in ("report", "environment", "log_tail"))
        about = said | {"deployment": job.name.removeprefix("sweep-")}
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            (folder / "env.json").write_text(json.dumps(environment | {"attempt": about}))
            (folder / "report.json").write_text(json.dumps(report))
            (folder / "log.txt").write_text(tail)
            publish.commit(folder, self._volume / job.sweep_id / point_id / attempt)


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
