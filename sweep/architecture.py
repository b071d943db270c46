"""Whose facts a model has: its precision, weights, experts and stand-in belong to one id, and do not go with another.

A configuration is composed in layers (the model's file, an experiment, the command line), and a later layer may change
the id alone. All else would stay as it was, and the numbers would be those of another model under the new name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.errors import UsageError

FACTS = ("precision", "weights_gb", "moe", "kv_cache_dtype", "predict_as")
"""What comes with a checkpoint; a new id needs every one of them, null where it is not known."""
KEPT = "engine_config"
"""What tunes an engine and is no fact of a checkpoint: it stays under a new id, and that is reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one file, or the command line, gives below `model`.

    name: of the file, for people; empty for the command line.
    given: dotted keys with their values, such as `predict_as.model`.
    """

    name: str
    given: Mapping[str, Any]


def own_facts(model: Mapping[str, Any], layers: Sequence[Layer]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the composed `model` without what belongs to another id, and what the user should know.

    layers: what the model was composed of, in their order.

    Raises:
        UsageError: the id was changed and some of FACTS were not given with it or after it; or a section was given as
            {}, which Hydra merges into the old one, so that nothing would change.
    """
    begins, id, owner = 0, None, ""
    for number, layer in enumerate(layers):
        if empty := [key for key, value in layer.given.items() if isinstance(value, Mapping)]:
            where = f"{layer.name}: " if layer.name else ""
            raise UsageError(f"{where}model.{empty[0]}={{}} would change nothing: give its keys, or null for none")
        new = layer.given.get("id", id)
        if new != id:
            owner = _called(layers[begins], id) if id is not None else ""
            begins, id = number, new
    if not owner:
        return dict(model), ()
    given = {key for layer in layers[begins:] for key in layer.given}
    sections = {key.partition(".")[0] for key in given}
    if missing := [name for name in FACTS if name not in sections]:
        where = f"{layers[begins].name}: " if layers[begins].name else ""
        raise UsageError(
            f"{where}model.id={id} would keep {_listed(missing)} of {owner}: give"
            f" {', '.join(f'model.{name}=...' for name in missing)} with it (null where it is not known),"
            " or choose a model's file by model=NAME"
        )
    own = {key: _only(value, key, given) for key, value in model.items() if key in sections | {"id", KEPT}}
    if KEPT in sections:
        return own, ()
    return own, (f"model.{KEPT} is not given with model.id={id}: the engine file of {owner}, {model[KEPT]}, is used",)


def facts_of_another(model: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a warning where a kept configuration has the weights or the stand-in of a model with another id.

    Configurations that were kept before a new id needed its facts do not say where theirs came from.

    known: the models that may have lent them, by the name of their file.
    """
    best: tuple[list[str], str] = ([], "")
    for name, other in known.items():
        same = [fact for fact in FACTS if model.get(fact) == other.get(fact)]
        telling = "weights_gb" in same or ("predict_as" in same and model.get("predict_as") is not None)
        if other.get("id") == model.get("id"):
            return ""
        if telling and len(same) > len(best[0]):
            best = (same, f"{name} ({other.get('id')})")
    if not best[0]:
        return ""
    return (
        f"this configuration gives {model.get('id')} the {_listed(best[0])} of {best[1]}: predictions and memory checks"
        " are of that architecture"
    )


def _called(layer: Layer, id: object) -> str:
    """Return how people know a model: the name of its file, or its id where something else gave it."""
    group, _, name = layer.name.rpartition("/")
    return name if group == "model" else f"{id} ({layer.name or 'the command line'})"


def _only(value: Any, key: str, given: set[str]) -> Any:
    """Return a value with only those keys of it that were given: sections of two layers are merged by Hydra."""
    if not isinstance(value, Mapping) or key in given:
        return value
    return {
        inner: _only(item, f"{key}.{inner}", given) for inner, item in value.items() if _is_in(f"{key}.{inner}", given)
    }


def _is_in(key: str, given: set[str]) -> bool:
    return any(one == key or one.startswith(f"{key}.") for one in given)


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
