"""What a kind of failure is: what tells it, and what to do about the point and others."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Policy(StrEnum):
    """What to do with the point, and with others."""

    RETRY_ELSEWHERE = "again, on another node"
    RETRY_LATER = "again, later"
    DO_NOT_RETRY = "not again"
    NEXT_RUN = "not again by this run, but by the next"
    SKIP_LARGER = "not again, nor points that need at least as much"
    STOP_ENGINE = "not again, nor other points of its engine"
    STOP_MODEL = "not again, nor other points of its model"
    STOP_IMAGE = "not again, nor other points of its image on this type of GPU"


class Skip(StrEnum):
    """Why no attempt was made."""

    NEEDS_MORE = "needs_more"
    ENGINE = "engine_refused"
    MODEL = "model_refused"
    IMAGE = "image_refused"
    BUDGET = "budget"
    DEADLINE = "deadline"
    CANARY = "canary"
    FAILURES = "many_failures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One class of failures.

    All but the exit codes are regular expressions without groups, searched in single messages of the log (a line, and
    what continues it) or in the state. The first one of a tuple is the most telling one; what it and the next one that
    was found match goes into the message. `details` tell no kind, but why, where others do.
    """

    meaning: str
    policy: Policy
    log: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    exit_codes: tuple[int, ...] = ()
    echoes: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
