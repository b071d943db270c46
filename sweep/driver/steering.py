"""What a run does next: begin, leave alone, stop. Asked again whenever rows were written or time has passed.

The table is the only memory: what is tried again after a failure is planned just as what a killed run left is, from the
rows and from what is live.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sweep import plan, quarantine, retry
from sweep.failure import Skip
from sweep.limits import Limits, gpu_hours_of
from sweep.matrix import Expansion
from sweep.plan import Attempt, Deployment, Held, Outlook, Plan
from sweep.point import Model, Point
from sweep.quarantine import Avoided, Choice, Quarantine
from sweep.retry import History, Redo, Retry
from sweep.table import Record, Source

Dress = Callable[[Sequence[Deployment], Sequence[str]], Sequence[Deployment]]
"""Gives deployments what is to be created of them on a cluster; nodes of the second argument are not to be taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a run goes on: all that `run.*` says of it.

    nodes: over how many to spread; max_points: the most of one deployment; max_deployments: that exist at once.
    canary: the first point alone, then the others.
    """

    nodes: int = 1
    repeats: int = 1
    max_points: int | None = None
    max_deployments: int | None = None
    canary: bool = False
    retry: Retry = Retry()
    quarantine: Quarantine = Quarantine()
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A deployment that is live: what it has not told of yet, and what of its GPUs is charged to nobody.

    since: since when it holds them; None while it waits for them.
    held: how long it held them before that: it was evicted.
    """

    deployment_id: str
    attempts: Sequence[tuple[str, int, int]]
    gpus_held: int
    since: datetime | None
    held: timedelta = timedelta(0)
    over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is to be done now.

    begin: new deployments.
    stop: (kind, why) by attempt, of those that live deployments shall not begin any more.
    skip: the same of attempts that nobody holds.
    waits: whether something is to begin later.
    ask_at: when to ask again, though nothing happens.
    word: what a user should know of it.
    """

    begin: Sequence[Deployment] = ()
    stop: Mapping[tuple[str, int, int], tuple[str, str]] = field(default_factory=dict)
    skip: Sequence[tuple[Attempt, str, str]] = ()
    waits: bool = False
    ask_at: datetime | None = None
    word: str = ""


@dataclass(slots=True)
class Steering:
    """Decides for one run.

    records: the rows that count, those of this run behind `since`.
    former: points that earlier commands asked for, by id, as far as deployments that exist may measure them.
    """

    expansions: Sequence[tuple[Model, Expansion]]
    sweep_id: str
    source: Source
    rules: Rules
    records: list[Record]
    redo: Redo | None = None
    former: Mapping[str, tuple[Model, Point]] = field(default_factory=dict)
    dress: Dress = lambda deployments, _: deployments
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    since: int = field(init=False)
    points: Mapping[str, Point] = field(init=False)
    _written: list[datetime] = field(init=False, default_factory=list)
    _over: tuple[str, str] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.since = len(self.records)
        self.points = plan.points_of(self.expansions)

    def plan_beside(self, held: Sequence[Held] = (), *, busy: int = 0) -> Plan:
        """Plan what is to do beside what exists, of which so many are on a node or wait for one."""
        return self._plan(self.outlook(), held, busy)

    def outlook(self) -> Outlook:
        """Return what the rows leave to do."""
        now = self.clock()
        self._written = [min(at, now) for at in self._written]  # our clock was set back: else back-offs last as long
        return retry.sort_out(
            self.points,
            History(records=self.records, since=self.since, written=self._written),
            source=self.source,
            now=now + self._lookahead(),
            repeats=self.rules.repeats,
            retry=self.rules.retry,
            redo=self.redo,
        )

    def note(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take note of rows that were written."""
        self.records += [Record.of(row) for row in rows]
        self._written += [self.clock()] * len(rows)

    def step(self, live: Sequence[Holding]) -> Step:
        """Return what is to be done now."""
        outlook = self.outlook()
        if (stopped := self.stopped(live)) is not None:
            return self._stop(outlook, live, *stopped)
        kept = {key[:2] for holding in live for key in holding.attempts}
        made = self._plan(outlook, live, len(live))
        stop = {
            key: why
            for holding in live
            for key in holding.attempts
            if (why := outlook.skipped.get(key[:2])) is not None
        }
        skip = self._skipped(outlook, without=kept)
        begin = made.deployments[made.adopted :]
        if len(live) >= self.rules.nodes:  # no node is free; and what fails meanwhile can share a start with it
            return Step(stop=stop, skip=skip, waits=bool(begin or outlook.later), ask_at=self._ask_at(outlook))
        begin, word = self._dress(begin)
        return Step(
            begin=begin, stop=stop, skip=skip, waits=bool(outlook.later), ask_at=self._ask_at(outlook), word=word
        )

    def stopped(self, live: Sequence[Holding] = ()) -> tuple[str, str] | None:
        """Return (kind, why) of the limit that is reached, or None; what was reached once stays so for this run."""
        if self._over is None:
            self._over = self._limit(live)
        return self._over

    def _limit(self, live: Sequence[Holding]) -> tuple[str, str] | None:
        spent = gpu_hours_of(record for record in self.records if record.source == self.source)
        now = self.clock()
        for holding in live:
            holds = timedelta(0) if holding.since is None else max(timedelta(0), now - holding.since)
            spent += holding.gpus_held * (holding.held + holds).total_seconds() / 3600
        reached = self.rules.limits.reached(gpu_hours=spent, now=now, failed=self._failed_for_good())
        return reached or self._canary_failed()

    def _failed_for_good(self) -> list[Record]:
        """Return the last rows of what failed in this command and is not tried again."""
        bad = [r for r in self.records[self.since :] if r.source == self.source and r.status in ("failed", "invalid")]
        if len(bad) < (self.rules.limits.max_failures or math.inf):  # asked often, and seldom so many
            return []
        last, given_up = {(r.point_id, r.repeat): r for r in bad}, self.outlook().given_up
        return [record for key, record in last.items() if key in given_up]

    def numbered(self) -> set[tuple[str, int]]:
        """Return the measurements whose last row is ok: asked for again and left out, it stays the last one."""
        last = {(r.point_id, r.repeat): r.status for r in self.records if r.source == self.source}
        return {key for key, status in last.items() if status == "ok"}

    def charged_until(self, deployment_id: str) -> datetime | None:
        """Return until when the GPUs of a deployment are in rows; None where it has none."""
        ended = [r.ended_at for r in self.records if r.deployment_id == deployment_id and r.ended_at is not None]
        return max(ended, default=None)

    def quarantined(self) -> list[Avoided]:
        """Return the nodes that are avoided now."""
        return quarantine.avoided(self.records, self.rules.quarantine, self.clock())

    def dressed(self, deployments: Sequence[Deployment]) -> tuple[Deployment, ...]:
        """Return new deployments with what is to be created of them, each avoiding the nodes that are bad for it."""
        return self._dress(deployments)[0]

    @property
    def has_done_all(self) -> bool:
        """Whether nothing was left for a limit that was reached; what was given up is done."""
        outlook = self.outlook()
        left = any(kind in retry.TRANSIENT_SKIPS for kind, _ in outlook.skipped.values())
        return not (outlook.to_do or outlook.later or left)

    # --------------------------------------------------------------------------------------------------------- inside

    def _dress(self, deployments: Sequence[Deployment]) -> tuple[tuple[Deployment, ...], str]:
        """Dress those that avoid the same nodes together: a chart is rendered once for all of them."""
        choice = Choice.of(self.records, self.since, self.rules.quarantine, self.clock())
        alike: dict[tuple[str, ...], list[Deployment]] = {}
        for deployment in deployments:
            alike.setdefault(choice.nodes([attempt.key[:2] for attempt in deployment.attempts]), []).append(deployment)
        made = {d.deployment_id: d for avoid, some in alike.items() for d in self.dress(some, avoid)}
        taken = ", ".join(sorted(choice.quarantined)) if () in alike else ""
        word = f"no node is left beside those in quarantine, which are taken again: {taken}" if taken else ""
        return tuple(made[deployment.deployment_id] for deployment in deployments), word

    def _plan(self, outlook: Outlook, held: Sequence[Held], busy: int) -> Plan:
        return plan.make(
            self.expansions,
            sweep_id=self.sweep_id,
            outlook=outlook,
            nodes=max(1, self.rules.nodes - busy),
            max_points_per_deployment=self.rules.max_points,
            repeats=self.rules.repeats,
            held=held,
            recorded=self._recorded(),
            former=self.former,
            alone=self.rules.canary and not self._has_measured(),
        )

    def _recorded(self) -> dict[tuple[str, int], int]:
        """Return the highest attempt of each (point_id, repeat) that has a row."""
        found: dict[tuple[str, int], int] = {}
        for record in self.records:
            if record.source == self.source:
                key = (record.point_id, record.repeat)
                found[key] = max(record.attempt, found.get(key, 0))
        return found

    def _lookahead(self) -> timedelta:
        """What is due within one back-off is planned together, so that it shares a deployment."""
        return timedelta(seconds=self.rules.retry.backoff_s) if len(self.records) > self.since else timedelta(0)

    def _ask_at(self, outlook: Outlook) -> datetime | None:
        times = [outlook.due_at - self._lookahead()] if outlook.due_at is not None else []
        times += [self.rules.limits.deadline] if self.rules.limits.deadline is not None else []
        return min(times, default=None)

    def _stop(self, outlook: Outlook, live: Sequence[Holding], kind: str, why: str) -> Step:
        stop = {key: (kind, why) for holding in live for key in holding.attempts}
        kept = {key[:2] for key in stop}
        skip = [(a, kind, why) for a in outlook.to_do + outlook.later if (a.point_id, a.repeat) not in kept]
        return Step(stop=stop, skip=[*skip, *self._skipped(outlook, without=kept)])

    def _skipped(self, outlook: Outlook, without: Collection[tuple[str, int]]) -> list[tuple[Attempt, str, str]]:
        """Return what is skipped because of others and has no row that says so yet."""
        last = {(record.point_id, record.repeat): record for record in self.records}
        return [
            (Attempt(point=self.points[key[0]], point_id=key[0], repeat=key[1]), kind, why)
            for key, (kind, why) in outlook.skipped.items()
            if key not in without and (key not in last or last[key].failure_kind != kind)
        ]

    def _has_measured(self) -> bool:
        """Say whether a point that is asked for has its number; where it is measured again, a new one."""
        return any(
            record.status == "ok" and record.source == self.source and record.point_id in self.points
            for record in self._asked_since()
        )

    def _canary_failed(self) -> tuple[str, str] | None:
        """Return why nothing follows the canary, if it has failed for good."""
        if not self.rules.canary or self._has_measured():
            return None
        tried = {(record.point_id, record.repeat) for record in self._asked_since()}
        for key, (kind, status) in self.outlook().given_up.items():
            if key in tried:
                return Skip.CANARY, f"the first point ({key[0]}) ended {status} ({kind}), and it is measured alone"
        return None

    def _asked_since(self) -> Sequence[Record]:
        """Return the rows since `run.redo` was asked for, else all."""
        return self.records if self.redo is None else self.records[self.redo.since :]
