"""What runs in the pods of fake nodes: kwok plays their state, and this tells their log.

Each pod's log is made from the ConfigMap that a real pod would mount, with the line that launchers/publish.py makes of
a simulated report. Real pods with the real launcher are in test_real_node.py.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
from collections.abc import Callable, Mapping
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

Fault = Callable[[int, str], str | None]
"""Given a point's number in its pod (from 0) and the line it would tell: the line it tells instead, or none."""


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
        self._client, self._namespace, self._fault = Client(cluster), namespace, fault
        self._each_s = each_s
        self._folder = cluster.dir / "logs" / namespace
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lines = {f"sweep-{d.deployment_id}": self._tell(d) for d in deployments}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failed: BaseException | None = None

    def __enter__(self) -> Logs:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)
        self._client.close()
        if self.failed is not None:
            raise self.failed

    def _tell(self, deployment: Deployment) -> list[str]:
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
            said = told if self._fault is None else self._fault(number, told)
            lines += [f"SWEEP_STEP point {attempt.point_id} {name}", *([said] if said else [])]
        return lines

    def _run(self) -> None:
        served: set[str] = set()
        begun: set[str] = set()
        path = f"/api/v1/namespaces/{self._namespace}/pods?resourceVersion=0"
        while not self._over.wait(LOOK_S):
            try:
                for pod in json.loads(self._client.call("GET", path))["items"]:
                    name = pod["metadata"]["name"]
                    job = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"]
                    if name not in served:
                        self._serve(name)
                        served.add(name)
                    if name not in begun and (not self._each_s or pod["status"].get("phase") != "Pending"):
                        self._begin(name, job)
                        begun.add(name)
            except (OSError, RuntimeError, http.client.HTTPException):
                continue  # the API server is being restarted
            except BaseException as error:
                self.failed = error
                return

    def _begin(self, pod: str, job: str) -> None:
        path, lines = self._folder / f"{pod}.log", self._lines.get(job, [])
        if self._each_s:
            threading.Thread(target=self._write_slowly, args=(path, lines), daemon=True).start()
        else:
            path.write_text("".join(map(_of_container, lines)))

    def _serve(self, pod: str) -> None:
        path = self._folder / f"{pod}.log"
        path.touch()
        logs = {
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "Logs",
            "metadata": {"name": pod},
            "spec": {"logs": [{"logsFile": str(path)}]},
        }
        try:
            self._client.call("POST", f"/apis/kwok.x-k8s.io/v1alpha1/namespaces/{self._namespace}/logs", logs)
        except RuntimeError as error:
            if "AlreadyExists" not in str(error):  # its answer was lost
                raise

    def _write_slowly(self, path: Path, lines: list[str]) -> None:
        with path.open("a") as file:
            for line in lines:
                file.write(_of_container(line))
                file.flush()
                if self._over.wait(self._each_s):
                    return


def _of_container(line: str) -> str:
    """Return a line as the container runtime keeps it."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z stdout F {line}\n"


def objects(cluster: Cluster, namespace: str, kind: str) -> list[Mapping[str, Any]]:
    """Return all objects of a kind in a namespace."""
    listed = json.loads(cluster.kubectl("get", kind, "-n", namespace, "-o", "json"))
    found: list[Mapping[str, Any]] = listed["items"]
    return found
