"""Points become deployments: what is still to do, in which order, on how many nodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

from sweep.matrix import Expansion, Reason
from sweep.point import GPUS, SETTINGS, Bench, Model, Point, identity

COVER_SETTINGS = ("isl", "osl", "concurrency", "max_batch_size", "max_num_tokens", "kv_cache_free_gpu_mem_fraction")
"""Ordered settings that are measured at their ends first and then in between."""
COVER_FROM = 4
"""With fewer values than this a setting belongs to the coarse cover with all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at one repeat of a point; becomes one row. `repeat` and `number` count from 1."""

    point: Point
    point_id: str
    repeat: int = 1
    number: int = 1

    @property
    def key(self) -> tuple[str, int, int]:
        """What names the attempt in events, rows and folders: (point_id, repeat, number)."""
        return (self.point_id, self.repeat, self.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One start on one set of GPUs that measures `attempts` in this order; all are of one model.

    exists: it is on the cluster already, and is taken over; it may have ended.
    unwanted: those of its attempts that nobody asks for any more; they are not to begin, and what they measured counts.
    objects: what a cluster is asked to create for it, as JSON; nothing where it exists, or where there is no cluster.
    """

    deployment_id: str
    sweep_id: str
    model: Model
    attempts: tuple[Attempt, ...]
    gpus_held: int
    exists: bool = False
    unwanted: frozenset[tuple[str, int, int]] = frozenset()
    objects: tuple[str, ...] = ()

    @classmethod
    def of(cls, sweep_id: str, model: Model, attempts: tuple[Attempt, ...], gpus_held: int) -> Deployment:
        """Name a deployment by the sweep and the ordered list of its attempts."""
        deployment_id = identity({"sweep_id": sweep_id, "attempts": [attempt.key for attempt in attempts]})
        return cls(deployment_id=deployment_id, sweep_id=sweep_id, model=model, attempts=attempts, gpus_held=gpus_held)


def job_name(deployment_id: str) -> str:
    """Return the name of a deployment's Job on a cluster, and of its ConfigMap."""
    return f"sweep-{deployment_id}"


class Held(Protocol):
    """A deployment that exists on a cluster, and the (point_id, repeat, number) that it measures, in order.

    over: it has ended, and is only to be collected.
    """

    @property
    def deployment_id(self) -> str: ...

    @property
    def attempts(self) -> Sequence[tuple[str, int, int]]: ...

    @property
    def over(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What the rows that exist leave to do (sweep.retry makes it).

    to_do, later: attempts in the order of measuring; `later` wait until `due_at` at least, after a failure.
    given_up: (failure_kind, status) by (point_id, repeat), of those that are not tried again.
    skipped: (failure_kind, why) by (point_id, repeat), of those that are not attempted because of others.
    failed_before: how many of `to_do` and `later` have failed before.
    """

    to_do: tuple[Attempt, ...] = ()
    later: tuple[Attempt, ...] = ()
    due_at: datetime | None = None
    done: int = 0
    failed_before: int = 0
    given_up: Mapping[tuple[str, int], tuple[str, str]] = field(default_factory=dict)
    skipped: Mapping[tuple[str, int], tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would run. `points` (by id) and `attempts`, those that are wanted, are in the order of measuring.

    adopted: the deployments that exist on the cluster already; they come first in `deployments`.
    """

    cells: int
    pruned: Mapping[Reason, int]
    points: Mapping[str, Point]
    outlook: Outlook
    attempts: tuple[Attempt, ...]
    deployments: tuple[Deployment, ...]
    adopted: int = 0

    @property
    def done(self) -> int:
        """Measurements that have their row."""
        return self.outlook.done

    @property
    def failed_before(self) -> int:
        """How many of those that are to do have failed before."""
        return self.outlook.failed_before

    @property
    def engines(self) -> int:
        """Distinct engines over all points."""
        return len({point.engine_id for point in self.points.values()})

    @property
    def engine_loads(self) -> int:
        """How often weights are loaded: once per attempt by trtllm-bench, once per engine and start by serve."""
        serve = {(d.deployment_id, a.point.engine_id) for d in self.deployments for a in d.attempts if _serves(a.point)}
        return len(serve) + sum(not _serves(attempt.point) for attempt in self.attempts)

    @property
    def engine_splits(self) -> tuple[str, ...]:
        """The settings that make more than one engine."""
        return tuple(
            name
            for name, setting in SETTINGS.items()
            if setting.engine and len({getattr(point, name) for point in self.points.values()}) > 1
        )


def _serves(point: Point) -> bool:
    return point.bench == Bench.SERVE


def points_of(expansions: Iterable[tuple[Model, Expansion]]) -> dict[str, Point]:
    """Return the points of all expansions by id, in the order of measuring."""
    return cover({point.point_id: point for _, expansion in expansions for point in expansion.points})


def first_attempts(points: Mapping[str, Point], repeats: int = 1) -> Outlook:
    """Return what is to do where there is no row yet."""
    return Outlook(
        to_do=tuple(
            Attempt(point=point, point_id=point_id, repeat=repeat)
            for repeat in range(1, repeats + 1)
            for point_id, point in points.items()
        )
    )


def make(
    expansions: Sequence[tuple[Model, Expansion]],
    *,
    sweep_id: str,
    outlook: Outlook | None = None,
    repeats: int = 1,
    nodes: int = 1,
    max_points_per_deployment: int | None = None,
    held: Sequence[Held] = (),
    recorded: Mapping[tuple[str, int], int] = MappingProxyType({}),
    former: Mapping[str, tuple[Model, Point]] = MappingProxyType({}),
    alone: bool = False,
) -> Plan:
    """Plan what is to do.

    What a deployment on the cluster holds is not planned a second time: it is taken over with all its attempts that
    have no row, also with those that nobody asks for any more. One that has none is only seen to its end.

    Args:
        outlook: what is to do; by default the first attempt of each point.
        recorded: the highest attempt that has a row, by (point_id, repeat).
        former: points that earlier commands asked for, by id.
        alone: of what does not exist yet, plan the first attempt only (a canary).
    """
    pruned: dict[Reason, int] = {}
    models: dict[str, Model] = {}
    for model, expansion in expansions:
        for reason, count in expansion.pruned.items():
            pruned[reason] = pruned.get(reason, 0) + count
        models[model.id] = model
    points = points_of(expansions)
    outlook = first_attempts(points, repeats) if outlook is None else outlook
    known = {**former, **{point_id: (models[point.model], point) for point_id, point in points.items()}}

    def is_wanted(point_id: str, repeat: int) -> bool:
        return point_id in points and repeat <= repeats

    adopted = list(_adopted(held, sweep_id, known, recorded, is_wanted))
    going_on = [a for deployment in adopted for a in deployment.attempts if a.key not in deployment.unwanted]
    taken = {attempt.key[:2] for deployment in adopted for attempt in deployment.attempts}
    attempts = [attempt for attempt in outlook.to_do if attempt.key[:2] not in taken]
    if alone:
        attempts = [] if going_on else attempts[:1]
    return Plan(
        cells=sum(expansion.cells for _, expansion in expansions),
        pruned=pruned,
        points=points,
        outlook=outlook,
        attempts=(*going_on, *attempts),
        deployments=(*adopted, *_deployments(attempts, models, sweep_id, nodes, max_points_per_deployment)),
        adopted=len(adopted),
    )


def _adopted(
    held: Sequence[Held],
    sweep_id: str,
    known: Mapping[str, tuple[Model, Point]],
    recorded: Mapping[tuple[str, int], int],
    is_wanted: Callable[[str, int], bool],
) -> Iterator[Deployment]:
    """Yield the deployments that are taken over; of a (point, repeat) that several hold, the highest attempt counts."""
    holder: dict[tuple[str, int], tuple[str, int]] = {}
    for each in held:
        for point_id, repeat, number in each.attempts:
            if number > max(recorded.get((point_id, repeat), 0), holder.get((point_id, repeat), ("", 0))[1]):
                holder[point_id, repeat] = each.deployment_id, number
    for each in held:
        of_it = [known[point_id] for point_id, _, _ in each.attempts if point_id in known]
        left = [
            Attempt(point=known[point_id][1], point_id=point_id, repeat=repeat, number=number)
            for point_id, repeat, number in each.attempts
            if point_id in known and holder.get((point_id, repeat)) == (each.deployment_id, number)
        ]
        if of_it and (left or not each.over):
            model, point = of_it[0]
            yield Deployment(
                deployment_id=each.deployment_id,
                sweep_id=sweep_id,
                model=model,
                attempts=tuple(left),
                gpus_held=GPUS[str(point.gpu)].per_node,
                exists=True,
                unwanted=frozenset(a.key for a in left if not is_wanted(a.point_id, a.repeat)),
            )


def cover(points: Mapping[str, Point]) -> dict[str, Point]:
    """Order points so that a coarse cover of the matrix comes before its details.

    The ends of each ordered setting come first, then the middle, then the middles of what is left; every value of the
    other settings (layouts, dtypes, few lengths) belongs to each round. Within a round the matrix order stays.
    """
    ranks: dict[str, dict[float, int]] = {}
    for name in COVER_SETTINGS:
        values = sorted({_ordered(point, name) for point in points.values()})
        if len(values) >= COVER_FROM:
            ranks[name] = dict(zip(values, _rounds(len(values)), strict=True))
    return dict(
        sorted(
            points.items(),
            key=lambda item: max((rank[_ordered(item[1], name)] for name, rank in ranks.items()), default=0),
        )
    )


def _ordered(point: Point, name: str) -> float:
    value = getattr(point, name)
    return math.inf if name == "concurrency" and value == 0 else float(value)


def _rounds(n: int) -> list[int]:
    """Return for each of n ordered values the round in which bisection meets it; both ends are round 0."""
    rounds = [0] * n
    spans, number = [(0, n - 1)], 1
    while spans:
        following = []
        for low, high in spans:
            if high - low > 1:
                middle = (low + high) // 2
                rounds[middle] = number
                following += [(low, middle), (middle, high)]
        spans, number = following, number + 1
    return rounds


def _deployments(
    attempts: Sequence[Attempt], models: Mapping[str, Model], sweep_id: str, nodes: int, most: int | None
) -> Iterable[Deployment]:
    """Group by what one start can share, deal each group over its share of the nodes, cut what is too long."""
    groups: dict[tuple[object, ...], list[Attempt]] = {}
    for attempt in attempts:
        point = attempt.point
        shared = (point.engine_id,) if _serves(point) else (point.image, point.model, point.revision, point.gpu)
        groups.setdefault((point.bench, *shared), []).append(attempt)
    hands = max(1, nodes // max(1, len(groups)))
    for group in groups.values():
        for dealt in _deal(group, min(hands, len(group))):
            size = most or len(dealt)
            for start in range(0, len(dealt), size):
                part = tuple(dealt[start : start + size])
                point = part[0].point
                yield Deployment.of(sweep_id, models[point.model], part, GPUS[str(point.gpu)].per_node)


def _deal(group: Sequence[Attempt], hands: int) -> list[list[Attempt]]:
    """Deal in turns that go there and back (0 1 2 2 1 0 ...), so that no hand gets all ends of one axis."""
    dealt: list[list[Attempt]] = [[] for _ in range(hands)]
    for number, attempt in enumerate(group):
        turn, place = divmod(number, hands)
        dealt[place if turn % 2 == 0 else hands - 1 - place].append(attempt)
    return dealt
