"""Report: what a benchmark says, whatever version of it wrote that, and as JSON or as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sweep.errors import ReportError

MOST_COUNT = 2**53
"""Counts above are damage: no report has them, and not every number between them is one."""


def utf8(text: str) -> str:
    r"""Return a text without half surrogates: JSON may hold them (as \ud800), files and tables may not."""
    return text.encode("utf-8", "replace").decode()


def object_of(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; the `object_pairs_hook` of everything that holds figures.

    Raises:
        ReportError: a key stands there twice with two values; `json` alone would keep the last one.
    """
    read = dict(pairs)
    if len(read) != len(pairs):
        for key, value in pairs:
            if value != read[key]:
                raise ReportError(f"it is damaged: {utf8(key)!r} stands twice in one JSON object, with two values")
    return read


class Tool(StrEnum):
    """What wrote a report."""

    TRTLLM_BENCH = "trtllm-bench"
    BENCHMARK_SERVING = "benchmark_serving"


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One figure over all requests; what the tool did not print is None.

    trtllm-bench prints all seven, its percentiles by nearest rank: sorted[int(n * p)]. benchmark_serving prints the
    mean, the median and the percentiles that were asked for (by default P99 alone), interpolated linearly.
    """

    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One complete report. Metrics are named like the table's columns, units are in the names; unsaid things are None.

    model_path, engine_dir: None where the bench printed the text "None".
    kv_cache_dtype, quantization: in TensorRT-LLM's words; None is unquantised.
    tp, pp: what the command line of the bench said; tensor_parallel_size in the engine YAML is not shown there.
    ep: None where the command line gave none.
    kv_cache_free_gpu_mem_fraction: 0 to 1, also of versions that wrote 90.0; None where the engine YAML left it out.
    max_input_len, max_seq_len: only engines of the TRT runtime state them.
    gpu_memory_gib, memory_clock_ghz: of the first GPU; the clock is its maximum.
    concurrency_mean: mean requests in flight, which is not the setting `concurrency`.
    concurrency: the setting; only benchmark_serving states it. 0 is unlimited.
    num_requests: those that were asked for; requests_failed of them did not succeed (trtllm-bench ends at the first).
    duration_s: from the first request's start to the last one's end; no warm-up, no load.
    output_tput_per_gpu: output_tput_tps / (tp * pp).
    tps_per_user: mean over requests of (OSL - 1) / (E2E - TTFT), streaming only.
    tps_per_user_e2e: mean over requests of OSL / E2E, so with the prefill in it.
    tps_per_user_distribution: the same as tps_per_user, over requests; its p99 is a fast user, not a slow one.
    tpot_ms: (E2E - TTFT) / (OSL - 1) of each request.
    itl_ms: time between two chunks of a stream; benchmark_serving only.
    draft_acceptance_rate: can exceed 1, because a request's last step may draft more than is counted.
    isl, osl, seq_len: tokens, of the dataset; isl_mean and osl_mean are of the requests that were measured.
    energy_j, power_w_per_gpu, output_tokens_per_j: of 1.3 and later.
    extra: what else the report said, by the name it has there: lines of newer versions, and figures whose meaning is
        not that of any field above.
    """

    tool: Tool = Tool.TRTLLM_BENCH
    model: str | None = None
    model_path: str | None = None
    engine_dir: str | None = None
    version: str | None = None
    engine_backend: str | None = None
    dtype: str | None = None
    kv_cache_dtype: str | None = None
    quantization: str | None = None
    max_input_len: int | None = None
    max_seq_len: int | None = None

    gpu_name: str | None = None
    gpu_memory_gib: float | None = None
    memory_clock_ghz: float | None = None

    tp: int | None = None
    pp: int | None = None
    ep: int | None = None
    world_size: int | None = None
    max_batch_size: int | None = None
    max_num_tokens: int | None = None
    scheduler_policy: str | None = None
    kv_cache_free_gpu_mem_fraction: float | None = None

    streaming: bool | None = None
    concurrency: int | None = None
    num_requests: int
    requests_failed: int | None = None
    concurrency_mean: float | None = None
    isl_mean: float | None = None
    osl_mean: float | None = None

    duration_s: float
    request_tput_rps: float
    request_goodput_rps: float | None = None
    output_tput_tps: float
    total_tput_tps: float | None = None
    output_tput_per_gpu: float | None = None
    tps_per_user: float | None = None
    tps_per_user_e2e: float | None = None
    tps_per_user_distribution: Distribution | None = None
    ttft_ms: Distribution | None = None
    tpot_ms: Distribution | None = None
    itl_ms: Distribution | None = None
    e2el_ms: Distribution | None = None

    decoding_mode: str | None = None
    draft_tokens: Distribution | None = None
    accepted_draft_tokens: Distribution | None = None
    draft_acceptance_rate: Distribution | None = None
    acceptance_length: Distribution | None = None

    energy_j: float | None = None
    power_w_per_gpu: float | None = None
    output_tokens_per_j: float | None = None

    dataset_path: str | None = None
    dataset_requests: int | None = None
    isl: Distribution | None = None
    osl: Distribution | None = None
    seq_len: Distribution | None = None

    extra: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def effective_ep(self) -> int | None:
        """EP, which is 1 where the command line gave none; None where reports have no line for it (0.17 and before)."""
        return self.ep if self.ep is not None or self.tp is None or self.concurrency_mean is None else 1


DISTRIBUTIONS = (
    "tps_per_user_distribution",
    "ttft_ms",
    "tpot_ms",
    "itl_ms",
    "e2el_ms",
    "draft_tokens",
    "accepted_draft_tokens",
    "draft_acceptance_rate",
    "acceptance_length",
    "isl",
    "osl",
    "seq_len",
)
"""The fields of Report that are distributions."""
