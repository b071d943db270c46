"""Identity: what names a point, and what must never change its name."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.errors import UsageError
from sweep.point import SETTINGS, Bench, KvCacheDtype, Point, canonical_json, identity

POINT = Point(
    bench=Bench.THROUGHPUT,
    image="nvcr.io/nvidia/tensorrt-llm/release:1.2.0rc2",
    model="nvidia/DeepSeek-R1-NVFP4-v2",
    isl=1024,
    osl=1024,
    concurrency=64,
    num_requests=320,
    streaming=True,
    tp=4,
    ep=4,
    kv_cache_dtype=KvCacheDtype.FP8,
    kv_cache_free_gpu_mem_fraction=0.85,
    max_batch_size=1024,
    max_num_tokens=8192,
    max_seq_len=9216,
    engine='{"cuda_graph_config":{"enable_padding":true}}',
)

GOLDEN_POINT_ID, GOLDEN_ENGINE_ID = "2cfbd358849b49ed", "8ad8c779865df430"


def test_ids_are_golden() -> None:
    """Old tables are found by these: a change of this test throws away what people paid for."""
    assert (POINT.point_id, POINT.engine_id) == (GOLDEN_POINT_ID, GOLDEN_ENGINE_ID)


def test_ids_are_the_same_in_another_process() -> None:
    program = f"from sweep.point import *; print(Point(**{dataclasses.asdict(POINT)!r}).point_id)"
    program = program.replace("<Bench.THROUGHPUT: 'throughput'>", "'throughput'")
    for name in ("KvCacheDtype.FP8: 'fp8'", "GpuType.GB200: 'gb200'"):
        program = program.replace(f"<{name}>", name.split(": ")[1])
    program = program.replace("<SchedulerPolicy.GUARANTEED_NO_EVICT: 'guaranteed_no_evict'>", "'guaranteed_no_evict'")
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == GOLDEN_POINT_ID


def test_a_new_setting_at_its_neutral_value_changes_no_id() -> None:
    said = {name: getattr(POINT, name) for name in SETTINGS}
    without = {
        name: value for name, value in said.items() if not SETTINGS[name].has_neutral or value != SETTINGS[name].neutral
    }
    assert len(without) < len(said)
    assert identity(without) == identity(said) == POINT.point_id


@pytest.mark.parametrize("name", list(SETTINGS))
def test_every_setting_is_part_of_the_identity(name: str) -> None:
    setting, old = SETTINGS[name], getattr(POINT, name)
    plain = {bool: lambda: not old, int: lambda: (old or 0) + 8, float: lambda: 0.5, str: lambda: f"{old}x"}
    new = plain[setting.type]() if setting.type in plain else next(c for c in setting.type if c != old)
    changed = dataclasses.replace(POINT, **{name: new})
    assert changed.point_id != POINT.point_id
    assert (changed.engine_id != POINT.engine_id) == setting.engine


@given(st.permutations(list(SETTINGS)))
def test_key_order_does_not_matter(names: list[str]) -> None:
    assert identity({name: getattr(POINT, name) for name in names}) == POINT.point_id


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_canonical_json_is_json_of_an_equal_value(value: object) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


@pytest.mark.parametrize(("a", "b"), [(0.9, 0.90), (1, 1.0), (1e3, 1000), ({"a": 1, "b": 2}, {"b": 2, "a": 1.0})])
def test_spelling_does_not_matter(a: object, b: object) -> None:
    assert canonical_json(a) == canonical_json(b)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="cannot be written as JSON"):
        canonical_json(value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("tp", 0, "at least 1"),
        ("tp", "4x", "an integer"),
        ("tp", True, "an integer"),
        ("tp", 1.5, "an integer"),
        ("tp", None, "must be given"),
        ("kv_cache_free_gpu_mem_fraction", 1.0, "less than 1"),
        ("kv_cache_free_gpu_mem_fraction", 0, "more than 0"),
        ("kv_cache_free_gpu_mem_fraction", float("nan"), "a number"),
        ("streaming", "yes", "true or false"),
        ("kv_cache_dtype", "fp7", 'did you mean "fp8"'),
        ("kv_cache_dtype", "bfloat16", "auto means BF16"),
        ("moe_backend", "CUTLAS", 'did you mean "CUTLASS"'),
        ("image", 3, "a text"),
        ("image", "a\nb", "printable"),
        ("image", "", "printable"),
        ("image", "a b", "without blanks"),
        ("model", " ", "printable"),
        ("revision", "a\0b", "printable"),
        ("isl", 2**31, "at most 2,147,483,647"),
        ("num_requests", 1e18, "at most"),
        ("dataset_seed", 10**4000, "a number of more than 40 digits"),
        ("concurrency", -1, "at least 0"),
    ],
)
def test_values_out_of_range_are_refused(name: str, value: object, said: str) -> None:
    with pytest.raises(UsageError, match=said) as told:
        SETTINGS[name].check(value)
    assert name in str(told.value)


def test_unlimited_is_zero() -> None:
    assert SETTINGS["concurrency"].check("unlimited") == 0


def test_numbers_get_their_type() -> None:
    assert SETTINGS["tp"].check(4.0) == 4 and isinstance(SETTINGS["tp"].check(4.0), int)


def test_every_setting_says_what_it_means() -> None:
    for setting in SETTINGS.values():
        assert len(setting.meaning) > 8, setting.name
