"""The Backend protocol, the events that a deployment goes through, and lookup by name."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from sweep.errors import UsageError
from sweep.plan import Deployment
from sweep.table import Source, Status

AttemptKey = tuple[str, int, int]
"""(point_id, repeat, attempt number)."""


class Stage(StrEnum):
    """How far a deployment has come."""

    QUEUED = "queued"
    """Waits until its queue admits it."""
    SCHEDULING = "scheduling"
    """Waits for a node with free GPUs."""
    PULLING = "pulling"
    """On a node, which fetches the image and mounts volumes."""
    LOADING = "loading"
    """Runs, and fetches weights and dataset."""
    MEASURING = "measuring"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The deployment has come to a stage; `message` says what it waits for, in the words of the cluster."""

    stage: Stage
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The deployment runs on `node`, or runs again after a Released.

    at: since when it holds the node's GPUs, where anybody pays for them.
    """

    node: str
    at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """The deployment gave its GPUs back `at` this time, and goes on: its pod was evicted, or is over.

    What runs of it next is Started again.
    """

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PointStarted:
    """An attempt begins."""

    key: AttemptKey


@dataclass(frozen=True, slots=True, kw_only=True)
class PointDone:
    """An attempt ran to an end of its own or was ended; what it left decides whether it has a number.

    report: the JSON object that the bench wrote, unchanged; None where it wrote none.
    environment: provenance and times; every key is a column of the table.
    state: what ended it from outside, for example its time limit.
    """

    key: AttemptKey
    report: Mapping[str, Any] | None
    environment: Mapping[str, Any]
    started_at: datetime
    ended_at: datetime
    log_tail: str = ""
    exit_code: int | None = None
    state: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PointFailed:
    """An attempt left nothing behind, or was not made (`status` infeasible or skipped)."""

    key: AttemptKey
    status: Status
    kind: str
    message: str
    started_at: datetime
    ended_at: datetime
    exit_code: int | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    log_tail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The deployment is over; `message` and `kind` say why, if attempts without PointDone or PointFailed are left.

    at: when it gave its GPUs back; None is now.
    node: where it was then.
    ends_all: the cause applies to every attempt that is left, so each of them has used a try.
    """

    message: str = ""
    kind: str = "not_reached"
    at: datetime | None = field(default=None, compare=False)
    node: str | None = field(default=None, compare=False)
    ends_all: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Nobody can see the deployment any more, and it may still run: what it holds gets no row and is not begun anew."""

    message: str


Event = Waiting | Started | Released | PointStarted | PointDone | PointFailed | Ended | Lost


class Backend(Protocol):
    """Where deployments run. One instance lives in each pool actor; it is built there from its configuration."""

    source: ClassVar[Source]
    in_process: ClassVar[bool]
    """Whether the actors do the work themselves, so that each holds one deployment at a time."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Take the backend's section of the configuration."""
        ...

    def deploy(self, deployment: Deployment) -> AsyncIterator[Event]:
        """Run the deployment and yield what happens to it, an Ended (or a Lost) last."""
        ...

    async def stop(self, deployment_id: str, keys: Collection[AttemptKey]) -> None:
        """See to it that a deployment begins none of these attempts any more; what has begun ends as it would."""
        ...

    async def cancel(self, deployment_id: str) -> bool:
        """End a deployment and leave nothing behind; return whether parts of it are still terminating."""
        ...


BACKENDS: Mapping[str, str] = {
    "gke": "sweep.backends.gke:Gke",
    "simulated": "sweep.backends.simulated:Simulated",
}
"""Shipped backends by name. Any other is named as it is here, `module:Class`, in a file conf/backend/NAME.yaml."""


def find(name: str) -> type[Backend]:
    """Return the class of a backend.

    Raises:
        UsageError: there is none of this name.
    """
    module, _, attribute = BACKENDS.get(name, name).partition(":")
    try:
        found: type[Backend] = getattr(importlib.import_module(module), attribute)
        _ = found.source, found.in_process, found.deploy
    except (ImportError, AttributeError, ValueError):
        raise UsageError(f"backend.name is {name!r}: neither one of {', '.join(BACKENDS)} nor module:Class") from None
    return found
