"""One command line in a process of its own, in which the instants are counted and the clock may be wrong."""

from __future__ import annotations

import faulthandler
import os
import pickle
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.instants import Instants
from tests.faults.schedule import Strike


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a child is to do.

    folder: of the results; instants are what comes to files below it.
    out, err, log: files that get what the command says, and its instants.
    strike: at which instant a signal comes, and which.
    clock_s: by how much time.time is wrong.
    environment: what is set, or (None) not set.
    file_bytes: the largest file that can be written; None: any.
    sabotage: breaks the program before it runs, to see that the harness notices.
    """

    arguments: Sequence[str]
    folder: Path
    out: Path
    err: Path
    log: Path
    environment: Mapping[str, str | None] = field(default_factory=dict)
    strike: Strike | None = None
    clock_s: float = 0.0
    file_bytes: int | None = None
    sabotage: Callable[[], None] | None = None


def carry_out(order: Order) -> None:
    """Become the command, and exit as it does."""
    for path, number in ((order.out, 1), (order.err, 2)):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(handle, number)
        os.close(handle)
    faulthandler.enable()  # where a command hangs, SIGABRT shows where
    for name, value in order.environment.items():
        os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
    tempfile.tempdir = None  # it may have been asked for before we were forked
    sys.argv = ["sweep", *order.arguments]
    if order.clock_s:
        _shift_clock(order.clock_s)
    if order.file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order.file_bytes, resource.RLIM_INFINITY))
    from sweep.cli import run_command

    if order.sabotage is not None:
        order.sabotage()
    Instants(folder=order.folder, log=order.log, strike=order.strike).watch()
    code = run_command(list(order.arguments))
    for number in (signal.SIGINT, signal.SIGTERM):  # it has ended; what comes now is no concern of the program
        signal.signal(number, signal.SIG_IGN)
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)


def _shift_clock(seconds: float) -> None:
    """Make the wall clock wrong for this process, as after a jump; the monotonic one stays."""
    true_s, true_ns = time.time, time.time_ns
    time.time = lambda: true_s() + seconds
    time.time_ns = lambda: true_ns() + int(seconds * 1e9)


if __name__ == "__main__":
    carry_out(pickle.loads(Path(sys.argv[1]).read_bytes()))
