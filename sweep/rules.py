"""What TensorRT-LLM refuses, and what cannot fit: known before a GPU is asked.

Each rule is one sentence that the user reads. Sources: TensorRT-LLM 1.2.0rc (ModelLoader's KV dtype check, Mapping's
moe_tp * moe_ep, trtllm-bench's length checks) and NVIDIA's deployment guide for DeepSeek-R1 (MoE backends).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sweep.point import GPUS, Bench, KvCacheDtype, Model, MoeBackend, Precision

Cell = Mapping[str, Any]

_FP8 = frozenset({MoeBackend.DEEPGEMM, MoeBackend.TRTLLM, MoeBackend.AUTO})
_NVFP4 = frozenset({MoeBackend.CUTLASS, MoeBackend.TRTLLM, MoeBackend.CUTEDSL, MoeBackend.AUTO, None})
BLACKWELL_MOE: Mapping[Precision, frozenset[MoeBackend | None]] = {
    Precision.NVFP4: _NVFP4,
    Precision.FP8_BLOCK: _FP8,
    Precision.FP8: _FP8 | {MoeBackend.CUTLASS, None},
}
"""MoE backends that have kernels for a checkpoint's precision on B200 and GB200 with EP <= 8; None is the image's
default, CUTLASS, which has none for FP8 blocks there. WIDEEP needs EP > 8 and so more than one node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the rules say of one engine: settings in their normal form, and why it cannot run, if it cannot."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    refused: str = ""
    too_big: str = ""


def judge_engine(cell: Cell, model: Model) -> Verdict:
    """Judge what one loaded engine fixes."""
    changes = _normal_form(cell, model)
    now = {**cell, **changes}
    refused = _kv_cache(now, model) or _parallelism(now, model) or _moe_backend(now, model)
    if now["mtp_layers"] and not model.mtp:
        refused = refused or f"{model.id} has no layer for multi-token prediction"
    return Verdict(changes=changes, refused=refused, too_big="" if refused else _weights(now, model))


def judge_request(cell: Cell) -> str:
    """Return why trtllm-bench would refuse requests of this length, or an empty text."""
    isl, osl = cell["isl"], cell["osl"]
    if isl + osl > cell["max_seq_len"]:
        return f"isl + osl = {isl + osl} is more than max_seq_len {cell['max_seq_len']}"
    if isl > cell["max_num_tokens"] and not cell["chunked_prefill"]:
        return f"isl {isl} is more than max_num_tokens {cell['max_num_tokens']} without chunked prefill"
    return ""


def _normal_form(cell: Cell, model: Model) -> dict[str, Any]:
    """Return the settings that mean the same as others: two spellings of one run must be one point."""
    changes: dict[str, Any] = {}
    if cell["kv_cache_dtype"] == KvCacheDtype.AUTO and model.kv_cache_dtype is not None:
        changes["kv_cache_dtype"] = model.kv_cache_dtype
    if not model.moe:
        changes |= {"ep": 1, "moe_backend": None}
    if cell["bench"] == Bench.LATENCY:  # trtllm-bench latency forces both
        changes |= {"max_batch_size": 1, "streaming": True}
    return changes


def _kv_cache(cell: Cell, model: Model) -> str:
    asked = cell["kv_cache_dtype"]
    if model.kv_cache_dtype is not None and asked != model.kv_cache_dtype:
        return f"the checkpoint pins its KV cache to {model.kv_cache_dtype}, so kv_cache_dtype={asked} is refused"
    return ""


def _parallelism(cell: Cell, model: Model) -> str:
    tp, pp, ep, gpu = cell["tp"], cell["pp"], cell["ep"], str(cell["gpu"])
    per_node = GPUS[gpu].per_node
    if tp * pp > per_node:
        return f"tp * pp = {tp * pp} is more than the {per_node} GPUs of a {gpu} node (one engine, one node)"
    if tp % ep:
        return f"ep {ep} does not divide tp {tp}"
    if cell["attention_dp"] and not model.moe:
        return f"attention DP needs expert layers, and {model.id} is dense: it would only be replicated"
    return ""


def _moe_backend(cell: Cell, model: Model) -> str:
    backend, gpu = cell["moe_backend"], str(cell["gpu"])
    if not model.moe:
        return ""
    if backend == MoeBackend.WIDEEP:
        return f"moe_backend=WIDEEP needs more than 8 expert ranks, not ep {cell['ep']}"
    allowed = BLACKWELL_MOE.get(model.precision)
    if GPUS[gpu].blackwell and allowed is not None and backend not in allowed:
        named = ", ".join(sorted(str(choice) for choice in allowed if choice))
        said = f"moe_backend={backend}" if backend else "the default moe_backend (CUTLASS)"
        return f"{said} has no {model.precision} kernels on {gpu}: use one of {named}"
    return ""


def _weights(cell: Cell, model: Model) -> str:
    """The bound that holds without any database: every GPU carries at least its even share of the weights."""
    gpus, memory_gb = cell["tp"] * cell["pp"], GPUS[str(cell["gpu"])].memory_gb
    share_gb = model.weights_gb / gpus
    if share_gb < memory_gb:
        return ""
    return f"{share_gb:.1f} GB of weights on each of {gpus} GPUs, which have {memory_gb:.1f} GB"
