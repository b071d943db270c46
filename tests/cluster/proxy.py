"""A way to the API server that breaks: a TCP proxy that cuts all its connections now and then."""

from __future__ import annotations

import asyncio
import contextlib
import threading


class Proxy:
    """Forwards to a port of this machine; a context manager.

    port: where it listens.
    cuts: how many connections it has cut.
    """

    def __init__(self, target_port: int, cut_every_s: float) -> None:
        self._target, self._pause_s = target_port, cut_every_s
        self._open: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()), daemon=True)
        self.port = self.cuts = 0

    def __enter__(self) -> Proxy:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), self._pause_s)
            self._cut()
        server.close()
        await asyncio.sleep(0.1)
        self._cut()
        await asyncio.sleep(0.1)

    def _cut(self) -> None:
        for writer in self._open:
            self.cuts += 1
            writer.transport.abort()
        self._open.clear()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            self._open |= {writer, back}
            await asyncio.gather(_copy(reader, back), _copy(there, writer), return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
