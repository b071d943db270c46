"""What a deployment's pod reads: plain lines for bash, and engine files exactly as TensorRT-LLM reads them.

    points.txt              one attempt a line: POINT REPEAT-ATTEMPT LIMIT_S ENGINE DATASET, in the order of measuring
    argv-POINT.txt          trtllm-bench's arguments, one a line
    engine-ENGINE.yaml      the engine YAML
    dataset-DATASET.txt     isl, osl, number of requests, seed: a line each
    model.txt               Hugging Face id; revision (an empty line: the newest); size of the weights in 1e9 bytes (an
                            empty line: unknown); seconds that they may take before the first point: a line each

A value of the user is a line of its own and never part of a command. What only the pod knows stands as a placeholder
that is a whole line (PLACEHOLDERS); a value that looks like one is refused.

One setting is given in one place only, because versions differ in who wins: layout and batch limits on the command
line, where the report reads them; the KV cache, attention DP, MoE backend, speculation and chunking in the YAML. Its
kv_cache_config is always whole: trtllm-bench replaces its own section by it and merges no single keys.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import yaml

from sweep.errors import UsageError
from sweep.plan import Deployment
from sweep.point import UNLIMITED, Bench, KvCacheDtype, Point, identity


class Placeholder(StrEnum):
    """Lines of argv-POINT.txt that the launcher replaces."""

    MODEL_PATH = "@model_path@"
    DATASET = "@dataset@"
    ENGINE_OPTION = "@engine_option@"
    """--config or --extra_llm_api_options, whichever this version has."""
    ENGINE = "@engine@"
    REPORT = "@report@"
    REQUESTS = "@requests@"


PLACEHOLDERS = frozenset(Placeholder)


def files_of(deployment: Deployment, engine_texts: Mapping[str, str], *, limit_s: int, start_s: int) -> dict[str, str]:
    """Return the files of a deployment by name.

    Args:
        engine_texts: the user's engine YAML by model id, as it was written.
        limit_s: after so many seconds a point's run is ended.
        start_s: the weights may take so many seconds before the first point.

    Raises:
        UsageError: a value cannot be a line, or the bench does not run this way.
    """
    model, revision = deployment.model, deployment.attempts[0].point.revision or ""
    weights_gb = "" if model.weights_gb is None else f"{model.weights_gb:.1f}"
    files: dict[str, str] = {"model.txt": _lines(model.id, revision, weights_gb, start_s)}
    points: list[str] = []
    for attempt in deployment.attempts:
        point = attempt.point
        engine, dataset = point.engine_id, dataset_id(point)
        points.append(f"{attempt.point_id} {attempt.repeat}-{attempt.number} {limit_s} {engine} {dataset}")
        files[f"argv-{attempt.point_id}.txt"] = _lines(*arguments(point))
        files[f"engine-{engine}.yaml"] = engine_yaml(point, engine_texts[point.model])
        files[f"dataset-{dataset}.txt"] = _lines(point.isl, point.osl, point.num_requests, point.dataset_seed)
    return {"points.txt": _lines(*points), **files}


def dataset_id(point: Point) -> str:
    """Return the name of the dataset of a point: tokens depend on the model's vocabulary, the lengths and the seed."""
    about = {"model": point.model, "revision": point.revision, "isl": point.isl, "osl": point.osl}
    return identity({"dataset": about, "requests": point.num_requests, "seed": point.dataset_seed})


def arguments(point: Point) -> list[str]:
    """Return the arguments of trtllm-bench, 1.1 to 1.4.

    `latency` takes no batch limits, no policy and no per-request records, and always streams.

    Raises:
        UsageError: benchmark_serving runs otherwise, there is no dataset of the modality, or a value is a placeholder.
    """
    if point.bench == Bench.SERVE:
        raise UsageError("bench=serve needs a server and a client; in a pod only throughput and latency run so far")
    if point.modality is not None:
        raise UsageError(
            f"modality={point.modality}: in a pod only datasets of text are made so far; leave modality out"
        )
    said: list[object] = ["--model", point.model, "--model_path", Placeholder.MODEL_PATH, point.bench.value]
    said += ["--backend", "pytorch", "--tp", point.tp, "--pp", point.pp, "--ep", point.ep]
    said += ["--max_seq_len", point.max_seq_len, "--dataset", Placeholder.DATASET, "--num_requests", point.num_requests]
    said += ["--concurrency", -1 if point.concurrency == UNLIMITED else point.concurrency, "--warmup", point.warmup]
    if point.bench == Bench.THROUGHPUT:
        said += ["--max_batch_size", point.max_batch_size, "--max_num_tokens", point.max_num_tokens]
        said += ["--scheduler_policy", point.scheduler_policy.value, *(["--streaming"] if point.streaming else [])]
        said += ["--request_json", Placeholder.REQUESTS]
    if point.max_input_len is not None:
        said += ["--max_input_len", point.max_input_len]
    said += [Placeholder.ENGINE_OPTION, Placeholder.ENGINE, "--report_json", Placeholder.REPORT]
    for value in (point.model, point.image):
        if value in PLACEHOLDERS:
            raise UsageError(f"{value} cannot be a model's name: the launcher replaces such lines")
    return [str(value) for value in said]


def engine_yaml(point: Point, text: str) -> str:
    """Return the engine YAML of a point: the user's text, byte for byte, if it says the same; else all of it anew.

    text: what the user wrote; its keys are in `point.engine` and in the settings already.
    """
    tree = engine_tree(point)
    if _without_defaults(yaml.safe_load(text)) == tree:
        return text
    return str(yaml.safe_dump(tree, sort_keys=True, allow_unicode=True, width=120))


def engine_tree(point: Point) -> dict[str, Any]:
    """Return all that the engine YAML of a point says, as plain data."""
    tree: dict[str, Any] = json.loads(point.engine)
    cache = dict(tree.get("kv_cache_config") or {})
    cache.setdefault("enable_block_reuse", False)  # random prompts share nothing; trtllm-bench says the same
    cache["free_gpu_memory_fraction"] = point.kv_cache_free_gpu_mem_fraction
    if point.kv_cache_dtype != KvCacheDtype.AUTO:
        cache["dtype"] = point.kv_cache_dtype.value
    tree["kv_cache_config"] = cache
    if point.attention_dp:
        tree["enable_attention_dp"] = True
    if point.moe_backend is not None:
        tree["moe_config"] = dict(tree.get("moe_config") or {}) | {"backend": point.moe_backend.value}
    if point.mtp_layers:
        speculation = {"decoding_type": "MTP", "num_nextn_predict_layers": point.mtp_layers}
        tree["speculative_config"] = dict(tree.get("speculative_config") or {}) | speculation
    if not point.chunked_prefill:  # on by default from 1.1 on
        tree["enable_chunked_prefill"] = False
    return tree


def _without_defaults(said: Any) -> Any:
    """Return a user's engine YAML without what TensorRT-LLM does anyway, as `engine_tree` leaves it out."""
    tree = dict(said)
    cache = dict(tree.get("kv_cache_config") or {})
    if cache.get("dtype") == KvCacheDtype.AUTO.value:
        del cache["dtype"]
        tree["kv_cache_config"] = cache
    for key, default in (("enable_attention_dp", False), ("enable_chunked_prefill", True)):
        if tree.get(key) is default:
            del tree[key]
    return tree


def _lines(*values: object) -> str:
    said = [str(value) for value in values]
    for value in said:
        if "\n" in value or "\r" in value or "\0" in value:
            raise UsageError(f"{value!r} cannot be given to a pod: it has a line break in it")
    return "".join(f"{value}\n" for value in said)
