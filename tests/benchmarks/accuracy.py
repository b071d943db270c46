"""How near are the predictions to NVIDIA's published numbers?

    python -m tests.benchmarks.accuracy

Compares tok/s/GPU of every row of tests/data/published-numbers.csv (from TensorRT-LLM's perf-overview pages; mind the
unit column: totals of all GPUs, or per GPU) with the simulation of the run that those pages describe: all requests
queued at once, no chunked prefill, batch limits chosen by trtllm-bench's heuristic. Prints one line per group and the
whole: median ratio predicted / published, MAPE, shares within 10 and 20 %, Spearman's rank correlation.
"""

from __future__ import annotations

import csv
import math
import statistics
import sys
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweep import predict, simulate
from sweep.errors import Infeasible, NoPrediction
from sweep.point import GPUS, Bench, GpuType, KvCacheDtype, Model, Point, Precision, PredictAs

DATA = Path(__file__).parent.parent / "data" / "published-numbers.csv"

REQUESTS = {  # num_requests of the pages' reproduction tables by ISL/OSL
    (128, 128): 30000,
    (128, 2048): 3000,
    (128, 4096): 1500,
    (500, 2000): 3000,
    (1000, 1000): 3000,
    (1000, 2000): 1500,
    (1024, 1024): 3000,
    (1024, 2048): 1500,
    (2048, 128): 3000,
    (2048, 2048): 1500,
    (5000, 500): 1500,
    (20000, 2000): 1000,
    (1024, 8192): 1500,
    (8192, 1024): 1500,
    (1024, 32768): 1000,
    (32768, 1024): 1000,
}
OTHER_REQUESTS = 1500


@dataclass(frozen=True)
class Shape:
    """What trtllm-bench's heuristic needs to know of a model. MLA caches one latent vector: its rule does not apply."""

    parameters: float
    layers: int
    kv_heads: int
    head_size: int = 128
    mla: bool = False


SHAPES = {
    "Llama-3.3-70B-Instruct": Shape(70.6e9, 80, 8),
    "Llama-3.1-70B-Instruct": Shape(70.6e9, 80, 8),
    "Llama-3.1-405B-Instruct": Shape(405.9e9, 126, 8),
    "Llama-4-Maverick-17B-128E-Instruct": Shape(400.7e9, 48, 8),
    "DeepSeek-R1-0528": Shape(671e9, 61, 1, mla=True),
}
STAND_INS = {
    ("Llama-3.3-70B-Instruct", "FP4"): PredictAs(model="meta-llama/Meta-Llama-3.1-70B", gemm="nvfp4", fmha="fp8"),
    ("Llama-3.3-70B-Instruct", "FP8"): PredictAs(model="nvidia/Llama-3.1-70B-Instruct-FP8"),
    ("Llama-3.1-70B-Instruct", "FP8"): PredictAs(model="nvidia/Llama-3.1-70B-Instruct-FP8"),
    ("Llama-3.1-405B-Instruct", "FP4"): PredictAs(model="meta-llama/Meta-Llama-3.1-405B", gemm="nvfp4", fmha="fp8"),
    ("Llama-3.1-405B-Instruct", "FP8"): PredictAs(
        model="meta-llama/Meta-Llama-3.1-405B", gemm="fp8_static", fmha="fp8"
    ),
    ("Llama-4-Maverick-17B-128E-Instruct", "FP8"): PredictAs(
        model="meta-llama/Llama-4-Maverick-17B-128E-Instruct", gemm="fp8_static", moe="fp8", fmha="fp8"
    ),
    ("DeepSeek-R1-0528", "FP4"): PredictAs(model="nvidia/DeepSeek-V3.1-NVFP4", fmha="bfloat16"),
}
BYTES = {"FP4": 0.5, "FP8": 1.0}
MLA_BATCH = 2048


def limits(shape: Shape, precision: str, gpu: str, gpus: int, isl: int, osl: int) -> tuple[int, int]:
    """Return (max_batch_size, max_num_tokens) as trtllm-bench's heuristic chooses them from the dataset's lengths."""
    if shape.mla:
        return MLA_BATCH, max(8192, isl + MLA_BATCH)
    free = GPUS[gpu].memory_gb * 1e9 * gpus - shape.parameters * BYTES[precision]
    kv_bytes = 2 * shape.layers * max(gpus, shape.kv_heads) * shape.head_size  # FP8 cache
    fitting = min(0.9 * free / (kv_bytes * (isl + osl)), 4096)
    grain = 32 if fitting < 256 else 128 if fitting < 1024 else 256
    batch = max(64, grain * math.ceil(fitting / grain))
    tokens = min(fitting * (1 + isl / osl), 32768)
    grain = 256 if tokens < 4096 else 512 if tokens < 8192 else 1024
    return batch, max(2048, grain * math.ceil(tokens / grain), isl + batch)


def predicted(row: dict[str, str]) -> float:
    """Return the predicted output tok/s of all GPUs."""
    shape, gpu = SHAPES[row["model"]], row["gpu"].lower()
    tp, ep, isl, osl = int(row["tp"]), int(row["ep"] or 1), int(row["isl"]), int(row["osl"])
    model = Model(
        id=row["model"],
        precision=Precision.NVFP4 if row["precision"] == "FP4" else Precision.FP8,
        weights_gb=1.0,
        kv_cache_dtype=KvCacheDtype.FP8,
        moe=shape.mla or "Maverick" in row["model"],
        predict_as=STAND_INS.get((row["model"], row["precision"])),
    )
    batch, tokens = limits(shape, row["precision"], gpu, tp, isl, osl)
    point = Point(
        bench=Bench.THROUGHPUT,
        image="",
        model=row["model"],
        gpu=GpuType(gpu),
        isl=isl,
        osl=osl,
        concurrency=0,
        num_requests=REQUESTS.get((isl, osl), OTHER_REQUESTS),
        streaming=False,
        tp=tp,
        ep=ep,
        attention_dp=shape.mla,  # the table's DEPn: tp n, ep n, attention DP
        kv_cache_dtype=KvCacheDtype.FP8,
        kv_cache_free_gpu_mem_fraction=0.9,
        max_batch_size=batch,
        max_num_tokens=tokens,
        max_seq_len=isl + osl,
        chunked_prefill=False,
    )
    report = simulate.simulate(point, model, predict.step_times(point, model))
    return float(report["performance"]["system_output_throughput_tok_s"])


def ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value; equal values share the mean of theirs."""
    order = sorted(values)
    return [(bisect_left(order, value) + bisect_right(order, value) - 1) / 2 for value in values]


def line(label: str, pairs: Sequence[tuple[float, float]]) -> str:
    """Return one line of the table for (predicted, published) pairs."""
    ratios = [p / m for p, m in pairs]
    errors = [abs(ratio - 1) for ratio in ratios]
    spearman = "    -"
    if len(pairs) > 2:
        spearman = f"{statistics.correlation(ranks([p for p, _ in pairs]), ranks([m for _, m in pairs])):5.3f}"
    shares = [sum(error <= bound for error in errors) / len(errors) for bound in (0.1, 0.2)]
    return (
        f"{label:<46} {len(pairs):>4} {statistics.median(ratios):>6.2f} {min(ratios):>5.2f} {max(ratios):>5.2f}"
        f" {statistics.mean(errors):>5.1%} {shares[0]:>7.0%} {shares[1]:>7.0%}  {spearman}"
    )


def per_gpu(skipped: Counter[str]) -> Iterator[tuple[dict[str, str], float, float]]:
    """Yield (row, predicted, published) of each row that can be predicted, in output tok/s per GPU.

    skipped: counts the reasons of the others.
    """
    rows = list(csv.DictReader(DATA.open()))
    for number, row in enumerate(rows, start=1):
        print(f"\r{number}/{len(rows)}", end="", file=sys.stderr, flush=True)
        try:
            total = predicted(row)
        except (Infeasible, NoPrediction, KeyError) as error:
            skipped[f"{type(error).__name__}: {str(error)[:100]}"] += 1
            continue
        gpus = int(row["tp"])
        yield row, total / gpus, float(row["tokens_per_s"]) / (1 if "per GPU" in row["unit"] else gpus)
    print(file=sys.stderr)


def main() -> None:
    groups: dict[str, list[tuple[float, float]]] = defaultdict(list)
    skipped: Counter[str] = Counter()
    for row, *pair in per_gpu(skipped):
        for name in (f"{row['model']} {row['precision']} {row['gpu']}", "all"):
            groups[name].append((pair[0], pair[1]))
    print(f"{predict.database_version()}; simulator {simulate.SIMULATOR_VERSION}")
    print(f"{'tok/s/GPU, predicted / published':<46} {'n':>4} median   min   max  MAPE in 10 % in 20 %  Spearman")
    for label in sorted(groups, key=lambda name: (name == "all", name)):
        print(line(label, groups[label]))
    for reason, count in skipped.items():
        print(f"not predicted: {count} rows, {reason}")


if __name__ == "__main__":
    main()
