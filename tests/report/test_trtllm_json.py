import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.errors import ReportError
from sweep.report import Report, parse_json

REPORTS = Path(__file__).parent.parent / "data" / "reports"
CASES = sorted(path.name.removesuffix(".expected.json") for path in REPORTS.glob("1.2.0rc2-*.expected.json"))


def text(case: str) -> str:
    return (REPORTS / f"{case}.json").read_text()


def data(case: str = "1.2.0rc2-throughput-streaming") -> dict[str, Any]:
    said: dict[str, Any] = json.loads(text(case))
    return said


def test_speculative_decoding_is_read() -> None:
    report = parse_json(text("1.2.0rc2-throughput-nonstreaming-mtp1"))
    assert report.decoding_mode == "MTP"
    assert report.acceptance_length is not None and report.acceptance_length.mean == 1.8017276244320863
    assert report.draft_acceptance_rate is not None and report.draft_acceptance_rate.max > 1
    assert report.draft_tokens is not None and report.accepted_draft_tokens is not None
    assert report.ttft_ms is None and report.tpot_ms is None and report.tps_per_user is None


def test_speculative_decoding_without_draft_length_has_a_mode_only() -> None:
    changed = data()
    changed["decoding_stats"] = {"mode": "NGRAM", "num_draft_tokens_percentiles": None}
    report = parse_json(changed)
    assert (report.decoding_mode, report.draft_tokens, report.acceptance_length) == ("NGRAM", None, None)


def test_text_bytes_and_decoded_object_are_the_same_report() -> None:
    case = CASES[0]
    assert parse_json(text(case)) == parse_json(text(case).encode()) == parse_json(data(case))


def test_machine_of_later_versions_is_read() -> None:
    report = parse_json(data() | {"machine": {"name": "NVIDIA GB200", "memory.total": 184.31, "clocks.mem": None}})
    assert (report.gpu_name, report.gpu_memory_gib, report.memory_clock_ghz) == ("NVIDIA GB200", 184.31, None)
    assert parse_json(data() | {"machine": None}).gpu_name is None


@pytest.mark.parametrize(("written", "fraction"), [(0.9, 0.9), (90.0, 0.9), (1.0, 1.0), (None, None)])
def test_kv_cache_share_is_a_fraction_in_all_versions(written: float | None, fraction: float | None) -> None:
    changed = data()
    changed["world_info"]["kv_cache_percentage"] = written
    assert parse_json(changed).kv_cache_free_gpu_mem_fraction == fraction


def test_what_a_newer_version_says_more_is_kept_as_it_was_said() -> None:
    changed = data() | {"block": {"of": {"figures": 1.5}}, "flag": True, "nothing": None, "list": [1]}
    changed["performance"]["new_metric"] = "x"
    report = parse_json(changed)
    assert report.extra == {"performance.new_metric": "x", "block.of.figures": 1.5, "flag": True}
    assert dataclasses.replace(report, extra={}) == parse_json(data())


@pytest.mark.parametrize(
    "block",
    [
        {"energy": {"total_energy_j": 17344.9, "average_gpu_power_w": 688.8, "output_tokens_per_second_per_watt": 2.5}},
        {"energy_metrics": {"total_energy_joules": 17344.9, "avg_gpu_power_w": 688.8, "tps_per_watt": 2.5}},
        {
            "Total Energy (J)": 17344.9,
            "Average GPU Power (W)": "688.8",
            "Output Tokens per Second per Watt (tps/W)": 2.5,
        },
    ],
)
def test_energy_is_recognised_by_its_words(block: dict[str, Any]) -> None:
    report = parse_json(data() | block)
    assert (report.energy_j, report.power_w_per_gpu, report.output_tokens_per_j) == (17344.9, 688.8 / 4, 2.5)
    changed = data()
    changed["performance"] |= next(iter(block.values())) if len(block) == 1 else block
    assert parse_json(changed).energy_j == 17344.9


@pytest.mark.parametrize(
    ("power_w", "of_one"),
    [
        (696.5, 696.5 / 4),  # J / s of all 4 GPUs, as NVIDIA's monitor sums them
        (174.1, 174.1),  # of one
        (650.0, 650.0 / 4),
        (350.0, None),  # neither
        (0.0, None),
    ],
)
def test_whose_power_it_is_follows_from_the_energy(power_w: float, of_one: float | None) -> None:
    block = {"energy": {"total_energy_j": 17344.9, "average_gpu_power_w": power_w}}
    assert parse_json(data() | block).power_w_per_gpu == of_one
    assert parse_json(data() | {"energy": {"average_gpu_power_w": power_w}}).power_w_per_gpu is None
    alone = data() | block
    alone["world_info"] |= {"tp_size": 1, "world_size": 1}
    assert parse_json(alone).power_w_per_gpu == (power_w if of_one and power_w > 600 else None)


@pytest.mark.parametrize("name", ["total_tokens_per_joule", "Total TPS/W", "input_tokens_per_j"])
def test_total_and_input_tokens_per_joule_are_not_those_of_the_output(name: str) -> None:
    report = parse_json(data() | {"energy": {name: 5.0, "output_tokens_per_joule": 2.5}})
    assert report.output_tokens_per_j == 2.5
    assert parse_json(data() | {"energy": {name: 5.0}}).output_tokens_per_j is None


def test_speed_per_user_of_0_19_is_another_figure() -> None:
    report = parse_json(text("0.19-throughput-streaming"))
    assert (report.tps_per_user, report.tps_per_user_distribution) == (None, None)
    assert report.extra["streaming_metrics.token_output_speed_tok_s"] == pytest.approx(109.9014, abs=1e-4)
    assert parse_json(text("0.20.0-throughput-streaming")).tps_per_user == pytest.approx(109.9017, abs=1e-4)


def test_acceptance_of_0_20_is_another_figure() -> None:
    report = parse_json(text("0.20.0-throughput-nonstreaming-mtp1"))
    assert (report.decoding_mode, report.acceptance_length) == ("MTP", None)
    assert report.extra["decoding_stats.acceptance_percentiles.p50"] == 1.8070175438596492


def test_settings_may_be_unsaid() -> None:
    changed = data()
    changed["world_info"] |= {"ep_size": None, "max_batch_size": None, "scheduling_policy": None}
    changed["engine"] |= {"dtype": None, "kv_cache_dtype": None}
    report = parse_json(changed)
    assert (report.ep, report.effective_ep, report.max_batch_size, report.scheduler_policy) == (None, 1, None, None)


@pytest.mark.parametrize("number", ["1" * 400, "1" * 5000, "9223372036854775808"])
def test_a_number_that_no_table_holds_is_refused(number: str) -> None:
    with pytest.raises(ReportError):
        parse_json(text("1.2.0rc2-latency").replace('"num_requests": 10', f'"num_requests": {number}'))


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ReportError):
        parse_json('{"engine":' * 5000 + "1" + "}" * 5000)


def test_issue_rate_is_not_kept() -> None:
    changed = data()
    changed["world_info"]["issue_rate"] = "nonsense"
    assert parse_json(changed) == parse_json(data())
    assert not [field.name for field in dataclasses.fields(Report) if "issue" in field.name]


@pytest.mark.parametrize("block", ["engine", "world_info", "request_info", "performance", "dataset"])
def test_a_missing_block_is_no_complete_report(block: str) -> None:
    changed = data()
    del changed[block]
    with pytest.raises(ReportError, match=f"not complete: {block} is missing"):
        parse_json(changed)


def leaves(said: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in said.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


NUMBERS = [path for path in leaves(data()) if path[-1] != "issue_rate" and path[:1] != ("engine",)]
READ = [
    path
    for path in NUMBERS
    if path[-1] not in ("scheduling_policy", "dataset_path", "avg_request_latency_ms", "avg_ttft_ms", "avg_tpot_ms")
    and not (path[0] == "dataset" and path[-1].startswith(("max_", "avg_")))
]


@given(path=st.sampled_from(READ), wrong=st.sampled_from(["12", True, float("nan"), float("inf"), -1, [], {}]))
def test_a_wrong_value_names_its_key(path: tuple[str, ...], wrong: Any) -> None:
    changed = data()
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = wrong
    with pytest.raises(ReportError, match=rf"{'.'.join(path)} is not"):
        parse_json(changed)


@pytest.mark.parametrize(
    "place",
    ['"num_requests": 10,', '"p50": 13004.472566999999,', '"total_latency_ms": 129996.266074,', '"tp_size": 8,'],
)
def test_a_key_with_two_values_is_damage(place: str) -> None:
    whole = text("1.2.0rc2-latency")
    assert place in whole
    key = place.partition(":")[0]
    for twice in (f"{place} {key}: 3,", f"{key}: 3, {place}"):
        with pytest.raises(ReportError, match="stands twice"):
            parse_json(whole.replace(place, twice, 1))
    assert parse_json(whole.replace(place, f"{place} {place}", 1)) == parse_json(whole)


@pytest.mark.parametrize(
    ("block", "key"),
    [
        ("performance", "avg_request_latency_ms"),
        ("streaming_metrics", "avg_ttft_ms"),
        ("streaming_metrics", "avg_tpot_ms"),
        ("streaming_metrics", "token_output_speed_tok_s"),
        ("dataset", "max_isl"),
        ("dataset", "avg_osl"),
        ("dataset", "max_sequence_length"),
    ],
)
def test_a_figure_that_is_stated_twice_is_one_number(block: str, key: str) -> None:
    said = data()
    said[block][key] += 1
    with pytest.raises(ReportError, match=f"{block}.{key} is .* elsewhere"):
        parse_json(said)


def test_nan_in_the_text_is_refused() -> None:
    with pytest.raises(ReportError, match="total_latency_ms"):
        parse_json(text("1.2.0rc2-latency").replace("129996.266074", "NaN"))


@given(st.data())
def test_a_report_that_was_cut_off_is_refused(draw: st.DataObject) -> None:
    whole = text(CASES[-1]).rstrip()
    cut = draw.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ReportError, match="cut off"):
        parse_json(whole[:cut])


@pytest.mark.parametrize("garbage", ["[]", "null", "3", '"text"', b"\xff\xfe", "{}"])
def test_what_is_no_report_is_refused(garbage: str | bytes) -> None:
    with pytest.raises(ReportError):
        parse_json(garbage)


@given(st.data())
def test_any_bytes_changed_give_a_report_or_a_report_error(draw: st.DataObject) -> None:
    said = bytearray(text(CASES[-1]).encode())
    for _ in range(draw.draw(st.integers(1, 20))):
        said[draw.draw(st.integers(0, len(said) - 1))] = draw.draw(st.integers(0, 255))
    with contextlib.suppress(ReportError):
        assert parse_json(bytes(said)).num_requests >= 1


def test_an_engine_of_the_trt_runtime_states_its_lengths() -> None:
    changed = data()
    changed["engine"] |= {"backend": "TRT", "engine_dir": "/e", "max_input_length": 1024, "max_sequence_length": 2048}
    report = parse_json(changed)
    assert (report.engine_backend, report.engine_dir) == ("TRT", "/e")
    assert (report.max_input_len, report.max_seq_len) == (1024, 2048)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.dictionaries(st.text(), inner)
)


@given(block=st.sampled_from(["engine", "world_info", "request_info", "performance", "dataset"]), garbage=JSON)
def test_a_block_of_garbage_is_a_report_error(block: str, garbage: Any) -> None:
    with pytest.raises(ReportError):
        parse_json(data() | {block: garbage})
