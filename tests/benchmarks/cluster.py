"""What the program costs on a cluster: 200 deployments on the fake nodes of tests/cluster, from command line to rows.

python -m tests.benchmarks.cluster [--deployments 200] [--quota-nodes 18]     (make bench-cluster builds what it needs)

With --quota-nodes all Jobs go through a queue of Kueue that admits so many at a time; then it also tells how fast they
were admitted, and whether in the order in which they were made.

The control plane, its fake nodes and what plays the pods' logs run beside the command and are not counted. CPU per
deployment is the slope between a tenth of the deployments and all of them, so that Python's and Ray's start do not
count. The time to a row is from the line in the pod's log to the file of the table that has it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq

from sweep.plan import Deployment, job_name
from tests.benchmarks.meter import Cost, measure
from tests.cluster.commands import Line
from tests.cluster.fakes import Logs
from tests.cluster.following import follow, planned, with_objects
from tests.cluster.kit.cluster import Cluster
from tests.cluster.queues import Queues, condition

ROOT = Path(__file__).parent.parent.parent
KIT = ROOT / "tests" / "cluster" / "kit"
NODES = 200
START_S, RUN_S, EACH_LINE_S = 15.0, 6.0, 0.1
"""A pod starts late, so that its log is there before it; with a real kubelet it always is."""
WAVE_S = 60.0
"""What a wave of deployments, as many as there are nodes, may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run of the command.

    delays_s: from a result's line in its pod's log to its row, sorted.
    admitted: when each Job was made and when it was admitted, in seconds, in the order of being admitted.
    """

    cost: Cost
    delays_s: Sequence[float]
    admitted: Sequence[tuple[float, float]] = ()


def run(cluster: Cluster, count: int, folder: Path, quota_nodes: int | None) -> Measured:
    """Measure the command with so many deployments of one point each.

    Raises:
        SystemExit: the command failed, or rows are missing.
    """
    namespace = f"bench-{count}"
    cluster.kubectl("create", "namespace", namespace)
    cluster.wait("service account", lambda: cluster.kubectl("get", "serviceaccount", "default", "-n", namespace))
    values = ",".join(map(str, range(1, count + 1)))
    given = [f"matrix.grid.concurrency=[{values}]", "kv_cache_dtype=auto", f"run.nodes={count}"]
    queues = Queues(cluster, namespace)
    if quota_nodes is not None:
        given.append(f"backend.queue={queues.make(4 * quota_nodes)}")
    line = Line(namespace, folder, *given, run=f"{RUN_S}s", start=f"{START_S}s")
    deployments = line.deployments()
    if len(deployments) != count:
        raise SystemExit(f"{len(deployments)} deployments, not {count}")
    with Logs(cluster, namespace, deployments, each_s=EACH_LINE_S):
        command = [sys.executable, "-m", "sweep", *line.given]
        waves = -(-count // min(NODES, quota_nodes or NODES))
        cost = measure(command, cwd=ROOT, environment={"PYTHONPATH": str(ROOT)}, deadline_s=300 + waves * WAVE_S)
    if cost.exit_code:
        raise SystemExit(f"the command ended with {cost.exit_code}:\n{cost.output[-2000:]}")
    delays = delays_s(cluster.dir / "logs" / namespace, line.folder / "table", deployments)
    if len(delays) != count:
        raise SystemExit(f"{len(delays)} rows, not {count}")
    return Measured(cost=cost, delays_s=delays, admitted=admissions(queues) if quota_nodes is not None else ())


def delays_s(logs: Path, table: Path, deployments: Sequence[Deployment]) -> list[float]:
    """Return for each row how long after the line in its pod's log it was in the table."""
    written: dict[str, float] = {}
    for log in logs.glob("*.log"):
        (line,) = [line for line in log.read_text().splitlines() if " SWEEP_RESULT " in line]
        moment = line.partition(" ")[0]
        written[log.name.rpartition("-")[0]] = datetime.fromisoformat(moment[:26] + "+00:00").timestamp()
    points = {d.attempts[0].point_id: job_name(d.deployment_id) for d in deployments}
    delays = []
    for part in table.glob("*.parquet"):
        for point_id in pq.read_table(part, columns=["point_id"])["point_id"].to_pylist():
            delays.append(part.stat().st_mtime - written[points[point_id]])
    return sorted(delays)


def admissions(queues: Queues) -> list[tuple[float, float]]:
    """Return when each Workload was made and admitted; Kubernetes tells whole seconds."""
    found = []
    for workload in queues.workloads():
        made = workload["metadata"]["creationTimestamp"], condition(workload, "Admitted")["lastTransitionTime"]
        found.append(tuple(datetime.fromisoformat(at).timestamp() for at in made))
    return sorted(((made, admitted) for made, admitted in found), key=lambda each: (each[1], each[0]))


def requests_per_deployment(cluster: Cluster, count: int, quota_nodes: int | None) -> float:
    """Return how many requests the backend sends for each of so many deployments, watches and logs included."""
    namespace = "bench-requests"
    cluster.kubectl("create", "namespace", namespace)
    cluster.wait("service account", lambda: cluster.kubectl("get", "serviceaccount", "default", "-n", namespace))
    notes = {"fake.test/start": f"{START_S}s"}
    queue = {} if quota_nodes is None else {"queue": Queues(cluster, namespace).make(4 * quota_nodes)}
    made = planned(count, nodes=count)
    deployments, config = with_objects(made, namespace, run=f"{RUN_S}s", podAnnotations=notes, **queue)
    counted: list[int] = []
    with Logs(cluster, namespace, deployments):
        follow(deployments, config, requests=counted)
    return counted[0] / count


def slope_of(few: Cost, all_: Cost, name: str, count: int) -> float:
    """Return milliseconds of CPU per further deployment of the processes whose name begins so."""
    seconds = [
        sum(cpu_s for said, cpu_s in cost.cpu_by_process_s.items() if said.startswith(name)) for cost in (few, all_)
    ]
    return (seconds[1] - seconds[0]) / (count - count // 10) * 1e3


def main() -> None:
    """Start a control plane, measure, print one Markdown table, and stop it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cluster", description=__doc__)
    parser.add_argument("--deployments", type=int, default=200)
    parser.add_argument("--quota-nodes", type=int, help="let Kueue admit so many deployments at a time")
    options = parser.parse_args()
    count, quota_nodes = options.deployments, options.quota_nodes
    os.environ.setdefault(
        "CONTROL_PLANE_BIN", subprocess.check_output([KIT / "build.sh", "--where"], text=True, timeout=60).strip()
    )
    os.environ["PATH"] = os.pathsep.join((os.environ["CONTROL_PLANE_BIN"], os.environ["PATH"]))
    folder = Path(tempfile.mkdtemp(prefix="sweep-bench-", dir="/tmp"))
    program = [sys.executable, "-m", "tests.cluster.kit"]
    queue = ["--queue"] if quota_nodes is not None else []
    try:  # as a command of its own, so that the meter does not take its processes for ours
        up = [*program, "up", str(folder), f"--nodes={NODES}", *queue]
        subprocess.run(up, check=True, timeout=300, stdout=sys.stderr, cwd=ROOT)
        cluster = Cluster(folder)
        os.environ["KUBECONFIG"] = str(cluster.kubeconfig("admin"))
        requests = requests_per_deployment(cluster, count, quota_nodes)
        numbers = (count // 10, count)
        few, all_ = (run(cluster, number, folder / f"run-{number}", quota_nodes) for number in numbers)
    finally:
        subprocess.run([*program, "down", str(folder)], check=False, timeout=120, stdout=sys.stderr, cwd=ROOT)
        shutil.rmtree(folder, ignore_errors=True)
    slope_ms = (all_.cost.cpu_s - few.cost.cpu_s) / (count - count // 10) * 1e3
    where = f"{NODES} fake nodes" + (f", {quota_nodes} of them by Kueue's quota" if quota_nodes is not None else "")
    print(f"{count} deployments of one point of {RUN_S:g} s each on {where}, {os.cpu_count()} CPUs\n")
    print("| deployments | wall s | CPU s | peak PSS MB | line to row, median s | longest s |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for number, found in ((count // 10, few), (count, all_)):
        delays = found.delays_s
        print(
            f"| {number} | {found.cost.wall_s:.1f} | {found.cost.cpu_s:.2f} | {found.cost.peak_pss_mb:.0f} "
            f"| {delays[len(delays) // 2]:.2f} | {delays[-1]:.2f} |"
        )
    parts = {"driver": "driver", "actors": "ray::Pool", "helm": "helm"}
    told = [f"{title} {slope_of(few.cost, all_.cost, name, count):.1f} ms" for title, name in parts.items()]
    print(f"\nCPU per further deployment {slope_ms:.1f} ms, of it {', '.join(told)}")
    print(f"API requests per deployment {requests:.2f}")
    if all_.admitted:
        made = [each[0] for each in all_.admitted]
        took_s = all_.admitted[-1][1] - all_.admitted[0][1]
        late = sum(earlier > later + 1 for earlier, later in itertools.pairwise(made))
        told = f"{len(made)} admissions in {took_s:.0f} s ({len(made) / max(took_s, 1):.1f} a second)"
        print(f"{told}; {late} before one that was made more than a second earlier")


if __name__ == "__main__":
    main()
