"""What predictions are of, and how near they are to what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("output_tput_per_gpu", "tps_per_user", "ttft_ms_p50", "tpot_ms_p50")
"""What predictions are held against measurements by."""


def stand_ins(df: pd.DataFrame) -> Mapping[str, str]:
    """Return for each model of simulated rows the other name that it was predicted as, or several joined by commas.

    The operator database has few models, so one often stands for another; a model that was predicted as itself, in
    whatever quantization, is left out. (`predicted_as` is the name, then what differs from that model's own files.)
    """
    if "predicted_as" not in df.columns or "model" not in df.columns:
        return {}
    rows = df[df["source"].eq("simulated").fillna(False)] if "source" in df.columns else df
    pairs = rows[["model", "predicted_as"]].dropna().drop_duplicates()
    names: dict[str, dict[str, None]] = {}
    for model, said in zip(pairs["model"], pairs["predicted_as"], strict=True):
        name = str(said).partition(" ")[0]
        if name and name != model:
            names.setdefault(str(model), {})[name] = None
    return {model: ", ".join(of_model) for model, of_model in names.items()}


def errors(points: pd.DataFrame, keys: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
    """Return how far predictions are off, per group and metric, and for all points together where there are groups.

    points: one line per point, with the columns of keys and `measured_METRIC` and `predicted_METRIC`.

    Returns:
        keys, `metric`, `points`; `median_ratio` of predicted / measured; `mape`, the mean of |ratio - 1|, as a share;
        `worst_ratio`, the one that is farthest from 1; `rank_correlation` (Spearman), NaN below three points.
    """
    import numpy as np
    import pandas as pd

    lines = []
    groups = list(points.groupby(list(keys), dropna=False)) if keys else []
    if len(groups) != 1:
        groups.append((tuple([pd.NA] * len(keys)), points))
    for values, group in groups:
        for metric in metrics:
            pair = group[[f"measured_{metric}", f"predicted_{metric}"]].dropna().to_numpy("float64")
            pair = pair[(pair > 0).all(axis=1)]
            if not len(pair):
                continue
            ratio = pair[:, 1] / pair[:, 0]
            ranks = pd.DataFrame(pair).rank().to_numpy("float64")
            spread = len(pair) > 2 and bool((ranks.std(axis=0) > 0).all())
            lines.append(
                dict(zip(keys, values, strict=True))
                | {
                    "metric": metric,
                    "points": len(pair),
                    "median_ratio": float(np.median(ratio)),
                    "mape": float(np.abs(ratio - 1).mean()),
                    "worst_ratio": float(ratio[np.argmax(np.abs(np.log(ratio)))]),
                    "rank_correlation": float(np.corrcoef(ranks.T)[0, 1]) if spread else float("nan"),
                }
            )
    names = ["metric", "points", "median_ratio", "mape", "worst_ratio", "rank_correlation"]
    return pd.DataFrame(lines, columns=[*keys, *names])
