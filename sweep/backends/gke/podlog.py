"""The log of one pod, followed: no line is lost and none is told twice, however often the stream breaks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque

from sweep.backends.gke.conditions import CONTAINER
from sweep.backends.kubernetes import Cluster, LogLine, Pauses
from sweep.errors import ClusterError
from sweep.published import RESULT, STEP

log = logging.getLogger(__name__)

END_OF_LOG_S = 0.5
"""How long a followed log may take to end after its container; then what is missing is read at once."""
AGAIN_S = 1.0
"""After a stream's end: mostly the container has ended too, and the Job will say so."""
KEPT_LINES = 200


class PodLog:
    """Follows the log of a pod whose container has begun.

    last: the last lines, less those that publish.py wrote.
    """

    def __init__(self, cluster: Cluster, pod: str, changed: asyncio.Event) -> None:
        self.pod = pod
        self.last: deque[str] = deque(maxlen=KEPT_LINES)
        self._cluster, self._changed = cluster, changed
        self._lines: list[LogLine] = []
        self._of_this_second: set[LogLine] = set()
        self._since: str | None = None
        self._at_an_end = asyncio.Event()
        self._task = asyncio.create_task(self._follow())

    def take(self) -> list[LogLine]:
        """Return the lines that were read since the last call."""
        taken, self._lines = self._lines, []
        return taken

    def start_over(self) -> None:
        """Read from the beginning next time: where the node's clock was set back, later lines have earlier times."""
        self._since = None
        self._of_this_second.clear()

    async def catch_up(self) -> None:
        """Read all that there is now, from the beginning, and follow on.

        Raises:
            ClusterError: it cannot be read now.
        """
        await self.close()
        self.start_over()
        try:
            await self._read_on(follow=False)
        except ClusterError as error:
            if error.status != 404:  # else there is nothing more
                raise
        finally:
            self._task = asyncio.create_task(self._follow())

    async def finish(self, patience_s: float) -> bool:
        """Read to the end, now that the container has ended; what a stream told may not be all of it.

        Returns whether it was read: it may be gone, or not to be had for so long.
        """
        if not self._at_an_end.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._at_an_end.wait(), END_OF_LOG_S)
        await self.close()
        pauses, until = Pauses(), time.monotonic() + patience_s
        while True:
            try:
                await self._read_on(follow=False)
            except ClusterError as error:
                pause = pauses.next()
                if error.status == 404 or time.monotonic() + pause > until:
                    is_gone = error.status == 404  # its pod was deleted
                    log.log(logging.INFO if is_gone else logging.WARNING, "%s", error)
                    return False
                await asyncio.sleep(pause)
            else:
                return True

    async def close(self) -> None:
        """Stop following."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        """Follow until told to stop: also a stream that ends cleanly may have been cut, and the container runs on."""
        pauses = Pauses()
        while True:
            before = self._since
            self._at_an_end.clear()
            try:
                await self._read_on(follow=True)
            except ClusterError as error:
                log.info("%s", error)
                if error.status == 404:
                    return
            if self._since != before:
                pauses = Pauses()
            self._at_an_end.set()
            await asyncio.sleep(AGAIN_S + pauses.next())

    async def _read_on(self, *, follow: bool) -> None:
        """Read what comes after the last line; the server knows whole seconds only, so some lines come again."""
        async for line in self._cluster.log_lines(self.pod, CONTAINER, follow=follow, since=self._since):
            if self._since is not None and line.second != self._since:
                self._of_this_second.clear()
            if line in self._of_this_second:
                continue
            self._of_this_second.add(line)
            self._since = line.second
            self._lines.append(line)
            if not line.text.startswith((RESULT, STEP)):
                self.last.append(line.text)
            self._changed.set()
