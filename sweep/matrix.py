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
from dataclasses import dataclass, field
from enum import StrEnum
from operator import itemgetter
from typing import Any

from sweep.errors import UsageError, nearest
from sweep.expression import Expression, compile_expression
from sweep.point import GPUS, SETTINGS, Model, Point, canonical_json
from sweep.rules import Cell, Verdict, judge_engine, judge_request

KEYS = ("grid", "zip", "concat", "derive", "require", "exclude")
CONSTANTS = ("gpus_per_node", "gpu_memory_gb")
"""Names that expressions have beside the settings."""


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


@dataclass(frozen=True, slots=True)
class _Axis:
    label: str
    members: tuple[Mapping[str, Any], ...]

    @property
    def keys(self) -> set[str]:
        return {key for member in self.members for key in member}


@dataclass(slots=True)
class _Branch:
    """One product of axes with the lines that hold in it; concat makes several."""

    axes: list[_Axis]
    derive: dict[str, Expression] = field(default_factory=dict)
    require: list[Expression] = field(default_factory=list)
    exclude: list[Expression] = field(default_factory=list)


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
        UsageError: the matrix is not well formed, or a setting has no value.
    """
    settings = set(SETTINGS) | _engine_keys(matrix)
    branches = list(_branches(matrix, settings, "matrix"))
    _check_given(branches, base)
    extra_keys = sorted(key for key in settings if key.startswith("engine."))
    start: dict[str, Any] = {**base, **dict.fromkeys(extra_keys)}
    gpu = GPUS[str(base["gpu"])]
    constants = {"gpus_per_node": gpu.per_node, "gpu_memory_gb": gpu.memory_gb}

    pruned: Counter[Reason] = Counter()
    found: dict[tuple[Any, ...], Point] = {}
    judged: dict[tuple[Any, ...], Verdict] = {}
    engine_settings = itemgetter(*_ENGINE_NAMES, *extra_keys)
    for branch in branches:
        for cell in _cells(branch.axes, start | constants):
            if (reason := _excluded(cell, branch)) is not None:
                pruned[reason] += 1
                continue
            if cell["max_seq_len"] is None:
                cell["max_seq_len"] = cell["isl"] + cell["osl"]
            key = engine_settings(cell)
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


def _cells(axes: Sequence[_Axis], start: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for combination in itertools.product(*[axis.members for axis in axes]):
        cell = dict(start)
        for member in combination:
            cell.update(member)
        yield cell


def _excluded(cell: dict[str, Any], branch: _Branch) -> Reason | None:
    for name, expression in branch.derive.items():
        value = expression(cell)
        if isinstance(value, float) and math.isinf(value):
            raise UsageError(f'derive {name}: "{expression.text}" is infinite with concurrency=unlimited; give {name}')
        if SETTINGS[name].type is int and isinstance(value, float):
            value = math.ceil(value)
        cell[name] = SETTINGS[name].check(value)
    for line in branch.require:
        if not line(cell):
            return Reason(Cause.EXCLUDED, f'require "{line.text}"')
    for line in branch.exclude:
        if line(cell):
            return Reason(Cause.EXCLUDED, f'exclude "{line.text}"')
    return None


def _judge(
    cell: Cell, model: Model, extra_keys: Sequence[str], memory: Callable[[Point, Model], str | None] | None
) -> Verdict:
    changes: dict[str, Any] = {}
    if extra_keys:
        said = {key.removeprefix("engine."): cell[key] for key in extra_keys if cell[key] is not None}
        changes["engine"] = merge_engine(str(cell["engine"]), said)
    verdict = judge_engine({**cell, **changes}, model)
    changes |= verdict.changes
    too_big = verdict.too_big
    if memory is not None and not verdict.refused and not too_big:
        too_big = memory(Point(**{name: {**cell, **changes}[name] for name in _NAMES}), model) or ""
    return Verdict(changes=changes, refused=verdict.refused, too_big=too_big)


def merge_engine(engine: str, said: Mapping[str, Any]) -> str:
    """Return the canonical JSON `engine` with the dotted keys of `said` set in it."""
    tree: dict[str, Any] = json.loads(engine)
    for dotted, value in said.items():
        *path, last = dotted.split(".")
        node = tree
        for key in path:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise UsageError(f"engine.{dotted}: {key} is a value in the engine YAML, not a section")
        node[last] = value
    return canonical_json(tree)


# ------------------------------------------------------------------------------------------------- reading the matrix


def _branches(matrix: Mapping[str, Any], settings: set[str], where: str) -> Iterator[_Branch]:
    for key in matrix:
        if key not in KEYS:
            raise UsageError(f"{where}.{key} is unknown{nearest(str(key), KEYS)}")
    axes = _axes(matrix, settings, where)
    names: dict[str, Any] = {name: _choices(name) for name in settings} | dict.fromkeys(CONSTANTS)
    own = _Branch(axes)
    for name, text in _mapping(matrix, "derive", where).items():
        if name not in SETTINGS:
            raise UsageError(f"{where}.derive.{name} is no setting{nearest(name, SETTINGS)}")
        own.derive[name] = compile_expression(str(text), names, infinite=("concurrency",))
    own.require = [
        compile_expression(str(text), names, infinite=("concurrency",)) for text in _list(matrix, "require", where)
    ]
    own.exclude = [
        compile_expression(str(text), names, infinite=("concurrency",)) for text in _list(matrix, "exclude", where)
    ]
    parts = _list(matrix, "concat", where)
    if not parts:
        _check_keys(own, where)
        yield own
    for number, part in enumerate(parts):
        inner_where = f"{where}.concat[{number}]"
        if not isinstance(part, Mapping):
            raise UsageError(f"{inner_where} must be a mapping with {', '.join(KEYS)}")
        for inner in _branches(part, settings, inner_where):
            joined = _Branch(
                [*own.axes, *inner.axes],
                own.derive | inner.derive,
                own.require + inner.require,
                own.exclude + inner.exclude,
            )
            _check_keys(joined, inner_where)
            yield joined


def _axes(matrix: Mapping[str, Any], settings: set[str], where: str) -> list[_Axis]:
    axes = []
    for label, values in _mapping(matrix, "grid", where).items():
        path = f"{where}.grid.{label}"
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise UsageError(f"{path} must be a list of values, not {values!r}")
        if not values:
            raise UsageError(f"{path} is empty: give it at least one value, or remove the axis")
        linked = [isinstance(value, Mapping) for value in values]
        if any(linked) and not all(linked):
            raise UsageError(f"{path} mixes values and mappings of linked settings")
        members = values if all(linked) else [{label: value} for value in values]
        axes.append(_Axis(label, tuple(_member(member, settings, path) for member in members)))
    zipped = _mapping(matrix, "zip", where)
    if zipped:
        lengths = {key: len(values) if isinstance(values, Sequence) else -1 for key, values in zipped.items()}
        if len(set(lengths.values())) > 1 or min(lengths.values()) < 1:
            told = ", ".join(f"{key} has {'no list' if n < 0 else n}" for key, n in lengths.items())
            raise UsageError(f"{where}.zip needs lists of one length, at least 1: {told}")
        rows = [dict(zip(zipped, row, strict=True)) for row in zip(*zipped.values(), strict=True)]
        axes.append(_Axis("zip", tuple(_member(row, settings, f"{where}.zip") for row in rows)))
    return axes


def _member(member: Mapping[str, Any], settings: set[str], path: str) -> Mapping[str, Any]:
    checked = {}
    for key, value in member.items():
        if key not in settings or key == "engine":
            hint = nearest(str(key), SETTINGS)
            if key in ("model", "backend", "experiment"):
                hint = f"; it is a group of files: sweep it with -m {key}=a,b"
            raise UsageError(f"{path} sets {key}, which is no setting{hint}")
        if key == "model":
            raise UsageError(f"{path} sets model, which comes with its checkpoint's facts: sweep it with -m model=a,b")
        try:
            checked[str(key)] = SETTINGS[key].check(value) if key in SETTINGS else value
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None
    return checked


def _check_keys(branch: _Branch, where: str) -> None:
    """Two axes of one product that set the same key would silently hide each other."""
    owner: dict[str, str] = {}
    for axis in branch.axes:
        for key in sorted(axis.keys):
            if key in owner:
                raise UsageError(f"{where}: {key} is set by two axes, {owner[key]} and {axis.label}")
            owner[key] = axis.label
    for name in branch.derive:
        if name in owner:
            raise UsageError(f"{where}: {name} is set by the axis {owner[name]} and by derive")


def _check_given(branches: Sequence[_Branch], base: Mapping[str, Any]) -> None:
    for branch in branches:
        given = set(branch.derive).union(*[axis.keys for axis in branch.axes]) if branch.axes else set(branch.derive)
        for name, setting in SETTINGS.items():
            if base[name] is None and not setting.optional and name not in given and name != "max_seq_len":
                hint = (
                    "; for example matrix.derive.num_requests='max(32, 5 * concurrency)'"
                    if name == "num_requests"
                    else ""
                )
                raise UsageError(f"{name} must be given ({setting.meaning}){hint}")


def _choices(name: str) -> list[str] | None:
    kind = SETTINGS[name].type if name in SETTINGS else str
    return [str(choice) for choice in kind] if issubclass(kind, StrEnum) else None


def _engine_keys(matrix: Mapping[str, Any]) -> set[str]:
    """Return the `engine.*` keys that any axis sets."""
    found = set()
    for label, values in (matrix.get("grid") or {}).items():
        members = [value for value in values if isinstance(value, Mapping)] if isinstance(values, Sequence) else []
        found |= {str(key) for member in members for key in member} | {str(label)}
    found |= {str(key) for key in matrix.get("zip") or {}}
    for part in matrix.get("concat") or ():
        found |= _engine_keys(part) if isinstance(part, Mapping) else set()
    return {key for key in found if key.startswith("engine.")}


def _mapping(matrix: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = matrix.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{where}.{key} must be a mapping, not {value!r}")
    return value


def _list(matrix: Mapping[str, Any], key: str, where: str) -> Sequence[Any]:
    value = matrix.get(key)
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise UsageError(f"{where}.{key} must be a list, not {value!r}")
    return value


# ---------------------------------------------------------------------------------------------- pins and sweeps of -m


def pin(matrix: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return the matrix without the settings `keys`, which the command line gave one value each.

    An axis of a pinned setting disappears; in a linked axis the other settings stay (cells that become equal merge and
    are counted); a derive line of a pinned setting goes.
    """
    result = dict(matrix)
    grid = {}
    for label, values in _mapping(matrix, "grid", "matrix").items():
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            grid[label] = values
            continue
        if all(isinstance(value, Mapping) for value in values):
            rest = [{key: item for key, item in value.items() if key not in keys} for value in values]
            if any(rest):
                grid[label] = rest
        elif label not in keys:
            grid[label] = list(values)
    result["grid"] = grid
    result["zip"] = {key: values for key, values in _mapping(matrix, "zip", "matrix").items() if key not in keys}
    result["derive"] = {key: text for key, text in _mapping(matrix, "derive", "matrix").items() if key not in keys}
    result["concat"] = [
        pin(part, keys) if isinstance(part, Mapping) else part for part in _list(matrix, "concat", "matrix")
    ]
    return result


def replace_axes(matrix: Mapping[str, Any], axes: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return the matrix with each setting of `axes` (several values by -m) as an axis of its own, at its old place."""
    places = list(_mapping(matrix, "grid", "matrix"))
    result = pin(matrix, list(axes))
    grid = dict(result["grid"]) | {key: list(values) for key, values in axes.items()}
    order = [label for label in places if label in grid] + [label for label in grid if label not in places]
    return result | {"grid": {label: grid[label] for label in order}}
