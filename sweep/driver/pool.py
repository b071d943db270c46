"""What runs inside an actor: it carries deployments of one backend and keeps what they tell until it is written."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sweep import backends
from sweep.backends import AttemptKey, Ended, Event, Lost, PointFailed, PointStarted
from sweep.plan import Deployment
from sweep.table import Status

log = logging.getLogger(__name__)

GATHER_S, GATHER_ELSEWHERE_S = 0.1, 0.5
"""How long a poll that has something waits for more: each batch becomes one file. Where the work is done elsewhere,
nothing waits for the answer, and fewer batches cost less."""
SETTLE_S = 2.0
"""How long a request may still take that a process sent before it died, or that timed out."""
LOG_TAIL_CHARS = 4000

Numbered = tuple[int, str, Event]
"""(sequence number in this actor, deployment_id, event)."""


class Pool:
    """Carries deployments of one backend; lives in an actor, or inline in a test."""

    def __init__(self, backend: str, config: Mapping[str, Any]) -> None:
        self._backend = backends.find(backend)(config)
        self._gather_s = GATHER_S if self._backend.in_process else GATHER_ELSEWHERE_S
        self._life = secrets.token_hex(4)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stops: dict[str, tuple[frozenset[AttemptKey], asyncio.Task[None]]] = {}
        self._events: deque[Numbered] = deque()
        self._number = 0
        self._news = asyncio.Event()

    async def poll(
        self,
        life: str | None,
        acknowledged: int,
        deployments: Sequence[Deployment],
        wait_s: float,
        stops: Mapping[str, Sequence[AttemptKey]] | None = None,
    ) -> tuple[str, list[Numbered]]:
        """Begin deployments, forget acknowledged events and return the others, as soon as there are any.

        One call does all, so that there is none whose loss nobody notices. An actor that died is restarted by Ray, also
        between two calls: the name of its life, which is returned first, tells its caller that it knows nothing more.

        Args:
            life: whose events were acknowledged; events of another life are not forgotten.
            acknowledged: the number up to which events are forgotten.
            deployments: what is to be carried; the same one twice is begun once.
            wait_s: how long to wait for the first event.
            stops: attempts that are not to begin any more, by deployment; all of them each time.
        """
        for deployment in deployments:
            if deployment.deployment_id not in self._tasks:
                self._tasks[deployment.deployment_id] = asyncio.create_task(self._carry(deployment))
        for deployment_id, keys in (stops or {}).items():
            self._stop(deployment_id, frozenset(keys))
        while life == self._life and self._events and self._events[0][0] <= acknowledged:
            self._events.popleft()
        if not self._events:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), wait_s)
                await asyncio.sleep(min(self._gather_s, wait_s))
        return self._life, list(self._events)

    async def cancel(self, names: Sequence[str], within_s: float) -> tuple[dict[str, str], int]:
        """End these deployments, also those that only a life before this one had begun.

        What creates them ends first: else something would be created after it was deleted.

        Returns why, by name, each that may be left is, and how many of the others are still terminating.
        """
        until = asyncio.get_running_loop().time() + within_s
        if carrying := [task for task in self._tasks.values() if not task.done()]:
            for task in carrying:
                task.cancel()
            await asyncio.wait(carrying, timeout=within_s / 2)
        ends = await asyncio.gather(*(self._end(name, until) for name in names), return_exceptions=True)
        left: dict[str, str] = {}
        terminating = 0
        for name, end in zip(names, ends, strict=True):
            if isinstance(end, TimeoutError):
                left[name] = f"it could not be ended within {within_s:.0f} s"
            elif isinstance(end, BaseException):
                left[name] = str(end) or type(end).__name__
            elif name in self._tasks and not self._tasks[name].done():
                left[name] = "it is still being created"
            elif end:
                terminating += 1
        return left, terminating

    async def _end(self, name: str, until: float) -> bool:
        """End a deployment, and once more: what was asked for by a process that died may be there a moment later.

        Returns whether parts of it are still terminating.
        """
        async with asyncio.timeout_at(until):
            await self._backend.cancel(name)
            await asyncio.sleep(SETTLE_S)
            return await self._backend.cancel(name)

    def _stop(self, deployment_id: str, keys: frozenset[AttemptKey]) -> None:
        """Tell the backend what is not to begin; once for the same keys, and again after it failed."""
        told, telling = self._stops.get(deployment_id, (None, None))
        if telling is not None and not telling.done():
            return
        failed = telling is not None and not telling.cancelled() and telling.exception() is not None
        if told != keys or failed:
            if failed and telling is not None:
                log.warning("deployment %s could not be told to stop: %s", deployment_id, telling.exception())
            task = asyncio.create_task(self._backend.stop(deployment_id, keys))
            self._stops[deployment_id] = keys, task

    async def _carry(self, deployment: Deployment) -> None:
        current, begun = None, datetime.now(UTC)
        try:
            async for event in self._backend.deploy(deployment):
                if isinstance(event, PointStarted):
                    current, begun = event.key, datetime.now(UTC)
                self._tell(deployment, event)
                if isinstance(event, (Ended, Lost)):
                    return
            self._tell(deployment, Ended(message="the backend stopped without saying why"))
        except (
            BaseException
        ) as error:  # also CancelledError and SystemExit: whatever it was, the driver waits for an end
            said = f"{type(error).__name__}: {error}"
            if current is not None:
                self._tell(
                    deployment,
                    PointFailed(
                        key=current,
                        status=Status.FAILED,
                        kind="backend_error",
                        message=said,
                        started_at=begun,
                        ended_at=datetime.now(UTC),
                        log_tail=traceback.format_exc()[-LOG_TAIL_CHARS:],
                    ),
                )
            self._tell(deployment, Ended(message=said))

    def _tell(self, deployment: Deployment, event: Event) -> None:
        self._number += 1
        self._events.append((self._number, deployment.deployment_id, event))
        self._news.set()
