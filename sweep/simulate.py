"""In-flight batching over predicted step times: one point becomes a report in trtllm-bench's JSON schema.

A request-level simulation, after the scheduler of TensorRT-LLM: each step first holds the running decodes, one token
each, then prompts in order of arrival while max_num_tokens, max_batch_size and the KV pool allow. KV blocks for
isl + osl are reserved at admission, as GUARANTEED_NO_EVICT does (MAX_UTILIZATION would admit more and then evict; it is
simulated the same way). Requests that find no room wait: a pool that is too small costs time, it is no error.

Attention-DP ranks and pipeline lanes do equal work side by side; the slots of a closed loop are dealt over them as
evenly as they go. All requests of a point have the same lengths, so requests that enter in one step stay together:
the simulation moves groups, not requests, and every figure is still one of single requests.

Not modelled: host, tokenizer and HTTP cost, CUDA-graph padding, imbalance between ranks, prefix reuse. TTFT is
therefore a lower bound.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from sweep.errors import Infeasible
from sweep.point import UNLIMITED, Bench, KvCacheDtype, Model, Point, Precision

SIMULATOR_VERSION = "2"
"""Raised with every change that changes a number: rows of older versions are simulated again."""

KV_BLOCK_TOKENS = 32
"""Tokens of one KV block of TensorRT-LLM."""
STRIDE_STEPS = 16
"""Decode steps that are priced together at their mean KV length, which is also rounded to this many tokens."""
PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}


class Steps(Protocol):
    """What the simulation needs to know of an engine (sweep.predict.StepTimes).

    `mixed_ms` prices a step of `prompts` whole prompts, chunks of others as (tokens, tokens of that prompt computed
    before), and `decodes` running sequences of mean length kv_len.
    """

    @property
    def kv_tokens(self) -> int: ...

    def decode_ms(self, batch: int, kv_len: int) -> float: ...

    def prefill_ms(self, prompts: int, isl: int) -> float: ...

    def mixed_ms(
        self, prompts: int, isl: int, chunks: Sequence[tuple[int, int]], decodes: int, kv_len: int
    ) -> float: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """Requests that went through together. Times in ms from the moment their slot was taken."""

    requests: int
    ttft_ms: float
    e2el_ms: float


def simulate(point: Point, model: Model, steps: Steps) -> dict[str, Any]:
    """Return the report that trtllm-bench 1.2.0rc2 would write for this point on an engine with these step times.

    Raises:
        Infeasible: one request is longer than max_seq_len or larger than the KV pool.
    """
    if point.isl + point.osl > point.max_seq_len:
        raise Infeasible(f"isl + osl = {point.isl + point.osl} tokens are more than max_seq_len {point.max_seq_len}")
    lanes = point.pp * (point.tp if point.attention_dp else 1)
    outcomes: Counter[Outcome] = Counter()
    total_ms = 0.0
    for (slots, requests), count in _lanes(point, lanes).items():
        lane_ms, lane = _lane(point, steps, slots, requests)
        total_ms = max(total_ms, lane_ms)
        for outcome in lane:
            outcomes[outcome] += count
    weighted = [Outcome(o.requests * count, o.ttft_ms, o.e2el_ms) for o, count in outcomes.items()]
    return _report(point, model, weighted, total_ms)


def _lanes(point: Point, lanes: int) -> Counter[tuple[int, int]]:
    """Deal the slots of the closed loop over the lanes; return how many lanes have (slots, requests)."""
    n = point.num_requests
    slots = n if point.concurrency == UNLIMITED else min(point.concurrency, n)
    per_slot, more = divmod(n, slots)
    dealt: Counter[tuple[int, int]] = Counter()
    for lane in range(min(lanes, slots)):
        mine = len(range(lane, slots, lanes))
        dealt[mine, mine * per_slot + len(range(lane, more, lanes))] += 1
    return dealt


def _lane(point: Point, steps: Steps, slots: int, requests: int) -> tuple[float, list[Outcome]]:
    """Simulate one lane: `slots` requests in flight at most, `requests` in all. Returns its duration in ms."""
    isl, osl = point.isl, point.osl
    chunked = point.chunked_prefill and point.bench != Bench.LATENCY
    capacity = steps.kv_tokens // KV_BLOCK_TOKENS // -(-(isl + osl) // KV_BLOCK_TOKENS)
    if capacity < 1:
        raise Infeasible(
            f"isl + osl = {isl + osl} tokens are more than the KV pool of {steps.kv_tokens} tokens (per rank) holds"
        )
    most = min(1 if point.bench == Bench.LATENCY else point.max_batch_size, capacity)

    @cache
    def decode_ms(batch: int, kv: int) -> float:
        return steps.decode_ms(batch, max(1, kv * STRIDE_STEPS + STRIDE_STEPS // 2))

    @cache
    def context_ms(prompts: int, chunks: tuple[tuple[int, int], ...], decodes: int, kv: int) -> float:
        if not decodes and not chunks:
            return steps.prefill_ms(prompts, isl)
        return steps.mixed_ms(prompts, isl, chunks, decodes, max(isl + 1, kv * STRIDE_STEPS + STRIDE_STEPS // 2))

    now_ms, step, submitted, running, kv_sum, progress = 0.0, 0, min(slots, requests), 0, 0, 0
    waiting = deque([(submitted, 0.0)])  # (requests, arrival), oldest first
    groups: deque[tuple[int, float, list[tuple[int, float]]]] = deque()  # (last step, first token at, arrivals)
    outcomes: list[Outcome] = []
    while waiting or groups:
        # `progress` tokens of the oldest waiting prompt are computed already (chunked prefill)
        budget = point.max_num_tokens - running
        queued = sum(count for count, _ in waiting)
        room = min(queued, most - running)
        admitted = prompts = 0
        chunks: tuple[tuple[int, int], ...] = ()  # (tokens, tokens of the same prompt before)
        if room > 0 and budget > 0:
            left = budget
            admitted = prompts = min(room, (budget + progress) // isl)
            if admitted:
                left -= admitted * isl - progress
                if progress:
                    prompts, chunks, progress = admitted - 1, ((isl - progress, progress),), 0
            if chunked and admitted < room and left > 0:
                chunks = (*chunks, (left, progress))
                progress += left
            if not prompts and not chunks and not running:  # a lone prompt that fits no step runs all the same
                admitted = prompts = 1
        mean_kv = kv_sum // running if running else isl
        if prompts or chunks:
            taken = 1
            now_ms += context_ms(prompts, chunks, running, max(mean_kv, isl + STRIDE_STEPS) // STRIDE_STEPS)
        else:
            taken = min(groups[0][0] - step, STRIDE_STEPS)
            now_ms += decode_ms(running, (mean_kv + taken // 2) // STRIDE_STEPS) * taken
        step += taken
        kv_sum += taken * running
        if admitted:
            entered = _take(waiting, admitted)
            groups.append((step + osl - 1, now_ms, entered))
            running += admitted
            kv_sum += admitted * (isl + 1)
        while groups and groups[0][0] <= step:
            _, first_ms, arrivals = groups.popleft()
            ended = 0
            for count, arrival in arrivals:
                outcomes.append(Outcome(count, first_ms - arrival, now_ms - arrival))
                ended += count
            running -= ended
            kv_sum -= ended * (isl + osl)
            again = min(ended, requests - submitted)
            if again:
                submitted += again
                waiting.append((again, now_ms))
    return now_ms, outcomes


def _take(waiting: deque[tuple[int, float]], wanted: int) -> list[tuple[int, float]]:
    """Remove the `wanted` oldest requests."""
    taken = []
    while wanted:
        count, arrival = waiting.popleft()
        if count > wanted:
            waiting.appendleft((count - wanted, arrival))
            count = wanted
        taken.append((count, arrival))
        wanted -= count
    return taken


# ------------------------------------------------------------------------------------------------------- the report


_QUANTIZATION = {
    Precision.BF16: None,
    Precision.FP8: "FP8",
    Precision.FP8_BLOCK: "FP8_BLOCK_SCALES",
    Precision.NVFP4: "NVFP4",
    Precision.MXFP4: "W4A8_MXFP4_MXFP8",
}


def _report(point: Point, model: Model, outcomes: Sequence[Outcome], total_ms: float) -> dict[str, Any]:
    n, isl, osl, seconds = point.num_requests, point.isl, point.osl, total_ms / 1e3
    latencies = [(o.e2el_ms, o.requests) for o in outcomes]
    latency_sum_ms = math.fsum(value * count for value, count in latencies)
    output_tps, total_tps = n * osl / seconds, n * (isl + osl) / seconds
    kv_cache_dtype = model.kv_cache_dtype if point.kv_cache_dtype == KvCacheDtype.AUTO else point.kv_cache_dtype
    fixed = {"isl_stats": isl, "osl_stats": osl, "seq_len_stats": isl + osl}
    report: dict[str, Any] = {
        "engine": {
            "model": point.model,
            "model_path": "None",
            "engine_dir": "None",
            "version": f"simulated, sweep simulator {SIMULATOR_VERSION}",
            "backend": "Pytorch",
            "dtype": "bfloat16",
            "kv_cache_dtype": None if kv_cache_dtype is None else kv_cache_dtype.upper(),
            "quantization": None if model.precision is None else _QUANTIZATION[model.precision],
        },
        "world_info": {
            "tp_size": point.tp,
            "pp_size": point.pp,
            "ep_size": point.ep,
            "world_size": point.gpus,
            "max_batch_size": point.max_batch_size,
            "max_num_tokens": point.max_num_tokens,
            "scheduling_policy": point.scheduler_policy.upper(),
            "kv_cache_percentage": point.kv_cache_free_gpu_mem_fraction,
            "issue_rate": None,
        },
        "request_info": {
            "num_requests": n,
            "avg_num_concurrent_requests": latency_sum_ms / total_ms,
            "avg_input_length": float(isl),
            "avg_output_length": float(osl),
        },
        "performance": {
            "total_latency_ms": total_ms,
            "avg_request_latency_ms": latency_sum_ms / n,
            "request_throughput_req_s": n / seconds,
            "system_output_throughput_tok_s": output_tps,
            "system_total_throughput_tok_s": total_tps,
            "output_throughput_per_user_tok_s": math.fsum(o.requests * osl / o.e2el_ms * 1e3 for o in outcomes) / n,
            "output_throughput_per_gpu_tok_s": output_tps / point.gpus,
            "request_latency_percentiles_ms": _distribution(latencies),
        },
    }
    if point.streaming or point.bench == Bench.LATENCY:
        report["streaming_metrics"] = _streaming(outcomes, osl)
    report["dataset"] = {
        **{name: _distribution([(float(value), n)]) for name, value in fixed.items()},
        "num_requests": n,
        "dataset_path": "simulated",
        "max_isl": isl,
        "max_osl": osl,
        "max_sequence_length": isl + osl,
        "avg_isl": isl,
        "avg_osl": osl,
        "avg_sequence_length": isl + osl,
    }
    return report


def _streaming(outcomes: Sequence[Outcome], osl: int) -> dict[str, Any]:
    gaps = max(1, osl - 1)
    ttft = _distribution([(o.ttft_ms, o.requests) for o in outcomes])
    tpot = _distribution([((o.e2el_ms - o.ttft_ms) / gaps, o.requests) for o in outcomes])
    speeds = [(gaps / (o.e2el_ms - o.ttft_ms) * 1e3 if o.e2el_ms > o.ttft_ms else 0.0, o.requests) for o in outcomes]
    speed = _distribution(speeds)
    return {
        "token_output_speed_tok_s": speed["average"],
        "avg_ttft_ms": ttft["average"],
        "avg_tpot_ms": tpot["average"],
        "tpot_percentiles": tpot,
        "ttft_percentiles": ttft,
        "gen_tps_percentiles": speed,
    }


def _distribution(weighted: Sequence[tuple[float, int]]) -> Mapping[str, float]:
    """Return trtllm-bench's statistics of values with their counts; percentile p is sorted[int(n * p)]."""
    ordered = sorted(weighted)
    n = sum(count for _, count in ordered)
    found: dict[str, float] = {}
    for name, share in PERCENTILES.items():
        rank, seen = min(int(n * share), n - 1), 0
        for value, count in ordered:
            seen += count
            if seen > rank:
                found[name] = value
                break
    average = math.fsum(value * count for value, count in ordered) / n
    return found | {"minimum": ordered[0][0], "maximum": ordered[-1][0], "average": average}
