from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.errors import ReportError
from sweep.report import Tool, parse_report, parse_serving, read_log, weigh

REPORTS = Path(__file__).parent.parent / "data" / "reports"
TEXT = (REPORTS / "serving-default.txt").read_text()


def data() -> dict[str, Any]:
    said: dict[str, Any] = json.loads((REPORTS / "serving-default.json").read_text())
    return said


def log(text: str) -> Any:
    return read_log(io.BytesIO(text.encode()))


def test_json_holds_what_the_raw_outputs_give() -> None:
    report = parse_report((REPORTS / "serving-default.json").read_bytes())
    wanted = json.loads((REPORTS / "serving-default.expected.json").read_text())["values"]
    assert report.tool is Tool.BENCHMARK_SERVING
    assert (report.num_requests, report.requests_failed, report.concurrency) == (320, 0, 64)
    assert (report.isl_mean, report.osl_mean) == (1024, 1024)
    assert report.duration_s == pytest.approx(wanted["duration"], rel=1e-9)
    assert report.request_tput_rps == pytest.approx(wanted["request_throughput"], rel=1e-9)
    assert report.output_tput_tps == pytest.approx(wanted["output_throughput"], rel=1e-9)
    assert report.total_tput_tps == pytest.approx(wanted["total_token_throughput"], rel=1e-9)
    assert report.tps_per_user_e2e == pytest.approx(wanted["user_throughput"], rel=1e-9)
    assert report.ttft_ms is not None and report.tpot_ms is not None and report.itl_ms is not None
    assert report.ttft_ms.mean == pytest.approx(wanted["mean_ttft_ms"], rel=1e-9)
    assert report.ttft_ms.p50 == pytest.approx(wanted["median_ttft_ms"], rel=1e-9)
    assert report.ttft_ms.p99 == 460.6785296433376
    assert (report.ttft_ms.p90, report.ttft_ms.p95, report.ttft_ms.min, report.ttft_ms.max) == (None,) * 4
    assert report.tpot_ms.mean == pytest.approx(wanted["mean_tpot_ms"], rel=1e-9)
    assert (report.e2el_ms, report.request_goodput_rps, report.tps_per_user) == (None, None, None)
    assert (report.tp, report.kv_cache_dtype, report.version, report.streaming) == (None,) * 4
    assert report.extra["std_ttft_ms"] == 66.14788449128854
    assert report.extra["request_rate"] == "inf"


def test_the_key_of_the_goodput_has_a_colon() -> None:
    assert parse_serving(data() | {"request_goodput:": 4.5}).request_goodput_rps == 4.5
    said = data() | {"request_goodput": 4.5}
    del said["request_goodput:"]
    assert parse_serving(said).request_goodput_rps == 4.5


def test_percentiles_that_were_asked_for_are_read() -> None:
    said = data() | {
        "p90_e2el_ms": 1.5,
        "p95_e2el_ms": 2.5,
        "p75_e2el_ms": 1.0,
        "mean_e2el_ms": 1.25,
        "p99.9_itl_ms": 9.0,
    }
    report = parse_serving(said)
    assert report.e2el_ms is not None
    assert (report.e2el_ms.mean, report.e2el_ms.p90, report.e2el_ms.p95, report.e2el_ms.p99) == (1.25, 1.5, 2.5, None)
    assert (report.extra["p75_e2el_ms"], report.extra["p99.9_itl_ms"]) == (1.0, 9.0)


def test_failed_requests_are_those_that_did_not_complete() -> None:
    report = parse_serving(data() | {"completed": 300})
    assert (report.num_requests, report.requests_failed) == (320, 20)
    assert report.isl_mean == 327680 / 300


def test_unlimited_concurrency_is_0_and_unsaid_is_null() -> None:
    assert parse_serving(data() | {"max_concurrency": None}).concurrency == 0
    said = data()
    del said["max_concurrency"]
    assert parse_serving(said).concurrency is None


def test_details_per_request_and_metadata_are_no_figures() -> None:
    said = data() | {"input_lens": [1, 2], "errors": ["", ""], "generated_texts": ["a"], "gpu": "gb200"}
    report = parse_serving(said)
    assert report.extra["gpu"] == "gb200"
    assert not {"input_lens", "errors", "generated_texts"} & report.extra.keys()


def test_energy_of_2026_is_the_same_from_json_and_text() -> None:
    of_json = parse_report((REPORTS / "cli" / "serving" / "energy.json").read_bytes())
    with (REPORTS / "cli" / "serving" / "energy.txt").open("rb") as file:
        of_text = read_log(file).report
    assert of_text is not None
    assert (of_json.energy_j, of_text.energy_j) == (34000, 34000)
    assert of_json.output_tokens_per_j == 0.12047058823529412
    assert of_text.output_tokens_per_j == 0.1205
    assert of_json.power_w_per_gpu is None and of_text.power_w_per_gpu is None  # of all GPUs; how many is not known
    assert of_json.acceptance_length is None and of_text.acceptance_length is None  # nothing was speculated


@pytest.mark.parametrize("name", ["plain", "energy", "fail"])
def test_text_and_json_of_2026_agree(name: str) -> None:
    files = REPORTS / "cli" / "serving"
    with (files / f"{name}.txt").open("rb") as log:
        evidence = weigh(report=(files / f"{name}.json").read_bytes(), log=log)
    assert (evidence.disagreements, evidence.problem) == ((), None)
    assert evidence.report is not None and evidence.report.requests_failed == (name == "fail")


STATISTICS = {"mean": 2.79, "min": 2.3, "max": 3.4, "median": 2.8, "percentiles": {"p50.0": 2.8, "p99.0": 3.3}}
FLAT = {"mean": 2.79, "median": 2.8, "std": 0.2, "min": 2.3, "max": 3.4, "p50": 2.8, "p99": 3.3}


@pytest.mark.parametrize(
    "keys",
    [
        {"avg_decoded_tokens_per_iter": STATISTICS},
        {f"{stat}_avg_decoded_tokens_per_iter": value for stat, value in FLAT.items()},
        {"avg_decoded_tokens_per_iter": 2.79},
    ],
)
def test_decoded_tokens_per_step_are_the_acceptance_length(keys: dict[str, Any]) -> None:
    found = parse_serving(data() | {"avg_decoded_tokens_per_iter": 0.0} | keys).acceptance_length
    assert found is not None and found.mean == 2.79
    if len(keys) > 1 or isinstance(keys["avg_decoded_tokens_per_iter"], dict):
        assert (found.p50, found.p99, found.min, found.max) == (2.8, 3.3, 2.3, 3.4)
    lines = "".join(
        f"{label + ' Avg Decoded Tokens per Iter:':<40} {FLAT[stat]:<10.2f}\n"
        for label, stat in (("Mean", "mean"), ("Median", "median"), ("Std Dev", "std"), ("Max", "max"), ("P99", "p99"))
    )
    report = log(TEXT.replace("---------------Time to First", f"{lines}---------------Time to First")).report
    assert (report.acceptance_length.mean, report.acceptance_length.p99) == (2.79, 3.3)
    evidence = weigh(report=json.dumps(data() | keys), log=io.BytesIO(TEXT.encode()))
    assert evidence.disagreements == ()


def test_a_wrong_statistic_of_an_object_is_refused() -> None:
    with pytest.raises(ReportError, match="mean"):
        parse_serving(data() | {"avg_decoded_tokens_per_iter": STATISTICS | {"mean": "fast"}})


@pytest.mark.parametrize("key", ["duration", "completed", "request_throughput", "output_throughput"])
@pytest.mark.parametrize("wrong", ["12", True, float("nan"), -1, [], None])
def test_a_wrong_value_is_refused(key: str, wrong: Any) -> None:
    with pytest.raises(ReportError, match=key):
        parse_serving(data() | {key: wrong})


# ------------------------------------------------------------------------------------------------------------- the text


def test_text_is_read_to_the_printed_digits() -> None:
    report = log(TEXT).report
    assert (report.num_requests, report.requests_failed, report.concurrency) == (320, 0, 64)
    assert (report.duration_s, report.output_tput_tps, report.tps_per_user_e2e) == (55.21, 5935.23, 93.47)
    assert (report.ttft_ms.mean, report.ttft_ms.p50, report.ttft_ms.p99) == (214.48, 204.27, 460.68)
    assert (report.itl_ms.p99, report.tpot_ms.p99, report.isl_mean) == (11.72, 10.54, 1024)
    evidence = weigh(report=json.dumps(data()), log=io.BytesIO(TEXT.encode()))
    assert (evidence.disagreements, evidence.problem) == ((), None)


def test_older_versions_have_no_lines_for_all_and_failed_requests() -> None:
    said = "".join(
        line
        for line in TEXT.splitlines(keepends=True)
        if not line.startswith(("Total requests", "Failed", "Total failed"))
    )
    report = log(said).report
    assert (report.num_requests, report.requests_failed) == (320, None)


def test_failed_requests_in_their_box() -> None:
    said = TEXT.replace("Successful requests:                     320", "Successful requests:                     300")
    said = said.replace("Failed requests:                         0 ", "Failed requests:                         20")
    box = "=======================!FAILED REQUESTS!=======================\nTotal failed requests: 20\n"
    said = said.replace("---------------Time to First", box + "---------------Time to First")
    report = log(said).report
    assert (report.num_requests, report.requests_failed) == (320, 20)


def test_more_percentiles_and_goodput_in_the_text() -> None:
    said = TEXT.replace(
        "Output token throughput",
        "Request goodput (req/s):                 4.20      \nOutput token throughput",
    ).replace("P99 TTFT", "P90 TTFT (ms):                           333.33    \nP99 TTFT")
    report = log(said).report
    assert (report.request_goodput_rps, report.ttft_ms.p90, report.ttft_ms.p99) == (4.2, 333.33, 460.68)


def test_no_limit_is_printed_as_none() -> None:
    assert log(TEXT.replace("concurrency: 64", "concurrency: None")).report.concurrency == 0
    before = TEXT.index("====")
    assert log(TEXT[before:]).report.concurrency is None


def test_a_text_cut_at_any_byte_is_none_or_whole() -> None:
    whole = log(TEXT).report
    for end in range(len(TEXT)):
        found = log(TEXT[:end]).report
        assert found is None or found == whole


def test_a_damaged_text_is_no_report() -> None:
    found = log(TEXT.replace("5935.23", "59e35.2.3"))
    assert found.report is None
    assert "Output token throughput" in found.problem
    assert (
        log(TEXT.replace("Benchmark duration", "Duration")).problem == "the report is not complete: duration is missing"
    )


def test_a_log_line_inside_overrides_nothing() -> None:
    lines = "mean_ttft_ms: 1.0\ntotal_token_throughput: 9\np99_tpot_ms: 0.5\ncompleted: 1\nloss: 0.5\nloss: 0.25\n"
    found = log(TEXT.replace("Median TTFT", f"{lines}Median TTFT", 1))
    whole = log(TEXT).report
    assert found.report == dataclasses.replace(
        whole,
        extra={**whole.extra, "mean_ttft_ms": 1.0, "total_token_throughput": 9.0, "p99_tpot_ms": 0.5, "completed": 1.0},
    )


MEAN = "Mean TTFT (ms):                          214.48    "
DAMAGED = {
    "cut": MEAN.replace("214.48", "214"),
    "one decimal": MEAN.replace("214.48", "214.4"),
    "exponent": MEAN.replace("214.48", "2.14e+02"),
    "Arabic digits": MEAN.replace("214.48", "\u0662\u0661\u0664.\u0664\u0668"),
    "full-width digits": MEAN.replace("214.48", "\uff12\uff11\uff14.\uff14\uff18"),
    "twice": f"{MEAN}\nMean TTFT (ms): 215.48",
    "two pieces": "Mean TT\nFT (ms):                          214.48",
    "two pieces, at the value": "Mean TTFT (ms):\n                          214.48",
    "gone": "",
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_line_is_no_report(how: str) -> None:
    assert MEAN in TEXT
    found = log(TEXT.replace(MEAN, DAMAGED[how]))
    assert found.report is None
    assert "damaged" in found.problem or "not complete" in found.problem


@pytest.mark.parametrize(("label", "other"), [("Total generated tokens", "32768x"), ("Successful requests", "320.0")])
def test_counts_are_whole(label: str, other: str) -> None:
    found = log(re.sub(rf"({label}:\s+)\d+", rf"\g<1>{other}", TEXT))
    assert found.report is None and label in found.problem


def test_what_people_note_beside_a_line_is_no_part_of_it() -> None:
    said = TEXT.replace("214.48    ", "214.48     <<<<<<< New line")
    assert log(said).report == log(TEXT).report


def test_requests_add_up() -> None:
    with pytest.raises(ReportError, match="of 320 requests 300 succeeded and 0 failed"):
        parse_serving(data() | {"completed": 300, "failed": 0})


def test_one_statistic_under_two_names_is_one_number() -> None:
    median = data()["median_ttft_ms"]
    assert parse_serving(data() | {"p50_ttft_ms": median}).ttft_ms.p50 == median
    with pytest.raises(ReportError, match="p50_ttft_ms"):
        parse_serving(data() | {"p50_ttft_ms": median + 1})


@given(st.data())
def test_changed_bytes_make_no_other_exception(draw: st.DataObject) -> None:
    said = bytearray((REPORTS / "serving-default.json").read_bytes())
    for _ in range(draw.draw(st.integers(1, 10))):
        said[draw.draw(st.integers(0, len(said) - 1))] = draw.draw(st.integers(0, 255))
    with contextlib.suppress(ReportError):
        parse_report(bytes(said))
