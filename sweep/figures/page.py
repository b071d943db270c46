"""One HTML file that holds a table with its charts, and all that it needs to show them."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from sweep import __version__
from sweep.analysis import stand_ins
from sweep.figures import account, charts
from sweep.figures.effects import effects
from sweep.figures.rows import describe
from sweep.terminal import printable

if TYPE_CHECKING:
    import pandas as pd

PARTS = Path(__file__).parent / "static"
SCRIPTS = ("rows", "state", "plot", "tip", "charts", "layouts", "account", "table", "page")
"""Files of PARTS that together are the page's script: the first is strict for all, the last one begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A figure that the reader can choose. `log`: its axis is logarithmic."""

    column: str
    words: str
    better: str
    log: bool = False


METRICS = (
    Metric(column="output_tput_per_gpu", words="output tok/s per GPU", better="more"),
    Metric(column="output_tput_tps", words="output tok/s", better="more"),
    Metric(column="tput_per_gpu", words="input and output tok/s per GPU", better="more"),
    Metric(column="request_tput_rps", words="requests/s", better="more"),
    Metric(column="tps_per_user", words="tok/s per user", better="more"),
    Metric(column="tps_per_user_e2e", words="tok/s per user, end to end", better="more"),
    Metric(column="output_tokens_per_j", words="output tokens per joule", better="more"),
    Metric(column="ttft_ms_p50", words="TTFT P50, ms", better="less", log=True),
    Metric(column="ttft_ms_p99", words="TTFT P99, ms", better="less", log=True),
    Metric(column="tpot_ms_p50", words="TPOT P50, ms", better="less", log=True),
    Metric(column="tpot_ms_p99", words="TPOT P99, ms", better="less", log=True),
    Metric(column="itl_ms_p99", words="ITL P99, ms", better="less", log=True),
    Metric(column="e2el_ms_p50", words="end-to-end latency P50, ms", better="less", log=True),
    Metric(column="e2el_ms_p99", words="end-to-end latency P99, ms", better="less", log=True),
)


def page(
    name: str,
    attempts: pd.DataFrame,
    *,
    configs: Mapping[str, Mapping[str, Any]],
    results_dir: str,
    written_at: datetime,
    live: bool = False,
) -> str:
    """Return the page of a results table.

    It asks nothing of a network: scripts, styles and data are in it, and its content security policy forbids the rest.
    What rows say stays data: it is put into the page as text only, and scripts that are not ours do not run. Control
    characters in it, and what turns the direction of writing, are shown as escapes, as in a terminal.

    Args:
        name: of the sweep.
        attempts: rows of `sweep.load(..., attempts="all")`, tries that were repeated too; the page shows the last ones.
        configs: hash -> configuration that asked for rows, with its pruning summary under `pruned`.
        results_dir: where tables lie, as the command to repeat the sweep must name it.
        written_at: now, with a time zone.
        live: the sweep still runs, so the page looks for a newer version of itself.
    """
    from sweep.table import last_attempts

    rows = last_attempts(attempts)
    speed = "tps_per_user" if rows["tps_per_user"].notna().any() else "tps_per_user_e2e"
    metrics = [metric for metric in METRICS if rows[metric.column].notna().any()]
    databases = rows["db_version"].dropna().unique()
    data = {
        "name": name,
        "version": __version__,
        "written_at": written_at.isoformat(timespec="seconds"),
        "live": live,
        "rows": describe(rows),
        "speed": speed,
        "predicted_as": stand_ins(rows),
        "database": str(databases[0]) if len(databases) == 1 else None,
        "metrics": [asdict(metric) for metric in metrics],
        "effects": [effect.as_data() for effect in effects(rows)],
        "hours": account.hours(attempts),
        "pruned": account.pruned(configs),
        "provenance": account.provenance(attempts),
        "commands": account.commands(attempts, results_dir),
        "charts": _charts(charts.PER_USER if speed == "tps_per_user" else f"{charts.PER_USER}, end to end"),
        "palette": {"light": charts.LIGHT, "dark": charts.DARK, "shapes": charts.SHAPES},
    }
    script = "\n".join((PARTS / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    vega = _vega()
    return Template((PARTS / "page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(printable(name)),
        version=html.escape(__version__),
        policy=_policy(vega, script),
        style=(PARTS / "page.css").read_text(encoding="utf-8"),
        data=_as_text(_shown(data)),
        vega=vega,
        script=script,
    )


def _shown(value: Any) -> Any:
    """Return plain data with the control characters of its texts as escapes."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {_shown(key): _shown(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):  # those of numbers are long
        return [_shown(item) if isinstance(item, (str, Mapping, list, tuple)) else item for item in value]
    return value


def _as_text(data: Any) -> str:
    """Return JSON that cannot end the element it stands in, nor begin another: it has no < > or &."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _policy(*scripts: str) -> str:
    """Return a policy under which only these scripts run, and nothing is fetched.

    Vega sets styles of elements; the frame is the page itself (see page.js).
    """
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:;"
        " frame-src 'self' file:; base-uri 'none'; form-action 'none'"
    )


@functools.cache
def _charts(speed: str) -> dict[str, Any]:
    """Return each chart compiled for Vega, so that the page need not do it; it puts in its rows as the data `rows`."""
    import altair as alt
    import vl_convert

    rows = alt.NamedData(name="rows")
    made = {
        "front": charts.front(rows, speed),
        "curve": charts.curve(rows, ""),
        "log_curve": charts.curve(rows, "", log=True),
        "effect": charts.effect(rows, ""),
    }
    size = {"width": "container", "height": 270, "padding": {"left": 2, "right": 10, "top": 6, "bottom": 2}}
    return {name: vl_convert.vegalite_to_vega(chart.properties(**size).to_dict()) for name, chart in made.items()}


@functools.cache
def _vega() -> str:
    """Return Vega and what embeds it as one script, under the name vegaEmbed."""
    import vl_convert

    script: str = vl_convert.javascript_bundle("window.vegaEmbed=vegaEmbed;")
    return script.replace("</script", r"<\/script")  # which would end its element
