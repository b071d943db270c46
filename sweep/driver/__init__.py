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
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from sweep.backends import AttemptKey, Ended, PointDone, PointFailed, Waiting
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
CANCEL_S = 60.0
ANSWER_S = 300.0
"""An actor that does not answer for so long is killed and replaced; each question waits POLL_S at most."""
GO_ON = "go on: the same command collects what they measure, sweep gc ends them"
FATAL_DEATHS = 2
"""So many deaths of an actor at one attempt alone, and that attempt is failed."""


class Watcher(Protocol):
    """What the driver tells while it runs (sweep.progress.Progress); `phase` is what it waits for."""

    phase: str

    def row(self, row: Mapping[str, Any]) -> None: ...

    def say(self, message: str) -> None: ...

    def stage(self, deployment_id: str, stage: str | None, message: str) -> None: ...


@dataclass(slots=True)
class _Work:
    """A deployment with what of it has no row yet."""

    deployment: Deployment
    left: dict[AttemptKey, Attempt]
    parts: int = 0

    def rest(self, most: int | None = None) -> Deployment:
        """Return the deployment with only the attempts that have no row, at most `most`; whole ones keep their id."""
        deployment_id = self.deployment.deployment_id
        if most is not None:  # an actor begins each id once
            self.parts += 1
            deployment_id = f"{deployment_id}.{self.parts}"
        return replace(self.deployment, deployment_id=deployment_id, attempts=tuple(self.left.values())[:most])


@dataclass(slots=True, eq=False)
class _Member:
    """One actor of the pool, and what it carries.

    given: deployments that the next question hands over; the actor has them once it has answered.
    life: which of its lives answered last; Ray restarts an actor that died, and then it knows nothing.
    careful: its process died at work, so its attempts are given one by one until the deployment is over: only so is it
        known which of them kills it.
    """

    actor: Any
    carries: dict[str, _Work] = field(default_factory=dict)
    given: list[Deployment] = field(default_factory=list)
    life: str | None = None
    acknowledged: int = 0
    asked_at: float = 0.0
    sent: int = 0
    careful: bool = False
    deaths: int = 0
    lost_since: float | None = None
    lost_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Events become rows and evidence."""

    results: Results
    sweep_id: str
    backend: str
    source: Source
    config_hash: str

    def row(self, deployment: Deployment, attempt: Attempt, event: PointDone | PointFailed) -> dict[str, Any]:
        """Return the row of an attempt that ended, its evidence written; nonsense of a backend is a failed attempt."""
        try:
            return self._row(deployment, attempt, event)
        except (ValueError, TypeError, AttributeError) as error:
            log.debug("%s told %r", self.backend, event, exc_info=True)
            said = f"what the backend told of this point makes no sense: {error}"
            return self._row(deployment, attempt, _failed(attempt.key, "backend_error", said))

    def _row(self, deployment: Deployment, attempt: Attempt, event: PointDone | PointFailed) -> dict[str, Any]:
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
                exit_code=event.exit_code,
                state=event.state,
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
    cancel_on_interrupt: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Counter[Status]:
    """Carry all deployments to their end and return how many rows of each status were written.

    in_process: the actors do the work themselves, one deployment at a time each; otherwise all are handed out at once
        and something else (a cluster) queues them.
    cancel_on_interrupt: what runs elsewhere is ended too; otherwise it goes on.

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
        asked: dict[_Member, Any] = {}
        while not drive.over and not stopped.is_set():
            for member in members:
                drive.hand_out(member)
                if member.carries and member not in asked:
                    asked[member] = drive.ask(member, POLL_S)
            ready, _ = api.wait(list(asked.values()), timeout=TURN_S)
            for member, ref in list(asked.items()):
                if ref in ready or drive.is_late(member):
                    drive.turn(member, asked.pop(member), answered=ref in ready)
        if stopped.is_set():
            drive.collect()
            left = sum(len(member.carries) for member in members)
            if cancel_on_interrupt:
                drive.cancel()
        for member in members:
            api.kill(member.actor)
        if stopped.is_set():
            kept = sum(drive.counts.values())
            said = f"interrupted; {kept} rows of this run are kept, the same command continues"
            if left and not in_process:
                said += f"; {left} deployments " + ("were deleted" if cancel_on_interrupt else GO_ON)
            raise Interrupted(said)
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
        while self.waiting and len(member.carries) < room:
            work = self.waiting.popleft()
            member.carries[work.deployment.deployment_id] = work
            member.given.append(work.rest())
            member.careful = False

    def ask(self, member: _Member, wait_s: float) -> Any:
        """Ask an actor for news, with what is new for it; return the reference of its answer.

        One that was lost is given nothing until it has told whether it lives its old life: else work that kills it
        would kill each new one before it can answer.
        """
        given = tuple(member.given) if member.lost_since is None else ()
        member.asked_at, member.sent = self.clock(), len(given)
        return member.actor.poll.remote(member.life, member.acknowledged, given, wait_s)

    def is_late(self, member: _Member) -> bool:
        return self.clock() - member.asked_at > ANSWER_S

    def turn(self, member: _Member, ref: Any, answered: bool = True) -> None:
        """Take one answer of an actor and write its rows; only the next question acknowledges them."""
        errors = self.api.exceptions
        try:
            if not answered:
                raise errors.RayError(f"it did not answer for {ANSWER_S:.0f} s")
            life, batch = self.api.get(ref)
        except errors.RayError as error:
            if not isinstance(error, errors.RayActorError):  # it lives, but its answer does not come
                self.api.kill(member.actor, no_restart=False)
            self._lose(member, error)
            return
        if life != member.life and (member.life is not None or member.lost_since is not None):
            self._revive(member, life)
            return
        member.life, member.lost_since = life, None
        del member.given[: member.sent]
        self._write(member, batch)
        if batch:
            member.acknowledged = batch[-1][0]

    def collect(self) -> None:
        """Write what has ended already; what has not is left for the next run."""
        for member in self.members:
            if not member.carries:
                continue
            try:
                life, batch = self.api.get(self.ask(member, 0.0), timeout=5)
            except self.api.exceptions.RayError:
                continue
            if life != member.life:
                continue
            self._write(member, [numbered for numbered in batch if isinstance(numbered[2], (PointDone, PointFailed))])

    def cancel(self) -> None:
        """End what runs elsewhere."""
        asked = [member.actor.cancel.remote() for member in self.members if member.carries]
        try:
            self.api.get(asked, timeout=CANCEL_S)
        except self.api.exceptions.RayError as error:
            self.watcher.say(f"not all of what runs could be ended: {str(error).strip().splitlines()[-1]}")

    def _lose(self, member: _Member, error: Exception) -> None:
        """Give Ray a moment to restart an actor."""
        said = str(error).strip().splitlines()[-1].strip()
        if "creation task" in str(error):
            raise UsageError(f"the backend cannot be started: {said}") from error
        now = self.clock()
        if member.lost_since is None:
            member.lost_since, member.lost_by = now, said
        elif now - member.lost_since > RESTART_S:
            raise UsageError(f"a Ray actor died and did not come back within {RESTART_S:.0f} s: {said}") from error
        time.sleep(TURN_S)

    def _revive(self, member: _Member, life: str) -> None:
        """Give a restarted actor all that has no row yet, or give up what keeps killing it."""
        self.watcher.say("a worker process died; what it had no row for is given to a new one")
        member.life, member.acknowledged, member.lost_since = life, 0, None
        member.carries = {deployment_id: work for deployment_id, work in member.carries.items() if work.left}
        if member.careful:
            member.deaths += 1
        if member.deaths >= FATAL_DEATHS:
            self._write(member, [(0, name, _killer(work, member.lost_by)) for name, work in member.carries.items()])
            member.carries = {deployment_id: work for deployment_id, work in member.carries.items() if work.left}
        member.careful = self.in_process
        member.given = [work.rest(1 if member.careful else None) for work in member.carries.values()]

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
                    member.given.append(work.rest(1))
                case Ended():
                    left = list(work.left.values())
                    rows += [self.recorder.row(work.deployment, a, _not_reached(a, event)) for a in left]
                    del member.carries[deployment_id]
                    self.watcher.stage(deployment_id, None, event.message)
                    log.info("deployment %s ended %s", deployment_id, event.message)
                case Waiting():
                    self.watcher.stage(deployment_id, event.stage, event.message)
                    log.info("deployment %s %s %s", deployment_id, event.stage, event.message)
                case _:
                    log.info("deployment %s %s", deployment_id, event)
        self.recorder.results.append(rows)
        for row in rows:
            self.counts[Status(row["status"])] += 1
            self.watcher.row(row)


def _killer(work: _Work, said: str) -> PointFailed:
    key = next(iter(work.left))
    return _failed(key, "worker_died", f"the worker process died {FATAL_DEATHS} times at this point alone: {said}")


def _not_reached(attempt: Attempt, event: Ended) -> PointFailed:
    why = event.message or "no reason was told"
    return _failed(attempt.key, event.kind, f"its deployment ended before this point: {why}")


def _failed(key: AttemptKey, kind: str, message: str) -> PointFailed:
    now = datetime.now(UTC)
    return PointFailed(key=key, status=Status.FAILED, kind=kind, message=message, started_at=now, ended_at=now)
