"""Which nodes are avoided, by the rows that failed on them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sweep.failure import KINDS, Policy
from sweep.retry import NO_OTHER_NODE, NOT_BEGUN, Record

NO_BAD_NODE = ("image_pull",)
"""Kinds that are tried again on another node, and make none a bad one: an image's name is as often to blame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """`run.quarantine.*`: when a node is avoided.

    failures: so many measurements failed on it in a way that is a node's.
    expires_s: after the last of them it is taken again.
    """

    failures: int = 2
    expires_s: float = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Avoided:
    """A node in quarantine: how often it failed, how, and until when it is avoided."""

    node: str
    failures: int
    kinds: tuple[str, ...]
    until: datetime


def avoided(records: Iterable[Record], rules: Quarantine, now: datetime) -> list[Avoided]:
    """Return the nodes in quarantine, by name.

    A node that has measured well since its last failure is not in it.
    """
    failed: dict[str, list[Record]] = {}
    for record in records:
        for node in _nodes(record):
            if record.status == "ok":
                failed.pop(node, None)
            elif _is_of_a_node(record) and record.failure_kind not in NO_BAD_NODE:
                failed.setdefault(node, []).append(record)
    found = []
    for node, rows in failed.items():
        ended = [record.ended_at for record in rows if record.ended_at is not None]
        until = max(ended, default=now) + timedelta(seconds=rules.expires_s)
        if len(rows) >= rules.failures and until > now:
            kinds = tuple(sorted({str(record.failure_kind) for record in rows}))
            found.append(Avoided(node=node, failures=len(rows), kinds=kinds, until=until))
    return sorted(found, key=lambda each: each.node)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which nodes deployments avoid, each by what it is to measure.

    quarantined: by all.
    failed_on: nodes by (point_id, repeat) where it failed last in a node's way, so that another one is taken.
    without: by (point_id, repeat), how often in a row no node was left for it beside those that were avoided.
    """

    quarantined: frozenset[str]
    failed_on: Mapping[tuple[str, int], frozenset[str]]
    without: Mapping[tuple[str, int], int]

    @classmethod
    def of(cls, records: Sequence[Record], since: int, rules: Quarantine, now: datetime) -> Choice:
        """Read it from the rows, those of this command behind `since`: the next one asks the cluster anew."""
        failed_on: dict[tuple[str, int], frozenset[str]] = {}
        without: dict[tuple[str, int], int] = {}
        for number, record in enumerate(records):
            key = (record.point_id, record.repeat)
            if record.failure_kind == NO_OTHER_NODE and number >= since:
                without[key] = without.get(key, 0) + 1
            elif record.status != "skipped" and record.failure_kind not in NOT_BEGUN:
                is_old = record.ended_at is not None and record.ended_at + timedelta(seconds=rules.expires_s) <= now
                failed_on[key] = frozenset(_nodes(record) if _is_of_a_node(record) and not is_old else ())
                without.pop(key, None)
        quarantined = frozenset(each.node for each in avoided(records, rules, now))
        return cls(quarantined=quarantined, failed_on=failed_on, without=without)

    def nodes(self, keys: Sequence[tuple[str, int]]) -> tuple[str, ...]:
        """Return the nodes that a deployment of these measurements must not take.

        Where none was left, those where they failed are taken again, and then those in quarantine too: where all nodes
        are, it would keep the sweep from ever going on.
        """
        failed_on = self.quarantined.union(*(self.failed_on.get(key, ()) for key in keys))
        choices = list(dict.fromkeys([failed_on, self.quarantined, frozenset[str]()]))
        without = max((self.without.get(key, 0) for key in keys), default=0)
        return tuple(sorted(choices[min(without, len(choices) - 1)]))


def _nodes(record: Record) -> Iterator[str]:
    yield from (node for node in (record.node or "").split(",") if node)


def _is_of_a_node(record: Record) -> bool:
    kind = KINDS.get(record.failure_kind or "") if record.status == "failed" else None
    return kind is not None and kind.policy is Policy.RETRY_ELSEWHERE
