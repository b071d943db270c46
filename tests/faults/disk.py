"""A disk that is full, or read-only, at will: a small file system in memory where we may mount one."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

PAGE_BYTES = 4096
ROOMY = "64m"


class Disk:
    """The disk under a folder; a context manager. Where it cannot be mounted (only root may) nothing is done."""

    def __init__(self, folder: Path, *, small: bool) -> None:
        self._folder = folder
        self._wanted = small
        self.mounted = False

    def __enter__(self) -> Disk:
        if self._wanted and os.geteuid() == 0:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOMY}", "tmpfs", str(self._folder)]
            self.mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        return self

    def __exit__(self, *_: object) -> None:
        if self.mounted:  # lazily: what was on it is judged by now, and a process that hangs may still hold it
            subprocess.run(["umount", "-l", str(self._folder)], check=True, capture_output=True)

    def _become(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self._folder)], check=True, capture_output=True)

    @contextlib.contextmanager
    def full_after(self, pages: int) -> Iterator[None]:
        """Have only so many pages free."""
        if not self.mounted:
            yield
            return
        said = os.statvfs(self._folder)
        used = (said.f_blocks - said.f_bfree) * said.f_frsize
        self._become(f"size={used + pages * PAGE_BYTES}")
        try:
            yield
        finally:
            self._become(f"size={ROOMY}")

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """Refuse every change."""
        if not self.mounted:
            yield
            return
        self._become("ro")
        try:
            yield
        finally:
            self._become("rw")
