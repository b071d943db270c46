"""Tables as pictures: the charts of the page without a browser, for a report, a notebook or a README.

A picture is an Altair chart: a notebook shows it, `svg` makes a file of it. It has a panel for each ISL/OSL, and a
colour and a shape for each layout. Repeats of a point are drawn as their mean; rows that are not ok, or lack a number,
are left out. Where a row is simulated, its panel and the title say PREDICTED, and as what, where that is another model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sweep.analysis import pareto, stand_ins
from sweep.errors import UsageError, nearest
from sweep.figures import charts
from sweep.figures.rows import LAYOUT, layouts
from sweep.point import SETTINGS
from sweep.terminal import printable

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

SHAPE = ("isl", "osl")
POINT = ("source", "model", "gpu", *SHAPE, *LAYOUT, "concurrency")
"""What tells the points of a picture apart."""

WIDTH, HEIGHT = 385, 225
"""Of what a panel draws in, in pixels; two stand side by side."""
SIZE = (str(WIDTH), str(HEIGHT))
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
"""vl-convert brings the first along, so that places are the same on every machine; the others are as wide."""
LETTER = 6.4
"""Pixels of a letter of the legend, on average."""
DIGITS = 4
"""Significant digits of what is drawn: finer than a pixel, and the same on every processor."""

GROUND, INK, SOFT, LINE, AMBER = "#ffffff", "#1b1f23", "#59626b", "#dfe3e8", "#d99a2b"
"""The colours of charts.py and of its axes on a light ground."""
IN_THE_DARK: Mapping[str, str] = {
    GROUND: "#0d1117",
    INK: "#e6edf3",
    SOFT: "#9aa5b1",
    LINE: "#2a313a",
    AMBER: "#e0a93f",
    **dict(zip(charts.LIGHT, charts.DARK, strict=True)),
}
"""What each colour becomes where the reader's theme is dark."""


def fronts(df: pd.DataFrame) -> alt.VConcatChart:
    """Return throughput per GPU against speed per user, with the Pareto front of each ISL/OSL as a line.

    Args:
        df: rows of `sweep.load`, of one model, that differ in ISL/OSL, layout and concurrency only.

    Raises:
        UsageError: rows differ in something else too, none has both numbers, or there are more layouts than colours.
    """
    points = _points(df, "tps_per_user", "output_tput_per_gpu")
    front = points.index.isin(pareto(points).index)
    drawn = _drawn(points, "tps_per_user", "output_tput_per_gpu").assign(
        front=front, size=[60 if on else 32 for on in front], opacity=[1 if on else 0.45 for on in front]
    )
    words = f"{charts.PER_GPU} against {charts.PER_USER}; the line is the Pareto front"
    return _picture(df, points, drawn, words, lambda data: charts.front(data, size=SIZE))


def curves(df: pd.DataFrame, metric: str, words: str, *, log: bool = False) -> alt.VConcatChart:
    """Return a figure against concurrency, with a line for each layout; a concurrency of `unlimited` is left out.

    Args:
        df: as for `fronts`.
        metric: a column of numbers, such as `ttft_ms_p99`.
        words: what it is and in which unit, for people.
        log: its axis is logarithmic.

    Raises:
        UsageError: df has no such column, and where `fronts` raises it.
    """
    points = _points(df, "concurrency", metric)
    points = points[points["concurrency"] > 0]
    drawn = _drawn(points, "concurrency", metric).assign(size=40, opacity=1)

    def draw(panel: pd.DataFrame) -> Any:
        loads = panel["x"].unique().tolist()
        return charts.curve(panel, words, SIZE, log=log, ticks=loads if len(loads) == 1 else None)

    return _picture(df, points, drawn, f"{words}, against concurrency", draw)


def svg(chart: alt.TopLevelMixin) -> str:
    """Return a chart as SVG that is readable in light and dark themes; the same chart gives the same bytes."""
    import vl_convert

    drawn: str = vl_convert.vegalite_to_svg(chart.to_json())
    dark = "".join(
        f'[fill="{light}"]{{fill:{dark}}}[stroke="{light}"]{{stroke:{dark}}}' for light, dark in IN_THE_DARK.items()
    )
    opening, rest = drawn.split(">", 1)
    return f"{opening}><style>@media (prefers-color-scheme:dark){{{dark}}}</style>{rest}\n"


def styled(chart: alt.VConcatChart) -> alt.VConcatChart:
    """Return the chart in the looks of all pictures."""
    soft = {"labelColor": SOFT, "titleColor": SOFT, "labelFontSize": 11.5, "titleFontSize": 11.5}
    lines = {"gridColor": LINE, "domainColor": LINE, "ticks": False, "labelPadding": 6, "titlePadding": 8}
    looks: alt.VConcatChart = (
        chart.properties(background=GROUND, padding={"left": 14, "right": 18, "top": 14, "bottom": 12})
        .configure(font=FONT)
        .configure_view(stroke=None)
        .configure_axis(**soft, **lines, titleFontWeight="normal")
        .configure_axisY(domain=False)
        .configure_legend(labelColor=SOFT, titleColor=INK, labelFontSize=11.5, titleFontSize=11.5)
        .configure_title(
            color=INK,
            subtitleColor=SOFT,
            fontSize=15,
            subtitleFontSize=12,
            subtitlePadding=5,
            anchor="start",
            offset=12,
        )
    )
    return looks


def _points(df: pd.DataFrame, *figures: str) -> pd.DataFrame:
    """Return one row for each point, with the mean of its figures over repeats."""
    for name in (*POINT, *figures):
        if name not in df.columns:
            raise UsageError(f"the rows have no column {name}{nearest(name, map(str, df.columns))}")
    rows = df[df["status"].eq("ok").fillna(False)] if "status" in df.columns else df
    rows = rows.dropna(subset=list(dict.fromkeys(figures)))
    if rows.empty:
        raise UsageError(f"there is nothing to draw: no ok row has {' and '.join(figures)}")
    groups = rows.groupby(list(POINT), dropna=False, sort=True)
    one = [name for name in ("model", "gpu") if rows[name].nunique() > 1]
    others = [name for name in SETTINGS if name in rows.columns and name not in POINT]
    differing = one + [name for name in others if groups[name].nunique(dropna=False).gt(1).any()]
    if differing:
        raise UsageError(
            f"rows of one layout and load differ in {', '.join(differing)} too: choose one value, for example"
            f" df[df.{differing[0]} == {rows[differing[0]].dropna().iloc[0]!r}]"
        )
    return groups[[name for name in figures if name not in POINT]].mean().reset_index()


def _drawn(points: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """Return the points with the fields that charts.py draws."""
    names = layouts(points)
    order = list(dict.fromkeys(sorted(names, key=lambda name: (len(name), name))))
    if len(order) > len(charts.LIGHT):
        raise UsageError(
            f"there are {len(order)} layouts, and {len(charts.LIGHT)} can be told apart: choose some of them"
        )
    at = [order.index(name) for name in names]
    simulated = points["source"].eq("simulated")
    colours = [charts.LIGHT[number] for number in at]
    rounded = {
        name: [float(f"{value:.{DIGITS}g}") for value in points[column]] for name, column in (("x", x), ("y", y))
    }
    return points[[*SHAPE, "source"]].assign(
        **rounded,
        series=names,
        stroke=colours,
        fill=["transparent" if hollow else colour for hollow, colour in zip(simulated, colours, strict=True)],
        shape=[charts.SHAPES[number] for number in at],
        front=False,
        label="",
        side="right",
    )


def _picture(
    df: pd.DataFrame, points: pd.DataFrame, drawn: pd.DataFrame, words: str, draw: Callable[[pd.DataFrame], Any]
) -> alt.VConcatChart:
    """Return title, legend and panels of the points of df."""
    import altair as alt

    panels = [
        draw(rows.drop(columns=list(SHAPE))).properties(
            width=WIDTH, height=HEIGHT, title=alt.TitleParams(f"ISL {isl} / OSL {osl}", fontSize=12.5, offset=7)
        )
        for (isl, osl), rows in drawn.groupby(list(SHAPE))
    ]
    simulated = drawn["source"].eq("simulated")
    mark = (
        ""
        if not simulated.any()
        else f"{charts.MARK}, not measured: "
        if simulated.all()
        else f"partly {charts.MARK}: "
    )
    subtitle = [*(f"predicted as {printable(name)}" for name in stand_ins(df).values()), words[0].upper() + words[1:]]
    title = alt.TitleParams(
        f"{mark}{printable(points['model'].iloc[0])} on {str(points['gpu'].iloc[0]).upper()}",
        subtitle=subtitle if len(subtitle) > 1 else subtitle[0],
    )
    whole = alt.vconcat(_legend(drawn), alt.concat(*panels, columns=2, spacing=26), title=title, spacing=14)
    return styled(whole)


def _legend(drawn: pd.DataFrame) -> Any:
    import altair as alt

    series = drawn.drop_duplicates("series").sort_values("series", key=lambda names: names.str.len())
    width = (series["series"].str.len() * LETTER + 36).round()
    keys = series[["series", "stroke", "fill", "shape"]].assign(x=8 + width.cumsum() - width)
    base = alt.Chart(keys, height=14, width=2 * WIDTH).encode(x=alt.X("x:Q", scale=None, axis=None), y=alt.value(7))
    return alt.layer(
        base.mark_point(aria=False, size=60, strokeWidth=1.5).encode(
            fill=alt.Fill("fill:N", scale=None),
            stroke=alt.Stroke("stroke:N", scale=None),
            shape=alt.Shape("shape:N", scale=None),
        ),
        base.mark_text(aria=False, align="left", dx=11, fontSize=12, color=INK).encode(text="series:N"),
    )
