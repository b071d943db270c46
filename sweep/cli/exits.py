"""Exit codes."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended."""

    OK = 0
    """Every point has its ok rows."""
    REGRESSION = 1
    """`compare` found what --fail-on names."""
    MISTAKE = 2
    """The user's, told in one message; so is what the machine refuses, and an error of sweep itself."""
    INCOMPLETE = 3
    """The sweep ended, but some points failed, were skipped or cannot be predicted."""
    INTERRUPTED = 130
    """Everything is kept."""
