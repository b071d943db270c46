"""What the bench reports, as one value: `trtllm-bench --report_json` becomes a Report.

The JSON is read, not the printed text: it has full precision, and it says what the text leaves out. Format: NVIDIA
TensorRT-LLM 1.2.0rc2, `tensorrt_llm/bench/dataclasses/reporting.py`; the `machine` block came with 1.2.0rc3.

What a report does not say is None, never guessed. One thing that it says is dropped: `world_info.issue_rate` is
nanoseconds per request times 1e9 in every version, so it is no rate (a run of 5 requests/s prints 4.9E+17).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, final

from sweep.errors import ReportError


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One figure over all requests. Percentiles are nearest-rank: with fewer than 100 requests, p99 is the maximum."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    min: float
    max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One complete report. Metrics are named like the table's columns, units are in the names.

    model_path, engine_dir: None where the bench printed the text "None".
    kv_cache_dtype, quantization: in TensorRT-LLM's words; None is unquantised.
    tp, pp: what the command line of the bench said; tensor_parallel_size in the engine YAML is not shown there.
    ep: None where the command line gave none.
    kv_cache_free_gpu_mem_fraction: 0 to 1, also of versions that wrote 90.0; None where the engine YAML left it out.
    max_input_len, max_seq_len: only engines of the TRT runtime state them.
    gpu_memory_gib, memory_clock_ghz: of the first GPU; the clock is its maximum.
    concurrency_mean: mean requests in flight, which is not the setting `concurrency`.
    duration_s: from the first request's start to the last one's end; no warm-up, no load.
    output_tput_per_gpu: output_tput_tps / (tp * pp).
    tps_per_user: mean over requests of (OSL - 1) / (E2E - TTFT), streaming only. 1.2.0rc2; 0.19 wrote 1000/mean TPOT.
    tps_per_user_e2e: mean over requests of OSL / E2E, so with the prefill in it.
    tps_per_user_distribution: the same as tps_per_user, over requests; its p99 is a fast user, not a slow one.
    tpot_ms: (E2E - TTFT) / (OSL - 1) of each request.
    draft_acceptance_rate: can exceed 1, because a request's last step may draft more than is counted.
    isl, osl, seq_len: tokens, of the dataset; isl_mean and osl_mean are of the requests that were measured.
    """

    model: str
    model_path: str | None
    engine_dir: str | None
    version: str
    engine_backend: str
    dtype: str | None
    kv_cache_dtype: str | None
    quantization: str | None
    max_input_len: int | None
    max_seq_len: int | None

    gpu_name: str | None
    gpu_memory_gib: float | None
    memory_clock_ghz: float | None

    tp: int
    pp: int
    ep: int | None
    world_size: int
    max_batch_size: int
    max_num_tokens: int
    scheduler_policy: str
    kv_cache_free_gpu_mem_fraction: float | None

    streaming: bool
    num_requests: int
    concurrency_mean: float
    isl_mean: float
    osl_mean: float

    duration_s: float
    request_tput_rps: float
    output_tput_tps: float
    total_tput_tps: float
    output_tput_per_gpu: float
    tps_per_user: float | None
    tps_per_user_e2e: float
    tps_per_user_distribution: Distribution | None
    ttft_ms: Distribution | None
    tpot_ms: Distribution | None
    e2el_ms: Distribution

    decoding_mode: str | None
    draft_tokens: Distribution | None
    accepted_draft_tokens: Distribution | None
    draft_acceptance_rate: Distribution | None
    acceptance_length: Distribution | None

    dataset_path: str | None
    dataset_requests: int
    isl: Distribution
    osl: Distribution
    seq_len: Distribution


def parse_json(said: str | bytes | Mapping[str, Any]) -> Report:
    """Read the JSON of `trtllm-bench --report_json`, as text or already decoded.

    Blocks and keys that are unknown are passed over, so that a newer version with more to say can be read.

    Raises:
        ReportError: it is no complete report; the message names the key, and what is wrong with it.
    """
    if not isinstance(said, Mapping):
        said = _decode(said)
    root = _Block("", said)
    engine, world, requests = root.block("engine"), root.block("world_info"), root.block("request_info")
    performance, dataset = root.block("performance"), root.block("dataset")
    machine, streaming = root.block_or_none("machine"), root.block_or_none("streaming_metrics")
    decoding = root.block_or_none("decoding_stats")
    return Report(
        model=engine.text("model"),
        model_path=engine.text_or_none("model_path"),
        engine_dir=engine.text_or_none("engine_dir"),
        version=engine.text("version"),
        engine_backend=engine.text("backend"),
        dtype=engine.text_or_none("dtype"),
        kv_cache_dtype=engine.text_or_none("kv_cache_dtype"),
        quantization=engine.text_or_none("quantization"),
        max_input_len=engine.count_or_none("max_input_length"),
        max_seq_len=engine.count_or_none("max_sequence_length"),
        gpu_name=machine and machine.text_or_none("name"),
        gpu_memory_gib=machine and machine.number_or_none("memory.total"),
        memory_clock_ghz=machine and machine.number_or_none("clocks.mem"),
        tp=world.count("tp_size"),
        pp=world.count("pp_size"),
        ep=world.count_or_none("ep_size"),
        world_size=world.count("world_size"),
        max_batch_size=world.count("max_batch_size"),
        max_num_tokens=world.count("max_num_tokens"),
        scheduler_policy=world.text("scheduling_policy"),
        kv_cache_free_gpu_mem_fraction=_fraction(world.number_or_none("kv_cache_percentage")),
        streaming=streaming is not None,
        num_requests=requests.count("num_requests"),
        concurrency_mean=requests.number("avg_num_concurrent_requests"),
        isl_mean=requests.number("avg_input_length"),
        osl_mean=requests.number("avg_output_length"),
        duration_s=performance.number("total_latency_ms") / 1e3,
        request_tput_rps=performance.number("request_throughput_req_s"),
        output_tput_tps=performance.number("system_output_throughput_tok_s"),
        total_tput_tps=performance.number("system_total_throughput_tok_s"),
        output_tput_per_gpu=performance.number("output_throughput_per_gpu_tok_s"),
        tps_per_user=streaming and streaming.number("token_output_speed_tok_s"),
        tps_per_user_e2e=performance.number("output_throughput_per_user_tok_s"),
        tps_per_user_distribution=streaming and streaming.distribution_or_none("gen_tps_percentiles"),
        ttft_ms=streaming and streaming.distribution("ttft_percentiles"),
        tpot_ms=streaming and streaming.distribution("tpot_percentiles"),
        e2el_ms=performance.distribution("request_latency_percentiles_ms"),
        decoding_mode=decoding and decoding.text_or_none("mode"),
        draft_tokens=decoding and decoding.distribution_or_none("num_draft_tokens_percentiles"),
        accepted_draft_tokens=decoding and decoding.distribution_or_none("num_accepted_draft_tokens_percentiles"),
        draft_acceptance_rate=decoding and decoding.distribution_or_none("draft_acceptance_rate_percentiles"),
        acceptance_length=decoding and decoding.distribution_or_none("acceptance_length_percentiles"),
        dataset_path=dataset.text_or_none("dataset_path"),
        dataset_requests=dataset.count("num_requests"),
        isl=dataset.distribution("isl_stats"),
        osl=dataset.distribution("osl_stats"),
        seq_len=dataset.distribution("seq_len_stats"),
    )


def _decode(text: str | bytes) -> Mapping[str, Any]:
    try:
        said = json.loads(text)
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise ReportError(f"the report is no JSON, or was cut off: {error}") from None
    if not isinstance(said, dict):
        raise ReportError(f"the report is no JSON object but {_short(said)}")
    return said


def _fraction(percentage: float | None) -> float | None:
    """Return a fraction: 0.19 and 0.20 wrote 90.0 where 1.1 and later write 0.9."""
    return percentage / 100 if percentage is not None and percentage > 1 else percentage


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@final
class _Block:
    """One JSON object of a report, read key by key; errors name the whole path."""

    __slots__ = ("_path", "_said")

    def __init__(self, path: str, said: Mapping[str, Any]) -> None:
        self._path = path
        self._said = said

    def _full(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def _wrong(self, key: str, wanted: str) -> NoReturn:
        if self._said.get(key) is None:
            raise ReportError(f"the report is not complete: {self._full(key)} is missing")
        raise ReportError(f"the report's {self._full(key)} is not {wanted} but {_short(self._said[key])}")

    def block_or_none(self, key: str) -> _Block | None:
        said = self._said.get(key)
        if said is None:
            return None
        if not isinstance(said, Mapping):
            self._wrong(key, "an object")
        return _Block(self._full(key), said)

    def block(self, key: str) -> _Block:
        return self.block_or_none(key) or self._wrong(key, "an object")

    def text_or_none(self, key: str) -> str | None:
        said = self._said.get(key)
        if said is None or said == "None":  # str(None), where the bench has no model_path
            return None
        return said if isinstance(said, str) else self._wrong(key, "a text")

    def text(self, key: str) -> str:
        return self.text_or_none(key) or self._wrong(key, "a text")

    def number_or_none(self, key: str) -> float | None:
        said = self._said.get(key)
        if said is None:
            return None
        if isinstance(said, bool) or not isinstance(said, (int, float)) or not (math.isfinite(said) and said >= 0):
            self._wrong(key, "a number of at least 0")
        return float(said)

    def number(self, key: str) -> float:
        said = self.number_or_none(key)
        return self._wrong(key, "a number") if said is None else said

    def count_or_none(self, key: str) -> int | None:
        said = self._said.get(key)
        if said is None:
            return None
        if isinstance(said, bool) or not isinstance(said, int) or said < 1:
            self._wrong(key, "an integer of at least 1")
        return said

    def count(self, key: str) -> int:
        return self.count_or_none(key) or self._wrong(key, "an integer")

    def distribution_or_none(self, key: str) -> Distribution | None:
        block = self.block_or_none(key)
        return block and Distribution(
            mean=block.number("average"),
            p50=block.number("p50"),
            p90=block.number("p90"),
            p95=block.number("p95"),
            p99=block.number("p99"),
            min=block.number("minimum"),
            max=block.number("maximum"),
        )

    def distribution(self, key: str) -> Distribution:
        return self.distribution_or_none(key) or self._wrong(key, "an object")
