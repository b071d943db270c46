"""What a sweep cost and where its numbers come from: GPU-hours, versions, what was pruned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sweep.figures.rows import layouts, value_counts

if TYPE_CHECKING:
    import pandas as pd

PHASES: Mapping[str, str] = {"pull_s": "image", "download_s": "weights", "load_s": "engine load", "bench_s": "bench"}
"""Columns of what GPUs were held for, and the words for them. (`queued_s` holds none.)"""

PROVENANCE: Sequence[tuple[str, str]] = (
    ("source", "source"),
    ("backend", "backend"),
    ("sweep_id", "sweep"),
    ("model", "model"),
    ("revision", "revision"),
    ("image", "image asked for"),
    ("image_digest", "image digest"),
    ("trtllm_version", "TensorRT-LLM"),
    ("driver_version", "GPU driver"),
    ("cuda_version", "CUDA"),
    ("gpu_name", "GPU"),
    ("power_capped", "power cap active"),
    ("slowdown", "slowdown"),
    ("node", "node"),
    ("zone", "zone"),
    ("predicted_as", "predicted as"),
    ("simulator_version", "simulator"),
    ("db_version", "operator database"),
    ("unverified_settings", "settings that no report proved"),
    ("imported_from", "imported from"),
    ("sweep_version", "sweep version"),
    ("schema_version", "table schema"),
    ("config_hash", "configuration"),
)


def hours(attempts: pd.DataFrame) -> dict[str, Any]:
    """Return where the GPU-hours went, by layout and by what the GPUs were held for.

    Failed and invalid attempts are a part of their own, whatever they did. `rest` is what no column names: starting
    processes, warm-up, waiting for memory. Where a pod named more seconds than it had, all are shortened alike.
    Simulated rows held no GPU; `predicted` is what their bench would take. `cost_usd` is of the `priced` hours, since
    a price may be given later, or not at all.

    Args:
        attempts: rows of `sweep.load(..., attempts="all")`, so that tries which were repeated count too.
    """
    measured = attempts[attempts["source"].eq("measured") & attempts["gpu_hours"].notna()]
    of_layout: dict[str, dict[str, float]] = {}
    for (name, good), rows in measured.groupby([_layouts(measured), measured["status"].eq("ok")], sort=False):
        parts = of_layout.setdefault(str(name), dict.fromkeys([*PHASES.values(), "rest", "no number"], 0.0))
        total = float(rows["gpu_hours"].sum())
        if not good:
            parts["no number"] += total
            continue
        held = rows["gpus_held"].astype(float) / 3600
        named = {word: float((rows[column] * held).sum()) for column, word in PHASES.items()}
        share = min(1.0, total / (sum(named.values()) or total or 1.0))
        for word, spent in named.items():
            parts[word] += spent * share
        parts["rest"] += total - sum(named.values()) * share
    simulated = attempts[attempts["source"].eq("simulated") & attempts["status"].eq("ok")]
    bench = simulated["bench_s"] * simulated["gpus_held"].astype(float) / 3600
    return {
        "layouts": [
            {"layout": name, "parts": parts}
            for name, parts in sorted(of_layout.items(), key=lambda item: -sum(item[1].values()))
        ],
        "total": float(measured["gpu_hours"].sum()),
        "queued": float(measured["queued_s"].sum()) / 3600,
        "cost_usd": float(measured["cost_usd"].sum()) if measured["cost_usd"].notna().any() else None,
        "priced": float(measured.loc[measured["cost_usd"].notna(), "gpu_hours"].sum()),
        "unknown": int(
            (attempts["source"].eq("measured") & attempts["gpu_hours"].isna() & attempts["attempt"].gt(0)).sum()
        ),
        "repeated": int(len(attempts) - len(attempts.drop_duplicates(["sweep_id", "point_id", "source", "repeat"]))),
        "predicted": float(bench.sum()),
    }


def _layouts(frame: pd.DataFrame) -> pd.Series[str]:
    import pandas as pd

    return pd.Series(layouts(frame), index=frame.index, dtype=object)


def provenance(attempts: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what rows say of their origin: for each fact its values with the number of rows that have it."""
    found: list[dict[str, Any]] = []
    for column, word in PROVENANCE:
        counts = value_counts(attempts[column])
        if counts:
            found.append(
                {"name": word, "column": column, "values": [[_told(value), count] for value, count in counts.items()]}
            )
    for column, word in (("sm_clock_mhz", "SM clock"), ("memory_clock_mhz", "memory clock")):
        clocks = attempts[column].dropna()
        if len(clocks):
            low, high = f"{clocks.min():,.0f}", f"{clocks.max():,.0f}"
            told = f"{low} MHz" if low == high else f"{low} to {high} MHz"
            found.append({"name": word, "column": column, "values": [[told, len(clocks)]]})
    began, ended = attempts["started_at"].min(), attempts["ended_at"].max()
    if began == began and ended == ended:
        told = f"{began:%Y-%m-%d %H:%M} to {ended:%Y-%m-%d %H:%M} UTC"
        found.append({"name": "when", "column": "started_at", "values": [[told, len(attempts)]]})
    return found


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(str(value).split(",")) if value != "" else "none"


def commands(attempts: pd.DataFrame, results_dir: str) -> list[str]:
    """Return what to type to repeat each configuration that asked for rows; it continues what has no row yet."""
    place = "" if results_dir == "results" else f" results_dir={_quoted(results_dir)}"
    return [f"python -m sweep +rerun={config_hash}{place}" for config_hash in value_counts(attempts["config_hash"])]


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)


def pruned(configs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what became of the cells without a point, for each kept configuration; one that says the same is left out.

    Args:
        configs: hash -> the resolved configuration, with its summary under `pruned`.
    """
    found: dict[str, dict[str, Any]] = {}
    for config_hash, config in configs.items():
        kept = config.get("pruned")
        counts = kept if isinstance(kept, Mapping) else {}
        cells = {str(reason): count for reason, count in counts.items() if isinstance(count, int)}
        if cells:
            key = repr(sorted(cells.items()))
            found.setdefault(key, {"configs": [], "cells": sorted(cells.items(), key=lambda item: (-item[1], item[0]))})
            found[key]["configs"].append(config_hash)
    return list(found.values())
