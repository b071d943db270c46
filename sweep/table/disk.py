"""Files and folders of a results folder: replaced in one step, on disk when that returns, and read only if regular.

What the operating system refuses is the user's to mend, so it is reported as a UsageError with the path.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sweep.errors import UsageError

TEMPORARY = ".tmp-"
"""Readers ignore names that begin with a dot, as pandas and Arrow do."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write that takes the place of `path` when the block ends.

    Readers see the old file or the new one, and so does who comes after a power cut: the content is synced before the
    rename (a file system may write the name first, and leave an empty file), the folder after it.
    """
    made = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}"
    try:
        with made.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.rename(made, path)
    except BaseException:
        with contextlib.suppress(OSError):
            made.unlink()
        raise
    sync(path.parent)


def write_file(path: Path, text: str) -> None:
    """Put a text into a file in one step: see `replacing`.

    Raises:
        UsageError: the folder does not exist or cannot be written.
    """
    data = text.encode(errors="backslashreplace")
    with telling("write", path):
        for last in (False, True):
            try:
                with replacing(path) as file:
                    file.write(data)
                return
            except FileNotFoundError:  # a run began just now, and cleaned up after killed writers
                if last:
                    raise


def read_file(path: Path) -> bytes:
    """Return the content of a regular file; of anything else a read might never end.

    Raises:
        UsageError: it is a folder, a FIFO, a socket or a device.
        OSError: it cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise UsageError(f"{path} is not a regular file; move it away")
        with open(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


def sync(folder: Path) -> None:
    """Make what was renamed in a folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def exchange(one: Path, other: Path) -> None:
    """Swap two folders of one file system atomically; Python has no name for it."""
    at_cwd, swap = -100, 2  # AT_FDCWD; RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
    first, second = os.fsencode(one), os.fsencode(other)
    libc, on_mac = ctypes.CDLL(None, use_errno=True), sys.platform == "darwin"
    rename = getattr(libc, "renamex_np" if on_mac else "renameat2", None)
    if rename is not None:
        if rename(*((first, second, swap) if on_mac else (at_cwd, first, at_cwd, second, swap))) == 0:
            return
        if (number := ctypes.get_errno()) not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
            raise OSError(number, os.strerror(number), str(other))
    raise UsageError(f"the file system of {other} cannot exchange folders; copy the results to a local disk")


@contextlib.contextmanager
def telling(doing: str, path: Path) -> Iterator[None]:
    """Report what the operating system refuses in one sentence."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        raise UsageError(f"cannot {doing} {path}: {error.strerror or error} ({where})") from error
