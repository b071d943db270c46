"""The adapter to the operator database: its traps, and that everything it raises becomes a reason."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from sweep import composition, config, matrix, predict
from sweep.errors import Infeasible, NoPrediction, UsageError
from sweep.point import Bench, GpuType, KvCacheDtype, Modality, Model, Point, Precision, PredictAs
from sweep.predict import step_times

pytestmark = pytest.mark.skipif(not predict.available(), reason="the extra `predict` is not installed")

R1 = Model(
    id="nvidia/DeepSeek-R1-NVFP4-v2",
    precision=Precision.NVFP4,
    weights_gb=416.6,
    kv_cache_dtype=KvCacheDtype.FP8,
    moe=True,
    mtp=True,
    predict_as=PredictAs(model="nvidia/DeepSeek-V3.1-NVFP4"),
)
LLAMA = Model(
    id="meta-llama/Llama-3.1-70B-Instruct",
    precision=Precision.BF16,
    weights_gb=141.1,
    predict_as=PredictAs(model="meta-llama/Meta-Llama-3.1-70B"),
)


def point(model: Model, **changed: Any) -> Point:
    said: dict[str, Any] = {
        "bench": Bench.THROUGHPUT,
        "image": "i",
        "model": model.id,
        "isl": 1024,
        "osl": 1024,
        "concurrency": 64,
        "num_requests": 320,
        "streaming": True,
        "tp": 4,
        "ep": 4 if model.moe else 1,
        "kv_cache_dtype": model.kv_cache_dtype or KvCacheDtype.AUTO,
        "kv_cache_free_gpu_mem_fraction": 0.9,
        "max_batch_size": 1024,
        "max_num_tokens": 8192,
        "max_seq_len": 9216,
    }
    return Point(**said | changed)


def test_golden_steps_of_r1() -> None:
    """Measured once with aiconfigurator-core 0.12.0; NVIDIA's own figures for this layout (facts of the database)."""
    steps = step_times(point(R1), R1)
    assert steps.kv_tokens == 2260339
    assert steps.weights_gb == pytest.approx(104.148, abs=0.001)
    assert steps.decode_ms(64, 1536) == pytest.approx(17.0687, abs=0.001)
    assert steps.prefill_ms(1, 1024) == pytest.approx(39.1933, abs=0.001)


def test_fp8_attention_without_data_falls_back_to_bf16() -> None:
    """FP8 attention is inferred from the checkpoint, and MLA has no such rows on gb200."""
    said = dataclasses.replace(R1, predict_as=PredictAs(model="nvidia/DeepSeek-V3.1-NVFP4", fmha="bfloat16"))
    assert step_times(point(R1), R1).decode_ms(64, 1536) == step_times(point(R1), said).decode_ms(64, 1536)


def test_attention_dp_has_its_own_pool_per_rank() -> None:
    steps = step_times(point(R1, attention_dp=True), R1)
    assert steps.kv_tokens == 1892728
    assert steps.decode_ms(1, 1024) > step_times(point(R1), R1).decode_ms(1, 1024)


def test_weights_that_leave_no_pool_are_infeasible_with_the_gb() -> None:
    for tp in (1, 2):
        with pytest.raises(Infeasible, match=r"no KV budget: non-KV memory \(\d+\.\d GB\)"):
            step_times(point(R1, tp=tp, ep=tp), R1)
        assert "GB" in (predict.too_big(point(R1, tp=tp, ep=tp), R1) or "")
    assert predict.too_big(point(R1), R1) is None


def test_models_are_not_mixed_up() -> None:
    """NVIDIA's own steady-state formula memoises without the model in its key; step queries must not."""
    llama, r1 = step_times(point(LLAMA), LLAMA), step_times(point(R1), R1)
    first = (llama.decode_ms(64, 1536), r1.decode_ms(64, 1536))
    assert first == (llama.decode_ms(64, 1536), r1.decode_ms(64, 1536))
    assert first[0] != first[1]


@pytest.mark.parametrize(
    ("dtype", "tokens", "said"),
    [
        (KvCacheDtype.AUTO, 1.0, ""),
        (KvCacheDtype.FP8, 2.0, ""),
        (KvCacheDtype.NVFP4, 2 * 16 / 9, "extrapolated to nvfp4"),
    ],
)
def test_kv_dtypes_change_the_pool(dtype: KvCacheDtype, tokens: float, said: str) -> None:
    steps = step_times(point(LLAMA, kv_cache_dtype=dtype), LLAMA)
    assert steps.kv_tokens == pytest.approx(tokens * step_times(point(LLAMA), LLAMA).kv_tokens, rel=1e-5)
    assert said in steps.predicted_as


def test_chunks_of_a_prompt_cost_no_less_than_the_prompt() -> None:
    """The database's mixed step halves the attention of a prompt one token longer than the step; ours must not."""
    steps = step_times(point(R1), R1)
    whole = steps.mixed_ms(1, 8192, (), 64, 9216)
    assert steps.mixed_ms(0, 8192, ((8128, 0),), 64, 9216) == pytest.approx(whole, rel=0.02)
    halves = [steps.mixed_ms(0, 8192, ((4096, before),), 0, 9216) for before in (0, 4096)]
    assert halves[1] > halves[0]  # the second half attends to the first
    assert whole < sum(halves) < 1.5 * whole


def test_a_step_is_priced_the_same_however_it_is_spelled() -> None:
    steps = step_times(point(R1), R1)
    assert steps.mixed_ms(1, 4096, (), 0, 5000) == pytest.approx(steps.prefill_ms(1, 4096))
    assert steps.mixed_ms(0, 4096, ((4096, 0),), 8, 5000) == pytest.approx(steps.mixed_ms(1, 4096, (), 8, 5000))


def test_a_step_that_the_database_refuses_is_no_prediction() -> None:
    steps = step_times(point(R1), R1)
    for ask in (lambda: steps.prefill_ms(1, 0), lambda: steps.decode_ms(-1, 10), lambda: steps.decode_ms(2**40, 10)):
        with pytest.raises(NoPrediction, match="the operator database"):
            ask()


NOTHING_KNOWN = [
    (R1, {"mtp_layers": 1}, "multi-token prediction"),
    (R1, {"modality": Modality.IMAGE}, "no image inputs"),
    (dataclasses.replace(R1, predict_as=None), {}, "nothing near"),
    (dataclasses.replace(R1, predict_as=PredictAs(model="someone/unknown-model")), {}, "does not bundle"),
    (dataclasses.replace(LLAMA, predict_as=PredictAs(model=LLAMA.predict_as.model, gemm="fp7")), {}, "fp7"),  # type: ignore[union-attr]
    (LLAMA, {"tp": 3}, "no data"),
    (LLAMA, {"attention_dp": True}, "is dense"),
    (dataclasses.replace(LLAMA, moe=True), {"ep": 1}, "declared MoE, but the database's .* is dense"),
    (dataclasses.replace(R1, moe=False), {"ep": 1}, "declared dense, but the database's .* is MoE"),
    (
        dataclasses.replace(R1, id="openai/gpt-oss-120b", predict_as=PredictAs(model="openai/gpt-oss-120b")),
        {"tp": 2, "ep": 1, "kv_cache_dtype": KvCacheDtype.AUTO},
        "no data",
    ),
]


@pytest.mark.parametrize(("model", "changed", "said"), NOTHING_KNOWN)
def test_what_is_not_known_is_no_prediction(model: Model, changed: dict[str, Any], said: str) -> None:
    for _ in range(2):  # the answer is kept, and raised anew each time
        with pytest.raises(NoPrediction, match=said):
            step_times(point(model, **changed), model)
    assert predict.too_big(point(model, **changed), model) is None or changed.get("tp") == 3


def test_mxfp4_is_computed_as_tensorrt_llm_does_on_each_gpu() -> None:
    model = dataclasses.replace(
        R1,
        id="openai/gpt-oss-120b",
        precision=Precision.MXFP4,
        weights_gb=65,
        kv_cache_dtype=None,
        mtp=False,
        predict_as=PredictAs(model="openai/gpt-oss-120b"),
    )
    for gpu, quantization in (("gb200", "w4a8_mxfp4_mxfp8"), ("h200", "w4a16_mxfp4")):
        steps = predict.step_times(point(model, gpu=GpuType(gpu), tp=1, ep=1), model)
        assert steps.predicted_as == f"openai/gpt-oss-120b moe={quantization}"
        assert steps.weights_gb == pytest.approx(60, abs=1)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Qwen/Qwen3-30B", "Qwen/Qwen3-30B-A3B"),
        ("openai/gpt-oss-120", "openai/gpt-oss-120b"),
        ("nvidia/DeepSeek-V3.1-FP4", "nvidia/DeepSeek-V3.1-NVFP4"),
        ("meta-llama/Llama-3.1-70B", "meta-llama/Meta-Llama-3.1-70B"),
    ],
)
def test_a_stand_in_that_is_not_bundled_is_told_with_the_nearest(name: str, near: str) -> None:
    model = dataclasses.replace(LLAMA, predict_as=PredictAs(model=name))
    for ask in (lambda: step_times(point(model), model), lambda: predict.check_name(model)):
        with pytest.raises((NoPrediction, UsageError), match=f'does not bundle {name}; did you mean .*"{near}"'):
            ask()
    predict.check_name(dataclasses.replace(LLAMA, predict_as=None))
    predict.check_name(LLAMA)


def test_other_gpus_have_other_times() -> None:
    gb200, h200 = (step_times(point(LLAMA, gpu=GpuType(gpu)), LLAMA) for gpu in ("gb200", "h200"))
    assert h200.decode_ms(64, 1536) > gb200.decode_ms(64, 1536)


@pytest.mark.parametrize("slug", sorted(path.stem for path in (config.SHIPPED / "conf" / "model").glob("*.yaml")))
def test_every_shipped_model_is_predicted_or_says_that_it_is_not(slug: str) -> None:
    cfg = composition.read(["-m", f"model={slug}", "tp=1,2,4", "concurrency=8", "num_requests=16"])
    assert cfg is not None
    (part,) = cfg.parts
    found = matrix.expand(part.matrix, part.settings, part.model, predict.too_big).points
    assert found
    for each in found:
        if part.model.predict_as is None:
            with pytest.raises(NoPrediction):
                step_times(each, part.model)
        else:
            assert step_times(each, part.model).decode_ms(8, 1024) > 0


PROGRAM = """
import socket
def refuse(*arguments, **keywords):
    raise AssertionError("the network was asked")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from tests.test_predict import *
print(step_times(point(R1), R1).decode_ms(64, 1536).hex())
for name in ("someone/unknown-model", "meta-llama/Llama-3.1-70B-Instruct-typo"):
    try:
        step_times(point(R1), dataclasses.replace(R1, predict_as=PredictAs(model=name)))
    except NoPrediction as error:
        print(error)
"""


def test_no_network_no_noise_and_the_same_number_in_another_process() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    number, *refusals = done.stdout.splitlines()
    assert float.fromhex(number) == step_times(point(R1), R1).decode_ms(64, 1536)
    assert len(refusals) == 2
    assert all("does not bundle" in said for said in refusals)


WITHOUT = """
import sys
sys.modules["aisimulate_core"] = sys.modules["aiconfigurator_core"] = None
from tests.test_predict import *
from sweep.errors import UsageError
assert not predict.available()
for ask in (predict.database_version, lambda: step_times(point(R1), R1), lambda: predict.too_big(point(R1), R1)):
    try:
        ask()
    except UsageError as error:
        print(error)
"""


def test_without_the_extra_the_pip_line_is_told() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [predict.MISSING_EXTRA] * 3
    assert "pip install" in predict.MISSING_EXTRA


def test_the_version_is_told_without_importing_the_database() -> None:
    program = "import sys; from sweep import predict; print(predict.database_version()); print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    version, *modules = done.stdout.splitlines()
    assert version == predict.database_version()
    assert predict.DATABASE_VERSION in version
    assert not {"pandas", "numpy", *predict.PACKAGES} & set(modules)
