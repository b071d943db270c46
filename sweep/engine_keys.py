"""The keys of TensorRT-LLM's engine YAML: how they are merged, which are settings, and which exclude each other.

A key is written with dots, from the root: `cuda_graph_config.max_batch_size`. Keys come in layers: the model's file,
then `engine.*` of the experiment and the command line, then axes and `derive` of the matrix; a later layer wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweep.errors import UsageError
from sweep.point import SETTINGS

SETTING_OF: Mapping[str, str] = {
    **{name: name for name in SETTINGS if name != "engine"},
    "scheduler_config.capacity_scheduler_policy": "scheduler_policy",
    **{setting.yaml: name for name, setting in SETTINGS.items() if setting.yaml is not None},
}
"""What a setting is called in the engine YAML, and its own name, by mistake: given twice, the versions of TensorRT-LLM
differ in who wins."""

SECTIONS = ("kv_cache_config", "moe_config", "speculative_config")
"""Sections that settings are written into: they are mappings, or null."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Two keys that say the same: a list of sizes, and the largest of them."""

    sizes: str
    largest: str

    def partner(self, key: str) -> str | None:
        """Return the other key of the two; None where `key` is neither."""
        return {self.sizes: self.largest, self.largest: self.sizes}.get(key)


EXCLUSIVE = (
    Sizes("cuda_graph_config.batch_sizes", "cuda_graph_config.max_batch_size"),
    Sizes("cuda_graph_config.num_tokens", "cuda_graph_config.max_num_token"),
    Sizes("cuda_graph_config.seq_lens", "cuda_graph_config.max_seq_len"),
)
"""Source: llm_args.py. Up to 1.2 TorchLlmArgs.validate_cuda_graph_config refuses both ("Please don't set both", since
PR 5014), but where the list is the one that it would make itself; later BaseCudaGraphConfig takes both if the one is
the largest of the other. The last two pairs are of encoders, and only of later versions."""
BOTH_SINCE = (1, 3)
"""The first version that is taken to accept both (seen in sources between 1.2.0rc6 and 1.3)."""


def leaves(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return the values of a tree by their dotted keys; a list is one value, and so is an empty section."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        dotted = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping) and value:
            found |= leaves(value, dotted)
        else:
            found[dotted] = value
    return found


def layered(tree: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree with the dotted keys of a later layer set in it.

    A key that excludes one of an earlier layer takes its place: `max_batch_size` alone says that the sizes are
    TensorRT-LLM's own, up to that one.

    Raises:
        UsageError: a key is a setting, or lies below a value.
    """
    result = dict(tree)
    for key, value in given.items():
        if (setting := SETTING_OF.get(key)) is not None:
            raise UsageError(f"engine.{key} is the setting {setting}: write {setting}={value}")
        for pair in EXCLUSIVE:
            partner = pair.partner(key)
            if partner is not None and partner not in given and value is not None:
                _remove(result, partner)
    for key, value in given.items():
        _put(result, key, value)
    check_sections(result, "engine.")
    return result


def check_sections(tree: Mapping[str, Any], where: str) -> None:
    """Refuse a value where settings are written into a section.

    Raises:
        UsageError: there is one.
    """
    for key in SECTIONS:
        if tree.get(key) is not None and not isinstance(tree[key], Mapping):
            raise UsageError(f"{where}{key} must be a mapping, not {tree[key]!r}")


def clash(keys: Mapping[str, Any]) -> str:
    """Return why every version of TensorRT-LLM refuses these dotted keys together; an empty text where one does not."""
    for pair in EXCLUSIVE:
        sizes, largest = keys.get(pair.sizes), keys.get(pair.largest)
        if sizes and largest and not _is_largest(largest, sizes):  # null, 0 and [] stand for "not given" there too
            return (
                f"{pair.largest} = {largest} is not the largest of {pair.sizes} = {sizes}, and TensorRT-LLM refuses"
                " both: remove one of them"
            )
    return ""


def exclusion(tree: Mapping[str, Any], image: str) -> str:
    """Return why TensorRT-LLM refuses keys that exclude each other; an empty text where it does not.

    image: of its tag the version is read; where it tells none, what every version takes is asked for.
    """
    keys, version = leaves(tree), version_of(image)
    if reason := clash(keys):
        return reason
    for pair in EXCLUSIVE:
        if keys.get(pair.sizes) and keys.get(pair.largest) and (version is None or version < BOTH_SINCE):
            whose = "before 1.3" if version is None else f"{version[0]}.{version[1]}"
            return f"TensorRT-LLM {whose} takes {pair.sizes} or {pair.largest}, not both: remove one of them"
    return ""


def version_of(image: str) -> tuple[int, int] | None:
    """Return major and minor version of TensorRT-LLM by the tag of its image; None where the tag tells none."""
    found = re.search(r":v?(\d{1,3})\.(\d{1,3})(?:\D|$)", image.rpartition("/")[2].partition("@")[0])
    return (int(found[1]), int(found[2])) if found else None


def _is_largest(value: Any, sizes: Any) -> bool:
    return isinstance(sizes, list) and all(isinstance(size, (int, float)) for size in sizes) and max(sizes) == value


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set `value` at the dotted key; the sections on the way are copied, for they belong to others."""
    *path, last = key.split(".")
    node = tree
    for name in path:
        inner = node.get(name)
        if inner is not None and not isinstance(inner, Mapping):
            raise UsageError(f"engine.{key}: {name} is a value in the engine YAML, not a section")
        node[name] = dict(inner or {})
        node = node[name]
    if value == {} and isinstance(value, Mapping) and isinstance(node.get(last), Mapping):
        return  # an empty section changes nothing
    node[last] = value


def _remove(tree: dict[str, Any], key: str) -> None:
    *path, last = key.split(".")
    node = tree
    for name in path:
        if not isinstance(node.get(name), Mapping):
            return
        node[name] = dict(node[name])
        node = node[name]
    node.pop(last, None)
