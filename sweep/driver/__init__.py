"""Ray: a pool of a few actors carries all deployments; the driver turns what they report into rows.

Nothing is lost and nothing is doubled: an actor keeps every event until the driver has written its row and says so; a
driver that dies finds its rows in the table; an actor that dies is given again all that has no row yet. (Streaming
generators with retries would lose rows: Ray re-runs them and matches the results by index.)

A process per deployment would cost a CPU-second and 80 MB each. `Pool` is plain Python, wrapped by Ray at the edge.

    pool.py      what runs inside an actor
    session.py   starting and stopping Ray
"""

from __future__ import annotations

import io
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from sweep.backends import AttemptKey, Ended, PointDone, PointFailed
from sweep.driver.pool import Numbered, Pool
from sweep.driver.session import TURN_S, RayStart, stop_signals
from sweep.errors import Interrupted, UsageError
from sweep.outcome import conclude
from sweep.plan import Attempt, Deployment
from sweep.point import SETTINGS
from sweep.report import weigh
from sweep.table import Outcome, Results, Source, Status, make_row

__all__ = ["Pool", "RayStart", "Recorder", "Watcher", "run"]

log = logging.getLogger(__name__)

POLL_S = 2.0
RESTART_S = 60.0
"""An actor that is not back after this long is given up."""
FATAL_DEATHS = 2
"""So many deaths of an actor at one attempt alone, and that attempt is failed."""


class Watcher(Protocol):
    """What the driver tells while it runs (sweep.progress.Progress); `phase` is what it waits for."""

    phase: str

    def row(self, row: Mapping[str, Any]) -> None: ...

    def say(self, message: str) -> None: ...


@dataclass(slots=True)
class _Work:
    """A deployment with what of it has no row yet."""

    deployment: Deployment
    left: dict[AttemptKey, Attempt]
    parts: int = 0

    def rest(self, most: int | None = None) -> Deployment:
        """Return the deployment with only the attempts that have no row, at most `most`; whole ones keep their id."""
        d, attempts = self.deployment, tuple(self.left.values())[:most]
        deployment_id = d.deployment_id
        if most is not None:  # an actor begins each id once
            self.parts += 1
            deployment_id = f"{deployment_id}.{self.parts}"
        return Deployment(deployment_id=deployment_id, model=d.model, attempts=attempts, gpus_held=d.gpus_held)


@dataclass(slots=True)
class _Member:
    """One actor of the pool, and what it carries.

    careful: its process died at work, so its attempts are given one by one until the deployment is over: only so is it
        known which of them kills it.
    """

    actor: Any
    carries: dict[str, _Work] = field(default_factory=dict)
    acknowledged: int = 0
    careful: bool = False
    deaths: int = 0
    lost_since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Events become rows and evidence."""

    results: Results
    sweep_id: str
    backend: str
    source: Source
    config_hash: str

    def row(self, deployment: Deployment, attempt: Attempt, event: PointDone | PointFailed) -> dict[str, Any]:
        """Return the row of an attempt that ended, its evidence written."""
        raw = event.report if isinstance(event, PointDone) else None
        if isinstance(event, PointFailed):
            outcome = Outcome(
                status=event.status,
                failure_kind=event.kind,
                failure_message=event.message,
                exit_code=event.exit_code,
            )
        else:
            outcome = conclude(
                {name: getattr(attempt.point, name) for name in SETTINGS},
                weigh(report=raw, log=io.BytesIO(event.log_tail.encode()) if event.log_tail else None),
                log=event.log_tail.splitlines(),
                model=deployment.model,
                environment=event.environment,
                started_at=event.started_at,
            )
        folder = self.results.write_evidence(attempt.key, raw, event.environment, event.log_tail, self.source)
        return make_row(
            sweep_id=self.sweep_id,
            deployment=deployment,
            attempt=attempt,
            outcome=outcome,
            source=self.source,
            backend=self.backend,
            started_at=event.started_at,
            ended_at=event.ended_at,
            environment=event.environment,
            config_hash=self.config_hash,
            log_path=f"{folder.relative_to(self.results.folder)}/log.txt" if event.log_tail else None,
        )


def run(
    deployments: Sequence[Deployment],
    *,
    recorder: Recorder,
    backend_config: Mapping[str, Any],
    ray: RayStart,
    actors: int,
    in_process: bool,
    watcher: Watcher,
    clock: Callable[[], float] = time.monotonic,
) -> Counter[Status]:
    """Carry all deployments to their end and return how many rows of each status were written.

    in_process: the actors do the work themselves, one deployment at a time each; otherwise all are handed out at once
        and something else (a cluster) queues them.

    Raises:
        Interrupted: SIGINT or SIGTERM; what had ended is in the table.
        UsageError: the table cannot be written any more, Ray cannot be started, or an actor stays dead.
    """
    with stop_signals() as stopped:
        watcher.phase = "starting Ray"
        api = ray.connect()
        watcher.phase = "starting actors"
        remote = api.remote(num_cpus=0, max_restarts=-1, max_task_retries=0, max_concurrency=8)(Pool)
        wanted = min(actors, len(deployments)) or 1
        members = [_Member(remote.remote(recorder.backend, backend_config)) for _ in range(wanted)]
        drive = _Drive(api, recorder, watcher, in_process, clock, members)
        drive.waiting.extend(_Work(d, {attempt.key: attempt for attempt in d.attempts}) for d in deployments)
        polls: dict[Any, _Member] = {}
        while not drive.over and not stopped.is_set():
            for member in members:
                drive.hand_out(member)
                if member.carries and member not in polls.values():
                    polls[member.actor.poll.remote(member.acknowledged, POLL_S)] = member
            ready, _ = api.wait(list(polls), timeout=TURN_S)
            for ref in ready:
                drive.turn(polls.pop(ref), ref)
        if stopped.is_set():
            drive.collect()
        for member in members:
            api.kill(member.actor)
        if stopped.is_set():
            kept = sum(drive.counts.values())
            raise Interrupted(f"interrupted; {kept} rows of this run are kept, the same command continues")
    return drive.counts


@dataclass(slots=True)
class _Drive:
    """The state of one run, and the turns it takes."""

    api: Any
    recorder: Recorder
    watcher: Watcher
    in_process: bool
    clock: Callable[[], float]
    members: Sequence[_Member]
    waiting: deque[_Work] = field(default_factory=deque)
    counts: Counter[Status] = field(default_factory=Counter)

    @property
    def over(self) -> bool:
        return not self.waiting and not any(member.carries for member in self.members)

    def hand_out(self, member: _Member) -> None:
        """Give an actor what it has room for."""
        room = 1 if self.in_process else -(-(len(self.waiting) + len(member.carries)) // len(self.members))
        given = []
        while self.waiting and len(member.carries) < room:
            work = self.waiting.popleft()
            member.carries[work.deployment.deployment_id] = work
            given.append(work.rest())
        if given:
            member.careful = False
            member.actor.add.remote(given)

    def turn(self, member: _Member, ref: Any) -> None:
        """Take one answer of an actor and write its rows; only the next poll acknowledges them."""
        try:
            batch: list[Numbered] = self.api.get(ref)
        except self.api.exceptions.RayActorError as error:
            self._revive(member, error)
            return
        member.lost_since = None
        self._write(member, batch)
        if batch:
            member.acknowledged = batch[-1][0]

    def collect(self) -> None:
        """Write what has ended already; what has not is left for the next run."""
        for member in self.members:
            if not member.carries:
                continue
            try:
                batch = self.api.get(member.actor.poll.remote(member.acknowledged, 0.0), timeout=5)
            except self.api.exceptions.RayError:
                continue
            self._write(member, [numbered for numbered in batch if isinstance(numbered[2], (PointDone, PointFailed))])

    def _revive(self, member: _Member, error: Exception) -> None:
        """Give a restarted actor all that has no row yet, or give up what keeps killing it."""
        if "creation task" in str(error):
            raise UsageError(f"the backend cannot be started: {str(error).strip().splitlines()[-1]}") from error
        now = self.clock()
        member.lost_since = now if member.lost_since is None else member.lost_since
        if now - member.lost_since > RESTART_S:
            raise UsageError(f"a Ray actor died and did not come back within {RESTART_S:.0f} s: {error}") from error
        self.watcher.say("a worker process died; what it had no row for is given to a new one")
        member.acknowledged = 0
        if member.careful:
            member.deaths += 1
        if member.deaths >= FATAL_DEATHS:
            self._write(member, [(0, deployment_id, _killer(work)) for deployment_id, work in member.carries.items()])
        member.careful = self.in_process
        member.carries = {deployment_id: work for deployment_id, work in member.carries.items() if work.left}
        given = [work.rest(1 if member.careful else None) for work in member.carries.values()]
        if given:
            member.actor.add.remote(given)
        time.sleep(TURN_S)

    def _write(self, member: _Member, batch: Sequence[Numbered]) -> None:
        """Write the rows of a batch as one part."""
        rows: list[dict[str, Any]] = []
        for _, told_id, event in batch:
            deployment_id = told_id.partition(".")[0]
            work = member.carries.get(deployment_id)
            if work is None:
                continue  # told again after a restart
            match event:
                case PointDone() | PointFailed():
                    attempt = work.left.pop(event.key, None)
                    if attempt is not None:
                        rows.append(self.recorder.row(work.deployment, attempt, event))
                        member.deaths = 0
                case Ended() if member.careful and work.left and not event.message:
                    member.actor.add.remote([work.rest(1)])
                case Ended():
                    left = list(work.left.values())
                    rows += [self.recorder.row(work.deployment, a, _not_reached(a, event)) for a in left]
                    del member.carries[deployment_id]
                    log.info("deployment %s ended %s", deployment_id, event.message)
                case _:
                    log.info("deployment %s %s", deployment_id, event)
        self.recorder.results.append(rows)
        for row in rows:
            self.counts[Status(row["status"])] += 1
            self.watcher.row(row)


def _killer(work: _Work) -> PointFailed:
    key = next(iter(work.left))
    return _failed(key, "worker_died", f"the worker process died {FATAL_DEATHS} times at this point alone")


def _not_reached(attempt: Attempt, event: Ended) -> PointFailed:
    why = event.message or "no reason was told"
    return _failed(attempt.key, "not_reached", f"its deployment ended before this point: {why}")


def _failed(key: AttemptKey, kind: str, message: str) -> PointFailed:
    now = datetime.now(UTC)
    return PointFailed(key=key, status=Status.FAILED, kind=kind, message=message, started_at=now, ended_at=now)
