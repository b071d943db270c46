"""sweep: a Hydra benchmark matrix becomes TensorRT-LLM benchmark runs and one typed Parquet table.

    import sweep
    df = sweep.load("results/ds_r1_grid")          # pandas, typed, the last attempt of each point
    front = sweep.pareto(df)                       # what is not dominated, per ISL/OSL

The public names are loaded when they are first used, so that `python -m sweep --help` stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.analysis import pareto
    from sweep.point import Point
    from sweep.table import load

__version__ = "0.1.0"
__all__ = ["Point", "__version__", "load", "pareto"]

_HOME = {"Point": "sweep.point", "load": "sweep.table", "pareto": "sweep.analysis"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'sweep' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
