"""The charts, as Vega-Lite: what is drawn where. Colours, shapes and labels come with the rows, so that the page can
change them (theme, what is coloured by) without another specification.

A row of a chart has the fields `x y row fill stroke shape size opacity series source label`; `curve` and `effect` join
the rows of one `series` by a line. Simulated rows are hollow, their lines dashed, and the words of `MARK` lie over the
plot as soon as there is one: also in a picture that is cut out of the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt

MARK = "PREDICTED"
"""What is written over every chart with a simulated row."""

LIGHT = ("#1764ab", "#c4510b", "#0a7f63", "#9a3d91", "#7d6608", "#4f46b8", "#b3244f", "#3f7488")
DARK = ("#6fb3f2", "#f59a5b", "#41cfa8", "#de93d4", "#d6c34f", "#a9a5f5", "#f58aa5", "#93c5d9")
"""Colours of series in the two themes: at least 4.5 : 1 on its background, told apart with any colour blindness down to
the fourth or so; shapes and labels tell the rest."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")

DASHES: Mapping[str, Sequence[int]] = {"measured": [], "simulated": [5, 3]}
SIDES: Mapping[str, Mapping[str, Any]] = {
    "right": {"dx": 8, "dy": -9, "align": "left"},
    "left": {"dx": -8, "dy": -10, "align": "right"},
}
"""Where the name of a series stands beside its point."""
LINE = 14
"""Height of a line of a chart's title, which is a text or a list of lines."""
_POWERS = ", ".join(str(2**power) for power in range(17))
DECADES = (
    "log(domain('y')[1] / domain('y')[0]) > 5 ? [0.01, 0.1, 1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8]"
    " : [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6]"
)
"""Ticks of a logarithmic axis: left to itself it draws nine lines for each decade."""

POWERS = (
    "domain('x')[0] > 0 && domain('x')[0] == domain('x')[1] ? [domain('x')[0]]"
    f" : unlimited_at > 0 ? [unlimited_at, {_POWERS}] : [{_POWERS}]"
)
"""Ticks of concurrency. Where all rows have the same one, every value lies in the middle, and only this one is it; of
panels side by side, whose scales have other names, no domain is known here."""

Size = tuple[str, str]
"""Width and height of what a chart draws in, as expressions of Vega."""
OWN: Size = ("width", "height")
"""What a chart that stands alone knows as its own; one beside others must be told."""

PER_USER = "tok/s per user"
PER_GPU = "output tok/s per GPU"


def front(data: Any, speed: str = PER_USER, size: Size = OWN) -> alt.LayerChart:
    """Return throughput against interactivity: all points, the front as a line; `front` says which points are on it."""
    import altair as alt

    base = alt.Chart(data).encode(
        x=alt.X("x:Q", title=speed, axis=_axis(), scale=alt.Scale(zero=True, nice=True)),
        y=alt.Y("y:Q", title=None, axis=_axis(), scale=alt.Scale(zero=True, nice=True)),
    )
    lines = [
        base.transform_filter(f"datum.front && datum.source == '{source}'")
        .mark_line(aria=False, strokeWidth=1.5, strokeDash=dash, color=alt.expr("ink"), opacity=0.75)
        .encode(order="x:Q", detail="source:N")
        for source, dash in DASHES.items()
    ]
    limit = alt.Chart(alt.InlineData(values=[{}])).transform_calculate(x="limit").transform_filter("limit > 0")
    asked = limit.mark_rule(aria=False, color=alt.expr("soft"), strokeDash=[2, 3]).encode(x="x:Q")
    said = limit.mark_text(aria=False, color=alt.expr("soft"), align="left", dx=5, y=6, fontSize=11).encode(
        x="x:Q", text=alt.value(alt.expr("'≥ ' + limit"))
    )
    return _layers(data, PER_GPU, size, asked, said, *lines, _points(base), _labels(base))


def curve(
    data: Any, title: str, size: Size = OWN, *, log: bool = False, ticks: Sequence[int] | None = None
) -> alt.LayerChart:
    """Return a figure against concurrency; a concurrency of `unlimited_at` is written as ∞.

    ticks: concurrencies to write on the axis in place of POWERS.
    """
    import altair as alt

    scale = alt.Scale(type="log") if log else alt.Scale(zero=True, nice=True)
    axis = _axis(values=alt.expr(DECADES), tickCount=20) if log else _axis()
    base = alt.Chart(data).encode(x=_concurrency(ticks), y=alt.Y("y:Q", title=None, axis=axis, scale=scale))
    return _layers(data, title, size, *_series(base), _points(base), _labels(base))


def effect(data: Any, title: str) -> alt.LayerChart:
    """Return a change in percent against concurrency, with the line of no change."""
    import altair as alt

    axis = _axis(labelExpr="(datum.value > 0 ? '+' : datum.value < 0 ? '−' : '') + abs(datum.value) + ' %'")
    base = alt.Chart(data).encode(x=_concurrency(), y=alt.Y("y:Q", title=None, axis=axis, scale=alt.Scale(nice=True)))
    nothing = alt.Chart(alt.InlineData(values=[{"y": 0}])).mark_rule(aria=False, color=alt.expr("ink"), opacity=0.55)
    return _layers(data, title, OWN, nothing.encode(y="y:Q"), *_series(base), _points(base), _labels(base))


def _layers(data: Any, title: str, size: Size, *layers: Any) -> alt.LayerChart:
    """Return the layers over each other, under the mark of simulated rows and a title that the page may change."""
    import altair as alt

    given = {
        "ink": "#1b1f23",
        "soft": "#59626b",
        "ground": "#ffffff",
        "mark": "#d99a2b",
        "title": title,
        "unlimited_at": -1,
        "limit": 0,
    }
    above = alt.Chart(alt.InlineData(values=[{}])).mark_text(
        text=alt.expr("title"),
        color=alt.expr("soft"),
        x=-2,
        y=alt.expr(f"isArray(title) ? {-LINE} * length(title) : {-LINE}"),
        lineHeight=LINE,
        align="left",
        fontSize=11.5,
        aria=False,
    )
    chart: alt.LayerChart = (
        alt.layer(_mark(data, *size), *layers, above)
        .add_params(*(alt.param(name=name, value=value) for name, value in given.items()))
        .resolve_scale(x="shared", y="shared")
    )
    return chart


def _mark(data: Any, width: str, height: str) -> Any:
    import altair as alt

    return (
        alt.Chart(data)
        .transform_filter("datum.source == 'simulated'")
        .transform_aggregate(simulated="count()", groupby=[])
        .transform_filter("datum.simulated > 0")
        .mark_text(
            text=MARK,
            x=alt.expr(f"{width} / 2"),
            y=alt.expr(f"{height} / 2"),
            fontSize=alt.expr(f"min(52, {width} / 7)"),
            fontWeight="bold",
            color=alt.expr("mark"),
            opacity=0.18,
            angle=345,
            aria=False,
        )
    )


def _series(base: alt.Chart) -> list[Any]:
    import altair as alt

    return [
        base.transform_filter(f"datum.source == '{source}'")
        .mark_line(aria=False, strokeWidth=1.75, strokeDash=dash)
        .encode(order="x:Q", detail="series:N", stroke=alt.Stroke("stroke:N", scale=None))
        for source, dash in DASHES.items()
    ]


def _points(base: alt.Chart) -> Any:
    import altair as alt

    return base.mark_point(aria=False, strokeWidth=1.5).encode(
        fill=alt.Fill("fill:N", scale=None),
        stroke=alt.Stroke("stroke:N", scale=None),
        shape=alt.Shape("shape:N", scale=None),
        size=alt.Size("size:Q", scale=None),
        opacity=alt.Opacity("opacity:Q", scale=None),
    )


def _labels(base: alt.Chart) -> Any:
    """Return the names of series beside one of their points, on the side that the row says, each with a halo."""
    import altair as alt

    def on(side: str, colour: Any, **mark: Any) -> Any:
        named = base.transform_filter(f"datum.label && datum.side == '{side}'")
        marked = named.mark_text(aria=False, fontSize=11.5, fontWeight=600, **SIDES[side], **mark)
        return marked.encode(text=alt.Text("label:N"), **colour)

    halo = {"stroke": alt.expr("ground"), "strokeWidth": 4, "strokeJoin": "round", "color": alt.expr("ground")}
    written = {"color": alt.Color("stroke:N", scale=None)}
    return alt.layer(*(on(side, {}, **halo) for side in SIDES), *(on(side, written) for side in SIDES))


def _concurrency(ticks: Sequence[int] | None = None) -> Any:
    import altair as alt

    words = "datum.value == unlimited_at ? '∞' : datum.value"
    axis = _axis(values=ticks or alt.expr(POWERS), labelExpr=words, labelOverlap="greedy", grid=False, tickCount=40)
    return alt.X("x:Q", title="concurrency", axis=axis, scale=alt.Scale(type="log", base=2))


def _axis(**given: Any) -> Any:
    import altair as alt

    return alt.Axis(**{"tickCount": 5, **given})
