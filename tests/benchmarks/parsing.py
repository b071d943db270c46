"""What reading reports costs: many JSON reports, many logs, one log of 200 MB.

python -m tests.benchmarks.parsing

The logs are made of lines as TensorRT-LLM prints them (loading, steps of print_iter_log) around a recorded report. The
logs of failures have none and are classified.
"""

from __future__ import annotations

import io
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sweep import failure
from sweep.report import parse_report, read_log

REPORTS = Path(__file__).parent.parent / "data" / "reports"
JSON = (REPORTS / "1.2.0rc2-throughput-streaming.json").read_bytes()
TEXT = (REPORTS / "1.2.0rc2-throughput-streaming.txt").read_bytes()
LOADING = b"[11/07/2025-03:11:09] [TRT-LLM] [I] Loading weights: model.layers.17.mlp.experts.down_proj.weight\n"
STEP = (
    b"[11/07/2025-03:14:07] [TRT-LLM] [I] iter = 17, global_rank = 0, rank = 0, currank_total_requests = 0/64,"
    b" kv_cache_util = 0.512, host_step_time = 4.08ms, prev_device_step_time = 2.13ms, timestamp = 2025-11-07 03:14:07,"
    b" num_scheduled_requests: 64, states = {'num_ctx_requests': 0, 'num_ctx_tokens': 0, 'num_generation_tokens': 64}\n"
)
LOG_BYTES, LONG_BYTES = 200_000, 200_000_000


def seconds(what: Callable[[], object]) -> float:
    begin = time.perf_counter()
    what()
    return time.perf_counter() - begin


def peak_mb() -> float:
    """Return the largest resident set of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def filled(line: bytes, size: int, end: bytes = b"") -> bytes:
    return line * ((size - len(end)) // len(line)) + end


def main() -> None:
    """Measure and print."""
    logs = {"loading": LOADING, "steps": STEP}
    taken = seconds(lambda: [parse_report(JSON) for _ in range(10_000)])
    print(f"10,000 JSON reports of {len(JSON):,} bytes: {taken:.2f} s")
    for name, line in logs.items():
        log = filled(line, LOG_BYTES, TEXT)
        taken = seconds(lambda log=log: [read_log(io.BytesIO(log)) for _ in range(1_000)])  # type: ignore[misc]
        print(f"1,000 logs of {len(log):,} bytes with a text report, {name}: {taken:.2f} s")
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(200):
            file.write(filled(LOADING, LONG_BYTES // 200))
        file.write(TEXT)
        file.flush()
        with open(file.name, "rb") as log:
            taken = seconds(lambda: read_log(log))
        print(f"a log of 200 MB: {taken:.2f} s; the whole process never held more than {peak_mb():.0f} MB")
        with open(file.name, encoding="utf-8", errors="replace") as lines:
            print(f"the same, classified as a failure: {seconds(lambda: failure.classify(lines)):.2f} s")


if __name__ == "__main__":
    sys.exit(main())
