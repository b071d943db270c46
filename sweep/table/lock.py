"""One writer per results folder: a file that says who writes, locked by the kernel for as long as the writer lives."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sweep.errors import ReadOnly, UsageError
from sweep.table.disk import telling

_LOOKING_S = 0.1
"""How long to wait for a `holder` call, which takes the lock for an instant to see whether it is free."""

_BEGIN = b'{"host": '
"""How the content of a lock begins that is held, or whose holder was killed; it is empty otherwise."""


@contextlib.contextmanager
def hold(file: Path) -> Iterator[None]:
    """Hold the lock; it ends with the block, or with the process however it dies. The file stays.

    Raises:
        ReadOnly: the folder, or the lock in it, may not be written.
        UsageError: another process, or another block of this one, holds it; or it is not a file of ours.
    """
    try:
        handle = _open(file, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        kind = ReadOnly if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else UsageError
        raise kind(f"cannot lock {file}: {error.strerror}") from error
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
        try:
            handle = _open(file, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _said(handle)
        finally:
            os.close(handle)
    return None


def _open(file: Path, flags: int) -> int:
    """Open the lock, and nothing else: what a writer puts into it would replace the content of another file.

    Raises:
        UsageError: it is a link, is not a regular file, or is another file under a second name.
    """
    try:
        handle = os.open(file, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UsageError(f"{file} is a link, so that it is not used as a lock; remove it") from None
        raise
    about = os.fstat(handle)
    if stat.S_ISREG(about.st_mode) and (about.st_nlink <= 1 or os.pread(handle, len(_BEGIN), 0) in (b"", _BEGIN)):
        return handle  # a copy of the folder that is made of hard links gives the lock a second name
    os.close(handle)
    raise UsageError(f"{file} is a link or not a regular file, so that it is not used as a lock; remove it")


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
