"""What must hold once a sweep was killed and went on to its end, whatever was done to it in between.

1. No row is lost: each (point, repeat) has an ok row, or a last row that says why not; what was once read stays.
2. No row is doubled: no attempt has two rows, no (point, repeat) two ok rows, and no two deployments hold one at once.
3. Nothing is left: no process, temporary folder, lock, half-written file, and no object on a cluster beyond its TTL.
4. No number is another: each ok row has the numbers of an undisturbed measurement.
5. Nothing else is wrong: every reader can read at any moment, every command ends, in time, with an exit code that is
   true, and what belongs to others is untouched.

Pure: what was seen comes in as values, what is wrong goes out as findings.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

PointRepeat = tuple[str, int]
"""(point_id, repeat): what is to have exactly one number."""


class Kind(StrEnum):
    """What a finding is counted as."""

    LOST = "lost"
    DOUBLED = "doubled"
    LEFT = "left"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that must not be."""

    kind: Kind
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the model needs of a row of the table."""

    point_id: str
    repeat: int
    attempt: int
    status: str
    failure_kind: str | None = None
    failure_message: str | None = None

    @property
    def point(self) -> PointRepeat:
        return self.point_id, self.repeat

    @property
    def name(self) -> str:
        return f"{self.point_id} repeat {self.repeat} attempt {self.attempt}"


NO_ATTEMPT = ("skipped", "infeasible")
"""Status of rows that no attempt stands behind; a point may have several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """From when to when a holder (a process, a Job) held a point; `end` None: it was killed, nobody knows when."""

    point: PointRepeat
    holder: str
    begin: float
    end: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a sweep is to end with.

    points: each (point_id, repeat) that its last command asks for.
    failing: those of them that fail by themselves, each time, with this kind.
    excused: kinds of failures that the faults of this seed explain; the last command must have mended any other.
    times: how often each is measured well, at least and at most; all equally often.
    """

    points: frozenset[PointRepeat]
    failing: Mapping[PointRepeat, str] = field(default_factory=dict)
    excused: frozenset[str] = frozenset()
    times: tuple[int, int] = (1, 1)


def judge_rows(expected: Expected, rows: Sequence[Row]) -> Iterator[Finding]:
    """Hold the table, all attempts in the order of writing, against what is expected."""
    of_point: dict[PointRepeat, list[Row]] = defaultdict(list)
    for row in rows:
        of_point[row.point].append(row)
    for point_id, repeat in sorted(expected.points - of_point.keys()):
        yield Finding(kind=Kind.LOST, message=f"{point_id} repeat {repeat} has no row")
    for name, count in Counter(row.name for row in rows if row.status not in NO_ATTEMPT).items():
        if count > 1:
            yield Finding(kind=Kind.DOUBLED, message=f"{name} has {count} rows")
    least, most = expected.times
    measured = {
        point: len({row.attempt for row in tries if row.status == "ok"})
        for point, tries in of_point.items()
        if point in expected.points and point not in expected.failing
    }
    if len(set(measured.values())) > 1:
        said = ", ".join(f"{point_id} repeat {repeat}: {count}" for (point_id, repeat), count in measured.items())
        yield Finding(kind=Kind.DOUBLED, message=f"not all were measured equally often: {said}")
    for point, tries in of_point.items():
        last, count = tries[-1], len({row.attempt for row in tries if row.status == "ok"})
        if count > most:
            yield Finding(kind=Kind.DOUBLED, message=f"{last.name}: measured ok {count} times, not {most}")
        if 0 < count < least:
            yield Finding(kind=Kind.LOST, message=f"{last.name}: measured ok {count} times, not {least}")
        if point not in expected.points:
            yield Finding(kind=Kind.WRONG, message=f"{last.name}: nobody asked for this point")
        elif point in expected.failing:
            if last.failure_kind != expected.failing[point] or not last.failure_message:
                yield Finding(kind=Kind.LOST, message=f"{last.name}: {_said(last)}, not {expected.failing[point]}")
        elif last.status != "ok":
            if not (last.failure_kind and last.failure_message):
                yield Finding(kind=Kind.LOST, message=f"{last.name} is {last.status} without a reason")
            elif last.failure_kind not in expected.excused:
                yield Finding(kind=Kind.LOST, message=f"{last.name}: {_said(last)}, which no fault explains")


def _said(row: Row) -> str:
    return f"{row.status} ({row.failure_kind}: {row.failure_message})"


Numbers = Mapping[str, Any]
"""What a row says by column: settings, what the report states, metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """An ok row with its numbers."""

    name: str
    point_id: str
    numbers: Numbers


def judge_numbers(undisturbed: Mapping[str, Numbers], rows: Iterable[Measured]) -> Iterator[Finding]:
    """Hold the numbers of ok rows against those that an undisturbed measurement of the same point gives."""
    for row in rows:
        right = undisturbed.get(row.point_id)
        if right is None:
            continue  # `judge_rows` knows that it was not asked for
        for column in sorted(right.keys() | row.numbers.keys()):
            if row.numbers.get(column) != right.get(column):
                is_not = f"{column} is {row.numbers.get(column)}, undisturbed {right.get(column)}"
                yield Finding(kind=Kind.WRONG, message=f"{row.name}: {is_not}")


def judge_reading(before: frozenset[Row], now: Sequence[Row]) -> Iterator[Finding]:
    """Hold what a reader sees now against what readers had seen before it."""
    for row in sorted(before - set(now), key=lambda row: row.name):
        yield Finding(kind=Kind.LOST, message=f"{row.name} was in the table and is not any more")
    for row, count in Counter(now).items():
        if count > 1 and row.status not in NO_ATTEMPT:
            yield Finding(kind=Kind.DOUBLED, message=f"{row.name} was read {count} times at once")


def judge_holders(spans: Iterable[Span]) -> Iterator[Finding]:
    """Find points that two held at one moment."""
    of_point: dict[PointRepeat, list[Span]] = defaultdict(list)
    for span in spans:
        if span.end is not None:
            of_point[span.point].append(span)
    for (point_id, repeat), held in sorted(of_point.items()):
        held.sort(key=lambda span: span.begin)
        for one, other in itertools.pairwise(held):
            assert one.end is not None
            if other.begin < one.end and other.holder != one.holder:
                said = f"{point_id} repeat {repeat} was held by {one.holder} and {other.holder} at one moment"
                yield Finding(kind=Kind.DOUBLED, message=said)


def judge_measured(
    published: Mapping[PointRepeat, int], failed: frozenset[PointRepeat], most: int = 1
) -> Iterator[Finding]:
    """Find points that were measured more often than was asked for although their result could be read."""
    for (point_id, repeat), times in sorted(published.items()):
        if times > most and (point_id, repeat) not in failed:
            yield Finding(kind=Kind.DOUBLED, message=f"{point_id} repeat {repeat} was measured {times} times")


def judge_ending(code: int | None, allowed: Iterable[int], command: str, said: str) -> Iterator[Finding]:
    """Hold a command's exit code and words against what they may be; code None: it did not end in time."""
    codes = sorted(allowed)
    if code is None:
        yield Finding(kind=Kind.WRONG, message=f"{command} did not end")
    elif code not in codes:
        last = said.strip().splitlines()[-1:] or ["it said nothing"]
        yield Finding(kind=Kind.WRONG, message=f"{command} ended with {code}, not {codes}: {last[0]}")
    if "Traceback (most recent call last)" in said:
        yield Finding(kind=Kind.WRONG, message=f"{command} told a stack trace: {said.strip().splitlines()[-1]}")
