"""A gate between the program and the API server: it sees every request and does to it what a seed says.

It ends TLS with the API server's own certificate, which is good for any port of this machine, and passes the bearer
token on. A trap waits for the so-maniest request of a name; `POST jobs` is one, before it is forwarded or after it was
answered. The weather is for all requests: connections cut now and then, or a time of darkness in which nothing comes
through, and after which what was open stays silent for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import aiohttp
from aiohttp import web
from yarl import URL

from tests.cluster.kit.cluster import Cluster
from tests.faults.schedule import Action, Trap

PASSED_ON = ("Authorization", "Content-Type", "Accept", "User-Agent")
PASSED_BACK = ("Content-Type", "Date", "Retry-After")
LATE_S = 3.0


_STATUS = {Action.BUSY: 429, Action.BROKEN: 500, Action.AWAY: 503}


class Gate:
    """Forwards to the API server of a test's cluster; a context manager.

    port: where it listens.
    sprung: how many requests were trapped.
    seen: how often each request came.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.port = self.sprung = self.cuts = 0
        self.seen: Counter[str] = Counter()
        self._target = f"https://127.0.0.1:{cluster.load()['port']}"
        self._server, self._client = _contexts(cluster)
        self._traps: tuple[Trap, ...] = ()
        self._round: Counter[str] = Counter()
        self._streams: set[asyncio.Transport] = set()
        self._darkness = 0
        self._dark = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Gate:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)

    # --------------------------------------------------------------------------------------------- what a round can say

    def set(self, traps: Iterable[Trap] = ()) -> None:
        """Set these traps, for requests from now on, and no other."""
        self._round, self._traps = Counter(), tuple(traps)

    def cut(self) -> None:
        """Break all connections."""
        self._loop.call_soon_threadsafe(self._cut)

    def darken(self) -> None:
        """Let nothing through until `lighten`; what is open now stays silent for ever."""
        self._dark, self._darkness = True, self._darkness + 1

    def lighten(self) -> None:
        """Let new requests through."""
        self._dark = False

    def senders(self) -> set[int]:
        """Return the processes that have a connection to it."""
        return {pid for inode in _connections(self.port) if (pid := _owner(inode)) is not None}

    # --------------------------------------------------------------------------------------------------------- forward

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = web.AppRunner(
            _application(self._take), handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        await server.setup()
        site = web.TCPSite(server, "127.0.0.1", 0, ssl_context=self._server)
        connector = aiohttp.TCPConnector(limit=0, ssl=self._client)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        await site.start()
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        self._cut()
        await server.cleanup()
        await self._session.close()

    def _cut(self) -> None:
        for transport in self._streams:
            self.cuts += 1
            transport.abort()
        self._streams.clear()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        name = name_of(request.method, request.path, dict(request.query))
        self.seen[name] += 1
        self._round[name] += 1
        count, darkness = self._round[name], self._darkness
        transport = request.transport
        if transport is None or self._dark:
            return await self._silence()
        self._streams.add(transport)
        trap = next(
            (t for t in self._traps if t.request == name and t.occurrence <= count < t.occurrence + t.times), None
        )
        if trap is not None and not trap.after and (answer := await self._spring(trap, transport)):
            return answer
        try:
            return await self._forward(request, name, trap, darkness)
        except (aiohttp.ClientError, OSError):  # the API server is being restarted, or one side has gone
            transport.abort()
            return web.Response(status=502)

    async def _forward(self, request: web.Request, name: str, trap: Trap | None, darkness: int) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        headers = {key: request.headers[key] for key in PASSED_ON if key in request.headers}
        async with self._session.request(
            request.method,
            URL(self._target + request.raw_path, encoded=True),
            headers=headers,
            data=await request.read() or None,
            skip_auto_headers=("Accept-Encoding",),
            timeout=aiohttp.ClientTimeout(total=None),
        ) as said:
            back = {key: said.headers[key] for key in PASSED_BACK if key in said.headers}
            if not name.startswith(("WATCH", "FOLLOW")):
                body = await said.read()
                if trap is not None and trap.after and (answer := await self._spring(trap, transport)):
                    return answer
                if darkness != self._darkness:
                    return await self._silence()
                return web.Response(status=said.status, headers=back, body=body)
            answer = web.StreamResponse(status=said.status, headers=back)
            await answer.prepare(request)
            async for chunk in said.content.iter_any():
                if darkness != self._darkness:
                    return await self._silence()
                await answer.write(chunk)
                if trap is not None and trap.after and (other := await self._spring(trap, transport)):
                    return answer if trap.action is Action.END else other
            return answer

    async def _spring(self, trap: Trap, transport: asyncio.Transport) -> web.StreamResponse | None:
        """Do what a trap does; None: the request goes its way."""
        self.sprung += 1
        if trap.action is Action.LATE:
            await asyncio.sleep(LATE_S)
            return None
        if trap.action is Action.SILENCE:
            return await self._silence()
        if trap.action is Action.KILL and (pid := sender(transport.get_extra_info("peername")[1], self.port)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if trap.action is Action.END:  # after its first words a stream ends, and that looks like its true end
            return web.Response()
        if trap.action in _STATUS:
            status = _STATUS[trap.action]
            told = {"kind": "Status", "status": "Failure", "message": f"the gate says {status}", "code": status}
            return web.json_response(told, status=status, headers={"Retry-After": "1"} if status == 429 else {})
        transport.abort()
        return web.Response(status=502)

    async def _silence(self) -> web.StreamResponse:
        await self._over.wait()
        return web.Response(status=502)


def name_of(method: str, path: str, query: dict[str, str]) -> str:
    """Return what a request is called in schedules: POST jobs, GET job, LIST pods, WATCH pods, FOLLOW log, ..."""
    words = path.strip("/").split("/")
    if words[-1] == "log":
        return "FOLLOW log" if query.get("follow") == "true" else "GET log"
    words = words[words.index("namespaces") + 2 :] if "namespaces" in words[:-1] else words[-1:]
    kind = words[0] if words else "namespace"
    if method == "GET" and query.get("watch"):
        return f"WATCH {kind}"
    if method == "GET" and "labelSelector" in query:
        return f"LIST {kind}"
    return f"{method} {kind}"


def _application(handler: object) -> web.Application:
    made = web.Application(client_max_size=2**26)
    made.router.add_route("*", "/{path:.*}", handler)  # type: ignore[arg-type]
    return made


def _contexts(cluster: Cluster) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cluster.pki / "apiserver.crt", cluster.pki / "apiserver.key")
    return server, ssl.create_default_context(cafile=str(cluster.pki / "ca.crt"))


def sender(port: int, gate_port: int) -> int | None:
    """Return the process that has a connection from this port of this machine to the gate."""
    return next((pid for inode in _connections(gate_port, port) if (pid := _owner(inode)) is not None), None)


def _connections(gate_port: int, port: int | None = None) -> Iterator[str]:
    """Yield the kernel's numbers of connections to the gate, of all or of one that comes from this port."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, here, there, *_, inode = line.split()[:10]
        if there == f"0100007F:{gate_port:04X}" and (port is None or here == f"0100007F:{port:04X}"):
            yield inode


def _owner(inode: str) -> int | None:
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):
            if any(os.readlink(path) == f"socket:[{inode}]" for path in folder.iterdir()):
                return int(folder.parent.name)
    return None
