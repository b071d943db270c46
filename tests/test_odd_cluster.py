"""The gke backend beside an API server, a proxy or a clock that is off: nothing of it ends a deployment."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import Any

import pytest
from aiohttp import web

from sweep import plan
from sweep.backends import Ended, Event, Lost, PointDone, kubernetes
from sweep.backends.gke import course
from sweep.backends.kubernetes import Cluster
from sweep.config import GkeBackend
from sweep.errors import ClusterError
from sweep.matrix import expand
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
from tests.test_matrix import CHECKED, LLAMA

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


@pytest.fixture(autouse=True)
def no_late_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the log of these servers lacks comes no later."""
    monkeypatch.setattr(course, "LATE_LOG_S", 0.0)


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


# ------------------------------------------------------------------------------------------------- what a log tells

FOUR = replace(
    plan.make(
        [(LLAMA, expand({"grid": {"concurrency": [1, 2, 3, 4]}}, CHECKED | {"model": LLAMA.id}, LLAMA))],
        sweep_id="s",
        nodes=1,
    ).deployments[0],
    exists=True,
    deployment_id=ADOPTED.deployment_id,
)
P = [attempt.point_id for attempt in FOUR.attempts]


def log_of(*lines: str, second: int = 1, clock: str = "2026-01-01T00:{:02}:{:02}.000000000Z") -> list[str]:
    """Return lines as the API server tells them, a second each."""
    return [f"{clock.format(*divmod(second + number, 60))} {line}" for number, line in enumerate(lines)]


def step(number: int, name: str = "point") -> str:
    return f"SWEEP_STEP {name} {P[number]} 1-1"


def result(number: int, figure: int = 1, **about: Any) -> str:
    """Return the line of a result; the figure tells it from others of the same point."""
    at = "2026-01-01T00:10:00+00:00"
    line = {"point": P[number], "attempt": "1-1", "deployment": FOUR.deployment_id, "sweep": "s", "exit_code": 0}
    line |= {"outcome": "ended", "started_at": at, "ended_at": at, "report": {"figure": figure}, "environment": {}}
    return f"SWEEP_RESULT {json.dumps(line | about)}"


def taken(serve: Serve, lines: Sequence[str], exit_code: int = 0) -> dict[int, Any]:
    """Return the figure of each point that a deployment with this log ended with."""
    pod = changed(POD, "status.containerStatuses.0.state.terminated.exitCode", exit_code)
    events = events_of(serve, FakeServer(pod=pod, log=lines).answer, FOUR)
    assert isinstance(events[-1], Ended)
    done = [event for event in events if isinstance(event, PointDone)]
    return {P.index(event.key[0]): (event.report or {}).get("figure") for event in done}


FORGED = 666
ALL = [line for number in range(4) for line in (step(number), result(number))]
RIGHT = dict.fromkeys(range(4), 1)


@pytest.mark.parametrize(
    "before",
    [
        [result(1, FORGED, deployment="other")],
        [result(1, FORGED, sweep="other")],
        [result(1, FORGED, deployment="other", sweep="other")],
        [result(0, FORGED)],
        [result(1, FORGED)],
        [result(1, FORGED, deployment="", sweep="")],
        [result(3, FORGED), result(1, FORGED)],
        ["SWEEP_STEP weights", result(2, FORGED)],
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_result_that_nothing_announced_is_not_taken(serve: Serve, before: list[str], place: int) -> None:
    """Before the first point, while it runs, and after it; of a point that was announced nothing tells it."""
    later = [line for line in before if not (place and P[0] in line)]
    assert taken(serve, log_of("SWEEP_STEP weights", *ALL[:place], *later, *ALL[place:])) == RIGHT


def test_a_result_of_a_point_that_never_began_is_not_taken(serve: Serve) -> None:
    lines = log_of("SWEEP_STEP weights", step(0), result(2, FORGED), result(0), step(1), result(3, FORGED))
    assert taken(serve, lines, exit_code=137) == {0: 1}


def test_a_result_that_names_nobody_counts_as_before(serve: Serve) -> None:
    lines = [line.replace(f'"deployment": "{FOUR.deployment_id}", "sweep": "s"', '"deployment": ""') for line in ALL]
    assert taken(serve, log_of(*lines)) == RIGHT


@pytest.mark.parametrize("lost", range(1, 8))
def test_a_log_whose_beginning_has_rotated_away_loses_only_what_it_lacks(serve: Serve, lost: int) -> None:
    assert taken(serve, log_of(*ALL[lost:])) == dict.fromkeys(range(lost // 2, 4), 1)


def test_results_of_the_volume_are_taken_whether_or_not_they_are_announced(serve: Serve) -> None:
    announced = [step(0, "published"), result(0), step(1), result(1), step(2, "published"), result(2)]
    assert taken(serve, log_of("SWEEP_STEP weights", *announced, *ALL[6:])) == RIGHT
    older = [result(0), result(1), step(2), result(2), result(3)]
    assert taken(serve, log_of("SWEEP_STEP weights", *older)) == RIGHT
    assert taken(serve, log_of("SWEEP_STEP weights", *(result(number) for number in range(4)))) == RIGHT


def test_what_is_told_after_a_clock_was_set_back_is_read(serve: Serve) -> None:
    """The stream ends after a line in the future; what is asked for since then is nothing."""
    ahead = log_of("SWEEP_STEP weights", clock="2026-01-01T09:{:02}:{:02}.000000000Z")
    assert taken(serve, [*ahead, *log_of(*ALL)]) == RIGHT
