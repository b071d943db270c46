"""Faults of the program itself, made on purpose: a harness that finds nothing in them proves nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def parts_in_place() -> None:
    """Write each part under its final name, so that a killed writer leaves half of one."""
    import pyarrow.parquet as pq

    from sweep.table.store import Results, _arrow_table

    def append(self: Results, rows: Sequence[Mapping[str, Any]]) -> Path | None:
        if not rows:
            return None
        part = self.table_dir / self._next_part()
        with part.open("wb") as file:
            pq.write_table(_arrow_table(rows), file)
            os.fsync(file.fileno())
        return part

    Results.append = append  # type: ignore[method-assign]


def no_lock() -> None:
    """Let anybody write at any time."""
    from sweep.table import lock

    @contextlib.contextmanager
    def hold(file: Path) -> Iterator[None]:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o666))
        yield

    lock.hold = hold


def no_cleaning() -> None:
    """Leave what killed writers left."""
    from sweep.table.store import Results

    Results._clean = lambda self: None  # type: ignore[method-assign]


def no_memory() -> None:
    """Plan as if the table were empty."""
    from sweep.table.store import Results

    Results.history = lambda self: []  # type: ignore[method-assign]


def other_numbers() -> None:
    """Let what goes on after a kill write the throughput per GPU of another layout."""
    from sweep.table.store import Results

    append = Results.append

    def wrong(self: Results, rows: Sequence[Mapping[str, Any]]) -> Path | None:
        again = any(self.table_dir.glob("part-*"))
        return append(self, [{**row, "output_tput_per_gpu": 1.0} if again else row for row in rows])

    Results.append = wrong  # type: ignore[method-assign]


def no_adoption() -> None:
    """Look away from what exists on the cluster, and put it on other Jobs."""
    from sweep import cluster
    from sweep.driver.steering import Steering

    cluster.take_stock = lambda cfg, sweep_id: ()
    Steering._dress = _with_other_names(Steering._dress)  # type: ignore[method-assign]


def _with_other_names(dress: Any) -> Any:
    """Return the function with names of Jobs that no earlier driver gave."""
    import secrets
    from dataclasses import replace

    def call(*arguments: Any) -> Any:
        word = secrets.token_hex(4)
        made = []
        deployments, said = dress(*arguments)
        for deployment in deployments:
            new = word + deployment.deployment_id[8:]
            texts = (text.replace(deployment.deployment_id, new) for text in deployment.objects)
            made.append(replace(deployment, deployment_id=new, objects=tuple(texts)))
        return tuple(made), said

    return call


def greedy_gc() -> None:
    """Delete every Job of the namespace."""
    from sweep.backends.gke import objects, stock

    objects.of_sweep = stock.of_sweep = lambda sweep_id: ""
