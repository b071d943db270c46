"""Short names of points, for people: what every name holds, and what else tells two of them apart."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sweep.engine_keys import leaves
from sweep.point import SETTINGS, Point


def labels(points: Mapping[str, Point]) -> dict[str, str]:
    """Return a short name for each point, by id; no two are the same.

    Point.label() is enough where it tells the points apart. Where it does not, every name also says each setting, and
    each key of the engine YAML, in which points differ that would otherwise be called the same.
    """
    several = len({point.model for point in points.values()}) > 1
    short = {key: f"{point.model} {point.label()}" if several else point.label() for key, point in points.items()}
    alike: dict[str, list[Point]] = defaultdict(list)
    for key, point in points.items():
        alike[short[key]].append(point)
    groups = [group for group in alike.values() if len(group) > 1]
    if not groups:
        return short
    names = [name for name in SETTINGS if name != "engine" and any(_differ(group, name) for group in groups)]
    keys: dict[str, None] = {}
    for group in groups:
        trees = {point.engine: leaves(json.loads(point.engine)) for point in group}
        if len(trees) > 1:
            every = {key: None for tree in trees.values() for key in tree}
            keys |= {key: None for key in every if len({_value(tree, key) for tree in trees.values()}) > 1}
    return {
        key: " ".join(
            [short[key], *(f"{name}={_written(getattr(point, name))}" for name in names), *_engine(point, keys)]
        )
        for key, point in points.items()
    }


def _differ(group: list[Point], name: str) -> bool:
    first = getattr(group[0], name)
    return any(getattr(point, name) != first for point in group)


def _engine(point: Point, keys: Mapping[str, None]) -> list[str]:
    if not keys:
        return []
    tree = leaves(json.loads(point.engine))
    return [f"engine.{key}={_value(tree, key)}" for key in keys if key in tree]


def _value(tree: Mapping[str, Any], key: str) -> str:
    """Return a value of the engine YAML as JSON, so that 1, true and "1" differ; nothing where the key is missing."""
    return json.dumps(tree[key], separators=(",", ":"), ensure_ascii=False) if key in tree else ""


def _written(value: Any) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
