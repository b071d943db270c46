"""Ray's own life: its processes start beside everything else, quiet, and are gone without a trace afterwards."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweep.driver import rayfolder
from sweep.errors import UsageError

TURN_S = 0.25
"""How often the main thread looks at signals while it waits."""
START_S = 240.0
"""Ray takes 5 s to start, a minute on a machine that is far too busy."""
GAVE_UP_S = 20.0
"""A start that takes this long to fail ran out of time: Ray has fixed limits of 30 s."""
CLOSE_S = 60.0
OBJECT_STORE_BYTES = 80 * 2**20


@contextlib.contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Set the event at the first SIGINT or SIGTERM; a second one acts at once."""
    stopped = threading.Event()
    before: dict[int, Any] = {}

    def stop(number: int, _: object) -> None:
        stopped.set()
        for which, handler in before.items():
            signal.signal(which, handler)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, stop)
    try:
        yield stopped
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


class RayStart:
    """Starts Ray's processes beside everything else, as soon as it is known which.

    Ray is imported by the caller's thread: what a thread imports while others go on can meet warnings that became
    errors meanwhile, or half of a module, and an import that failed cannot be tried again.
    Without an address Ray is started for this process and stopped with it: no dashboard, nothing on stdout or stderr,
    its folder removed afterwards. Meanwhile its ports are open on all interfaces, guarded by a random token, without
    TLS (docs/tested.md). A cluster is joined only when an address asks for it, and is never stopped.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._over = threading.Event()

    def begin(self, address: str | None) -> None:
        """Start or join Ray in the background; may be called once, and again without effect.

        Raises:
            UsageError: Ray cannot be imported.
        """
        if self._thread is None:
            _import_ray()
            self._thread = threading.Thread(target=self._live, args=(address,), daemon=True)
            self._thread.start()

    def _live(self, address: str | None) -> None:
        """Start Ray and stay: its processes get a signal when the thread that made them ends, and not only then when
        the whole driver dies."""
        self._init(address)
        self._ready.set()
        self._over.wait()

    def _init(self, address: str | None) -> None:
        try:
            import ray

            _hush()
            quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
            if address is not None:
                import sweep

                ray.init(address=address, runtime_env={"py_modules": [sweep]}, **quiet)
                return
            until = time.monotonic() + START_S
            while not self._started(ray, until, quiet):
                pass
        except BaseException as error:
            self._error = error

    def _started(self, ray: Any, until: float, quiet: dict[str, Any]) -> bool:
        """Start Ray in a folder of its own; False if there was not enough time but is some left.

        A start that failed leaves nothing.
        """
        begun = time.monotonic()
        folder = self._folder = rayfolder.make()
        try:
            ray.init(
                address="local",
                include_dashboard=False,
                num_cpus=os.cpu_count() or 1,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(folder / rayfolder.OF_RAY),
                **quiet,
            )
        except Exception:
            ended = time.monotonic()
            ray.shutdown()
            rayfolder.kill(folder)
            rayfolder.remove(folder)
            if ended - begun < GAVE_UP_S or ended > until or self._over.is_set():
                raise
            return False
        return True

    def connect(self) -> Any:
        """Wait for Ray and give its API; `close` is the caller's to call.

        Raises:
            UsageError: Ray cannot be started or joined.
        """
        self.begin(None)
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        until = time.monotonic() + START_S
        while not self._ready.wait(TURN_S):  # also after a signal: half a Ray cannot be shut down
            if time.monotonic() > until:
                raise UsageError(f"Ray did not start within {START_S:.0f} s; nothing was begun, the same command does")
        if self._error is not None:
            reason = str(self._error).strip().splitlines() or [type(self._error).__name__]
            raise UsageError(f"Ray cannot be started or joined: {reason[-1]}") from self._error
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():  # Ray puts its own in place
                signal.signal(number, handler)
        import ray

        return ray

    def close(self) -> None:
        """Shut down or leave Ray; what was begun is first brought to its end, or killed where it has none."""
        if self._thread is None:
            return
        if self._ready.wait(CLOSE_S):
            import ray

            ray.shutdown()
        elif self._folder is not None:
            rayfolder.kill(self._folder)
        self._over.set()
        if self._folder is not None:
            rayfolder.remove(self._folder)
            self._folder = None


def _import_ray() -> None:
    """Import Ray with what it reads from the environment at that moment: a token of this run only, unless the user
    gives the one of a cluster to join.

    Raises:
        UsageError: it cannot be imported.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray  # noqa: F401
    except Exception as error:
        raise UsageError(f"Ray cannot be imported: {error}") from error


def _hush() -> None:
    """Keep the raylet's words about dead workers off stdout: Ray prints them whatever log_to_driver says, and has no
    other switch. The driver tells of dead workers itself."""
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda *_, **__: None
