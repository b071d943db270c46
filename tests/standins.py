"""Backends for tests: they need no database and do on order what real ones do by accident."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from sweep.backends import Ended, Event, PointDone, PointFailed, PointStarted, Started
from sweep.plan import Deployment
from sweep.table import Source, Status

REPORT = Path(__file__).parent / "data" / "reports" / "1.2.0rc2-throughput-streaming.json"


class Standin:
    """Measures a point in `seconds` and tells a fixed report.

    At the concurrency given by one of these keys it misbehaves: `raise_at`, `lie_at` (a report cut in half), `end_at`
    (the deployment ends early), `fail_at`, `kill_at` (its own process, each time) and `kill_once_at` (only while the
    file `marker` does not exist).
    """

    source: ClassVar[Source] = Source.MEASURED
    in_process: ClassVar[bool] = True

    def __init__(self, config: Mapping[str, Any]) -> None:
        if config.get("broken"):
            raise ValueError("the backend cannot be made")
        self.config = config
        self.report = json.loads(REPORT.read_text())
        self.cancelled = False

    async def deploy(self, deployment: Deployment) -> AsyncIterator[Event]:
        yield Started(node="standin")
        for attempt in deployment.attempts:
            await asyncio.sleep(float(self.config.get("seconds", 0)))
            if self.cancelled:
                return
            begun = datetime.now(UTC)
            yield PointStarted(key=attempt.key)
            faults = {k for k, v in self.config.items() if k.endswith("_at") and v == attempt.point.concurrency}
            if "raise_at" in faults:
                raise RuntimeError("the backend broke")
            if "end_at" in faults:
                yield Ended(message="the node went away")
                return
            if "kill_at" in faults:
                os.kill(os.getpid(), signal.SIGKILL)
            if "kill_once_at" in faults and not Path(self.config["marker"]).exists():
                Path(self.config["marker"]).write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGKILL)
            now = datetime.now(UTC)
            if "fail_at" in faults:
                yield PointFailed(
                    key=attempt.key,
                    status=Status.FAILED,
                    kind="out_of_memory",
                    message="CUDA out of memory",
                    started_at=begun,
                    ended_at=now,
                    exit_code=1,
                    log_tail="torch.OutOfMemoryError",
                )
                continue
            report = {"engine": self.report["engine"]} if "lie_at" in faults else self.report
            yield PointDone(key=attempt.key, report=report, environment={}, started_at=begun, ended_at=now)
        yield Ended()

    async def cancel(self, deployment_id: str) -> None:
        self.cancelled = True
