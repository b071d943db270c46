"""What went wrong becomes a kind, and the kind says what to do.

kinds.py     the one table: kinds, what tells them, policies
reading.py   logs, exit codes and states, read by it
"""

from sweep.failure.kinds import KINDS, NO_REPORT, UNKNOWN, Kind, Policy, Skip
from sweep.failure.reading import MOST_LINES, Failure, classify

__all__ = ["KINDS", "MOST_LINES", "NO_REPORT", "UNKNOWN", "Failure", "Kind", "Policy", "Skip", "classify"]
