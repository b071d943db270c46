"""What the program costs on a cluster: 200 deployments on the fake nodes of tests/cluster, from command line to rows.

python -m tests.benchmarks.cluster [--deployments 200]       (make bench-cluster builds the control plane first)

The control plane, its fake nodes and what plays the pods' logs run beside the command and are not counted. CPU per
deployment is the slope between a tenth of the deployments and all of them, so that Python's and Ray's start do not
count. The time to a row is from the line in the pod's log to the file of the table that has it.
"""

from __future__ import annotations

import argparse
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

ROOT = Path(__file__).parent.parent.parent
KIT = ROOT / "tests" / "cluster" / "kit"
NODES = 200
START_S, RUN_S, EACH_LINE_S = 15.0, 6.0, 0.1
"""A pod starts late, so that its log is there before it; with a real kubelet it always is."""
DEADLINE_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run of the command; `delays_s` from a result's line in its pod's log to its row, sorted."""

    cost: Cost
    delays_s: Sequence[float]


def run(cluster: Cluster, count: int, folder: Path) -> Measured:
    """Measure the command with so many deployments of one point each.

    Raises:
        SystemExit: the command failed, or rows are missing.
    """
    namespace = f"bench-{count}"
    cluster.kubectl("create", "namespace", namespace)
    cluster.wait("service account", lambda: cluster.kubectl("get", "serviceaccount", "default", "-n", namespace))
    values = ",".join(map(str, range(1, count + 1)))
    given = [f"matrix.grid.concurrency=[{values}]", "kv_cache_dtype=auto", f"run.nodes={count}"]
    line = Line(namespace, folder, *given, run=f"{RUN_S}s", start=f"{START_S}s")
    deployments = line.deployments()
    if len(deployments) != count:
        raise SystemExit(f"{len(deployments)} deployments, not {count}")
    with Logs(cluster, namespace, deployments, each_s=EACH_LINE_S):
        command = [sys.executable, "-m", "sweep", *line.given]
        cost = measure(command, cwd=ROOT, environment={"PYTHONPATH": str(ROOT)}, deadline_s=DEADLINE_S)
    if cost.exit_code:
        raise SystemExit(f"the command ended with {cost.exit_code}:\n{cost.output[-2000:]}")
    delays = delays_s(cluster.dir / "logs" / namespace, line.folder / "table", deployments)
    if len(delays) != count:
        raise SystemExit(f"{len(delays)} rows, not {count}")
    return Measured(cost=cost, delays_s=delays)


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


def requests_per_deployment(cluster: Cluster, count: int) -> float:
    """Return how many requests the backend sends for each of so many deployments, watches and logs included."""
    namespace = "bench-requests"
    cluster.kubectl("create", "namespace", namespace)
    cluster.wait("service account", lambda: cluster.kubectl("get", "serviceaccount", "default", "-n", namespace))
    notes = {"fake.test/start": f"{START_S}s"}
    deployments, config = with_objects(planned(count, nodes=count), namespace, run=f"{RUN_S}s", podAnnotations=notes)
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
    count = parser.parse_args().deployments
    os.environ.setdefault(
        "CONTROL_PLANE_BIN", subprocess.check_output([KIT / "build.sh", "--where"], text=True, timeout=60).strip()
    )
    os.environ["PATH"] = os.pathsep.join((os.environ["CONTROL_PLANE_BIN"], os.environ["PATH"]))
    folder = Path(tempfile.mkdtemp(prefix="sweep-bench-", dir="/tmp"))
    program = [sys.executable, str(KIT / "cluster.py")]
    try:  # as a command of its own, so that the meter does not take its processes for ours
        subprocess.run([*program, "up", str(folder), f"--nodes={NODES}"], check=True, timeout=300, stdout=sys.stderr)
        cluster = Cluster(folder)
        os.environ["KUBECONFIG"] = str(cluster.kubeconfig("admin"))
        requests = requests_per_deployment(cluster, count)
        few, all_ = (run(cluster, number, folder / f"run-{number}") for number in (count // 10, count))
    finally:
        subprocess.run([*program, "down", str(folder)], check=False, timeout=120, stdout=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
    slope_ms = (all_.cost.cpu_s - few.cost.cpu_s) / (count - count // 10) * 1e3
    print(f"{count} deployments of one point of {RUN_S:g} s each on {NODES} fake nodes, {os.cpu_count()} CPUs\n")
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


if __name__ == "__main__":
    main()
