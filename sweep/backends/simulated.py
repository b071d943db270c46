"""The simulated backend: a deployment is an engine in memory whose step times come from the operator database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from sweep import predict, simulate
from sweep.backends import AttemptKey, Ended, Event, PointDone, PointFailed, PointStarted, Started
from sweep.errors import Infeasible, NoPrediction
from sweep.plan import Attempt, Deployment
from sweep.table import Source, Status


class Simulated:
    """Predicts every point; needs no GPU, no cluster and no network."""

    source: ClassVar[Source] = Source.SIMULATED
    in_process: ClassVar[bool] = True

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._cancelled: set[str] = set()
        self._stopped: dict[str, Collection[AttemptKey]] = {}
        self._versions = {
            "simulator_version": simulate.SIMULATOR_VERSION,
            "db_version": predict.database_version(),
        }

    async def deploy(self, deployment: Deployment) -> AsyncIterator[Event]:
        """Simulate the deployment's points one after the other."""
        yield Started(node="simulated")
        for attempt in deployment.attempts:
            await asyncio.sleep(0)  # between points the actor answers polls
            if deployment.deployment_id in self._cancelled:
                yield Ended(message="cancelled", kind="cancelled")
                return
            if attempt.key in self._stopped.get(deployment.deployment_id, ()):
                continue
            yield PointStarted(key=attempt.key)
            yield self._measure(attempt, deployment)
        yield Ended()

    async def cancel(self, deployment_id: str) -> bool:
        """End a deployment after its current point."""
        self._cancelled.add(deployment_id)
        return False

    async def stop(self, deployment_id: str, keys: Collection[AttemptKey]) -> None:
        """Leave these attempts out."""
        self._stopped[deployment_id] = keys

    def _measure(self, attempt: Attempt, deployment: Deployment) -> Event:
        started_at = datetime.now(UTC)
        about = self._versions | {"predicted_as": str(deployment.model.predict_as or "") or None}
        try:
            steps = predict.step_times(attempt.point, deployment.model)
            about["predicted_as"] = steps.predicted_as
            report = simulate.simulate(attempt.point, deployment.model, steps)
        except (Infeasible, NoPrediction) as error:
            return PointFailed(
                key=attempt.key,
                status=Status.INFEASIBLE,
                kind="does_not_fit" if isinstance(error, Infeasible) else "no_prediction",
                message=str(error),
                started_at=started_at,
                ended_at=datetime.now(UTC),
                environment=about,
            )
        return PointDone(
            key=attempt.key,
            report=report,
            environment=about,
            started_at=started_at,
            ended_at=datetime.now(UTC),
        )
