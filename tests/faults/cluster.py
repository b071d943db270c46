"""Trials on a control plane with fake nodes: drivers, actors, requests, servers, nodes and pods are disturbed."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sweep.table import Source
from tests.cluster.kit.cluster import Cluster
from tests.faults import numbers, watch
from tests.faults.cluster_schedule import ClusterSchedule
from tests.faults.commands import LOOK_S, Running
from tests.faults.gate import Gate
from tests.faults.model import Expected, Finding, Kind, judge_measured, judge_numbers, judge_rows
from tests.faults.pods import Job, Pods, bystander
from tests.faults.schedule import OPTIONS, Action, Command, Fault, Round
from tests.faults.trial import Outcome, Trial
from tests.patience import HANG_S

KIT = Path(__file__).parent.parent / "cluster" / "kit"
RUN_S = 3
CONTROL_PLANE_NODES = 18
DARK_S = 8.0
AWAY_S = 2.0
BUCKETS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "CSIDriver",
    "metadata": {"name": "gcsfuse.csi.storage.gke.io"},
    "spec": {"podInfoOnMount": True},
}
"""What mounts buckets; a folder is read in their place."""
_RESTARTING = threading.Lock()
"""Held while the API server, which is one for all trials, is restarted, and where we ask it something ourselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A gate with the kubectl context that leads through it; one trial at a time has it."""

    gate: Gate
    context: str


@dataclass(slots=True, kw_only=True)
class OnCluster(Trial):
    """One schedule on the control plane, in a namespace of its own.

    place: where it reaches the API server from.
    requests: the names of those that its runs have sent.
    """

    schedule: ClusterSchedule
    cluster: Cluster
    place: Place
    requests: Sequence[str] = ()
    deleted_nodes: list[str] = field(default_factory=list)

    @property
    def gate(self) -> Gate:
        return self.place.gate

    @property
    def volume(self) -> Path:
        return self.folder / "volume"

    @property
    def namespace(self) -> str:
        return f"faults-{self.folder.name}"

    def carry_out(self) -> Outcome:
        """Do all of it, and judge."""
        self.make_folders()
        self.volume.mkdir()
        self._kubectl("create", "namespace", self.namespace)
        with _RESTARTING:
            self.cluster.wait("account", lambda: self.cluster.kubectl("get", "sa", "default", "-n", self.namespace))
        self._kubectl("create", "-f", "-", stdin=json.dumps(bystander(self.namespace)))
        attempts = self.attempts()
        with (
            Pods(self.cluster, self.namespace, attempts, self.volume if self.schedule.durable else None) as pods,
            watch.Reader(self.results) as reader,
        ):
            for number, round in enumerate(self.schedule.rounds, 1):
                before = self.faults
                self._carry_out(round, pods)
                reader.look()
                self.redone.note(round, self.results / "redo.json")
                self.tell(number, round, before)
            rows = reader.look()
            repeats = range(1, self.schedule.repeats + 1)
            points = frozenset((point_id, repeat) for point_id in attempts for repeat in repeats)
            self.findings += reader.findings
            times = (1 + self.redone.least, 1 + self.redone.most)
            self.findings += judge_rows(Expected(points=points, times=times), rows)
            self.findings += judge_measured(pods.published, frozenset(pods.lost), most=times[1])
            right = numbers.undisturbed(attempts, Source.MEASURED)
            self.findings += judge_numbers(right, numbers.measured(self.results))
            self.findings += watch.missing_evidence(self.results, rows, Source.MEASURED)
            self.findings += watch.leftover_files(self.results)
            self.findings += self._unfinished(pods)
            self.requests = sorted(self.gate.seen)
            self.end(self.begin(Command.GC, Round()), Round(command=Command.GC))
            self.findings += watch.soon(self._objects)
            self.findings += pods.findings
        if not self._others():
            self.findings.append(Finding(kind=Kind.WRONG, message="gc deleted the Job of another sweep"))
        self.findings += watch.soon(self._processes)
        self.findings += watch.leftover_entries(self.temporary)
        self._kubectl("delete", "namespace", self.namespace, "--wait=false")
        return self.outcome()

    def arguments(self, command: Command) -> list[str]:
        """Return the words of a command line."""
        values = list(self.schedule.concurrencies)
        if command is Command.PART:
            values = values[::2]
        return [
            str(command) if command in (Command.STATUS, Command.GC) else "run",
            *OPTIONS.get(command, ()),
            *([f"backend.results_uri={self.volume.as_uri()}", "backend.bucket=mine"] if self.schedule.durable else []),
            "+experiment=smoke",
            "backend=gke",
            f"backend.context={self.place.context}",
            f"backend.namespace={self.namespace}",
            "backend.values={podAnnotations: {fake.test/run: " + str(RUN_S) + "s}}",
            f"matrix.grid.concurrency=[{','.join(map(str, values))}]",
            f"run.repeats={self.schedule.repeats}",
            f"run.nodes={self.schedule.nodes}",
            f"run.max_points_per_deployment={self.schedule.most}",
            f"results_dir={self.folder / 'results'}",
            f"ray.address={self.address}",
        ]

    # ---------------------------------------------------------------------------------------------------------- rounds

    def _carry_out(self, round: Round, pods: Pods) -> None:
        if round.fault is Fault.RIVAL:
            self.rival(round)
            return
        self.gate.set([round.trap] if round.trap is not None else ())
        before = self.gate.sprung
        running = self.begin(round.command, round)
        match round.fault:
            case Fault.TRAP if round.trap is not None:
                codes: tuple[int, ...] = (-signal.SIGKILL,) if round.trap.action is Action.KILL else ()
            case Fault.CUT:
                codes = self._cut(running, round)
            case Fault.DARK:
                codes = self._darken(running, round)
            case Fault.API:
                codes = self._at(running, round, self._restart)
            case Fault.NODE:
                codes = self._at(running, round, lambda: self._take_away(pods, running, node=True))
            case Fault.POD:
                codes = self._at(running, round, lambda: self._take_away(pods, running, node=False))
            case Fault.EXPIRE:
                codes = self._expire(running, pods)
            case _:
                codes = self.disturb(running, round)
        self.end(running, round, codes)
        self.faults += self.gate.sprung - before
        self.gate.set()
        for name in self.deleted_nodes:
            self.cluster.add_node(name)
        self.deleted_nodes.clear()

    def _cut(self, running: Running, round: Round) -> tuple[int, ...]:
        while running.wait(round.moment_s) is None:
            before = self.gate.cuts
            self.gate.cut()
            time.sleep(LOOK_S)
            self.faults += self.gate.cuts > before
        return ()

    def _darken(self, running: Running, round: Round) -> tuple[int, ...]:
        if running.wait(round.moment_s) is None:
            self.gate.darken()
            running.wait(DARK_S)
            self.gate.lighten()
            self.faults += 1
        return ()

    def _at(self, running: Running, round: Round, act: Callable[[], int]) -> tuple[int, ...]:
        if running.wait(round.moment_s) is None:
            self.faults += act()
        return ()

    def _restart(self) -> int:
        with _RESTARTING:
            self.cluster.restart("kube-apiserver", meanwhile=lambda: time.sleep(AWAY_S))
        return 1

    def _take_away(self, pods: Pods, running: Running, *, node: bool) -> int:
        """Delete a pod that runs, or its node, as soon as there is one."""
        while running.code() is None and not pods.running:
            time.sleep(LOOK_S)
        there = sorted(pods.running)
        if not there:
            return 0
        pod = random.Random(self.schedule.seed).choice(there)
        name, _ = pods.running[pod]
        pods.lose(pod)
        if node:
            self._kubectl("delete", "node", name, "--wait=false", check=False)
            self.deleted_nodes.append(name)
        else:
            self._kubectl("delete", "pod", pod, "-n", self.namespace, "--wait=false", check=False)
        return 1

    def _expire(self, running: Running, pods: Pods) -> tuple[int, ...]:
        """Delete all Jobs once they have ended, as their TTL would."""
        running.wait(HANG_S)
        deadline = time.monotonic() + HANG_S
        while any(not job.over for job in pods.jobs()) and time.monotonic() < deadline:
            time.sleep(20 * LOOK_S)
        there = pods.jobs()
        if there:
            self._kubectl("delete", "jobs", "-n", self.namespace, *(job.name for job in there))
            self.faults += 1
        return ()

    # ------------------------------------------------------------------------------------------------------------- end

    def _unfinished(self, pods: Pods) -> Iterator[Finding]:
        """Find Jobs that still run although the sweep is at its end, or that nothing will ever delete."""

        def jobs() -> list[Job]:
            with _RESTARTING:
                return pods.jobs()

        yield from watch.soon(lambda: [f"Job {job.name} still runs" for job in jobs() if not job.over])
        for job in jobs():
            if not job.expires:
                yield Finding(kind=Kind.LEFT, message=f"Job {job.name} has no TTL")

    def _objects(self) -> list[str]:
        """Name what is left of the sweep in its namespace."""
        said = self._kubectl("get", "jobs,configmaps,pods", "-n", self.namespace, "-o", "name").split()
        return [name for name in said if not name.endswith(("/kube-root-ca.crt", "/sweep-of-somebody-else"))]

    def _processes(self) -> list[str]:
        """Name what still runs of this trial: what its commands started, and actors that still talk to the cluster."""
        started = self.children() | dict.fromkeys(self.gate.senders(), "talks to the cluster")
        return [f"process {pid}: {said[:150]}" for pid, said in sorted(started.items())]

    def _kubectl(self, *arguments: str, **how: Any) -> str:
        """Call kubectl while the API server is there."""
        with _RESTARTING:
            return str(self.cluster.kubectl(*arguments, **how))

    def _others(self) -> bool:
        return "sweep-of-somebody-else" in self._kubectl("get", "jobs", "-n", self.namespace, "-o", "name")


@contextlib.contextmanager
def gates(cluster: Cluster, folder: Path, count: int) -> Iterator[tuple[Path, queue.Queue[Place]]]:
    """Open so many gates, and give a kubeconfig whose contexts lead through them, and the places."""
    config = yaml.safe_load(cluster.kubeconfig("admin").read_text())
    ((admin,), (there,)) = config["users"], config["clusters"]
    free: queue.Queue[Place] = queue.Queue()
    with contextlib.ExitStack() as stack:
        for number in range(count):
            gate, name = stack.enter_context(Gate(cluster)), f"gate-{number}"
            through = there["cluster"] | {"server": f"https://127.0.0.1:{gate.port}"}
            config["clusters"].append({"name": name, "cluster": through})
            config["contexts"].append({"name": name, "context": {"cluster": name, "user": admin["name"]}})
            free.put(Place(gate=gate, context=name))
        file = folder / "kubeconfig"
        file.write_text(yaml.safe_dump(config))
        yield file, free


@contextlib.contextmanager
def control_plane(folder: Path, places: int) -> Iterator[tuple[Cluster, queue.Queue[Place]]]:
    """Start a control plane with so many gates, and stop it; how to reach it is in the environment meanwhile.

    Raises:
        SystemExit: its programs are not there.
    """
    said = subprocess.check_output([KIT / "build.sh", "--where"], text=True, timeout=60)
    binaries = os.environ.setdefault("CONTROL_PLANE_BIN", said.strip())
    os.environ["PATH"] = os.pathsep.join((binaries, os.environ["PATH"]))  # the helm that the program calls
    cluster = Cluster(folder / "k")
    try:
        cluster.up(nodes=CONTROL_PLANE_NODES)
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(BUCKETS))
        with gates(cluster, folder, places) as (kubeconfig, free):
            os.environ["KUBECONFIG"] = str(kubeconfig)  # Ray's workers inherit it, and with it the gates
            yield cluster, free
    finally:
        cluster.down()
