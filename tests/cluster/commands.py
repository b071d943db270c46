"""Command lines of sweeps on fake nodes, and what they are going to create."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import sweep
from sweep import composition, matrix, plan, predict
from sweep.plan import Deployment
from sweep.table import Results
from tests.patience import HANG_S

BEGUN: list[subprocess.Popen[str]] = []
"""What was begun and may still run."""


class Line:
    """The command line of one sweep, its table in a folder of its own; pods wait for `start` and run for `run`."""

    def __init__(self, namespace: str, folder: Path, *given: str, run: str = "1s", start: str = "0s") -> None:
        self.folder = folder / "results" / "smoke"
        self.given = [
            "+experiment=smoke",
            "backend=gke",
            f"backend.namespace={namespace}",
            f"backend.values={{podAnnotations: {{fake.test/run: {run}, fake.test/start: {start}}}}}",
            f"results_dir={folder / 'results'}",
            *given,
        ]

    def begin(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "sweep", *words, *self.given]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        BEGUN.append(process)
        return process

    def run(self, *words: str, expect: int = 0) -> tuple[str, str]:
        """Return stdout and stderr."""
        process = self.begin(*words)
        out, err = process.communicate(timeout=HANG_S)
        assert process.returncode == expect, out + err
        return out, err

    def plan(self) -> plan.Plan:
        """Plan what the first run will create; the sweep gets its id by that."""
        cfg = composition.read(self.given)
        assert cfg is not None
        sweep_id = Results(cfg.folder).open_or_create()
        grown = [(p.model, matrix.expand(p.matrix, p.settings, p.model, predict.too_big)) for p in cfg.parts]
        most = cfg.run.max_points_per_deployment
        return plan.make(grown, sweep_id=sweep_id, nodes=cfg.run.nodes or 1, max_points_per_deployment=most)

    def deployments(self) -> list[Deployment]:
        return list(self.plan().deployments)

    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = sweep.load(str(self.folder), status="all").to_dict("records")
        return found
