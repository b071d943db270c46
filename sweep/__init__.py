"""sweep: a Hydra benchmark matrix becomes TensorRT-LLM benchmark runs and one typed Parquet table.

    import sweep
    df = sweep.load("results/ds_r1_grid")          # pandas, typed: the ok rows
    front = sweep.pareto(df)                       # what is not dominated, per ISL/OSL
    sweep.best(df, "ttft_ms_p99 < 500")            # the highest throughput per GPU within a limit, per ISL/OSL

The public names are loaded when they are first used, so that `python -m sweep --help` stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.analysis import best, compare, cost, interpolate, pareto
    from sweep.point import Point
    from sweep.table import load

__version__ = "0.1.0"
__all__ = ["Point", "__version__", "best", "compare", "cost", "interpolate", "load", "pareto"]

_HOME = {
    "Point": "sweep.point",
    "load": "sweep.table",
    "best": "sweep.analysis",
    "compare": "sweep.analysis",
    "cost": "sweep.analysis",
    "interpolate": "sweep.analysis",
    "pareto": "sweep.analysis",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'sweep' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
