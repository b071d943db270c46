"""The plan: what is to do, in which order, on how many nodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sweep import plan
from sweep.matrix import Expansion
from sweep.point import Bench, Point
from tests.test_matrix import CHECKED, LLAMA, R1, expand

CONCURRENCY = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
MATRIX = {
    "grid": {
        "shape": [{"isl": 128, "osl": 128}, {"isl": 1024, "osl": 1024}],
        "parallel": [{"tp": 4, "ep": 1}, {"tp": 4, "ep": 4}],
        "concurrency": CONCURRENCY,
    }
}


def grown(**changed: Any) -> Expansion:
    return expand(MATRIX, CHECKED | {"model": R1.id} | changed, R1)


def make(expansion: Expansion, **said: Any) -> plan.Plan:
    return plan.make([(R1, expansion)], **{"sweep_id": "s"} | said)


def test_golden_order() -> None:
    """A coarse cover first: both ends of the concurrency for every shape and layout, then the middles."""
    made = make(grown())
    order = [(a.point.concurrency, a.point.isl, a.point.ep) for a in made.attempts]
    assert order[:8] == [(c, isl, ep) for isl in (128, 1024) for ep in (1, 4) for c in (1, 1024)]
    assert [c for c, _, _ in order[8:12]] == [32] * 4
    assert [c for c, *_ in order[12:16]] == [4, 128, 4, 128]
    assert len(order) == 44


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=30, unique=True))
def test_the_order_keeps_every_point(values: list[int]) -> None:
    expansion = expand({"grid": {"concurrency": values}}, CHECKED | {"model": LLAMA.id}, LLAMA)
    points = {point.point_id: point for point in expansion.points}
    ordered = plan.cover(points)
    assert ordered == points
    if len(values) >= plan.COVER_FROM:
        ends = {min(values, key=lambda c: c or 1e9), max(values, key=lambda c: c or 1e9)}
        assert {point.concurrency for point in list(ordered.values())[:2]} == ends


@dataclass(frozen=True)
class OnCluster:
    deployment_id: str
    attempts: tuple[tuple[str, int, int], ...]
    over: bool = False


def test_what_a_cluster_holds_is_taken_over_and_not_planned_again() -> None:
    first = make(grown())
    some = [attempt.key for attempt in first.attempts[:3]]
    unknown = ("0123456789abcdef", 1, 1)
    made = make(grown(), held=[OnCluster("d1", (*some, unknown))])
    assert made.adopted == 1 and made.deployments[0].deployment_id == "d1" and made.deployments[0].exists
    assert [attempt.key for attempt in made.deployments[0].attempts] == some
    assert not {attempt.key for d in made.deployments[1:] for attempt in d.attempts} & set(some)


def test_what_nobody_asks_for_any_more_is_taken_over_too_and_not_to_begin() -> None:
    gone, other, *_ = make(grown()).attempts
    narrowed = replace(grown(), points=tuple(p for p in grown().points if p.point_id != gone.point_id))
    second = (other.point_id, 2, 1)  # with fewer repeats than before
    held = [OnCluster("d1", (gone.key, second)), OnCluster("d2", (other.key,))]
    made = make(narrowed, held=held, former={gone.point_id: (R1, gone.point)})
    assert made.deployments[0].unwanted == {gone.key, second}
    assert [attempt.key for attempt in made.deployments[0].attempts] == [gone.key, second]
    assert made.deployments[1].unwanted == set()
    assert made.attempts[0].key == other.key and gone.point_id not in {a.point_id for a in made.attempts}


def test_what_has_its_row_is_not_collected_again_and_a_job_that_runs_is_seen_to_its_end() -> None:
    (attempt, *_) = make(grown()).attempts
    again = plan.Outlook(to_do=(replace(attempt, number=2),))
    recorded = {attempt.key[:2]: 1}
    made = make(grown(), outlook=again, recorded=recorded, held=[OnCluster("d1", (attempt.key,), over=True)])
    assert made.adopted == 0 and [a.number for a in made.attempts] == [2]
    made = make(grown(), outlook=again, recorded=recorded, held=[OnCluster("d1", (attempt.key,))])
    assert made.deployments[0].attempts == () and [a.number for a in made.attempts] == [2]


def test_of_two_that_hold_a_point_the_later_attempt_counts() -> None:
    (attempt, *_) = make(grown()).attempts
    later = replace(attempt, number=2)
    held = [OnCluster(name, (key,), over=True) for name, key in (("d1", attempt.key), ("d2", later.key))]
    made = make(grown(), held=[*held, OnCluster("d3", (later.key,), over=True)])
    assert [(d.deployment_id, d.attempts) for d in made.deployments[: made.adopted]] == [("d2", (later,))]


def test_what_waits_for_its_time_is_not_planned_but_taken_over() -> None:
    one, other, *_ = make(grown()).attempts
    later = plan.Outlook(later=(one, other))
    assert make(grown(), outlook=later).attempts == ()
    assert make(grown(), outlook=later, held=[OnCluster("d1", (one.key,))]).attempts == (one,)


def test_a_canary_is_one_point_alone() -> None:
    made = make(grown(), alone=True, nodes=4)
    assert [len(d.attempts) for d in made.deployments] == [1]
    assert len(made.outlook.to_do) == 44


def test_trtllm_bench_shares_weights_and_loads_for_each_point() -> None:
    made = make(grown(), nodes=4)
    assert len(made.deployments) == 4
    assert sum(len(d.attempts) for d in made.deployments) == made.engine_loads == 44
    assert {d.gpus_held for d in made.deployments} == {4}
    first = [d.attempts[0].point.concurrency for d in made.deployments]
    assert first == [1, 1024, 1, 1024]
    ends = [{a.point.concurrency for a in d.attempts[:2]} for d in made.deployments]
    assert ends == [{1, 1024}] * 4  # there and back: no node gets all the short runs


def test_serve_shares_a_loaded_engine() -> None:
    made = make(grown(bench=Bench.SERVE), nodes=1)
    assert len(made.deployments) == made.engines == made.engine_loads == 2
    assert all(len({a.point.engine_id for a in d.attempts}) == 1 for d in made.deployments)
    assert made.engine_splits == ("ep",)


def test_a_cap_cuts_deployments() -> None:
    made = make(grown(), max_points_per_deployment=10)
    assert [len(d.attempts) for d in made.deployments] == [10, 10, 10, 10, 4]


def test_two_models_make_two_groups() -> None:
    llama = expand(MATRIX, CHECKED | {"model": LLAMA.id}, LLAMA)
    made = plan.make([(R1, grown()), (LLAMA, llama)], sweep_id="s", nodes=2)
    assert [d.model.id for d in made.deployments] == [R1.id, LLAMA.id]
    assert made.cells == 88 and sum(made.pruned.values()) == 22  # EP of a dense model is no setting


def test_deployment_ids_name_the_sweep_and_the_attempts() -> None:
    one, other = make(grown()).deployments[0], make(grown(), sweep_id="t").deployments[0]
    assert one.deployment_id == make(grown()).deployments[0].deployment_id != other.deployment_id
    again = plan.Deployment.of("s", R1, tuple(replace(a, number=2) for a in one.attempts), 4)
    assert again.deployment_id != one.deployment_id


def test_golden_ids_of_the_whole_plan() -> None:
    """Ids must be the same on every machine and in every version: adoption on a cluster rests on them."""
    points: list[Point] = [attempt.point for attempt in make(grown()).attempts]
    assert (points[0].point_id, points[-1].point_id, make(grown()).deployments[0].deployment_id) == GOLDEN


GOLDEN = ("e1d0f7ee236825b8", "c85d664dc1a6989e", "3abc9daa4b7aa112")
