"""Results tables become one typed DataFrame."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sweep.errors import UsageError, nearest
from sweep.table.parts import list_parts, read_parts
from sweep.table.schema import KEY, NAMES, pandas_metadata

if TYPE_CHECKING:
    import pandas as pd


def load(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    columns: Sequence[str] | None = None,
    attempts: Literal["last", "all"] = "last",
) -> pd.DataFrame:
    """Return the rows of one or more results tables as a typed DataFrame.

    Integers, booleans and texts are pandas' nullable Int64, boolean and string, times are UTC, all others float64 with
    NaN where nothing is known: the same dtypes as `pandas.read_parquet("results/NAME/table")`, also of empty columns.
    `results/README.md` says what each column means. Safe at any moment, also while a sweep runs or compacts.

    Args:
        paths: a folder `results/NAME`, several, or a glob such as `results/ds_r1_*`.
        columns: only these, in this order; all by default.
        attempts: "last" keeps the last row of each repeat of a point, "all" keeps the failed tries before it too.

    Raises:
        UsageError: a path is no results table, a column does not exist, a part is damaged or of a newer sweep.

    Example:
        >>> df = load("results/ds_r1_grid")                                             # doctest: +SKIP
        >>> df[df.status == "ok"].groupby("concurrency").output_tput_per_gpu.max()      # doctest: +SKIP
    """
    import pyarrow as pa

    names = list(NAMES if columns is None else columns)
    for name in names:
        if name not in NAMES:
            raise UsageError(f"the table has no column {name}{nearest(name, NAMES)}")
    if attempts not in ("last", "all"):
        raise UsageError(f'attempts must be "last" or "all", not {attempts!r}')
    read = list(dict.fromkeys([*names, *KEY] if attempts == "last" else names))
    table = pa.concat_tables([read_parts(folder, read) for folder in _tables(paths)])
    df: pd.DataFrame = table.replace_schema_metadata({"pandas": pandas_metadata(read)}).to_pandas()
    if attempts == "last":
        df = df.drop_duplicates(list(KEY), keep="last", ignore_index=True)
    return df[names]


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
    return list(dict.fromkeys(found))


def _table_of(path: Path) -> Path | None:
    if (path / "table").is_dir() or (path / "sweep.json").is_file():
        return path / "table"
    return path if path.is_dir() and list_parts(path) else None
