"""Fields of what an API server answers, read so that one of another type than Kubernetes documents counts as missing.

A proxy, a webhook or another version stands in between, and one odd field of one object must not end a sweep: what
cannot be read is not known yet, and a later answer may tell it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

Object = Mapping[str, Any]
"""A Kubernetes object as the API server tells it."""

EVENTS = ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR")
"""Types of events of a watch."""
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
"""What lies outside is no time of an object: year 1 is how Go writes a time that was never set."""


def field(thing: Any, *path: str) -> Any:
    """Return what stands at a path of keys; None where there is nothing."""
    for key in path:
        thing = thing.get(key) if isinstance(thing, Mapping) else None
    return thing


def mapping(thing: Any, *path: str) -> Object:
    """Return the mapping at a path, an empty one where there is none."""
    value = field(thing, *path)
    return value if isinstance(value, Mapping) else {}


def mappings(thing: Any, *path: str) -> list[Object]:
    """Return the mappings in the list at a path."""
    value = field(thing, *path)
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def text(thing: Any, *path: str) -> str:
    """Return the text at a path, an empty one where there is none."""
    value = field(thing, *path)
    return value if isinstance(value, str) else ""


def count(thing: Any, *path: str) -> int | None:
    """Return the whole number at a path; None where there is none, or one that no column holds."""
    value = field(thing, *path)
    is_count = isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31
    return value if is_count else None


def moment(thing: Any, *path: str) -> datetime | None:
    """Return the time at a path; None where there is none that can be read, with a time zone and in reach."""
    try:
        at = datetime.fromisoformat(text(thing, *path))
    except ValueError:
        return None
    return at if at.tzinfo is not None and EARLIEST <= at <= LATEST else None


def condition_of(thing: Any, kind: str) -> Object:
    """Return a condition of an object's status, an empty one where there is none; they have no fixed order."""
    return next((each for each in mappings(thing, "status", "conditions") if each.get("type") == kind), {})


class Form(StrEnum):
    """What an answer must be; another one is asked for again, as where a server fails."""

    ANY = "any"
    OBJECT = "object"
    """With a name and a uid."""
    LIST = "list"
    """Of objects with names."""


def why_not(answer: Any, form: Form) -> str:
    """Return why an answer does not have a form; an empty text where it does."""
    if form is Form.LIST:
        items = field(answer, "items")
        if not isinstance(items, list):
            return "a list without items"
        return next((why for item in items if (why := _why_no_object(item))), "")
    if form is Form.OBJECT:
        return _why_no_object(answer) or ("" if text(answer, "metadata", "uid") else "an object without a uid")
    return ""


def why_no_event(event: Any) -> str:
    """Return why something is not an event of a watch; an empty text where it is one."""
    kind, thing = text(event, "type"), field(event, "object")
    if kind not in EVENTS or not isinstance(thing, Mapping):
        return "an event without a type or without an object"
    if kind == "ERROR":
        return ""
    why = "" if text(thing, "metadata", "resourceVersion") else "an object without a version"
    return why if kind == "BOOKMARK" else _why_no_object(thing) or why


def _why_no_object(thing: Any) -> str:
    metadata = field(thing, "metadata")
    if not isinstance(metadata, Mapping):
        return "an object without metadata"
    if not text(metadata, "name"):
        return "an object without a name"
    for key, kind in (("uid", str), ("resourceVersion", str), ("labels", Mapping), ("annotations", Mapping)):
        if not isinstance(metadata.get(key), (kind, type(None))):
            return f"an object whose metadata.{key} is {type(metadata[key]).__name__}"
    return ""
