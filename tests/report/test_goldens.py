"""Reports of NVIDIA's own code, 0.16 to 1.2, against values that other code computed from the raw records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweep.report import Distribution, Report, parse_report, read_log

REPORTS = Path(__file__).parent.parent / "data" / "reports"
TEXTS = sorted(path.name.removesuffix(".txt") for path in REPORTS.glob("[01]*.txt"))
JSONS = sorted(name for name in TEXTS if (REPORTS / f"{name}.json").exists())

SCALARS = {  # field: (key, scale, printed decimals)
    "num_requests": ("num_requests", 1, 0),
    "concurrency_mean": ("avg_num_concurrent_requests", 1, 4),
    "isl_mean": ("avg_input_length", 1, 4),
    "osl_mean": ("avg_output_length", 1, 4),
    "duration_s": ("total_latency_ms", 1e-3, 7),
    "request_tput_rps": ("request_throughput_req_s", 1, 4),
    "output_tput_tps": ("system_output_throughput_tok_s", 1, 4),
    "total_tput_tps": ("system_total_throughput_tok_s", 1, 4),
    "output_tput_per_gpu": ("output_throughput_per_gpu_tok_s", 1, 4),
    "tps_per_user_e2e": ("output_throughput_per_user_tok_s", 1, 4),
}
DISTRIBUTIONS = {
    "ttft_ms": ("ttft_percentiles", 4),
    "tpot_ms": ("tpot_percentiles", 4),
    "tps_per_user_distribution": ("gen_tps_percentiles", 4),
    "e2el_ms": ("request_latency_percentiles_ms", 4),
    "draft_tokens": ("num_draft_tokens", 2),
    "accepted_draft_tokens": ("num_accepted_draft_tokens", 2),
    "draft_acceptance_rate": ("draft_acceptance_rate", 2),
    "acceptance_length": ("acceptance_length", 2),
}
STATS = {"average": "mean", "minimum": "min", "maximum": "max", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}


def expected(case: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((REPORTS / f"{case}.expected.json").read_text())
    return found


def near(value: float, decimals: int | None) -> Any:
    """None is JSON: full precision."""
    return pytest.approx(value, rel=1e-9) if decimals is None else pytest.approx(value, abs=0.51 * 10**-decimals)


def check_distribution(found: Distribution | None, wanted: dict[str, float] | None, decimals: int | None) -> None:
    assert (found is None) == (wanted is None)
    for key, value in (wanted or {}).items():
        assert getattr(found, STATS[key]) == near(value, decimals), key


def check(report: Report, wanted: dict[str, Any], *, printed: bool) -> None:
    engine, world, values = wanted["engine"], wanted["world_info"], wanted["values"]
    assert (report.model, report.version, report.dtype) == (engine["model"], engine["version"], engine["dtype"])
    assert (report.kv_cache_dtype, report.quantization) == (engine["kv_cache_dtype"], engine["quantization"])
    assert (report.tp, report.pp, report.ep) == (world["tp_size"], world["pp_size"], world.get("ep_size"))
    assert (report.max_batch_size, report.max_num_tokens) == (world["max_batch_size"], world["max_num_tokens"])
    assert report.scheduler_policy == world["scheduling_policy"]
    assert report.kv_cache_free_gpu_mem_fraction == near(world["kv_cache_percentage_text"] / 100, 4)
    assert report.engine_backend == engine.get("backend", "TRT")
    assert report.max_seq_len == engine.get("max_sequence_length")
    assert report.streaming is wanted["streaming"]
    for name, (key, scale, decimals) in SCALARS.items():
        found = getattr(report, name)
        if key in values:
            assert found == near(values[key] * scale, decimals if printed else None), name
        else:
            assert found is None, name
    has_speeds = "gen_tps_percentiles" in values
    assert report.tps_per_user == (
        near(values["token_output_speed_tok_s"], 4 if printed else None) if has_speeds else None
    )
    for name, (key, decimals) in DISTRIBUTIONS.items():
        check_distribution(getattr(report, name), values.get(key), decimals if printed else None)
    if dataset := wanted.get("dataset"):
        assert (report.dataset_path, report.dataset_requests) == (dataset["path"], dataset["num_requests"])
        for name in ("isl", "osl", "seq_len"):
            check_distribution(getattr(report, name), dataset[f"{name}_stats"], 4 if printed else None)
    if machine := wanted.get("machine"):
        assert report.gpu_name == machine["name"]
        assert report.gpu_memory_gib == near(machine["memory.total"], 2)
        assert report.memory_clock_ghz == near(machine["clocks.mem"], 2 if printed else None)


@pytest.mark.parametrize("case", JSONS)
def test_json(case: str) -> None:
    check(parse_report((REPORTS / f"{case}.json").read_bytes()), expected(case), printed=False)


@pytest.mark.parametrize("case", TEXTS)
def test_text(case: str) -> None:
    with (REPORTS / f"{case}.txt").open("rb") as file:
        report = read_log(file).report
    assert report is not None
    check(report, expected(case), printed=True)


def test_the_samples_are_many() -> None:
    assert len(TEXTS) == 13
    assert len(JSONS) == 12
