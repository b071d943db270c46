"""What ends a sweep before all is measured: a budget, a deadline, too many failures of one kind. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sweep.errors import UsageError
from sweep.failure import KINDS, Policy, Skip

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)")
_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
NOT_COUNTED = frozenset({Policy.SKIP_LARGER, Policy.RETRY_LATER})
"""Failures that say something of the point alone (a matrix that looks for its limits has many), or of the moment."""

ENDED = "its deployment ended before this point: "
"""Begins the message of what a deployment's end cost: that is one failure, however many points it held."""


class Spent(Protocol):
    """What is asked of a row (sweep.table.Record)."""

    @property
    def status(self) -> str: ...
    @property
    def deployment_id(self) -> str | None: ...
    @property
    def failure_kind(self) -> str | None: ...
    @property
    def failure_message(self) -> str | None: ...
    @property
    def gpu_hours(self) -> float | None: ...
    @property
    def gpus_held(self) -> int | None: ...
    @property
    def bench_s(self) -> float | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """`run.budget.*`: what the whole sweep may cost, earlier runs of it included; None is no limit."""

    gpu_hours: float | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When no further point is begun.

    price: USD per GPU-hour; needed for a budget in USD.
    deadline: the moment; points that have begun by then end.
    max_failures: so many failures of one kind are enough, of those that are not tried again.
    """

    budget: Budget = Budget()
    price: float | None = None
    deadline: datetime | None = None
    max_failures: int | None = None

    @property
    def is_of_money(self) -> bool:
        """Whether time alone can reach a limit while nothing is told."""
        return self.budget != Budget()

    def reached(self, *, gpu_hours: float, now: datetime, failed: Iterable[Spent]) -> tuple[str, str] | None:
        """Return (kind, why) of the first limit that is reached; None where there is none.

        Args:
            gpu_hours: of the whole sweep, those that are blocked now included.
            failed: the last rows of what failed in this command and is not tried again.
        """
        most, usd = self.budget.gpu_hours, self.budget.usd
        if most is not None and gpu_hours >= most:
            return Skip.BUDGET, f"{gpu_hours:.2f} of {most:g} GPU-hours are spent (run.budget.gpu_hours)"
        if usd is not None and self.price is not None and gpu_hours * self.price >= usd:
            return Skip.BUDGET, f"{gpu_hours * self.price:.2f} of {usd:g} USD are spent (run.budget.usd)"
        if self.deadline is not None and now >= self.deadline:
            return Skip.DEADLINE, f"it is after {self.deadline.isoformat(timespec='seconds')} (run.deadline)"
        if self.max_failures is not None:
            for kind, count in Counter(_failures(failed)).most_common(1):
                if count >= self.max_failures:
                    return Skip.FAILURES, f"{count} failures of this run are {kind} (run.max_failures)"
        return None


def _failures(rows: Iterable[Spent]) -> Iterator[str]:
    """Yield the kind of each failure that says something of the others."""
    ends = set()
    for row in rows:
        kind, message = row.failure_kind or "", row.failure_message or ""
        if row.status not in ("failed", "invalid") or kind not in KINDS or KINDS[kind].policy in NOT_COUNTED:
            continue
        if message.startswith(ENDED):
            end = (row.deployment_id, kind, message)
            if end in ends:
                continue
            ends.add(end)
        yield kind


def gpu_hours_of(rows: Iterable[Spent]) -> float:
    """Return what rows have cost. Simulated rows held no GPU: of them it is what the measurement itself would take."""
    spent = 0.0
    for row in rows:
        if row.gpu_hours is not None:
            spent += row.gpu_hours
        elif row.bench_s is not None and row.gpus_held is not None:
            spent += row.gpus_held * row.bench_s / 3600
    return spent


def deadline_of(said: str, now: datetime) -> datetime:
    """Return the moment that `run.deadline` means: a time span from now (8h, 90min), or a time of day with a zone.

    Raises:
        UsageError: it is neither, or there is no such date.
    """
    parts = _DURATION.findall(said)
    if parts and not _DURATION.sub("", said).strip():
        try:
            return now + timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))
        except OverflowError:
            raise UsageError(f"run.deadline={said} lies beyond the year 9999") from None
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        raise UsageError(
            f"run.deadline is a time span such as 8h or 90min, or a time such as 2026-01-31T18:00+01:00, not {said!r}"
        ) from None
    if moment.tzinfo is None:
        raise UsageError(f"run.deadline needs a time zone: {said}+00:00, for example")
    return moment
