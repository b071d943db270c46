"""Logs and requests of an API server that misbehaves: a real HTTP server, which does on order what networks do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from aiohttp import web

from sweep import plan
from sweep.backends import Ended, Event, Lost, Released, Started, Waiting, access, kubernetes
from sweep.backends.gke import Gke
from sweep.backends.gke.podlog import PodLog
from sweep.backends.kubernetes import Cluster, Pauses
from sweep.config import GkeBackend
from sweep.driver.pool import Pool
from sweep.errors import ClusterError, UsageError
from sweep.matrix import expand
from tests.patience import HANG_S
from tests.test_matrix import CHECKED, LLAMA

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LOG, PODS = "/api/v1/namespaces/default/pods/p/log", "/api/v1/namespaces/default/pods"


def line(second: int, text: str) -> bytes:
    return f"2026-01-01T00:00:{second:02}.000000000Z {text}\n".encode()


async def texts(log: PodLog, count: int) -> list[str]:
    """Return the first lines of a log that is followed."""
    found: list[str] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            found += [each.text for each in log.take()]
            await asyncio.sleep(0.05)
    return found


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a scenario against a server with one route, as the user of a kubeconfig."""

    def run(
        path: str,
        handler: Handler,
        scenario: Callable[[Cluster], Awaitable[None]],
        name: str | None = None,
        **user: object,
    ) -> None:
        async def main() -> None:
            app = web.Application()
            app.router.add_route("*", path, handler)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = name or runner.addresses[0][0], runner.addresses[0][1]
            config = {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "x",
                "clusters": [{"name": "x", "cluster": {"server": f"http://{host}:{port}"}}],
                "users": [{"name": "x", "user": user or {"token": "t"}}],
                "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
            }
            (tmp_path / "kubeconfig").write_text(json.dumps(config))
            monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
            cluster = await Cluster.connect()
            try:
                await scenario(cluster)
            finally:
                await cluster.close()
                await runner.cleanup()

        asyncio.run(main())

    return run


def logs_of(told: Callable[[int, bool], list[bytes]]) -> tuple[Handler, list[web.Request]]:
    """Return a handler of logs: what it tells depends on how often it was asked, and whether to follow."""
    asked: list[web.Request] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        answer = web.StreamResponse()
        await answer.prepare(request)
        for part in told(len(asked), request.query["follow"] == "true"):
            await answer.write(part)
        await answer.write_eof()
        return answer

    return handler, asked


def test_a_stream_that_ends_cleanly_is_followed_again(serve: Callable[..., None]) -> None:
    before, after = [line(1, "a"), line(2, "b")], [line(3, "c"), line(4, "d")]
    handler, asked = logs_of(lambda count, follow: before if count == 1 else [*before[1:], *after])

    async def scenario(cluster: Cluster) -> None:
        log = PodLog(cluster, "p", asyncio.Event())
        assert await texts(log, 4) == ["a", "b", "c", "d"]
        assert asked[1].query["sinceTime"] == "2026-01-01T00:00:02Z"
        await log.close()

    serve(LOG, handler, scenario)


def test_what_a_stream_did_not_tell_is_read_at_the_end(serve: Callable[..., None]) -> None:
    handler, _ = logs_of(lambda count, follow: [line(1, "a")] if follow else [line(1, "a"), line(2, "the last")])

    async def scenario(cluster: Cluster) -> None:
        log = PodLog(cluster, "p", asyncio.Event())
        assert await texts(log, 1) == ["a"]
        assert await log.finish(10)
        assert [each.text for each in log.take()] == ["the last"]

    serve(LOG, handler, scenario)


def test_a_line_of_megabytes_is_passed_over(serve: Callable[..., None]) -> None:
    handler, _ = logs_of(lambda count, follow: [line(1, "a"), line(2, "x" * 3_000_000), line(3, "b")])

    async def scenario(cluster: Cluster) -> None:
        log = PodLog(cluster, "p", asyncio.Event())
        assert await texts(log, 2) == ["a", "b"]
        await log.close()

    serve(LOG, handler, scenario)


def test_what_is_said_in_place_of_a_log_is_no_log(serve: Callable[..., None]) -> None:
    handler, _ = logs_of(lambda count, follow: [b"unable to retrieve container logs for containerd://abc\n"])

    async def scenario(cluster: Cluster) -> None:
        assert [each async for each in cluster.log_lines("p", "bench", follow=False)] == []

    serve(LOG, handler, scenario)


def plugin(folder: Path, fails: str) -> dict[str, object]:
    """Return the user of a plugin that counts its calls and fails in those whose number `fails` matches.

    `{folder}/hangs` makes it, and a child of it, sleep; what they are is written to {folder}/asleep.
    """
    told = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "token-$n"}}
    script = folder / "plugin.sh"
    script.write_text(
        "#!/usr/bin/env bash\n"
        f"n=$(($(cat {folder}/calls 2>/dev/null || echo 0) + 1)); echo $n >{folder}/calls\n"
        f"if [[ -e {folder}/hangs ]]; then sleep 1000 & echo $! $$ >{folder}/asleep; wait; fi\n"
        f"case $n in {fails}) echo 'ERROR: no way to the token server' >&2; exit 1 ;; esac\n"
        f"echo '{json.dumps(told)}' | sed \"s/[$]n/$n/\"\n"
    )
    script.chmod(0o755)
    exec_ = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(script), "interactiveMode": "Never"}
    return {"exec": exec_}


def test_a_plugin_that_fails_for_a_while_costs_only_time(serve: Callable[..., None], tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        is_new = request.headers["Authorization"] != "Bearer token-1"
        return web.json_response(
            {"items": []} if is_new else {"message": "Unauthorized"}, status=200 if is_new else 401
        )

    async def scenario(cluster: Cluster) -> None:
        assert await cluster.request("GET", PODS) == {"items": []}
        assert int((tmp_path / "calls").read_text()) == 5

    serve(PODS, handler, scenario, **plugin(tmp_path, "2 | 3 | 4"))


def test_a_plugin_that_fails_while_a_watch_runs_is_waited_for(serve: Callable[..., None], tmp_path: Path) -> None:
    calls: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        calls.append(request.headers["Authorization"])
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "7"}, "items": []})
        if request.headers["Authorization"] == "Bearer token-1":
            return web.json_response({"message": "Unauthorized"}, status=401)
        told = {"type": "ADDED", "object": {"metadata": {"name": "p", "resourceVersion": "8"}}}
        return web.Response(text=json.dumps(told) + "\n")

    async def scenario(cluster: Cluster) -> None:
        changes = cluster.watch(PODS, "a=b")
        async with asyncio.timeout(30):
            assert (await anext(changes)).listed == ()
            told = await anext(changes)
        assert told.object is not None and told.object["metadata"]["name"] == "p"
        await changes.aclose()  # type: ignore[attr-defined]

    serve(PODS, handler, scenario, **plugin(tmp_path, "2 | 3"))


def test_credentials_that_stay_refused_are_told(
    serve: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "REFUSED_S", 1.0)

    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"message": "Unauthorized"}, status=401)

    async def scenario(cluster: Cluster) -> None:
        with pytest.raises(ClusterError, match=r"Unauthorized \(HTTP 401\)"):
            await cluster.request("GET", PODS)
        with pytest.raises(ClusterError, match=r"Unauthorized \(HTTP 401\)"):
            async with asyncio.timeout(30):
                while True:
                    try:
                        [each async for each in cluster.log_lines("p", "bench", follow=False)]
                    except ClusterError as error:
                        if not error.is_passing:
                            raise

    serve("/{path:.*}", handler, scenario, **plugin(tmp_path, "99"))


def test_a_busy_server_is_asked_again_when_it_says(serve: Callable[..., None]) -> None:
    asked: list[float] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(asyncio.get_running_loop().time())
        if len(asked) == 1:
            return web.json_response({"message": "too many"}, status=429, headers={"Retry-After": "1"})
        if len(asked) < 4:
            return web.json_response({"message": "etcd leader changed"}, status=503)
        return web.json_response({"items": []})

    async def scenario(cluster: Cluster) -> None:
        troubles: list[str] = []
        assert await cluster.request("GET", PODS, trouble=troubles.append) == {"items": []}
        assert len(troubles) == 3 and "too many" in troubles[0]

    serve(PODS, handler, scenario)
    assert asked[1] - asked[0] >= 1


def test_a_name_that_cannot_be_resolved_for_a_while_costs_only_time(
    serve: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    resolve = socket.getaddrinfo

    def fail_first(host: object, *more: object, **named: object) -> object:
        asked.append(host)
        if len(asked) <= 3:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve("127.0.0.1", *more, **named)  # type: ignore[arg-type]

    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"items": []})

    async def scenario(cluster: Cluster) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", fail_first)
        troubles: list[str] = []
        assert await cluster.request("GET", PODS, trouble=troubles.append) == {"items": []}
        assert len(troubles) == 3 and "does not answer" in troubles[0]
        monkeypatch.undo()

    serve(PODS, handler, scenario, name="api.example")


# ---------------------------------------------------------------------------------------------------------- credentials


def is_running(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


async def unauthorized(request: web.Request) -> web.Response:
    return web.json_response({"message": "Unauthorized"}, status=401)


def test_a_plugin_that_hangs_is_ended_and_named(
    serve: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(cluster: Cluster) -> None:
        (tmp_path / "hangs").touch()
        monkeypatch.setattr(access, "PLUGIN_S", 0.5)
        async with asyncio.timeout(20):
            with pytest.raises(ClusterError, match=r"plugin\.sh did not answer within 0\.5 s") as told:
                await cluster.request("GET", PODS, patience_s=0)
            assert told.value.is_passing
            with pytest.raises(UsageError, match=r"kubectl context x .*plugin\.sh did not answer within 0\.5 s"):
                await Cluster.connect()
        assert not any(is_running(int(pid)) for pid in (tmp_path / "asleep").read_text().split())

    serve(PODS, unauthorized, scenario, **plugin(tmp_path, "99"))


def test_all_who_need_credentials_wait_for_one_plugin(
    serve: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(cluster: Cluster) -> None:
        (tmp_path / "hangs").touch()
        monkeypatch.setattr(access, "PLUGIN_S", 1.0)
        requests = [cluster.request("GET", PODS, patience_s=0) for _ in range(20)]
        async with asyncio.timeout(15):
            told = await asyncio.gather(*requests, return_exceptions=True)
        assert all("did not answer" in str(error) for error in told)

    serve(PODS, unauthorized, scenario, **plugin(tmp_path, "99"))


def test_a_plugin_that_is_not_waited_for_any_more_is_ended(serve: Callable[..., None], tmp_path: Path) -> None:
    handler, _ = logs_of(lambda count, follow: [])

    async def scenario(cluster: Cluster) -> None:
        (tmp_path / "hangs").touch()
        connecting = asyncio.create_task(Cluster.connect())
        async with asyncio.timeout(20):
            while not (tmp_path / "asleep").exists() or not (tmp_path / "asleep").read_text():
                await asyncio.sleep(0.05)
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
        assert not any(is_running(int(pid)) for pid in (tmp_path / "asleep").read_text().split())

    serve(PODS, handler, scenario, **plugin(tmp_path, "99"))


def test_a_plugin_may_give_a_certificate(serve: Callable[..., None], tmp_path: Path) -> None:
    """It is used as a certificate: what is none is told by TLS, before anything is sent."""
    user = plugin(tmp_path, "99")
    script = tmp_path / "plugin.sh"
    status = {"clientCertificateData": "none", "clientKeyData": "none"}
    script.write_text(f"#!/usr/bin/env bash\necho '{json.dumps({'status': status})}'\n")
    config = {
        "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": "https://127.0.0.1:9"}}],
        "users": [{"name": "x", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    said = command(tmp_path)
    assert said.returncode == 2 and "kubectl context x cannot be used: [SSL]" in said.stderr


def command(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that asks a cluster, with the kubeconfig of a folder."""
    return subprocess.run(
        [sys.executable, "-m", "sweep", "gc", "--owner", "nobody", "backend=gke", f"results_dir={folder}"],
        env=os.environ | {"KUBECONFIG": str(folder / "kubeconfig")},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )


def test_of_a_plugin_that_fails_one_sentence_is_seen(tmp_path: Path) -> None:
    config = {
        "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": "https://127.0.0.1:9"}}],
        "users": [{"name": "x", "user": plugin(tmp_path, "*")}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    said = command(tmp_path)
    (line,) = said.stderr.splitlines()
    assert said.returncode == 2 and line.startswith("sweep: kubectl context x ")
    assert line.endswith("plugin.sh ended with exit code 1: ERROR: no way to the token server")


@pytest.mark.parametrize("text", ["", "{", "clusters: [", "[]", "contexts: 3"])
def test_a_kubeconfig_that_is_half_written_is_told_in_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(text)
    said = command(tmp_path)
    (line,) = said.stderr.splitlines()
    assert said.returncode == 2 and "context cannot be used" in line


def test_another_current_context_moves_nothing(serve: Callable[..., None], tmp_path: Path) -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.headers["Authorization"])
        if asked[-1] == "Bearer token-1":
            return web.json_response({"message": "Unauthorized"}, status=401)
        return web.json_response({"items": []})

    async def scenario(cluster: Cluster) -> None:
        config = json.loads((tmp_path / "kubeconfig").read_text())
        config["clusters"].append({"name": "prod", "cluster": {"server": "http://127.0.0.1:9"}})
        config["contexts"].append({"name": "prod", "context": {"cluster": "prod", "user": "x"}})
        config["current-context"] = "prod"
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        assert await cluster.request("GET", PODS, patience_s=0) == {"items": []}
        assert asked == ["Bearer token-1", "Bearer token-2"]

    serve(PODS, handler, scenario, **plugin(tmp_path, "99"))


def test_a_context_that_comes_to_mean_another_server_is_not_followed(
    serve: Callable[..., None], tmp_path: Path
) -> None:
    async def handler(request: web.Request) -> web.Response:
        if "watch" not in request.query and request.path == PODS and "labelSelector" in request.query:
            return web.json_response({"metadata": {"resourceVersion": "7"}, "items": []})
        return web.json_response({"message": "Unauthorized"}, status=401)

    async def scenario(cluster: Cluster) -> None:
        changes = cluster.watch(PODS, "a=b")
        assert (await anext(changes)).listed == ()
        config = json.loads((tmp_path / "kubeconfig").read_text())
        before = config["clusters"][0]["cluster"]["server"]
        config["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:9"
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        said = f"kubectl context x was {re.escape(before)} .* and is http://127.0.0.1:9 now"
        async with asyncio.timeout(20):
            for asking in (cluster.request("GET", PODS), anext(changes)):
                with pytest.raises(ClusterError, match=said) as told:
                    await asking
                assert not told.value.is_passing

    serve(PODS, handler, scenario, **plugin(tmp_path, "99"))


# ------------------------------------------------------------------------------------------- servers that ask for much


def test_what_a_server_asks_for_has_a_limit() -> None:
    assert Pauses().next("30") == 30
    assert Pauses().next("3600") == 60
    assert Pauses().next("Wed, 21 Oct 2026 07:28:00 GMT") < 1


def test_a_watch_that_is_only_told_of_errors_asks_less_and_less(serve: Callable[..., None]) -> None:
    asked: list[float] = []

    async def handler(request: web.Request) -> web.Response:
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "7"}, "items": []})
        asked.append(time.monotonic())
        told = {"type": "ERROR", "object": {"code": 500, "message": "no", "metadata": {}}}
        return web.Response(text=json.dumps(told) + "\n")

    async def scenario(cluster: Cluster) -> None:
        changes = cluster.watch(PODS, "a=b")
        assert (await anext(changes)).listed == ()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(4):
                await anext(changes)
        assert 3 <= len(asked) <= 7

    serve(PODS, handler, scenario)


# ------------------------------------------------------------------------------------- what is no Kubernetes API at all


def page(status: int) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text="<html>Sign in</html>", content_type="text/html", status=status)

    return handler


@pytest.mark.parametrize("status", [200, 403, 404])
def test_a_page_in_place_of_an_answer_is_told_as_one(serve: Callable[..., None], status: int) -> None:
    said = rf"http://127\.0\.0\.1:\d+ is no Kubernetes API: .*text/html.*HTTP {status}.*login page"

    async def scenario(cluster: Cluster) -> None:
        with pytest.raises(ClusterError, match=said) as told:
            await cluster.request("GET", PODS, patience_s=0)
        assert told.value.is_passing
        with pytest.raises(ClusterError, match=said) as told:
            [each async for each in cluster.log_lines("p", "bench", follow=False)]
        assert told.value.is_passing

    serve("/{path:.*}", page(status), scenario)


@pytest.mark.parametrize("text", ["ok", "", "[]"])
def test_an_answer_that_is_no_object_is_told(serve: Callable[..., None], text: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=text)

    async def scenario(cluster: Cluster) -> None:
        with pytest.raises(ClusterError, match="is no Kubernetes API") as told:
            await cluster.request("GET", PODS, patience_s=0)
        assert told.value.is_passing

    serve(PODS, handler, scenario)


# -------------------------------------------------------------------------------- a Job that may exist is not forgotten

(DEPLOYMENT,) = plan.make(
    [(LLAMA, expand({"grid": {"concurrency": [1, 2]}}, CHECKED | {"model": LLAMA.id}, LLAMA))], sweep_id="s", nodes=1
).deployments
NAME = plan.job_name(DEPLOYMENT.deployment_id)


def job_of(contents: str, **status: Any) -> dict[str, Any]:
    meta = {"name": NAME, "uid": "1", "resourceVersion": "5", "annotations": {"trtllm-bench.sweep/spec-hash": contents}}
    return {"metadata": meta, "spec": {"template": {"spec": {}}}, "status": status}


ADOPTED = replace(DEPLOYMENT, exists=True)
CREATED = replace(DEPLOYMENT, objects=(json.dumps(job_of("a")), json.dumps({"metadata": {"name": NAME}})))


def cluster_with(there: list[dict[str, Any]], refuses: Callable[[str, str], bool] = lambda *_: False) -> Handler:
    """Return the handler of a cluster with these Jobs, without pods and without Kueue."""

    async def handler(request: web.Request) -> web.Response:
        if refuses(request.method, request.path):
            return web.json_response({"message": "you may not"}, status=403)
        if "watch" in request.query:
            await asyncio.sleep(60)
        if request.path.endswith(("/jobs", "/pods")) and request.method == "GET":
            items = there if request.path.endswith("/jobs") else []
            return web.json_response({"metadata": {"resourceVersion": "7"}, "items": items})
        if request.path.endswith(f"/jobs/{NAME}") and there:
            return web.json_response(there[0])
        return web.json_response({"message": f"{request.path} not found"}, status=404)

    return handler


async def told_of(deployment: plan.Deployment, config: dict[str, Any], until: type = Ended) -> list[Event]:
    """Carry a deployment to its end, or to an event of a kind."""
    backend, told = Gke(config), []
    try:
        async with asyncio.timeout(30):
            async for event in backend.deploy(deployment):
                told.append(event)
                if isinstance(event, until):
                    break
    finally:
        await backend.close()
    return told


FINISHED = job_of("a", conditions=[{"type": "Complete", "status": "True"}])


@pytest.mark.parametrize("deployment", [ADOPTED, CREATED], ids=["adopted", "given to a new actor"])
def test_a_plugin_that_fails_as_an_actor_connects_is_waited_for(
    deployment: plan.Deployment, serve: Callable[..., None], tmp_path: Path
) -> None:
    async def scenario(cluster: Cluster) -> None:
        first, second, *_, last = await told_of(deployment, asdict(GkeBackend()))
        assert isinstance(first, Waiting) and isinstance(second, Waiting)
        assert "plugin.sh ended with exit code 1" in first.message
        assert isinstance(last, Ended) and "plugin" not in last.message  # it is of the Job that was seen
        assert int((tmp_path / "calls").read_text()) == 4

    serve("/{path:.*}", adopts(cluster_with([FINISHED])), scenario, **plugin(tmp_path, "2 | 3"))


def adopts(handler: Handler) -> Handler:
    """Answer what is created with what is there already, as after an actor before this one."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            return web.json_response(FINISHED if request.path.endswith("/jobs") else {"metadata": {}}, status=201)
        return await handler(request)

    return answer


def test_a_results_volume_that_cannot_be_opened_is_waited_for(serve: Callable[..., None]) -> None:
    config = asdict(GkeBackend()) | {"results_uri": "nonsense://x"}

    async def scenario(cluster: Cluster) -> None:
        backend = Gke(config)
        events = backend.deploy(ADOPTED)
        async with asyncio.timeout(30):
            first = await anext(events)
            assert isinstance(first, Waiting) and "the results volume nonsense://x cannot be used" in first.message
            config["results_uri"] = None
            assert isinstance([event async for event in events][-1], Ended)
        await backend.close()

    serve("/{path:.*}", cluster_with([FINISHED]), scenario)


@pytest.mark.parametrize(
    ("there", "refuses", "end"),
    [
        pytest.param([FINISHED], lambda method, path: path.endswith("/pods"), Lost, id="not seen, and there"),
        pytest.param([], lambda method, path: path.endswith("/pods"), Ended, id="not seen, and not there"),
        pytest.param([], lambda method, path: True, Lost, id="not to be asked for"),
        pytest.param([job_of("a")], lambda method, path: method == "POST", Lost, id="not created, and there"),
        pytest.param([job_of("b")], lambda method, path: method == "POST", Ended, id="not created, and another's"),
        pytest.param([], lambda method, path: method == "POST", Ended, id="not created, and not there"),
    ],
)
def test_a_refused_deployment_has_ended_only_if_its_job_is_not_there(
    there: list[dict[str, Any]], refuses: Callable[[str, str], bool], end: type, serve: Callable[..., None]
) -> None:
    async def scenario(cluster: Cluster) -> None:
        last = (await told_of(CREATED, asdict(GkeBackend())))[-1]
        assert isinstance(last, end) and isinstance(last, (Lost, Ended)) and "you may not" in last.message
        assert not isinstance(last, Ended) or last.kind == "backend_error"

    serve("/{path:.*}", cluster_with(there, refuses), scenario)


# ---------------------------------------------------------------------------------- since when GPUs are held, and until


def pod_of(number: int, phase: str, **state: Any) -> dict[str, Any]:
    """Return a pod of the Job on the node n, which it took at this hour."""
    meta = {"name": f"p{number}", "labels": {"job-name": NAME}, "resourceVersion": "8"}
    at = f"2026-01-01T{number:02}:00:00Z"
    return {
        "metadata": meta | {"creationTimestamp": at},
        "spec": {"nodeName": "n"},
        "status": {
            "phase": phase,
            "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": at}],
            "containerStatuses": [{"name": "bench", "state": state}],
        },
    }


FIRST, SECOND = (pod_of(hour, "Running", running={"startedAt": f"2026-01-01T{hour:02}:01:00Z"}) for hour in (0, 10))
OVER = pod_of(
    0,
    "Failed",
    terminated={"startedAt": "2026-01-01T00:01:00Z", "finishedAt": "2026-01-01T00:20:00Z", "exitCode": 143},
)


@pytest.mark.parametrize("each_s", [0.0, 0.3], ids=["all at once", "one by one"])
@pytest.mark.parametrize("how", [[("MODIFIED", OVER), ("DELETED", OVER)], [("DELETED", OVER)], [("MODIFIED", OVER)]])
def test_the_gpus_of_a_pod_that_another_one_follows_are_given_back_meanwhile(
    serve: Callable[..., None], how: list[tuple[str, Any]], each_s: float
) -> None:
    """Also where the other one is on the same node."""
    happens = [*how, ("ADDED", SECOND)]
    jobs = cluster_with([job_of("a")])
    is_complete = asyncio.Event()

    def line_of(kind: str, thing: Any) -> bytes:
        return json.dumps({"type": kind, "object": thing}).encode() + b"\n"

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/log"):
            return web.Response()
        if request.path.endswith("/pods") and "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "7"}, "items": [FIRST]})
        if "watch" not in request.query:
            return await jobs(request)
        answer = web.StreamResponse()
        await answer.prepare(request)
        if request.path.endswith("/pods"):
            for kind, pod in happens:
                await asyncio.sleep(each_s)
                await answer.write(line_of(kind, pod))
            await asyncio.sleep(0.3)
            is_complete.set()
        else:
            await is_complete.wait()
            await answer.write(line_of("MODIFIED", FINISHED))
        await asyncio.sleep(60)
        return answer

    async def scenario(cluster: Cluster) -> None:
        told = await told_of(ADOPTED, asdict(GkeBackend()))
        found = [(type(event), event.at) for event in told if isinstance(event, (Started, Released))]
        zero, ten = (datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (0, 10))
        expected = [(Started, zero), (Released, zero + timedelta(minutes=20)), (Started, ten)]
        assert found == (expected if each_s else expected[-len(found) :]) and isinstance(told[-1], Ended)

    serve("/{path:.*}", handler, scenario)


# ------------------------------------------------------------------------------------------- an interrupt that deletes

MANY = [
    replace(
        DEPLOYMENT,
        deployment_id=f"d{number}",
        objects=(
            json.dumps({"metadata": {"name": plan.job_name(f"d{number}")}}),
            json.dumps({"metadata": {"name": plan.job_name(f"d{number}")}}),
        ),
    )
    for number in range(40)
]
NAMES = [deployment.deployment_id for deployment in MANY]


def slow_cluster(jobs: dict[str, Any], latency_s: Callable[[int], float], refused: str = "") -> Handler:
    """Return the handler of a cluster that does what it is asked `latency_s` later, whether or not anybody waits."""
    posted: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        if "watch" in request.query:
            await asyncio.sleep(60)
        name = request.path.rpartition("/")[2]
        if request.method == "POST" and name == "jobs":
            job = await request.json()
            posted.append(job["metadata"]["name"])
            await asyncio.sleep(latency_s(len(posted)))
            job["metadata"] |= {"uid": job["metadata"]["name"], "resourceVersion": "5"}
            jobs[job["metadata"]["name"]] = job | {"spec": {"template": {"spec": {}}}, "status": {}}
            return web.json_response(jobs[job["metadata"]["name"]], status=201)
        if request.method == "POST":
            return web.json_response({"metadata": {}}, status=201)
        if name in ("jobs", "pods"):
            items = list(jobs.values()) if name == "jobs" else []
            return web.json_response({"metadata": {"resourceVersion": "7"}, "items": items})
        if request.method == "DELETE" and name == refused:
            return web.json_response({"message": "you may not"}, status=403)
        await asyncio.sleep(0.05)
        if request.method == "DELETE" and jobs.pop(name, None) is not None:
            return web.json_response({})
        return web.json_response({"message": f"{name} not found"}, status=404)

    return handler


class Closed(Gke):
    """The backend, which can be closed after its pool."""

    made: ClassVar[list[Gke]] = []

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.made.append(self)


@contextlib.asynccontextmanager
async def pool_of(given: Sequence[plan.Deployment]) -> AsyncIterator[Pool]:
    pool = Pool(f"{__name__}:Closed", asdict(GkeBackend()))
    try:
        async with asyncio.timeout(30):
            await pool.poll(None, 0, given, 0.0)
            yield pool
    finally:
        await Closed.made.pop().close()


@pytest.mark.parametrize("slowest_s", [0.5, 8.0], ids=["busy", "very busy"])
def test_no_job_is_created_after_an_interrupt_has_deleted_them(serve: Callable[..., None], slowest_s: float) -> None:
    jobs: dict[str, Any] = {}

    async def scenario(cluster: Cluster) -> None:
        async with pool_of(MANY) as pool:
            while not jobs:
                await asyncio.sleep(0.01)
            assert await pool.cancel(NAMES, 20.0) == ({}, 0)
            await asyncio.sleep(slowest_s)  # until the last of what was asked for is done
            assert not jobs

    serve("/{path:.*}", slow_cluster(jobs, lambda number: slowest_s * number / len(MANY)), scenario)


def test_a_job_that_cannot_be_deleted_is_named_and_the_others_are_deleted(serve: Callable[..., None]) -> None:
    jobs: dict[str, Any] = {}
    refused = plan.job_name("d0")

    async def scenario(cluster: Cluster) -> None:
        async with pool_of(MANY) as pool:
            while len(jobs) < len(MANY):
                await asyncio.sleep(0.01)
            left, _ = await pool.cancel(NAMES, 20.0)
            assert list(left) == ["d0"] and "you may not" in left["d0"]
            assert list(jobs) == [refused]

    serve("/{path:.*}", slow_cluster(jobs, lambda number: 0.01, refused), scenario)


def test_a_server_that_fails_costs_an_interrupt_no_more_than_its_time(serve: Callable[..., None]) -> None:
    async def away(request: web.Request) -> web.Response:
        return web.json_response({"message": "etcd has no leader"}, status=503)

    async def scenario(cluster: Cluster) -> None:
        async with pool_of(MANY) as pool:
            begun = time.monotonic()
            left, _ = await pool.cancel(NAMES, 2.0)
            assert list(left) == NAMES and "2 s" in left["d0"] and time.monotonic() - begun < 10

    serve("/{path:.*}", away, scenario)


def test_what_an_actor_that_died_had_begun_is_deleted_by_its_new_life(serve: Callable[..., None]) -> None:
    """Also what it had asked for a moment before, which is there a moment later."""
    early, late = ({"metadata": {"name": plan.job_name(name)}} for name in NAMES[:2])
    jobs: dict[str, Any] = {early["metadata"]["name"]: early}

    async def scenario(cluster: Cluster) -> None:
        async with pool_of(()) as pool:
            asyncio.get_running_loop().call_later(0.5, jobs.update, {late["metadata"]["name"]: late})
            assert await pool.cancel(NAMES, 20.0) == ({}, 0)
            assert not jobs

    serve("/{path:.*}", slow_cluster(jobs, lambda number: 0.01), scenario)
