"""The matrix: grid, zip, concat, derive, require and exclude become points; every cell that does not is explained.

Pure: a matrix (plain mappings and lists, as Hydra composed them), the settings that hold where no axis says otherwise
and the model go in, points and counted reasons come out, in a stable order (the last axis changes fastest).
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import itemgetter
from typing import Any

from sweep import axes as reading
from sweep.axes import Axis, Branch, flattened, is_pinned
from sweep.engine_keys import layered
from sweep.errors import UsageError
from sweep.expression import Expression
from sweep.point import GPUS, SETTINGS, UNLIMITED, Model, Point, canonical_json, check_number
from sweep.rules import Cell, Verdict, judge_engine, judge_request


class Cause(StrEnum):
    """Why a cell is no point."""

    EXCLUDED = "excluded"
    SAME = "same point as another"
    REFUSED = "refused"
    MEMORY = "does not fit in memory"


@dataclass(frozen=True, slots=True)
class Reason:
    """A cause with its details: the line that excluded the cell, the rule that refused it, the GB it needs."""

    cause: Cause
    text: str = ""

    def __str__(self) -> str:
        return f"{self.cause}: {self.text}" if self.text else str(self.cause)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """Points in matrix order, and what became of the other cells. `cells == len(points) + sum(pruned.values())`."""

    points: tuple[Point, ...]
    pruned: Mapping[Reason, int]

    @property
    def cells(self) -> int:
        return len(self.points) + sum(self.pruned.values())


def expand(
    matrix: Mapping[str, Any],
    base: Mapping[str, Any],
    model: Model,
    memory: Callable[[Point, Model], str | None] | None = None,
) -> Expansion:
    """Expand a matrix.

    base: a value for each setting, checked; None where only the matrix gives one.
    memory: a finer answer to "does it fit", asked once per engine; returns the reason why not.

    Raises:
        UsageError: the matrix is not well formed or too large, or a setting has no value.
    """
    branches, extra_keys = reading.read(matrix, base)
    pruned: Counter[Reason] = Counter()
    found: dict[tuple[Any, ...], Point] = {}
    judged: dict[tuple[Any, ...], Verdict] = {}
    engine_settings = itemgetter(*_ENGINE_NAMES)
    for branch in branches:
        for cell in _cells(branch.axes, base):
            if (reason := _excluded(cell, branch)) is not None:
                pruned[reason] += 1
                continue
            if cell["max_seq_len"] is None:
                cell["max_seq_len"] = cell["isl"] + cell["osl"]
            key = engine_settings(cell)
            if extra_keys:
                key += (canonical_json({name: cell[name] for name in extra_keys if name in cell}),)
            if (verdict := judged.get(key)) is None:
                verdict = judged[key] = _judge(cell, model, extra_keys, memory)
            cell.update(verdict.changes)
            if refused := verdict.refused or judge_request(cell):
                pruned[Reason(Cause.REFUSED, refused)] += 1
            elif verdict.too_big:
                pruned[Reason(Cause.MEMORY, verdict.too_big)] += 1
            elif (identity := _VALUES(cell)) in found:
                pruned[Reason(Cause.SAME)] += 1
            else:
                found[identity] = Point(**dict(zip(_NAMES, identity, strict=True)))
    return Expansion(points=tuple(found.values()), pruned=dict(pruned))


_NAMES = tuple(SETTINGS)
_VALUES = itemgetter(*_NAMES)
_ENGINE_NAMES = (*(name for name, setting in SETTINGS.items() if setting.engine), "bench")
_CONSTANTS = {
    name: dict(zip(reading.CONSTANTS, (gpu.per_node, gpu.memory_gb), strict=True)) for name, gpu in GPUS.items()
}
"""What expressions have beside the settings, by the GPU of the cell."""


def _cells(axes: Sequence[Axis], start: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for combination in itertools.product(*[axis.members for axis in axes]):
        cell = dict(start)
        for member in combination:
            cell.update(member)
        cell.update(_CONSTANTS[cell["gpu"]])
        yield cell


def _excluded(cell: dict[str, Any], branch: Branch) -> Reason | None:
    for name, expression in branch.derive.items():
        cell[name] = _derived(name, expression, cell)
        if name == "gpu":
            cell.update(_CONSTANTS[cell["gpu"]])
    for line in branch.require:
        if not line(cell):
            return Reason(Cause.EXCLUDED, f'require "{line.text}"')
    for line in branch.exclude:
        if line(cell):
            return Reason(Cause.EXCLUDED, f'exclude "{line.text}"')
    return None


def _derived(name: str, expression: Expression, cell: Cell) -> Any:
    value = expression(cell)
    if isinstance(value, float) and not math.isfinite(value):
        unlimited = "concurrency" in expression.names and cell["concurrency"] == UNLIMITED
        why = f" with concurrency=unlimited; give {name}" if unlimited else ""
        raise UsageError(f'derive {name}: "{expression.text}" is infinite{why}')
    if name not in SETTINGS:
        for item in value if isinstance(value, list) else [value]:
            check_number(name, item)
        return value
    if SETTINGS[name].type is int and isinstance(value, float):
        value = math.ceil(value)
    return SETTINGS[name].check(value)


def _judge(
    cell: Cell, model: Model, extra_keys: Sequence[str], memory: Callable[[Point, Model], str | None] | None
) -> Verdict:
    changes: dict[str, Any] = {}
    given = {key.removeprefix("engine."): cell[key] for key in extra_keys if key in cell}
    if given:
        changes["engine"] = canonical_json(layered(json.loads(str(cell["engine"])), given))
    verdict = judge_engine({**cell, **changes}, model)
    changes |= verdict.changes
    too_big = verdict.too_big
    if memory is not None and not verdict.refused and not too_big:
        too_big = memory(Point(**{name: {**cell, **changes}[name] for name in _NAMES}), model) or ""
    return Verdict(changes=changes, refused=verdict.refused, too_big=too_big)


# ---------------------------------------------------------------------------------------------- pins and sweeps of -m


def pin(matrix: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return the matrix without the settings `keys`, which the command line gave one value each.

    An axis of a pinned setting disappears; in a linked axis the other settings stay (cells that become equal merge and
    are counted); a derive line of a pinned setting goes.
    """
    result = flattened(matrix)
    grid = {}
    for label, values in reading.mapping(result, "grid", "matrix").items():
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            grid[label] = values
            continue
        if all(isinstance(value, Mapping) for value in values):
            rest = [{key: item for key, item in value.items() if not is_pinned(key, keys)} for value in values]
            if any(rest):
                grid[label] = rest
        elif not is_pinned(label, keys):
            grid[label] = list(values)
    result["grid"] = grid
    for section in ("zip", "derive"):
        lines = reading.mapping(result, section, "matrix")
        result[section] = {key: value for key, value in lines.items() if not is_pinned(key, keys)}
    result["concat"] = [
        pin(part, keys) if isinstance(part, Mapping) else part for part in reading.sequence(result, "concat", "matrix")
    ]
    return result


def replace_axes(matrix: Mapping[str, Any], axes: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return the matrix with each setting of `axes` (several values by -m) as an axis of its own, at its old place."""
    places = list(reading.mapping(flattened(matrix), "grid", "matrix"))
    result = pin(matrix, list(axes))
    grid = dict(result["grid"]) | {key: list(values) for key, values in axes.items()}
    order = [label for label in places if label in grid] + [label for label in grid if label not in places]
    return result | {"grid": {label: grid[label] for label in order}}
