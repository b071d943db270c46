"""What runs in the pods of fake nodes: kwok plays their state, and this tells their log.

Each pod's log is made from the ConfigMap that a real pod would mount, with the line that launchers/publish.py makes of
a simulated report. Real pods with the real launcher are in test_real_node.py.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sweep.plan import Deployment
from sweep.simulate import simulate
from tests.cluster.kit.cluster import Client, Cluster
from tests.standins import Linear

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT / "launchers"), str(ROOT / "sweep")]  # as in a pod, where both lie side by side
import publish  # noqa: E402

LOOK_S = 0.05
AT_ONCE = 256
"""Logs that are written line by line at the same time; more pods than that never run at once."""

Fault = Callable[[int, str], str | None]
"""Given a point's number in its pod (from 0) and the line it would tell: the line it tells instead, or none."""


def lines_of(deployment: Deployment, fault: Fault | None = None) -> list[str]:
    """Return what the launcher tells in the pod of a deployment."""
    lines = ["2026-01-01T00:00:00Z engine options by --config", "SWEEP_STEP weights"]
    for number, attempt in enumerate(deployment.attempts):
        name = f"{attempt.repeat}-{attempt.number}"
        report = simulate(attempt.point, deployment.model, Linear())
        now = datetime.now(UTC)
        about = {
            "point": attempt.point_id,
            "attempt": name,
            "exit_code": 0,
            "outcome": "ended",
            "started_at": (now - timedelta(seconds=1)).isoformat(),
            "ended_at": now.isoformat(),
        }
        told = publish.line(about, report, {"load_s": 1.5, "gpu_name": "NVIDIA GB200"}, "the end of its log\n")
        said = told if fault is None else fault(number, told)
        lines += [f"SWEEP_STEP point {attempt.point_id} {name}", *([said] if said else [])]
    return lines


class LogFile:
    """The log of one pod, which kwok serves from a file."""

    def __init__(self, cluster: Cluster, client: Client, namespace: str, pod: str) -> None:
        folder = cluster.dir / "logs" / namespace
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{pod}.log"
        self._path.touch()
        logs = {
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "Logs",
            "metadata": {"name": pod},
            "spec": {"logs": [{"logsFile": str(self._path)}]},
        }
        try:
            client.call("POST", f"/apis/kwok.x-k8s.io/v1alpha1/namespaces/{namespace}/logs", logs)
        except RuntimeError as error:
            if "AlreadyExists" not in str(error):  # its answer was lost
                raise

    def write(self, lines: Sequence[str], each_s: float, over: threading.Event) -> None:
        """Write lines, with a pause after each, until it is over; without pauses all at once."""
        if not each_s:
            self._path.write_text("".join(map(_of_container, lines)))
            return
        with self._path.open("a") as file:
            for line in lines:
                file.write(_of_container(line))
                file.flush()
                if over.wait(each_s):
                    return


class Logs:
    """Gives every pod of a namespace its log as soon as the pod is there; a context manager.

    Args:
        each_s: how long each line takes to come once the pod runs; by default all are there at once, before it does.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        deployments: list[Deployment],
        fault: Fault | None = None,
        each_s: float = 0.0,
    ):
        self._cluster, self._client, self._namespace = cluster, Client(cluster), namespace
        self._each_s = each_s
        self._lines = {f"sweep-{d.deployment_id}": lines_of(d, fault) for d in deployments}
        self._files: dict[str, Future[LogFile]] = {}
        self._begun: set[str] = set()
        self._makers, self._writers = ThreadPoolExecutor(16), ThreadPoolExecutor(AT_ONCE)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failed: BaseException | None = None

    def __enter__(self) -> Logs:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._makers.shutdown(cancel_futures=True)
        self._client.close()
        self._thread.join(30)
        self._writers.shutdown(cancel_futures=True)
        if self.failed is not None:
            raise self.failed

    def _run(self) -> None:
        """Follow the pods: of a thousand the last must have its log as soon as the first."""
        while not self._over.is_set():
            try:
                for event in self._client.watch(f"/api/v1/namespaces/{self._namespace}/pods"):
                    if self._over.is_set():
                        return
                    if event["type"] in ("ADDED", "MODIFIED"):
                        self._take(event["object"])
            except (OSError, RuntimeError, http.client.HTTPException):
                self._over.wait(LOOK_S)  # the API server is being restarted
            except BaseException as error:
                self.failed = error
                return

    def _take(self, pod: Mapping[str, Any]) -> None:
        """Give a pod its log: all of it before it runs, or line by line from then on."""
        name = pod["metadata"]["name"]
        job = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"]
        if name not in self._files:
            self._files[name] = self._makers.submit(self._make, name)
        if name in self._begun or (self._each_s and pod["status"].get("phase") == "Pending"):
            return
        self._begun.add(name)
        self._writers.submit(self._write, self._files[name], self._lines.get(job, []))

    def _make(self, pod: str) -> LogFile:
        while True:
            try:
                return LogFile(self._cluster, self._client, self._namespace, pod)
            except (OSError, RuntimeError, http.client.HTTPException):  # the API server is being restarted
                if self._over.wait(LOOK_S):
                    raise

    def _write(self, file: Future[LogFile], lines: Sequence[str]) -> None:
        try:
            file.result().write(lines, self._each_s, self._over)
        except (CancelledError, OSError, RuntimeError, http.client.HTTPException) as error:
            if not self._over.is_set():
                self.failed = error


def _of_container(line: str) -> str:
    """Return a line as the container runtime keeps it."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z stdout F {line}\n"


def objects(cluster: Cluster, namespace: str, kind: str) -> list[Mapping[str, Any]]:
    """Return all objects of a kind in a namespace."""
    listed = json.loads(cluster.kubectl("get", kind, "-n", namespace, "-o", "json"))
    found: list[Mapping[str, Any]] = listed["items"]
    return found
