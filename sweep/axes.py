"""Reading a matrix: its axes, its lines and its parts, checked; what no axis can be is told by its place.

`engine` may be nested or dotted anywhere: an axis `engine.stream_interval`, a member `{engine: {stream_interval: 10}}`
and a `derive` line are the same keys of the engine YAML.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweep.engine_keys import EXCLUSIVE, SETTING_OF, leaves
from sweep.errors import UsageError, nearest
from sweep.expression import Expression, compile_expression
from sweep.point import SETTINGS, check_finite

KEYS = ("grid", "zip", "concat", "derive", "require", "exclude")
CONSTANTS = ("gpus_per_node", "gpu_memory_gb")
"""Names that expressions have beside the settings: what the cell's GPU is."""
MOST_CELLS = 1_000_000
"""More cells are refused: this many take about half a minute to expand, and at ten minutes each one node would
measure them for 19 years."""
DEEPEST = 20
"""Levels of `concat` inside `concat`."""


@dataclass(frozen=True, slots=True)
class Axis:
    """What moves together: in each member a value for each of its keys."""

    label: str
    members: tuple[Mapping[str, Any], ...]

    @property
    def keys(self) -> set[str]:
        return {key for member in self.members for key in member}


@dataclass(slots=True)
class Branch:
    """One product of axes with the lines that hold in it; concat makes several."""

    axes: list[Axis]
    derive: dict[str, Expression] = field(default_factory=dict)
    require: list[Expression] = field(default_factory=list)
    exclude: list[Expression] = field(default_factory=list)

    @property
    def cells(self) -> int:
        return math.prod(len(axis.members) for axis in self.axes)


def read(matrix: Mapping[str, Any], base: Mapping[str, Any]) -> tuple[list[Branch], list[str]]:
    """Return the branches of a matrix, and the keys `engine.*` that they set.

    base: a value for each setting; None where only the matrix gives one.

    Raises:
        UsageError: the matrix is not well formed or too large, or a setting has no value.
    """
    flat = flattened(matrix)
    engine_keys = _engine_keys(flat)
    branches = list(_branches(flat, set(SETTINGS) | engine_keys, "matrix"))
    _check_given(branches, base)
    check_count(sum(branch.cells for branch in branches), "cells")
    return branches, sorted(engine_keys)


def check_count(count: int, what: str) -> None:
    """Refuse what nobody can measure, before it is made.

    Raises:
        UsageError: there are more than MOST_CELLS.
    """
    if count > MOST_CELLS:
        told = f"{count:,}" if count < 10**18 else f"about 10^{math.floor(math.log10(count))}"
        raise UsageError(
            f"the matrix has {told} {what}, and one sweep may have {MOST_CELLS:,}: give its axes fewer values"
        )


# -------------------------------------------------------------------------------------------------------- engine keys


def flattened(matrix: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """Return the matrix with every key of the engine YAML dotted: `engine: {a: {b: 1}}` is `engine.a.b: 1`.

    What is not well formed stays as it is, to be told where it is read.
    """
    if depth > DEEPEST:
        raise UsageError(f"matrix.concat is nested more than {DEEPEST} levels deep")
    result = dict(matrix)
    for key, flatten in (("grid", _flat_grid), ("zip", _dotted), ("derive", _dotted)):
        if isinstance(matrix.get(key), Mapping):
            result[key] = flatten(matrix[key])
    parts = matrix.get("concat")
    if isinstance(parts, Sequence) and not isinstance(parts, str):
        result["concat"] = [flattened(part, depth + 1) if isinstance(part, Mapping) else part for part in parts]
    return result


def _is_of_engine(key: str) -> bool:
    return key == "engine" or key.startswith("engine.")


def _dotted(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with its engine sections dotted; values that are no mappings stay."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= leaves({str(key): value}) if _is_of_engine(str(key)) else {str(key): value}
    return found


def _flat_grid(grid: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for label, values in _dotted(grid).items():
        if not isinstance(values, Sequence) or isinstance(values, str):
            found[label] = values
        elif _is_of_engine(label) and any(_is_value(value, label) for value in values):
            found[label] = [_dotted({label: value}) for value in values]
        else:
            found[label] = [_dotted(value) if isinstance(value, Mapping) else value for value in values]
    return found


def _is_value(member: Any, label: str) -> bool:
    """Whether a mapping is a value of the engine YAML at `label`, and not a member with its keys dotted already.

    An axis that is called just `engine` may link settings, as one of any other name.
    """
    linked = SETTINGS if label == "engine" else ()
    return isinstance(member, Mapping) and not all(
        key == label or str(key).startswith(f"{label}.") or key in linked for key in member
    )


def is_pinned(key: str, pins: Collection[str]) -> bool:
    """Whether what the command line gave takes the place of this key of the matrix.

    Of the engine YAML also what lies below a section that was given, and what excludes a key that was.
    """
    if key in pins:
        return True
    if not key.startswith("engine."):
        return False
    partners = {pair.partner(key.removeprefix("engine.")) for pair in EXCLUSIVE} - {None}
    return any(key.startswith(f"{pin}.") or pin.removeprefix("engine.") in partners for pin in pins)


def _engine_keys(matrix: Mapping[str, Any]) -> set[str]:
    """Return the `engine.*` keys that any axis or `derive` sets."""
    found: set[str] = set()
    for label, values in mapping(matrix, "grid", "matrix").items():
        members = [value for value in values if isinstance(value, Mapping)] if isinstance(values, Sequence) else []
        found |= {str(key) for member in members for key in member} | (set() if members else {str(label)})
    for section in ("zip", "derive"):
        found |= {str(key) for key in mapping(matrix, section, "matrix")}
    for part in sequence(matrix, "concat", "matrix"):
        found |= _engine_keys(part) if isinstance(part, Mapping) else set()
    return {key for key in found if key.startswith("engine.")}


# ------------------------------------------------------------------------------------------------- branches and axes


def _branches(matrix: Mapping[str, Any], settings: set[str], where: str) -> Iterator[Branch]:
    for key in matrix:
        if key not in KEYS:
            raise UsageError(f"{where}.{key} is unknown{nearest(str(key), KEYS)}")
    axes = _axes(matrix, settings, where)
    names: dict[str, Any] = {name: SETTINGS[name].texts if name in SETTINGS else None for name in settings}
    names |= dict.fromkeys(CONSTANTS, ())
    own = Branch(axes)
    for name, text in mapping(matrix, "derive", where).items():
        if name not in settings or name == "engine":
            raise UsageError(f"{where}.derive.{name} is no setting{nearest(name, SETTINGS)}")
        if name == "model":
            raise UsageError(
                f"{where}.derive sets model, which comes with its checkpoint's facts: sweep it with -m model=a,b"
            )
        _check_engine_key(name, f"{where}.derive")
        own.derive[name] = compile_expression(str(text), names, infinite=("concurrency",))
    own.require = [
        compile_expression(str(text), names, infinite=("concurrency",)) for text in sequence(matrix, "require", where)
    ]
    own.exclude = [
        compile_expression(str(text), names, infinite=("concurrency",)) for text in sequence(matrix, "exclude", where)
    ]
    parts = sequence(matrix, "concat", where)
    if not parts:
        _check_keys(own, where)
        yield own
    for number, part in enumerate(parts):
        inner_where = f"{where}.concat[{number}]"
        if not isinstance(part, Mapping):
            raise UsageError(f"{inner_where} must be a mapping with {', '.join(KEYS)}")
        for inner in _branches(part, settings, inner_where):
            joined = Branch(
                [*own.axes, *inner.axes],
                own.derive | inner.derive,
                own.require + inner.require,
                own.exclude + inner.exclude,
            )
            _check_keys(joined, inner_where)
            yield joined


def _axes(matrix: Mapping[str, Any], settings: set[str], where: str) -> list[Axis]:
    axes = []
    for label, values in mapping(matrix, "grid", where).items():
        path = f"{where}.grid.{label}"
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise UsageError(f"{path} must be a list of values, not {values!r}")
        if not values:
            raise UsageError(f"{path} is empty: give it at least one value, or remove the axis")
        linked = [isinstance(value, Mapping) for value in values]
        if any(linked) and not all(linked):
            raise UsageError(f"{path} mixes values and mappings of linked settings")
        members = values if all(linked) else [{label: value} for value in values]
        axes.append(Axis(label, tuple(_member(member, settings, path) for member in members)))
    zipped = mapping(matrix, "zip", where)
    if zipped:
        lengths = {key: len(values) if isinstance(values, Sequence) else -1 for key, values in zipped.items()}
        if len(set(lengths.values())) > 1 or min(lengths.values()) < 1:
            told = ", ".join(f"{key} has {'no list' if n < 0 else n}" for key, n in lengths.items())
            raise UsageError(f"{where}.zip needs lists of one length, at least 1: {told}")
        rows = [dict(zip(zipped, row, strict=True)) for row in zip(*zipped.values(), strict=True)]
        axes.append(Axis("zip", tuple(_member(row, settings, f"{where}.zip") for row in rows)))
    return axes


def _member(member: Mapping[str, Any], settings: set[str], path: str) -> Mapping[str, Any]:
    checked = {}
    for key, value in _dotted(member).items():
        if key == "engine":
            raise UsageError(f"{path} sets engine to {value!r}; write engine.SECTION.KEY: VALUE")
        if key not in settings:
            hint = nearest(key, SETTINGS)
            if key in ("model", "backend", "experiment"):
                hint = f"; it is a group of files: sweep it with -m {key}=a,b"
            if key.startswith("model."):
                hint = "; a model comes with its checkpoint's facts: sweep it with -m model=a,b"
            raise UsageError(f"{path} sets {key}, which is no setting{hint}")
        if key == "model":
            raise UsageError(f"{path} sets model, which comes with its checkpoint's facts: sweep it with -m model=a,b")
        _check_engine_key(key, path)
        try:
            if key not in SETTINGS:
                check_finite(key, value)
            checked[key] = SETTINGS[key].check(value) if key in SETTINGS else value
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None
    return checked


def _check_engine_key(key: str, path: str) -> None:
    """Refuse a key of the engine YAML that is a setting: its own name is the place for its value."""
    setting = SETTING_OF.get(key.removeprefix("engine.")) if key.startswith("engine.") else None
    if setting is not None:
        raise UsageError(f"{path}: {key} is the setting {setting}: write {setting}")


def _check_keys(branch: Branch, where: str) -> None:
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


def _check_given(branches: Sequence[Branch], base: Mapping[str, Any]) -> None:
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


def mapping(matrix: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = matrix.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{where}.{key} must be a mapping, not {value!r}")
    return value


def sequence(matrix: Mapping[str, Any], key: str, where: str) -> Sequence[Any]:
    value = matrix.get(key)
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise UsageError(f"{where}.{key} must be a list, not {value!r}")
    return value
