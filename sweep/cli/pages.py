"""The HTML page of a table: written once, or again and again for as long as a run adds rows to it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.cli.exits import Exit
from sweep.cli.tables import results_at
from sweep.errors import UsageError

if TYPE_CHECKING:
    from sweep.table import Results

EVERY_S = 10.0
"""A page that is kept up to date is written at most so often: its reader looks no oftener."""
LOOK_S = 0.5
"""How often it is asked whether the run still lives."""
END_S = 120.0
"""How long a run waits at its end for the last page."""


def html(arguments: list[str]) -> int:
    """Write the page of a table."""
    parser = argparse.ArgumentParser(
        prog="python -m sweep html",
        description="Write one HTML file with fronts, curves, layouts, effects, failures, GPU-hours, provenance and all"
        " rows. It needs no network and no server: open it from the disk, or send it to somebody.",
    )
    parser.add_argument("folder", help="results/NAME")
    parser.add_argument("--out", metavar="FILE", help="where to write it; results/NAME/index.html if not given")
    parser.add_argument(
        "--watch", action="store_true", help="write it anew while a run adds rows, until no run holds the table"
    )
    said = parser.parse_args(arguments)
    results = results_at(said.folder)
    results.expect_table()
    out = results.page_file if said.out is None else Path(said.out)
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder; name a file, for example {out / 'index.html'}")
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}")
    if said.watch:
        os.nice(10)  # the sweep itself goes first
    rows = follow(results, out) if said.watch else write(results, out, live=False)
    print(f"{out}: {rows:,} rows, {out.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    return Exit.OK


def write(results: Results, out: Path, *, live: bool) -> int:
    """Write the page in one step, so that a browser sees the old or the new one; return how many attempts are in it."""
    from sweep import figures
    from sweep.table import write_file

    attempts = results.load(last_attempt_only=False)
    made = figures.page(
        results.folder.resolve().name,
        attempts,
        configs=results.configs(),
        results_dir=os.fspath(results.folder.parent),
        written_at=datetime.now(UTC),
        live=live,
    )
    write_file(out, made)
    return len(attempts)


def follow(results: Results, out: Path, wait: Callable[[float], object] | None = None) -> int:
    """Write the page whenever there are new rows, and once more when no run holds the table any longer."""
    from sweep.table import list_parts

    wait = wait or threading.Event().wait
    shown: list[Path] | None = None
    while results.holder() is not None:
        parts = list_parts(results.table_dir)
        if parts != shown:
            write(results, out, live=True)
            shown = parts
        for _ in range(int(EVERY_S / LOOK_S)):
            if results.holder() is None:
                break
            wait(LOOK_S)
    return write(results, out, live=False)


def begin(results: Results) -> subprocess.Popen[bytes]:
    """Start a process that follows this run, which holds the table's lock.

    A process of its own: what it does costs the driver's loop nothing, and what goes wrong in it ends no sweep. It has
    its own session, so that a Ctrl-C reaches only the run; it ends by itself when the run has, however that ends.
    """
    command = [sys.executable, "-m", "sweep", "html", os.fspath(results.folder), "--watch"]
    nothing = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=subprocess.PIPE, start_new_session=True)


def end(page: subprocess.Popen[bytes], results: Results) -> None:
    """Wait for the last page of a run that has released its lock, and say where it is."""
    try:
        _, told = page.communicate(timeout=END_S)
    except subprocess.TimeoutExpired:
        page.kill()
        _, told = page.communicate()
    if page.returncode == 0:
        print(f"Page: {results.page_file}", file=sys.stderr)
    else:
        why = (told.decode(errors="replace").strip().splitlines() or [f"exit code {page.returncode}"])[-1]
        print(f"no page: {why}; try: python -m sweep html {results.folder}", file=sys.stderr)
