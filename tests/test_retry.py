"""What rows leave to do: done, again, given up, skipped because of others; which nodes are avoided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.errors import UsageError
from sweep.failure import KINDS
from sweep.plan import Outlook, cover
from sweep.point import Point
from sweep.quarantine import Choice, Quarantine, avoided
from sweep.retry import NOT_BEGUN_MOST, History, Redo, Retry, sort_out
from tests.test_matrix import CHECKED, LLAMA, expand

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
MATRIX = {"grid": {"concurrency": [1, 4, 16, 64], "isl": [128, 1024], "kv_cache_dtype": ["auto", "fp8"]}}


@dataclass(frozen=True)
class Row:
    point_id: str
    status: str = "ok"
    failure_kind: str | None = None
    attempt: int = 1
    repeat: int = 1
    source: str = "measured"
    node: str | None = None
    deployment_id: str | None = "d"
    ended_at: datetime | None = NOW


def points() -> dict[str, Point]:
    grown = expand(MATRIX, CHECKED | {"model": LLAMA.id}, LLAMA)
    return cover({point.point_id: point for point in grown.points})


ALL = points()
IDS = list(ALL)


def find(concurrency: int, isl: int = 128, kv_cache_dtype: str = "auto") -> str:
    (found,) = [
        point_id
        for point_id, p in ALL.items()
        if (p.concurrency, p.isl, p.kv_cache_dtype) == (concurrency, isl, kv_cache_dtype)
    ]
    return found


def look(*rows: Row, since: int = 0, now: datetime = NOW, written: Sequence[datetime] = (), **more: Any) -> Outlook:
    return sort_out(ALL, History(records=rows, since=since, written=written), source="measured", now=now, **more)


def to_do(outlook: Outlook) -> dict[str, int]:
    return {attempt.point_id: attempt.number for attempt in outlook.to_do}


def test_done_points_are_left_out_and_what_failed_gets_a_new_attempt() -> None:
    rows = [
        Row(IDS[0]),
        Row(IDS[1], "failed", "node_lost"),
        Row(IDS[1], "failed", "node_lost", attempt=2),
        Row(IDS[2], "infeasible", "does_not_fit", attempt=0),
        Row(IDS[3], source="simulated"),
        Row(IDS[4], "failed", "nccl"),
        Row(IDS[4], attempt=2),
    ]
    outlook = look(*rows, since=len(rows))
    todo = to_do(outlook)
    assert (outlook.done, outlook.failed_before) == (3, 1)
    assert (IDS[0] in todo, IDS[2] in todo, IDS[4] in todo) == (False, False, False)
    assert (todo[IDS[1]], todo[IDS[3]]) == (3, 1)


def test_repeats_are_counted_one_by_one() -> None:
    outlook = look(*(Row(point_id) for point_id in IDS), repeats=3)
    assert outlook.done == len(IDS) and len(outlook.to_do) == 2 * len(IDS)
    assert {attempt.repeat for attempt in outlook.to_do} == {2, 3}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_failure_is_tried_again_or_given_up_by_its_policy(kind: str) -> None:
    rows = [Row(IDS[0], "failed", kind)]
    here, next_run = look(*rows, now=NOW + timedelta(hours=1)), look(*rows, since=1)
    policy = KINDS[kind].policy.name
    assert (IDS[0] in to_do(here)) == policy.startswith("RETRY")
    assert (IDS[0] in to_do(next_run)) == policy.startswith(("RETRY", "NEXT_RUN"))
    assert ((IDS[0], 1) in here.given_up) != (IDS[0] in to_do(here))


def test_what_is_tried_again_waits_longer_each_time_and_not_for_ever() -> None:
    retry = Retry(attempts=4, backoff_s=10, backoff_max_s=25)
    rows: list[Row] = []
    waits = []
    for attempt in (1, 2, 3):
        rows.append(Row(IDS[0], "failed", "nccl", attempt=attempt))
        outlook = look(*rows, retry=retry)
        assert [a.number for a in outlook.later] == [attempt + 1] and outlook.due_at is not None
        waits.append((outlook.due_at - NOW).total_seconds())
        assert to_do(look(*rows, retry=retry, now=outlook.due_at))[IDS[0]] == attempt + 1
    assert 5 <= waits[0] <= 15 and 10 <= waits[1] <= 30 and 12.5 <= waits[2] <= 37.5
    rows.append(Row(IDS[0], "failed", "nccl", attempt=4))
    assert look(*rows, retry=retry).given_up == {(IDS[0], 1): ("nccl", "failed")}
    assert to_do(look(*rows, since=4, retry=retry))[IDS[0]] == 5  # the next command has tries of its own


@pytest.mark.parametrize("tries", range(1, 8))
def test_each_wait_is_twice_the_one_before_up_to_a_half(tries: int) -> None:
    retry = Retry(backoff_s=10, backoff_max_s=1e9)
    waits = [retry.after(tries, f"seed {number}").total_seconds() / (10 * 2 ** (tries - 1)) for number in range(200)]
    assert 0.5 <= min(waits) < 0.8 and 1.2 < max(waits) < 1.5


def test_before_the_first_try_nothing_waits() -> None:
    assert Retry().after(0, "seed") == timedelta(0)


@pytest.mark.parametrize("hours", [-2, 2])
def test_the_clock_of_a_node_does_not_matter_to_what_was_just_written(hours: int) -> None:
    wrong = Row(IDS[0], "failed", "nccl", ended_at=NOW + timedelta(hours=hours))
    right = look(Row(IDS[0], "failed", "nccl"))
    assert look(wrong, written=[NOW]).due_at == right.due_at
    assert look(Row(IDS[1]), wrong, since=1, written=[NOW]).due_at == right.due_at


def test_points_of_one_lost_deployment_wait_equally_long() -> None:
    rows = [
        Row(point_id, "failed", kind) for point_id, kind in zip(IDS, ["node_lost", *["not_reached"] * 5], strict=False)
    ]
    outlook = look(*rows)
    assert len(outlook.later) == 6
    due = {look(row).due_at for row in rows}
    assert len(due) == 1


def test_what_was_never_reached_is_no_try() -> None:
    rows = [Row(IDS[0], "failed", "not_reached", attempt=n) for n in range(1, NOT_BEGUN_MOST)]
    later = NOW + timedelta(hours=1)
    assert to_do(look(*rows, now=later))[IDS[0]] == NOT_BEGUN_MOST
    assert (IDS[0], 1) in look(*rows, Row(IDS[0], "failed", "not_reached", attempt=NOT_BEGUN_MOST)).given_up


def test_the_tries_of_a_whole_run_are_limited() -> None:
    rows = [Row(point_id, "failed", "nccl") for point_id in IDS[:5]]
    assert len(look(*rows, retry=Retry(total=5)).later) == 5
    assert len(look(*rows, retry=Retry(total=4)).given_up) == 5
    assert len(look(*rows, since=5, retry=Retry(total=4)).to_do) == len(IDS)


def test_a_kind_can_be_tried_again_on_request() -> None:
    rows = [Row(IDS[0], "failed", "timeout")]
    assert look(*rows).later == ()
    assert [a.number for a in look(*rows, retry=Retry(also=("timeout",))).later] == [2]


# ------------------------------------------------------------------------------------------------- because of another


def test_what_needs_as_much_memory_is_skipped_with_the_reason() -> None:
    outlook = look(Row(find(16), "failed", "oom"), since=1)
    assert set(outlook.skipped) == {(find(c, isl), 1) for c, isl in [(64, 128), (16, 1024), (64, 1024)]}
    kind, why = outlook.skipped[find(64), 1]
    assert kind == "needs_more" and find(16) in why and "c=16" in why and "oom" in why
    assert find(4, 1024) in to_do(outlook)  # longer, and fewer at once: nobody knows
    assert find(64, 1024, "fp8") in to_do(outlook)  # another KV cache


def test_unlimited_concurrency_needs_the_most() -> None:
    grown = expand({"grid": {"concurrency": [16, "unlimited"]}}, CHECKED | {"model": LLAMA.id}, LLAMA)
    two = {point.point_id: point for point in grown.points}
    ids = {point.concurrency: point_id for point_id, point in two.items()}

    def outcome(failed: int) -> Outlook:
        rows = [Row(ids[failed], "failed", "oom")]
        return sort_out(two, History(records=rows, since=1), source="measured", now=NOW)

    assert set(outcome(16).skipped) == {(ids[0], 1)}
    assert not outcome(0).skipped


def test_a_skip_holds_as_long_as_its_reason() -> None:
    oom, skipped = Row(find(16), "failed", "oom"), Row(find(64), "skipped", "needs_more", attempt=0)
    assert (find(64), 1) in look(oom, skipped, since=2).skipped
    again = look(oom, skipped, Row(find(16), attempt=2), since=3)
    assert to_do(again)[find(64)] == 1


def test_a_refused_engine_stops_its_points_and_a_refused_model_all() -> None:
    outlook = look(Row(find(1), "failed", "invalid_config"), since=1)
    of_engine = {point_id for point_id, p in ALL.items() if p.engine_id == ALL[find(1)].engine_id} - {find(1)}
    assert {key for key, _ in outlook.skipped} == of_engine and 0 < len(of_engine) < len(ALL) - 1
    assert {kind for kind, _ in outlook.skipped.values()} == {"engine_refused"}
    outlook = look(Row(find(1), "failed", "hf_auth"), since=1)
    assert len(outlook.skipped) == len(ALL) - 1 and not outlook.to_do


def test_a_driver_that_is_too_old_stops_all_points_of_the_image() -> None:
    one = ALL[find(1)]
    other = replace(one, image="another")
    points = {**ALL, other.point_id: other}
    rows = (Row(find(1), "failed", "driver_too_old"),)
    outlook = sort_out(points, History(records=rows, since=1), source="measured", now=NOW)
    assert set(outlook.skipped) == {(point_id, 1) for point_id in ALL if point_id != find(1)}
    assert {kind for kind, _ in outlook.skipped.values()} == {"image_refused"}
    assert [attempt.point_id for attempt in outlook.to_do] == [other.point_id]


def test_what_a_limit_left_out_is_left_out_by_this_run_only() -> None:
    rows = [Row(IDS[0], "skipped", "budget", attempt=0)]
    assert look(*rows).skipped == {(IDS[0], 1): ("budget", "")}
    assert to_do(look(*rows, since=1))[IDS[0]] == 1
    rows = [Row(IDS[0], "failed", "oom"), Row(IDS[0], "skipped", "budget", attempt=0)]
    assert (IDS[0], 1) in look(*rows, since=2).given_up


# --------------------------------------------------------------------------------------------------------------- redo

MIXED = (
    Row(IDS[0]),
    Row(IDS[1], "failed", "oom"),
    Row(IDS[2], "invalid", "invalid_report"),
    Row(IDS[3], "infeasible", "does_not_fit", attempt=0),
)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("failed", {IDS[1]}),
        ("invalid", {IDS[2]}),
        ("all", set(IDS[:4])),
        ("status == 'ok'", {IDS[0]}),
        ("failure_kind == 'oom' or status == 'invalid'", {IDS[1], IDS[2]}),
        (f"concurrency == {ALL[IDS[0]].concurrency} and isl == {ALL[IDS[0]].isl}", {IDS[0]}),
    ],
)
def test_what_has_its_row_is_measured_again_on_request(said: str, wanted: set[str]) -> None:
    outlook = look(*MIXED, since=4, redo=Redo.of(said, 4))
    again = {point_id for point_id, number in to_do(outlook).items() if point_id in IDS[:4]}
    assert wanted <= again
    assert all(to_do(outlook)[point_id] == (1 if point_id == IDS[3] else 2) for point_id in wanted)


def test_what_was_measured_again_is_not_measured_a_third_time() -> None:
    rows = (*MIXED, *(Row(point_id, attempt=2) for point_id in IDS[:2]))
    todo = to_do(look(*rows, since=len(rows), redo=Redo.of("all", 4)))
    assert IDS[0] not in todo and IDS[1] not in todo and todo[IDS[2]] == 2


def test_what_is_measured_again_is_decided_by_the_last_row() -> None:
    rows = (Row(IDS[0], "failed", "oom"), Row(IDS[0], attempt=2), Row(IDS[1]), Row(IDS[1], "failed", "oom", attempt=2))
    outlook = look(*rows, since=4, redo=Redo.of("failed", 4))
    assert (IDS[0] in to_do(outlook), to_do(outlook)[IDS[1]]) == (False, 3)


@pytest.mark.parametrize(("said", "last"), [("failed", ("failed", "oom")), ("invalid", ("invalid", "invalid_report"))])
def test_what_a_redo_left_out_for_a_limit_is_still_wanted_again(said: str, last: tuple[str, str]) -> None:
    rows = [Row(IDS[0], *last), *(Row(IDS[0], "skipped", kind, attempt=0) for kind in ("deadline", "budget"))]
    assert to_do(look(*rows, since=3, redo=Redo.of(said, 3)))[IDS[0]] == 2


def test_redo_knows_unlimited() -> None:
    unlimited = replace(ALL[IDS[0]], concurrency=0)
    redo = Redo.of("concurrency == 'unlimited'", 0)
    record = Row(IDS[0])
    assert redo.wants(unlimited, record) and not redo.wants(ALL[IDS[0]], record)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("concurency > 4", "concurency"),
        ("tp == '4'", "tp is never '4'; write its values without quotes"),
        ("repeat == '1'", "repeat is never '1'; write its values without quotes"),
        ("kv_cache_dtype == 'fp9'", "kv_cache_dtype is never 'fp9'"),
    ],
)
def test_what_redo_means_is_checked(said: str, why: str) -> None:
    with pytest.raises(UsageError) as told:
        Redo.of(said, 0)
    assert why in str(told.value)


# --------------------------------------------------------------------------------------------------------- quarantine


def test_a_node_that_failed_often_enough_is_avoided_until_it_measures_well() -> None:
    rules = Quarantine(failures=2, expires_s=3600)
    bad = [Row(IDS[n], "failed", "sick_gpu", node="n1", ended_at=NOW - timedelta(minutes=n)) for n in (0, 5)]
    (found,) = avoided(bad, rules, NOW)
    assert (found.node, found.failures, found.kinds) == ("n1", 2, ("sick_gpu",))
    assert found.until == NOW + timedelta(hours=1)
    assert not avoided(bad[:1], rules, NOW)
    assert not avoided(bad, rules, NOW + timedelta(hours=1))
    assert not avoided([*bad, Row(IDS[5], node="n1")], rules, NOW)


def test_failures_that_are_not_the_node_s_do_not_count() -> None:
    rows = [Row(point_id, "failed", "oom", node="n1") for point_id in IDS]
    assert not avoided(rows, Quarantine(failures=1), NOW)
    assert choose(*rows, keys=IDS[:1]) == ()
    assert choose(replace(rows[0], failure_kind="nccl"), keys=IDS[:1]) == ("n1",)
    unpulled = [replace(row, failure_kind="image_pull") for row in rows]  # its name is as often to blame
    assert not avoided(unpulled, Quarantine(failures=1), NOW)
    assert choose(unpulled[0], keys=IDS[:1]) == ("n1",)


def choose(*rows: Row, keys: Sequence[str], since: int = 0, now: datetime = NOW) -> tuple[str, ...]:
    return Choice.of(rows, since, Quarantine(), now).nodes([(point_id, 1) for point_id in keys])


def test_a_deployment_avoids_the_nodes_where_its_own_points_failed_last_also_those_of_a_command_before() -> None:
    rows = [Row(point_id, "failed", "nccl", node=f"n{n}") for n, point_id in enumerate(IDS[:8])]
    assert choose(*rows, keys=IDS[2:3]) == ("n2",)
    assert choose(*rows, keys=IDS[2:4], since=8) == ("n2", "n3")
    assert choose(*rows, Row(IDS[2], "failed", "not_reached", attempt=2), keys=IDS[2:3]) == ("n2",)
    assert choose(*rows, Row(IDS[2], "failed", "nccl", attempt=2, node="m"), keys=IDS[2:3]) == ("m",)
    assert choose(*rows, Row(IDS[2], attempt=2), keys=IDS[2:3]) == ()
    assert choose(*rows, keys=IDS[2:3], now=NOW + timedelta(days=1)) == ()


SICK = [Row(point_id, "failed", "sick_gpu", node="n1") for point_id in IDS[:5]]
FAILED = Row(IDS[8], "failed", "nccl", node="n2")
WITHOUT = Row(IDS[8], "failed", "no_other_node")


def test_where_no_other_node_is_left_the_quarantine_is_the_last_to_yield_and_only_for_what_is_left_without() -> None:
    assert choose(*SICK, FAILED, keys=IDS[8:9]) == ("n1", "n2")
    assert choose(*SICK, FAILED, WITHOUT, keys=IDS[8:10]) == ("n1",)
    assert choose(*SICK, FAILED, WITHOUT, WITHOUT, keys=IDS[8:10]) == ()
    assert choose(*SICK, FAILED, WITHOUT, WITHOUT, keys=IDS[9:]) == ("n1",)
    assert choose(*SICK, WITHOUT, keys=IDS[8:9]) == ()  # nothing but the quarantine was avoided
    assert choose(*SICK, WITHOUT, keys=IDS[8:9], since=len(SICK) + 1) == ("n1",)  # there may be others by now
    assert choose(*SICK, WITHOUT, replace(FAILED, node="n1"), keys=IDS[8:9]) == ("n1",)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(IDS[:4]),
            st.sampled_from(["ok", "failed", "invalid", "skipped"]),
            st.sampled_from(sorted(KINDS)),
            st.integers(1, 3),
        ),
        max_size=30,
    ),
    st.integers(0, 30),
)
def test_every_measurement_is_in_one_place(rows: list[tuple[str, str, str, int]], since: int) -> None:
    records = [Row(i, s, None if s == "ok" else k, attempt=n) for i, s, k, n in rows]
    outlook = look(*records, since=min(since, len(records)))
    places = [[(a.point_id, a.repeat) for a in outlook.to_do], [(a.point_id, a.repeat) for a in outlook.later]]
    told = [*places[0], *places[1], *outlook.given_up, *outlook.skipped]
    assert len(told) == len(set(told)) == len(IDS) - outlook.done
