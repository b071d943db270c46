"""What the driver knows: each deployment with what of it has no row yet, each actor with what it carries."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sweep.backends import AttemptKey
from sweep.driver.steering import Holding
from sweep.plan import Attempt, Deployment


@dataclass(slots=True)
class Work:
    """A deployment with what of it has no row yet.

    stopped: (kind, why) of the attempts that it was told not to begin any more.
    charged_from: since when its GPUs are held and in no row; None before it has any.
    """

    deployment: Deployment
    left: dict[AttemptKey, Attempt]
    stopped: dict[AttemptKey, tuple[str, str]] = field(default_factory=dict)
    charged_from: datetime | None = None
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

    def holding(self) -> Holding:
        """Return what the steering needs to know of it."""
        deployment = self.deployment
        return Holding(
            deployment_id=deployment.deployment_id,
            attempts=tuple(self.left),
            gpus_held=deployment.gpus_held,
            since=self.charged_from,
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
