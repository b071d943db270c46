"""What the driver knows: each deployment with what of it has no row yet, each actor with what it carries."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sweep.backends import AttemptKey
from sweep.driver.steering import Holding
from sweep.plan import Attempt, Deployment


@dataclass(slots=True)
class Work:
    """A deployment with what of it has no row yet.

    stopped: (kind, why) of the attempts that it was told not to begin any more.
    started: since when its last pod has held its GPUs; None before it was told of any.
    held: when GPUs were held that are in no row yet; the last time has no end while they are.
    """

    deployment: Deployment
    left: dict[AttemptKey, Attempt]
    stopped: dict[AttemptKey, tuple[str, str]] = field(default_factory=dict)
    started: datetime | None = None
    held: list[tuple[datetime, datetime | None]] = field(default_factory=list)
    parts: int = 0

    @property
    def wanted(self) -> list[Attempt]:
        """What has no row yet and may begin."""
        stopped = self.not_to_begin
        return [attempt for key, attempt in self.left.items() if key not in stopped]

    @property
    def not_to_begin(self) -> frozenset[AttemptKey]:
        """What was stopped, and what nobody asks for."""
        return self.deployment.unwanted | self.stopped.keys()

    def rest(self, most: int | None = None) -> Deployment:
        """Return the deployment with only the attempts that have no row, at most `most`; whole ones keep their id."""
        deployment_id = self.deployment.deployment_id
        if most is not None:  # an actor begins each id once
            self.parts += 1
            deployment_id = f"{deployment_id}.{self.parts}"
        attempts = self.left.values() if most is None else self.wanted[:most]
        return replace(self.deployment, deployment_id=deployment_id, attempts=tuple(attempts))

    def hold(self, at: datetime, charged_until: datetime | None) -> None:
        """Take note that a pod has its GPUs; an actor that was restarted tells the same again.

        Args:
            charged_until: until when they are in rows already, of a driver before this one.
        """
        if at == self.started:
            return
        self.release(at)
        self.started = at
        self.held.append((at if charged_until is None else max(at, charged_until), None))

    def release(self, at: datetime) -> None:
        """Take note that it has given its GPUs back."""
        if self.held and self.held[-1][1] is None:
            since, _ = self.held.pop()
            self.held.append((since, max(since, at)))

    def begin_of(self, ended_at: datetime) -> datetime:
        """Return when an attempt that ended then began, if all is its own that is in no row: so GPU-hours add up."""
        spans = [min(until or ended_at, ended_at) - since for since, until in self.held if since < ended_at]
        return ended_at - sum(spans, timedelta(0))

    def charge(self, ended_at: datetime) -> None:
        """Take note that what was held until then is in a row."""
        self.held = [(max(since, ended_at), until) for since, until in self.held if until is None or until > ended_at]

    def holding(self) -> Holding:
        """Return what the steering needs to know of it."""
        deployment = self.deployment
        holds = bool(self.held) and self.held[-1][1] is None
        return Holding(
            deployment_id=deployment.deployment_id,
            attempts=tuple(self.left),
            gpus_held=deployment.gpus_held,
            since=self.held[-1][0] if holds else None,
            held=sum((until - since for since, until in self.held if until is not None), timedelta(0)),
        )


@dataclass(slots=True, eq=False)
class Member:
    """One actor of the pool, and what it carries.

    given: deployments that the next question hands over; the actor has them once it has answered.
    life: which of its lives answered last; Ray restarts an actor that died, and then it knows nothing.
    careful: its attempts are given one by one until the deployment is over: its process died at work, and only so is it
        known which of them kills it; or each may be the one that spends the budget.
    """

    actor: Any
    carries: dict[str, Work] = field(default_factory=dict)
    given: list[Deployment] = field(default_factory=list)
    life: str | None = None
    acknowledged: int = 0
    asked_at: float = 0.0
    sent: int = 0
    careful: bool = False
    deaths: int = 0
    lost_since: float | None = None
    lost_by: str = ""
