"""Every exception of sweep.

    SweepError
    ├── UsageError        the user's mistake, told in one message; exit code 2
    │   └── ReadOnly      a results folder that may be read and not written
    ├── Interrupted       the user ended the sweep, everything measured is kept; exit code 130
    ├── ClusterError      what a Kubernetes API server refused, or that it cannot be reached
    ├── ReportError       a text that is no complete report
    ├── Infeasible        this point cannot run, and why
    └── NoPrediction      nothing is known about this point, and why

A failed attempt is data (a row of the table), never an exception: only what ends the whole sweep is raised.
Infeasible and NoPrediction are raised by the pure functions of predict.py and become rows at the backend.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

PASSING = frozenset({408, 429, 500, 502, 503, 504})
"""HTTP answers after which the same request may succeed. 500 is also what a webhook that is down makes of a POST."""

NONSENSE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What code that expects sound data may raise of data that others wrote."""
LONGEST_NAME = 200
"""Characters of a name that may be a slip; to search for what resembles a longer one takes seconds."""


class SweepError(Exception):
    """Anything that sweep raises on purpose."""


class UsageError(SweepError):
    """What the user asked for cannot be done; the message says what, where and what to do instead."""


class ReadOnly(UsageError):
    """A results folder cannot be written; what is in it can still be read."""


class Interrupted(SweepError):
    """The user ended the sweep; what was measured is in the table."""


class ClusterError(SweepError):
    """A Kubernetes API server refused a request, or did not answer for too long.

    status: of HTTP; 0 where there was no answer, or none of a Kubernetes API; -1 where asking again is of no use.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_passing(self) -> bool:
        """Whether the same request may succeed later: there was no answer, or one that tells of trouble inside."""
        return self.status in (0, *PASSING)


class ReportError(SweepError):
    """A text or file that is not a complete report."""


class Infeasible(SweepError):
    """The point cannot run on this engine, for example because its weights leave no room for a KV cache."""


class NoPrediction(SweepError):
    """No measured data is near enough to predict the point."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean "x"?` for the known name that is nearest to `name`, or an empty string."""
    if len(name) > LONGEST_NAME:
        return ""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f'; did you mean "{found[0]}"?' if found else ""
