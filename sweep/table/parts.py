"""Parts on the disk: how one is written, named, listed and read, and which rows of several are one."""

from __future__ import annotations

import os
import secrets
import stat
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.errors import UsageError
from sweep.table.disk import replacing
from sweep.table.schema import KEY, SCHEMA_VERSION, VERSION_KEY, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

REPLACED = "part-replaced.parquet"
"""Empty file in a folder whose parts were merged: to a reader that is still listing it, it must not look like an empty
table. The name is in no other table folder, so the reader does not find the file, and starts again."""

_RELISTINGS = 20


def list_parts(folder: Path) -> list[Path]:
    """Return the parts in the order of writing; none where the folder is missing."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"cannot read {folder}: {error.strerror}") from error
    return [folder / name for name in sorted(names) if is_part(name)]


def is_part(name: str) -> bool:
    """Return whether a file of this name is a part; all else in a table's folder is the user's."""
    return name.startswith("part-") and name.endswith(".parquet")


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
        if not stat.S_ISREG(part.stat().st_mode):  # opening a FIFO would never end
            raise UsageError(f"{part} is not a regular file; move it away")
        with pq.ParquetFile(part) as file:
            refuse_newer(_version_of(file.schema_arrow, part), part)
            table = file.read(columns=schema.names, use_threads=False)
        if table.schema.names != schema.names or table.schema.types != schema.types:
            table = _in_types(table, schema, part)
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"cannot read {part}: {' '.join(str(error).split())}") from error
    return pa.Table.from_arrays(table.columns, schema=schema)


def _version_of(schema: pa.Schema, part: Path) -> int:
    version = (schema.metadata or {}).get(VERSION_KEY, b"")
    if not version.isdigit() or len(version) > 9:  # of bytes only ASCII digits are
        raise UsageError(f"{part} was not written by sweep; move it away")
    return int(version)


def _in_types(table: pa.Table, schema: pa.Schema, part: Path) -> pa.Table:
    """Return the table with the columns of the schema, in its types; what an older part lacks is null."""
    import pyarrow as pa

    columns = []
    for field in schema:
        if (count := table.schema.names.count(field.name)) > 1:
            raise UsageError(f"cannot read {part}: it has {count} columns {field.name}")
        if count == 0:
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        try:
            columns.append(table[field.name].cast(field.type))
        except pa.ArrowException as error:
            have = table.schema.field(field.name).type
            raise UsageError(f"cannot read {part}: its column {field.name} is {have}, not {field.type}") from error
    return pa.Table.from_arrays(columns, schema=schema)


def without_copies(table: pa.Table) -> pa.Table:
    """Return the rows without those that are the same as an earlier one in every column: a part was copied.

    Only rows of one attempt are compared whole, so that a large table costs little.
    """
    keys = zip(*(table[name].to_pylist() for name in (*KEY, "attempt")), strict=True)
    of_attempt: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    for number, key in enumerate(keys):
        of_attempt[key].append(number)
    several = [number for numbers in of_attempt.values() if len(numbers) > 1 for number in numbers]
    seen: set[str] = set()
    copies: set[int] = set()
    for number, row in zip(several, table.take(several).to_pylist() if several else (), strict=True):
        text = repr(row)  # in which NaN is NaN
        if text in seen:
            copies.add(number)
        seen.add(text)
    return table.take([number for number in range(table.num_rows) if number not in copies]) if copies else table


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
    """Write one part in one step, on disk when this returns."""
    import pyarrow.parquet as pq

    with replacing(path) as file:
        pq.write_table(table, file, use_dictionary=merged, write_statistics=merged)  # these only cost in small parts
