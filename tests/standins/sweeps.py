"""Rows of sweeps that nobody ran: 132 points whose true numbers are known, with noise whose size is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

SHAPES = ((1024, 1024), (8192, 1024), (1024, 8192), (128, 128))
CONCURRENCY = tuple(2**power for power in range(11))
LAYOUTS = ({"tp": 4, "ep": 1}, {"tp": 4, "ep": 4}, {"tp": 8, "ep": 8})
POINTS = len(SHAPES) * len(CONCURRENCY) * len(LAYOUTS)
BETWEEN_STARTS, WITHIN = 0.015, (0.02**2 - 0.015**2) ** 0.5
"""Together 2 %."""


def points(shapes: int = len(SHAPES)) -> pd.DataFrame:
    """One line per point, with its true throughput and interactivity."""
    lines = []
    for isl, osl in SHAPES[:shapes]:
        for number, layout in enumerate(LAYOUTS):
            for concurrency in CONCURRENCY:
                knee = 24 * (1 + number)
                lines.append(
                    {
                        "point_id": f"{isl}-{osl}-{number}-{concurrency}",
                        "engine_id": f"engine{number}",
                        "model": "some/model",
                        "bench": "throughput",
                        "image": "trtllm:1",
                        "isl": isl,
                        "osl": osl,
                        "concurrency": concurrency,
                        "num_requests": max(32, 5 * concurrency),
                        "streaming": True,
                        **layout,
                        "source": "measured",
                        "status": "ok",
                        "driver_version": "580.1",
                        "sm_clock_mhz": 1900.0,
                        "output_tput_per_gpu": 3e6
                        / (isl + osl)
                        * (1 + 0.15 * number)
                        * concurrency
                        / (concurrency + knee),
                        "tps_per_user": 150 / (1 + 0.4 * number) / (1 + concurrency / knee),
                        "ttft_ms_p50": 20.0 + isl / 50 + concurrency * isl / 4000,
                    }
                )
    return pd.DataFrame(lines)


def measured(
    seed: int,
    truth: pd.DataFrame,
    *,
    repeats: int = 5,
    speed: float | np.ndarray[Any, Any] = 1.0,
    between_starts: float = BETWEEN_STARTS,
    within: float = WITHIN,
    one_start_per_repeat: bool = False,
) -> pd.DataFrame:
    """Measure each point `repeats` times; each repeat starts every engine once, and its points share that start's luck.

    speed: what all figures are multiplied with, or one factor per point.
    one_start_per_repeat: all engines of a repeat share one start, so that there are as few as can be.
    """
    rng = np.random.default_rng(seed)
    engine = np.zeros(len(truth), int) if one_start_per_repeat else pd.factorize(truth["engine_id"])[0]
    parts = []
    for repeat in range(1, repeats + 1):
        luck = rng.normal(0, between_starts, engine.max() + 1)[engine]
        fast = {
            name: truth[name] * np.exp(luck + rng.normal(0, within, len(truth))) * speed
            for name in ("output_tput_per_gpu", "tps_per_user")
        }
        slow = truth["ttft_ms_p50"] * np.exp(-luck - rng.normal(0, within, len(truth))) / speed
        starts = [f"{seed}-{repeat}-{number}" for number in engine]
        parts.append(truth.assign(**fast, ttft_ms_p50=slow, repeat=repeat, deployment_id=starts))
    return pd.concat(parts, ignore_index=True)
