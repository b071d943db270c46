"""The commands: what a person types becomes calls of the modules, and their answers are printed here.

Nothing else prints, but for what people read in the terminal (summary.py, progress.py).

    sweeps.py    commands with Hydra overrides: run, plan, render, status, doctor, gc
    tables.py    commands with paths: show, compare, import, compact
    pages.py     html, and the page that a run keeps up to date
    completion.py   tab completion
    exits.py     exit codes
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence

from sweep import __version__, terminal
from sweep.cli import completion, pages, sweeps, tables
from sweep.cli.exits import Exit
from sweep.errors import Interrupted, UsageError

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

LONGEST_MESSAGE = 4_000
"""Characters of a message that are printed."""
LONGEST_REASON = 300
"""Characters that are printed of an error that nobody has foreseen."""


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; whatever goes wrong is told in one message."""
    with terminal.guarded():
        try:
            code = _run(arguments)
            sys.stdout.flush()
            return code
        except UsageError as error:
            print(f"sweep: {_shortened(str(error))}", file=sys.stderr)
        except (Interrupted, KeyboardInterrupt) as error:
            print(f"sweep: {error or 'interrupted'}", file=sys.stderr)
            return Exit.INTERRUPTED
        except MemoryError:
            print("sweep: there is not enough memory for this", file=sys.stderr)
        except OSError as error:
            print(f"sweep: {_shortened(_of_file(error))}", file=sys.stderr)
        except Exception as error:
            why = " ".join(str(error).split())[:LONGEST_REASON]
            print(
                f"sweep: internal error, {type(error).__name__}: {why}; please report it with {_kept_trace()}",
                file=sys.stderr,
            )
        return Exit.MISTAKE


def _run(arguments: Sequence[str]) -> int:
    for argument in arguments:
        try:
            is_text = b"\0" not in os.fsencode(argument)
        except UnicodeEncodeError:  # a lone surrogate that stands for no byte
            is_text = False
        if not is_text:
            raise UsageError(f"an argument has a character that no path and no setting can have: {argument!r}")
    if "--version" in arguments:
        print(f"sweep {__version__}")
        return Exit.OK
    if completion.is_asked(arguments) and completion.is_answered(COMMANDS, WITH_PATHS):
        return Exit.OK
    first, rest = (arguments[0], list(arguments[1:])) if arguments else ("run", [])
    if first in COMMANDS:
        return COMMANDS[first](rest)
    if not first.startswith(("-", "+", "~")) and "=" not in first:
        from sweep.command_line import spelling_of

        hint = spelling_of(first, others=COMMANDS)
        raise UsageError(f"{first} is not a command{hint}; there are {', '.join(COMMANDS)}")
    return sweeps.run(list(arguments))


def _shortened(message: str) -> str:
    """Return a message without its middle where it is too long to read, as it repeats what was typed."""
    half = LONGEST_MESSAGE // 2
    return message if len(message) <= LONGEST_MESSAGE else f"{message[:half]} … {message[-half:]}"


def _of_file(error: OSError) -> str:
    """Return what the operating system refused, and of which file: a disk is full, a folder cannot be written."""
    which = ": ".join(os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes)))
    return f"{which or 'a file or the output cannot be read or written'}: {error.strerror or error}"


def _kept_trace() -> str:
    """Write the trace of the exception that is being handled to a file, and return its name."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", errors="backslashreplace", prefix="sweep-error-", suffix=".txt", delete=False
    ) as file:
        file.write(traceback.format_exc())
    return file.name
