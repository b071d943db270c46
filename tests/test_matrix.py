"""The matrix: what becomes a point, in which order, and why the rest does not."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.errors import UsageError
from sweep.expression import compile_expression
from sweep.matrix import Cause, Expansion, Reason, expand, pin, replace_axes
from sweep.point import SETTINGS, KvCacheDtype, Model, Point, Precision

R1 = Model(
    id="nvidia/DeepSeek-R1-NVFP4-v2",
    precision=Precision.NVFP4,
    weights_gb=400,
    kv_cache_dtype=KvCacheDtype.FP8,
    moe=True,
    mtp=True,
)
LLAMA = Model(id="meta-llama/Llama-3.1-70B-Instruct", precision=Precision.BF16, weights_gb=141)

BASE = {name: setting.default for name, setting in SETTINGS.items()} | {
    "bench": "throughput",
    "image": "i",
    "streaming": True,
    "isl": 1024,
    "osl": 1024,
    "concurrency": 16,
    "num_requests": 80,
    "tp": 4,
    "max_batch_size": 256,
    "max_num_tokens": 8192,
    "max_seq_len": 9216,
}
CHECKED = {
    name: None if value is None else SETTINGS[name].check(value) for name, value in BASE.items() if name != "model"
}


def grow(matrix: dict[str, Any], model: Model = LLAMA, **changed: Any) -> Expansion:
    return expand(matrix, CHECKED | {"model": model.id} | changed, model)


def values(expansion: Expansion, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(getattr(point, name) for name in names) for point in expansion.points]


def test_an_empty_matrix_is_one_point() -> None:
    expansion = grow({})
    assert expansion.cells == len(expansion.points) == 1


def test_grid_is_a_product_in_stable_order() -> None:
    expansion = grow({"grid": {"tp": [4, 2], "concurrency": [4, 1]}})
    assert values(expansion, "tp", "concurrency") == [(4, 4), (4, 1), (2, 4), (2, 1)]


def test_zip_moves_together_and_crosses_the_grid() -> None:
    expansion = grow({"grid": {"tp": [2, 4]}, "zip": {"isl": [128, 1024], "osl": [256, 512]}})
    assert values(expansion, "tp", "isl", "osl") == [(2, 128, 256), (2, 1024, 512), (4, 128, 256), (4, 1024, 512)]


def test_linked_settings_move_together() -> None:
    expansion = grow({"grid": {"shape": [{"isl": 128, "osl": 256}, {"isl": 1024}]}})
    assert values(expansion, "isl", "osl") == [(128, 256), (1024, 1024)]


def test_concat_joins_bands_each_crossed_with_the_outer_grid() -> None:
    bands = [
        {"grid": {"tp": [2], "concurrency": [1, 2]}},
        {"grid": {"tp": [4], "concurrency": [64]}, "derive": {"num_requests": "10 * concurrency"}},
    ]
    expansion = grow({"grid": {"isl": [128, 256]}, "concat": bands})
    assert values(expansion, "isl", "tp", "concurrency", "num_requests") == [
        (128, 2, 1, 80),
        (128, 2, 2, 80),
        (256, 2, 1, 80),
        (256, 2, 2, 80),
        (128, 4, 64, 640),
        (256, 4, 64, 640),
    ]


def test_derive_sees_the_cell_and_rounds_up_to_integers() -> None:
    expansion = grow({"grid": {"concurrency": [1, 7]}, "derive": {"num_requests": "max(4, 1.5 * concurrency)"}})
    assert values(expansion, "num_requests") == [(4,), (11,)]


def test_require_and_exclude_count_under_their_line() -> None:
    matrix = {
        "grid": {"tp": [1, 2, 4], "concurrency": [1, 64]},
        "require": ["tp * pp <= gpus_per_node and tp > 1"],
        "exclude": ["tp == 2 and concurrency > 1"],
    }
    expansion = grow(matrix)
    assert values(expansion, "tp", "concurrency") == [(2, 1), (4, 1), (4, 64)]
    assert expansion.pruned == {
        Reason(Cause.EXCLUDED, 'require "tp * pp <= gpus_per_node and tp > 1"'): 2,
        Reason(Cause.EXCLUDED, 'exclude "tp == 2 and concurrency > 1"'): 1,
    }


GPU_AXES = [
    {"grid": {"gpu": ["gb200", "h200"]}},
    {"grid": {"node": [{"gpu": "gb200"}, {"gpu": "h200"}]}},
    {"zip": {"gpu": ["gb200", "h200"]}},
    {"concat": [{"grid": {"gpu": ["gb200"]}}, {"grid": {"gpu": ["h200"]}}]},
    {"concat": [{"derive": {"gpu": "'gb200'"}}, {"derive": {"gpu": "'h200'"}}]},
]


@pytest.mark.parametrize("axes", GPU_AXES)
@pytest.mark.parametrize("base", ["gb200", "h200"])
@pytest.mark.parametrize("line", ["tp <= gpus_per_node", "tp < 8 or gpu_memory_gb < 190"])
def test_constants_are_those_of_the_gpu_of_each_cell(axes: dict[str, Any], base: str, line: str) -> None:
    expansion = grow({**axes, "require": [line]}, tp=8, gpu=SETTINGS["gpu"].check(base))
    assert values(expansion, "gpu") == [("h200",)]
    assert expansion.pruned == {Reason(Cause.EXCLUDED, f'require "{line}"'): 1}


def test_what_is_derived_after_the_gpu_sees_its_constants() -> None:
    matrix = {"grid": {"isl": [128, 1024]}, "derive": {"gpu": "'h200'", "tp": "gpus_per_node"}}
    assert values(grow(matrix), "gpu", "tp") == [("h200", 8)] * 2


def test_auto_is_the_pinned_dtype_and_merges() -> None:
    expansion = grow({"grid": {"kv_cache_dtype": ["auto", "fp8", "nvfp4"]}}, R1, ep=4)
    assert values(expansion, "kv_cache_dtype") == [("fp8",)]
    assert expansion.pruned[Reason(Cause.SAME)] == 1
    (refused,) = [reason for reason in expansion.pruned if reason.cause == Cause.REFUSED]
    assert "pins its KV cache to fp8" in refused.text and "nvfp4" in refused.text


def test_auto_stays_where_the_checkpoint_pins_nothing() -> None:
    expansion = grow({"grid": {"kv_cache_dtype": ["auto", "fp8", "nvfp4"]}})
    assert values(expansion, "kv_cache_dtype") == [("auto",), ("fp8",), ("nvfp4",)]


def test_unlimited_is_infinite_in_expressions() -> None:
    expansion = grow({"grid": {"concurrency": [1, "unlimited"]}, "exclude": ["concurrency > 1000"]})
    assert values(expansion, "concurrency") == [(1,)]
    with pytest.raises(UsageError, match="infinite with concurrency=unlimited; give num_requests"):
        grow({"grid": {"concurrency": ["unlimited"]}, "derive": {"num_requests": "5 * concurrency"}})


@pytest.mark.parametrize(
    ("condition", "left"),
    [
        ("concurrency == 'unlimited'", [1, 16]),
        ("'unlimited' == concurrency", [1, 16]),
        ("concurrency != 'unlimited'", [0]),
        ("concurrency < 'unlimited'", [0]),
        ("concurrency in [1, 'unlimited']", [16]),
        ("concurrency not in ('unlimited',)", [0]),
        ("1 < concurrency <= 'unlimited'", [1]),
    ],
)
def test_unlimited_is_written_as_in_a_configuration(condition: str, left: list[int]) -> None:
    matrix = {"grid": {"concurrency": [1, 16, "unlimited"]}}
    assert values(grow(matrix | {"exclude": [condition]}), "concurrency") == [(each,) for each in left]
    kept = [(each,) for each in (1, 16, 0) if each not in left]
    assert values(grow(matrix | {"require": [condition]}), "concurrency") == kept


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("tp == '1'", "tp is never '1'; write its values without quotes"),
        ("'1' != tp", "tp is never '1'; write its values without quotes"),
        ("tp in [1, '2']", "tp is never '2'; write its values without quotes"),
        ("tp == 'unlimited'", "tp is never 'unlimited'; write its values without quotes"),
        ("1 <= tp == '1'", "tp is never '1'; write its values without quotes"),
        ("attention_dp == 'true'", "attention_dp is never 'true'; write its values without quotes"),
        ("gpus_per_node == '4'", "gpus_per_node is never '4'; write its values without quotes"),
        ("tp * pp == '4'", "tp * pp is never '4'; write its values without quotes"),
        ("max(tp, pp) == '4'", "max(tp, pp) is never '4'; write its values without quotes"),
        ("concurrency == 'unlimted'", "concurrency is never 'unlimted'; did you mean \"unlimited\"?"),
        ("concurrency == '16'", "concurrency is never '16'; write its values without quotes"),
        ("concurrency == unlimited", "a text needs quotes: 'unlimited'"),
        ("kv_cache_dtype == 8", 'kv_cache_dtype is never 8; did you mean "fp8"?'),
    ],
)
def test_a_text_beside_a_number_is_told(condition: str, said: str) -> None:
    for section in ("require", "exclude"):
        with pytest.raises(UsageError) as told:
            grow({section: [condition]})
        assert str(told.value).endswith(said)


REFUSED = [
    (R1, {"ep": 3}, "ep 3 does not divide tp 4"),
    (R1, {"pp": 2}, "tp * pp = 8 is more than the 4 GPUs"),
    (R1, {"moe_backend": "DEEPGEMM"}, "no nvfp4 kernels"),
    (R1, {"moe_backend": "WIDEEP"}, "more than 8 expert ranks"),
    (Model(id="q", precision=Precision.FP8_BLOCK, weights_gb=240, moe=True), {}, "the default moe_backend"),
    (
        Model(id="q", precision=Precision.FP8_BLOCK, weights_gb=240, moe=True),
        {"moe_backend": "CUTLASS"},
        "no fp8_block",
    ),
    (LLAMA, {"attention_dp": True}, "is dense"),
    (LLAMA, {"mtp_layers": 1}, "multi-token prediction"),
    (LLAMA, {"isl": 9000}, "more than max_seq_len 9216"),
    (LLAMA, {"isl": 2048, "max_num_tokens": 1024, "chunked_prefill": False}, "without chunked prefill"),
]


@pytest.mark.parametrize(("model", "changed", "said"), REFUSED)
def test_what_tensorrt_llm_refuses_is_told(model: Model, changed: dict[str, Any], said: str) -> None:
    expansion = grow({"grid": {"parallel": [changed]}}, model)
    assert not expansion.points
    ((reason, count),) = expansion.pruned.items()
    assert (reason.cause, count) == (Cause.REFUSED, 1)
    assert said in reason.text


def test_deepgemm_runs_fp8_blocks() -> None:
    model = Model(id="q", precision=Precision.FP8_BLOCK, weights_gb=240, moe=True)
    assert grow({"grid": {"moe_backend": ["DEEPGEMM", "TRTLLM"]}}, model).cells == 2


def test_weights_that_do_not_fit_say_how_many_gb() -> None:
    expansion = grow({"grid": {"tp": [1, 2, 4]}}, R1)
    assert values(expansion, "tp") == [(4,)]
    texts = sorted(reason.text for reason in expansion.pruned)
    assert texts[0].startswith("200.0 GB of weights on each of 2 GPUs") and "198.7 GB" in texts[0]
    assert texts[1].startswith("400.0 GB of weights on each of 1 GPU")


def test_a_finer_answer_is_asked_once_per_engine() -> None:
    asked: list[Point] = []

    def memory(point: Point, model: Model) -> str | None:
        asked.append(point)
        return "too big by 3.0 GB" if point.tp == 2 else None

    base = CHECKED | {"model": LLAMA.id}
    expansion = expand({"grid": {"tp": [2, 4], "concurrency": [1, 2, 3]}}, base, LLAMA, memory)
    assert [point.tp for point in asked] == [2, 4]
    assert expansion.pruned == {Reason(Cause.MEMORY, "too big by 3.0 GB"): 3}


def test_latency_forces_one_at_a_time() -> None:
    expansion = grow(
        {"grid": {"max_batch_size": [1, 8], "streaming": [True, False]}}, bench=SETTINGS["bench"].check("latency")
    )
    assert values(expansion, "max_batch_size", "streaming") == [(1, True)]
    assert expansion.pruned == {Reason(Cause.SAME): 3}


def test_dense_models_have_no_expert_settings() -> None:
    expansion = grow({"grid": {"ep": [1, 2, 4], "moe_backend": [None, "TRTLLM"]}})
    assert values(expansion, "ep", "moe_backend") == [(1, None)]


def test_max_seq_len_defaults_to_the_request() -> None:
    assert values(grow({}, max_seq_len=None), "max_seq_len") == [(2048,)]


def test_engine_keys_can_be_an_axis() -> None:
    expansion = grow({"grid": {"engine.stream_interval": [1, 10]}}, engine='{"a":{"b":1}}')
    assert values(expansion, "engine") == [
        ('{"a":{"b":1},"stream_interval":1}',),
        ('{"a":{"b":1},"stream_interval":10}',),
    ]


MISTAKES = [
    ({"grid": {"tp": []}}, "matrix.grid.tp is empty"),
    ({"grid": {"tp": 4}}, "must be a list"),
    ({"grid": {"ttp": [4]}}, 'which is no setting; did you mean "tp"'),
    ({"grid": {"tp": [0]}}, "matrix.grid.tp: tp must be at least 1"),
    ({"grid": {"tp": [1, {"tp": 2}]}}, "mixes values and mappings"),
    ({"grid": {"model": ["a"]}}, "-m model=a,b"),
    ({"grid": {"tp": [1], "layout": [{"tp": 2}]}}, "tp is set by two axes, tp and layout"),
    ({"grid": {"tp": [1]}, "zip": {"tp": [2]}}, "tp is set by two axes, tp and zip"),
    ({"grid": {"tp": [1]}, "concat": [{"grid": {"tp": [2]}}]}, "tp is set by two axes"),
    ({"grid": {"tp": [1]}, "derive": {"tp": "2"}}, "by the axis tp and by derive"),
    ({"zip": {"tp": [1], "ep": [1, 2]}}, "lists of one length"),
    ({"zip": {"tp": []}}, "lists of one length"),
    ({"gird": {}}, 'matrix.gird is unknown; did you mean "grid"'),
    ({"concat": [3]}, "must be a mapping"),
    ({"derive": {"tpp": "1"}}, "matrix.derive.tpp is no setting"),
    ({"derive": {"tp": "concurrency * 0"}}, "tp must be at least 1"),
    ({"require": "tp > 1"}, "must be a list"),
]


@pytest.mark.parametrize(("matrix", "said"), MISTAKES)
def test_mistakes_in_the_matrix_are_told(matrix: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as told:
        grow(matrix)
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("matrix", "count"),
    [
        ({"grid": {name: list(range(1, 2001)) for name in ("isl", "osl", "concurrency")}}, "8,000,000,000 cells"),
        ({"grid": {"isl": list(range(1, 1002))}, "zip": {"osl": list(range(1, 1001))}}, "1,001,000 cells"),
        ({"grid": {"isl": list(range(1, 1002))}, "concat": [{"grid": {"osl": list(range(1, 502))}}] * 2}, "1,003,002"),
        ({"grid": {f"engine.key{n}": list(range(100)) for n in range(3000)}}, "about 10^6000 cells"),
        ({"grid": {"isl": list(range(1, 1002)), "osl": list(range(1, 1001))}, "derive": {"tp": "1"}}, "1,001,000"),
    ],
)
def test_a_matrix_that_nobody_can_measure_is_counted_and_not_made(matrix: dict[str, Any], count: str) -> None:
    with pytest.raises(UsageError) as raised:
        grow(matrix)
    assert count in str(raised.value) and "one sweep may have 1,000,000" in str(raised.value)


def test_the_depth_of_concat_has_a_limit() -> None:
    matrix: dict[str, Any] = {}
    for _ in range(2000):
        matrix = {"concat": [matrix]}
    for use in (grow, lambda each: pin(each, ["tp"])):
        with pytest.raises(UsageError, match="nested more than"):
            use(matrix)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1e999-1e999", "give no number"),
        ("concurrency - 1e999 + 1e999", "give no number"),
        ("1e999", '"1e999" is infinite'),
        ("9" + "*9" * 399, "num_requests must be at most 2,147,483,647, not a number of more than 40 digits"),
        ("1e18", "must be at most 2,147,483,647, not 1000000000000000000"),
        ("-1e18", "must be at most"),
        ("2147483648", "must be at most"),
    ],
)
def test_numbers_out_of_reach_are_one_sentence(text: str, reason: str) -> None:
    with pytest.raises(UsageError) as raised:
        grow({"derive": {"num_requests": text}})
    assert reason in str(raised.value)
    assert "unlimited" not in str(raised.value)


def test_a_condition_without_a_number_is_told() -> None:
    with pytest.raises(UsageError, match="give no number"):
        grow({"require": ["1e999 - 1e999 > 0"]})


def test_a_setting_without_value_is_told() -> None:
    with pytest.raises(UsageError, match=r"num_requests must be given .*matrix\.derive"):
        grow({}, num_requests=None)


# ------------------------------------------------------------------------------------------------ pins and -m


GRID = {
    "grid": {"shape": [{"isl": 128, "osl": 128}, {"isl": 1024, "osl": 1024}, {"isl": 8192, "osl": 1024}], "tp": [2, 4]}
}


def test_a_pin_removes_its_axis() -> None:
    assert pin(GRID, ["tp"])["grid"] == {"shape": GRID["grid"]["shape"]}


def test_a_pin_inside_a_linked_axis_leaves_the_rest_and_counts_the_merged() -> None:
    expansion = grow(pin(GRID, ["isl"]), isl=512)
    assert values(expansion, "isl", "osl", "tp") == [(512, 128, 2), (512, 128, 4), (512, 1024, 2), (512, 1024, 4)]
    assert expansion.pruned == {Reason(Cause.SAME): 2}


def test_a_pin_of_all_linked_settings_removes_the_axis() -> None:
    assert pin(GRID, ["isl", "osl"])["grid"] == {"tp": [2, 4]}


def test_a_pin_reaches_zip_derive_and_concat() -> None:
    matrix = {"zip": {"tp": [1, 2], "ep": [1, 2]}, "derive": {"tp": "1"}, "concat": [{"grid": {"tp": [1], "pp": [1]}}]}
    pinned = pin(matrix, ["tp"])
    assert (pinned["zip"], pinned["derive"]) == ({"ep": [1, 2]}, {})
    assert pinned["concat"][0]["grid"] == {"pp": [1]}


def test_several_values_replace_the_axis_at_its_place() -> None:
    replaced = replace_axes({"grid": {"tp": [1], "concurrency": [1]}}, {"tp": [2, 4], "isl": [128]})
    assert replaced["grid"] == {"tp": [2, 4], "concurrency": [1], "isl": [128]}
    assert list(replaced["grid"]) == ["tp", "concurrency", "isl"]


def test_several_values_of_a_linked_setting_make_an_axis_of_their_own() -> None:
    expansion = grow(replace_axes(GRID, {"osl": [64, 32]}))
    assert len(values(expansion, "isl", "osl", "tp")) == 3 * 2 * 2


# ----------------------------------------------------------------------------------------------- expression language


NAMES: dict[str, Any] = {
    "tp": None,
    "concurrency": None,
    "kv_cache_dtype": ["auto", "fp8", "nvfp4"],
    "attention_dp": None,
}
CELL = {"tp": 4, "concurrency": 0, "kv_cache_dtype": "fp8", "attention_dp": True}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("tp * 2 + 1", 9),
        ("max(32, 5 * tp)", 32),
        ("ceil(tp / 3)", 2),
        ("min(tp, concurrency)", 4),
        ("concurrency", math.inf),
        ("attention_dp and concurrency < tp", False),
        ("not attention_dp or tp == 4", True),
        ("1 < tp <= 4 < 5", True),
        ("kv_cache_dtype in ['fp8', 'nvfp4']", True),
        ("kv_cache_dtype not in ('auto',)", True),
        ("kv_cache_dtype == 'fp8' and tp % 2 == 0 and tp // 3 == 1", True),
        ("-tp", -4),
        ("attention_dp == true", True),
    ],
)
def test_expressions(text: str, value: object) -> None:
    assert compile_expression(text, NAMES, infinite=("concurrency",))(CELL) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tpp > 1", 'did you mean "tp"'),
        ("kv_cache_dtype == fp8", "a text needs quotes: 'fp8'"),
        ("kv_cache_dtype == 'fp9'", "is never 'fp9'"),
        ("'fp9' in [kv_cache_dtype]", None),
        ("__import__('os').system('true')", "can be called"),
        ("__import__('os')", "only min, max, ceil can be called"),
        ("tp.__class__", "no setting"),
        ("[x for x in (1,)]", "does not have"),
        ("lambda: 1", "does not have"),
        ("tp if tp else 1", "does not have"),
        ("tp ** 9 ** 9", "does not have"),
        ("tp[0]", "does not have"),
        ("f'{tp}'", "does not have"),
        ("tp is 4", "write =="),
        ("min()", "can be called"),
        ("max(tp, key=tp)", "can be called"),
        ("tp >", "is no expression"),
        ("", "is no expression"),
        ("(" * 450 + "tp" + ")" * 450, "is no expression"),
        ("tp + " * 400 + "tp", "longer than"),
        ("tp = 3", "is no expression"),
    ],
)
def test_what_is_no_expression_is_told(text: str, said: str | None) -> None:
    if said is None:
        assert compile_expression(text, NAMES)(CELL) is False
        return
    with pytest.raises(UsageError) as told:
        compile_expression(text, NAMES)
    assert said in str(told.value)


def test_the_message_of_a_conditional_says_how_it_is_written() -> None:
    with pytest.raises(UsageError) as raised:
        compile_expression("8 if tp > 2 else 1", NAMES)
    spelled = str(raised.value).partition("as 1 or 0: ")[2]
    assert spelled == "8 * (tp > 2) + 1 * (not (tp > 2))"
    expression = compile_expression(spelled, NAMES)
    assert (expression(CELL), expression(CELL | {"tp": 1})) == (8, 1)


@pytest.mark.parametrize(
    "text", ["not " * 240 + "tp", "-" * 900 + "tp", "tp" + "+tp" * 300, "(tp and " * 80 + "tp" + ")" * 80]
)
def test_deep_expressions_have_a_value_or_one_message(text: str) -> None:
    with contextlib.suppress(UsageError):
        compile_expression(text, NAMES)(CELL)


@pytest.mark.parametrize(
    "text", ["tp / 0", "kv_cache_dtype * 1000000", "kv_cache_dtype < tp", "'a' + 'b'", "ceil(concurrency)"]
)
def test_values_that_do_not_combine_are_told(text: str) -> None:
    with pytest.raises(UsageError, match="has no value for"):
        compile_expression(text, NAMES, infinite=("concurrency",))(CELL)


@given(st.text(max_size=40))
def test_any_text_is_a_value_or_one_message(text: str) -> None:
    with contextlib.suppress(UsageError):
        compile_expression(text, NAMES)(CELL)


# ------------------------------------------------------------------------------------------------------- properties


axes = st.fixed_dictionaries(
    {},
    optional={
        "tp": st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1, max_size=4),
        "concurrency": st.lists(st.integers(0, 2000), min_size=1, max_size=5),
        "kv_cache_dtype": st.lists(st.sampled_from(["auto", "fp8", "nvfp4"]), min_size=1, max_size=3),
        "shape": st.lists(
            st.fixed_dictionaries({"isl": st.integers(1, 9000), "osl": st.integers(1, 9000)}), min_size=1, max_size=4
        ),
    },
)


@settings(max_examples=60, deadline=None)
@given(
    axes,
    st.sampled_from([R1, LLAMA]),
    st.lists(st.sampled_from(["tp > 1", "isl < 5000", "concurrency != 7"]), max_size=2),
)
def test_every_cell_is_a_point_or_counted(grid: dict[str, list[Any]], model: Model, require: list[str]) -> None:
    expansion = grow({"grid": grid, "require": require}, model)
    assert expansion.cells == math.prod(len(members) for members in grid.values())
    assert len({point.point_id for point in expansion.points}) == len(expansion.points)
    again = grow({"grid": grid, "require": require}, model)
    assert again == expansion


@settings(max_examples=40, deadline=None)
@given(axes, st.randoms())
def test_the_order_of_axes_changes_the_order_of_points_only(grid: dict[str, list[Any]], random: Any) -> None:
    shuffled = list(grid.items())
    random.shuffle(shuffled)
    one, other = grow({"grid": grid}), grow({"grid": dict(shuffled)})
    assert {point.point_id for point in one.points} == {point.point_id for point in other.points}
    assert one.pruned == other.pruned
