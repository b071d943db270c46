"""What a run does next, by its rows and its clock: neither Ray nor a backend is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sweep import plan
from sweep.driver import Holding, Rules, Steering
from sweep.limits import Budget, Limits
from sweep.plan import Attempt, Deployment
from sweep.retry import Redo, Retry
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


# --------------------------------------------------------------------------------------------------------------- nodes


class Tailor:
    """Notes what it is asked to dress, and which nodes are to be avoided."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], list[str]]] = []

    def __call__(self, deployments: Sequence[Deployment], avoid: Sequence[str]) -> Sequence[Deployment]:
        self.asked.append(([a.point_id for d in deployments for a in d.attempts], list(avoid)))
        return deployments


def test_deployments_are_dressed_together_where_they_avoid_the_same_nodes() -> None:
    tailor = Tailor()
    before = [row(0, "nccl", node="n0"), row(1, "nccl", node="n1"), *(row(n, "unknown") for n in (6, 7))]
    steering = steer(before, Rules(nodes=6), dress=tailor)
    begin = steering.step(()).begin
    assert [d.deployment_id for d in begin] == [d.deployment_id for d in steering.plan_beside().deployments]
    ids = [attempt.point_id for attempt in ATTEMPTS]
    assert tailor.asked == [([ids[0]], ["n0"]), ([ids[1]], ["n1"]), (ids[2:6], [])]


def test_it_is_said_where_the_quarantine_yields() -> None:
    tailor, clock = Tailor(), Clock()
    steering = steer([row(n, "sick_gpu", node="n1") for n in (6, 7)], dress=tailor, clock=clock)
    assert steering.step(()).word == "" and {tuple(avoid) for _, avoid in tailor.asked} == {("n1",)}
    steering.note([row(0, "no_other_node")])
    tailor.asked.clear()
    clock.now += timedelta(hours=1)
    assert steering.step(()).word == "no node is left beside those in quarantine, which are taken again: n1"
    assert [avoid for points, avoid in tailor.asked if ATTEMPTS[0].point_id in points] == [[]]
    assert [avoid for points, avoid in tailor.asked if ATTEMPTS[0].point_id not in points] == [["n1"]]


# ------------------------------------------------------------------------------------------------------------ failures

THREE = Rules(nodes=4, limits=Limits(max_failures=3), retry=Retry(attempts=2, total=4))


def test_what_is_tried_again_is_no_failure_until_it_is_given_up() -> None:
    steering = steer(rules=THREE)
    steering.note([row(n, "nccl", node="n1") for n in range(4)])  # a bad node
    assert steering.stopped() is None
    steering.note([*(row(n, attempt=2) for n in range(2)), *(row(n, "nccl", attempt=2) for n in (2, 3))])
    assert steering.stopped() is None
    steering.note([row(4, "nccl")])  # and no tries are left for all together
    assert (steering.stopped() or ("",))[0] == "many_failures"


def test_what_failed_for_good_is_a_failure_of_this_command_only() -> None:
    bad = [row(n, "unknown") for n in range(3)]
    assert steer(bad, THREE).stopped() is None
    steering = steer(rules=THREE)
    steering.note(bad)
    assert (steering.stopped() or ("",))[0] == "many_failures"


# -------------------------------------------------------------------------------------------------------------- canary

CANARY = Rules(nodes=4, canary=True)


def test_a_canary_is_measured_alone_until_a_point_that_is_asked_for_has_its_number() -> None:
    of_another_matrix = row(0) | {"point_id": "another"}
    assert len(steer([of_another_matrix], CANARY).plan_beside().attempts) == 1
    assert len(steer([row(0)], CANARY).plan_beside().attempts) == len(ATTEMPTS) - 1


def test_a_canary_is_measured_alone_before_all_are_measured_again() -> None:
    before = [row(n) for n in range(len(ATTEMPTS))]
    assert len(steer(before, CANARY, redo=Redo.of("all", 8)).plan_beside().attempts) == 1
    again = [*before, row(0, attempt=2)]
    assert len(steer(again, CANARY, redo=Redo.of("all", 8)).plan_beside().attempts) == len(ATTEMPTS) - 1


def test_only_a_canary_that_failed_since_ends_measuring_again() -> None:
    before = [row(0, "unknown"), *(row(n) for n in range(1, len(ATTEMPTS)))]
    steering = steer(before, CANARY, redo=Redo.of("status == 'ok'", 8))
    assert steering.stopped() is None
    steering.note([row(1, "unknown", attempt=2)])
    assert steering.stopped() is not None


def test_a_budget_counts_what_is_held_and_what_was_held_before_an_eviction() -> None:
    steering = steer(rules=Rules(nodes=4, limits=Limits(budget=Budget(gpu_hours=3))))
    (attempt, *_) = ATTEMPTS
    waits = Holding(deployment_id="d", attempts=[attempt.key], gpus_held=4, since=None, held=timedelta(minutes=30))
    assert steering.stopped([waits]) is None
    assert steering.stopped([replace(waits, since=NOW - timedelta(minutes=14))]) is None
    assert (steering.stopped([replace(waits, since=NOW - timedelta(minutes=16))]) or ("",))[0] == "budget"
