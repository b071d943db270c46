"""A run's steps in bounded memory: means over equally long stretches, whatever the number of steps."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from sweep.report.iterations import MOST_BUCKETS, Iterations, StepReader


def steps(requests: Sequence[float]) -> Iterations:
    reader = StepReader()
    for number, each in enumerate(requests):
        line = {"iter": number, "iterLatencyMS": 1.0, "inflightBatchingStats": {"numScheduledRequests": each}}
        assert reader.logged(json.dumps(line))
    found = reader.summary()
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("count", "width"), [(1, 1), (MOST_BUCKETS, 1), (MOST_BUCKETS + 1, 2), (3 * MOST_BUCKETS, 4), (1000, 32)]
)
def test_each_mean_is_of_an_equally_long_stretch(count: int, width: int) -> None:
    values = [float(number * number) for number in range(count)]
    found = steps(values)
    stretches = [values[begin : begin + width] for begin in range(0, count, width)]
    assert found.step_requests_series == pytest.approx([sum(each) / len(each) for each in stretches], abs=1e-4)
    assert (found.steps, found.step_requests_max) == (count, values[-1])
    assert found.step_requests_mean == pytest.approx(sum(values) / count)


@pytest.mark.parametrize(
    ("line", "is_step", "requests", "kv"),
    [
        ({"iter": 1, "iterLatencyMS": 2.0, "numActiveRequests": 7}, True, 7, None),
        ({"iter": 1, "kvCacheStats": {"usedNumBlocks": 30, "maxNumBlocks": 120}}, True, None, 0.25),
        ({"iter": 1, "kvCacheStats": {"usedNumBlocks": 0, "maxNumBlocks": 0}}, True, None, None),
        (
            {"iter": 1, "kvCacheStats": {"usedNumBlocks": -1, "maxNumBlocks": 8}, "numActiveRequests": True},
            *(True, None, None),
        ),
        ({"iter": 1, "iterLatencyMS": 2.0, "numActiveRequests": 0}, True, 0, None),
        ({"iter": 1}, False, None, None),
        ({"iterLatencyMS": 2.0}, False, None, None),
        ([1], False, None, None),
    ],
)
def test_what_a_step_tells(line: object, is_step: bool, requests: float | None, kv: float | None) -> None:
    reader = StepReader()
    assert reader.logged(repr(line)) == reader.logged(json.dumps(line)) == is_step
    found = reader.summary()
    assert (found is not None) == is_step
    if found is not None:
        assert (found.steps, found.step_requests_mean, found.kv_cache_util_mean) == (2, requests, kv)
        assert (found.step_requests_max, found.kv_cache_util_max) == (requests, kv)


def test_another_run_begins_anew() -> None:
    reader = StepReader()
    reader.printed(b"num_scheduled_requests: 9")
    reader.clear()
    assert reader.summary() is None
