"""The closed schema of a configuration: its sections, their keys, and every setting of Point."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from typing import Any, get_type_hints

from sweep.config import GkeBackend, Ray, Run
from sweep.errors import nearest
from sweep.limits import Budget
from sweep.point import SETTINGS
from sweep.quarantine import Quarantine
from sweep.retry import Retry


@dataclass
class _ModelSchema:
    id: str = "???"
    precision: str | None = "???"
    weights_gb: float | None = "???"  # type: ignore[assignment]
    kv_cache_dtype: str | None = None
    moe: bool | None = False
    mtp: bool = False
    engine_config: str = "???"
    predict_as: dict[str, str | None] | None = None


@dataclass
class _MatrixSchema:
    grid: dict[str, Any] = field(default_factory=dict)
    zip: dict[str, Any] = field(default_factory=dict)
    concat: list[Any] = field(default_factory=list)
    derive: dict[str, Any] = field(default_factory=dict)
    require: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)


@functools.cache
def root_schema() -> type:
    """Return the closed schema of the root: the sections, and every setting of Point (checked by its declaration)."""
    sections: list[Any] = [
        ("name", str, "single"),
        ("results_dir", str, "results"),
        ("rerun", str | None, None),
        ("price_per_gpu_hour", float | None, None),
        ("html", Any, None),
        ("run", *_section(Run)),
        ("backend", Any, None),
        ("ray", *_section(Ray)),
        ("matrix", _MatrixSchema, field(default_factory=_MatrixSchema)),
        ("engine", dict[str, Any], field(default_factory=dict)),
        ("model", _ModelSchema, field(default_factory=_ModelSchema)),
    ]
    settings: list[Any] = [(name, Any, None) for name in SETTINGS if name not in ("model", "engine")]
    return make_dataclass("SweepSchema", sections + settings)


def _section(cls: type) -> tuple[type, Any]:
    """Return type and default of a section that config.py declares: OmegaConf wants dataclasses that are not frozen."""
    hints = get_type_hints(cls)
    declared: list[Any] = []
    for f in fields(cls):
        if is_dataclass(f.default):
            declared.append((f.name, *_section(hints[f.name])))
        elif isinstance(f.default, tuple):
            declared.append((f.name, list[str], field(default_factory=list)))
        else:
            declared.append((f.name, hints[f.name], f.default))
    made = make_dataclass(f"{cls.__name__}Schema", declared)
    return made, field(default_factory=made)


def known_keys() -> list[str]:
    """Return the keys that a person may have meant: settings, sections and what lies below them."""
    sections: dict[str, Any] = {"run": Run, "ray": Ray, "model": _ModelSchema, "matrix": _MatrixSchema}
    sections |= {
        "backend": GkeBackend,
        "run.budget": Budget,
        "run.retry": Retry,
        "run.quarantine": Quarantine,
    }
    known = [*SETTINGS, "name", "results_dir", "html", "rerun", "experiment", "workload", "backend", "model"]
    known.append("price_per_gpu_hour")
    return known + [f"{section}.{f.name}" for section, schema in sections.items() for f in fields(schema)]


def nearest_key(key: str) -> str:
    """Return which known key resembles an unknown one, or where the known ones are listed; ends a message."""
    axis = "" if "." in key else f"; --help lists the settings, and an axis is changed by matrix.grid.{key}=[...]"
    return nearest(key, known_keys()) or axis
