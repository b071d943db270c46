"""What lies beside the rows in a sweep's folder: what asked for them, what they were made from, where its Jobs are.

    configs/HASH.yaml           the resolved configurations
    raw/POINT/REPEAT-ATTEMPT/   report.json, env.json, log.txt, requests.json
    cluster.json                where its Jobs are made
    index.html                  the page of `python -m sweep html`

Each is written under a temporary name and renamed: whatever is there is whole. All but raw/ is on disk before
its rename.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sweep.errors import UsageError
from sweep.point import canonical_json
from sweep.table.disk import TEMPORARY, read_file, replacing, sync, telling
from sweep.table.schema import Source

CONFIG_HASH = re.compile(r"[0-9a-f]{16}")
"""What configurations are named by; other files in configs/, such as a backup, are ignored."""


class Folder:
    """A folder under `results_dir`."""

    def __init__(self, folder: Path) -> None:
        if "\0" in os.fspath(folder):
            raise UsageError(f"{os.fspath(folder)!r} cannot be a folder: its name has a NUL character in it")
        self.folder = Path(folder)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def place_file(self) -> Path:
        return self.folder / "cluster.json"

    @property
    def page_file(self) -> Path:
        return self.folder / "index.html"

    def config_file(self, config_hash: str) -> Path:
        return self.folder / "configs" / f"{config_hash}.yaml"

    def evidence_dir(self, key: tuple[str, int, int], source: Source = Source.MEASURED) -> Path:
        """Return where the report and log of the attempt (point_id, repeat, number) lie."""
        point_id, repeat, number = key
        of_source = "" if source is Source.MEASURED else f"{source}-"  # one table can hold both sources of a point
        return self.folder / "raw" / point_id / f"{of_source}{repeat}-{number}"

    def place(self) -> dict[str, Any]:
        """Return what `keep_place` was told last; nothing before it was.

        Raises:
            UsageError: it cannot be read.
        """
        with telling("read", self.place_file):
            if not self.place_file.exists():
                return {}
        place = self._noted(self.place_file)
        if place is None:
            raise UsageError(f"{self.place_file} is damaged: it says where this sweep's Jobs are")
        return place

    def keep_place(self, place: Mapping[str, Any]) -> None:
        """Keep where this sweep's Jobs are made, so that a later command does not look for them elsewhere.

        Raises:
            UsageError: the folder cannot be written.
        """
        self._note(self.place_file, place)

    def _note(self, file: Path, content: Mapping[str, Any]) -> None:
        with telling("write", file), replacing(file) as made:
            made.write((json.dumps(content, indent=2) + "\n").encode())

    def _noted(self, file: Path) -> dict[str, Any] | None:
        """Return what `_note` wrote; None where it is damaged."""
        with telling("read", file):
            data = read_file(file)
        try:
            content = json.loads(data)
        except (ValueError, RecursionError):
            return None
        return content if isinstance(content, dict) else None

    def write_config(self, resolved: Mapping[str, Any]) -> str:
        """Keep the resolved configuration as configs/HASH.yaml and return the hash.

        Raises:
            UsageError: the folder cannot be written.
        """
        config_hash = hashlib.sha256(canonical_json(resolved).encode()).hexdigest()[:16]
        path = self.config_file(config_hash)
        with telling("write", path):
            if not path.parent.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                sync(self.folder)
            with replacing(path) as file:
                file.write(yaml.safe_dump(dict(resolved), sort_keys=False).encode())
        return config_hash

    def configs(self) -> dict[str, dict[str, Any]]:
        """Return every configuration that was kept, by its hash.

        Raises:
            UsageError: one cannot be read, or is damaged.
        """
        kept = sorted((self.folder / "configs").glob("*.yaml"))
        return {path.stem: self.read_config(path.stem) for path in kept if CONFIG_HASH.fullmatch(path.stem)}

    def read_config(self, config_hash: str) -> dict[str, Any]:
        """Return what `write_config` kept.

        Raises:
            UsageError: there is none of this hash, or it is damaged.
        """
        path = self.config_file(config_hash)
        with telling("read", path):
            data = read_file(path)
        try:
            config = yaml.safe_load(data)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise UsageError(f"{path} is not valid YAML: {' '.join(str(error).split())}; {_REPAIR}") from None
        if not isinstance(config, dict):
            raise UsageError(f"{path} does not hold a configuration; {_REPAIR}")
        return config

    def write_evidence(
        self,
        key: tuple[str, int, int],
        report: Mapping[str, Any] | str | None,
        environment: Mapping[str, Any],
        log_tail: str,
        source: Source = Source.MEASURED,
        requests: str | None = None,
    ) -> Path:
        """Keep what the row of an attempt was made from, so that rows can be made again after a parser was mended.

        `report` is the bench's JSON, decoded or as it was written; `requests` the text of --request_json.

        The files appear together; what is empty makes none. They are not synced: after a power cut the row stands and
        they may be lost.

        Raises:
            UsageError: the folder cannot be written.
        """
        final = self.evidence_dir(key, source)
        with telling("write", final):
            final.parent.mkdir(parents=True, exist_ok=True)
            made = self._temporary(self.folder / "raw")
            made.mkdir()
            if report is not None:
                _put(f"{made}/report.json", report if isinstance(report, str) else json.dumps(report))
            if environment:
                _put(f"{made}/env.json", json.dumps(environment, default=str))
            if log_tail:
                _put(f"{made}/log.txt", log_tail)
            if requests is not None:
                _put(f"{made}/requests.json", requests)
            try:
                os.rename(made, final)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                shutil.rmtree(final)  # of a writer killed before it wrote the row
                os.rename(made, final)
        return final

    def _temporary(self, folder: Path) -> Path:
        return folder / f"{TEMPORARY}{secrets.token_hex(8)}"


_REPAIR = "restore it, or move it away: the command that wrote it writes it again"


def _put(path: str, text: str) -> None:
    """Write a new file; pathlib and buffers would take three times as long, and a row has three of these."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        left = memoryview(text.encode(errors="backslashreplace"))
        while left:
            left = left[os.write(handle, left) :]
    finally:
        os.close(handle)
