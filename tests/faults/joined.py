"""A Ray that runs beside all seeds, so that a driver joins it in a moment instead of starting its own in seconds."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.patience import HANG_S

ROOT = Path(__file__).parent.parent.parent


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def ray_head(folder: Path) -> Iterator[str]:
    """Start Ray, give its address, and stop it; how to join it is in the environment meanwhile.

    Raises:
        SystemExit: it does not start.
    """
    port, log = _free_port(), folder / "ray.log"
    mine = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": str(ROOT),  # actors find the stand-in there
    }
    os.environ.update(mine)
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", f"--port={port}"]
    command += ["--include-dashboard=false", "--num-cpus=8", "--object-store-memory=100000000"]
    with log.open("wb") as out:
        head = subprocess.Popen([*command, f"--temp-dir={folder / 'ray'}"], stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + HANG_S
        while not _listens(port):
            if head.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"Ray does not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            head.wait(30)
        head.kill()
        shutil.rmtree(folder / "ray", ignore_errors=True)
        for name in mine:
            os.environ.pop(name, None)
