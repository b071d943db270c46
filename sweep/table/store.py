"""One results table, and reading it back.

    results/NAME/
        sweep.json                  the sweep's id, made once
        table/part-*.parquet        immutable parts, in the order of their names
        redo.json                   a `run.redo` that has begun and not ended
        run.lock                    one writer
        ...                         what lies beside the rows: folder.py

What readers may rely on, at any moment, also while a writer is killed: each part is complete, and once a part is
there its rows stay. `pandas.read_parquet("results/NAME/table")` works from the first moment on, because a new table
starts with an empty part. `compact` swaps folders in one step: a reader sees the old parts or the merged one. A reader
that has listed the old parts and opens one after the swap does not find it; `load` then starts again, a plain
pandas.read_parquet raises FileNotFoundError. No reader can see rows twice, or miss some.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sweep.errors import UsageError, nearest
from sweep.table import lock
from sweep.table.disk import TEMPORARY, exchange, sync, telling
from sweep.table.folder import Folder
from sweep.table.parts import (
    REPLACED,
    is_part,
    list_parts,
    part_name,
    read_parts,
    refuse_newer,
    stamp_of,
    without_copies,
    write_part,
)
from sweep.table.reading import load
from sweep.table.schema import NAMES, SCHEMA_VERSION, Source, arrow_schema
from sweep.table.storable import storable

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_TABLE = f"{TEMPORARY}table-"
"""How a folder is called before it is the table, and after."""
_SWEEP_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
"""What an id can be: labels of Jobs and folders on a volume are called by it."""


class Record(NamedTuple):
    """What resuming needs to know of a row."""

    point_id: str
    source: str
    repeat: int
    attempt: int
    status: str
    simulator_version: str | None
    db_version: str | None
    predicted_as: str | None
    failure_kind: str | None
    failure_message: str | None
    node: str | None
    deployment_id: str | None
    ended_at: datetime | None
    gpu_hours: float | None
    gpus_held: int | None
    bench_s: float | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Record:
        """Return what is asked of a row that was just written."""
        return cls(*(row[name] for name in cls._fields))


class Results(Folder):
    """One sweep's folder: its id, its only writer, its table."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._locked = False
        self._last_stamp = 0

    @property
    def table_dir(self) -> Path:
        return self.folder / "table"

    @property
    def lock_file(self) -> Path:
        return self.folder / "run.lock"

    @property
    def sweep_file(self) -> Path:
        return self.folder / "sweep.json"

    # ------------------------------------------------------------------------------------------------------ identity

    def exists(self) -> bool:
        """Return whether there is a sweep here: its id, or its table.

        Raises:
            UsageError: the folder cannot be read.
        """
        with telling("read", self.folder):
            return self.sweep_file.exists() or self.table_dir.is_dir()

    def expect_table(self) -> None:
        """Refuse a folder without a table: its subfolder of that name may be anything of the user's.

        Raises:
            UsageError: there is no part, not even the empty one that each table begins with.
        """
        if not list_parts(self.table_dir):
            raise UsageError(f"{self.folder} holds no table (there is no {self.table_dir}/part-*.parquet)")

    def open_or_create(self) -> str:
        """Return the sweep's id; the first call makes the folder, the id and an empty table.

        Where the id is missing beside rows, it is taken from them and written again: Jobs on a cluster carry it.

        Raises:
            UsageError: the folder cannot be made or read, or is of a newer sweep; or there are rows without one id.
        """
        with telling("read", self.folder):
            is_whole = self.table_dir.is_dir() and self.sweep_file.is_file()
        if not is_whole:
            with self._writing(), telling("create", self.folder):
                self._create()
        return self.sweep_id

    @property
    def sweep_id(self) -> str:
        """The id in sweep.json; where that file is missing, the one that all rows have.

        Raises:
            UsageError: there is none yet, it cannot be read, or is of a newer sweep.
        """
        with telling("read", self.folder):
            is_lost = not os.path.lexists(self.sweep_file) and self.table_dir.is_dir()
        if is_lost:
            return self._id_of_rows()
        about = self._noted(self.sweep_file) or {}
        version, sweep_id = about.get("schema_version"), about.get("sweep_id")
        if type(version) is int and version > 0:
            refuse_newer(version, self.sweep_file)
            if isinstance(sweep_id, str) and _SWEEP_ID.fullmatch(sweep_id):
                return sweep_id
        raise UsageError(f"{self.sweep_file} is damaged; restore it, or delete it: the rows know its id")

    def _id_of_rows(self) -> str:
        column = read_parts(self.table_dir, ["sweep_id"]).column(0)
        ids = [sweep_id for sweep_id in column.unique().to_pylist() if sweep_id is not None]
        if len(ids) == 1 and _SWEEP_ID.fullmatch(ids[0]):
            return str(ids[0])
        have = f"rows of {len(ids)} sweeps ({', '.join(sorted(ids)[:5])})" if ids else "no row"
        raise UsageError(
            f"{self.sweep_file} is missing, and {self.table_dir} has {have} to take the sweep's id from; restore the"
            " file, or start under a new name"
        )

    def begin_redo(self, said: str | None) -> int:
        """Return how many rows there were when this `run.redo` began: now, or when a command that was killed began it.

        None says that nothing is to be measured again, which ends one that was left.

        Raises:
            UsageError: the folder cannot be written.
        """
        if (begun := self.redo_since(said)) is not None:
            return begun
        rows = len(self.history())
        if said is None:
            self.end_redo()
        else:
            self._note(self._redo_file, {"said": said, "rows": rows})
        return rows

    def redo_since(self, said: str | None) -> int | None:
        """Return how many rows there were when this `run.redo` began; None where it has not, or has ended."""
        if said is None:
            return None
        with telling("read", self._redo_file):
            if not self._redo_file.exists():
                return None
        begun = self._noted(self._redo_file) or {}
        rows = begun.get("rows")
        return rows if begun.get("said") == said and type(rows) is int and rows >= 0 else None

    def end_redo(self) -> None:
        """Take note that all was measured again."""
        with telling("remove", self._redo_file):
            self._redo_file.unlink(missing_ok=True)

    @property
    def _redo_file(self) -> Path:
        return self.folder / "redo.json"

    def _create(self) -> None:
        if not os.path.lexists(self.sweep_file):
            about = {
                "schema_version": SCHEMA_VERSION,
                "sweep_id": self._id_of_rows() if self.table_dir.is_dir() else secrets.token_hex(6),
                "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            self._note(self.sweep_file, about)
        if not self.table_dir.is_dir():
            made = self._new_table()
            write_part(made / part_name(0), arrow_schema().empty_table(), merged=False)
            os.rename(made, self.table_dir)
        sync(self.folder)

    # ---------------------------------------------------------------------------------------------------------- lock

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only writer; ends with the block, or with the process however it dies.

        Raises:
            UsageError: another writer has it; the message names its pid, host, begin and command.
        """
        with telling("lock", self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with lock.hold(self.lock_file):
            with telling("write", self.folder):
                self._clean()
                self._last_stamp = max((stamp_of(part) for part in list_parts(self.table_dir)), default=0)
            self._locked = True
            try:
                yield
            finally:
                self._locked = False

    def holder(self) -> str | None:
        """Return who is writing, for example `pid 123 on host since 2026-01-31T12:00:00+00:00 (...)`; None if nobody.

        Raises:
            UsageError: the folder cannot be read.
        """
        return lock.holder(self.lock_file)

    def _clean(self) -> None:
        """Remove what killed writers left; only the holder of the lock may."""
        for place in (self.folder, self.table_dir, self.folder / "configs", self.folder / "raw"):
            with contextlib.suppress(FileNotFoundError):
                for entry in list(os.scandir(place)):
                    if entry.name.startswith(_TABLE) and entry.is_dir(follow_symlinks=False):
                        self._move_along(Path(entry.path))
                    if entry.name.startswith(TEMPORARY):
                        shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)

    def _move_along(self, folder: Path) -> None:
        """Move what users put into a table's folder into the one that took its place."""
        foreign = [name for name in os.listdir(folder) if not (is_part(name) or name.startswith(TEMPORARY))]
        for name in foreign:
            self.table_dir.mkdir(exist_ok=True)
            free = name if not os.path.lexists(self.table_dir / name) else f"{name}.{secrets.token_hex(4)}"
            os.rename(folder / name, self.table_dir / free)
        if foreign:
            sync(self.table_dir)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with contextlib.nullcontext() if self._locked else self.lock():
            yield

    # --------------------------------------------------------------------------------------------------------- parts

    def append(self, rows: Sequence[Mapping[str, Any]]) -> Path | None:
        """Write rows (of `make_row`) as one new part, on disk when this returns; no rows make no part.

        A row that the table cannot hold becomes one that says so (see `storable`), and the others are written as they
        are. Takes the lock for the moment where the caller does not hold it.

        Raises:
            UsageError: the folder cannot be written, or another writer has it.
        """
        if not rows:
            return None
        table = _arrow_table(rows)
        with self._writing(), telling("write", self.table_dir):
            self.table_dir.mkdir(exist_ok=True)
            part = self.table_dir / self._next_part()
            write_part(part, table, merged=False)
        return part

    def _next_part(self) -> str:
        self._last_stamp = max(time.time_ns(), self._last_stamp + 1)  # in order also where the clock was set back
        return part_name(self._last_stamp)

    def rows(self, names: Sequence[str] = NAMES) -> Iterator[dict[str, Any]]:
        """Yield every row with these columns, failed tries too, in the order of writing.

        Raises:
            UsageError: a part cannot be read, or is of a newer sweep.
        """
        for batch in read_parts(self.table_dir, names).to_batches(max_chunksize=1000):
            yield from batch.to_pylist()

    def replace(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Put these rows in the place of all that are there, in one step of the kernel; see `compact`.

        Raises:
            UsageError: the folder cannot be written, or this file system cannot exchange folders.
        """
        self._exchange(_arrow_table(rows))

    def compact(self) -> int:
        """Merge all parts into one and return how many there were; rows and their order stay as they are.

        Of rows that are the same in every column the first is kept: a part was copied. Other files in table/ stay.

        The merged part is written and synced into a new folder, which is then exchanged with the old one in a single
        step of the kernel. Killed before it, the old parts stand; after it, the merged one. The rest is removed here or
        by the next writer.

        Raises:
            UsageError: a run holds the lock, a part cannot be read, or this file system cannot exchange folders.
        """
        with self.lock():
            parts = list_parts(self.table_dir)
            if len(parts) <= 1:
                return len(parts)
            merged = without_copies(read_parts(self.table_dir, NAMES))
            self._exchange(merged.replace_schema_metadata(arrow_schema().metadata))
            return len(parts)

    def _exchange(self, table: pa.Table) -> None:
        """Swap in a folder with this table as its only part; the lock is held."""
        parts = list_parts(self.table_dir)
        with telling("compact", self.table_dir):
            made = self._new_table()
            write_part(made / self._next_part(), table, merged=True)
            exchange(made, self.table_dir)
            sync(self.folder)
            (made / REPLACED).touch()
            self._move_along(made)
            for part in parts:
                (made / part.name).unlink()

    def load(self, columns: Sequence[str] | None = None, last_attempt_only: bool = True) -> pd.DataFrame:
        """Return the rows of every status; see `sweep.table.load`."""
        return load(self.folder, columns=columns, attempts="last" if last_attempt_only else "all", status="all")

    def history(self) -> list[Record]:
        """Return what resuming needs to know of every row, in the order of writing. Reads no other column, no pandas.

        Raises:
            UsageError: a part cannot be read, or is of a newer sweep.
        """
        table = read_parts(self.table_dir, Record._fields)
        return [Record(*row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]

    def measured(self) -> set[tuple[str, int, int]]:
        """Return the attempts (point_id, repeat, number) that have a row and were not predicted."""
        rows = self.history()
        return {(row.point_id, row.repeat, row.attempt) for row in rows if row.source == Source.MEASURED}

    def _new_table(self) -> Path:
        made = self.folder / f"{_TABLE}{secrets.token_hex(4)}"
        made.mkdir()
        return made


def _arrow_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    known = frozenset(NAMES)
    for row in rows:
        if row.keys() != known:
            raise ValueError(f"a row must have every column and no other: {sorted(row.keys() ^ known)}")
    try:
        return _in_columns(rows)
    except (ArithmeticError, TypeError, ValueError):  # Arrow's own are among these
        return _in_columns([storable(row) for row in rows])


def _in_columns(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    import pyarrow as pa

    schema = arrow_schema()
    columns = [pa.array([row[field.name] for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def find_config(results_dir: Path, config_hash: str) -> dict[str, Any]:
    """Return the configuration that any sweep under `results_dir` kept under this hash.

    Raises:
        UsageError: there is none.
    """
    kept = {path.stem: path for path in sorted(Path(results_dir).glob("*/configs/*.yaml"))}
    if config_hash not in kept:
        raise UsageError(f"{results_dir} has no configuration {config_hash}{nearest(config_hash, kept)}")
    return Results(kept[config_hash].parent.parent).read_config(config_hash)
