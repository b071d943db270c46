"""What the figures of a report say of each other: true runs never contradict themselves, damaged figures do."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.report import Distribution, Report, Tool, parse_report, parse_requests
from sweep.report.consistency import RULES, contradictions
from sweep.report.value import DISTRIBUTIONS

REPORTS = Path(__file__).parent.parent / "data" / "reports"
STREAMING = parse_report((REPORTS / "1.2.0rc2-throughput-streaming.json").read_bytes())
MTP = parse_report((REPORTS / "1.2.0rc2-throughput-nonstreaming-mtp1.json").read_bytes())
OLD = parse_report((REPORTS / "0.19-throughput-streaming.json").read_bytes())
OLD_MTP = parse_report((REPORTS / "0.20.0-throughput-nonstreaming-mtp1.json").read_bytes())
SERVING = parse_report((REPORTS / "cli" / "serving" / "plain.json").read_bytes())
SHORT = parse_report((REPORTS / "serving-default.json").read_bytes())


# ------------------------------------------------------------------------------------------------------------ true runs


@st.composite
def runs(draw: st.DrawFn) -> list[dict[str, int]]:
    """Requests as --request_json has them: any lengths, any times, some of one token."""
    lengths = draw(st.sampled_from(["one", "many", "long"]))
    records = []
    fixed = draw(st.integers(2, 300))
    for number in range(draw(st.integers(1, 250))):
        outputs = fixed if lengths == "one" else draw(st.integers(1, 40 if lengths == "many" else 200_000))
        start = draw(st.integers(0, 10**10))
        first = start + draw(st.integers(1, 10**9))
        end = first + (outputs - 1) * draw(st.integers(10**5, 10**8)) + draw(st.integers(0, 10**5)) * (outputs > 1)
        records.append(
            {
                "num_input_tokens": draw(st.integers(1, 200_000)),
                "num_total_output_tokens": outputs,
                "start_timestamp": start,
                "first_token_timestamp": first,
                "end_timestamp": end,
                "decode_iteration": outputs - 1,
                "id": number,
            }
        )
    return records


def printed(value: Any, decimals: int = 4) -> Any:
    return None if value is None else round(value, decimals)


def as_printed(report: Report) -> Report:
    """Return the report with the digits that trtllm-bench prints."""
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(Report):
        value = getattr(report, field.name)
        if isinstance(value, float):
            fields[field.name] = printed(value, 7 if field.name == "duration_s" else 4)
        elif field.name in DISTRIBUTIONS and value is not None:
            decimals = 2 if field.name in ("acceptance_length",) else 4
            stats = {s.name: printed(getattr(value, s.name), decimals) for s in dataclasses.fields(value)}
            if field.name in ("isl", "osl", "seq_len"):
                stats = {name: float(f"{v:.2e}") if v >= 100_000 else v for name, v in stats.items()}
            fields[field.name] = Distribution(**stats)
    return dataclasses.replace(report, **fields)


@given(runs(), st.booleans())
def test_no_true_run_contradicts_itself(records: list[dict[str, int]], dataset: bool) -> None:
    report = dataclasses.replace(parse_requests(records), dataset_requests=len(records) if dataset else None)
    assert list(contradictions(report)) == []
    assert list(contradictions(as_printed(report))) == []
    without = dataclasses.replace(report, ttft_ms=None, tpot_ms=None, tps_per_user=None, tps_per_user_distribution=None)
    assert list(contradictions(as_printed(without))) == []


def test_outputs_that_end_early_are_no_contradiction() -> None:
    """The dataset's rows say what was asked for, not what came."""
    rate = STREAMING.request_tput_rps
    early = dataclasses.replace(
        STREAMING,
        osl_mean=28.0,
        output_tput_tps=rate * 28,
        total_tput_tps=rate * (1024 + 28),
        output_tput_per_gpu=rate * 28 / 4,
        tps_per_user_e2e=28e3 / 4966.8 * 1.001,
    )
    assert list(contradictions(early)) == []


@given(st.data())
def test_whatever_the_figures_are_they_are_judged(draw: st.DataObject) -> None:
    fields: dict[str, Any] = {}
    anything = st.floats(0, 1e300) | st.just(0.0) | st.none()
    for field in draw.draw(st.lists(st.sampled_from([f.name for f in dataclasses.fields(Report)]), max_size=6)):
        value = getattr(STREAMING, field)
        if isinstance(value, Distribution):
            stat = draw.draw(st.sampled_from(["mean", "p50", "p90", "p95", "p99", "min", "max"]))
            fields[field] = dataclasses.replace(value, **{stat: draw.draw(anything)})
        elif isinstance(value, float):
            always = field in ("duration_s", "request_tput_rps", "output_tput_tps")
            fields[field] = draw.draw(st.floats(0, 1e300) if always else anything)
    for tool in Tool:
        report = dataclasses.replace(STREAMING, tool=tool, **fields)
        assert all(isinstance(reason, str) for reason in contradictions(report, 512))


# ------------------------------------------------------------------------------------------------------ damaged figures


def with_stat(report: Report, name: str, **stats: float | None) -> Report:
    return dataclasses.replace(report, **{name: dataclasses.replace(getattr(report, name), **stats)})


DAMAGED: dict[str, tuple[Report, str]] = {
    "request rate": (dataclasses.replace(STREAMING, request_tput_rps=12.05), "request_tput_rps is 12.05, but"),
    "output": (dataclasses.replace(STREAMING, output_tput_tps=6168.0), "output_tput_tps is 6168, but"),
    "total": (dataclasses.replace(STREAMING, total_tput_tps=18.0), "total_tput_tps is 18, but"),
    "per GPU": (dataclasses.replace(STREAMING, output_tput_per_gpu=771.0), "output_tput_per_gpu is 771, but"),
    "goodput": (dataclasses.replace(STREAMING, request_goodput_rps=13.0), "request_goodput_rps is 13, more than"),
    "duration": (dataclasses.replace(STREAMING, duration_s=24.9), "request_tput_rps is 12.047, but"),
    "in flight": (dataclasses.replace(STREAMING, concurrency_mean=59.0), "concurrency_mean is 59, but"),
    "longer than the run": (with_stat(STREAMING, "ttft_ms", max=3e4), "ttft_ms has 30000 ms in it"),
    "more than the limit lets": (with_stat(SHORT, "ttft_ms", mean=20_000.0), "more than 64 requests at a time"),
    "order": (with_stat(STREAMING, "ttft_ms", p99=53.0), "ttft_ms: p95 is 481.854 and p99 53"),
    "mean by its percentiles": (with_stat(STREAMING, "ttft_ms", mean=180.0), "ttft_ms mean is 180, but"),
    "mean above the maximum": (with_stat(MTP, "e2el_ms", mean=17_000.0), "e2el_ms mean is 17000, but"),
    "mean by the median": (with_stat(SHORT, "itl_ms", mean=2.0), "itl_ms mean is 2, but"),
    "first token after the end": (
        with_stat(STREAMING, "ttft_ms", p50=5100.0),
        "ttft_ms p50 is 5100, more than e2el_ms",
    ),
    "E2E mean": (with_stat(STREAMING, "e2el_ms", mean=4967.0), "e2el_ms mean is 4967, but TTFT and TPOT"),
    "E2E p90": (with_stat(STREAMING, "e2el_ms", p90=5110.0), "e2el_ms p90 is 5110, but TTFT's p90"),
    "TPOT p50": (
        with_stat(STREAMING, "tpot_ms", p50=9.05),
        "tpot_ms mean is 9.09907, but the percentiles of 300 values",
    ),
    "speed": (dataclasses.replace(STREAMING, tps_per_user=109.0), "tps_per_user is 109, but the speeds"),
    "speed alone": (
        dataclasses.replace(STREAMING, tps_per_user=1.0, tps_per_user_distribution=None),
        "tps_per_user mean is 1, but tpot_ms's mean",
    ),
    "fastest": (with_stat(STREAMING, "tps_per_user_distribution", max=112.0), "tps_per_user max is 112, but"),
    "TPOT of 0": (with_stat(STREAMING, "tpot_ms", min=0.0), "tps_per_user max is 110.591, but"),
    "speed of 0.19": (
        dataclasses.replace(OLD, extra={"streaming_metrics.token_output_speed_tok_s": 19.9}),
        "the speed per user is 19.9, but the mean TPOT",
    ),
    "speed with prefill": (dataclasses.replace(STREAMING, tps_per_user_e2e=106.0), "tps_per_user_e2e mean is 106, but"),
    "speed with prefill, any lengths": (
        dataclasses.replace(MTP, tps_per_user_e2e=140.0),
        "tps_per_user_e2e is 140, but mean OSL and the range of E2E",
    ),
    "speed with prefill of benchmark_serving": (
        dataclasses.replace(SHORT, tps_per_user_e2e=90.0),
        "tps_per_user_e2e is 90, but OSL, TTFT and TPOT",
    ),
    "half a token": (with_stat(MTP, "osl", min=709.5), "osl min is 709.5, which is not a number of tokens"),
    "shortest input": (with_stat(MTP, "isl", min=5.0), "seq_len min is 6757, but isl's min"),
    "sum of the means": (with_stat(MTP, "seq_len", mean=9217.0), "seq_len mean is 9217, but"),
    "acceptance": (with_stat(MTP, "acceptance_length", mean=1.9), "draft_acceptance_rate mean is 0.801728, but"),
    "accepted": (with_stat(MTP, "accepted_draft_tokens", mean=430.0), "accepted_draft_tokens mean is 430, but"),
    "old acceptance": (
        dataclasses.replace(OLD_MTP, extra={**OLD_MTP.extra, "decoding_stats.acceptance_percentiles.p90": 1.5}),
        "[AR]: p50 is 1.80702 and p90 1.5",
    ),
    "deviation": (
        dataclasses.replace(SERVING, extra={**SERVING.extra, "std_ttft_ms": 8900.0}),
        "the standard deviation of ttft is 8900 ms",
    ),
    "nothing succeeded": (dataclasses.replace(SERVING, requests_failed=64), "of 64 requests 64 failed, but"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_figure_is_told(what: str) -> None:
    damaged, expected = DAMAGED[what]
    assert any(expected in reason for reason in contradictions(damaged, osl_of(damaged))), list(contradictions(damaged))


def osl_of(report: Report) -> int | None:
    return int(report.osl_mean) if report.osl_mean is not None and report.osl_mean.is_integer() else None


@pytest.mark.parametrize("report", [STREAMING, MTP, OLD, OLD_MTP, SERVING, SHORT], ids=lambda r: r.version or "serving")
def test_the_sound_reports_are_sound(report: Report) -> None:
    assert list(contradictions(report, osl_of(report))) == []


def test_each_rule_tells_something_of_these() -> None:
    """A rule that could be taken away unseen is none."""
    for rule in RULES:
        others = [other for other in RULES if other is not rule]
        assert others != list(RULES)
    told = [reason for damaged, _ in DAMAGED.values() for reason in contradictions(damaged, osl_of(damaged))]
    assert len(told) >= len(DAMAGED)


@pytest.mark.parametrize(
    ("of_report", "digit"),
    [
        # (12.0470 printed, exactly 12.04696...): half of the last digit is rounding, a whole one is damage
        ("request_tput_rps", 1e-4),
        ("output_tput_per_gpu", 4e-4),
        ("concurrency_mean", 1e-4),
    ],
)
def test_the_printed_digits_are_all_the_room_there_is(of_report: str, digit: float) -> None:
    value = round(getattr(STREAMING, of_report), 4)
    assert list(contradictions(dataclasses.replace(STREAMING, **{of_report: value}))) == []
    off = dataclasses.replace(STREAMING, **{of_report: value + 3 * digit})
    assert any(of_report in reason for reason in contradictions(off))


def test_a_small_rate_has_no_more_room() -> None:
    """0.0051 would be a sixth of this rate: benchmark_serving prints two digits, trtllm-bench four."""
    slow = dataclasses.replace(
        parse_report((REPORTS / "1.2.0rc2-latency.json").read_bytes()), request_tput_rps=0.0769 + 0.003
    )
    assert any("request_tput_rps" in reason for reason in contradictions(slow))
