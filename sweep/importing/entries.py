"""Logs of which each line is an entry of JSON: docker's json-file, exports of Google Cloud Logging and of Loki.

    {"log": "...\\n", "stream": "stdout", "time": "..."}      docker; without a line end it is part of a line
    {"textPayload": "...", "timestamp": "..."}               Google Cloud Logging
    {"jsonPayload": {"message": "..."}, "timestamp": "..."}  the same, of a program that logs JSON
    {"line": "...", "labels": {...}, "timestamp": "..."}     Loki, by logcli or Grafana

Entries stand one a line or in an array, whose entries may be indented. gcloud and logcli write the newest first unless
asked otherwise; such a text is put in order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

LONGEST_ENTRY = 1 << 18
"""Characters of one entry. Google Cloud Logging takes 256 KiB, docker cuts lines at 16 KiB."""
LONGEST_LINE = 1 << 16
"""So much of a line that docker cut is put together."""
MOST_DAMAGED = 100
"""After so many entries that cannot be read the rest is read as it is."""
MOST_REVERSED = 64 << 20
"""Characters of a text whose newest entry comes first; it is held in memory to be reversed."""

_BETWEEN = re.compile(r"[\s,\[\]]*(?=\{|\Z)")
_TIME = re.compile(r'"timestamp":\s*"([^"]*)"')
_OF_LOKI = frozenset({"line", "labels", "timestamp", "date", "fields", "id"})
_JSON = json.JSONDecoder()


def are_entries(start: str) -> bool:
    """Return whether a text that begins so is a log of entries, by the first of them."""
    begin = re.match(r"\s*\[?\s*(?=\{)", start)
    try:
        return begin is not None and _text_of(_JSON.raw_decode(start, begin.end())[0]) is not None
    except (ValueError, RecursionError):
        return False


def text_in(pieces: Iterator[str], start: str) -> Iterator[str]:
    """Yield the text in a log of entries, oldest first, a line or more at a time; anything else is yielded unchanged.

    start: how the log begins; the order of its entries shows there.

    Raises:
        OSError: its newest entry comes first, and it is too long to be reversed.
    """
    lines = _lines(_texts(pieces))
    times = _TIME.findall(start)
    later = [one > other for one, other in pairwise(times) if one != other]
    return _reversed(lines) if 2 * sum(later) > len(later) else lines


def _reversed(lines: Iterator[str]) -> Iterator[str]:
    held, size = [], 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size > MOST_REVERSED:
            raise OSError(f"it is newest first, and more than {MOST_REVERSED >> 20} MiB; export it oldest first")
    yield from reversed(held)


def _lines(texts: Iterator[tuple[str, str]]) -> Iterator[str]:
    """Yield texts as whole lines: each stream's parts of a line are put together."""
    held: dict[str, str] = {}
    for stream, text in texts:
        text = held.pop(stream, "") + text
        if text.endswith("\n") or len(text) > LONGEST_LINE:
            yield text
        elif text:
            held[stream] = text
    yield from held.values()


def _texts(pieces: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Yield the stream and the text of each entry."""
    read, place, damaged, more = "", 0, 0, True
    while more or place < len(read):
        if more and len(read) - place < LONGEST_ENTRY:
            piece = next(pieces, "")
            read, place, more = read[place:] + piece, 0, piece != ""
            continue
        if damaged > MOST_DAMAGED:
            yield "", read[place:]
            place = len(read)
            continue
        between = _BETWEEN.match(read, place)
        begin = place if between is None else between.end()
        if begin == len(read):
            place = begin
            continue
        entry_text = None
        if between is not None:
            try:
                entry, end = _JSON.raw_decode(read, begin)
                entry_text = _text_of(entry) or ("", read[begin:end] + "\n")
                place = end
            except (ValueError, RecursionError):
                damaged += 1
        if entry_text is None:
            begin, place = place, (read.find("\n", begin) + 1) or len(read)
            entry_text = "", read[begin:place]
        yield entry_text


def _text_of(entry: Any) -> tuple[str, str] | None:
    """Return the stream and the text of an entry, with its line end; None where it is not an entry of a log.

    What Google Cloud Logging holds besides texts, such as the audit of a call, has none.
    """
    match entry:
        case {"log": str(text), "stream": "stdout" | "stderr" as stream}:
            return stream, text
        case {"textPayload": str(text)} | {"jsonPayload": {"message": str(text)}}:
            return "", text.removesuffix("\n") + "\n"
        case {"jsonPayload": Mapping()} | {"protoPayload": Mapping()}:
            return "", ""
        case {"line": str(text)} if entry.keys() <= _OF_LOKI:
            return "", text.removesuffix("\n") + "\n"
    return None
