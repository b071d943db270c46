"""The instants at which a driver may die: before each open for writing, write, sync, rename, create, remove, question.

A kill before one instant is a kill after the one before it, so that these are all moments between which the driver's
files change. Python's audit events tell most of them; writes and syncs, which have none, and questions to actors, each
of which acknowledges what was told before, are wrapped. An instant is named by what is done to which kind of file:
`rename table/*.parquet`. The names and their order are written to a file, for who replays a seed.
"""

from __future__ import annotations

import builtins
import io
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.schedule import Strike

_CHANGES = {
    "os.rename": "rename",
    "os.mkdir": "mkdir",
    "os.remove": "remove",
    "os.rmdir": "rmdir",
    "os.link": "link",
    "os.symlink": "symlink",
    "os.truncate": "truncate",
    "fcntl.flock": "lock",
}
_CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_ID = re.compile(r"(?<![a-z])[0-9a-f]{8,}(?![a-z])|\d+")


@dataclass(slots=True)
class Instants:
    """Counts the instants of this process below a folder, and strikes at one of them.

    log: where each instant is written as a line before it comes.
    strike: at which one a signal comes, and which; None: at none.
    """

    folder: Path
    log: Path
    strike: Strike | None
    _seen: Counter[str] = field(default_factory=Counter)
    _busy: threading.local = field(default_factory=threading.local)
    _handle: int = -1

    def watch(self) -> None:
        """Begin; there is no end, because audit hooks have none."""
        self._handle = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        _wrap_files(self)
        _wrap_questions(self)
        sys.addaudithook(self._heard)

    def at(self, name: str) -> None:
        """An instant of this name comes."""
        self._seen[name] += 1
        _write(self._handle, f"{name}\n".encode())
        strike = self.strike
        if strike is not None and strike.instant == name and self._seen[name] == strike.occurrence:
            os.kill(os.getpid(), strike.signal)
            time.sleep(0)  # lets Python's handler of a signal that can be caught run here

    def touch(self, verb: str, path: Any, folder: int | None = None) -> None:
        """Something comes to a file; what is not below the folder is nobody's instant."""
        if getattr(self._busy, "here", False):
            return
        self._busy.here = True
        try:
            said = _path_of(path, folder)
            if said.startswith(f"{self.folder}/"):
                self.at(f"{verb} {_kind_of(said.removeprefix(f'{self.folder}/'))}")
        finally:
            self._busy.here = False

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _CHANGING and not isinstance(path, int):
                self.touch("open", path)
        elif event in _CHANGES:
            target = arguments[1] if event in ("os.rename", "os.link", "os.symlink") else arguments[0]
            folder = arguments[-1] if event in ("os.remove", "os.rmdir", "os.mkdir") else None
            self.touch(_CHANGES[event], target, folder)


def _path_of(path: Any, folder: int | None) -> str:
    """Return the absolute path of a path, or of a file that is open."""
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}")
    said = os.fsdecode(path)
    if folder is not None and folder >= 0:
        return f"{os.readlink(f'/proc/self/fd/{folder}')}/{said}"
    return os.path.abspath(said)


def _kind_of(path: str) -> str:
    """Return a path with its ids and numbers left out: table/part-*-*.parquet."""
    return _ID.sub("*", path)


_write, _pwrite, _fsync, _open = os.write, os.pwrite, os.fsync, io.open


def _wrap_files(instants: Instants) -> None:
    """Make instants of writes and syncs, also of those inside of a file object, so that files can be cut in half."""

    def wrapped(verb: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(handle: Any, *arguments: Any) -> Any:
            instants.touch(verb, handle if isinstance(handle, int) else handle.fileno())
            return function(handle, *arguments)

        return call

    class Told(io.FileIO):
        def write(self, data: Any) -> int:
            instants.touch("write", self.fileno())
            return super().write(data)

    def opened(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **named: Any) -> Any:
        plain = buffering == 0 or isinstance(file, int) or "+" in mode or not set(mode) & set("wax")
        if plain or not _path_of(file, None).startswith(f"{instants.folder}/"):
            return _open(file, mode, buffering, *rest, **named)
        raw = io.BufferedWriter(Told(file, mode.replace("b", "").replace("t", "")))
        names = ("encoding", "errors", "newline")
        return raw if "b" in mode else io.TextIOWrapper(raw, **(dict(zip(names, rest, strict=False)) | named))

    os.write, os.pwrite, os.fsync = wrapped("write", _write), wrapped("write", _pwrite), wrapped("sync", _fsync)
    builtins.open = io.open = opened


def _wrap_questions(instants: Instants) -> None:
    """Make instants of questions to actors: each tells an actor what it may forget."""
    from ray.actor import ActorClass, ActorMethod

    ask, create = ActorMethod._remote, ActorClass._remote

    def asked(self: Any, *arguments: Any, **named: Any) -> Any:
        instants.at(f"ask {self._method_name}")
        return ask(self, *arguments, **named)

    def created(self: Any, *arguments: Any, **named: Any) -> Any:
        instants.at("create actor")
        return create(self, *arguments, **named)

    ActorMethod._remote = asked  # type: ignore[method-assign]
    ActorClass._remote = created  # type: ignore[method-assign]
