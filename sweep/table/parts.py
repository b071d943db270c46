"""Parts on the disk: how one is written, named, listed and read, and how two folders of them are exchanged.

What the operating system refuses is the user's to mend, so it is told as a UsageError with the path.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.errors import UsageError
from sweep.table.schema import SCHEMA_VERSION, VERSION_KEY, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

REPLACED = "part-replaced.parquet"
"""Empty file in a folder whose parts were merged: to a reader that is still listing it, it must not look like an empty
table. The name is in no other table folder, so the reader does not find the file, and starts again."""

TEMPORARY = ".tmp-"
"""Readers pass over names that begin with a dot, as pandas and Arrow do."""

_RELISTINGS = 20


def list_parts(folder: Path) -> list[Path]:
    """Return the parts in the order of writing; none where the folder is missing."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"cannot read {folder}: {error.strerror}") from error
    return [folder / name for name in sorted(names) if name.startswith("part-") and name.endswith(".parquet")]


def read_parts(folder: Path, names: Sequence[str]) -> pa.Table:
    """Return these columns of all parts, in the order of writing; a column that an older part lacks is null."""
    import pyarrow as pa

    schema = pa.schema([arrow_schema().field(name) for name in names])
    for _ in range(_RELISTINGS):
        try:
            parts = [_read_part(part, schema) for part in list_parts(folder)]
        except FileNotFoundError:  # the table was compacted after it was listed
            continue
        return pa.concat_tables([schema.empty_table(), *parts])
    raise UsageError(f"{folder} lists parts that are not there; is it being copied or synchronised?")


def _read_part(part: Path, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(part) as file:
            version = (file.schema_arrow.metadata or {}).get(VERSION_KEY)
            if version is None:
                raise UsageError(f"{part} was not written by sweep; move it away")
            refuse_newer(int(version), part)
            table = file.read(columns=schema.names, use_threads=False)
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"cannot read {part}: {' '.join(str(error).split())}") from error
    if table.schema.names == schema.names and table.schema.types == schema.types:
        return pa.Table.from_arrays(table.columns, schema=schema)
    have = set(table.schema.names)
    columns = [
        table[field.name].cast(field.type) if field.name in have else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def refuse_newer(version: int, path: Path) -> None:
    """Raise UsageError where the file is of a newer sweep than this one."""
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"{path} has schema version {version}, this sweep reads up to {SCHEMA_VERSION}: upgrade sweep to read it"
        )


def part_name(stamp: int) -> str:
    """Return a name that sorts by `stamp`, nanoseconds since 1970, and was never used before."""
    return f"part-{stamp:019d}-{secrets.token_hex(4)}.parquet"


def stamp_of(part: Path) -> int:
    """Return the stamp in a part's name."""
    digits = part.name.split("-")[1]
    return int(digits) if digits.isdecimal() else 0


def write_part(path: Path, table: pa.Table, *, merged: bool) -> None:
    """Write one part, on disk when this returns."""
    import pyarrow.parquet as pq

    with path.open("wb") as file:
        pq.write_table(table, file, use_dictionary=merged, write_statistics=merged)  # these only cost in small parts
        file.flush()
        os.fsync(file.fileno())


def write_file(path: Path, text: str) -> None:
    """Put a text into a file in one step: a reader sees the old one or the new one.

    Raises:
        UsageError: the folder does not exist or cannot be written.
    """
    with telling("write", path):
        for last in (False, True):
            made = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}"
            made.write_text(text, encoding="utf-8", errors="backslashreplace")
            try:
                os.replace(made, path)
                return
            except FileNotFoundError:  # a run began just now, and cleaned up after killed writers
                if last:
                    raise
            except OSError:
                made.unlink(missing_ok=True)
                raise


def sync(folder: Path) -> None:
    """Make what was renamed in a folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def exchange(one: Path, other: Path) -> None:
    """Swap two folders of one file system atomically; Python has no name for it."""
    at_cwd, swap = -100, 2  # AT_FDCWD; RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
    first, second = os.fsencode(one), os.fsencode(other)
    libc, on_mac = ctypes.CDLL(None, use_errno=True), sys.platform == "darwin"
    rename = getattr(libc, "renamex_np" if on_mac else "renameat2", None)
    if rename is not None:
        if rename(*((first, second, swap) if on_mac else (at_cwd, first, at_cwd, second, swap))) == 0:
            return
        if (number := ctypes.get_errno()) not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
            raise OSError(number, os.strerror(number), str(other))
    raise UsageError(f"the file system of {other} cannot exchange folders; copy the results to a local disk")


@contextlib.contextmanager
def telling(doing: str, path: Path) -> Iterator[None]:
    """Tell what the operating system refuses in one sentence."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        raise UsageError(f"cannot {doing} {path}: {error.strerror or error} ({where})") from error
