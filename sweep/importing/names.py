"""What the names of files say: whose run's they are, and which stream of which program they hold."""

from __future__ import annotations

import re
from pathlib import Path

SUFFIXES = frozenset(
    ".json .txt .log .out .err .stdout .stderr .request_json .output_json .iteration_log .jsonl".split()
)
"""Files of a folder that are looked at, beside those that end as streams do; a named one may be called anything."""

_WORD = r"(?:^|[._-])(std[._-]?(?:out|err)|out(?:put)?|err(?:ors?)?|log)"
_STREAM = re.compile(rf"{_WORD}(?=$|[._-])", re.IGNORECASE)
_END = re.compile(rf"{_WORD}(?:[._-]\d+)*$", re.IGNORECASE)
_ROLE = re.compile(
    r"(?:^|[._-])(server|serve|serving|client|bench|benchmark|trtllm|vllm|results?)(?=$|[._-])", re.IGNORECASE
)
SERVER = re.compile(r"(?:^|[._-])(?:server|(?:trtllm|vllm)[._-]serve)(?=$|[._-])", re.IGNORECASE)
_BATCH = re.compile(r"(.+)\.p?([oe])(\d+(?:[.-]\d+)*)")
"""What PBS and Grid Engine call a job's streams: NAME.o4711 and NAME.e4711."""


def plain_name(path: Path) -> Path:
    return path.with_suffix("") if path.suffix == ".gz" else path


def stem_of(path: Path) -> str:
    """Return what files of one run have in common in their names."""
    name = plain_name(path)
    return name.stem if name.suffix in SUFFIXES else name.name


def names_a_stream(name: str) -> bool:
    """Return whether a file is called like what a program printed."""
    return _BATCH.fullmatch(name) is not None or _STREAM.search(name) is not None


def ends_as_stream(name: str) -> bool:
    """Return whether the end of its name says so, as in `stderr`, `NAME.o4711` and `out.4711`."""
    return _BATCH.fullmatch(name) is not None or _END.search(name) is not None


def is_error_stream(path: Path) -> bool:
    """Return whether a file is called like what a program printed to stderr."""
    name = plain_name(path).name
    if batch := _BATCH.fullmatch(name):
        return batch[2] == "e"
    return any("err" in word.lower() for word in _STREAM.findall(name))


def without_stream(stem: str) -> str:
    """Return a name without the word that names the stream."""
    if batch := _BATCH.fullmatch(stem):
        return f"{batch[1]}.{batch[3]}"
    *_, last = [None, *_STREAM.finditer(stem)]
    return stem if last is None else f"{stem[: last.start()]}{stem[last.end() :]}".lstrip("._-")


def without_role(stem: str) -> str:
    """Return a name without the words that name the stream and the program."""
    return _ROLE.sub("", without_stream(stem)).lstrip("._-")
