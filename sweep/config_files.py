"""Configuration files: read as UTF-8 in any locale, bounded, and named when they cannot be read.

Hydra's own errors about a file's text do not say which file it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.plugins.config_source import ConfigResult

from sweep.errors import UsageError

MOST_BYTES = 1_000_000
"""Of a file; the longest that ships has 6,000."""
MOST_VALUES = 10_000
"""Of a file, aliases written out: YAML makes 59,049 of 6 lines, and Hydra needs a millisecond for each."""
NULLS = ("", "~", "null", "Null", "NULL")


class NamedFiles(FileConfigSource):
    """Hydra's source of files, for which a text that cannot be read is an error that names the file."""

    def load_config(self, config_path: str) -> ConfigResult:
        """Read one file.

        Raises:
            UsageError: it is not UTF-8, too long, no mapping, or its first lines are none that Hydra knows.
        """
        path = Path(self.path) / self._normalize_file_name(config_path)
        if path.is_file():
            expect_mapping(read(path), path)
        try:
            return super().load_config(config_path)
        except ValueError as error:  # a number of 5,000 digits, a header that is none
            raise UsageError(f"{path}: {' '.join(str(error).split())}") from None


def use() -> None:
    """Have Hydra read files through NamedFiles."""
    SourcesRegistry.instance().types[NamedFiles.scheme()] = NamedFiles  # register() would keep Hydra's own


def read(path: Path) -> str:
    """Return the text of a YAML file.

    Raises:
        UsageError: it is too long, not UTF-8, or has too many values.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UsageError(f"{path} has more than {MOST_BYTES:,} bytes, too many for a configuration file")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path} is not UTF-8: line {line} has the byte 0x{content[error.start]:02x}") from None
    if _values(text) > MOST_VALUES:
        raise UsageError(f"{path} has more than {MOST_VALUES:,} values, aliases (*NAME) written out")
    return text


def load(path: Path) -> Any:
    """Return what a YAML file says, None where it is empty; raises as `read` does."""
    return yaml.safe_load(read(path))


def expect_mapping(text: str, path: Path) -> None:
    """Raise UsageError where a text is a list or plain text instead of keys with their values."""
    for event in _events(text):
        if isinstance(event, yaml.SequenceStartEvent) or (
            isinstance(event, yaml.ScalarEvent) and event.value not in NULLS
        ):
            raise UsageError(f"{path} is not a mapping: write KEY: VALUE on each line")
        if isinstance(event, yaml.NodeEvent):
            return


def _values(text: str) -> int:
    """Count the values of a YAML text as if each alias were written out, without writing them out."""
    open_: list[tuple[str | None, int]] = [(None, 0)]
    of_anchor: dict[str | None, int] = {}
    for event in _events(text):
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, 1))
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, count = open_.pop()
            of_anchor[anchor] = count
        elif isinstance(event, yaml.AliasEvent):
            count = of_anchor.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            count = 1
        else:
            continue
        outer, before = open_[-1]
        open_[-1] = (outer, before + count)
    return open_[0][1]


def _events(text: str) -> Any:
    """Yield the events of a YAML text up to its first mistake, which is reported where the text is loaded."""
    try:
        yield from yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return
