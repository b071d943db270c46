"""The gate: a report becomes a row with status ok only if it is of the point that was asked for.

A rule is a function that yields a reason for each thing that is wrong; all rules are asked, all reasons are told. A
rule asks only about what both sides state: what was not asked for (imported reports), or is not said, is no reason.

TP, PP, EP, the batch limits and the scheduler's policy stand in a report as the command line gave them, so their
agreement proves nothing, though a difference does: only the engine's own dump of its arguments proves them. What
neither the report nor a dump proves is named by `unverified`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sweep.errors import ReportError
from sweep.point import SETTINGS, UNLIMITED, Bench, KvCacheDtype, Model, Precision
from sweep.report import Evidence, Report, Tool
from sweep.report.consistency import contradictions
from sweep.report.evidence import MOST_TOLD
from sweep.report.spans import FLOATING_POINT

HALF_A_TOKEN = 0.5
"""ISL and OSL are whole numbers; a mean that is off by more has requests of other lengths in it."""
CLIENT_PAUSE = 0.05
"""Share of the time that a request slot may stand empty between two requests."""
ROUNDING = 1e-3
"""Share by which printed digits may exceed the concurrency."""

QUANTIZATIONS: Mapping[str | None, Precision] = {  # tensorrt_llm.quantization.QuantAlgo
    None: Precision.BF16,
    "FP8": Precision.FP8,
    "FP8_PER_CHANNEL_PER_TOKEN": Precision.FP8,
    "FP8_BLOCK_SCALES": Precision.FP8_BLOCK,
    "NVFP4": Precision.NVFP4,
    "W4A8_MXFP4_MXFP8": Precision.MXFP4,  # what becomes of an MXFP4 checkpoint on Blackwell (get_mxfp4_quant_algo)
    "W4A8_MXFP4_FP8": Precision.MXFP4,  # there too, with moe_backend=TRITON
    "W4A16_MXFP4": Precision.MXFP4,  # on Hopper
}
MIXED = "MIXED_PRECISION"
"""Per layer: says only that the checkpoint is quantised."""

SET_BY_LATENCY = frozenset({"max_batch_size", "max_num_tokens", "chunked_prefill"})
"""`trtllm-bench latency` takes none of these: batches of 1, no chunking, tokens from heuristics (low_latency.py)."""

PROVED_BY_REPORT: Mapping[str, str] = {  # setting: the field of Report that states it, and is no echo
    "model": "model",
    "gpu": "gpu_name",
    "kv_cache_dtype": "version",  # null states that the cache is not quantised; benchmark_serving has no version
    "kv_cache_free_gpu_mem_fraction": "kv_cache_free_gpu_mem_fraction",
    "max_seq_len": "max_seq_len",
    "streaming": "streaming",
    "num_requests": "num_requests",
    "concurrency": "concurrency",
    "isl": "isl_mean",
    "osl": "osl_mean",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What the rules judge.

    asked: settings by name; what was not asked for is missing or None.
    model: what is known of the checkpoint; None where nothing is.
    environment: columns that say how the run went (slowdown, memory_errors_uncorrected, reported_at, ...).
    """

    asked: Mapping[str, Any]
    report: Report
    model: Model | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    disagreements: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    started_at: datetime | None = None

    def of(self, name: str) -> Any:
        return self.asked.get(name)


def judge(case: Case) -> tuple[str, ...]:
    """Return every reason why the report is not of this point, or not to be trusted; none makes the row ok."""
    return tuple(reason for rule in RULES for reason in rule(case))


def case_of(asked: Mapping[str, Any], evidence: Evidence, **about: Any) -> Case:
    """Return the case of a run whose evidence holds a report.

    Raises:
        ReportError: it holds none.
    """
    if evidence.report is None:
        raise ReportError(evidence.problem or "there is no report")
    return Case(
        asked=asked,
        report=evidence.report,
        arguments=evidence.arguments,
        disagreements=evidence.disagreements,
        **about,
    )


# -------------------------------------------------------------------------------------------------------- the rules


def tokens_were_produced(case: Case) -> Iterator[str]:
    report = case.report
    if not (report.num_requests and report.output_tput_tps > 0 and report.duration_s > 0 and report.osl_mean != 0):
        yield "no tokens were produced"


def every_request_succeeded(case: Case) -> Iterator[str]:
    if case.report.requests_failed:
        yield f"{case.report.requests_failed} of {case.report.num_requests} requests failed"


def lengths_are_those_asked_for(case: Case) -> Iterator[str]:
    for name, mean in (("isl", case.report.isl_mean), ("osl", case.report.osl_mean)):
        asked = case.of(name)
        if name == "isl" and case.of("modality") is not None:
            continue  # the tokens of images come on top
        if asked is not None and mean is not None and abs(mean - asked) > HALF_A_TOKEN:
            yield f"{name} is {mean:g} on average, not {asked}"


def number_of_requests_is_that_asked_for(case: Case) -> Iterator[str]:
    asked = case.of("num_requests")
    if asked is not None and case.report.num_requests != asked:
        yield f"num_requests is {case.report.num_requests}, not {asked}"


def concurrency_was_reached(case: Case) -> Iterator[str]:
    """Hold the mean number of requests in flight between what ramp-up and -down leave of it and the setting.

    N requests, C at a time, with latencies of sum S and at most L. Until the last request is sent all C slots are in
    use, so that takes at most S / C; then at most L is left. So the mean over the run is at least

        S / (S / C + L) = N / (N / C + L / mean latency)

    of which CLIENT_PAUSE is allowed to be lost between requests. It cannot be more than C.
    """
    asked, stated = case.of("concurrency"), case.report.concurrency
    if asked is not None and stated is not None and asked != stated:
        yield f"concurrency is {stated or 'unlimited'}, not {asked or 'unlimited'}"
    mean, latency, requests = case.report.concurrency_mean, case.report.e2el_ms, case.report.num_requests
    if asked is None or mean is None or not requests:
        return
    most = requests if asked == UNLIMITED else min(asked, requests)
    if mean > most * (1 + ROUNDING):
        yield f"{mean:.4g} requests were in flight on average, more than the concurrency of {most}"
    if latency is None or not latency.mean or latency.max is None:
        return
    least = (1 - CLIENT_PAUSE) * requests / (requests / most + latency.max / latency.mean)
    if mean < least:
        yield f"{mean:.4g} requests were in flight on average; concurrency {most} gives at least {least:.4g}"


def layout_is_that_asked_for(case: Case) -> Iterator[str]:
    report = case.report
    for name, stated in (("tp", report.tp), ("pp", report.pp), ("ep", report.effective_ep)):
        asked = case.of(name)
        if asked is not None and stated is not None and stated != asked:
            yield f"{name} is {stated}, not {asked}"
    if report.world_size is not None and report.tp and report.pp and report.world_size != report.tp * report.pp:
        yield f"the world size is {report.world_size}, not tp * pp = {report.tp * report.pp}"


def kv_cache_is_that_asked_for(case: Case) -> Iterator[str]:
    asked = _kv_dtype(case.of("kv_cache_dtype"), case.model)
    stated = (case.report.kv_cache_dtype or "bf16").lower()
    if asked is not None and case.report.version is not None and stated != asked:
        yield f"the KV cache's dtype is {stated}, not {asked}"
    asked, stated_share = case.of("kv_cache_free_gpu_mem_fraction"), case.report.kv_cache_free_gpu_mem_fraction
    if asked is not None and stated_share is not None and not math.isclose(asked, stated_share, abs_tol=5.1e-5):
        yield f"kv_cache_free_gpu_mem_fraction is {stated_share:g}, not {asked:g}"


def quantization_is_the_checkpoint_s(case: Case) -> Iterator[str]:
    if case.model is None or case.model.precision is None or case.report.version is None:
        return
    stated, expected = case.report.quantization, case.model.precision
    if expected == Precision.BF16 if stated == MIXED else QUANTIZATIONS.get(stated) != expected:
        yield f"the weights' quantisation is {stated or 'none'}, but the checkpoint's is {expected}"


def limits_are_those_asked_for(case: Case) -> Iterator[str]:
    """Compare batch limits and policy; `trtllm-bench latency` sets the former itself and takes neither."""
    for name in ("max_batch_size", "max_num_tokens", "max_seq_len"):
        asked, stated = None if _is_set_by_bench(case, name) else case.of(name), getattr(case.report, name)
        if asked is not None and stated is not None and stated != asked:
            yield f"{name} is {stated}, not {asked}"
    asked, policy = case.of("scheduler_policy"), case.report.scheduler_policy
    if asked is not None and policy is not None and policy.lower().replace(" ", "_") != str(asked).lower():
        yield f"scheduler_policy is {policy}, not {asked}"


def identity_is_that_asked_for(case: Case) -> Iterator[str]:
    report = case.report
    asked = case.of("model")
    if asked is not None and report.model is not None and report.model != asked:
        yield f"the model is {report.model}, not {asked}"
    asked = case.of("gpu")
    if asked is not None and report.gpu_name is not None and str(asked).lower() not in report.gpu_name.lower().split():
        yield f"the GPU is {report.gpu_name}, not {asked}"
    asked = None if case.of("bench") == Bench.LATENCY else case.of("streaming")  # that always streams
    if asked is not None and report.streaming is not None and report.streaming != asked:
        yield f"tokens were {'' if report.streaming else 'not '}streamed"


def engine_arguments_are_those_asked_for(case: Case) -> Iterator[str]:
    """Compare with what the engine itself dumped, wherever it says something of a setting or an engine.* key."""
    for name, (asked, told) in _told_by_engine(case).items():
        if told != asked:
            yield f"the engine was started with {name} = {told}, not {asked}"


def report_is_of_this_attempt(case: Case) -> Iterator[str]:
    written = case.environment.get("reported_at")
    if case.started_at is not None and written is not None and written < case.started_at:
        yield f"the report was written at {written:%F %T}, before the attempt began at {case.started_at:%F %T}"


def hardware_was_healthy(case: Case) -> Iterator[str]:
    """Thermal and hardware slowdown make a number bad. A software power cap does not: it is how a busy GPU runs."""
    if slowdown := case.environment.get("slowdown"):
        yield f"a GPU was slowed down: {slowdown}"
    if errors := case.environment.get("memory_errors_uncorrected"):
        yield f"{errors} uncorrected memory errors were counted"


def accounts_agree(case: Case) -> Iterator[str]:
    yield from case.disagreements


def figures_follow_from_each_other(case: Case) -> Iterator[str]:
    """Tell what the figures of the report cannot all be; sweep/report/consistency.py has the rules."""
    asked = case.of("osl") if case.report.tool is Tool.BENCHMARK_SERVING else None
    told = list(contradictions(case.report, asked))
    yield from told[:MOST_TOLD]
    if more := len(told[MOST_TOLD:]):
        yield f"and {more} more contradictions of its figures"


def measurement_took_as_long_as_reported(case: Case) -> Iterator[str]:
    """Compare `bench_s` of the environment with the report's duration.

    launchers/publish.py takes it from the report's JSON, so they differ by half a printed digit at most.
    """
    told, duration = case.environment.get("bench_s"), case.report.duration_s
    printed = 5.1e-3 if case.report.tool is Tool.BENCHMARK_SERVING else 5.1e-8
    if told is not None and abs(told - duration) > printed + FLOATING_POINT * duration:
        yield f"the environment says that measuring took {told:g} s, the report {duration:g} s"


RULES: tuple[Callable[[Case], Iterator[str]], ...] = (
    tokens_were_produced,
    every_request_succeeded,
    lengths_are_those_asked_for,
    number_of_requests_is_that_asked_for,
    concurrency_was_reached,
    layout_is_that_asked_for,
    kv_cache_is_that_asked_for,
    quantization_is_the_checkpoint_s,
    limits_are_those_asked_for,
    identity_is_that_asked_for,
    engine_arguments_are_those_asked_for,
    report_is_of_this_attempt,
    hardware_was_healthy,
    accounts_agree,
    figures_follow_from_each_other,
    measurement_took_as_long_as_reported,
)


# ------------------------------------------------------------------------------------------------------ what is proved


def unverified(case: Case) -> tuple[str, ...]:
    """Return the settings that were asked for and that neither the report nor the engine's arguments prove."""
    told = _told_by_engine(case).keys()
    proved = {name for name, stated in PROVED_BY_REPORT.items() if getattr(case.report, stated) is not None}
    return tuple(name for name in SETTINGS if case.of(name) is not None and name not in proved and name not in told)


def _told_by_engine(case: Case) -> dict[str, tuple[str, str]]:
    """Return (asked, told) of every setting that the engine's arguments tell, both in one spelling."""
    found: dict[str, tuple[str, str]] = {}
    for name, setting in SETTINGS.items():
        asked = case.of(name)
        if setting.yaml is None or asked is None or setting.yaml not in case.arguments or _is_set_by_bench(case, name):
            continue
        told = case.arguments[setting.yaml]
        if name == "kv_cache_dtype":
            of_engine, of_point = _kv_dtype(told.lower(), case.model), _kv_dtype(asked, case.model)
            if of_engine is not None and of_point is not None:
                found[name] = (of_point, of_engine)
        elif told in ("None", "-1"):
            if name == "ep":
                found[name] = (_spelled(asked), "1")  # TensorRT-LLM's default: the experts are split by tp
        elif not (name == "moe_backend" and "AUTO" in (told.upper(), str(asked).upper())):
            found[name] = (_spelled(asked), _spelled(told))
    engine = json.loads(case.of("engine") or "{}")
    if "cuda_graph_config" in engine and "use_cuda_graph" in case.arguments:
        asked = str(engine["cuda_graph_config"] is not None)
        found["engine.cuda_graph_config"] = (_spelled(asked), _spelled(case.arguments["use_cuda_graph"]))
    keys = dict(_leaves("", engine))
    for section in (section for key in keys for section in _sections(key)):
        if case.arguments.get(section) == "None":
            found[f"engine.{section}"] = ("set", "none")  # all of it was lost
    for key in keys.keys() & case.arguments.keys():
        found[f"engine.{key}"] = (_spelled(keys[key]), _spelled(case.arguments[key]))
    if keys and keys.keys() <= case.arguments.keys():
        found["engine"] = ("", "")  # the whole of it is told
    return found


def _is_set_by_bench(case: Case, name: str) -> bool:
    """Say whether the benchmark sets this itself, so that what was asked for is neither wrong nor proved."""
    return name in SET_BY_LATENCY and case.of("bench") == Bench.LATENCY


def _kv_dtype(said: Any, model: Model | None) -> str | None:
    """Return what a KV dtype comes to: `auto` is what the checkpoint pins, or BF16; None where that is not known."""
    if said is None:
        return None
    if str(said) != KvCacheDtype.AUTO:
        return str(said)
    return None if model is None else str(model.kv_cache_dtype or "bf16")


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys of the engine YAML; a list is one value, and no dump tells it."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), item)
    else:
        yield path, value


def _sections(key: str) -> Iterator[str]:
    """Yield the keys of the sections that a dotted key lies in."""
    parts = key.split(".")
    yield from (".".join(parts[:length]) for length in range(1, len(parts)))


def _spelled(value: Any) -> str:
    """Return one spelling of a value, whether it comes from Python, YAML or a dump."""
    text = str(value)
    try:
        return f"{float(text):g}"
    except ValueError:
        return text.lower()
