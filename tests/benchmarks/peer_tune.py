"""N no-op trials under Ray Tune, tuned as far as its documentation goes; run by overhead.py in the peers' environment.

python peer_tune.py N
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile

os.environ |= {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard file per trial
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # the experiment's state is not written again and again
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}

import ray
from ray import tune

CPUS = os.cpu_count() or 1


def trial(config: dict[str, int]) -> dict[str, float]:
    """Return 30 numbers, as many as a report has."""
    return {f"m{k}": float(config["i"] + k) for k in range(30)}


def main() -> None:
    """Run the trials, on processes that are used again, and check that each gave its numbers."""
    n = int(sys.argv[1])
    ray.init(
        address="local",
        include_dashboard=False,
        num_cpus=CPUS,
        object_store_memory=80 * 2**20,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    with tempfile.TemporaryDirectory() as folder:
        found = tune.Tuner(
            tune.with_resources(trial, {"cpu": 1}),
            param_space={"i": tune.grid_search(list(range(n)))},
            tune_config=tune.TuneConfig(max_concurrent_trials=CPUS, reuse_actors=True),
            run_config=tune.RunConfig(storage_path=folder, name="noop", verbose=0),
        ).fit()
        numbers = sorted((found[i].metrics or {})["m0"] for i in range(len(found)))
    ray.shutdown()
    if numbers != [float(i) for i in range(n)]:
        raise SystemExit(f"{len(numbers)} of {n} trials gave their numbers")


if __name__ == "__main__":
    main()
