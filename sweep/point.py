"""Point, Engine identity and the table of settings.

A setting is declared once, as a field of `Point`; the configuration's schema, the checks of the matrix, the hash and
the columns of the table are all read from here. To add one, see CONTRIBUTING.md.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from operator import attrgetter
from typing import Any, get_args, get_type_hints

from sweep.errors import UsageError, nearest

UNLIMITED = 0
"""`concurrency` of a run that queues every request at once; infinite in expressions."""


class Bench(StrEnum):
    """What measures a point: a subcommand of trtllm-bench, or benchmark_serving against trtllm-serve."""

    THROUGHPUT = "throughput"
    LATENCY = "latency"
    SERVE = "serve"


class KvCacheDtype(StrEnum):
    """What TensorRT-LLM accepts as `kv_cache_config.dtype` (1.2.0rc; facts: `_VALID_KV_CACHE_DTYPES`)."""

    AUTO = "auto"
    FP8 = "fp8"
    NVFP4 = "nvfp4"


class MoeBackend(StrEnum):
    """`moe_config.backend` of any TensorRT-LLM from 1.0 to 1.4; which ones an image knows depends on its version."""

    AUTO = "AUTO"
    CUTLASS = "CUTLASS"
    CUTEDSL = "CUTEDSL"
    WIDEEP = "WIDEEP"
    TRTLLM = "TRTLLM"
    DEEPGEMM = "DEEPGEMM"
    VANILLA = "VANILLA"
    TRITON = "TRITON"
    DENSEGEMM = "DENSEGEMM"
    MARLIN = "MARLIN"
    MEGAMOE_DEEPGEMM = "MEGAMOE_DEEPGEMM"


class SchedulerPolicy(StrEnum):
    """`--scheduler_policy` of trtllm-bench."""

    GUARANTEED_NO_EVICT = "guaranteed_no_evict"
    MAX_UTILIZATION = "max_utilization"


class Modality(StrEnum):
    """`--modality` of trtllm-bench; none means text."""

    IMAGE = "image"
    VIDEO = "video"


class Precision(StrEnum):
    """Precision of a checkpoint's weights."""

    BF16 = "bf16"
    FP8 = "fp8"
    FP8_BLOCK = "fp8_block"
    NVFP4 = "nvfp4"
    MXFP4 = "mxfp4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """What a node of one GPU type offers."""

    per_node: int
    memory_gb: float
    blackwell: bool


GPUS: Mapping[
    str, Gpu
] = {  # memory as nvidia-smi reports it, 1 GB = 1e9 bytes; systems/*.yaml of aiconfigurator-core 0.12
    "gb200": Gpu(per_node=4, memory_gb=198.67, blackwell=True),
    "b200": Gpu(per_node=8, memory_gb=193.27, blackwell=True),
    "h200": Gpu(per_node=8, memory_gb=151.40, blackwell=False),
    "h100": Gpu(per_node=8, memory_gb=85.90, blackwell=False),
}
GpuType = StrEnum("GpuType", {name.upper(): name for name in GPUS})  # type: ignore[misc]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictAs:
    """The model of the operator database that stands for ours, with the quantisation that differs from its config."""

    model: str
    gemm: str | None = None
    moe: str | None = None
    fmha: str | None = None

    def __str__(self) -> str:
        quant = [f"{name}={value}" for name in ("gemm", "moe", "fmha") if (value := getattr(self, name))]
        return " ".join([self.model, *quant])


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is known of one checkpoint; conf/model/*.yaml.

    `kv_cache_dtype` is the dtype that the checkpoint pins (its `kv_cache_quant_algo`), or None where it pins none and
    `auto` means BF16. `weights_gb` is the size of all weights in units of 1e9 bytes. `precision`, `weights_gb` and
    `moe` are None where they are not known: rules, memory checks and gates that need them are then left out.
    """

    id: str
    precision: Precision | None
    weights_gb: float | None
    kv_cache_dtype: KvCacheDtype | None = None
    moe: bool | None = False
    mtp: bool = False
    predict_as: PredictAs | None = None


LARGEST = 2**31 - 1
"""The largest integer that a setting may be: TensorRT-LLM's own sizes are of 32 bits (SizeType32)."""
MOST_DIGITS = 40
"""Characters of a value that a message repeats."""

_NO_NEUTRAL = object()


@dataclass(frozen=True, slots=True)
class Setting:
    """The declaration of one setting: its type, range, unit and place."""

    name: str
    type: type
    optional: bool
    meaning: str
    unit: str
    neutral: Any
    default: Any
    engine: bool
    yaml: str | None
    at_least: float | None
    above: float | None
    below: float | None
    one_word: bool

    @property
    def has_neutral(self) -> bool:
        return self.neutral is not _NO_NEUTRAL

    @property
    def texts(self) -> tuple[str, ...] | None:
        """The texts that it can be compared with in an expression: none for a number; None is any."""
        if self.type is str:
            return None
        return tuple(str(choice) for choice in self.type) if issubclass(self.type, StrEnum) else ()

    def check(self, value: Any) -> Any:
        """Return `value` in this setting's type.

        Raises:
            UsageError: the value has another type, is outside the range, or is none of the choices.
        """
        if value is None:
            if self.optional:
                return None
            raise UsageError(f"{self.name} must be given ({self.meaning})")
        if self.name == "concurrency" and value == "unlimited":
            return UNLIMITED
        if issubclass(self.type, StrEnum):
            return self._choice(value)
        if self.type is bool:
            if isinstance(value, bool):
                return value
            raise UsageError(f"{self.name} must be true or false, not {value!r}")
        if self.type is str:
            if isinstance(value, str) and value.isprintable() and value.strip():
                if self.one_word and " " in value:
                    raise UsageError(f"{self.name} must be a text without blanks, not {value!r}")
                return value
            raise UsageError(f"{self.name} must be a text of printable characters, not {value!r}")
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or (isinstance(value, float) and not math.isfinite(value)):
            raise UsageError(f"{self.name} must be {'an integer' if self.type is int else 'a number'}, not {value!r}")
        check_number(self.name, value)
        if self.type is int and int(value) != value:
            raise UsageError(f"{self.name} must be an integer, not {value!r}")
        number: float = int(value) if self.type is int else float(value)
        if self.at_least is not None and number < self.at_least:
            raise UsageError(f"{self.name} must be at least {self.at_least:g}, not {value!r}")
        if self.above is not None and number <= self.above:
            raise UsageError(f"{self.name} must be more than {self.above:g}, not {value!r}")
        if self.below is not None and number >= self.below:
            raise UsageError(f"{self.name} must be less than {self.below:g}, not {value!r}")
        return number

    def _choice(self, value: Any) -> StrEnum:
        try:
            return self.type(value)  # type: ignore[no-any-return]
        except ValueError:
            choices = [str(choice) for choice in self.type]  # type: ignore[attr-defined]
            hint = nearest(str(value), choices)
            if self.name == "kv_cache_dtype" and str(value) in ("bfloat16", "bf16", "fp16", "float16"):
                hint = "; TensorRT-LLM takes no such KV dtype: auto means BF16 where the checkpoint pins none"
            raise UsageError(f"{self.name} must be one of {', '.join(choices)}, not {value!r}{hint}") from None


def _setting(
    meaning: str,
    *,
    unit: str = "",
    neutral: Any = _NO_NEUTRAL,
    default: Any = None,
    engine: bool = False,
    yaml: str | None = None,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    one_word: bool = False,
) -> Any:
    """Declare a setting.

    neutral: the value that is left out of the hash, so that a setting added later changes no old id.
    default: what null in the configuration stands for, after the engine YAML was asked.
    engine:  one loaded engine fixes it; engine_id is the hash of these.
    yaml:    where TensorRT-LLM's engine YAML says the same.
    one_word: a text that has no blanks.
    """
    metadata = {
        "meaning": meaning,
        "unit": unit,
        "neutral": neutral,
        "default": neutral if default is None and neutral is not _NO_NEUTRAL else default,
        "engine": engine,
        "yaml": yaml,
        "at_least": at_least,
        "above": above,
        "below": below,
        "one_word": one_word,
    }
    return field(metadata=metadata) if neutral is _NO_NEUTRAL else field(default=neutral, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Every setting that can change the number; two points are the same if and only if all settings are equal."""

    bench: Bench = _setting("what measures the point: throughput, latency or serve")
    image: str = _setting("container image of TensorRT-LLM, tag or digest", engine=True, one_word=True)
    model: str = _setting("Hugging Face id of the checkpoint", engine=True)
    revision: str | None = _setting(
        "revision of the checkpoint; null is the newest", neutral=None, engine=True, one_word=True
    )
    gpu: GpuType = _setting("type of GPU", neutral=GpuType("gb200"), engine=True)
    isl: int = _setting("input length", unit="tokens", at_least=1)
    osl: int = _setting("output length", unit="tokens", at_least=1)
    concurrency: int = _setting(
        "requests in flight; 0 is unlimited: all are queued at once", unit="requests", at_least=0
    )
    num_requests: int = _setting("requests measured", unit="requests", at_least=1)
    streaming: bool = _setting("whether tokens are streamed; without it there is no TTFT and no TPOT")
    tp: int = _setting("tensor parallelism", unit="GPUs", engine=True, yaml="tensor_parallel_size", at_least=1)
    pp: int = _setting(
        "pipeline parallelism", unit="GPUs", neutral=1, engine=True, yaml="pipeline_parallel_size", at_least=1
    )
    ep: int = _setting(
        "expert parallelism", unit="GPUs", neutral=1, engine=True, yaml="moe_expert_parallel_size", at_least=1
    )
    attention_dp: bool = _setting(
        "attention runs data parallel over the tp ranks", neutral=False, engine=True, yaml="enable_attention_dp"
    )
    kv_cache_dtype: KvCacheDtype = _setting(
        "dtype of the KV cache", default=KvCacheDtype.AUTO, engine=True, yaml="kv_cache_config.dtype"
    )
    kv_cache_free_gpu_mem_fraction: float = _setting(
        "share of the GPU memory left by the weights that the KV cache takes",
        default=0.9,
        engine=True,
        yaml="kv_cache_config.free_gpu_memory_fraction",
        above=0,
        below=1,
    )
    moe_backend: MoeBackend | None = _setting(
        "kernels of the expert layers; null is the default of the image",
        neutral=None,
        engine=True,
        yaml="moe_config.backend",
    )
    mtp_layers: int = _setting(
        "draft tokens by multi-token prediction",
        unit="tokens",
        neutral=0,
        engine=True,
        yaml="speculative_config.num_nextn_predict_layers",
        at_least=0,
    )
    max_batch_size: int = _setting(
        "requests in one step (per rank with attention DP)",
        unit="requests",
        engine=True,
        yaml="max_batch_size",
        at_least=1,
    )
    max_num_tokens: int = _setting("tokens in one step", unit="tokens", engine=True, yaml="max_num_tokens", at_least=1)
    max_seq_len: int = _setting(
        "longest sequence the engine is built for", unit="tokens", engine=True, yaml="max_seq_len", at_least=2
    )
    chunked_prefill: bool = _setting(
        "whether a long prompt may be split over steps", neutral=True, engine=True, yaml="enable_chunked_prefill"
    )
    scheduler_policy: SchedulerPolicy = _setting(
        "how requests are admitted", neutral=SchedulerPolicy.GUARANTEED_NO_EVICT, engine=True
    )
    warmup: int = _setting("requests before the measurement", unit="requests", neutral=2, at_least=0)
    modality: Modality | None = _setting("what beside text is in a request; null is text only", neutral=None)
    max_input_len: int | None = _setting(
        "longest multimodal input; null is the default of trtllm-bench", unit="tokens", neutral=None, at_least=1
    )
    dataset_seed: int = _setting("seed of the random dataset", neutral=420, at_least=0)
    engine: str = _setting(
        "canonical JSON of all that the engine YAML says beyond the settings above", neutral="{}", engine=True
    )

    @property
    def gpus(self) -> int:
        """GPUs that one engine uses: tp * pp (ep adds none)."""
        return self.tp * self.pp

    @property
    def point_id(self) -> str:
        """Sixteen hex digits over every setting that can change the number."""
        return identity(dict(zip(SETTINGS, _ALL(self), strict=True)))

    @property
    def engine_id(self) -> str:
        """Sixteen hex digits over what one loaded engine fixes."""
        return identity(dict(zip(_ENGINE, _OF_ENGINE(self), strict=True)))

    def label(self) -> str:
        """Return a short name for people, for example `1024/1024 tp4 ep4 dp kv=fp8 c=64`; never an identity."""
        layout = f"tp{self.tp}" + (f" pp{self.pp}" if self.pp > 1 else "") + (f" ep{self.ep}" if self.ep > 1 else "")
        return (
            f"{self.isl}/{self.osl} {layout}{' dp' if self.attention_dp else ''} kv={self.kv_cache_dtype}"
            f" c={self.concurrency or 'unlimited'}"
        )


def check_number(name: str, value: object) -> None:
    """Refuse a number that is not finite or beyond LARGEST; what is no number is not looked at.

    Raises:
        UsageError: it is.
    """
    check_finite(name, value)
    if isinstance(value, (int, float)) and abs(value) > LARGEST:
        digits = (
            f"{value!r:.{MOST_DIGITS}}"
            if abs(value) < 10**MOST_DIGITS
            else f"a number of more than {MOST_DIGITS} digits"
        )
        raise UsageError(f"{name} must be at most {LARGEST:,}, not {digits}")


def check_finite(name: str, value: object) -> None:
    """Refuse NaN and infinity, which JSON cannot say, also inside of lists and mappings; name their place.

    Raises:
        UsageError: there is one.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_finite(f"{name}.{key}", item)
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            check_finite(f"{name}[{number}]", item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{name} must be a finite number, not {value!r}")


def _settings() -> dict[str, Setting]:
    hints, found = get_type_hints(Point), {}
    for f in fields(Point):
        kinds = [kind for kind in (get_args(hints[f.name]) or (hints[f.name],)) if kind is not type(None)]
        found[f.name] = Setting(
            name=f.name, type=kinds[0], optional=type(None) in get_args(hints[f.name]), **f.metadata
        )
    return found


SETTINGS: Mapping[str, Setting] = _settings()


_NEUTRAL = {name: setting.neutral for name, setting in SETTINGS.items() if setting.has_neutral}
_ENGINE = tuple(name for name, setting in SETTINGS.items() if setting.engine)
_ALL, _OF_ENGINE = attrgetter(*SETTINGS), attrgetter(*_ENGINE)


def canonical_json(value: Any) -> str:
    """Return the one JSON text of `value`: keys sorted, no blanks, whole floats written as integers.

    Raises:
        UsageError: the value holds what JSON cannot say (NaN, infinity, an object).
    """
    try:
        return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"cannot be written as JSON: {value!r} ({error})") from None


def _plain(value: Any) -> Any:
    if isinstance(value, (str, int)) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def identity(settings: Mapping[str, Any]) -> str:
    """Return the hash of settings; those at their neutral value are left out, the order of keys does not matter."""
    said = {name: value for name, value in settings.items() if name not in _NEUTRAL or _NEUTRAL[name] != value}
    return hashlib.sha256(canonical_json(said).encode()).hexdigest()[:16]
