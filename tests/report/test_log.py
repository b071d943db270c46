"""A log as a stream: what it holds besides a report, in bounded memory."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from sweep.report import Iterations, read_log
from sweep.report.arguments import read_arguments
from sweep.report.evidence import read_steps
from sweep.report.iterations import MOST_BUCKETS
from sweep.report.log import BLOCK_BYTES, LONGEST_LINE, together

REPORTS = Path(__file__).parent.parent / "data" / "reports"
REPORT = (REPORTS / "1.2.0rc2-throughput-streaming.txt").read_text()
OTHER = (REPORTS / "1.2.0rc2-latency.txt").read_text()

PYTORCH_CONFIG = (
    "[12/20/2025-04:20:19] [TRT-LLM] [I] PyTorchConfig(extra_resource_managers={}, use_cuda_graph=True,"
    " cuda_graph_batch_sizes=[1, 2, 4], cuda_graph_max_batch_size=128, attention_dp_enable_balance=False,"
    " attn_backend='TRTLLM', moe_backend='CUTLASS', sampler_type=<SamplerType.auto: 'auto'>, kv_cache_dtype='auto',"
    " load_format=<LoadFormat.AUTO: 0>, stream_interval=1)"
)
FEATURES = (
    "[12/20/2025-04:20:19] [TRT-LLM] [I] ATTENTION RUNTIME FEATURES:  AttentionRuntimeFeatures(chunked_prefill=False,"
    " cache_reuse=True, chunk_size=8192)"
)
EXECUTOR = (
    "[12/20/2025-04:21:10] [TRT-LLM] [I] max_seq_len=8224, max_num_requests=64, max_num_tokens=8192, max_batch_size=64"
)
LLM_ARGS = (
    "TorchLlmArgs(model='nvidia/R1, (FP4)', tensor_parallel_size=4, moe_expert_parallel_size=None,"
    " kv_cache_config=KvCacheConfig(enable_block_reuse=False, dtype='fp8', free_gpu_memory_fraction=0.8),"
    " moe_config=MoeConfig(backend='TRTLLM', load_balancer=None), enable_attention_dp=True, batch=[1, 2], d={'a': 1},"
    " cuda_graph_config=CudaGraphConfig(batch_sizes=None, enable_padding=True)) and more=1"
)


# ---------------------------------------------------------------------------------------------------- the engine's word


def test_dumps_of_1_1_are_read() -> None:
    found = read_log(io.BytesIO("\n".join([PYTORCH_CONFIG, FEATURES, EXECUTOR, REPORT]).encode())).arguments
    assert found["moe_config.backend"] == "CUTLASS"
    assert found["kv_cache_config.dtype"] == "auto"
    assert (found["use_cuda_graph"], found["enable_chunked_prefill"], found["sampler_type"]) == (
        "True",
        "False",
        "auto",
    )
    assert (found["max_batch_size"], found["max_num_tokens"]) == ("64", "8192")
    assert "max_seq_len" not in found  # what the memory left, not what was asked for
    assert "cuda_graph_batch_sizes" not in found


def test_arguments_are_read_by_dotted_key() -> None:
    found = read_arguments(LLM_ARGS)
    assert found["model"] == "nvidia/R1, (FP4)"
    assert (found["tensor_parallel_size"], found["moe_expert_parallel_size"]) == ("4", "None")
    assert found["kv_cache_config.dtype"] == "fp8"
    assert found["kv_cache_config.free_gpu_memory_fraction"] == "0.8"
    assert found["moe_config.backend"] == "TRTLLM"
    assert found["enable_attention_dp"] == "True"
    assert found["cuda_graph_config.enable_padding"] == "True"
    assert not {"more", "batch", "d", "a", "dtype"} & found.keys()


def test_arguments_after_a_colon_are_read() -> None:
    line = "[09/11/2026-08:00:02] [TRT-LLM] [I] LLM Args: tensor_parallel_size=8, max_batch_size=256, orchestrator=None"
    found = read_log(io.BytesIO(f"{line}\n".encode())).arguments
    assert (found["tensor_parallel_size"], found["max_batch_size"], found["orchestrator"]) == ("8", "256", "None")


@pytest.mark.parametrize(
    "line", ["", "    TorchLlmArgs(model=model)", "see PyTorchConfig(", "x=1, y=2", "PyTorchConfig("]
)
def test_code_in_a_traceback_is_no_dump(line: str) -> None:
    assert read_log(io.BytesIO(f"{line}\n{REPORT}".encode())).arguments == {}


def test_the_dump_before_a_report_belongs_to_it() -> None:
    second = EXECUTOR.replace("max_batch_size=64", "max_batch_size=1")
    both = "\n".join([EXECUTOR, REPORT, second, OTHER])
    assert read_log(io.BytesIO(both.encode())).arguments["max_batch_size"] == "1"
    unfinished = "\n".join([EXECUTOR, REPORT, second, OTHER[: len(OTHER) // 2]])
    assert read_log(io.BytesIO(unfinished.encode())).arguments["max_batch_size"] == "64"
    estimating = "\n".join([second, EXECUTOR, REPORT])
    assert read_log(io.BytesIO(estimating.encode())).arguments["max_batch_size"] == "64"


DUMP = (REPORTS / "cli" / "llm-args-dump.txt").read_text()
HEAD, FIELDS = DUMP.splitlines()
DUMPED = {
    "tensor_parallel_size": "4",
    "pipeline_parallel_size": "1",
    "moe_expert_parallel_size": "4",
    "max_seq_len": "256",
    "enable_attention_dp": "False",
    "enable_chunked_prefill": "True",
    "kv_cache_config.dtype": "fp8",
    "kv_cache_config.free_gpu_memory_fraction": "0.85",
    "cuda_graph_config.max_batch_size": "4",
    "moe_config.backend": "TRTLLM",
    "speculative_config": "None",
    "print_iter_log": "False",
}
"""Of the dump in llm-args-dump.txt, as it stands there."""


def arguments_of(*lines: str) -> dict[str, str]:
    return dict(read_log(io.BytesIO("\n".join([*lines, REPORT]).encode())).arguments)


@pytest.mark.parametrize(
    ("head", "label"),
    [
        *[("", ""), ("0: ", "0: "), ("[pod/x/main] ", "[pod/x/main] "), ("web-1  | ", "web-1  | ")],
        *[("2025-11-07T03:14:00.123456789Z ", "2025-11-07T03:14:00.123456790Z "), ("[1,0]<stdout>:", "[1,0]<stdout>:")],
        *[("[pod/x/main] ", ""), ("\x1b[32m", ""), ("[rank0]: ", "[rank0]: ")],
    ],
)
def test_a_dump_on_the_line_after_its_head_is_read(head: str, label: str) -> None:
    found = arguments_of(f"{head}{HEAD}", f"{label}{FIELDS}", "[I] max_tokens=7 in the pool")
    assert found.items() >= DUMPED.items()
    assert "max_tokens" not in found
    assert arguments_of(f"{head}{HEAD} {FIELDS}").items() >= DUMPED.items()
    assert arguments_of(f"{head}{HEAD} ", "", f"{label}{FIELDS}").items() >= DUMPED.items()


def test_other_ranks_may_print_between_a_head_and_its_dump() -> None:
    other = "[11/07/2025-03:14:00] [TRT-LLM] [RANK 1] [I] Creating CUDA graph instances, padded blocks=11"
    assert arguments_of(HEAD, other, EXECUTOR, FIELDS).items() >= DUMPED.items()
    assert arguments_of(f"0: {HEAD}", f"1: {other}", f"0: {FIELDS}").items() >= DUMPED.items()
    assert "tensor_parallel_size" not in arguments_of(HEAD, *[other] * 20, FIELDS)  # too far away to be its own


def test_of_two_dumps_the_last_one_counts() -> None:
    first = FIELDS.replace("max_batch_size=64", "max_batch_size=1").replace("TRTLLM", "CUTLASS")
    assert arguments_of(HEAD, first, EXECUTOR, HEAD, FIELDS).items() >= (DUMPED | {"max_batch_size": "64"}).items()
    assert arguments_of(HEAD, FIELDS, f"{HEAD} {first}")["moe_config.backend"] == "CUTLASS"


def test_of_a_dump_that_was_cut_only_what_is_whole_is_read() -> None:
    whole = read_arguments(f"LLM Args: {FIELDS}")
    for end in range(len(FIELDS)):
        found = read_log(io.BytesIO(f"{HEAD}\n{FIELDS[:end]}".encode())).arguments
        assert found.items() <= whole.items()
    assert read_log(io.BytesIO(f"{HEAD}\n{FIELDS}\n".encode())).arguments == whole
    long = f"model='{'x' * LONGEST_LINE}' max_batch_size=6"
    assert arguments_of(HEAD, f"tensor_parallel_size=4 {long}") == {"tensor_parallel_size": "4"}


@pytest.mark.parametrize(
    ("speculation", "layers"),
    [
        ("MTPDecodingConfig(max_draft_len=3, num_nextn_predict_layers=1, mtp_eagle_one_model=True)", "3"),  # 2026
        ("MTPDecodingConfig(max_draft_len=3, num_nextn_predict_layers=3)", "3"),  # 1.2
        ("MTPDecodingConfig(max_draft_len=None, speculative_model=None, num_nextn_predict_layers=3)", "3"),
        ("MTPDecodingConfig(decoding_type='MTP', max_draft_len=2, num_nextn_predict_layers=None)", "2"),
        ("EagleDecodingConfig(max_draft_len=3, eagle3_one_model=True)", "0"),
        ("None", "0"),
    ],
)
def test_mtp_is_told_by_the_draft_length(speculation: str, layers: str) -> None:
    line = FIELDS.replace("speculative_config=None", f"speculative_config={speculation}")
    assert arguments_of(HEAD, line)["speculative_config.num_nextn_predict_layers"] == layers


def test_keys_that_moved_are_told_as_the_engine_yaml_has_them() -> None:
    """TorchCompileConfig.enable_piecewise_cuda_graph became prefill_cuda_graph_backend of the arguments."""
    key = "torch_compile_config.enable_piecewise_cuda_graph"
    old = "torch_compile_config=TorchCompileConfig(enable_piecewise_cuda_graph=False, enable_userbuffers=False)"
    piecewise = f"{old} prefill_cuda_graph_backend=<PrefillCudaGraphBackend.PIECEWISE: 'piecewise'>"
    assert arguments_of(HEAD, f"a=1 {piecewise}")[key] == "True"
    assert arguments_of(HEAD, f"a=1 {old} prefill_cuda_graph_backend='disabled'")[key] == "False"
    assert arguments_of(HEAD, f"a=1 {old} prefill_cuda_graph_backend=None")[key] == "False"


def test_a_head_without_a_dump_gives_nothing() -> None:
    assert arguments_of(HEAD) == {}
    assert arguments_of(HEAD, "no fields here", "x = 1, y=2") == {}


# ------------------------------------------------------------------------------------------------------------ the steps


def step(number: int, requests: int, kv: float, *, sign: str = "=") -> str:
    return (
        f"[11/07/2025-03:14:07] [TRT-LLM] [I] [_torch][RANK 0] iter = {number}, global_rank = 0, rank = 0,"
        f" num_scheduled_requests {sign} {requests}, kv_cache_util = {kv:.3f}, currank_total_requests = 1/8,"
        " host_step_time = 4.08ms, prev_device_step_time = N/A, timestamp = 2026-08-04 19:08:13, states = {}"
    )


def summary(text: str) -> Iterations:
    found = read_log(io.BytesIO(text.encode())).iterations
    assert found is not None
    return found


@pytest.mark.parametrize("sign", ["=", ":"])
def test_printed_steps_are_summed_up(sign: str) -> None:
    lines = [step(n, requests=n % 4, kv=n / 1000, sign=sign) for n in range(1000)]
    found = summary("\n".join([*lines, REPORT]))
    assert (found.steps, found.step_requests_max, found.kv_cache_util_max) == (1000, 3, 0.999)
    assert found.step_requests_mean == pytest.approx(1.5)
    assert found.kv_cache_util_mean == pytest.approx(0.4995)
    assert MOST_BUCKETS / 2 <= len(found.kv_cache_util_series) <= MOST_BUCKETS
    assert list(found.kv_cache_util_series) == sorted(found.kv_cache_util_series)


def test_steps_without_kv_use_are_steps() -> None:
    found = summary(step(1, 5, 0).replace("kv_cache_util = 0.000, ", "") + "\n" + REPORT)
    assert (found.steps, found.step_requests_mean, found.kv_cache_util_mean, found.kv_cache_util_series) == (
        1,
        5,
        None,
        (),
    )


def test_steps_belong_to_the_report_that_follows() -> None:
    found = summary("\n".join([step(1, 5, 0.5), REPORT, step(1, 1, 0.1), OTHER[: len(OTHER) // 2]]))
    assert (found.steps, found.step_requests_max) == (1, 5)


def test_the_iteration_log_is_python_or_json() -> None:
    lines = (
        "{'iter': 1, 'iterLatencyMS': 5.5, 'numActiveRequests': 7, 'gpuMemUsage': None, 'flag': True,"
        " 'kvCacheStats': {'maxNumBlocks': 100, 'usedNumBlocks': 25},"
        " 'inflightBatchingStats': {'numScheduledRequests': 4}}\n"
        '{"iter": 2, "kvCacheStats": {"maxNumBlocks": 100, "usedNumBlocks": 75}, "numActiveRequests": 8}\n'
        "{'iter': 3, 'iterLatencyMS': 1.0, 'kvCacheStats': {'maxNumBlocks': 0, 'usedNumBlocks': 0}}\n"
        "not a step\n{}\n{'a': __import__('os')}\n[1]\n"
    )
    found = read_steps(io.BytesIO(lines.encode()))
    assert found is not None
    assert (found.steps, found.kv_cache_util_mean, found.kv_cache_util_max) == (3, 0.5, 0.75)
    assert (found.step_requests_mean, found.step_requests_series) == (6, (4, 8))
    assert read_steps(io.BytesIO(b"nothing\n")) is None


# ----------------------------------------------------------------------------------------------------------- the stream


class Stream:
    """A long log that exists only while it is read."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (block := next(self._blocks, b"")):
            self._rest += block
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


def test_a_long_log_is_read_in_bounded_memory() -> None:
    line = b"[11/07/2025-03:11:09] [TRT-LLM] [I] Loading layer 17: model.layers.17.mlp.experts.down_proj.weight\n"

    def blocks() -> Iterator[bytes]:
        for _ in range(30):
            yield line * 10_000
        yield REPORT.encode() + line

    tracemalloc.start()
    try:
        found = read_log(cast(BinaryIO, Stream(blocks())))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.report is not None
    assert peak < 12 * BLOCK_BYTES < 30 * 10_000 * len(line)


def test_a_line_without_end_is_read_in_bounded_memory() -> None:
    found = read_log(cast(BinaryIO, Stream(iter([b"x" * BLOCK_BYTES] * 20 + [b"\n" + REPORT.encode()]))))
    assert found.report is not None


@pytest.mark.parametrize("size", [1, 7, 100, 4096])
def test_where_blocks_begin_makes_no_difference(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "\n".join([EXECUTOR, HEAD, FIELDS, step(1, 5, 0.5), REPORT.replace("\n", "\r\n"), step(2, 1, 0.1)]).encode()
    whole = read_log(io.BytesIO(said))
    monkeypatch.setattr("sweep.report.log.BLOCK_BYTES", size)
    found = read_log(io.BytesIO(said))
    assert (found.report, found.arguments, found.iterations) == (whole.report, whole.arguments, whole.iterations)


def test_the_excerpt_gives_the_same_again() -> None:
    noise = "[11/07/2025-03:11:09] [TRT-LLM] [I] Loading weights\n" * 5000
    said = f"{noise}{PYTORCH_CONFIG}\n{EXECUTOR}\n{HEAD}\n{FIELDS}\n{noise}0: {REPORT}{noise}ValueError: in the end\n"
    whole = read_log(io.BytesIO(said.replace("\n", "\n0: ").encode()))
    assert whole.report is not None
    assert len(whole.excerpt) < 80_000
    assert "ValueError: in the end" in whole.excerpt
    again = read_log(io.BytesIO(whole.excerpt.encode()))
    assert (again.report, again.arguments) == (whole.report, whole.arguments)


def test_texts_of_one_run_add_to_the_one_with_the_report() -> None:
    server = read_log(io.BytesIO(f"{PYTORCH_CONFIG}\n".encode()))
    client = read_log(io.BytesIO(REPORT.encode()))
    both = together([client, server])
    assert both.report == client.report
    assert dict(both.arguments) == {**server.arguments, **client.arguments}
    assert server.arguments["moe_config.backend"] == "CUTLASS"
    assert together([client]) is client
