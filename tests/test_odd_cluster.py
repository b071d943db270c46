"""The gke backend beside an API server, a proxy or a clock that is off: nothing of it ends a deployment."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import pytest
from aiohttp import web

from sweep import plan
from sweep.backends import Ended, Event, Lost, kubernetes
from sweep.backends.kubernetes import Cluster
from sweep.config import GkeBackend
from sweep.errors import ClusterError
from tests import test_kubernetes
from tests.test_kubernetes import (
    ADOPTED,
    FINISHED,
    NAME,
    PODS,
    Handler,
    job_of,
    plugin,
    pod_of,
    told_of,
)

RUNNING = job_of("a")
POD = pod_of(
    0,
    "Succeeded",
    terminated={"startedAt": "2026-01-01T00:01:00Z", "finishedAt": "2026-01-01T00:20:00Z", "exitCode": 0},
)
Serve = Callable[..., None]
serve = test_kubernetes.serve


class FakeServer:
    """An API server with one Job and one pod, which answers what it is given before it answers what is so.

    first: by what is asked (a list of jobs, a watch of pods, ...) the answers that come first, one each time.
    ends_after: the Job ends once this was asked twice, so that the first answer to it was read.
    """

    def __init__(
        self,
        *,
        first: Mapping[str, Sequence[Any]] = MappingProxyType({}),
        pod: Any = POD,
        log: Sequence[str] = (),
        ends_after: str = "",
    ) -> None:
        self.first = {asked: list(answers) for asked, answers in first.items()}
        self.pod, self.log, self.ends_after = pod, log, ends_after
        self.asked: list[str] = []
        self.is_over = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        kind = request.path.rpartition("/")[2]
        asked = f"{'watch' if 'watch' in request.query else request.method} {kind}"
        self.asked.append(asked)
        if self.first.get(asked):
            answer = self.first[asked].pop(0)
            if isinstance(answer, int):
                return web.json_response({"message": "Unauthorized"}, status=answer)
            text = answer if isinstance(answer, str) else json.dumps(answer)
            return web.Response(text=text + "\n", content_type="application/json")
        if asked.startswith("watch"):
            if self.asked.count(self.ends_after) != 1:
                self.is_over.set()
            await self.is_over.wait()
            if kind == "pods":
                await asyncio.sleep(60)
            return web.Response(text=json.dumps({"type": "MODIFIED", "object": finished("9")}) + "\n")
        if kind == "log":
            since = request.query.get("sinceTime", "")
            return web.Response(text="".join(f"{line}\n" for line in self.log if line[:19] >= since[:19]))
        if kind in ("jobs", "pods"):
            items = [RUNNING] if kind == "jobs" else [self.pod] if self.pod else []
            return web.json_response({"metadata": {"resourceVersion": "7"}, "items": items})
        if kind == NAME:
            return web.json_response(RUNNING)
        return web.json_response({"message": f"{request.path} not found"}, status=404)


def finished(version: str) -> dict[str, Any]:
    job = copy.deepcopy(FINISHED)
    job["metadata"]["resourceVersion"] = version
    return job


def events_of(serve: Serve, server: Handler, deployment: plan.Deployment = ADOPTED, **user: object) -> list[Event]:
    """Carry a deployment to its end beside a server."""
    events: list[Event] = []

    async def scenario(cluster: Cluster) -> None:
        events.extend(await told_of(deployment, asdict(GkeBackend()), (Ended, Lost)))  # type: ignore[arg-type]

    serve("/{path:.*}", server, scenario, **user)
    return events


# ------------------------------------------------------------------------------------------------------ odd watches

NAMED = {"name": NAME, "uid": "1", "resourceVersion": "8"}
ODD_EVENTS = [
    None,
    7,
    [],
    "text",
    {},
    {"type": "ADDED"},
    {"type": 5, "object": {"metadata": NAMED}},
    {"type": "NEWS", "object": {"metadata": NAMED}},
    {"type": "MODIFIED", "object": None},
    {"type": "MODIFIED", "object": []},
    {"type": "ADDED", "object": {}},
    {"type": "ADDED", "object": {"metadata": None}},
    {"type": "ADDED", "object": {"metadata": {"name": None, "resourceVersion": "8"}}},
    {"type": "ADDED", "object": {"metadata": NAMED | {"uid": 1}}},
    {"type": "ADDED", "object": {"metadata": NAMED | {"resourceVersion": 8}}},
    {"type": "ADDED", "object": {"metadata": NAMED | {"labels": ["x"]}}},
    {"type": "ADDED", "object": {"metadata": NAMED | {"annotations": "x"}}},
    {"type": "BOOKMARK", "object": {"metadata": {}}},
    {"type": "ERROR", "object": "too old resource version"},
    {"type": "ERROR", "object": None},
    {"type": "ERROR"},
]
ODD_LISTS = [
    None,
    [],
    {},
    {"items": []},
    {"metadata": None, "items": []},
    {"metadata": {"resourceVersion": None}, "items": []},
    {"metadata": {"resourceVersion": "7"}},
    {"metadata": {"resourceVersion": "7"}, "items": None},
    {"metadata": {"resourceVersion": "7"}, "items": {}},
    {"metadata": {"resourceVersion": "7"}, "items": [None]},
    {"metadata": {"resourceVersion": "7"}, "items": ["x"]},
    {"metadata": {"resourceVersion": "7"}, "items": [{}]},
    {"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"uid": "1"}}]},
]


@pytest.mark.parametrize("kind", ["jobs", "pods"])
@pytest.mark.parametrize("odd", [*ODD_EVENTS, "[" * 100_000], ids=lambda odd: str(odd)[:60])
def test_an_odd_event_of_a_watch_passes(serve: Serve, odd: Any, kind: str) -> None:
    server = FakeServer(first={f"watch {kind}": [odd]})
    assert isinstance(events_of(serve, server.answer)[-1], Ended)


@pytest.mark.parametrize("kind", ["jobs", "pods"])
@pytest.mark.parametrize("odd", ODD_LISTS, ids=str)
def test_an_odd_list_passes(serve: Serve, odd: Any, kind: str) -> None:
    server = FakeServer(first={f"GET {kind}": [odd]})
    assert isinstance(events_of(serve, server.answer)[-1], Ended)
    assert server.asked.count(f"GET {kind}") == 2


def test_what_comes_after_an_event_that_stays_odd_is_seen(serve: Serve) -> None:
    """A watch from the same version would meet it again and again: the list is beyond it."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/jobs") and "watch" in request.query:
            if request.query["resourceVersion"] == "7":
                return web.Response(text='{"type": "ADDED", "object": null}\n')
            await asyncio.sleep(60)
        if request.path.endswith("/jobs"):
            lists.append(1)
            version, job = ("7", RUNNING) if len(lists) == 1 else ("9", FINISHED)
            return web.json_response({"metadata": {"resourceVersion": version}, "items": [job]})
        return await others.answer(request)

    lists: list[int] = []
    others = FakeServer()
    assert isinstance(events_of(serve, handler)[-1], Ended)


@pytest.mark.parametrize("asked", ["GET jobs", "GET pods", "watch jobs"])
def test_credentials_that_are_refused_a_few_times_cost_only_time(serve: Serve, asked: str, tmp_path: Any) -> None:
    server = FakeServer(first={asked: [401] * 4})
    assert isinstance(events_of(serve, server.answer, **plugin(tmp_path, "3 | 4"))[-1], Ended)


def test_credentials_that_stay_refused_are_told_in_the_end(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(1)
        return web.json_response({"message": "Unauthorized"}, status=401)

    async def scenario(cluster: Cluster) -> None:
        with pytest.raises(ClusterError, match=r"^Unauthorized \(HTTP 401\)$") as refused:
            await cluster.request("GET", PODS, patience_s=float("inf"))
        assert not refused.value.is_passing

    monkeypatch.setattr(kubernetes, "REFUSED_S", 1.0)
    serve(PODS, handler, scenario)
    assert len(asked) > 2


# ------------------------------------------------------------------------------------------------------- odd objects


def changed(thing: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return an object with another value at a path."""
    made = copy.deepcopy(thing)
    *sections, last = path.split(".")
    at: Any = made
    for section in sections:
        at = at[int(section) if section.isdigit() else section]
    at[int(last) if last.isdigit() else last] = value
    return made


VALUES = [None, 7, -1.5, True, "x", [], ["x"], [None], {}, {"x": 1}, "0001-01-01T00:00:00Z", "2026-01-01T00:00:00"]
POD_PATHS = [
    *("spec", "spec.nodeName", "status", "status.phase", "status.conditions", "status.conditions.0"),
    *("status.conditions.0.status", "status.conditions.0.lastTransitionTime", "status.containerStatuses"),
    *("status.containerStatuses.0", "status.containerStatuses.0.state", "status.containerStatuses.0.name"),
    *(f"status.containerStatuses.0.state.terminated{of}" for of in ("", ".startedAt", ".finishedAt", ".exitCode")),
    *("metadata.creationTimestamp", "metadata.deletionTimestamp", "metadata.ownerReferences", "status.reason"),
]
JOB_PATHS = [
    *("spec", "spec.template", "status", "status.conditions", "metadata.creationTimestamp", "metadata.annotations.x"),
    *("metadata.finalizers", "metadata.managedFields"),
]


@pytest.mark.parametrize("path", POD_PATHS)
def test_an_odd_field_of_a_pod_loses_no_deployment(serve: Serve, path: str) -> None:
    """It counts as missing; all values of a field, one after the other."""
    odd = [{"type": "MODIFIED", "object": changed(POD, path, value)} for value in VALUES]
    server = FakeServer(first={"watch pods": ["\n".join(map(json.dumps, odd))]}, ends_after="watch pods")
    assert isinstance(events_of(serve, server.answer)[-1], Ended)


@pytest.mark.parametrize("path", JOB_PATHS)
def test_an_odd_field_of_a_job_loses_no_deployment(serve: Serve, path: str) -> None:
    odd = [{"type": "MODIFIED", "object": changed(RUNNING, path, value)} for value in VALUES]
    server = FakeServer(first={"watch jobs": ["\n".join(map(json.dumps, odd))]}, pod=None)
    assert isinstance(events_of(serve, server.answer)[-1], Ended)
