"""The results volume, read from here: what pods have published stays there when their logs are gone.

    URI/SWEEP/POINT/REPEAT-ATTEMPT/     report.json, env.json, log.txt, requests.json; done.json last, with their hashes

URI is gs://BUCKET, or file:///FOLDER where the claim that pods write to is mounted here too. Google's default
credentials are used, as gcloud auth application-default login makes them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sweep.errors import ReportError, UsageError
from sweep.published import Published, key_of, read_files

MOST_TAIL_BYTES = 64 * 1024
MOST_TROUBLE = 240
ANSWER_S = 60
DONE = "done.json"
DEPTH = 3
"""Of POINT/ATTEMPT/done.json."""


def results_uri(config: Mapping[str, Any]) -> str | None:
    """Return where this machine reads the results volume; None where there is none, or where it cannot."""
    uri, bucket = config["results_uri"], config["bucket"]
    return uri or (f"gs://{bucket}" if bucket else None)


def try_volume(uri: str, seconds: float) -> str | None:
    """Write, read and delete a file; return what goes wrong, None where all is well."""
    try:
        files, root = _open(uri, seconds)
        name = f"{root}/.sweep-doctor-{secrets.token_hex(4)}"
        with files.open_output_stream(name) as file:
            file.write(b"can be written")
        with files.open_input_stream(name) as file:
            said = file.read()
        files.delete_file(name)
    except (OSError, UsageError) as error:
        return told(error)
    return None if said == b"can be written" else "what was written is not what is read"


def told(error: Exception) -> str:
    """Return what went wrong, without what only Google's library can read."""
    return " ".join(str(error).partition(" error_info=")[0].split())[:MOST_TROUBLE]


def _open(uri: str, seconds: float) -> tuple[Any, str]:
    """Open a volume; one on the network is asked for at most so many seconds (pyarrow itself would try 15 minutes)."""
    from pyarrow import fs

    if uri.startswith("gs://") and "retry_limit_seconds" not in uri:
        uri += f"{'&' if '?' in uri else '?'}retry_limit_seconds={max(1, round(seconds))}"
    try:
        files, root = fs.FileSystem.from_uri(uri)
    except (ValueError, OSError, NotImplementedError) as error:
        raise UsageError(f"the results volume {uri.partition('?')[0]} cannot be used: {error}") from error
    return files, root


class Volume:
    """One sweep's folder on the results volume."""

    def __init__(self, uri: str, sweep_id: str, *, answer_s: float = ANSWER_S) -> None:
        self._files, root = _open(uri, answer_s)
        self._folder = f"{root}/{sweep_id}"

    def read(self, key: tuple[str, int, int]) -> Published | None:
        """Return a published attempt; None where there is none that is whole.

        Raises:
            ReportError: it is there, and its files are not what done.json says.
            OSError: the volume cannot be read.
        """
        folder = self._folder_of(key)
        try:
            listed: dict[str, dict[str, Any]] = json.loads(self._read(f"{folder}/{DONE}"))["files"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise ReportError(f"{folder}/{DONE} is damaged") from None
        texts: dict[str, bytes] = {}
        for name in ("env.json", "report.json", "log.txt"):
            if name in listed:
                texts[name] = self._read(f"{folder}/{name}")
                if hashlib.sha256(texts[name]).hexdigest() != listed[name].get("sha256"):
                    raise ReportError(f"{folder}/{name} is not the file that was published")
        report = texts.get("report.json")
        found = read_files(
            texts.get("env.json", b"").decode("utf-8", "replace"),
            None if report is None else report.decode("utf-8", "replace"),
            texts.get("log.txt", b"")[-MOST_TAIL_BYTES:].decode("utf-8", "replace"),
        )
        if found.key[0] != key[0]:
            raise ReportError(f"{folder}/env.json is of point {found.key[0]}")
        return replace(found, key=key)

    def published(self) -> list[tuple[str, int, int]]:
        """Return all attempts that are there whole.

        Raises:
            OSError: the volume cannot be read.
        """
        from pyarrow import fs

        found = []
        for info in self._files.get_file_info(fs.FileSelector(self._folder, allow_not_found=True, recursive=True)):
            words = info.path.removeprefix(f"{self._folder}/").split("/")
            if len(words) == DEPTH and words[-1] == DONE:
                with contextlib.suppress(ValueError):
                    found.append(key_of(*words[:2]))
        return sorted(found)

    def deployment_of(self, key: tuple[str, int, int]) -> str:
        """Return the deployment that measured an attempt; an empty text where its files do not say.

        Raises:
            OSError: the volume cannot be read.
        """
        try:
            said = json.loads(self._read(f"{self._folder_of(key)}/env.json"))["attempt"]["deployment"]
        except (ValueError, KeyError, TypeError, FileNotFoundError):
            return ""
        return said if isinstance(said, str) else ""

    def _folder_of(self, key: tuple[str, int, int]) -> str:
        point_id, repeat, number = key
        return f"{self._folder}/{point_id}/{repeat}-{number}"

    def _read(self, path: str) -> bytes:
        with self._files.open_input_stream(path) as file:
            return bytes(file.read())
