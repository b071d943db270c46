"""Adapter to NVIDIA's measured operator database: does an engine fit, how long does each of its steps take.

The database is the package aiconfigurator-core (0.12.0 is its last release under that name) or its successor
aisimulate, which has the same facade; it is an optional extra and is imported when it is first asked. Everything it
raises becomes Infeasible (the engine cannot run) or NoPrediction (nothing is known of it). It is never allowed near
the network: a model that is not bundled is refused before the package could try to download it.

Its traps, all met here: a version must always be given; FP8 attention kernels are inferred from the checkpoint and may
not exist (MLA on gb200); attention DP is spelled tp=1, dp=tp, and accepted for dense models too; a mixed step divides
context attention by ceil(isl / tokens); warnings reach stderr; an assertion reports heads that tp does not divide.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from sweep.errors import Infeasible, NoPrediction, UsageError
from sweep.point import GPUS, SETTINGS, KvCacheDtype, Model, Point, Precision, PredictAs

PACKAGES = {"aisimulate_core": "aisimulate", "aiconfigurator_core": "aiconfigurator-core"}
"""Modules in the order in which they are tried, each with the distribution that holds it."""
DATABASE_VERSION = "1.3.0rc20"
"""The database's `current` slot of TensorRT-LLM; there are no tables of the 1.2 that the default image holds, and dense
models differ by 10 %, MoE models by up to a third between the two."""
MISSING_EXTRA = (
    "predictions need NVIDIA's operator database, the extra `predict`: pip install aiconfigurator-core==0.12.0"
)

SYSTEMS = {"gb200": "gb200", "b200": "b200_sxm", "h200": "h200_sxm", "h100": "h100_sxm"}
KV_QUANT = {KvCacheDtype.FP8: "fp8", KvCacheDtype.AUTO: "bfloat16", KvCacheDtype.NVFP4: "fp8"}
"""The database knows no NVFP4 cache: FP8 latencies stand for it, and the pool holds 16/9 as many tokens (4 bits and an
FP8 scale per 16 values, against 8 bits)."""
NVFP4_CAPACITY = 16 / 9
KEPT_ENGINES = 64

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Latency of the steps of one engine, and its KV pool.

    kv_tokens: tokens that the KV pool of one attention-DP rank (of one pipeline lane) holds.
    weights_gb: weights on one GPU, 1e9 bytes.
    predicted_as: what stood for the model.
    """

    kv_tokens: int
    weights_gb: float
    predicted_as: str
    handle: Any

    def decode_ms(self, batch: int, kv_len: int) -> float:
        """Return the latency of one decode step of `batch` sequences at a mean KV length of `kv_len` tokens.

        Raises:
            NoPrediction: the database has no data there; so do the other two.
        """
        return _translated(lambda: float(self.handle.decode_step_latency(batch, max(1, kv_len - 1), 2)))

    def prefill_ms(self, prompts: int, isl: int) -> float:
        """Return the latency of one step that holds `prompts` whole prompts and nothing else."""
        return _translated(lambda: float(self.handle.predict_prefill_latency(prompts, isl)))

    def mixed_ms(self, prompts: int, isl: int, chunks: Sequence[tuple[int, int]], decodes: int, kv_len: int) -> float:
        """Return the latency of a step of whole prompts, chunks of others, and `decodes` sequences of length `kv_len`.

        chunks: (tokens, tokens of the same prompt computed before); attention reads the earlier ones again.

        The layers outside attention see the sum of tokens; attention is the sum over whole prompts, chunks and decodes.
        The database's own mixed step knows one prompt length only and spreads the attention of a prompt that is longer
        than the step evenly over ceil(isl / tokens) steps: 8128 of 8192 tokens would cost half.
        """
        return _translated(lambda: self._mixed_ms(prompts, isl, chunks, decodes, max(kv_len, isl + 1)))

    def _mixed_ms(self, prompts: int, isl: int, chunks: Sequence[tuple[int, int]], decodes: int, kv_len: int) -> float:
        breakdown, whole = self.handle.mixed_step_breakdown, prompts * isl
        tokens = whole + sum(chunk for chunk, _ in chunks)
        total, outside, _, decoding = breakdown(tokens, decodes, isl, 2 * (kv_len - isl))
        if not chunks:
            return float(total)
        attention = breakdown(whole, 0, isl, 2)[2] if prompts else 0.0
        for chunk, before in chunks:
            attention += breakdown(before + chunk, 0, before + chunk, 2, before)[2]
        return float(outside + decoding + attention)


def available() -> bool:
    """Return whether an operator database is installed (without importing it)."""
    return any(importlib.util.find_spec(package) is not None for package in PACKAGES)


def database_version() -> str:
    """Return what a prediction rests on: the package's version and its table of TensorRT-LLM.

    Raises:
        UsageError: no operator database is installed.
    """
    package = _package()
    return f"{PACKAGES[package]} {importlib.metadata.version(PACKAGES[package])}, TensorRT-LLM {DATABASE_VERSION}"


def step_times(point: Point, model: Model) -> StepTimes:
    """Return the step latencies of the point's engine; engines are kept, the last KEPT_ENGINES of them.

    Raises:
        Infeasible: the weights leave no room for a KV cache.
        NoPrediction: the database holds nothing near this model or layout.
        UsageError: no operator database is installed.
    """
    engine = tuple(getattr(point, name) for name in _RELEVANT)
    found = _cached(engine, model)
    if isinstance(found, (Infeasible, NoPrediction)):
        raise type(found)(*found.args)
    return found


def check_name(model: Model) -> None:
    """Refuse a stand-in that the operator database does not know: no point of the model could be predicted.

    Raises:
        UsageError: it does not know it, or none is installed.
    """
    if model.predict_as is not None and (reason := _not_bundled(_package(), model.predict_as.model)):
        raise UsageError(f"model.predict_as.model of {model.id}: {reason} (null: it is not predicted)")


def too_big(point: Point, model: Model) -> str | None:
    """Return why the point's engine does not fit in memory, with the GB; None where it fits or nothing is known.

    A finer answer than the weights alone: activations, buffers of NCCL and the runtime count too.
    """
    stand_in = _stand_in(model, str(point.gpu))
    if stand_in is None:
        return None
    package = _package()
    logging.getLogger(package).setLevel(logging.ERROR)
    engine = {name: getattr(point, name) for name in _RELEVANT}
    try:
        _check(package, engine, model, stand_in)
        arguments = _arguments(engine, model, stand_in) | {"fmha_quant_mode": stand_in.fmha}
        _translated(lambda: _memory(package, engine, arguments, stand_in))
    except Infeasible as error:
        return str(error)
    except NoPrediction:
        return None
    return None


_RELEVANT = tuple(
    name
    for name, setting in SETTINGS.items()
    if (setting.engine or name == "modality") and name not in ("image", "engine")
)
"""The settings that the database distinguishes: those of the engine, less what it knows nothing about."""


@lru_cache(maxsize=KEPT_ENGINES)
def _cached(engine: tuple[Any, ...], model: Model) -> StepTimes | Infeasible | NoPrediction:
    """A failure is as expensive as an answer, so both are kept."""
    try:
        return _load(dict(zip(_RELEVANT, engine, strict=True)), model)
    except (Infeasible, NoPrediction) as error:
        return error


def _load(engine: Mapping[str, Any], model: Model) -> StepTimes:
    stand_in = _stand_in(model, str(engine["gpu"]))
    if stand_in is None:
        raise NoPrediction(f"the operator database has nothing near {model.id}")
    if engine["modality"] is not None:
        raise NoPrediction(f"the operator database knows no {engine['modality']} inputs")
    if engine["mtp_layers"]:
        raise NoPrediction("how many draft tokens of multi-token prediction are accepted is not modelled")
    package = _package()
    logging.getLogger(package).setLevel(logging.ERROR)  # its warnings otherwise reach stderr through lastResort
    _check(package, engine, model, stand_in)
    arguments = _arguments(engine, model, stand_in)
    compiled, fmha = _translated(lambda: _compile(package, engine, arguments, stand_in))
    memory = _translated(lambda: _memory(package, engine, arguments | {"fmha_quant_mode": fmha}, stand_in))
    tokens = int(memory["total_kv_size_tokens"])
    nvfp4 = engine["kv_cache_dtype"] == KvCacheDtype.NVFP4
    return StepTimes(
        kv_tokens=int(tokens * NVFP4_CAPACITY) if nvfp4 else tokens,
        weights_gb=memory["memory_breakdown"]["weights_bytes"] / 1e9,
        predicted_as=f"{stand_in}{' kv=fp8 extrapolated to nvfp4' if nvfp4 else ''}",
        handle=compiled,
    )


def _arguments(engine: Mapping[str, Any], model: Model, stand_in: PredictAs) -> dict[str, Any]:
    """Translate trtllm-bench's parallelism; the database wants tp * dp == moe_tp * moe_ep."""
    tp, ep, attention_dp = engine["tp"], engine["ep"], engine["attention_dp"]
    experts = _bundled_experts(_package(), stand_in) if model.moe is None else model.moe
    dtype = engine["kv_cache_dtype"]
    if dtype == KvCacheDtype.AUTO and model.kv_cache_dtype is not None:
        dtype = model.kv_cache_dtype
    return {
        "tp_size": 1 if attention_dp else tp,
        "pp_size": engine["pp"],
        "attention_dp_size": tp if attention_dp else 1,
        "moe_tp_size": tp // ep if experts else 1,
        "moe_ep_size": ep if experts else 1,
        "gemm_quant_mode": stand_in.gemm,
        "moe_quant_mode": stand_in.moe,
        "kvcache_quant_mode": KV_QUANT[KvCacheDtype(dtype)],
    }


def _compile(
    package: str, engine: Mapping[str, Any], arguments: Mapping[str, Any], stand_in: PredictAs
) -> tuple[Any, str | None]:
    """Compile the engine; where FP8 attention was only inferred and has no data, use BF16 attention."""
    handle = _sdk(package).EngineHandle

    def compiled(fmha: str | None) -> Any:
        system = SYSTEMS[str(engine["gpu"])]
        made = handle.compile(
            stand_in.model, system, "trtllm", backend_version=DATABASE_VERSION, fmha_quant_mode=fmha, **arguments
        )
        made.predict_prefill_latency(1, 128)  # the tables are read at the first question
        return made

    if stand_in.fmha is not None:
        return compiled(stand_in.fmha), stand_in.fmha
    try:
        return compiled(None), None
    except RuntimeError:
        return compiled("bfloat16"), "bfloat16"


def _memory(
    package: str, engine: Mapping[str, Any], arguments: Mapping[str, Any], stand_in: PredictAs
) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _sdk(package).estimate_kv_cache(
        stand_in.model,
        SYSTEMS[str(engine["gpu"])],
        "trtllm",
        DATABASE_VERSION,
        max_num_tokens=engine["max_num_tokens"],
        max_batch_size=engine["max_batch_size"],
        memory_fraction_kind="of_free",
        memory_fraction_value=engine["kv_cache_free_gpu_mem_fraction"],
        **arguments,
    )
    return found


def _translated(ask: Callable[[], T]) -> T:
    """Ask the database; the one place where its exceptions become ours."""
    try:
        return ask()
    except ValueError as error:
        said = " ".join(str(error).split())
        if "no KV budget" in said:
            raise Infeasible(_in_gb(said)) from error
        raise NoPrediction(f"the operator database refuses: {said}") from error
    except (RuntimeError, KeyError, AssertionError) as error:
        raise NoPrediction(f"the operator database has no data: {' '.join(str(error).split())[:300]}") from error
    except Exception as error:  # its download error is a plain Exception
        raise NoPrediction(f"the operator database failed: {type(error).__name__}: {str(error)[:300]}") from error


def _in_gb(said: str) -> str:
    """Write the byte counts of the database's message as GB."""
    said = re.sub(r"\b(\d{9,}) bytes\b", r"\1", said)
    return re.sub(r"(?:bytes|capacity)?=?\b(\d{9,})\b", lambda found: f"{int(found[1]) / 1e9:.1f} GB", said)


def _check(package: str, engine: Mapping[str, Any], model: Model, stand_in: PredictAs) -> None:
    """Refuse what the package would look for on the network, or would answer although it makes no sense."""
    if reason := _not_bundled(package, stand_in.model):
        raise NoPrediction(reason)
    experts = _bundled_experts(package, stand_in)
    if engine["attention_dp"] and not (experts if model.moe is None else model.moe):
        raise NoPrediction(f"attention DP only replicates a model without expert layers, and {model.id} is dense")
    if model.moe is not None and experts != model.moe:
        raise NoPrediction(
            f"{model.id} is declared {_kind(model.moe)}, but the database's {stand_in.model} is {_kind(experts)}"
        )


def _stand_in(model: Model, gpu: str) -> PredictAs | None:
    """Return what stands for the model on this GPU.

    The activations of MXFP4 experts are TensorRT-LLM's choice: MXFP8 on Blackwell, BF16 on Hopper
    (ModelConfig.get_mxfp4_quant_algo). The database takes BF16 everywhere, three times as slow on GB200.
    """
    stand_in = model.predict_as
    if stand_in is None or stand_in.moe is not None or model.precision != Precision.MXFP4:
        return stand_in
    return replace(stand_in, moe="w4a8_mxfp4_mxfp8" if GPUS[gpu].blackwell else "w4a16_mxfp4")


def _not_bundled(package: str, model: str) -> str:
    """Return that the database does not bundle a model, with the nearest that it does; an empty text where it does."""
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec is not None else None
    folders = [Path(place) / "model_configs" for place in places or ()]
    suffix = "_config.json"
    if not folders or any((folder / f"{model.replace('/', '--')}{suffix}").exists() for folder in folders):
        return ""
    files = [path.name for folder in folders for path in folder.glob(f"*--*{suffix}")]
    names = [name.removesuffix(suffix).replace("--", "/", 1) for name in files if "_hf_quant" not in name]
    begin = [name for name in sorted(names) if name.lower().startswith(model.lower())]
    near = dict.fromkeys([*begin, *difflib.get_close_matches(model, sorted(names), n=3, cutoff=0.5)])
    quoted = [f'"{name}"' for name in near][:3]
    hint = f"; did you mean {' or '.join(quoted)}?" if near else ""
    return f"the operator database does not bundle {model}{hint}"


def _bundled_experts(package: str, stand_in: PredictAs) -> bool:
    """Return whether the database's model has expert layers."""
    return _translated(lambda: bool(_sdk(package, "models").check_is_moe(stand_in.model)))


def _kind(experts: bool) -> str:
    return "MoE" if experts else "dense"


@lru_cache(maxsize=1)
def _package() -> str:
    for package in PACKAGES:
        if importlib.util.find_spec(package) is not None:
            return package
    raise UsageError(MISSING_EXTRA)


def _sdk(package: str, module: str = "") -> Any:
    return importlib.import_module(f"{package}.sdk{f'.{module}' if module else ''}")
