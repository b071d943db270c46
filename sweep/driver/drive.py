"""One run: hand deployments to actors, ask them, write their rows, and ask the steering what comes next."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from sweep.backends import Ended, Lost, PointDone, PointFailed, Released, Started, Waiting
from sweep.driver.pool import Numbered, Pool
from sweep.driver.recorder import Recorder, failed
from sweep.driver.session import TURN_S, RayStart, stop_signals
from sweep.driver.steering import Holding, Steering
from sweep.driver.work import Member, Work
from sweep.errors import Interrupted, UsageError
from sweep.failure import KINDS, Policy
from sweep.limits import ENDED
from sweep.plan import Attempt, Deployment
from sweep.table import Status, Type, is_of

log = logging.getLogger(__name__)

POLL_S = 2.0
RESTART_S = 60.0
"""An actor that is not back after this long is given up."""
CANCEL_S, ANSWER_AFTER_S = 60.0, 5.0
"""How long it may take to delete what runs, and how long before that an actor says what it could not."""
ANSWER_S = 300.0
"""An actor that does not answer for so long is killed and replaced; each question waits POLL_S at most."""
LOOK_S = 5.0
"""How often a budget is looked at while nothing is told."""
GO_ON = "go on: the same command collects what they measure, sweep gc ends them"
NOT_TAKEN = "nobody had taken it over yet"
GC = "`python -m sweep gc ...`, with the same words as this command, deletes them"
FATAL_DEATHS = 2
"""So many deaths of an actor at one attempt alone, and that attempt is failed."""


class Watcher(Protocol):
    """What the driver tells while it runs (sweep.progress.Progress); `phase` is what it waits for."""

    phase: str
    total: int

    def row(self, row: Mapping[str, Any]) -> None: ...

    def say(self, message: str) -> None: ...

    def stage(self, deployment_id: str, stage: str | None, message: str) -> None: ...


def run(
    deployments: Sequence[Deployment],
    *,
    steering: Steering,
    recorder: Recorder,
    backend_config: Mapping[str, Any],
    ray: RayStart,
    actors: int,
    in_process: bool,
    watcher: Watcher,
    cancel_on_interrupt: bool = False,
    follow_up: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> Counter[Status]:
    """Carry all deployments, and those that follow from their failures, to their end; return the rows by status.

    in_process: the actors do the work themselves, one deployment at a time each; otherwise all are handed out at once
        and something else (a cluster) queues them.
    cancel_on_interrupt: what runs elsewhere is ended too; otherwise it goes on.
    follow_up: whether what follows from failures is begun; otherwise it is left to the next run.

    Raises:
        Interrupted: SIGINT or SIGTERM; what had ended is in the table.
        UsageError: the table cannot be written any more, Ray cannot be started, an actor stays dead, or nobody knows
            what became of deployments on the cluster.
    """
    with stop_signals() as stopped:
        watcher.phase = "starting Ray"
        api = ray.connect()
        watcher.phase = "starting actors"
        remote = api.remote(num_cpus=0, max_restarts=-1, max_task_retries=0, max_concurrency=8)(Pool)
        wanted = min(actors, len(deployments)) or 1
        members = [Member(remote.remote(recorder.backend, backend_config)) for _ in range(wanted)]
        drive = _Drive(api, recorder, steering, watcher, in_process, clock, members)
        drive.take(deployments)
        asked: dict[Member, Any] = {}
        while not stopped.is_set():
            if follow_up:
                drive.look_ahead()
            if drive.over:
                break
            for member in members:
                drive.hand_out(member)
                if member.carries and member not in asked:
                    asked[member] = drive.ask(member, POLL_S)
            if not asked:
                stopped.wait(TURN_S)
                continue
            ready, _ = api.wait(list(asked.values()), timeout=TURN_S)
            for member, ref in list(asked.items()):
                if ref in ready or drive.is_late(member):
                    drive.turn(member, asked.pop(member), answered=ref in ready)
        if stopped.is_set():
            drive.collect()
            became = drive.cancel() if cancel_on_interrupt else drive.left()
        for member in members:
            api.kill(member.actor)
        if stopped.is_set():
            kept = sum(drive.counts.values())
            said = f"interrupted; {kept} rows of this run are kept, the same command continues"
            raise Interrupted(said if in_process else "; ".join([said, *became]))
        if drive.lost:
            why = next(iter(drive.lost.values()))[1]
            raise UsageError(f"{len(drive.lost)} deployments can be followed no more ({why}); they {GO_ON}")
    return drive.counts


@dataclass(slots=True)
class _Drive:
    """The state of one run, and the turns it takes.

    lost: deployments that nobody can follow any more, and why; what they hold is not begun elsewhere.
    asks_at: when the steering is asked next, on the clock; None once something has happened.
    waits: whether something is to begin later.
    """

    api: Any
    recorder: Recorder
    steering: Steering
    watcher: Watcher
    in_process: bool
    clock: Callable[[], float]
    members: Sequence[Member]
    waiting: deque[Work] = field(default_factory=deque)
    counts: Counter[Status] = field(default_factory=Counter)
    lost: dict[str, tuple[Holding, str]] = field(default_factory=dict)
    asks_at: float | None = None
    waits: bool = False

    @property
    def over(self) -> bool:
        return not self.waits and not self._works()

    def take(self, deployments: Sequence[Deployment]) -> None:
        """Take deployments that are to be carried."""
        self.waiting.extend(Work(d, {attempt.key: attempt for attempt in d.attempts}) for d in deployments)

    # ------------------------------------------------------------------------------------------------- what comes next

    def look_ahead(self) -> None:
        """Ask the steering, if something has happened or time has passed, and do what it says."""
        if self.asks_at is not None and self.clock() < self.asks_at and not self.over:
            return
        step = self.steering.step([*self._live(), *(holding for holding, _ in self.lost.values())])
        for work in self._works():
            work.stopped |= {key: why for key, why in step.stop.items() if key in work.left}
        self._drop_stopped()
        self._write_rows(self._skipped(step.skip))
        if step.word:
            self.watcher.say(step.word)
        if step.begin:
            again = sum(attempt.number > 1 for d in step.begin for attempt in d.attempts)
            told = f"{sum(len(d.attempts) for d in step.begin)} measurements go on in {len(step.begin)} new deployments"
            self.watcher.say(told + (f", {again} of them again after a failure" if again else ""))
        self.take(step.begin)
        self.waits = step.waits and (not self.lost or bool(self._works()))  # else nothing would ever free a node
        self._count()
        wait_s = LOOK_S if self._works() and self.steering.rules.limits.is_of_money else 3600.0
        if step.ask_at is not None:
            wait_s = min(wait_s, max(TURN_S, (step.ask_at - self.steering.clock()).total_seconds()))
        self.asks_at = self.clock() + wait_s

    def _works(self) -> list[Work]:
        return [*self.waiting, *(work for member in self.members for work in member.carries.values())]

    def _live(self) -> list[Holding]:
        return [work.holding() for work in self._works()]

    def _drop_stopped(self) -> None:
        """Write off what was stopped before anybody had it; what exists is asked first."""
        kept: deque[Work] = deque()
        left_out = []
        for work in self.waiting:
            if work.deployment.exists:
                kept.append(work)
                continue
            for key in [key for key in work.left if key in work.stopped]:
                left_out.append((work.left.pop(key), *work.stopped[key]))
            if work.left:
                kept.append(work)
        self.waiting = kept
        self._write_rows(self._skipped(left_out))

    def _count(self) -> None:
        self.watcher.total = sum(self.counts.values()) + sum(len(work.left) for work in self._works())

    # --------------------------------------------------------------------------------------------------- with an actor

    def hand_out(self, member: Member) -> None:
        """Give an actor what it has room for."""
        most = self.steering.rules.max_deployments
        carried = sum(len(each.carries) for each in self.members)
        room = 1 if self.in_process else -(-(len(self.waiting) + len(member.carries)) // len(self.members))
        while self.waiting and len(member.carries) < room:
            if most is not None and carried >= most and not self.waiting[0].deployment.exists:
                break
            work = self.waiting.popleft()
            carried += 1
            member.carries[work.deployment.deployment_id] = work
            member.careful = self.in_process and self.steering.rules.limits.is_of_money
            member.given.append(work.rest(1 if member.careful else None))

    def ask(self, member: Member, wait_s: float) -> Any:
        """Ask an actor for news, with what is new for it; return the reference of its answer.

        One that was lost is given nothing until it has told whether it lives its old life: else work that kills it
        would kill each new one before it can answer.
        """
        given = tuple(member.given) if member.lost_since is None else ()
        stops = {
            deployment_id: tuple(keys) for deployment_id, work in member.carries.items() if (keys := work.not_to_begin)
        }
        member.asked_at, member.sent = self.clock(), len(given)
        return member.actor.poll.remote(member.life, member.acknowledged, given, wait_s, stops)

    def is_late(self, member: Member) -> bool:
        return self.clock() - member.asked_at > ANSWER_S

    def turn(self, member: Member, ref: Any, answered: bool = True) -> None:
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
        """Write what has ended already, and begin nothing more; what has not ended is left for the next run."""
        for member in self.members:
            if not member.carries:
                continue
            member.given = []
            try:
                life, batch = self.api.get(self.ask(member, 0.0), timeout=5)
            except self.api.exceptions.RayError:
                continue
            if life != member.life:
                continue
            self._write(member, [numbered for numbered in batch if isinstance(numbered[2], (PointDone, PointFailed))])
            for _, told_id, event in batch:
                if isinstance(event, Ended):
                    member.carries.pop(told_id.partition(".")[0], None)

    def left(self) -> list[str]:
        """Say what runs elsewhere and goes on, if anything does."""
        left = sum(len(member.carries) for member in self.members)
        return [f"{left} deployments {GO_ON}"] if left else []

    def cancel(self) -> list[str]:
        """End what runs elsewhere, and say how much of it was ended and what may be left.

        An actor that has just died is asked again until Ray has a new one. What nobody has taken over yet is let be: it
        may have ended, and its results are in no row.
        """
        names = {member: list(member.carries) for member in self.members}
        names[self.members[0]] += self.lost
        left = dict.fromkeys((name for some in names.values() for name in some), "its worker process does not answer")
        wanted, pending, until = len(left), 0, time.monotonic() + CANCEL_S

        def ask(member: Member) -> Any:
            return member.actor.cancel.remote(names[member], max(1.0, until - time.monotonic() - ANSWER_AFTER_S))

        asked = {member: ask(member) for member in self.members if names[member]}
        while asked and time.monotonic() < until:
            ready, _ = self.api.wait(list(asked.values()), timeout=TURN_S)
            for member, ref in list(asked.items()):
                if ref not in ready:
                    continue
                try:
                    told, terminating = self.api.get(ref)
                except self.api.exceptions.RayError as error:
                    left |= dict.fromkeys(names[member], str(error).strip().splitlines()[-1].strip())
                    time.sleep(TURN_S)
                    asked[member] = ask(member)
                else:
                    left = {name: why for name, why in left.items() if name not in names[member]} | told
                    pending += terminating
                    del asked[member]
        deleted = wanted - len(left)
        left |= {work.deployment.deployment_id: NOT_TAKEN for work in self.waiting if work.deployment.exists}
        said = [f"{deleted} deployments were deleted"] if deleted else []
        if pending:
            said.append(f"the pods of {pending} are still terminating")
        if left:
            why = next(iter(left.values()))
            said.append(f"{len(left)} deployments may be left ({why}): {GC}")
        return said

    def _lose(self, member: Member, error: Exception) -> None:
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

    def _revive(self, member: Member, life: str) -> None:
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

    # ------------------------------------------------------------------------------------------------------------ rows

    def _write(self, member: Member, batch: Sequence[Numbered]) -> None:
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
                    ended_with_it = isinstance(event, PointFailed) and event.key in work.deployment.unwanted
                    if attempt is not None and not ended_with_it:
                        rows.append(self._row(work, attempt, event))
                        member.deaths = 0
                case Ended() if member.careful and work.wanted and not event.message:
                    member.given.append(work.rest(1))
                case Ended():
                    rows += self._rows_of_the_rest(work, event)
                    del member.carries[deployment_id]
                    self.asks_at = None if self.waits else self.asks_at  # a node may be free for it now
                    self.watcher.stage(deployment_id, None, event.message)
                    log.info("deployment %s ended %s", deployment_id, event.message)
                case Lost():
                    self.lost[deployment_id] = work.holding(), event.message
                    del member.carries[deployment_id]
                    self.watcher.stage(deployment_id, None, event.message)
                    log.warning("deployment %s is lost: %s", deployment_id, event.message)
                case Waiting():
                    self.watcher.stage(deployment_id, event.stage, event.message)
                    log.info("deployment %s %s %s", deployment_id, event.stage, event.message)
                case Started():
                    if (at := _usable(event.at)) is not None:
                        work.hold(at, self.steering.charged_until(deployment_id))
                    log.info("deployment %s runs on %s", deployment_id, event.node)
                case Released():
                    work.release(_usable(event.at) or datetime.now(UTC))
                    log.info("deployment %s has no node any more", deployment_id)
                case _:
                    log.info("deployment %s %s", deployment_id, event)
        self._write_rows(rows)

    def _row(self, work: Work, attempt: Attempt, event: PointDone | PointFailed) -> dict[str, Any]:
        row = self.recorder.row(work.deployment, attempt, event, work.begin_of)
        work.charge(row["ended_at"])
        return row

    def _rows_of_the_rest(self, work: Work, event: Ended) -> list[dict[str, Any]]:
        """Return the rows of what a deployment did not come to: stopped, or failed by what ended it.

        A failure that is tried again counts for the first attempt only; the others were not reached. One that is not
        tried again, or that applies to all, counts for each. Attempts that are no longer wanted get no row.
        """
        left_out = [(attempt, *work.stopped[key]) for key, attempt in work.left.items() if key in work.stopped]
        rows, kind, node = self._skipped(left_out), event.kind, event.node
        for key, attempt in work.left.items():
            if key in work.not_to_begin:
                continue
            why = event.message or "no reason was told"
            said = failed(key, kind, f"{ENDED}{why}", _usable(event.at), node)
            rows.append(self._row(work, attempt, said))
            is_tried_again = kind in KINDS and KINDS[kind].policy in (Policy.RETRY_ELSEWHERE, Policy.RETRY_LATER)
            if is_tried_again and not event.ends_all:
                kind, node = "not_reached", None
        return rows

    def _skipped(self, left_out: Sequence[tuple[Attempt, str, str]]) -> list[dict[str, Any]]:
        """Return the rows of what is left out; what has its number keeps it."""
        if not left_out:
            return []
        numbered = self.steering.numbered()
        return [
            self.recorder.skipped(attempt, kind, why)
            for attempt, kind, why in left_out
            if (attempt.point_id, attempt.repeat) not in numbered
        ]

    def _write_rows(self, rows: Sequence[dict[str, Any]]) -> None:
        if not rows:
            return
        self.recorder.results.append(rows)
        self.steering.note(rows)
        for row in rows:
            self.counts[Status(row["status"])] += 1
            self.watcher.row(row)
            if row["status"] != Status.OK or self.steering.rules.canary or self.steering.rules.limits.is_of_money:
                self.asks_at = None


def _usable(at: datetime | None) -> datetime | None:
    """Return a time that a backend told, None where it has no zone or is out of reach: it would end the arithmetic."""
    return at if is_of(Type.TIME, at) else None


def _killer(work: Work, said: str) -> PointFailed:
    key = next(iter(work.left))
    return failed(key, "worker_died", f"the worker process died {FATAL_DEATHS} times at this point alone: {said}")
