"""The text in a file as UTF-8, whatever the shell wrote: PowerShell's > and Tee-Object write UTF-16."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HEAD_BYTES = 64 << 10
PIECE = 1 << 18
"""Characters that are held at once."""


def plain(file: BinaryIO) -> BinaryIO:
    """Return a file as a stream of UTF-8 without a byte order mark; closing it closes the file.

    Raises:
        OSError, EOFError, zlib.error: the begin of the file cannot be read.
    """
    head = file.read(HEAD_BYTES)
    if not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        file.seek(len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0)
        return file
    file.seek(0)
    text = io.TextIOWrapper(file, encoding="utf-16", errors="replace", newline="")
    return io.BufferedReader(_Stream(text, iter(lambda: text.read(PIECE), "")), HEAD_BYTES)


class _Stream(io.RawIOBase):
    """Pieces of a text, as a file."""

    def __init__(self, source: io.TextIOBase, pieces: Iterator[str]) -> None:
        self._source, self._pieces, self._left = source, pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        while not self._left and (piece := next(self._pieces, None)) is not None:
            self._left = memoryview(piece.encode("utf-8", "replace"))
        with memoryview(buffer) as room:
            taken = min(len(room), len(self._left))
            room[:taken] = self._left[:taken]
        self._left = self._left[taken:]
        return taken

    def close(self) -> None:
        self._source.close()
        super().close()
