"""How long the matrix takes for 100,000 cells: expansion, expressions, rules, pruning, identity.

python -m tests.benchmarks.matrix
"""

from __future__ import annotations

import os
import time

from sweep.matrix import expand
from sweep.point import SETTINGS, KvCacheDtype, Model, Precision

MODEL = Model(
    id="nvidia/DeepSeek-R1-NVFP4-v2",
    precision=Precision.NVFP4,
    weights_gb=416.6,
    kv_cache_dtype=KvCacheDtype.FP8,
    moe=True,
    mtp=True,
)
SAID = {
    "bench": "throughput",
    "image": "nvcr.io/nvidia/tensorrt-llm/release:1.2.0rc2",
    "model": MODEL.id,
    "streaming": True,
    "max_batch_size": 1024,
    "max_num_tokens": 8192,
    "max_seq_len": 16384,
}
MATRIX = {
    "grid": {
        "isl": [128 * step for step in range(1, 21)],
        "osl": [128 * step for step in range(1, 21)],
        "parallel": [{"tp": 4, "ep": 1}, {"tp": 4, "ep": 4}, {"tp": 4, "ep": 4, "attention_dp": True}, {"tp": 2}],
        "concurrency": [2**power for power in range(11)] + [3 * 2**power for power in range(10)],
        "kv_cache_dtype": ["auto", "fp8", "nvfp4"],
    },
    "derive": {"num_requests": "max(32, 5 * concurrency)"},
    "require": ["tp * pp <= gpus_per_node"],
    "exclude": ["attention_dp and concurrency < tp"],
}


def main() -> None:
    """Print one Markdown table."""
    settings = {name: setting.default for name, setting in SETTINGS.items()} | SAID
    checked = {
        name: None if value is None else SETTINGS[name].check(value)
        for name, value in settings.items()
        if name not in ("model", "engine")
    } | {"model": MODEL.id, "engine": "{}"}
    began = time.perf_counter()
    found = expand(MATRIX, checked, MODEL)
    expanded_s = time.perf_counter() - began
    ids = {point.point_id for point in found.points}
    hashed_s = time.perf_counter() - began - expanded_s
    assert len(ids) == len(found.points)
    print(f"matrix, {os.cpu_count()} CPUs, one of them used\n")
    print("| cells | points | pruned | expand and prune, s | µs per cell | identities, s |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    print(
        f"| {found.cells:,} | {len(found.points):,} | {sum(found.pruned.values()):,} | {expanded_s:.2f} "
        f"| {expanded_s / found.cells * 1e6:.1f} | {hashed_s:.2f} |"
    )


if __name__ == "__main__":
    main()
