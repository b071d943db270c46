"""What a run does next, by its rows and its clock: neither Ray nor a backend is asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sweep import plan
from sweep.driver import Rules, Steering
from sweep.plan import Attempt, Deployment
from sweep.retry import Retry
from sweep.table import Outcome, Record, Source, Status, make_row
from tests.test_driver import grown
from tests.test_matrix import LLAMA

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
POINTS = plan.points_of([(LLAMA, grown(8))])
ATTEMPTS = [Attempt(point=point, point_id=point_id) for point_id, point in POINTS.items()]


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def row(
    number: int, kind: str | None = None, *, at: datetime = NOW, node: str | None = None, **more: Any
) -> dict[str, Any]:
    """Return the row of the attempt of this number in the order of measuring: ok, or failed in this way."""
    attempt = ATTEMPTS[number]
    made = make_row(
        sweep_id="s",
        deployment=Deployment.of("s", LLAMA, (attempt,), gpus_held=4),
        attempt=attempt,
        outcome=Outcome(status=Status.OK if kind is None else Status.FAILED, failure_kind=kind),
        source=Source.MEASURED,
        backend="gke",
        started_at=at,
        ended_at=at,
        environment={} if node is None else {"node": node},
    )
    return made | more


def steer(before: Sequence[dict[str, Any]] = (), rules: Rules | None = None, **more: Any) -> Steering:
    return Steering(
        expansions=[(LLAMA, grown(8))],
        sweep_id="s",
        source=Source.MEASURED,
        rules=rules or Rules(nodes=4),
        records=[Record.of(each) for each in before],
        **{"clock": Clock()} | more,
    )


# -------------------------------------------------------------------------------------------------------------- clocks

PATIENT = Rules(nodes=4, retry=Retry(attempts=9, backoff_s=60))


def thrice(steering: Steering, at: datetime = NOW) -> Steering:
    """Note that the first measurement failed three times, so that about four minutes are waited."""
    steering.note([row(0, "nccl", at=at, attempt=n) for n in (1, 2, 3)])
    return steering


@pytest.mark.parametrize("wrong", [timedelta(hours=-2), timedelta(hours=2)])
def test_a_back_off_begins_when_the_row_is_written_whatever_the_clock_of_its_node_says(wrong: timedelta) -> None:
    due = thrice(steer(rules=PATIENT), NOW + wrong).outlook().due_at
    assert due is not None and timedelta(minutes=2) <= due - NOW <= timedelta(minutes=6)


def test_a_clock_that_is_set_back_does_not_make_a_back_off_longer() -> None:
    clock = Clock()
    steering = thrice(steer(rules=PATIENT, clock=clock))
    clock.now = NOW - timedelta(hours=2)
    assert steering.outlook().later
    clock.now += timedelta(minutes=6)
    assert not steering.outlook().later
