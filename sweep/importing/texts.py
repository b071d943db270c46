"""The text in a file as UTF-8, as the program printed it: whatever wrote or carried it.

PowerShell's > and Tee-Object write UTF-16. Docker's json-file, an export of Google Cloud Logging and one of Loki hold a
JSON object for each line (entries.py).
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from sweep.importing.entries import are_entries, text_in

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HEAD_BYTES = 64 << 10
PIECE = 1 << 18
"""Characters that are held at once."""


def plain(file: BinaryIO) -> BinaryIO:
    """Return the text in a file as a stream of UTF-8 without a byte order mark; closing it closes the file.

    Raises:
        OSError, EOFError, zlib.error: the begin of the file cannot be read.
    """
    head = file.read(HEAD_BYTES)
    encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    start = head.decode(encoding, "replace")
    carried = are_entries(start)
    if encoding != "utf-16" and not carried:
        file.seek(len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0)
        return file
    file.seek(0)
    text = io.TextIOWrapper(file, encoding=encoding, errors="replace", newline="")
    pieces = iter(lambda: text.read(PIECE), "")
    return io.BufferedReader(_Stream(text, text_in(pieces, start) if carried else pieces), HEAD_BYTES)


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
