"""Draw the pictures of the documentation from this project's own rows: `make pictures`.

    python -m docs.draw results/ds_r1_grid docs/pictures

fronts.svg, throughput.svg and ttft.svg come from the rows of ds_r1_grid, published.svg from
tests/benchmarks/accuracy.py; flow.svg is made by hand. The same rows give the same bytes, so that a picture changes
only where a number did.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

import sweep
from sweep.figures import charts, pictures

LEAST, MOST = 40, 40_000
"""Ends of both axes of published.svg, in tok/s per GPU."""


def of_the_grid(rows: pd.DataFrame) -> Mapping[str, alt.VConcatChart]:
    """Return the pictures of ds_r1_grid by their file's name."""
    short = rows[rows["isl"].ne(128) & rows["osl"].eq(1024)]
    return {
        "fronts.svg": pictures.fronts(rows),
        "throughput.svg": pictures.curves(short, "output_tput_per_gpu", charts.PER_GPU),
        "ttft.svg": pictures.curves(short, "ttft_ms_p50", "TTFT P50, ms", log=True),
    }


def of_what_is_published() -> alt.VConcatChart:
    """Return predicted against published throughput per GPU, a dot for each of NVIDIA's rows."""
    from tests.benchmarks.accuracy import per_gpu

    found = [
        {"gpu": row["gpu"], "predicted": float(f"{predicted:.4g}"), "published": published}
        for row, predicted, published in per_gpu(Counter())
    ]
    rows = pd.DataFrame(found).sort_values(["gpu", "published", "predicted"])
    gpus = sorted(rows["gpu"].unique())
    scale = alt.Scale(type="log", domain=[LEAST, MOST], nice=False)

    def axis(title: str) -> alt.Axis:
        return alt.Axis(values=[50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000], format=",d", title=title)

    def ruler(factor: float, **mark: Any) -> alt.Chart:
        ends = pd.DataFrame({"published": [LEAST, MOST], "predicted": [LEAST * factor, MOST * factor]})
        return (
            alt.Chart(ends).mark_line(clip=True, color=pictures.SOFT, **mark).encode(x="published:Q", y="predicted:Q")
        )

    dots = (
        alt.Chart(rows)
        .mark_point(size=32, strokeWidth=1.4)
        .encode(
            x=alt.X("published:Q", scale=scale, axis=axis("published, output tok/s per GPU")),
            y=alt.Y("predicted:Q", scale=scale, axis=axis("predicted, output tok/s per GPU")),
            color=alt.Color("gpu:N", title="GPU", scale=alt.Scale(domain=gpus, range=list(charts.LIGHT[: len(gpus)]))),
            shape=alt.Shape("gpu:N", title="GPU", scale=alt.Scale(domain=gpus, range=list(charts.SHAPES[: len(gpus)]))),
        )
    )
    rulers = [ruler(1.0), *(ruler(factor, strokeDash=[3, 4]) for factor in (0.8, 1.2))]
    title = alt.TitleParams(
        f"Predicted beside NVIDIA's {len(rows)} published throughputs",
        subtitle="whole line: equal; dashed: 20 % off; what was measured ran an older TensorRT-LLM",
    )
    return pictures.styled(alt.vconcat(alt.layer(*rulers, dots).properties(width=640, height=360), title=title))


def main() -> None:
    results, out = map(Path, sys.argv[1:])
    drawn = {**of_the_grid(sweep.load(results)), "published.svg": of_what_is_published()}
    for name, chart in drawn.items():
        (out / name).write_text(pictures.svg(chart), encoding="utf-8")


if __name__ == "__main__":
    main()
