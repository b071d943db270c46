"""What went wrong becomes a kind, and the kind says what to do.

value.py     kinds and policies
kinds.py     the one table: kinds, what tells them, policies
messages.py  the lines of a log become messages that may tell something
reading.py   messages, exit codes and states, read by the table
"""

from sweep.failure.kinds import KINDS, NO_REPORT, UNKNOWN
from sweep.failure.reading import MOST_LINES, Failure, classify
from sweep.failure.value import Kind, Policy, Skip

__all__ = ["KINDS", "MOST_LINES", "NO_REPORT", "UNKNOWN", "Failure", "Kind", "Policy", "Skip", "classify"]
