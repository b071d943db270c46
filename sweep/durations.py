"""How long points would take, by prediction, against the time after which a run of trtllm-bench is ended.

Only to warn: a prediction is off by a fifth easily, and what the database knows nothing of is no reason to stop.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sweep import predict, simulate
from sweep.errors import Infeasible, NoPrediction
from sweep.point import UNLIMITED, Model, Point

LOAD_S = 600
"""Seconds of a time limit that are left for what trtllm-bench does before it measures: it loads the weights, tunes
kernels and captures CUDA graphs. Not predicted; 417 GB of DeepSeek-R1 from a local disk at 1 GB/s take 7 minutes."""
MARGIN = 1.2
"""What is suggested as a limit allows for predictions that are a fifth too short."""
STEP_S = 600
"""Suggested limits are whole multiples of this."""
ENOUGH = 500
"""Points are predicted in the order of their tokens, most first, until so many in a row end in time. The rest is taken
to end in time, too: a plan must not take minutes."""
MOST_ROUNDS, MOST_REQUESTS = 10, 20_000
"""Of a run with more requests so many are simulated, as rounds of the closed loop or in all, and the time is scaled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlong:
    """A point whose run would be ended before it has its report."""

    point_id: str
    point: Point
    predicted_s: float


def overlong(points: Iterable[tuple[str, Point, Model]], timeout_s: float) -> tuple[Overlong, ...]:
    """Return the points that are predicted to take longer than the limit leaves after the load, the longest first.

    Raises:
        UsageError: no operator database is installed.
    """
    late: list[Overlong] = []
    in_time = 0
    for point_id, point, model in sorted(points, key=lambda each: -_rounds(each[1]) * each[1].osl):
        seconds = predicted_s(point, model)
        if seconds is not None and seconds > timeout_s - LOAD_S:
            late.append(Overlong(point_id=point_id, point=point, predicted_s=seconds))
            in_time = 0
        elif (in_time := in_time + 1) == ENOUGH:
            break
    return tuple(sorted(late, key=lambda each: -each.predicted_s))


def limit_for(found: Iterable[Overlong]) -> int:
    """Return a time limit within which all of these would end."""
    longest = max(each.predicted_s for each in found)
    return math.ceil((longest * MARGIN + LOAD_S) / STEP_S) * STEP_S


def predicted_s(point: Point, model: Model) -> float | None:
    """Return how long a run would measure, its warm-up included; None where the database has nothing near."""
    try:
        steps = predict.step_times(point, model)
        measured_s = _run_s(point, model, steps)
        return measured_s + (_run_s(replace(point, num_requests=point.warmup), model, steps) if point.warmup else 0)
    except (Infeasible, NoPrediction):
        return None


def _run_s(point: Point, model: Model, steps: simulate.Steps) -> float:
    few = min(point.num_requests, MOST_ROUNDS * _slots(point), MOST_REQUESTS)
    report = simulate.simulate(replace(point, num_requests=few), model, steps)
    return float(report["performance"]["total_latency_ms"]) / 1e3 * point.num_requests / few


def _slots(point: Point) -> int:
    return point.num_requests if point.concurrency == UNLIMITED else min(point.concurrency, point.num_requests)


def _rounds(point: Point) -> int:
    return math.ceil(point.num_requests / _slots(point))
