"""Which nodes are avoided, by the rows that failed on them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sweep.failure import KINDS, Policy
from sweep.retry import Record


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
            elif _is_of_a_node(record):
                failed.setdefault(node, []).append(record)
    found = []
    for node, rows in failed.items():
        ended = [record.ended_at for record in rows if record.ended_at is not None]
        until = max(ended, default=now) + timedelta(seconds=rules.expires_s)
        if len(rows) >= rules.failures and until > now:
            kinds = tuple(sorted({str(record.failure_kind) for record in rows}))
            found.append(Avoided(node=node, failures=len(rows), kinds=kinds, until=until))
    return sorted(found, key=lambda each: each.node)


def failed_on(records: Iterable[Record], keys: Collection[tuple[str, int]]) -> set[str]:
    """Return the nodes where these measurements failed in a node's way last, so that another one is taken."""
    last = {(record.point_id, record.repeat): record for record in records if record.status != "skipped"}
    rows = [last[key] for key in keys if key in last]
    return {node for record in rows if _is_of_a_node(record) for node in _nodes(record)}


def _nodes(record: Record) -> Iterator[str]:
    yield from (node for node in (record.node or "").split(",") if node)


def _is_of_a_node(record: Record) -> bool:
    kind = KINDS.get(record.failure_kind or "") if record.status == "failed" else None
    return kind is not None and kind.policy is Policy.RETRY_ELSEWHERE
