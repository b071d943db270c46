"""The JSON of `trtllm-bench --report_json`, 0.19 to 1.4, becomes a Report.

The JSON has full precision, and it says what the text leaves out. Format: NVIDIA TensorRT-LLM 1.2.0rc2,
`tensorrt_llm/bench/dataclasses/reporting.py`; the `machine` block came with 1.2.0rc3.

What changed its meaning between versions, or never had one:
- `world_info.issue_rate` is nanoseconds per request times 1e9 in every version, so it is no rate (a run of 5 requests/s
  prints 4.9E+17): dropped.
- `world_info.kv_cache_percentage` is 90.0 in 0.19 and 0.20 and 0.9 from 1.1 on: always a fraction here.
- `streaming_metrics.token_output_speed_tok_s` is the mean of 1/TPOT from 0.20 on, but 1000 / mean TPOT in 0.19, which
  is smaller: there it goes to `extra`. Versions that have `gen_tps_percentiles` beside it mean the former.
- `decoding_stats.acceptance_percentiles` of 0.20 and before is (OSL - 1) / (iterations + 1), where the later
  `acceptance_length_percentiles` is OSL / (iterations + 1): `extra`.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, final

from sweep.errors import ReportError
from sweep.report.energy import energy_fields
from sweep.report.value import MOST_COUNT, Distribution, Report, object_of, utf8

_KNOWN: Mapping[str, frozenset[str]] = {
    block: frozenset(keys.split())
    for block, keys in {
        "engine": "model model_path engine_dir version backend dtype kv_cache_dtype quantization max_input_length"
        " max_sequence_length",
        "machine": "name memory.total clocks.mem",
        "world_info": "tp_size pp_size ep_size world_size max_batch_size max_num_tokens scheduling_policy"
        " kv_cache_percentage issue_rate",
        "request_info": "num_requests avg_num_concurrent_requests avg_input_length avg_output_length",
        "performance": "total_latency_ms avg_request_latency_ms request_throughput_req_s system_output_throughput_tok_s"
        " system_total_throughput_tok_s output_throughput_per_user_tok_s output_throughput_per_gpu_tok_s"
        " request_latency_percentiles_ms",
        "streaming_metrics": "token_output_speed_tok_s avg_ttft_ms avg_tpot_ms tpot_percentiles ttft_percentiles"
        " gen_tps_percentiles",
        "decoding_stats": "mode num_draft_tokens_percentiles num_accepted_draft_tokens_percentiles"
        " draft_acceptance_rate_percentiles acceptance_length_percentiles",
        "dataset": "isl_stats osl_stats seq_len_stats num_requests dataset_path max_isl max_osl max_sequence_length"
        " avg_isl avg_osl avg_sequence_length",
    }.items()
}
"""Keys that are read, or repeat what is; all others go to `extra`."""


def parse_json(said: str | bytes | Mapping[str, Any]) -> Report:
    """Read the JSON of `trtllm-bench --report_json`, as text or already decoded.

    Blocks and keys that are unknown are passed over, so that a newer version with more to say can be read.

    Raises:
        ReportError: it is no complete report; the message names the key, and what is wrong with it.
    """
    if not isinstance(said, Mapping):
        said = decode(said)
    root = _Block("", said)
    engine, world, requests = root.block("engine"), root.block("world_info"), root.block("request_info")
    performance, dataset = root.block("performance"), root.block("dataset")
    machine, streaming = root.block_or_none("machine"), root.block_or_none("streaming_metrics")
    decoding = root.block_or_none("decoding_stats")
    extra = dict(_extra(said))
    speed = streaming and streaming.number_or_none("token_output_speed_tok_s")
    speeds = streaming and streaming.distribution_or_none("gen_tps_percentiles")
    duration_s = performance.number("total_latency_ms") / 1e3
    if speed is not None and speeds is None:
        extra["streaming_metrics.token_output_speed_tok_s"], speed = speed, None
    ttft = streaming and streaming.distribution("ttft_percentiles")
    tpot = streaming and streaming.distribution("tpot_percentiles")
    latency = performance.distribution("request_latency_percentiles_ms")
    isl, osl, seq_len = (dataset.distribution(name) for name in ("isl_stats", "osl_stats", "seq_len_stats"))
    performance.repeats("avg_request_latency_ms", latency.mean)
    for key, again in (("avg_ttft_ms", ttft), ("avg_tpot_ms", tpot), ("token_output_speed_tok_s", speeds)):
        if streaming is not None and again is not None:
            streaming.repeats(key, again.mean)
    for name, lengths in (("isl", isl), ("osl", osl), ("sequence_length", seq_len)):
        dataset.repeats(f"max_{name}", lengths.max, whole=True)
        dataset.repeats(f"avg_{name}", lengths.mean, whole=True)
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
        world_size=world.count_or_none("world_size"),
        max_batch_size=world.count_or_none("max_batch_size"),
        max_num_tokens=world.count_or_none("max_num_tokens"),
        scheduler_policy=world.text_or_none("scheduling_policy"),
        kv_cache_free_gpu_mem_fraction=_fraction(world.number_or_none("kv_cache_percentage")),
        streaming=streaming is not None,
        num_requests=requests.count("num_requests"),
        concurrency_mean=requests.number("avg_num_concurrent_requests"),
        isl_mean=requests.number("avg_input_length"),
        osl_mean=requests.number("avg_output_length"),
        duration_s=duration_s,
        request_tput_rps=performance.number("request_throughput_req_s"),
        output_tput_tps=performance.number("system_output_throughput_tok_s"),
        total_tput_tps=performance.number("system_total_throughput_tok_s"),
        output_tput_per_gpu=performance.number("output_throughput_per_gpu_tok_s"),
        tps_per_user=speed,
        tps_per_user_e2e=performance.number("output_throughput_per_user_tok_s"),
        tps_per_user_distribution=speeds,
        ttft_ms=ttft,
        tpot_ms=tpot,
        e2el_ms=latency,
        decoding_mode=decoding and decoding.text_or_none("mode"),
        draft_tokens=decoding and decoding.distribution_or_none("num_draft_tokens_percentiles"),
        accepted_draft_tokens=decoding and decoding.distribution_or_none("num_accepted_draft_tokens_percentiles"),
        draft_acceptance_rate=decoding and decoding.distribution_or_none("draft_acceptance_rate_percentiles"),
        acceptance_length=decoding and decoding.distribution_or_none("acceptance_length_percentiles"),
        dataset_path=dataset.text_or_none("dataset_path"),
        dataset_requests=dataset.count("num_requests"),
        isl=isl,
        osl=osl,
        seq_len=seq_len,
        extra=extra,
        **energy_fields(extra, duration_s=duration_s, gpus=world.count("tp_size") * world.count("pp_size")),
    )


def _extra(said: Mapping[str, Any]) -> Iterator[tuple[str, float | str]]:
    """Yield what no field of Report stands for, by its dotted path."""
    for name, block in said.items():
        known = _KNOWN.get(name)
        if known is None or not isinstance(block, Mapping):
            yield from _flat(name, block)
        elif block.keys() - known:
            for key in block:
                if key not in known:
                    yield from _flat(f"{name}.{key}", block[key])


def _flat(path: str, value: Any) -> Iterator[tuple[str, float | str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(f"{path}.{key}", item)
    elif isinstance(value, (str, int, float)):
        sayable = isinstance(value, (str, bool)) or abs(value) <= sys.float_info.max
        yield utf8(path), utf8(value) if isinstance(value, str) else value if sayable else str(value)


def decode(text: str | bytes) -> Mapping[str, Any]:
    """Return the JSON object of a text.

    Raises:
        ReportError: it is none, was cut off, or has a key twice with two values.
    """
    try:
        said = json.loads(text, object_pairs_hook=object_of)
    except (ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
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
        return utf8(said) if isinstance(said, str) else self._wrong(key, "a text")

    def text(self, key: str) -> str:
        return self.text_or_none(key) or self._wrong(key, "a text")

    def number_or_none(self, key: str) -> float | None:
        said = self._said.get(key)
        if said is None:
            return None
        if isinstance(said, bool) or not isinstance(said, (int, float)) or not 0 <= said <= sys.float_info.max:
            self._wrong(key, "a number of at least 0")
        return float(said)

    def number(self, key: str) -> float:
        said = self.number_or_none(key)
        return self._wrong(key, "a number") if said is None else said

    def repeats(self, key: str, value: float | None, *, whole: bool = False) -> None:
        """Refuse a figure that the report states again under this key, as another number.

        whole: it is an integer there. Floating point may differ in its last digits.
        """
        if value is not None and self._said.get(key) == value:
            return
        again = self.number_or_none(key)
        if again is None or value is None or math.isclose(again, value, rel_tol=1e-9, abs_tol=1e-12):
            return
        if not (whole and abs(again - value) < 1):
            raise ReportError(f"the report is damaged: {self._full(key)} is {again:g}, and {value:g} elsewhere")

    def count_or_none(self, key: str) -> int | None:
        said = self._said.get(key)
        if said is None:
            return None
        if isinstance(said, bool) or not isinstance(said, int) or not 1 <= said <= MOST_COUNT:
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
