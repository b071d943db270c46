import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.errors import ReportError
from sweep.report import Distribution, Report, parse_json

REPORTS = Path(__file__).parent / "data" / "reports"
CASES = sorted(path.name.removesuffix(".expected.json") for path in REPORTS.glob("1.2.0rc2-*.expected.json"))


def text(case: str) -> str:
    return (REPORTS / f"{case}.json").read_text()


def data(case: str = "1.2.0rc2-throughput-streaming") -> dict[str, Any]:
    said: dict[str, Any] = json.loads(text(case))
    return said


def distribution(expected: dict[str, float] | None) -> Any:
    if expected is None:
        return None
    names = {"average": "mean", "minimum": "min", "maximum": "max"}
    return pytest.approx({names.get(key, key): value for key, value in expected.items()}, rel=1e-12)


def said(found: Distribution | None) -> Any:
    return None if found is None else dataclasses.asdict(found)


@pytest.mark.parametrize("case", CASES)
def test_the_report_holds_the_values_that_the_raw_records_give(case: str) -> None:
    report = parse_json(text(case))
    expected = json.loads((REPORTS / f"{case}.expected.json").read_text())
    engine, world, values = expected["engine"], expected["world_info"], expected["values"]

    assert (report.model, report.version, report.engine_backend) == (engine["model"], "1.2.0rc2", "Pytorch")
    assert (report.dtype, report.kv_cache_dtype) == (engine["dtype"], engine["kv_cache_dtype"])
    assert report.quantization == engine["quantization"]
    assert report.model_path == {"None": None}.get(engine["model_path"], engine["model_path"])
    assert (report.tp, report.pp, report.ep) == (world["tp_size"], world["pp_size"], world["ep_size"])
    assert report.world_size == world["world_size"]
    assert (report.max_batch_size, report.max_num_tokens) == (world["max_batch_size"], world["max_num_tokens"])
    assert report.scheduler_policy == world["scheduling_policy"]
    assert report.kv_cache_free_gpu_mem_fraction == world["kv_cache_percentage_json"]
    assert (report.gpu_name, report.gpu_memory_gib, report.memory_clock_ghz) == (None, None, None)
    assert report.streaming is expected["streaming"]
    assert report.decoding_mode == expected["decoding_mode"]
    assert (report.dataset_path, report.dataset_requests) == (
        expected["dataset"]["path"],
        expected["dataset"]["num_requests"],
    )

    assert report.num_requests == values["num_requests"]
    for name, key, scale in (
        ("concurrency_mean", "avg_num_concurrent_requests", 1),
        ("isl_mean", "avg_input_length", 1),
        ("osl_mean", "avg_output_length", 1),
        ("duration_s", "total_latency_ms", 1e-3),
        ("request_tput_rps", "request_throughput_req_s", 1),
        ("output_tput_tps", "system_output_throughput_tok_s", 1),
        ("total_tput_tps", "system_total_throughput_tok_s", 1),
        ("output_tput_per_gpu", "output_throughput_per_gpu_tok_s", 1),
        ("tps_per_user_e2e", "output_throughput_per_user_tok_s", 1),
        ("tps_per_user", "token_output_speed_tok_s", 1),
    ):
        wanted = values.get(key)
        assert getattr(report, name) == (None if wanted is None else pytest.approx(wanted * scale, rel=1e-12)), name
    for name, key in (
        ("ttft_ms", "ttft_percentiles"),
        ("tpot_ms", "tpot_percentiles"),
        ("tps_per_user_distribution", "gen_tps_percentiles"),
        ("e2el_ms", "request_latency_percentiles_ms"),
    ):
        assert said(getattr(report, name)) == distribution(values.get(key)), name
    for name in ("isl", "osl", "seq_len"):
        assert said(getattr(report, name)) == distribution(expected["dataset"][f"{name}_stats"]), name


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


def test_what_a_newer_version_says_more_is_passed_over() -> None:
    changed = data() | {"energy": {"total_j": 1.0}}
    changed["performance"]["new_metric"] = "x"
    assert parse_json(changed) == parse_json(data())


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


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.dictionaries(st.text(), inner)
)


@given(block=st.sampled_from(["engine", "world_info", "request_info", "performance", "dataset"]), garbage=JSON)
def test_a_block_of_garbage_is_a_report_error(block: str, garbage: Any) -> None:
    with pytest.raises(ReportError):
        parse_json(data() | {block: garbage})
