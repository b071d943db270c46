"""Results tables become one typed DataFrame."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sweep.errors import UsageError, nearest
from sweep.table.parts import list_parts, read_parts
from sweep.table.schema import KEY, NAMES, Status, pandas_metadata

if TYPE_CHECKING:
    import pandas as pd


def load(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    columns: Sequence[str] | None = None,
    attempts: Literal["last", "all"] = "last",
    status: str | Collection[str] = "ok",
) -> pd.DataFrame:
    """Return the rows of one or more results tables as a typed DataFrame; only those that are ok unless asked.

    Integers, booleans and texts are pandas' nullable Int64, boolean and string, times are UTC, all others float64 with
    NaN where nothing is known: the same dtypes as `pandas.read_parquet("results/NAME/table")`, also of empty columns.
    `results/README.md` says what each column means. Safe at any moment, also while a sweep runs or compacts.

    Args:
        paths: a folder `results/NAME`, several, or a glob such as `results/ds_r1_*`.
        columns: only these, in this order; all by default.
        attempts: "last" keeps one row of each repeat of a point: the last; after one that is ok, a later attempt that
            failed or was left out (`run.redo`) says nothing of the number and does not take its place. "all" keeps all.
        status: "ok", another status or several of them, or "all". It is asked of the rows that `attempts` keeps: a
            repeat whose last report is invalid has no ok row. What is not ok has no number that may be used.

    Returns:
        One row per attempt, in the order of writing, numbered from 0.

    Raises:
        UsageError: a path is no results table, a column or status does not exist, a part is damaged or of a newer
            sweep.

    Example:
        An empty table is typed too:

        >>> import tempfile
        >>> from sweep.table import Results
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Results(folder).open_or_create()
        ...     load(folder, columns=["isl", "tps_per_user"]).dtypes.astype(str).to_dict()
        {'isl': 'Int64', 'tps_per_user': 'float64'}
    """
    import pyarrow as pa

    names = list(NAMES if columns is None else columns)
    for name in names:
        if name not in NAMES:
            raise UsageError(f"the table has no column {name}{nearest(name, NAMES)}")
    if attempts not in ("last", "all"):
        raise UsageError(f'attempts must be "last" or "all", not {attempts!r}')
    wanted = _statuses(status)
    read = list(dict.fromkeys([*names, *KEY, "status"]))
    table = pa.concat_tables([read_parts(folder, read) for folder in _tables(paths)])
    df: pd.DataFrame = table.replace_schema_metadata({"pandas": pandas_metadata(read)}).to_pandas()
    if attempts == "last":
        df = last_attempts(df)
    if wanted is not None:
        df = df[df["status"].isin(wanted)].reset_index(drop=True)
    return df[names]


def last_attempts(df: pd.DataFrame) -> pd.DataFrame:
    """Return the row of each repeat of a point that counts: see `load`."""
    import pandas as pd

    keys = list(KEY)
    says_nothing = df["status"].isin([Status.FAILED, Status.SKIPPED])
    said = df[~says_nothing].drop_duplicates(keys, keep="last")
    has_number = pd.MultiIndex.from_frame(said.loc[said["status"] == Status.OK, keys])
    hidden = says_nothing & pd.MultiIndex.from_frame(df[keys]).isin(has_number)
    return df[~hidden].drop_duplicates(keys, keep="last", ignore_index=True)


def _statuses(status: str | Collection[str]) -> list[str] | None:
    """Return which statuses are wanted; None for all."""
    if status == "all":
        return None
    wanted = [status] if isinstance(status, str) else list(status)
    for name in wanted:
        if name not in list(Status):
            raise UsageError(f'status {name!r} is none of {", ".join(Status)} and "all"{nearest(name, Status)}')
    return wanted


def _tables(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    found: list[Path] = []
    for path in [os.fspath(path) for path in given]:
        matches = [path] if os.path.exists(path) or not glob.has_magic(path) else sorted(glob.glob(path))
        tables = [table for match in matches if (table := _table_of(Path(match))) is not None]
        if not tables:
            raise UsageError(f"{path} is no results table; give a folder such as results/NAME")
        found += tables
    if not found:
        raise UsageError("no results table was given")
    of_folder: dict[str, Path] = {}  # one folder may be spelled in several ways
    for table in found:
        of_folder.setdefault(os.path.realpath(table), table)
    return list(of_folder.values())


def _table_of(path: Path) -> Path | None:
    if (path / "table").is_dir() or (path / "sweep.json").is_file():
        return path / "table"
    return path if path.is_dir() and list_parts(path) else None
