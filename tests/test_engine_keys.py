"""Keys of the engine YAML: layers of them, those that exclude each other, and those that are settings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sweep.config import parts_of
from sweep.engine_keys import EXCLUSIVE, clash, exclusion, layered, leaves, version_of
from sweep.errors import UsageError
from sweep.matrix import Cause, Expansion, expand, pin, replace_axes
from sweep.point import Model
from tests.test_matrix import LLAMA, R1, grow

GRAPHS = '{"cuda_graph_config":{"batch_sizes":[1,2,4],"enable_padding":true}}'


def engines(expansion: Expansion) -> list[Any]:
    return [json.loads(point.engine) for point in expansion.points]


def part(file: str, **settings: Any) -> dict[str, Any]:
    model = {"id": "m", "precision": "bf16", "weights_gb": 1, "moe": True, "mtp": True, "engine_config": "mine.yaml"}
    asked = {"bench": "throughput", "image": "r/release:1.2.0rc2", "isl": 1, "osl": 1, "concurrency": 1}
    limits = {"num_requests": 1, "tp": 1, "max_batch_size": 8, "max_num_tokens": 8, "streaming": True}
    return {"model": model, "engine_yaml": file, **asked, **limits, **settings}


def expanded(file: str, **settings: Any) -> Expansion:
    (made,) = parts_of({"parts": [part(file, **settings)]})
    return expand(made.matrix, made.settings, made.model)


# ------------------------------------------------------------------------------------------------------------- layers


def test_a_key_takes_the_place_of_the_one_that_it_excludes() -> None:
    tree = json.loads(GRAPHS)
    later = layered(tree, {"cuda_graph_config.max_batch_size": 512})
    assert later == {"cuda_graph_config": {"enable_padding": True, "max_batch_size": 512}}
    assert layered(later, {"cuda_graph_config.batch_sizes": [8]}) == {
        "cuda_graph_config": {"enable_padding": True, "batch_sizes": [8]}
    }
    assert tree == json.loads(GRAPHS)


def test_null_takes_no_place() -> None:
    later = layered(json.loads(GRAPHS), {"cuda_graph_config.max_batch_size": None})
    assert later["cuda_graph_config"]["batch_sizes"] == [1, 2, 4]


def test_leaves_and_layers_are_inverse() -> None:
    tree = {"a": {"b": {"c": 1, "d": []}, "e": None}, "f": {}, "g": [1, {"h": 2}]}
    assert layered({}, leaves(tree)) == tree


def test_an_empty_section_changes_nothing_and_null_switches_one_off() -> None:
    assert layered({"a": {"b": 1}}, {"a": {}}) == {"a": {"b": 1}}
    assert layered({"a": {"b": 1}}, {"a": None}) == {"a": None}
    assert layered({"a": None}, {"a.b": 2}) == {"a": {"b": 2}}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"tensor_parallel_size": 4}, "engine.tensor_parallel_size is the setting tp: write tp=4"),
        ({"tp": 4}, "is the setting tp: write tp=4"),
        ({"kv_cache_config.dtype": "fp8"}, "write kv_cache_dtype=fp8"),
        ({"scheduler_config.capacity_scheduler_policy": "x"}, "is the setting scheduler_policy"),
        ({"kv_cache_config": 3}, "engine.kv_cache_config must be a mapping, not 3"),
        ({"moe_config": [1]}, "engine.moe_config must be a mapping"),
        ({"a": 1, "a.b": 2}, "a is a value in the engine YAML, not a section"),
    ],
)
def test_what_cannot_be_a_key_is_reported(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError) as raised:
        layered({}, given)
    assert reason in str(raised.value)


# --------------------------------------------------------------------------------------------------------- exclusions


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("nvcr.io/nvidia/tensorrt-llm/release:1.2.0rc2", (1, 2)),
        ("localhost:5000/trtllm:v1.3.0rc5", (1, 3)),
        ("release:1.10.0@sha256:1.2", (1, 10)),
        ("localhost:5000/trtllm", None),
        ("release:latest", None),
        ("release@sha256:0123", None),
        ("i", None),
    ],
)
def test_the_version_is_that_of_the_tag(image: str, version: tuple[int, int] | None) -> None:
    assert version_of(image) == version


@pytest.mark.parametrize("pair", EXCLUSIVE, ids=lambda pair: pair.sizes)
@pytest.mark.parametrize(
    ("sizes", "largest", "refused"),
    [([1, 2, 4], 4, (True, True, False)), ([1, 2, 4], 8, (True, True, True)), (None, 8, (False, False, False))],
)
def test_exclusions_follow_the_version(pair: Any, sizes: Any, largest: int, refused: tuple[bool, ...]) -> None:
    tree = layered({}, {pair.sizes: sizes, pair.largest: largest})
    for image, expected in zip(("release:1.2.0", "release:latest", "release:1.3.0rc5"), refused, strict=True):
        reason = exclusion(tree, image)
        assert bool(reason) == expected
        assert not reason or (pair.sizes in reason and pair.largest in reason and "remove one" in reason)
    assert bool(clash(leaves(tree))) == refused[2]


def test_a_file_that_gives_both_is_named() -> None:
    with pytest.raises(UsageError, match=r"mine\.yaml: cuda_graph_config\.max_batch_size = 8 .*remove one of them"):
        expanded("cuda_graph_config: {batch_sizes: [1, 2], max_batch_size: 8}")


def test_a_user_who_gives_both_is_told() -> None:
    with pytest.raises(UsageError, match=r"engine\.\*: cuda_graph_config\.max_batch_size = 8"):
        expanded("a: 1", engine={"cuda_graph_config": {"batch_sizes": [1, 2], "max_batch_size": 8}})


def test_both_keys_of_a_file_are_refused_by_the_version_of_the_image() -> None:
    both = "cuda_graph_config: {batch_sizes: [1, 8], max_batch_size: 8}"
    ((reason, count),) = expanded(both).pruned.items()
    assert (reason.cause, count) == (Cause.REFUSED, 1) and "TensorRT-LLM 1.2 takes" in reason.text
    images = ["r/release:1.2.0rc2", "r/release:1.3.0rc5"]
    newest = expanded(both, matrix={"grid": {"image": images}})
    assert [point.image for point in newest.points] == images[1:]


def test_the_user_s_key_takes_the_place_of_the_file_s() -> None:
    file = "cuda_graph_config: {batch_sizes: [1, 2], enable_padding: true}"
    made = expanded(file, engine={"cuda_graph_config": {"max_batch_size": 512}})
    assert engines(made) == [{"cuda_graph_config": {"enable_padding": True, "max_batch_size": 512}}]


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("kv_cache_config: 5", "mine.yaml: kv_cache_config must be a mapping, not 5"),
        ("scheduler_config: {capacity_scheduler_policy: MAX_UTILIZATION}", "is the setting scheduler_policy"),
        ("tp: 4", "tp in mine.yaml is the setting tp: move it there"),
        ("a: " + "9" * 6000, "mine.yaml is not YAML"),
        ("a: " + "[" * 5000, "mine.yaml is not YAML"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(file: str, reason: str) -> None:
    with pytest.raises(UsageError) as raised:
        expanded(file)
    assert reason in str(raised.value)


SPECULATION = "speculative_config: {decoding_type: %s, max_draft_len: %s}"


@pytest.mark.parametrize(
    ("file", "settings", "reason"),
    [
        (SPECULATION % ("Eagle", 4), {"mtp_layers": 3}, "exclude each other"),
        (SPECULATION % ("MTP", 4), {"mtp_layers": 3}, "max_draft_len 4 is not mtp_layers 3"),
        (SPECULATION % ("MTP", 4), {}, "with mtp_layers=0"),
        (SPECULATION % ("MTP", 3), {"mtp_layers": 3}, ""),
        (SPECULATION % ("Eagle", 4), {}, ""),
        ("moe_tensor_parallel_size: 2", {"tp": 4, "ep": 4}, "moe_tensor_parallel_size 2 times ep 4 is not tp 4"),
        ("moe_tensor_parallel_size: 2", {"tp": 4, "ep": 2}, ""),
        ("context_parallel_size: 2", {}, "context_parallel_size"),
    ],
)
def test_keys_that_contradict_a_setting_are_refused(file: str, settings: dict[str, Any], reason: str) -> None:
    made = expanded(file, **settings)
    assert bool(made.points) == (not reason)
    assert all(reason in each.text for each in made.pruned)


# ----------------------------------------------------------------------------------------------- axes, derive and pins


@pytest.mark.parametrize(
    "grid",
    [
        {"graphs": [{"engine": {"cuda_graph_config": {"max_batch_size": size}}} for size in (8, 16)]},
        {"graphs": [{"engine.cuda_graph_config": {"max_batch_size": size}} for size in (8, 16)]},
        {"engine.cuda_graph_config": [{"max_batch_size": size} for size in (8, 16)]},
        {"engine": [{"cuda_graph_config": {"max_batch_size": size}} for size in (8, 16)]},
        {"engine": {"cuda_graph_config": {"max_batch_size": [8, 16]}}},
        {"engine.cuda_graph_config.max_batch_size": [8, 16]},
    ],
)
def test_an_axis_may_nest_engine_keys_as_it_likes(grid: dict[str, Any]) -> None:
    expected = [{"cuda_graph_config": {"enable_padding": True, "max_batch_size": size}} for size in (8, 16)]
    assert engines(grow({"grid": grid}, engine=GRAPHS)) == expected
    assert engines(grow(pin({"grid": grid}, ["tp"]), engine=GRAPHS)) == expected
    assert len(engines(grow(pin({"grid": grid}, ["engine.cuda_graph_config.max_batch_size"]), engine=GRAPHS))) == 1


def test_an_axis_called_engine_may_link_settings() -> None:
    assert [point.tp for point in grow({"grid": {"engine": [{"tp": 1}, {"tp": 2}]}}).points] == [1, 2]


def test_null_in_an_axis_switches_a_section_off() -> None:
    made = grow({"grid": {"engine.cuda_graph_config": [None, {"enable_padding": False}]}}, engine=GRAPHS)
    assert engines(made) == [
        {"cuda_graph_config": None},
        {"cuda_graph_config": {"batch_sizes": [1, 2, 4], "enable_padding": False}},
    ]


def test_a_member_that_gives_no_key_leaves_it_as_it_is() -> None:
    members = [{"tp": 1}, {"tp": 2, "engine.stream_interval": 10}]
    assert engines(grow({"grid": {"layout": members}})) == [{}, {"stream_interval": 10}]


def test_values_that_are_equal_in_python_are_not_the_same() -> None:
    made = grow({"grid": {"engine.x": [1, True, "1"]}})
    assert [json.dumps(tree) for tree in engines(made)] == ['{"x": 1}', '{"x": true}', '{"x": "1"}']


def test_lists_are_values() -> None:
    made = grow({"grid": {"engine.cuda_graph_config.batch_sizes": [[1, 2], [1, 2, 4]]}})
    assert [tree["cuda_graph_config"]["batch_sizes"] for tree in engines(made)] == [[1, 2], [1, 2, 4]]


@pytest.mark.parametrize(
    "derive",
    [
        {"engine.cuda_graph_config.max_batch_size": "concurrency // tp"},
        {"engine": {"cuda_graph_config": {"max_batch_size": "concurrency / tp"}}},
    ],
)
def test_engine_keys_can_be_derived(derive: dict[str, Any]) -> None:
    made = grow({"grid": {"concurrency": [4, 64]}, "derive": derive}, engine=GRAPHS)
    assert [tree["cuda_graph_config"] for tree in engines(made)] == [
        {"enable_padding": True, "max_batch_size": 1},
        {"enable_padding": True, "max_batch_size": 16},
    ]


def test_a_list_can_be_derived() -> None:
    derive = {"engine.cuda_graph_config.batch_sizes": "[1, 2, concurrency]"}
    (tree,) = engines(grow({"derive": derive}))
    assert tree["cuda_graph_config"]["batch_sizes"] == [1, 2, 16]


def test_derived_engine_keys_can_be_asked() -> None:
    made = grow(
        {
            "grid": {"concurrency": [4, 64]},
            "derive": {"engine.x": "2 * concurrency"},
            "exclude": ["engine.x > 100"],
        }
    )
    assert [point.concurrency for point in made.points] == [4]


@pytest.mark.parametrize(
    ("matrix", "reason"),
    [
        ({"grid": {"engine.kv_cache_config.dtype": ["fp8"]}}, "is the setting kv_cache_dtype: write kv_cache_dtype"),
        ({"grid": {"x": [{"engine": {"max_batch_size": 8}}]}}, "engine.max_batch_size is the setting max_batch_size"),
        ({"derive": {"engine.tensor_parallel_size": "4"}}, "is the setting tp"),
        ({"grid": {"engine": [3]}}, "write engine.SECTION.KEY: VALUE"),
        ({"grid": {"x": [{"engine": 3}]}}, "write engine.SECTION.KEY: VALUE"),
        ({"derive": {"engine.x": "9" + "*9" * 400}}, "engine.x must be at most"),
        ({"derive": {"engine.x": "[concurrency, 1e999]"}}, "engine.x must be a finite number"),
        ({"grid": {"engine.moe_config": [3]}}, "engine.moe_config must be a mapping"),
        ({"grid": {"engine.x": [1]}, "derive": {"engine.x": "1"}}, "by the axis engine.x and by derive"),
    ],
)
def test_mistakes_with_engine_keys_are_one_sentence(matrix: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError) as raised:
        grow(matrix)
    assert reason in str(raised.value)


GRID = {
    "grid": {"engine.cuda_graph_config.max_batch_size": [8, 16], "load": [{"tp": 1, "engine": {"a": {"b": 1}}}]},
    "derive": {"engine.a.c": "tp"},
}


@pytest.mark.parametrize(
    ("pinned", "left"),
    [
        (["engine.cuda_graph_config.max_batch_size"], {"engine.a.b", "engine.a.c", "tp"}),
        (["engine.cuda_graph_config.batch_sizes"], {"engine.a.b", "engine.a.c", "tp"}),
        (["engine.cuda_graph_config"], {"engine.a.b", "engine.a.c", "tp"}),
        (["engine.a"], {"engine.cuda_graph_config.max_batch_size", "tp"}),
        (["tp"], {"engine.cuda_graph_config.max_batch_size", "engine.a.b", "engine.a.c"}),
    ],
)
def test_a_pin_reaches_what_lies_below_it_and_what_it_excludes(pinned: list[str], left: set[str]) -> None:
    found = pin(GRID, pinned)
    members = [value for values in found["grid"].values() for value in values if isinstance(value, dict)]
    labels = {label for label, values in found["grid"].items() if not isinstance(values[0], dict)}
    assert {key for member in members for key in member} | labels | set(found["derive"]) == left


def test_several_values_of_a_section_become_an_axis_of_it() -> None:
    replaced = replace_axes({}, {"engine.cuda_graph_config": [{"max_batch_size": 8}, None]})
    assert engines(grow(replaced)) == [{"cuda_graph_config": {"max_batch_size": 8}}, {"cuda_graph_config": None}]


# ---------------------------------------------------------------------------------------------------------------- FP4


@pytest.mark.parametrize(
    ("model", "changed", "reason"),
    [
        (R1, {"gpu": "h200", "ep": 4}, "h200 has no FP4: the nvfp4 weights of nvidia/DeepSeek-R1-NVFP4-v2 need gb200"),
        (LLAMA, {"gpu": "h100", "kv_cache_dtype": "nvfp4"}, "h100 has no FP4: kv_cache_dtype=nvfp4"),
        (R1, {"gpu": "h200", "ep": 4, "moe_backend": "MARLIN"}, ""),
        (LLAMA, {"gpu": "h200", "kv_cache_dtype": "fp8"}, ""),
        (R1, {"gpu": "b200", "ep": 4}, ""),
    ],
)
def test_fp4_needs_blackwell(model: Model, changed: dict[str, Any], reason: str) -> None:
    made = grow({"grid": {"one": [changed]}}, model)
    assert bool(made.points) == (not reason)
    assert all(reason in each.text for each in made.pruned)
