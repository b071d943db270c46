"""One writer per results folder: a file that says who writes, locked by the kernel for as long as the writer lives."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sweep.errors import UsageError
from sweep.table.parts import telling

_LOOKING_S = 0.1
"""How long to wait for a `holder` call, which takes the lock for an instant to see whether it is free."""


@contextlib.contextmanager
def hold(file: Path) -> Iterator[None]:
    """Hold the lock; it ends with the block, or with the process however it dies. The file stays.

    Raises:
        UsageError: another process, or another block of this one, holds it.
    """
    with telling("lock", file):
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        with telling("lock", file):
            if not _take(handle):
                raise UsageError(f"{file.parent} is being written by {_said(handle)}; wait for it, or stop it")
            about = {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "since": datetime.now(UTC).isoformat(timespec="seconds"),
                "command": " ".join(sys.argv),
            }
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(about).encode(), 0)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def holder(file: Path) -> str | None:
    """Return who holds the lock, or None if nobody does.

    Raises:
        UsageError: the file cannot be read.
    """
    with telling("read", file):
        if not file.exists():
            return None
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _said(handle)
        finally:
            os.close(handle)
    return None


def _take(handle: int) -> bool:
    deadline = time.monotonic() + _LOOKING_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOKING_S / 10)
        else:
            return True


def _said(handle: int) -> str:
    try:
        said = json.loads(os.pread(handle, 65536, 0))
        return f"pid {said['pid']} on {said['host']} since {said['since']} ({said['command']})"
    except (ValueError, KeyError, TypeError):
        return "a process that has just started"
