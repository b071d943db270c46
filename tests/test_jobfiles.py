"""What a pod reads: lines for bash, engine files for TensorRT-LLM."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sweep import plan
from sweep.composition import read
from sweep.errors import UsageError
from sweep.jobfiles import PLACEHOLDERS, Placeholder, arguments, engine_tree, engine_yaml, files_of
from sweep.matrix import expand
from sweep.point import UNLIMITED, Bench, KvCacheDtype, Modality, MoeBackend, Point
from tests.test_matrix import CHECKED, LLAMA

TEXT = """\
# mine
cuda_graph_config: {enable_padding: true}   # kept as it is
kv_cache_config:
  enable_block_reuse: false
  free_gpu_memory_fraction: 0.85
"""
POINT = Point(
    bench=Bench.THROUGHPUT,
    image="i",
    model="nvidia/DeepSeek-R1-NVFP4-v2",
    isl=1024,
    osl=512,
    concurrency=64,
    num_requests=320,
    streaming=True,
    tp=4,
    ep=4,
    kv_cache_dtype=KvCacheDtype.AUTO,
    kv_cache_free_gpu_mem_fraction=0.85,
    max_batch_size=512,
    max_num_tokens=8192,
    max_seq_len=9216,
    engine='{"cuda_graph_config":{"enable_padding":true},"kv_cache_config":{"enable_block_reuse":false}}',
)


def options(point: Point) -> dict[str, str | None]:
    said = arguments(point)
    return {
        word: said[n + 1] if n + 1 < len(said) and not said[n + 1].startswith("--") else None
        for n, word in enumerate(said)
        if word.startswith("--")
    }


# -------------------------------------------------------------------------------------------------------- the arguments


def test_golden_arguments() -> None:
    assert arguments(POINT) == [
        *("--model", "nvidia/DeepSeek-R1-NVFP4-v2", "--model_path", "@model_path@", "throughput"),
        *("--backend", "pytorch", "--tp", "4", "--pp", "1", "--ep", "4"),
        *("--max_seq_len", "9216", "--dataset", "@dataset@", "--num_requests", "320"),
        *("--concurrency", "64", "--warmup", "2", "--max_batch_size", "512", "--max_num_tokens", "8192"),
        *("--scheduler_policy", "guaranteed_no_evict", "--streaming", "--request_json", "@requests@"),
        *("@engine_option@", "@engine@", "--report_json", "@report@"),
    ]


def test_unlimited_is_minus_one() -> None:
    assert options(replace(POINT, concurrency=UNLIMITED))["--concurrency"] == "-1"


def test_what_is_off_has_no_flag() -> None:
    assert "--streaming" not in options(replace(POINT, streaming=False))
    assert "--max_input_len" not in options(POINT)
    assert options(replace(POINT, max_input_len=4096))["--max_input_len"] == "4096"


def test_latency_takes_fewer_options() -> None:
    said = options(replace(POINT, bench=Bench.LATENCY, concurrency=1))
    refused = {"--max_batch_size", "--max_num_tokens", "--streaming", "--scheduler_policy", "--request_json"}
    assert not refused & said.keys()
    assert {"--max_seq_len", "--report_json", "--warmup", "--concurrency", "--tp", "--ep"} <= said.keys()


def test_serve_is_refused() -> None:
    with pytest.raises(UsageError, match="a server and a client"):
        arguments(replace(POINT, bench=Bench.SERVE))


def test_a_modality_is_refused_while_datasets_are_of_text_only() -> None:
    with pytest.raises(UsageError, match="modality=image: in a pod only datasets of text are made so far"):
        arguments(replace(POINT, modality=Modality.IMAGE))


@given(st.text(min_size=1))
def test_a_name_is_a_line_of_its_own_or_refused(model: str) -> None:
    point = replace(POINT, model=model)
    try:
        said = arguments(point)
    except UsageError:
        assert model in PLACEHOLDERS
        return
    assert said[1] == model
    assert [line for line in said if line in PLACEHOLDERS] == [
        *(Placeholder.MODEL_PATH, Placeholder.DATASET, Placeholder.REQUESTS),
        *(Placeholder.ENGINE_OPTION, Placeholder.ENGINE, Placeholder.REPORT),
    ]


# ------------------------------------------------------------------------------------------------------ the engine YAML


def test_the_user_s_file_is_kept_byte_for_byte() -> None:
    assert engine_yaml(POINT, TEXT) == TEXT
    same = TEXT.replace("0.85", "0.85\n  dtype: auto") + "enable_attention_dp: false\nenable_chunked_prefill: true\n"
    assert engine_yaml(POINT, same) == same


def test_what_a_point_adds_is_merged_in() -> None:
    point = replace(
        POINT,
        kv_cache_dtype=KvCacheDtype.FP8,
        kv_cache_free_gpu_mem_fraction=0.8,
        attention_dp=True,
        moe_backend=MoeBackend.CUTLASS,
        mtp_layers=1,
        chunked_prefill=False,
    )
    assert yaml.safe_load(engine_yaml(point, TEXT)) == {
        "cuda_graph_config": {"enable_padding": True},
        "kv_cache_config": {"enable_block_reuse": False, "free_gpu_memory_fraction": 0.8, "dtype": "fp8"},
        "enable_attention_dp": True,
        "moe_config": {"backend": "CUTLASS"},
        "speculative_config": {"decoding_type": "MTP", "num_nextn_predict_layers": 1},
        "enable_chunked_prefill": False,
    }


def test_the_kv_section_is_always_whole() -> None:
    tree = engine_tree(replace(POINT, engine="{}"))
    assert tree == {"kv_cache_config": {"enable_block_reuse": False, "free_gpu_memory_fraction": 0.85}}
    assert yaml.safe_load(engine_yaml(replace(POINT, engine="{}"), "a: 1\n")) == tree


def test_no_setting_is_given_twice() -> None:
    said = json.dumps(engine_tree(replace(POINT, attention_dp=True, chunked_prefill=False)))
    for key in ("tensor_parallel_size", "max_batch_size", "max_num_tokens", "max_seq_len", "moe_expert_parallel_size"):
        assert key not in said
    assert not {"--kv_cache_free_gpu_mem_fraction", "--enable_chunked_context"} & options(POINT).keys()


@pytest.mark.parametrize("experiment", ["recipe", "smoke", "ds_r1_grid", "llama70b_kv", "qwen3_32b_tp"])
def test_shipped_experiments(experiment: str, tmp_path: Path) -> None:
    """Every shipped engine file gives whole files, and its own text to a point that changes nothing of it."""
    cfg = read([f"+experiment={experiment}", f"results_dir={tmp_path}"])
    assert cfg is not None
    for part, said in zip(cfg.parts, cfg.resolved["parts"], strict=True):
        points = expand(part.matrix, part.settings, part.model).points
        texts = {point.engine_id: engine_yaml(point, said["engine_yaml"]) for point in points}
        for point in points:
            assert yaml.safe_load(texts[point.engine_id])["kv_cache_config"]["enable_block_reuse"] is False
        if experiment in ("smoke", "qwen3_32b_tp"):  # the others pin a KV dtype or another share of the memory
            assert said["engine_yaml"] in texts.values()


# ------------------------------------------------------------------------------------------------------------ the files


def deployment(**changed: Any) -> plan.Deployment:
    grown = expand({"grid": {"concurrency": [1, 8], "isl": [64, 128]}}, CHECKED | {"model": LLAMA.id} | changed, LLAMA)
    (made,) = plan.make([(LLAMA, grown)], sweep_id="s", nodes=1).deployments
    return made


def test_files_of_a_deployment() -> None:
    made = deployment()
    files = files_of(made, {LLAMA.id: TEXT}, limit_s=1800, start_s=900)
    lines = files["points.txt"].splitlines()
    assert len(lines) == len(made.attempts) == 4
    for line, attempt in zip(lines, made.attempts, strict=True):
        point_id, number, limit, engine, dataset = line.split(" ")
        assert (point_id, number, limit, engine) == (attempt.point_id, "1-1", "1800", attempt.point.engine_id)
        assert files[f"argv-{point_id}.txt"].splitlines() == arguments(attempt.point)
        assert files[f"dataset-{dataset}.txt"].split() == [
            str(v)
            for v in (attempt.point.isl, attempt.point.osl, attempt.point.num_requests, attempt.point.dataset_seed)
        ]
        assert f"engine-{engine}.yaml" in files
    assert files["model.txt"] == f"{LLAMA.id}\n\n{LLAMA.weights_gb:.1f}\n900\n"


def test_a_line_break_is_refused() -> None:
    made = deployment()
    broken = replace(made.attempts[0], point=replace(made.attempts[0].point, model="a\n--evil"))
    with pytest.raises(UsageError, match="line break"):
        files_of(replace(made, attempts=(broken,)), {"a\n--evil": TEXT}, limit_s=1, start_s=1)


def test_a_dataset_is_shared_by_points_that_need_the_same() -> None:
    files = files_of(deployment(num_requests=8), {LLAMA.id: TEXT}, limit_s=60, start_s=60)
    assert len([name for name in files if name.startswith("dataset-")]) == 2
