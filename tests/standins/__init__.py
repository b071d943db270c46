"""Backends for tests: they need no database and do on order what real ones do by accident."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from sweep.backends import AttemptKey, Ended, Event, Lost, PointDone, PointFailed, PointStarted, Started
from sweep.plan import Deployment
from sweep.simulate import simulate
from sweep.table import Source, Status


@dataclass(frozen=True)
class Linear:
    """An engine whose steps cost so much a prompt token and so much a sequence; it needs no database."""

    kv_tokens: int = 1_000_000_000

    def decode_ms(self, batch: int, kv_len: int) -> float:
        return 5 + 0.05 * batch

    def prefill_ms(self, prompts: int, isl: int) -> float:
        return 5 + 0.01 * prompts * isl

    def mixed_ms(self, prompts: int, isl: int, chunks: Sequence[tuple[int, int]], decodes: int, kv_len: int) -> float:
        return 5 + 0.01 * (prompts * isl + sum(tokens for tokens, _ in chunks)) + 0.05 * decodes


NONSENSE: Mapping[str, Mapping[str, Any]] = {
    "no column": {"environment": {"nodes": "n1"}},
    "no number": {"environment": {"load_s": "a minute"}},
    "no object": {"report": [1, 2]},
    "not JSON": {"report": {"engine": {1, 2}}},
    "no zone": {"started_at": datetime(2025, 11, 7)},
    "no time": {"ended_at": None},
    "no text": {"log_tail": b"bytes"},
}
"""What a backend must never tell."""


class Standin:
    """Takes `seconds` for a point and tells the report of an engine with linear step times.

    At the concurrency given by one of these keys it misbehaves: `raise_at`, `cancel_at` (raises what asyncio raises in
    a cancelled task), `exit_at` (SystemExit), `lie_at` (a report cut in half), `end_at` (the deployment ends early),
    `lose_at` (nobody sees it any more),
    `fail_at` (in the way of `kind`, on `node`), `kill_at` (its own process, each time), `kill_once_at`, `block_at`
    (never answers again), `lock_at` (tells what cannot be sent to another process), and `nonsense_at` (tells
    NONSENSE[nonsense]). With a `marker`, `fail_at` and `kill_once_at` do so only while that file does not exist. To
    cancel fails while the file `endless` does not exist. `told` are events that it tells first, in place of its own.
    """

    source: ClassVar[Source] = Source.MEASURED
    in_process: ClassVar[bool] = True

    def __init__(self, config: Mapping[str, Any]) -> None:
        if config.get("broken"):
            raise ValueError("the backend cannot be made")
        self.config = config
        self.cancelled = False
        self.stopped: dict[str, Collection[AttemptKey]] = {}

    async def deploy(self, deployment: Deployment) -> AsyncIterator[Event]:
        for event in self.config.get("told", [Started(node="standin")]):
            yield event
        for attempt in deployment.attempts:
            await asyncio.sleep(float(self.config.get("seconds", 0)))
            if self.cancelled:
                return
            if attempt.key in self.stopped.get(deployment.deployment_id, ()):
                continue
            begun = datetime.now(UTC)
            yield PointStarted(key=attempt.key)
            faults = {k for k, v in self.config.items() if k.endswith("_at") and v == attempt.point.concurrency}
            if "raise_at" in faults:
                raise RuntimeError("the backend broke")
            if "cancel_at" in faults:
                raise asyncio.CancelledError("nobody cancelled it")
            if "exit_at" in faults:
                raise SystemExit(3)
            if "block_at" in faults:
                time.sleep(600)
            if "lose_at" in faults:
                yield Lost(message="may not watch it any more")
                return
            if "end_at" in faults:
                yield Ended(message="the node went away", kind="node_lost", node="standin")
                return
            if "kill_at" in faults:
                os.kill(os.getpid(), signal.SIGKILL)
            if "kill_once_at" in faults and not Path(self.config["marker"]).exists():
                Path(self.config["marker"]).write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGKILL)
            now = datetime.now(UTC)
            if "fail_at" in faults and self._first(self.config.get("marker")):
                yield PointFailed(
                    key=attempt.key,
                    status=Status.FAILED,
                    kind=str(self.config.get("kind", "oom")),
                    message="CUDA out of memory",
                    started_at=begun,
                    ended_at=now,
                    exit_code=1,
                    log_tail="torch.OutOfMemoryError",
                    environment={"node": str(self.config.get("node", "standin"))},
                )
                continue
            report = simulate(attempt.point, deployment.model, Linear())
            if "lie_at" in faults:
                report = {"engine": report["engine"]}
            told: dict[str, Any] = {
                "report": report,
                "environment": {"node": str(os.getpid())},
                "started_at": begun,
                "ended_at": now,
            }
            if "lock_at" in faults:
                told["environment"] = {"node": threading.Lock()}
            if "nonsense_at" in faults:
                told |= NONSENSE[self.config["nonsense"]]
            yield PointDone(key=attempt.key, **told)
        yield Ended()

    def _first(self, marker: str | None) -> bool:
        """Say whether it happens for the first time; always where nothing keeps count."""
        if marker is None:
            return True
        try:
            Path(marker).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    async def stop(self, deployment_id: str, keys: Collection[AttemptKey]) -> None:
        self.stopped[deployment_id] = keys

    async def cancel(self, deployment_id: str) -> None:
        if "endless" in self.config and self._first(self.config["endless"]):
            raise RuntimeError("you may not delete it")
        self.cancelled = True
