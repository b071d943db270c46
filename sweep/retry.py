"""What the rows of a sweep leave to do: each measurement is done, to do, given up, or skipped because of another.

A measurement is one repeat of a point. Its last row decides: a failure whose cause may be the node or the cluster is
tried again, others are not (failure/kinds.py). Pure: rows and the time in, an Outlook out, so that resuming after a
crash and trying again within one run are one and the same thing.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from sweep.errors import UsageError
from sweep.expression import Expression, compile_expression
from sweep.failure import KINDS, Policy, Skip
from sweep.plan import Attempt, Outlook
from sweep.point import SETTINGS, Point

REDO_WORDS = ("failed", "invalid", "all")
NO_OTHER_NODE = "no_other_node"
NOT_BEGUN = frozenset({"not_reached", NO_OTHER_NODE})
NOT_BEGUN_MOST = 20
"""So often may deployments end before one measurement; then something else is wrong."""
TRANSIENT_SKIPS = frozenset({Skip.BUDGET, Skip.DEADLINE, Skip.CANARY, Skip.FAILURES})
"""Skips of one command; the next one looks anew. The others hold as long as the failure that is their reason."""
GROWING = ("isl", "osl", "concurrency", "max_batch_size", "max_num_tokens", "max_seq_len")
"""Settings of which more never needs less memory."""
CLOCKS_AGREE = timedelta(seconds=60)
WITHOUT_MEMORY = ("num_requests", "dataset_seed", "warmup")
"""Settings that do not matter to memory; often derived from the others."""


class Record(Protocol):
    """What is asked of a row (sweep.table.Record)."""

    @property
    def point_id(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def repeat(self) -> int: ...
    @property
    def attempt(self) -> int: ...
    @property
    def status(self) -> str: ...
    @property
    def failure_kind(self) -> str | None: ...
    @property
    def node(self) -> str | None: ...
    @property
    def deployment_id(self) -> str | None: ...
    @property
    def ended_at(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """`run.retry.*`: how often, and when.

    attempts: tries of one measurement by one command, where the failure may be the node's or the cluster's.
    total: tries beyond the first ones, of all measurements of one command.
    backoff_s: before the second try; doubled before each further one, and varied by up to a half.
    backoff_max_s: the longest.
    also: kinds of failures that are tried again although their policy says not, for example timeout.
    """

    attempts: int = 3
    total: int = 50
    backoff_s: float = 10.0
    backoff_max_s: float = 600.0
    also: tuple[str, ...] = ()

    def after(self, tries: int, seed: str) -> timedelta:
        """Return how long to wait after so many tries; what has the same seed waits equally long."""
        if tries < 1:
            return timedelta(0)
        varied = 0.5 + zlib.crc32(f"{seed} {tries}".encode()) / 2**32
        return timedelta(seconds=min(self.backoff_s * 2.0 ** min(tries - 1, 40), self.backoff_max_s) * varied)


@dataclass(frozen=True, slots=True)
class Redo:
    """`run.redo`: what is measured again although it has its row.

    said: failed, invalid, all, or an expression over settings and `status`, `failure_kind`, `node`, `repeat`.
    since: rows from this one on were written since it was asked for, so that a killed command goes on.
    """

    said: str
    since: int
    expression: Expression | None = None

    @classmethod
    def of(cls, said: str, since: int) -> Redo:
        """Read what the configuration says.

        Raises:
            UsageError: it is neither one of the words nor an expression.
        """
        return cls(said, since, None if said in REDO_WORDS else compile_redo(said))

    def wants(self, point: Point, last: Record) -> bool:
        """Say whether a measurement is wanted again; `last` is its last row that no limit of a command left out."""
        if self.said == "all":
            return True
        if self.said == "failed":
            return last.status in ("failed", "skipped")
        if self.said == "invalid":
            return last.status == "invalid"
        assert self.expression is not None
        row = {"status": last.status, "failure_kind": last.failure_kind, "node": last.node, "repeat": last.repeat}
        return bool(self.expression({name: getattr(point, name) for name in SETTINGS} | row))


def compile_redo(said: str) -> Expression:
    """Compile an expression of `run.redo`.

    Raises:
        UsageError: it is none.
    """
    names: dict[str, Collection[str] | None] = {name: setting.texts for name, setting in SETTINGS.items()}
    names |= dict.fromkeys(("status", "failure_kind", "node")) | {"repeat": ()}
    try:
        return compile_expression(said, names, infinite=("concurrency",))
    except UsageError as error:
        words = ", ".join(REDO_WORDS)
        raise UsageError(f"run.redo is one of {words}, or an expression over settings: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The rows that count for this backend, in the order of writing.

    since: rows from this one on are of this command.
    written: when those were written, by our clock; a row itself has the clock of its node, which may be wrong.
    """

    records: Sequence[Record]
    since: int = 0
    written: Sequence[datetime] = ()

    def ended_by(self, number: int) -> datetime | None:
        """Return when the attempt of a row had ended; for one of this command, as far as its clock agrees with ours.

        What ended together is due together, though its rows were written one after the other.
        """
        ours, ended = number - self.since, self.records[number].ended_at
        if not 0 <= ours < len(self.written):
            return ended
        written = self.written[ours]
        return ended if ended is not None and written - CLOCKS_AGREE <= ended <= written else written

    def by_measurement(self, source: str) -> dict[tuple[str, int], list[tuple[int, Record]]]:
        """Return the rows of each (point_id, repeat) with their numbers."""
        found: dict[tuple[str, int], list[tuple[int, Record]]] = {}
        for number, record in enumerate(self.records):
            if record.source == source:
                found.setdefault((record.point_id, record.repeat), []).append((number, record))
        return found


def sort_out(
    points: Mapping[str, Point],
    history: History,
    *,
    source: str,
    now: datetime,
    repeats: int = 1,
    retry: Retry | None = None,
    redo: Redo | None = None,
) -> Outlook:
    """Decide about every measurement.

    Args:
        points: by id, in the order of measuring.
    """
    retry = retry or Retry()
    rows = history.by_measurement(source)
    tried_again = sum(
        number >= history.since
        and record.status == "failed"
        and record.failure_kind not in NOT_BEGUN
        and _is_tried_again(record, retry)
        for found in rows.values()
        for number, record in found
    )
    sorting = _Sorting(history=history, retry=retry, redo=redo, tried_again=tried_again)
    for repeat in range(1, repeats + 1):
        for point_id, point in points.items():
            found = rows.get((point_id, repeat), [])
            number = max((record.attempt for _, record in found), default=0) + 1
            sorting.decide(Attempt(point=point, point_id=point_id, repeat=repeat, number=number), found)
    _skip_for_others(sorting, points)
    later = {key: due for key, due in sorting.due.items() if key in sorting.to_do and due > now}
    return Outlook(
        to_do=tuple(attempt for key, attempt in sorting.to_do.items() if key not in later),
        later=tuple(sorting.to_do[key] for key in later),
        due_at=min(later.values(), default=None),
        done=sorting.done,
        failed_before=sorting.failed_before,
        given_up={key: (str(last.failure_kind), last.status) for key, last in sorting.given_up.items()},
        skipped=sorting.skipped,
    )


Rows = Sequence[tuple[int, Record]]
"""The rows of one measurement, each with its number in the table."""


@dataclass(slots=True, kw_only=True)
class _Sorting:
    """The rules that hold for all measurements, and what was decided so far.

    tried_again: how many tries of this command have failed that are tried again.
    """

    history: History
    retry: Retry
    redo: Redo | None
    tried_again: int
    to_do: dict[tuple[str, int], Attempt] = field(default_factory=dict)
    due: dict[tuple[str, int], datetime] = field(default_factory=dict)
    given_up: dict[tuple[str, int], Record] = field(default_factory=dict)
    skipped: dict[tuple[str, int], tuple[str, str]] = field(default_factory=dict)
    done: int = 0
    failed_before: int = 0

    def decide(self, again: Attempt, rows: Rows) -> None:
        """Decide about one measurement, whose next attempt would be `again`."""
        key = (again.point_id, again.repeat)
        if not rows:
            self.to_do[key] = again
            return
        number, last = rows[-1]
        made = [each for each in rows if each[1].status != "skipped"]
        if number >= self.history.since and _is_left_out(last):
            self.skipped[key] = str(last.failure_kind), ""
        elif self._is_wanted_again(again.point, rows):
            self.to_do[key] = again
            self.failed_before += last.status == "failed"
        elif last.status in ("ok", "infeasible"):
            self.done += 1
        elif made and made[-1][1].status in ("failed", "invalid"):  # why a later row was skipped is looked for anew
            self._decide_failed(again, made)
        else:  # never attempted, or asked for again and skipped then
            self.to_do[key] = again

    def _is_wanted_again(self, point: Point, rows: Rows) -> bool:
        """Say whether `run.redo` wants it, and it was not measured since that was asked for.

        What an earlier command left out for a limit is as it was before that.
        """
        if self.redo is None:
            return False
        before = [record for number, record in rows if number < self.redo.since and not _is_left_out(record)]
        since = [record for number, record in rows if number >= self.redo.since]
        return bool(before) and all(r.status == "skipped" for r in since) and self.redo.wants(point, before[-1])

    def _decide_failed(self, again: Attempt, made: Rows) -> None:
        """Decide where the last attempt failed, or has a report that is not to be trusted."""
        key, (number, last) = (again.point_id, again.repeat), made[-1]
        since = self.history.since
        ours = [record for each, record in made if each >= since and record.status in ("failed", "invalid")]
        tries = sum(record.failure_kind not in NOT_BEGUN for record in ours)
        if (
            not _is_tried_again(last, self.retry, by_next_run=not ours)
            or tries >= self.retry.attempts
            or len(ours) - tries >= NOT_BEGUN_MOST
            or (ours and last.failure_kind not in NOT_BEGUN and self.tried_again > self.retry.total)
        ):
            self.given_up[key] = last
            return
        self.failed_before += 1
        self.to_do[key] = again
        if ours and (ended := self.history.ended_by(number)) is not None:
            self.due[key] = ended + self.retry.after(max(1, tries), last.deployment_id or again.point_id)


def _is_left_out(record: Record) -> bool:
    return record.status == "skipped" and record.failure_kind in TRANSIENT_SKIPS


def _is_tried_again(record: Record, retry: Retry, *, by_next_run: bool = False) -> bool:
    kind = KINDS.get(record.failure_kind or "")
    if kind is None or record.failure_kind in retry.also:
        return kind is not None
    wanted = (Policy.RETRY_ELSEWHERE, Policy.RETRY_LATER, *([Policy.NEXT_RUN] if by_next_run else []))
    return kind.policy in wanted


# ------------------------------------------------------------------------------------- what a failure means for others


def _skip_for_others(sorting: _Sorting, points: Mapping[str, Point]) -> None:
    """Skip what needs as much memory as a point that ran out of it, and what shares a refused engine or model."""
    larger = [key for key, last in sorting.given_up.items() if _policy(last) is Policy.SKIP_LARGER]
    engines = _first_of(sorting, Policy.STOP_ENGINE, lambda point: point.engine_id, points)
    models = _first_of(sorting, Policy.STOP_MODEL, lambda point: (point.model, point.revision), points)
    images = _first_of(sorting, Policy.STOP_IMAGE, lambda point: (point.image, point.gpu), points)
    needs: dict[tuple[Any, ...], list[tuple[str, int]]] = {}
    for key in larger:
        needs.setdefault(_alike(points[key[0]]), []).append(key)
    if not (engines or models or images or needs):
        return
    for key in list(sorting.to_do):
        point = points[key[0]]
        reason: tuple[str, str] | None = None
        if point.engine_id in engines:
            reason = _because(Skip.ENGINE, engines[point.engine_id], points, sorting, "its engine is that of")
        elif (point.model, point.revision) in models:
            reason = _because(Skip.MODEL, models[point.model, point.revision], points, sorting, "its model is that of")
        elif (point.image, point.gpu) in images:
            reason = _because(Skip.IMAGE, images[point.image, point.gpu], points, sorting, "its image is that of")
        else:
            for other in needs.get(_alike(point), ()) if needs else ():
                if other != key and _needs_as_much(point, points[other[0]]):
                    reason = _because(Skip.NEEDS_MORE, other, points, sorting, "it needs at least as much memory as")
                    break
        if reason is not None:
            del sorting.to_do[key]
            sorting.skipped[key] = reason


def _first_of(
    sorting: _Sorting, policy: Policy, shared: Any, points: Mapping[str, Point]
) -> dict[Any, tuple[str, int]]:
    found: dict[Any, tuple[str, int]] = {}
    for key, last in sorting.given_up.items():
        if _policy(last) is policy:
            found.setdefault(shared(points[key[0]]), key)
    return found


def _policy(record: Record) -> Policy | None:
    kind = KINDS.get(record.failure_kind or "") if record.status == "failed" else None
    return kind.policy if kind is not None else None


def _because(
    skip: Skip, key: tuple[str, int], points: Mapping[str, Point], sorting: _Sorting, how: str
) -> tuple[str, str]:
    label, kind = points[key[0]].label(), sorting.given_up[key].failure_kind
    return skip.value, f"{how} {label} ({key[0]}), which failed ({kind})"


def _alike(point: Point) -> tuple[Any, ...]:
    """Return what two points must share to be compared by what they need."""
    return tuple(getattr(point, name) for name in SETTINGS if name not in (*GROWING, *WITHOUT_MEMORY))


def _needs_as_much(point: Point, other: Point) -> bool:
    return all(_amount(point, name) >= _amount(other, name) for name in GROWING)


def _amount(point: Point, name: str) -> float:
    value = getattr(point, name)
    return math.inf if name == "concurrency" and value == 0 else float(value)
