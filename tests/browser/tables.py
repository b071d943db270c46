"""Tables to look at: rows made by the table's own writers, of runs that never were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count, product
from pathlib import Path
from typing import Any

from sweep.plan import Attempt, Deployment
from sweep.point import Bench, KvCacheDtype, Model, Point, Precision
from sweep.report import Distribution, Report
from sweep.table import Outcome, Results, Source, Status, make_row

BEGIN = datetime(2026, 1, 31, 20, tzinfo=UTC)
MODEL = Model(id="nvidia/DeepSeek-R1-NVFP4-v2", precision=Precision.NVFP4, weights_gb=416, moe=True)
LAYOUTS: Mapping[str, Mapping[str, Any]] = {
    "TP4": {"tp": 4, "ep": 1},
    "TP4 EP4": {"tp": 4, "ep": 4},
    "TP4 EP4 attention DP": {"tp": 4, "ep": 4, "attention_dp": True},
    "TP8 EP8": {"tp": 8, "ep": 8},
}
SHAPES = ((1024, 1024), (8192, 1024), (1024, 8192))
CONCURRENCIES = (1, 4, 16, 64, 256, 1024, 0)
MESSAGES: Mapping[str, tuple[Status, str, str]] = {
    "out of memory": (
        Status.FAILED,
        "oom",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 18.25 GiB. GPU 2 has 11.03 GiB free",
    ),
    "time limit": (Status.FAILED, "timeout", "the run was ended after 3600 s; raise backend.point_timeout_s"),
    "slow GPU": (Status.INVALID, "slowdown", "GPU 1 was slowed down (hw_thermal) while it was measured"),
    "budget": (Status.SKIPPED, "budget", "the budget of 40 GPU-hours would be passed"),
    "too big": (Status.INFEASIBLE, "memory", "208.3 GB of weights on each of 2 GPUs, which have 198.7 GB"),
}


def report(point: Point, *, noise: float = 0.0) -> Report:
    """Return what a bench could say: throughput saturates, speed falls with load, attention DP pays late."""
    load = point.concurrency or 2048
    knee = {1: 90, 4: 140, 8: 200}[point.ep] * (3.0 if point.attention_dp else 1.0)
    knee *= 1.35 if point.kv_cache_dtype is KvCacheDtype.FP8 else 1.0
    single = (150.0 if point.attention_dp else 210.0) * (point.tp / 4) ** 0.5 * (1024 / point.isl) ** 0.2
    speed = single / (1 + load / knee) * (1 + noise)
    prefill = 18.0 * (point.isl / 1024) * (1 + load / knee * 2)
    tpot = 1000 / speed
    e2e = prefill + tpot * (point.osl - 1)
    output = load * point.osl / e2e * 1000
    requests = point.num_requests

    def spread(middle: float, width: float) -> Distribution:
        return Distribution(
            mean=middle,
            p50=middle,
            p90=middle * (1 + width),
            p95=middle * (1 + 1.3 * width),
            p99=middle * (1 + 2 * width),
            min=middle * (1 - width / 2),
            max=middle * (1 + 2.4 * width),
        )

    return Report(
        model=point.model,
        version="1.2.0rc2",
        engine_backend="Pytorch",
        dtype="bfloat16",
        kv_cache_dtype="FP8",
        quantization="NVFP4",
        gpu_name="NVIDIA GB200",
        gpu_memory_gib=185.0,
        tp=point.tp,
        pp=1,
        ep=point.ep,
        world_size=point.tp,
        max_batch_size=point.max_batch_size,
        max_num_tokens=point.max_num_tokens,
        streaming=True,
        num_requests=requests,
        concurrency_mean=load * 0.97,
        isl_mean=float(point.isl),
        osl_mean=float(point.osl),
        duration_s=requests * e2e / 1000 / load,
        request_tput_rps=output / point.osl,
        output_tput_tps=output,
        total_tput_tps=output * (point.isl + point.osl) / point.osl,
        output_tput_per_gpu=output / point.tp,
        tps_per_user=speed,
        tps_per_user_e2e=1000 * point.osl / e2e,
        tps_per_user_distribution=spread(speed, 0.1),
        ttft_ms=spread(prefill, 0.6),
        tpot_ms=spread(tpot, 0.15),
        e2el_ms=spread(e2e, 0.2),
    )


def points(shapes: tuple[tuple[int, int], ...] = SHAPES, **more: Any) -> Iterator[Point]:
    """Yield a matrix of layouts, KV dtypes and concurrencies."""
    for (isl, osl), layout, kv, load in product(shapes, LAYOUTS.values(), ("auto", "fp8"), CONCURRENCIES):
        settings: dict[str, Any] = {
            "bench": Bench.THROUGHPUT,
            "image": "nvcr.io/nvidia/tensorrt-llm/release:1.2.0rc2",
            "model": MODEL.id,
            "isl": isl,
            "osl": osl,
            "concurrency": load,
            "num_requests": max(32, 5 * (load or 1024)),
            "streaming": True,
            "kv_cache_dtype": KvCacheDtype(kv),
            "kv_cache_free_gpu_mem_fraction": 0.85,
            "max_batch_size": 256 if "attention_dp" in layout else 1024,
            "max_num_tokens": 8192,
            "max_seq_len": 9216,
        }
        yield Point(**{**settings, **layout, **more})


def environment(number: int) -> dict[str, Any]:
    """Return what a pod says of itself; the first point of a deployment carries its start-up."""
    start_up = {"queued_s": 340.0, "pull_s": 95.0, "download_s": 210.0} if number % 7 == 0 else {}
    return {
        "load_s": 160.0,
        "image_digest": "sha256:3c1f6f0a6d2f8e3f5b7c9d1e2f4a6b8c0d2e4f6a8b0c2d4e6f8a0b2c4d6e8f00",
        "driver_version": "580.95.05",
        "cuda_version": "13.0",
        "sm_clock_mhz": 1965.0 - number % 3 * 15,
        "memory_clock_mhz": 3996.0,
        "power_capped": number % 5 == 0,
        "slowdown": "",
        "node": f"gke-a4x-pool-{number % 4:04d}",
        "zone": "us-central1-a",
        "price_usd_per_gpu_hour": 10.5,
        "energy_j": 2.1e6,
        **start_up,
    }


def measured(folder: Path, *, repeats: int = 2, of: Iterable[Point] | None = None) -> Results:
    """Write measured rows (of `points` if no others are given) with all that can go wrong: failures of two kinds, an
    invalid row, skipped and infeasible ones, a first try that failed, and repeats that differ."""
    results = Results(folder)
    sweep_id = results.open_or_create()
    cells = {"refused: the checkpoint pins its KV cache to fp8, so kv_cache_dtype=nvfp4 is refused": 84}
    config_hash = results.write_config({"name": folder.name, "pruned": {**cells, "same point as another": 21}})
    rows, numbers, at = [], count(), BEGIN
    for point, repeat in product(points() if of is None else of, range(1, repeats + 1)):
        number = next(numbers)
        trouble = _trouble(point, repeat)
        for attempt_number in (1, 2) if number % 61 == 7 else (1,):
            failed = MESSAGES["out of memory"] if number % 61 == 7 and attempt_number == 1 else trouble
            attempt = Attempt(point=point, point_id=point.point_id, repeat=repeat, number=attempt_number)
            said = report(point, noise=((number * 37) % 11 - 5) / 400)
            about = environment(number)
            start_up = sum(about.get(name, 0) for name in ("pull_s", "download_s", "load_s"))
            lasted = timedelta(seconds=start_up + said.duration_s + 25)
            rows.append(
                make_row(
                    sweep_id=sweep_id,
                    deployment=Deployment.of(sweep_id, MODEL, (attempt,), gpus_held=point.gpus),
                    attempt=attempt,
                    outcome=_outcome(said, failed),
                    source=Source.MEASURED,
                    backend="gke",
                    started_at=at,
                    ended_at=at + lasted,
                    environment=about,
                    config_hash=config_hash,
                )
            )
            at += lasted / 8
    results.append(rows)
    return results


def _trouble(point: Point, repeat: int) -> tuple[Status, str, str] | None:
    if point.tp == 8 and point.isl == 8192:
        return MESSAGES["too big"]
    if point.tp == 8 and point.concurrency == 1024:
        return MESSAGES["budget"]
    if point.isl == 8192 and point.concurrency in (0, 1024) and point.ep == 1:
        return MESSAGES["out of memory"]
    if point.osl == 8192 and point.concurrency == 0 and repeat == 2:
        return MESSAGES["time limit"]
    if point.attention_dp and point.concurrency == 16 and point.isl == 8192:
        return MESSAGES["slow GPU"]
    return None


def _outcome(said: Report, failed: tuple[Status, str, str] | None) -> Outcome:
    if failed is None:
        return Outcome(status=Status.OK, report=said, unverified=("warmup", "dataset_seed"))
    status, kind, message = failed
    kept = said if status is Status.INVALID else None
    return Outcome(status=status, report=kept, failure_kind=kind, failure_message=message)


def simulated(results: Results, **more: Any) -> Results:
    """Add predictions of the same points to a table."""
    sweep_id = results.open_or_create()
    rows = []
    for point in points(**more):
        attempt = Attempt(point=point, point_id=point.point_id)
        rows.append(
            make_row(
                sweep_id=sweep_id,
                deployment=Deployment.of(sweep_id, MODEL, (attempt,), gpus_held=point.gpus),
                attempt=attempt,
                outcome=Outcome(status=Status.OK, report=report(point, noise=0.12)),
                source=Source.SIMULATED,
                backend="simulated",
                started_at=BEGIN,
                ended_at=BEGIN + timedelta(milliseconds=3),
                environment={"simulator_version": "2", "db_version": "aiconfigurator-core 0.12.0"},
            )
        )
    results.append(rows)
    return results
