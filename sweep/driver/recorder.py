"""Events become rows and evidence."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sweep.backends import AttemptKey, PointDone, PointFailed
from sweep.errors import NONSENSE
from sweep.outcome import MOST_MESSAGE, conclude
from sweep.plan import Attempt, Deployment
from sweep.point import SETTINGS
from sweep.report import weigh
from sweep.table import Outcome, Results, Source, Status, make_row, storable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Makes the rows of one sweep, and keeps what they were made from.

    price_usd_per_gpu_hour: None without one.
    """

    results: Results
    sweep_id: str
    backend: str
    source: Source
    config_hash: str
    price_usd_per_gpu_hour: float | None = None

    def row(
        self,
        deployment: Deployment,
        attempt: Attempt,
        event: PointDone | PointFailed,
        begin_of: Callable[[datetime], datetime] = lambda ended_at: ended_at,
    ) -> dict[str, Any]:
        """Return the row of an attempt that ended, its evidence written; nonsense of a backend is a failed attempt.

        The table can hold the row, so that what is decided from it here is what the next run reads.

        begin_of: when an attempt that ended at a time began, if it is charged all that its GPUs were held for and that
            is in no row: its start-up, the time since the one before it ended, and what a pod held that was evicted.
        """
        log_tail = event.log_tail if isinstance(event.log_tail, str) else ""
        folder = self.results.evidence_dir(attempt.key, self.source)
        log_path = f"{folder.relative_to(self.results.folder)}/log.txt" if log_tail else None
        is_kept = False
        try:
            report = event.report if isinstance(event, PointDone) else None
            self.results.write_evidence(attempt.key, report, event.environment, log_tail, self.source)
            is_kept = True
            return storable(self._row(deployment, attempt, event, begin_of, log_path))
        except NONSENSE as error:
            log.debug("%s told nonsense of %s", self.backend, attempt.key, exc_info=True)
            if not is_kept:
                self.results.write_evidence(attempt.key, None, {}, log_tail, self.source)
            why = f"what the backend told of this point makes no sense: {error or type(error).__name__}"[:MOST_MESSAGE]
            event = failed(attempt.key, "backend_error", why)
            return storable(self._row(deployment, attempt, event, begin_of, log_path))

    def skipped(self, attempt: Attempt, kind: str, why: str) -> dict[str, Any]:
        """Return the row of what was not attempted, and why."""
        now = datetime.now(UTC)
        return make_row(
            sweep_id=self.sweep_id,
            deployment=None,
            attempt=attempt,
            outcome=Outcome(status=Status.SKIPPED, failure_kind=kind, failure_message=why),
            source=self.source,
            backend=self.backend,
            started_at=now,
            ended_at=now,
            environment={},
            config_hash=self.config_hash,
        )

    def _row(
        self,
        deployment: Deployment,
        attempt: Attempt,
        event: PointDone | PointFailed,
        begin_of: Callable[[datetime], datetime],
        log_path: str | None,
    ) -> dict[str, Any]:
        if isinstance(event, PointFailed):
            outcome = Outcome(
                status=event.status,
                failure_kind=event.kind,
                failure_message=event.message,
                exit_code=event.exit_code,
            )
        else:
            log_file = io.BytesIO(event.log_tail.encode(errors="replace")) if event.log_tail else None
            outcome = conclude(
                {name: getattr(attempt.point, name) for name in SETTINGS},
                weigh(report=event.report, log=log_file),
                log=event.log_tail.splitlines(),
                model=deployment.model,
                environment=event.environment,
                started_at=event.started_at,
                exit_code=event.exit_code,
                state=event.state,
            )
        return make_row(
            sweep_id=self.sweep_id,
            deployment=deployment,
            attempt=attempt,
            outcome=outcome,
            source=self.source,
            backend=self.backend,
            started_at=min(event.started_at, begin_of(event.ended_at)),
            ended_at=event.ended_at,
            # a pod has no say in the price, also where there is none
            environment={**event.environment, "price_usd_per_gpu_hour": self.price_usd_per_gpu_hour},
            config_hash=self.config_hash,
            log_path=log_path,
        )


def failed(
    key: AttemptKey, kind: str, message: str, at: datetime | None = None, node: str | None = None
) -> PointFailed:
    """Return the failure of an attempt that left nothing behind."""
    now = at or datetime.now(UTC)
    return PointFailed(
        key=key,
        status=Status.FAILED,
        kind=kind,
        message=message,
        started_at=now,
        ended_at=now,
        environment={} if node is None else {"node": node},
    )
