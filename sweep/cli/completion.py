"""Tab completion: Hydra knows groups, files and keys; the commands in front of them are ours.

    eval "$(sweep -sc install=bash)"        fish: sweep -sc install=fish | source

The shell then asks `sweep -sc query=bash` with the line so far in COMP_LINE.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

FLAGS = ("-sc", "--shell-completion")


def is_asked(arguments: Sequence[str]) -> bool:
    """Return whether a shell, or the person who sets it up, asks for completions."""
    return any(argument.split("=")[0] in FLAGS for argument in arguments)


def is_answered(commands: Collection[str], with_paths: Collection[str]) -> bool:
    """Print the commands that begin as the line does, and take a whole command off the line that Hydra completes.

    Args:
        commands: all of them.
        with_paths: those whose arguments are paths.

    Returns:
        True where the arguments are paths: the shell completes them by itself.
    """
    line = os.environ.get("COMP_LINE")
    if line is None:
        return False  # it is being set up
    program, _, rest = line.lstrip().partition(" ")
    first, blank, arguments = rest.lstrip().partition(" ")
    if blank and first in commands:
        os.environ["COMP_LINE"] = f"{program} {arguments}"
        return first in with_paths
    if not blank:
        print(" ".join(name for name in commands if name.startswith(first)))
    return False
