"""What the program itself costs per point, beside Ray Tune and Hydra's launchers on the same no-op points.

python -m tests.benchmarks.overhead [--points 1000] [--peers] [--peers-environment FOLDER]

Ours is the whole command: Hydra's composition, matrix, plan, Ray, one deployment per point, evidence files and the
table. The backend answers at once with a report that it has made once, so that all that is measured is ours.

The marginal CPU per point is the slope between two sizes a factor of ten apart, so that start-up does not count. Ours
is so flat that the larger size must be ten times the points; Tune runs a tenth of the points and all of them; Hydra's
launchers, which compose every job twice, a hundredth and a tenth, and their times for all are extrapolated and marked.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from sweep.backends import Ended, Event, PointDone, PointStarted, Started
from sweep.plan import Deployment
from sweep.simulate import simulate
from sweep.table import Source
from tests.benchmarks.meter import Cost, measure
from tests.standins import Linear

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
DEADLINE_S = 900
INSTALL_S = 900


class NoOp:
    """A backend that answers at once."""

    source: ClassVar[Source] = Source.MEASURED
    in_process: ClassVar[bool] = False

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._report: Mapping[str, Any] = {}

    async def deploy(self, deployment: Deployment) -> AsyncIterator[Event]:
        """Report every point of the deployment."""
        yield Started(node="nowhere")
        if not self._report:  # it fits every point: they differ in nothing that a report states
            self._report = simulate(deployment.attempts[0].point, deployment.model, Linear())
        for attempt in deployment.attempts:
            now = datetime.now(UTC)
            yield PointStarted(key=attempt.key)
            yield PointDone(key=attempt.key, report=self._report, environment={}, started_at=now, ended_at=now)
        yield Ended()

    async def cancel(self, deployment_id: str) -> None:
        """Do nothing: there is nothing to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to run N points: its name, the command for N, and the sizes at which it is measured."""

    name: str
    command: Callable[[int, Path], list[str]]
    sizes: tuple[int, int]


def ours(points: int, folder: Path) -> list[str]:
    """Return our command; two settings that no engine depends on make the points, in hundreds."""
    return [
        sys.executable,
        "-m",
        "sweep",
        "+experiment=smoke",
        "name=overhead",
        f"results_dir={folder}",
        f"backend.name={__spec__.name}:NoOp",
        "run.max_points_per_deployment=1",
        "kv_cache_dtype=auto",
        "concurrency=16",
        f"matrix.grid.dataset_seed=[{','.join(map(str, range(100)))}]",
        f"matrix.grid.warmup=[{','.join(map(str, range(points // 100)))}]",
    ]


def ways(points: int, python: Path | None) -> list[Way]:
    """Return what is compared; without an environment of the peers it is ours alone."""
    found = [Way(name="sweep", command=ours, sizes=(points, 10 * points))]
    if python is None:
        return found

    def tune(n: int, folder: Path) -> list[str]:
        return [str(python), str(HERE / "peer_tune.py"), str(n)]

    def hydra(*overrides: str) -> Callable[[int, Path], list[str]]:
        return lambda n, folder: [
            str(python),
            str(HERE / "peer_hydra.py"),
            "-m",
            f"+i=range(0,{n})",
            f"hydra.sweep.dir={folder}",
            *overrides,
        ]

    tenth = (points // 100, points // 10)
    found.append(Way(name=f"Ray Tune {version(python, 'ray')}", command=tune, sizes=(points // 10, points)))
    basic = f"Hydra {version(python, 'hydra-core')}, basic launcher"
    found.append(Way(name=basic, command=hydra("hydra/launcher=basic"), sizes=tenth))
    if (launcher := version(python, "hydra-ray-launcher")) is not None:
        init = ["address=local", "+include_dashboard=false", f"+num_cpus={os.cpu_count()}", "+log_to_driver=false"]
        local = [f"{'+' * word.startswith('+')}hydra.launcher.ray.init.{word.lstrip('+')}" for word in init]
        found.append(
            Way(name=f"hydra-ray-launcher {launcher}", command=hydra("hydra/launcher=ray", *local), sizes=tenth)
        )
    return found


def peers(folder: Path) -> Path:
    """Make an environment with the peers, or take the one that is there, and return its Python.

    Ray is the version that we have. hydra-ray-launcher asks for old releases of other packages and for Python below
    3.12; where it cannot be installed this is told and it is left out.
    """
    python = folder / "bin" / "python"
    if not python.exists():
        tell(f"installing the peers into {folder}")
        venv.create(folder, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet"]
        wanted = [f"{name}=={importlib.metadata.version(name.split('[')[0])}" for name in ("ray[tune]", "hydra-core")]
        subprocess.run([*install, *wanted], check=True, timeout=INSTALL_S, stdout=sys.stderr)
        done = subprocess.run([*install, "hydra-ray-launcher"], check=False, timeout=INSTALL_S, stdout=sys.stderr)
        if done.returncode:
            tell("hydra-ray-launcher cannot be installed here and is left out")
    return python


def version(python: Path, package: str) -> str | None:
    """Return the version that an environment has of a package, or None."""
    ask = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([str(python), "-c", ask], check=False, capture_output=True, text=True, timeout=60)
    return done.stdout.strip() if done.returncode == 0 else None


def cost_of(way: Way, points: int) -> Cost:
    """Measure one size.

    Raises:
        SystemExit: the command did not end well; a failed run has no cost.
    """
    tell(f"{way.name}: {points} points")
    with tempfile.TemporaryDirectory() as folder:
        environment = {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
        cost = measure(way.command(points, Path(folder)), cwd=ROOT, environment=environment, deadline_s=DEADLINE_S)
        if cost.exit_code:
            raise SystemExit(f"{way.name} ended with {cost.exit_code}:\n{cost.output[-2000:]}")
    return cost


def tell(message: str) -> None:
    """Show progress on stderr."""
    print(f"overhead: {message}", file=sys.stderr, flush=True)


def main() -> None:
    """Measure each way at its two sizes and print one Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.overhead", description=__doc__)
    parser.add_argument("--points", type=int, default=1000, help="how many no-op points, in hundreds")
    parser.add_argument("--peers", action="store_true", help="measure Ray Tune and Hydra's launchers too")
    parser.add_argument("--peers-environment", type=Path, help="where the peers are, or are to be installed and kept")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wanted = said.peers or said.peers_environment is not None
        python = peers(said.peers_environment or Path(folder)) if wanted else None
        table = [(way, cost_of(way, way.sizes[0]), cost_of(way, way.sizes[1])) for way in ways(said.points, python)]
    print(f"overhead, {said.points} no-op points, {os.cpu_count()} CPUs, Ray {importlib.metadata.version('ray')}\n")
    print("| | wall s | CPU s | peak PSS MB | CPU per further point, ms | against Ray Tune |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    slopes = {way.name: (large.cpu_s - small.cpu_s) / (way.sizes[1] - way.sizes[0]) for way, small, large in table}
    tune = next((slope for name, slope in slopes.items() if name.startswith("Ray Tune")), None)
    for way, small, large in table:
        near, size = (small, way.sizes[0]) if way.sizes[0] == said.points else (large, way.sizes[1])
        rest, mark = said.points - size, "" if size == said.points else "≈ "
        wall_s = near.wall_s + rest * (large.wall_s - small.wall_s) / (way.sizes[1] - way.sizes[0])
        cpu_s = near.cpu_s + rest * slopes[way.name]
        ratio = "" if tune is None else f"{slopes[way.name] / tune:.3g}"
        print(
            f"| {way.name} | {mark}{wall_s:.1f} | {mark}{cpu_s:.1f} | {near.peak_pss_mb:.0f} "
            f"| {slopes[way.name] * 1e3:.2f} | {ratio} |"
        )
    if any(way.sizes[1] < said.points for way, _, _ in table):
        print(
            f"\n≈ measured at {said.points // 100} and {said.points // 10} points and extrapolated; memory as measured."
        )


if __name__ == "__main__":
    main()
