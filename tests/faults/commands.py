"""Command lines as processes: forked from one that has imported everything, or started as a person starts them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.faults import child
from tests.faults.child import Order

ROOT = Path(__file__).parent.parent.parent
LOOK_S = 0.005
PRELOADED = (
    "tests.faults.child",
    "sweep.cli.sweeps",
    "sweep.cli.tables",
    "sweep.composition",
    "sweep.cluster",
    "sweep.doctor",
    "sweep.driver",
    "sweep.summary",
    "sweep.progress",
    "hydra",
    "kubernetes.aio",
    "pandas",
    "pyarrow.parquet",
    "ray.actor",
)
"""What a driver imports; forking a process that has it saves a second and a half of CPU for each."""

_BOOKKEEPING = threading.Lock()
"""multiprocessing looks at all children whenever one begins, and that is not made for threads."""


@dataclass(slots=True)
class Running:
    """A command that was begun."""

    order: Order
    process: BaseProcess | subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def code(self) -> int | None:
        """Return the exit code, the negative number of a signal that ended it; None while it runs."""
        if isinstance(self.process, subprocess.Popen):
            return self.process.poll()
        with _BOOKKEEPING:
            return self.process.exitcode

    def send(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.code() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, seconds: float) -> int | None:
        """Wait for its end; None if it did not end in time."""
        deadline = time.monotonic() + seconds
        while (code := self.code()) is None and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        return code

    def wait_until_begun(self, seconds: float = 60.0) -> None:
        """Wait until the program itself runs, so that moments count from there."""
        deadline = time.monotonic() + seconds
        while not self.order.log.exists() and self.code() is None and time.monotonic() < deadline:
            time.sleep(LOOK_S)

    @property
    def out(self) -> str:
        return self.order.out.read_text(errors="replace") if self.order.out.exists() else ""

    @property
    def err(self) -> str:
        return self.order.err.read_text(errors="replace") if self.order.err.exists() else ""

    @property
    def instants(self) -> list[str]:
        """The names of the instants that came, in their order."""
        return self.order.log.read_text().splitlines() if self.order.log.exists() else []


class Nursery:
    """Begins commands; one for all seeds, also those that are carried out at the same time."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))

    def begin(self, order: Order, *, fresh: bool = False) -> Running:
        """Begin a command; `fresh`: in a new interpreter, whose descendants inherit its environment."""
        if fresh:
            file = order.log.with_suffix(".order")
            file.write_bytes(pickle.dumps(order))
            given = {name: value for name, value in (os.environ | order.environment).items() if value is not None}
            command = [sys.executable, "-m", "tests.faults.child", str(file)]
            return Running(order, subprocess.Popen(command, cwd=ROOT, env=given, stdin=subprocess.DEVNULL))
        with _BOOKKEEPING:
            process = self._context.Process(target=child.carry_out, args=(order,), daemon=True)
            process.start()
        return Running(order, process)


def kill(pid: int) -> bool:
    """Kill a process, and tell whether it was there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
