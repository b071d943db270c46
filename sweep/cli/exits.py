"""Exit codes."""

from __future__ import annotations

import os
import sys
from enum import IntEnum


class Exit(IntEnum):
    """How a command ended."""

    OK = 0
    """Every point has its ok rows."""
    REGRESSION = 1
    """`compare` found what --fail-on names."""
    MISTAKE = 2
    """The user's, told in one message."""
    INCOMPLETE = 3
    """The sweep ended, but some points failed, were skipped or cannot be predicted."""
    INTERRUPTED = 130
    """Everything is kept."""


def drop_output() -> None:
    """Write what is still printed to nowhere, where the reader of stdout went away: Python ends with 120 else."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
