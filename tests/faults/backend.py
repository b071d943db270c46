"""The stand-in backend of the harness: it also tells, in a file, which process measured which point, and when."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

from sweep.backends import Event, PointDone, PointFailed, PointStarted
from sweep.plan import Deployment
from tests.faults.model import Span
from tests.standins import Standin

FAILING_KIND = "timeout"
"""How a point fails that fails by itself: in a way that is no reason to try it again, or to leave out others."""


class Logged(Standin):
    """A stand-in whose every point is two lines of the file `spans`, one when it begins and one when it ends.

    The monotonic clock is one for all processes of a machine.
    """

    async def deploy(self, deployment: Deployment) -> AsyncIterator[Event]:
        handle = os.open(self.config["spans"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            async for event in super().deploy(deployment):
                if isinstance(event, PointStarted | PointDone | PointFailed):
                    point_id, repeat, number = event.key
                    which = "begin" if isinstance(event, PointStarted) else "end"
                    line = f"{which} {point_id} {repeat} {number} {os.getpid()} {time.monotonic()}\n"
                    os.write(handle, line.encode())  # one write, so that lines of two processes never mix
                yield replace(event, kind=FAILING_KIND) if isinstance(event, PointFailed) else event
        finally:
            os.close(handle)


def read_spans(file: Path) -> Iterator[Span]:
    """Yield what the file tells; where a process was killed the end is None."""
    begun: dict[tuple[str, int, int, int], float] = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        which, point_id, repeat, number, pid, moment = line.split()
        name = (point_id, int(repeat), int(number), int(pid))
        if which == "begin":
            begun[name] = float(moment)
        elif name in begun:
            yield Span(point=name[:2], holder=f"pid {pid}", begin=begun.pop(name), end=float(moment))
    for name, began in begun.items():
        yield Span(point=name[:2], holder=f"pid {name[3]}", begin=began, end=None)
