"""The gate, rule by rule: each test breaks one thing only, and exactly that is told."""

from __future__ import annotations

import dataclasses
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.point import UNLIMITED, Bench, KvCacheDtype, Model, Precision, SchedulerPolicy
from sweep.report import Distribution, Report, parse_report, weigh
from sweep.report.arguments import read_arguments
from sweep.validity import RULES, Case, case_of, judge, unverified

REPORTS = Path(__file__).parent / "data" / "reports"
MODEL = Model(
    id="nvidia/Llama-3.3-70B-Instruct-FP4",
    precision=Precision.NVFP4,
    weights_gb=40,
    kv_cache_dtype=KvCacheDtype.FP8,
)
ASKED: dict[str, Any] = {
    "bench": Bench.THROUGHPUT,
    "image": "i",
    "model": MODEL.id,
    "gpu": "gb200",
    "isl": 1024,
    "osl": 512,
    "concurrency": 64,
    "num_requests": 300,
    "streaming": True,
    "tp": 4,
    "pp": 1,
    "ep": 1,
    "attention_dp": False,
    "kv_cache_dtype": KvCacheDtype.FP8,
    "kv_cache_free_gpu_mem_fraction": 0.9,
    "moe_backend": None,
    "mtp_layers": 0,
    "max_batch_size": 1024,
    "max_num_tokens": 8192,
    "max_seq_len": 1536,
    "chunked_prefill": True,
    "scheduler_policy": SchedulerPolicy.GUARANTEED_NO_EVICT,
    "engine": "{}",
}
BEGIN = datetime(2025, 11, 7, 12, tzinfo=UTC)


def text(case: str = "1.2.0rc3-throughput-streaming") -> str:
    return (REPORTS / f"{case}.json").read_text()


REPORT = parse_report(text())


def case(
    asked: dict[str, Any] | None = None,
    report: Report = REPORT,
    model: Model | None = MODEL,
    **about: Any,
) -> Case:
    return Case(asked=ASKED | (asked or {}), report=report, model=model, started_at=BEGIN, **about)


def changed(**fields: Any) -> Report:
    return dataclasses.replace(REPORT, **fields)


def alone(duration_s: float, requests: int = 300) -> dict[str, Any]:
    """Return what follows from another duration; what else the recorded report states does not fit it."""
    return {
        "duration_s": duration_s,
        "request_tput_rps": requests / duration_s,
        "output_tput_tps": requests * 512 / duration_s,
        **dict.fromkeys(("total_tput_tps", "output_tput_per_gpu", "tps_per_user", "tps_per_user_e2e")),
        **dict.fromkeys(("tps_per_user_distribution", "ttft_ms", "tpot_ms")),
    }


def test_a_report_of_the_point_passes() -> None:
    assert judge(case()) == ()
    assert (
        judge(case(environment={"reported_at": BEGIN + timedelta(minutes=5), "slowdown": "", "power_capped": True}))
        == ()
    )
    assert judge(Case(asked={}, report=REPORT)) == ()


BROKEN: dict[str, tuple[Case, str]] = {
    "no tokens": (case(report=changed(output_tput_tps=0.0, osl_mean=0.0, osl=None), asked={"osl": None}), "no tokens"),
    "failed requests": (case(report=changed(requests_failed=3)), "3 of 300 requests failed"),
    "isl": (case({"isl": 1025}), "isl is 1024 on average, not 1025"),
    "osl": (case({"osl": 511}), "osl is 512 on average, not 511"),
    "num_requests": (case({"num_requests": 320}), "num_requests is 300, not 320"),
    "too little concurrency": (
        case(report=changed(concurrency_mean=45.0, **alone(300 * 4966.805841 / 45e3))),
        "45 requests were in flight on average; concurrency 64 gives at least",
    ),
    "too much concurrency": (case({"concurrency": 32}), "more than the concurrency of 32"),
    "another concurrency": (case(report=changed(concurrency=60)), "concurrency is 60, not 64"),
    "a higher concurrency": (case(report=changed(concurrency=100)), "concurrency is 100, not 64"),
    "tp": (case({"tp": 8}), "tp is 4, not 8"),
    "a larger ep": (case(report=changed(ep=4)), "ep is 4, not 1"),
    "pp": (case({"pp": 2}), "pp is 1, not 2"),
    "ep": (case({"ep": 4}), "ep is 1, not 4"),
    "world size": (case(report=changed(world_size=8)), "the world size is 8, not tp * pp = 4"),
    "kv dtype": (case({"kv_cache_dtype": KvCacheDtype.NVFP4}), "the KV cache's dtype is fp8, not nvfp4"),
    "kv dtype of the checkpoint": (
        case({"kv_cache_dtype": KvCacheDtype.AUTO}, model=dataclasses.replace(MODEL, kv_cache_dtype=None)),
        "the KV cache's dtype is fp8, not bf16",
    ),
    "kv share": (case({"kv_cache_free_gpu_mem_fraction": 0.85}), "kv_cache_free_gpu_mem_fraction is 0.9, not 0.85"),
    "quantisation": (
        case(model=dataclasses.replace(MODEL, precision=Precision.FP8)),
        "the weights' quantisation is NVFP4, but the checkpoint's is fp8",
    ),
    "no quantisation": (case(report=changed(quantization=None)), "the weights' quantisation is none"),
    "max_batch_size": (case({"max_batch_size": 512}), "max_batch_size is 1024, not 512"),
    "max_num_tokens": (case({"max_num_tokens": 4096}), "max_num_tokens is 8192, not 4096"),
    "max_seq_len": (case(report=changed(max_seq_len=2048)), "max_seq_len is 2048, not 1536"),
    "policy": (case({"scheduler_policy": SchedulerPolicy.MAX_UTILIZATION}), "scheduler_policy is GUARANTEED_NO_EVICT"),
    "model": (case(report=changed(model="other/model")), "the model is other/model, not"),
    "gpu": (case({"gpu": "h200"}), "the GPU is NVIDIA GB200, not h200"),
    "streaming": (case({"streaming": False}), "tokens were streamed"),
    "engine tp": (case(arguments={"tensor_parallel_size": "8"}), "the engine was started with tp = 8, not 4"),
    "engine ep": (
        case({"ep": 4}, report=changed(ep=4), arguments={"moe_expert_parallel_size": "None"}),
        "ep = 1, not 4",
    ),
    "engine attention dp": (case(arguments={"enable_attention_dp": "True"}), "attention_dp = true, not false"),
    "engine moe backend": (
        case({"moe_backend": "CUTLASS"}, arguments={"moe_config.backend": "TRTLLM"}),
        "moe_backend = trtllm, not cutlass",
    ),
    "engine chunking": (case(arguments={"enable_chunked_prefill": "False"}), "chunked_prefill = false, not true"),
    "engine kv dtype": (case(arguments={"kv_cache_config.dtype": "nvfp4"}), "kv_cache_dtype = nvfp4, not fp8"),
    "engine batch": (case(arguments={"max_batch_size": "64"}), "max_batch_size = 64, not 1024"),
    "engine key": (
        case(
            {"engine": '{"cuda_graph_config":{"enable_padding":true}}'},
            arguments={"cuda_graph_config.enable_padding": "False"},
        ),
        "engine.cuda_graph_config.enable_padding = false, not true",
    ),
    "no cuda graphs": (
        case({"engine": '{"cuda_graph_config":{"batch_sizes":[1]}}'}, arguments={"use_cuda_graph": "False"}),
        "engine.cuda_graph_config = false, not true",
    ),
    "cuda graphs": (
        case({"engine": '{"cuda_graph_config":null}'}, arguments={"use_cuda_graph": "True"}),
        "engine.cuda_graph_config = true, not false",
    ),
    "lost MTP": (
        case({"mtp_layers": 3}, arguments=read_arguments("LLM Args: speculative_config=None a=1")),
        "the engine was started with mtp_layers = 0, not 3",
    ),
    "MTP of another length": (
        case(
            {"mtp_layers": 3},
            arguments=read_arguments(
                "LLM Args: speculative_config=MTPDecodingConfig(max_draft_len=2, num_nextn_predict_layers=3)"
            ),
        ),
        "the engine was started with mtp_layers = 2, not 3",
    ),
    "a section of the YAML that was lost": (
        case(
            {"engine": '{"cuda_graph_config":{"batch_sizes":[1],"enable_padding":true}}'},
            arguments=read_arguments("LLM Args: cuda_graph_config=None a=1"),
        ),
        "the engine was started with engine.cuda_graph_config = none, not set",
    ),
    "graphs that were to be off": (
        case(
            {"engine": '{"cuda_graph_config":null}'},
            arguments=read_arguments("LLM Args: cuda_graph_config=CudaGraphConfig(enable_padding=True) a=1"),
        ),
        "engine.cuda_graph_config = cudagraphconfig, not none",
    ),
    "an old report": (
        case(environment={"reported_at": BEGIN - timedelta(seconds=1)}),
        "the report was written at 2025-11-07 11:59:59, before the attempt began",
    ),
    "slowdown": (case(environment={"slowdown": "hw_thermal_slowdown"}), "a GPU was slowed down: hw_thermal_slowdown"),
    "memory errors": (case(environment={"memory_errors_uncorrected": 2}), "2 uncorrected memory errors"),
    "disagreement": (case(disagreements=("JSON and text disagree on tp: 4 and 8",)), "JSON and text disagree on tp"),
    "a damaged throughput": (
        case(report=changed(output_tput_tps=6186.0, output_tput_per_gpu=None)),
        "output_tput_tps is 6186, but",
    ),
    "another time": (
        case(environment={"bench_s": 24.9}),
        "the environment says that measuring took 24.9 s, the report 24.9025 s",
    ),
    "a damaged rate": (case(report=changed(request_tput_rps=21.0)), "request_tput_rps is 21, but"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_breaks_one_rule_is_told_once(what: str) -> None:
    broken, expected = BROKEN[what]
    reasons = judge(broken)
    assert len(reasons) == 1
    assert expected in reasons[0]


@pytest.mark.parametrize("figure", ["num_requests", "output_tput_tps", "duration_s", "osl_mean"])
def test_a_run_without_tokens_requests_or_time_is_none(figure: str) -> None:
    assert "no tokens were produced" in judge(case(report=changed(**{figure: 0})))


def test_every_rule_is_broken_above() -> None:
    assert {rule.__name__ for rule in RULES for broken, _ in BROKEN.values() if list(rule(broken))} == {
        rule.__name__ for rule in RULES
    }


def test_all_reasons_are_told() -> None:
    reasons = judge(case({"tp": 8, "isl": 1, "num_requests": 5}, environment={"slowdown": "hw_slowdown"}))
    assert len(reasons) == 4


# -------------------------------------------------------------------------------------------------------- normalisation


def test_auto_is_what_the_checkpoint_pins() -> None:
    auto = {"kv_cache_dtype": KvCacheDtype.AUTO}
    assert judge(case(auto)) == ()
    plain = dataclasses.replace(MODEL, kv_cache_dtype=None)
    assert judge(case(auto, report=changed(kv_cache_dtype=None), model=plain)) == ()
    assert judge(case(auto, arguments={"kv_cache_config.dtype": "fp8"})) == ()
    assert judge(case(arguments={"kv_cache_config.dtype": "auto"})) == ()
    assert judge(case(auto, model=None)) == ()  # what it pins is not known


@pytest.mark.parametrize(
    ("said", "precision"),
    [
        (None, Precision.BF16),
        ("FP8", Precision.FP8),
        ("FP8_BLOCK_SCALES", Precision.FP8_BLOCK),
        ("NVFP4", Precision.NVFP4),
        ("MIXED_PRECISION", Precision.NVFP4),
        ("MIXED_PRECISION", Precision.FP8),
        ("W4A8_MXFP4_MXFP8", Precision.MXFP4),
        ("W4A8_MXFP4_FP8", Precision.MXFP4),
        ("W4A16_MXFP4", Precision.MXFP4),
    ],
)
def test_quantisation_in_tensorrt_llm_s_words(said: str | None, precision: Precision) -> None:
    model = dataclasses.replace(MODEL, precision=precision)
    assert judge(case(report=changed(quantization=said), model=model)) == ()
    wrong = dataclasses.replace(MODEL, precision=Precision.FP8 if precision == Precision.BF16 else Precision.BF16)
    assert judge(case(report=changed(quantization=said), model=wrong))


def test_latency_sets_its_limits_itself_and_streams() -> None:
    report = parse_report(text("1.2.0rc2-latency"))
    asked = ASKED | dict(bench=Bench.LATENCY, model=report.model, isl=1024, osl=2048, concurrency=1, num_requests=10)
    asked |= dict(tp=8, ep=4, streaming=False, kv_cache_dtype=KvCacheDtype.AUTO)
    assert judge(Case(asked=asked, report=report)) == ()


LATENCY_LOG = """\
[11/07/2025-03:14:00] [TRT-LLM] [I] ATTENTION RUNTIME FEATURES:  AttentionRuntimeFeatures(chunked_prefill=False, \
cache_reuse=False, has_speculative_draft_tokens=False, chunk_size=3072)
[11/07/2025-03:14:30] [TRT-LLM] [I] max_seq_len=3072, max_num_requests=1, max_num_tokens=3072, max_batch_size=1
"""
"""What the engine of every latency run logs: trtllm-bench switches chunking off, the limits are from heuristics."""


@pytest.mark.parametrize("batch", [1, 64])
def test_what_latency_sets_itself_is_neither_compared_nor_proved(batch: int) -> None:
    log = LATENCY_LOG.encode() + (REPORTS / "1.2.0rc2-latency.txt").read_bytes()
    evidence = weigh(report=text("1.2.0rc2-latency"), log=io.BytesIO(log))
    assert evidence.arguments["enable_chunked_prefill"] == "False"
    asked = ASKED | dict(bench=Bench.LATENCY, isl=1024, osl=2048, concurrency=1, num_requests=10, tp=8, ep=4)
    asked |= dict(model=evidence.report and evidence.report.model, kv_cache_dtype=KvCacheDtype.AUTO, max_seq_len=3072)
    latency = case_of(asked | {"max_batch_size": batch}, evidence)
    assert judge(latency) == ()
    assert {"chunked_prefill", "max_batch_size", "max_num_tokens"} <= set(unverified(latency))
    throughput = case_of(asked | {"bench": Bench.THROUGHPUT, "max_batch_size": 1}, evidence)
    assert len([reason for reason in judge(throughput) if "chunked_prefill" in reason]) == 1


def test_a_multimodal_prompt_is_longer_than_its_text() -> None:
    assert judge(case({"isl": 100, "modality": "image"})) == ()


def test_the_default_of_the_image_is_no_other_moe_backend() -> None:
    assert judge(case({"moe_backend": "CUTLASS"}, arguments={"moe_config.backend": "AUTO"})) == ()


def test_the_old_policy_is_spelled_otherwise() -> None:
    assert judge(case(report=changed(scheduler_policy="Guaranteed No Evict"))) == ()


def test_benchmark_serving_knows_nothing_of_the_engine() -> None:
    report = parse_report((REPORTS / "serving-default.json").read_bytes())
    asked = ASKED | {"bench": Bench.SERVE, "model": report.model, "osl": 1024, "num_requests": 320}
    assert judge(Case(asked=asked, report=report, model=dataclasses.replace(MODEL, id=str(report.model)))) == ()
    assert judge(Case(asked=asked, report=dataclasses.replace(report, concurrency=96))) == (
        "concurrency is 96, not 64",
    )


# ---------------------------------------------------------------------------------------------------------- concurrency


@given(
    latencies=st.lists(st.floats(0.5, 20), min_size=1, max_size=200),
    concurrency=st.integers(1, 64),
    pause=st.floats(0, 0.01),
)
def test_whatever_a_closed_loop_does_it_reaches_what_the_formula_asks(
    latencies: list[float], concurrency: int, pause: float
) -> None:
    """Slots that take the next request when one ends, as trtllm-bench's semaphore does."""
    slots, spans = [0.0] * min(concurrency, len(latencies)), []
    for latency in latencies:
        at = slots.index(min(slots))
        spans.append((slots[at], slots[at] + latency))
        slots[at] += latency + pause * 0.5
    total = max(end for _, end in spans) - min(begin for begin, _ in spans)
    n, mean = len(latencies), sum(latencies) / len(latencies)
    report = changed(
        num_requests=n,
        concurrency_mean=sum(latencies) / total,
        e2el_ms=Distribution(mean=mean * 1e3, max=max(latencies) * 1e3),
        dataset_requests=n,
        **alone(total, n),
    )
    assert judge(case({"concurrency": concurrency, "num_requests": n}, report=report)) == ()


def test_unlimited_is_all_at_once() -> None:
    report = parse_report(text("1.1.0rc6-throughput-pp-unlimited"))
    asked = {"concurrency": UNLIMITED, "num_requests": 640}
    assert judge(Case(asked=asked, report=report)) == ()
    assert judge(Case(asked=asked, report=dataclasses.replace(report, concurrency_mean=100.0)))


# ------------------------------------------------------------------------------------------------------- what is proved


def test_what_only_echoes_the_command_line_is_not_proved() -> None:
    told = unverified(case())
    assert {"tp", "pp", "ep", "max_batch_size", "max_num_tokens", "scheduler_policy"} <= set(told)
    assert {"image", "attention_dp", "chunked_prefill", "engine", "concurrency", "mtp_layers"} <= set(told)
    assert not {"isl", "osl", "num_requests", "kv_cache_dtype", "streaming", "model", "gpu", "moe_backend"} & set(told)


def test_what_was_not_asked_for_may_be_anything() -> None:
    arguments = {"tensor_parallel_size": "4", "moe_expert_parallel_size": "2", "max_batch_size": "7"}
    free = case({"ep": None, "max_batch_size": None}, changed(ep=2, max_batch_size=7), arguments=arguments)
    assert judge(free) == ()
    assert not {"ep", "max_batch_size"} & set(unverified(free))


def test_equal_concurrencies_above_256_are_equal() -> None:
    stated = changed(concurrency=int("1000"), concurrency_mean=None)
    assert judge(case({"concurrency": int("10_00")}, stated)) == ()


def test_the_engine_s_dump_proves_what_it_says() -> None:
    arguments = {
        "tensor_parallel_size": "4",
        "moe_expert_parallel_size": "1",
        "enable_attention_dp": "False",
        "enable_chunked_prefill": "True",
        "max_batch_size": "1024",
        "max_num_tokens": "8192",
        "cuda_graph_config.enable_padding": "True",
    }
    asked = {"engine": '{"cuda_graph_config":{"enable_padding":true}}'}
    told = unverified(case(asked, arguments=arguments))
    assert not {"tp", "ep", "attention_dp", "chunked_prefill", "max_batch_size", "max_num_tokens", "engine"} & set(told)
    assert {"pp", "scheduler_policy", "image"} <= set(told)
    asked = {"engine": '{"cuda_graph_config":{"enable_padding":true},"stream_interval":10}'}
    assert judge(case(asked, arguments=arguments)) == ()
    assert "engine" in unverified(case(asked, arguments=arguments))


MTP_DUMP = (
    "LLM Args: tensor_parallel_size=4 cuda_graph_config=CudaGraphConfig(batch_sizes=[1, 2], max_batch_size=1762,"
    " enable_padding=True, mode='decode') moe_config=MoeConfig(backend='CUTLASS') torch_compile_config="
    "TorchCompileConfig(enable_piecewise_cuda_graph=None, capture_num_tokens=None, enable_userbuffers=False)"
    " prefill_cuda_graph_backend=<PrefillCudaGraphBackend.PIECEWISE: 'piecewise'> speculative_config="
    "MTPDecodingConfig(max_draft_len=3, num_nextn_predict_layers=1, decoding_type='MTP')"
)


def test_keys_that_the_newest_versions_moved_do_not_make_a_good_run_invalid() -> None:
    engine = {
        "cuda_graph_config": {"enable_padding": True, "max_batch_size": 1762},
        "torch_compile_config": {"enable_piecewise_cuda_graph": True, "enable_userbuffers": False},
        "speculative_config": {"decoding_type": "MTP"},
    }
    asked = {"mtp_layers": 3, "moe_backend": "AUTO", "engine": json.dumps(engine)}
    moved = case(asked, arguments=read_arguments(MTP_DUMP))
    assert judge(moved) == ()
    assert not {"tp", "mtp_layers", "engine"} & set(unverified(moved))
    assert "moe_backend" in unverified(moved)


def test_other_speculation_is_no_mtp() -> None:
    dump = "LLM Args: speculative_config=EagleDecodingConfig(decoding_type='Eagle', max_draft_len=3) a=1"
    engine = json.dumps({"speculative_config": {"decoding_type": "Eagle", "max_draft_len": 3}})
    eagle = case({"mtp_layers": 0, "engine": engine}, arguments=read_arguments(dump))
    assert judge(eagle) == ()
    assert not {"mtp_layers", "engine"} & set(unverified(eagle))


def test_an_older_report_names_no_gpu() -> None:
    told = unverified(case(report=parse_report(text("1.2.0rc2-throughput-streaming"))))
    assert "gpu" in told


def test_json_and_text_of_different_runs_are_invalid() -> None:
    log = (REPORTS / "1.2.0rc2-latency.txt").read_bytes()
    evidence = weigh(report=text(), log=io.BytesIO(log))
    reasons = judge(case(disagreements=evidence.disagreements))
    assert any("JSON and text disagree" in reason for reason in reasons)
    records = json.loads((REPORTS / "1.2.0rc2-throughput-streaming-perrequest.request_json").read_text())
    evidence = weigh(report=text(), requests=json.dumps(records))
    assert any("JSON and records disagree" in reason for reason in judge(case(disagreements=evidence.disagreements)))


# ------------------------------------------------------------------------------------------------------- the boundaries


@pytest.mark.parametrize(("isl", "passes"), [(1024.5, True), (1023.5, True), (1024.6, False), (1023.3, False)])
def test_a_mean_may_be_half_a_token_off(isl: float, passes: bool) -> None:
    report = changed(isl_mean=isl, total_tput_tps=None)
    assert (judge(case(report=report)) == ()) is passes


@pytest.mark.parametrize(("seconds", "passes"), [(-0.001, False), (0, True), (0.001, True)])
def test_a_report_may_be_written_when_the_attempt_begins(seconds: float, passes: bool) -> None:
    written = {"reported_at": BEGIN + timedelta(seconds=seconds)}
    assert (judge(case(environment=written)) == ()) is passes


@pytest.mark.parametrize("told", ["None", "-1"])
def test_what_the_engine_leaves_to_its_default_is_ep_1(told: str) -> None:
    arguments = {"moe_expert_parallel_size": told}
    assert judge(case(arguments=arguments)) == ()
    assert "ep" not in unverified(case(arguments=arguments))
    reasons = judge(case({"ep": 4}, report=changed(ep=4), arguments=arguments))
    assert reasons == ("the engine was started with ep = 1, not 4",)
    assert judge(case(arguments={"max_batch_size": told})) == ()  # its own default: nothing is said of it


@pytest.mark.parametrize(("off", "passes"), [(0.0, True), (4e-8, True), (-4e-8, True), (2e-5, False), (-5.0, False)])
def test_measuring_took_as_long_as_the_report_says(off: float, passes: bool) -> None:
    environment = {"bench_s": REPORT.duration_s + off}
    assert (judge(case(environment=environment)) == ()) is passes
