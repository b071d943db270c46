"""Two accounts of one run agree up to the digits that are printed, figure by figure, and no further."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sweep.report.agreement import Precision, disagreements
from sweep.report.value import Distribution, Report, Tool

EXACT = Report(num_requests=300, duration_s=10.0, request_tput_rps=30.0, output_tput_tps=15360.0)


def differing(name: str, stat: str | None, value: float, off: float, tool: Tool) -> tuple[Report, Report]:
    """Return two reports that differ in one figure."""

    def made(figure: float) -> Report:
        stated: Any = figure if stat is None else Distribution(**{stat: figure})
        return replace(EXACT, tool=tool, **{name: stated})

    return made(value), made(value + off)


@pytest.mark.parametrize(
    ("name", "stat", "digit", "tool"),
    [
        ("duration_s", None, 1e-7, Tool.TRTLLM_BENCH),
        ("kv_cache_free_gpu_mem_fraction", None, 1e-4, Tool.TRTLLM_BENCH),
        ("gpu_memory_gib", None, 1e-2, Tool.TRTLLM_BENCH),
        ("memory_clock_ghz", None, 1e-2, Tool.TRTLLM_BENCH),
        ("output_tput_tps", None, 1e-4, Tool.TRTLLM_BENCH),
        ("output_tput_tps", None, 1e-2, Tool.BENCHMARK_SERVING),
        ("isl_mean", None, 1e-4, Tool.BENCHMARK_SERVING),
        ("osl_mean", None, 1e-4, Tool.BENCHMARK_SERVING),
        ("ttft_ms", "p99", 1e-4, Tool.TRTLLM_BENCH),
        ("ttft_ms", "p99", 1e-2, Tool.BENCHMARK_SERVING),
        ("itl_ms", "mean", 1e-4, Tool.TRTLLM_BENCH),
        ("draft_tokens", "mean", 1e-2, Tool.TRTLLM_BENCH),
        ("accepted_draft_tokens", "max", 1e-2, Tool.TRTLLM_BENCH),
        ("draft_acceptance_rate", "min", 1e-2, Tool.TRTLLM_BENCH),
        ("acceptance_length", "p50", 1e-2, Tool.TRTLLM_BENCH),
    ],
)
def test_two_accounts_agree_up_to_half_of_the_last_digit(name: str, stat: str | None, digit: float, tool: Tool) -> None:
    label = name if stat is None else f"{name} {stat}"
    for off, told in ((0.5 * digit, False), (0.6 * digit, True), (-0.5 * digit, False), (-0.6 * digit, True)):
        found = list(disagreements(*differing(name, stat, 0.875, off, tool), Precision.PRINTED))
        assert [what.partition(":")[0] for what in found] == ([label] if told else []), off


def test_exact_accounts_agree_but_for_floating_point() -> None:
    assert not list(disagreements(EXACT, replace(EXACT, output_tput_tps=15360.0 * (1 + 1e-10)), Precision.EXACT))
    (told,) = disagreements(EXACT, replace(EXACT, output_tput_tps=15360.001), Precision.EXACT)
    assert told == "output_tput_tps: 15360.0 and 15360.001"


@pytest.mark.parametrize("name", ["isl", "osl", "seq_len"])
def test_a_long_length_is_printed_with_three_digits(name: str) -> None:
    one, other = differing(name, "max", 131_072.0, -72.0, Tool.TRTLLM_BENCH)
    assert not list(disagreements(one, other, Precision.PRINTED))
    assert list(disagreements(*differing(name, "max", 131_072.0, -1072.0, Tool.TRTLLM_BENCH), Precision.PRINTED))
    assert list(disagreements(*differing(name, "max", 99_000.0, -72.0, Tool.TRTLLM_BENCH), Precision.PRINTED))


def test_what_only_one_account_states_is_no_disagreement() -> None:
    fuller = replace(EXACT, tp=4, gpu_name="NVIDIA GB200", ttft_ms=Distribution(mean=5.0))
    assert not list(disagreements(fuller, replace(EXACT, ttft_ms=Distribution(p50=4.0)), Precision.PRINTED))
    assert list(disagreements(fuller, replace(EXACT, tp=2), Precision.PRINTED)) == ["tp: 4 and 2"]


def test_where_and_by_what_a_run_was_written_down_is_not_compared() -> None:
    other = replace(
        EXACT, tool=Tool.BENCHMARK_SERVING, dataset_path="/d", engine_dir="e", requests_failed=1, extra={"a": 1}
    )
    assert not list(disagreements(replace(EXACT, dataset_path="/c", requests_failed=0), other, Precision.PRINTED))
