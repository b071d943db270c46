"""Limits: budgets, deadlines, failures of one kind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from sweep.errors import UsageError
from sweep.limits import ENDED, Budget, Limits, deadline_of, gpu_hours_of

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    status: str = "ok"
    failure_kind: str | None = None
    failure_message: str | None = None
    deployment_id: str | None = "d"
    gpu_hours: float | None = None
    gpus_held: int | None = 4
    bench_s: float | None = None


def reached(limits: Limits, *, gpu_hours: float = 0.0, failed: list[Row] | None = None) -> tuple[str, str] | None:
    return limits.reached(gpu_hours=gpu_hours, now=NOW, failed=failed or [])


def test_without_limits_nothing_is_reached() -> None:
    assert reached(Limits(), gpu_hours=1e9, failed=[Row("failed", "unknown")] * 1000) is None


def test_a_budget_in_gpu_hours_and_in_money() -> None:
    hours, usd = Limits(budget=Budget(gpu_hours=10)), Limits(budget=Budget(usd=25), price=2.5)
    assert reached(hours, gpu_hours=9.99) is None and reached(usd, gpu_hours=9.99) is None
    assert reached(hours, gpu_hours=10) == ("budget", "10.00 of 10 GPU-hours are spent (run.budget.gpu_hours)")
    assert reached(usd, gpu_hours=10) == ("budget", "25.00 of 25 USD are spent (run.budget.usd)")


def test_a_deadline_is_a_moment() -> None:
    assert reached(Limits(deadline=NOW + timedelta(seconds=1))) is None
    assert (reached(Limits(deadline=NOW)) or ("",))[0] == "deadline"


def test_failures_are_counted_by_kind_and_only_those_that_say_something_of_the_others() -> None:
    limits = Limits(max_failures=3)
    assert reached(limits, failed=[Row("failed", "unknown")] * 2 + [Row("failed", "usage")] * 2) is None
    assert reached(limits, failed=[Row("failed", "oom")] * 9 + [Row("failed", "evicted")] * 9) is None
    assert reached(limits, failed=[Row("failed", "not_reached")] * 9 + [Row("ok")] * 9) is None
    found = reached(limits, failed=[Row("invalid", "invalid_report")] * 3)
    assert found == ("many_failures", "3 failures of this run are invalid_report (run.max_failures)")


def test_the_end_of_a_deployment_is_one_failure_however_many_points_it_held() -> None:
    limits, message = Limits(max_failures=3), f"{ENDED}the results volume cannot be written"
    ends = [Row("failed", "unknown", message, deployment) for deployment in ("a", "a", "a", "b", "b")]
    assert reached(limits, failed=ends) is None
    assert reached(limits, failed=[*ends, Row("failed", "unknown", message, "c")]) is not None
    assert reached(limits, failed=[Row("failed", "unknown", "ValueError: x", "a")] * 3) is not None


def test_what_was_spent_is_what_rows_held_and_of_simulated_ones_what_they_would_hold() -> None:
    assert gpu_hours_of([Row(gpu_hours=1.5), Row(bench_s=1800), Row(), Row(bench_s=99, gpus_held=None)]) == 3.5


@pytest.mark.parametrize(
    ("said", "after_s"), [("8h", 28800), ("90min", 5400), ("90 m", 5400), ("1d 2h", 93600), ("1.5h", 5400), ("30s", 30)]
)
def test_a_deadline_can_be_a_time_span(said: str, after_s: float) -> None:
    assert deadline_of(said, NOW) == NOW + timedelta(seconds=after_s)


def test_a_deadline_can_be_a_time() -> None:
    assert deadline_of("2026-01-31T18:00+01:00", NOW) == datetime(2026, 1, 31, 17, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("soon", "time span"),
        ("8x", "time span"),
        ("2026-01-31T18:00", "zone"),
        ("9999999d", "year 9999"),
        ("9" * 400 + "d", "year 9999"),
    ],
)
def test_what_is_no_deadline_is_refused(said: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        deadline_of(said, NOW)
