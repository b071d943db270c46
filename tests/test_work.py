"""What the driver knows of a deployment: what of it has no row, and which GPU time is in none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sweep import plan
from sweep.driver.work import Work
from sweep.plan import Attempt
from tests.test_matrix import LLAMA, grow

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ATTEMPTS = tuple(
    Attempt(point=point, point_id=point.point_id) for point in grow({"grid": {"concurrency": [1, 2, 4]}}).points
)


def at(minutes: float) -> datetime:
    return BEGIN + timedelta(minutes=minutes)


@pytest.fixture
def work() -> Work:
    deployment = plan.Deployment(
        deployment_id="d", sweep_id="s", model=LLAMA, attempts=ATTEMPTS, gpus_held=4, unwanted=frozenset()
    )
    return Work(deployment=deployment, left={attempt.key: attempt for attempt in ATTEMPTS})


def minutes_of(work: Work, ended: float) -> float:
    """Return how long an attempt that ends then is charged, and charge it."""
    charged = at(ended) - work.begin_of(at(ended))
    work.charge(at(ended))
    return charged / timedelta(minutes=1)


def test_the_first_row_is_charged_the_start_and_each_other_the_time_since_the_one_before(work: Work) -> None:
    work.hold(at(0), None)
    assert [minutes_of(work, ended) for ended in (30, 35, 45)] == [30, 5, 10]


def test_rows_of_one_moment_charge_it_once(work: Work) -> None:
    work.hold(at(0), None)
    assert [minutes_of(work, ended) for ended in (30, 30, 31)] == [30, 0, 1]


def test_what_an_earlier_driver_charged_is_not_charged_again(work: Work) -> None:
    work.hold(at(0), at(20))
    assert minutes_of(work, 30) == 10


def test_gpus_that_were_taken_after_that_are_charged_from_then(work: Work) -> None:
    work.hold(at(25), at(20))
    assert minutes_of(work, 30) == 5


def test_an_actor_that_begins_its_life_again_tells_the_same_pod_and_nothing_is_doubled(work: Work) -> None:
    work.hold(at(0), None)
    assert minutes_of(work, 10) == 10
    work.hold(at(0), None)
    assert minutes_of(work, 15) == 5


def test_what_an_evicted_pod_held_for_no_row_is_charged_to_the_next_row_and_its_wait_to_nobody(work: Work) -> None:
    work.hold(at(0), None)
    work.release(at(10))
    work.hold(at(50), None)
    assert minutes_of(work, 55) == 15
    assert minutes_of(work, 60) == 5


def test_a_pod_that_is_followed_by_another_without_a_word_held_its_gpus_until_then(work: Work) -> None:
    work.hold(at(0), None)
    work.hold(at(10), None)
    assert minutes_of(work, 15) == 15


def test_gpus_that_are_given_back_are_charged_no_longer(work: Work) -> None:
    work.hold(at(0), None)
    work.release(at(10))
    work.release(at(20))  # told twice
    assert minutes_of(work, 30) == 10
    assert minutes_of(work, 40) == 0


def test_a_row_that_ended_before_the_gpus_were_held_costs_nothing(work: Work) -> None:
    work.hold(at(10), None)
    assert at(5) - work.begin_of(at(5)) == timedelta(0)


def test_a_release_before_the_begin_of_a_clock_that_was_set_back_is_no_negative_time(work: Work) -> None:
    work.hold(at(10), None)
    work.release(at(5))
    assert minutes_of(work, 20) == 0


def test_the_steering_learns_what_is_held_now_and_what_was(work: Work) -> None:
    assert (work.holding().since, work.holding().held) == (None, timedelta(0))
    work.hold(at(0), None)
    assert (work.holding().since, work.holding().held) == (at(0), timedelta(0))
    work.release(at(10))
    assert (work.holding().since, work.holding().held) == (None, timedelta(minutes=10))
    work.hold(at(20), None)
    assert (work.holding().since, work.holding().held) == (at(20), timedelta(minutes=10))
    assert work.holding().gpus_held == 4
    assert work.holding().attempts == tuple(attempt.key for attempt in ATTEMPTS)


def test_the_rest_is_what_has_no_row_and_a_part_of_it_has_an_id_of_its_own(work: Work) -> None:
    first, second, third = ATTEMPTS
    del work.left[first.key]
    assert (work.rest().deployment_id, work.rest().attempts) == ("d", (second, third))
    parts = [work.rest(most=1) for _ in range(2)]
    assert [part.deployment_id for part in parts] == ["d.1", "d.2"]
    assert [part.attempts for part in parts] == [(second,), (second,)]


def test_what_was_stopped_may_not_begin_and_is_still_left(work: Work) -> None:
    first, second, third = ATTEMPTS
    work.stopped[second.key] = ("budget", "it is spent")
    assert work.not_to_begin == {second.key}
    assert work.wanted == [first, third]
    assert work.rest(most=2).attempts == (first, third)
    assert work.rest().attempts == ATTEMPTS
