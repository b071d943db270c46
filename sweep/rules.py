"""What TensorRT-LLM refuses, and what cannot fit: known before a GPU is asked.

Each rule is one sentence that the user reads. Sources: TensorRT-LLM 1.2.0rc (ModelLoader's KV dtype check, Mapping's
moe_tp * moe_ep, trtllm-bench's length checks) and NVIDIA's deployment guide for DeepSeek-R1 (MoE backends).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sweep.engine_keys import exclusion
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
    refused = _kv_cache(now, model) or _parallelism(now, model) or _moe_backend(now, model) or _fp4(now, model)
    refused = refused or _engine_yaml(now)
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
    if model.moe is False:
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
    if cell["attention_dp"] and model.moe is False:
        return f"attention DP needs expert layers, and {model.id} is dense: it would only be replicated"
    return ""


def _moe_backend(cell: Cell, model: Model) -> str:
    backend, gpu = cell["moe_backend"], str(cell["gpu"])
    if not model.moe:
        return ""
    if backend == MoeBackend.WIDEEP:
        return f"moe_backend=WIDEEP needs more than 8 expert ranks, not ep {cell['ep']}"
    allowed = None if model.precision is None else BLACKWELL_MOE.get(model.precision)
    if GPUS[gpu].blackwell and allowed is not None and backend not in allowed:
        named = ", ".join(sorted(str(choice) for choice in allowed if choice))
        said = f"moe_backend={backend}" if backend else "the default moe_backend (CUTLASS)"
        return f"{said} has no {model.precision} kernels on {gpu}: use one of {named}"
    return ""


def _fp4(cell: Cell, model: Model) -> str:
    """Hopper has no FP4 tensor cores: only MARLIN's weight-only kernels (1.3 and later) read NVFP4 weights there."""
    gpu = str(cell["gpu"])
    if GPUS[gpu].blackwell:
        return ""
    marlin = cell["moe_backend"] == MoeBackend.MARLIN or "marlin" in str(cell["engine"]).lower()
    if model.precision == Precision.NVFP4 and not marlin:
        return f"{gpu} has no FP4: the nvfp4 weights of {model.id} need gb200 or b200"
    if cell["kv_cache_dtype"] == KvCacheDtype.NVFP4:
        return f"{gpu} has no FP4: kv_cache_dtype=nvfp4 needs gb200 or b200"
    return ""


def _engine_yaml(cell: Cell) -> str:
    """Judge what the engine YAML says beside the settings, and what of it does not go together with them.

    Sources: `exclusion`; Mapping, in which moe_tp * moe_ep * moe_cluster is tp; MTPDecodingConfig, whose draft length
    is that of mtp_layers and whose default is one layer.
    """
    tree: Mapping[str, Any] = json.loads(str(cell["engine"]))
    if reason := exclusion(tree, str(cell["image"])):
        return reason
    if (tree.get("context_parallel_size") or 1) != 1:
        return "context_parallel_size is more GPUs than tp * pp, and no figure would count them"
    tp, ep, split = cell["tp"], cell["ep"], tree.get("moe_tensor_parallel_size")
    if isinstance(split, int) and split > 0 and split * ep * (tree.get("moe_cluster_parallel_size") or 1) != tp:
        return f"moe_tensor_parallel_size {split} times ep {ep} is not tp {tp}"
    speculation = tree.get("speculative_config") or {}
    layers, kind, length = cell["mtp_layers"], speculation.get("decoding_type"), speculation.get("max_draft_len")
    if layers and kind not in (None, "MTP"):
        return f"mtp_layers={layers} and speculative_config.decoding_type {kind} exclude each other"
    if layers and length not in (None, layers):
        return f"speculative_config.max_draft_len {length} is not mtp_layers {layers}: leave it out"
    if kind == "MTP" and not layers:
        return "speculative_config.decoding_type MTP with mtp_layers=0: give mtp_layers, and leave the key out"
    return ""


def _weights(cell: Cell, model: Model) -> str:
    """The bound that holds without any database: every GPU carries at least its even share of the weights."""
    if model.weights_gb is None:
        return ""
    gpus, memory_gb = cell["tp"] * cell["pp"], GPUS[str(cell["gpu"])].memory_gb
    share_gb = model.weights_gb / gpus
    if share_gb < memory_gb:
        return ""
    return f"{share_gb:.1f} GB of weights on each of {gpus} GPUs, which have {memory_gb:.1f} GB"
