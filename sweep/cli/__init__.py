"""The commands: what a person types becomes calls of the modules, and their answers are printed here.

Nothing else prints, but for what people read in the terminal (summary.py, progress.py).

    sweeps.py    commands with Hydra overrides: run, plan, render, status, doctor, gc
    tables.py    commands with paths: show, compare, import, compact
    pages.py     html, and the page that a run keeps up to date
    completion.py   tab completion
    exits.py     exit codes
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from sweep import __version__
from sweep.cli import completion, pages, sweeps, tables
from sweep.cli.exits import Exit, drop_output
from sweep.errors import Interrupted, UsageError, nearest

COMMANDS: Mapping[str, Callable[[list[str]], int]] = {
    "run": sweeps.run,
    "plan": sweeps.plan,
    "render": sweeps.render,
    "status": sweeps.status,
    "doctor": sweeps.doctor,
    "gc": sweeps.gc,
    "show": tables.show,
    "compare": tables.compare,
    "html": pages.html,
    "import": tables.import_files,
    "compact": tables.compact,
}
WITH_PATHS = ("show", "compare", "html", "import", "compact")
"""Commands whose arguments are paths; the others take Hydra's overrides."""


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    first, rest = (arguments[0], list(arguments[1:])) if arguments else ("run", [])
    try:
        if "--version" in arguments:
            print(f"sweep {__version__}")
            return Exit.OK
        if completion.is_asked(arguments) and completion.is_answered(COMMANDS, WITH_PATHS):
            return Exit.OK
        if first in COMMANDS:
            return COMMANDS[first](rest)
        if not first.startswith(("-", "+", "~")) and "=" not in first:
            raise UsageError(f"{first} is no command{nearest(first, COMMANDS)}; there are {', '.join(COMMANDS)}")
        return sweeps.run(list(arguments))
    except UsageError as error:
        print(f"sweep: {error}", file=sys.stderr)
        return Exit.MISTAKE
    except (Interrupted, KeyboardInterrupt) as error:
        print(f"sweep: {error or 'interrupted'}", file=sys.stderr)
        return Exit.INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        drop_output()
        return Exit.OK
