"""Short names of points: none is given twice."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.plan import points_of
from sweep.point_labels import labels
from tests.test_matrix import LLAMA, grow


def names(matrix: dict[str, Any]) -> list[str]:
    return list(labels(points_of([(LLAMA, grow(matrix))])).values())


def test_what_tells_points_apart_already_is_enough() -> None:
    found = names({"grid": {"tp": [2, 4], "concurrency": [1, 64]}, "derive": {"num_requests": "5 * concurrency"}})
    assert sorted(found) == sorted(f"1024/1024 tp{tp} kv=auto c={c}" for tp in (2, 4) for c in (1, 64))


def test_what_differs_beyond_that_is_in_every_name() -> None:
    steps = [{"max_num_tokens": 8192}, {"max_num_tokens": 4096}, {"concurrency": 64}]
    assert sorted(names({"grid": {"step": steps}})) == [
        "1024/1024 tp4 kv=auto c=16 max_num_tokens=4096",
        "1024/1024 tp4 kv=auto c=16 max_num_tokens=8192",
        "1024/1024 tp4 kv=auto c=64 max_num_tokens=8192",
    ]


def test_keys_of_the_engine_yaml_are_named() -> None:
    members = [{"engine.stream_interval": 1}, {"engine": {"cuda_graph_config": None}}]
    assert names({"grid": {"step": members}}) == [
        "1024/1024 tp4 kv=auto c=16 engine.stream_interval=1",
        "1024/1024 tp4 kv=auto c=16 engine.cuda_graph_config=null",
    ]


OTHERS = {
    "kv_cache_free_gpu_mem_fraction": st.sampled_from([0.8, 0.9]),
    "max_batch_size": st.sampled_from([64, 256]),
    "streaming": st.booleans(),
    "num_requests": st.sampled_from([80, 320]),
    "image": st.sampled_from(["a", "b"]),
    "engine.x": st.sampled_from([None, 1, True, "1", [1]]),
    "engine.y": st.sampled_from([1, 2]),
}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.fixed_dictionaries({}, optional=OTHERS), min_size=1, max_size=8))
def test_no_name_is_given_twice(members: list[dict[str, Any]]) -> None:
    found = names({"grid": {"step": [{"tp": 4, **member} for member in members]}})
    assert len(found) == len(set(found))
