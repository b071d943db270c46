"""The simulation: what must hold for any engine, seen through the report."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep import report
from sweep.errors import Infeasible
from sweep.point import Bench, KvCacheDtype, Model, Point, Precision
from sweep.simulate import simulate


@dataclass(frozen=True)
class Linear:
    """Step times that can be computed by hand: 1 ms, 0.01 ms per prompt token, 0.1 ms per decode."""

    kv_tokens: int = 1_000_000
    base_ms: float = 1.0

    def decode_ms(self, batch: int, kv_len: int) -> float:
        return self.base_ms + 0.1 * batch

    def prefill_ms(self, prompts: int, isl: int) -> float:
        return self.base_ms + 0.01 * prompts * isl

    def mixed_ms(self, prompts: int, isl: int, chunks: Sequence[tuple[int, int]], decodes: int, kv_len: int) -> float:
        return self.base_ms + 0.01 * (prompts * isl + sum(tokens for tokens, _ in chunks)) + 0.1 * decodes


@dataclass(frozen=True)
class Work:
    """Only work costs: 1 ms per pair of prompt tokens that attend to each other, 1000 ms per decoded token."""

    kv_tokens: int = 1_000_000

    def decode_ms(self, batch: int, kv_len: int) -> float:
        return 1000.0 * batch

    def prefill_ms(self, prompts: int, isl: int) -> float:
        return float(prompts * isl**2)

    def mixed_ms(self, prompts: int, isl: int, chunks: Sequence[tuple[int, int]], decodes: int, kv_len: int) -> float:
        assert all(tokens > 0 and 0 <= before < before + tokens <= isl for tokens, before in chunks)
        attended = sum((before + tokens) ** 2 - before**2 for tokens, before in chunks)
        return prompts * isl**2 + attended + 1000.0 * decodes


MODEL = Model(id="m", precision=Precision.NVFP4, weights_gb=1)


def point(**changed: Any) -> Point:
    said: dict[str, Any] = {
        "bench": Bench.THROUGHPUT,
        "image": "i",
        "model": "m",
        "isl": 100,
        "osl": 11,
        "concurrency": 1,
        "num_requests": 4,
        "streaming": True,
        "tp": 1,
        "kv_cache_dtype": KvCacheDtype.FP8,
        "kv_cache_free_gpu_mem_fraction": 0.9,
        "max_batch_size": 64,
        "max_num_tokens": 1000,
        "max_seq_len": 4096,
    }
    return Point(**said | changed)


def run(steps: Linear | Work | None = None, **changed: Any) -> dict[str, Any]:
    return simulate(point(**changed), MODEL, steps or Linear())


def test_one_at_a_time_is_prefill_and_then_decodes() -> None:
    told = run()
    ttft, tpot = 1 + 0.01 * 100, 1 + 0.1
    streaming, performance = told["streaming_metrics"], told["performance"]
    assert streaming["avg_ttft_ms"] == pytest.approx(ttft)
    assert streaming["avg_tpot_ms"] == pytest.approx(tpot)
    assert performance["avg_request_latency_ms"] == pytest.approx(ttft + 10 * tpot)
    assert performance["total_latency_ms"] == pytest.approx(4 * (ttft + 10 * tpot))
    assert performance["system_output_throughput_tok_s"] == pytest.approx(11 / (ttft + 10 * tpot) * 1e3)
    assert streaming["token_output_speed_tok_s"] == pytest.approx(1e3 / tpot)


def test_one_token_is_the_prefill_alone() -> None:
    told = run(osl=1)
    assert told["performance"]["avg_request_latency_ms"] == pytest.approx(2.0)
    assert told["streaming_metrics"]["avg_tpot_ms"] == 0


def test_prompts_share_steps_up_to_max_num_tokens() -> None:
    together = run(concurrency=10, num_requests=10)["streaming_metrics"]["ttft_percentiles"]
    assert together["minimum"] == together["maximum"] == pytest.approx(1 + 10.0)
    whole = run(concurrency=10, num_requests=10, max_num_tokens=500, chunked_prefill=False)
    told = whole["streaming_metrics"]["ttft_percentiles"]
    assert told["minimum"] == pytest.approx(6.0)  # five prompts, then four beside five decodes, then one beside nine
    assert told["maximum"] == pytest.approx(6.0 + (1 + 4 + 0.5) + (1 + 1 + 0.9))


def test_a_long_prompt_is_chunked_or_runs_alone() -> None:
    for chunked, steps in ((True, 3), (False, 1)):
        told = run(isl=2500, max_num_tokens=1000, num_requests=1, chunked_prefill=chunked)
        assert told["streaming_metrics"]["avg_ttft_ms"] == pytest.approx(steps * 1 + 25.0)


def test_chunks_fill_every_step() -> None:
    told = run(isl=700, osl=1, concurrency=0, num_requests=10, max_num_tokens=1000)
    assert told["performance"]["total_latency_ms"] == pytest.approx(7 * 1 + 0.01 * 7000)


def test_a_prompt_as_long_as_a_step_waits_for_the_batch_to_drain_without_chunking() -> None:
    """trtllm-bench's own heuristic adds the batch size to max_num_tokens for this reason."""
    load: dict[str, Any] = {"isl": 1000, "osl": 50, "concurrency": 2, "num_requests": 8, "chunked_prefill": False}
    starved, roomy = run(max_num_tokens=1000, **load), run(max_num_tokens=1000 + 64, **load)
    assert starved["request_info"]["avg_num_concurrent_requests"] > 1.5
    assert starved["streaming_metrics"]["ttft_percentiles"]["maximum"] > 50  # a whole decode of the other one
    assert roomy["streaming_metrics"]["ttft_percentiles"]["maximum"] < 50


def test_a_small_pool_makes_requests_wait() -> None:
    room = Linear(kv_tokens=4 * 128)  # four requests of 111 tokens, in blocks of 32
    wide, narrow = run(concurrency=16, num_requests=64), run(room, concurrency=16, num_requests=64)
    assert narrow["streaming_metrics"]["avg_ttft_ms"] > 2 * wide["streaming_metrics"]["avg_ttft_ms"]
    capped = run(concurrency=16, num_requests=64, max_batch_size=4)
    assert capped["performance"] == narrow["performance"]


def test_a_request_that_never_fits_is_infeasible() -> None:
    with pytest.raises(Infeasible, match="isl \\+ osl = 111 tokens are more than the KV pool of 64 tokens"):
        run(Linear(kv_tokens=64))


def test_a_request_longer_than_the_engine_is_infeasible() -> None:
    assert run(max_seq_len=111)
    with pytest.raises(Infeasible, match="111 tokens are more than max_seq_len 110"):
        run(max_seq_len=110)


def test_unlimited_queues_everything_at_once() -> None:
    told = run(concurrency=0, num_requests=200)
    assert told["request_info"]["avg_num_concurrent_requests"] > 64
    ttft = told["streaming_metrics"]["ttft_percentiles"]
    assert ttft["maximum"] > 5 * ttft["minimum"]


def test_attention_dp_and_pipeline_lanes_share_the_load() -> None:
    one = run(concurrency=16, num_requests=64)
    for layout in ({"tp": 4, "attention_dp": True}, {"pp": 4}):
        lanes = run(concurrency=64, num_requests=256, **layout)
        assert lanes["performance"]["total_latency_ms"] == one["performance"]["total_latency_ms"]
        assert lanes["performance"]["output_throughput_per_gpu_tok_s"] == pytest.approx(
            one["performance"]["output_throughput_per_gpu_tok_s"]
        )


def test_fewer_requests_than_ranks_leave_ranks_idle() -> None:
    lone = run(concurrency=1, num_requests=4, tp=4, attention_dp=True)
    assert lone["performance"]["total_latency_ms"] == run()["performance"]["total_latency_ms"]


def test_without_streaming_there_is_no_ttft_and_the_throughput_is_the_same() -> None:
    streamed, plain = run(concurrency=8, num_requests=40), run(concurrency=8, num_requests=40, streaming=False)
    assert "streaming_metrics" not in plain
    assert plain["performance"] == streamed["performance"]


def test_latency_is_one_at_a_time() -> None:
    told = run(bench=Bench.LATENCY, max_batch_size=1, concurrency=4, num_requests=8, streaming=False)
    assert told["performance"]["total_latency_ms"] == pytest.approx(8 * 13.0)
    assert "streaming_metrics" in told
    assert run(bench=Bench.LATENCY, concurrency=4, num_requests=8)["performance"] == told["performance"]


def test_percentiles_are_nearest_rank() -> None:
    told = run(concurrency=0, num_requests=10, max_batch_size=1)
    latencies = [13.0 * (i + 1) for i in range(10)]
    percentiles = told["performance"]["request_latency_percentiles_ms"]
    for name, share in {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}.items():
        assert percentiles[name] == pytest.approx(latencies[int(10 * share)])
    assert percentiles["p99"] == percentiles["maximum"]


def keys(value: Any) -> Any:
    return {key: keys(item) for key, item in value.items()} if isinstance(value, dict) else None


@pytest.mark.parametrize("streaming", [True, False])
def test_the_report_has_the_schema_that_trtllm_bench_writes(streaming: bool) -> None:
    name = "streaming" if streaming else "nonstreaming"
    path = Path(__file__).parent / "data" / "reports" / f"1.2.0rc2-throughput-{name}.json"
    told = run(streaming=streaming)
    assert keys(told) == keys(json.loads(path.read_text()))
    assert report.parse_json(json.dumps(told)).num_requests == 4


loads = st.fixed_dictionaries(
    {
        "isl": st.integers(1, 3000),
        "osl": st.integers(1, 60),
        "concurrency": st.integers(0, 40),
        "num_requests": st.integers(1, 120),
        "max_batch_size": st.integers(1, 50),
        "max_num_tokens": st.integers(64, 4000),
        "chunked_prefill": st.booleans(),
        "pp": st.integers(1, 3),
    }
)


@settings(max_examples=150, deadline=None)
@given(loads, st.integers(128 * 32, 10**6))
def test_every_request_is_served_and_the_figures_agree(load: dict[str, Any], kv_tokens: int) -> None:
    told = run(Linear(kv_tokens=kv_tokens), **load)
    performance, info = told["performance"], told["request_info"]
    seconds = performance["total_latency_ms"] / 1e3
    assert performance["request_throughput_req_s"] * seconds == pytest.approx(load["num_requests"])
    assert performance["system_output_throughput_tok_s"] * seconds == pytest.approx(load["num_requests"] * load["osl"])
    in_flight = min(load["concurrency"] or load["num_requests"], load["num_requests"])
    assert info["avg_num_concurrent_requests"] <= in_flight * (1 + 1e-9)
    for percentiles in (performance["request_latency_percentiles_ms"], told["streaming_metrics"]["ttft_percentiles"]):
        order = [percentiles[name] for name in ("minimum", "p50", "p90", "p95", "p99", "maximum")]
        assert order == sorted(order)
        assert order[0] * (1 - 1e-9) <= percentiles["average"] <= order[-1] * (1 + 1e-9)
    assert performance["request_latency_percentiles_ms"]["maximum"] <= performance["total_latency_ms"] * (1 + 1e-9)
    slots_ms = performance["avg_request_latency_ms"] * load["num_requests"]
    assert slots_ms == pytest.approx(info["avg_num_concurrent_requests"] * performance["total_latency_ms"])
    assert told == run(Linear(kv_tokens=kv_tokens), **load)


@settings(max_examples=150, deadline=None)
@given(loads, st.integers(128 * 32, 10**6))
def test_however_it_is_scheduled_the_work_is_the_same(load: dict[str, Any], kv_tokens: int) -> None:
    """Every prompt token is computed once, after those before it, and every other token is decoded once."""
    told = run(Work(kv_tokens=kv_tokens), **load | {"pp": 1})
    work = load["num_requests"] * (load["isl"] ** 2 + 1000 * (load["osl"] - 1))
    assert told["performance"]["total_latency_ms"] == pytest.approx(work)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6))
def test_more_concurrency_gives_more_throughput_and_less_speed(step: int) -> None:
    slow, fast = run(concurrency=2**step, num_requests=640), run(concurrency=2 ** (step - 1), num_requests=640)
    assert slow["performance"]["system_output_throughput_tok_s"] > fast["performance"]["system_output_throughput_tok_s"]
    assert slow["streaming_metrics"]["token_output_speed_tok_s"] < fast["streaming_metrics"]["token_output_speed_tok_s"]


def test_names_are_told_as_trtllm_bench_does() -> None:
    told = simulate(dataclasses.replace(point(), kv_cache_dtype=KvCacheDtype.AUTO), MODEL, Linear())
    assert (told["engine"]["kv_cache_dtype"], told["engine"]["quantization"]) == (None, "NVFP4")
    pinned = dataclasses.replace(MODEL, kv_cache_dtype=KvCacheDtype.FP8, precision=Precision.FP8_BLOCK)
    told = simulate(dataclasses.replace(point(), kv_cache_dtype=KvCacheDtype.AUTO), pinned, Linear())
    assert (told["engine"]["kv_cache_dtype"], told["engine"]["quantization"]) == ("FP8", "FP8_BLOCK_SCALES")
    assert run()["engine"]["kv_cache_dtype"] == "FP8"
    assert told["world_info"]["scheduling_policy"] == "GUARANTEED_NO_EVICT"
    assert told["engine"]["version"].startswith("simulated")


def test_the_report_is_the_same_in_every_process() -> None:
    program = """
import hashlib, json
from tests.test_simulate import run
told = run(isl=700, osl=50, concurrency=37, num_requests=200, tp=4, attention_dp=True)
print(hashlib.sha256(json.dumps(told).encode()).hexdigest())
"""
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
    assert len(told.pop().strip()) == 64
