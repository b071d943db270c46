"""The cluster as the gke backend needs it: requests with retries, watches that never end, logs that are followed.

Objects stay plain JSON, because kubernetes.aio's typed models cost five times as much. One connection pool for all.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Self

import aiohttp

from sweep.backends import fields
from sweep.backends.access import Access
from sweep.backends.fields import Form, Object
from sweep.errors import ClusterError, UsageError

REQUEST_S = 30
PATIENCE_S = 60.0
"""For how long a request is tried again when the server does not answer, is too busy or fails."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 15.0
LONGEST_ASKED_S = 60.0
"""The longest pause that a server is granted: it may be well again long before, and a watch would see nothing."""
WATCH_S = 290
"""A watch is ended by the server after so long, and goes on where it was."""
SILENCE_S = 150
"""A watch without even a bookmark (one a minute) for so long is asked anew: its connection may be dead."""
LOG_SILENCE_S = 300
"""A followed log that says nothing for so long is asked anew: its connection may be dead. Loading a model is silent."""
LONGEST_LINE_BYTES, LONGEST_OBJECT_BYTES = 2**18, 2**24
RENEW_BEFORE = timedelta(seconds=60)
REFUSED_S = 60.0
"""For so long credentials that were just read may be refused, as by a server that restarts; then they are wrong."""
MOST_REFUSALS = 3
"""So often in a row they are refused at least before they are called wrong."""
MOST_DIGITS = 20
"""Of a resourceVersion, which has 64 bits."""
WEB_PAGE = "text/html"
"""What no Kubernetes API answers with: it is of something in between, and so is its HTTP status."""

log = logging.getLogger(__name__)

_Answer = tuple[aiohttp.ClientResponse, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a watch tells: everything there is (`listed`), or one object that was added, changed or deleted.

    version: how old a list is: an object of a higher resourceVersion is newer.
    """

    listed: tuple[Object, ...] | None = None
    version: int = 0
    object: Object | None = None
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line of a container's log; `time` as the server writes it, to the nanosecond."""

    time: str
    text: str

    @property
    def second(self) -> str:
        """The time to the second, which is all that a server can be asked for."""
        return self.time.partition(".")[0].rstrip("Z") + "Z"

    @property
    def at(self) -> datetime:
        return datetime.fromisoformat(self.second)


class Cluster:
    """One API server and namespace; `connect` makes it, `close` ends it. Belongs to one event loop.

    requests: how many were sent.
    ahead_s: by how much our clock is ahead of the server's, by its first answer; it tells whole seconds.
    """

    def __init__(self, access: Access, namespace: str) -> None:
        self.namespace = namespace
        self.requests = 0
        self.ahead_s: float | None = None
        self._access = access
        self._renewing = asyncio.Lock()
        self._not_renewed: ClusterError | None = None
        self._refusals, self._refused_since = 0, 0.0
        connector = aiohttp.TCPConnector(limit=0, ssl=access.tls)  # each followed log holds a connection
        self._session = aiohttp.ClientSession(connector=connector, read_bufsize=2**18)

    @classmethod
    async def connect(cls, context: str | None = None, namespace: str | None = None) -> Self:
        """Return the cluster of a kubectl context, by default the current one, or the one that this pod runs in.

        Raises:
            UsageError: there is no such context, or its plugin gives no credentials.
        """
        access = await Access.load(context)
        return cls(access, namespace or access.namespace)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: str | None = None,
        params: Mapping[str, str] | None = None,
        accept: str | None = None,
        content_type: str = "application/json",
        form: Form = Form.ANY,
        patience_s: float = PATIENCE_S,
        trouble: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """Ask the API server and return its answer, decoded.

        Every request here can be sent twice: a POST that had arrived is answered by 409 then. A POST that is cancelled
        ends with its answer all the same: what it creates can be deleted then, and does not appear afterwards.

        Args:
            path: for example /api/v1/nodes; `{namespace}` in it is filled in.
            accept: the media type of the answer, where it is not the plain one.
            trouble: told why the request is tried again.

        Raises:
            ClusterError: it was refused, or was not answered for `patience_s`.
        """
        pauses, until, refused_until = Pauses(), time.monotonic() + patience_s, 0.0
        while True:
            try:
                timeout = aiohttp.ClientTimeout(REQUEST_S)
                asking = self._ask(method, path, params, body, timeout, accept, content_type)
                answer, text = await (_to_its_end(asking) if method == "POST" else asking)
                if self.ahead_s is None:
                    self.ahead_s = _ahead_s(answer.headers.get("Date"))
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                refused = ClusterError(f"{self._access.host} does not answer: {_said(error)}")
                pause = pauses.next()
            except ClusterError as error:  # no new credentials
                refused, pause = error, pauses.next()
            else:
                given = _object(text) if answer.status < 300 else None
                why = "" if given is None else fields.why_not(given, form)
                if given is not None and not why:
                    self._refusals = 0
                    return given
                refused = self._refused(method, path, answer, text, why)
                pause = pauses.next(answer.headers.get("Retry-After"))
                if answer.status == 401:
                    is_first, refused_until = not refused_until, refused_until or time.monotonic() + REFUSED_S
                    try:
                        await self._renew()
                    except ClusterError as error:
                        refused = error
                    else:
                        self._count_refusal()
                        if is_first:
                            continue
            limit = min(until, refused_until) if refused.status == 401 else until
            if not (refused.is_passing or refused.status == 401) or time.monotonic() + pause > limit:
                raise refused
            if trouble is not None:
                trouble(str(refused))
            await asyncio.sleep(pause)

    async def _ask(self, *request: Any) -> _Answer:
        async with await self._send(*request) as answer:
            return answer, await answer.read()

    async def watch(self, path: str, selector: str) -> AsyncIterator[Change]:
        """Tell everything that there is below a path, and then each change, for ever.

        A connection that breaks is made again and goes on where it was. Where the server has forgotten what came since
        (410), or where something odd comes again at once, everything is told again.

        Raises:
            ClusterError: it is refused.
        """
        version: str | None = None
        pauses = Pauses()
        while True:
            try:
                if version is None:
                    ours = {"labelSelector": selector}
                    listed = await self.request("GET", path, params=ours, form=Form.LIST, patience_s=float("inf"))
                    version = fields.text(listed, "metadata", "resourceVersion") or None
                    if version is None:
                        raise ValueError("a list without a version")
                    for thing in listed["items"]:
                        thing["metadata"].pop("managedFields", None)
                    yield Change(listed=tuple(listed["items"]), version=version_of(listed))
                async for kind, thing in self._watch_from(path, selector, version):
                    if kind == "ERROR":
                        version = None if thing.get("code") == 410 else version
                        break
                    pauses = Pauses()
                    version = str(thing["metadata"]["resourceVersion"])
                    thing["metadata"].pop("managedFields", None)  # a third of what is kept of an object, and of no use
                    if kind != "BOOKMARK":
                        yield Change(object=thing, deleted=kind == "DELETED")
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                log.info("the watch of %s broke off: %s", path, _said(error))
            except (ValueError, RecursionError) as error:
                log.info("the watch of %s: %s", path, _said(error))
                version = None if pauses.tries else version
            except ClusterError as error:
                if not error.is_passing:
                    raise
                log.info("the watch of %s: %s", path, error)
            await asyncio.sleep(pauses.next())

    async def _watch_from(self, path: str, selector: str, version: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        params = {
            "labelSelector": selector,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_S),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_S, sock_read=SILENCE_S)
        async with self._stream(path, params, timeout) as answer:
            if answer.status == 410:
                yield "ERROR", {"code": 410}
            elif answer.status >= 300:
                raise self._refused("watch", path, answer, await answer.read())
            else:
                async for line in _lines(answer.content, LONGEST_OBJECT_BYTES):
                    if line is None:  # it is told again in the list
                        yield "ERROR", {"code": 410}
                        return
                    event = json.loads(line)
                    if why := fields.why_no_event(event):
                        raise ValueError(why)
                    yield event["type"], event["object"]

    async def log_lines(
        self, pod: str, container: str, *, follow: bool, since: str | None = None
    ) -> AsyncIterator[LogLine]:
        """Tell the lines of a container's log; with `follow` until it ends or the connection breaks.

        What the server says in place of a log that it cannot read has no time before it, and is passed over; so is a
        line of megabytes (a progress bar). A stream that ends cleanly may go on: a kubelet or a tunnel was restarted.

        Args:
            since: second of a line; that line and others of its second are told again.

        Raises:
            ClusterError: it is refused, for example because the container has not begun; or the connection broke.
        """
        params = {"container": container, "timestamps": "true", "follow": "true" if follow else "false"}
        if since is not None:
            params["sinceTime"] = since
        path = f"/api/v1/namespaces/{{namespace}}/pods/{pod}/log"
        timeout = aiohttp.ClientTimeout(
            total=None if follow else REQUEST_S, sock_connect=REQUEST_S, sock_read=LOG_SILENCE_S if follow else None
        )
        try:
            async with self._stream(path, params, timeout) as answer:
                if answer.status >= 300:
                    raise self._refused("read the log of", pod, answer, await answer.read())
                async for raw in _lines(answer.content, LONGEST_LINE_BYTES):
                    if raw is not None and (found := _LOG_LINE.match(raw.decode("utf-8", "replace"))):
                        yield LogLine(time=found[1], text=found[2])
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ClusterError(f"the log of {pod} broke off: {_said(error)}") from error

    @contextlib.asynccontextmanager
    async def _stream(
        self, path: str, params: Mapping[str, str], timeout: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open an answer that may be left before its end; its connection is dropped then, without TLS's farewell."""
        async with await self._send("GET", path, params, None, timeout) as answer:
            try:
                if answer.content_type == WEB_PAGE:
                    raise self._refused("GET", path, answer, b"")
                if answer.status != 401:
                    self._refusals = 0
                elif self._refusals < MOST_REFUSALS or time.monotonic() - self._refused_since < REFUSED_S:
                    await self._renew()
                    self._count_refusal()
                    raise ClusterError("the credentials were refused and read anew")
                yield answer
            finally:
                if answer.connection is not None and answer.connection.transport is not None:
                    answer.connection.transport.abort()

    async def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: str | None,
        timeout: aiohttp.ClientTimeout,
        accept: str | None = None,
        content_type: str = "application/json",
    ) -> Any:
        if self._access.expires and self._access.expires - datetime.now(UTC) < RENEW_BEFORE:
            await self._renew()
        self.requests += 1
        headers = await self._access.headers()
        if body is not None:
            headers["Content-Type"] = content_type
        if accept is not None:
            headers["Accept"] = accept
        return self._session.request(
            method,
            self._access.host + path.replace("{namespace}", self.namespace),
            params=params,
            data=body,
            headers=headers,
            timeout=timeout,
            proxy=self._access.proxy,
            server_hostname=self._access.tls_server_name,
        )

    async def _renew(self) -> None:
        """Read the credentials anew: tokens of GKE end after an hour.

        Raises:
            ClusterError: the plugin gives none now, which may pass; or the context means another server now, which may
                be another cluster: what it says of our Jobs would be wrong.
        """
        before, not_renewed = self._access, self._not_renewed
        async with self._renewing:
            if self._access is not before:  # another request has done it
                return
            if self._not_renewed is not None and self._not_renewed is not not_renewed:  # or has just tried in vain
                raise ClusterError(str(self._not_renewed), self._not_renewed.status)
            try:
                found = await Access.load(before.context)
            except UsageError as error:
                self._not_renewed = ClusterError(f"no new credentials: {error}")
                raise self._not_renewed from error
            if found.host != before.host:
                self._not_renewed = ClusterError(
                    f"kubectl context {before.context} was {before.host} when this began and is {found.host} now; it is"
                    " not followed there: end this, and go on with the same command if it is the same cluster",
                    status=-1,
                )
                raise self._not_renewed
            self._access = found

    def _count_refusal(self) -> None:
        """Take note that credentials were refused, until something is answered again."""
        if not self._refusals:
            self._refused_since = time.monotonic()
        self._refusals += 1

    def _refused(self, asked: str, of: str, answer: aiohttp.ClientResponse, text: bytes, why: str = "") -> ClusterError:
        """Return the error of an answer that is not what was asked for; `why` says what of it is odd."""
        if why:
            return ClusterError(f"{self._access.host} answers {asked} {of} with {why}")
        if answer.content_type == WEB_PAGE or answer.status < 300:
            return ClusterError(
                f"{self._access.host} is no Kubernetes API: it answers with {answer.content_type} (HTTP"
                f" {answer.status}); a proxy or a login page is likely to be in between"
            )
        message = fields.text(_object(text), "message")
        if not message:
            message = text.decode("utf-8", "replace")[:300] or f"{asked} {of}"
        return ClusterError(f"{message} (HTTP {answer.status})", answer.status)


async def _lines(content: aiohttp.StreamReader, longest: int) -> AsyncIterator[bytes | None]:
    """Tell the lines of a stream, and None for one that is too long; aiohttp's own reader would end there."""
    rest, too_long = b"", False
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield None if too_long else line
            too_long = False
        if len(rest) > longest:
            rest, too_long = b"", True
    if rest and not too_long:
        yield rest


async def _to_its_end(asking: Coroutine[Any, Any, _Answer]) -> _Answer:
    """Wait for what must not be given up half-way; who is cancelled meanwhile is so afterwards."""
    task = asyncio.create_task(asking)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def version_of(thing: Object) -> int:
    """Return the resourceVersion of an object or a list; Kubernetes counts them up in one sequence."""
    version = fields.text(thing, "metadata", "resourceVersion")
    return int(version) if version.isdecimal() and len(version) < MOST_DIGITS else 0


@dataclass(slots=True)
class Pauses:
    """Exponential back-off with jitter."""

    tries: int = 0

    def next(self, asked_for: str | None = None) -> float:
        """Return how long to wait now, at least what the server asked for where that is not too long."""
        longest: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**self.tries)
        self.tries = min(self.tries + 1, 20)
        wanted = float(asked_for) if asked_for and asked_for.isdecimal() else 0.0
        return max(min(wanted, LONGEST_ASKED_S), longest * random.uniform(0.5, 1))


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _ahead_s(date: str | None) -> float | None:
    try:
        return (datetime.now(UTC) - parsedate_to_datetime(date or "")).total_seconds()
    except (ValueError, TypeError):
        return None


def _said(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


_LOG_LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z) (.*?)\r?\n?\Z", re.DOTALL)
