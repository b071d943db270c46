"""The folder of a Ray that runs for one driver: short, closed to other users, locked for as long as the driver lives.

    /tmp/sweep-ray-PID-RANDOM       0700: Ray itself makes all its folders writable for everybody
        lock                        locked by the driver; the kernel unlocks it however the driver dies
        r/                          Ray's

Process ids would not tell which folders are in use: containers that share /tmp do not see each other's processes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

PREFIX = "sweep-ray-"
LONGEST_BASE = 14
"""Characters: a socket's path has 107 bytes, and Ray and we put up to 93 behind the base."""
LOCK, OF_RAY = "lock", "r"

_locks: dict[Path, int] = {}
"""Locks that this process holds, by the folder; closing one gives it up."""


def make() -> Path:
    """Make a folder and lock it; remove those that no driver holds any more."""
    base = Path(tempfile.gettempdir())
    if len(str(base)) > LONGEST_BASE:
        base = Path("/tmp")
    for old in base.glob(f"{PREFIX}*"):
        _remove_unheld(old)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=base))
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if _lock(handle, folder):
            _locks[folder] = handle
            (folder / OF_RAY).mkdir()
            return folder
        os.close(handle)  # another driver took it for a dead one's in this instant, and removes it


def remove(folder: Path) -> None:
    """Remove a folder that dying processes may still write into; its lock last, so that what is left can be found."""
    for _ in range(20):
        shutil.rmtree(folder / OF_RAY, ignore_errors=True)
        if not (folder / OF_RAY).exists():
            shutil.rmtree(folder, ignore_errors=True)
            break
        time.sleep(0.1)
    if (handle := _locks.pop(folder, None)) is not None:
        os.close(handle)


def kill(folder: Path) -> None:
    """Kill the processes of a Ray that never was ready; its folder stands in their command lines."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"{folder}/".encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                os.kill(int(path.parent.name), signal.SIGKILL)


def _remove_unheld(folder: Path) -> None:
    """Remove a folder of ours whose lock is free; links, other users' folders and those without a lock are left alone.

    Of the last kind are those of a version before, which may be in use.
    """
    with contextlib.suppress(OSError):
        outer = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if os.fstat(outer).st_uid != os.getuid():
                return
            handle = os.open(LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=outer)
        finally:
            os.close(outer)
        try:
            if _lock(handle, folder):
                remove(folder)
        finally:
            os.close(handle)


def _lock(handle: int, folder: Path) -> bool:
    """Lock a folder, and return whether that succeeded while the folder was still there."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle), os.lstat(folder / LOCK))
    except OSError:
        return False
