"""The numbers of an undisturbed measurement, which every ok row must have, whatever was done to the run meanwhile.

The stand-ins tell the report that the simulator makes of a point with linear step times, the simulated backend that of
the operator database: both are the same each time. Times of day, ids and what a start took are not compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sweep
from sweep import predict
from sweep.errors import UsageError
from sweep.outcome import conclude
from sweep.plan import Attempt
from sweep.point import SETTINGS, Model
from sweep.report import weigh
from sweep.simulate import simulate
from sweep.table import COLUMNS, Source, make_row
from sweep.table.schema import Group
from tests.faults.model import Measured, Numbers
from tests.standins import Linear

COMPARED = [column.name for column in COLUMNS if column.group in (Group.SETTING, Group.EFFECTIVE, Group.METRIC)]
"""Columns that follow from the point and its report."""


def undisturbed(attempts: Mapping[str, tuple[Attempt, Model]], source: Source) -> dict[str, Numbers]:
    """Return what an undisturbed measurement of each point gives, by point_id."""
    return {point_id: _undisturbed(attempt, model, source) for point_id, (attempt, model) in attempts.items()}


def _undisturbed(attempt: Attempt, model: Model, source: Source) -> Numbers:
    engine = predict.step_times(attempt.point, model) if source is Source.SIMULATED else Linear()
    settings = {name: getattr(attempt.point, name) for name in SETTINGS}
    row = make_row(
        sweep_id="",
        deployment=None,
        attempt=attempt,
        outcome=conclude(settings, weigh(report=simulate(attempt.point, model, engine)), model=model),
        source=source,
        backend="",
        started_at=datetime.now(UTC),
        ended_at=datetime.now(UTC),
        environment={},
    )
    return _numbers(row)


def measured(results: Path) -> list[Measured]:
    """Return the numbers of every ok row of a table, all attempts; none where it cannot be read, which readers tell."""
    try:
        frame = sweep.load(results, attempts="all")
    except UsageError:
        return []
    return [
        Measured(
            name=f"{row['point_id']} repeat {row['repeat']} attempt {row['attempt']}",
            point_id=row["point_id"],
            numbers=_numbers(row),
        )
        for row in frame.to_dict("records")
    ]


def _numbers(row: Mapping[Any, Any]) -> Numbers:
    return {name: _plain(row[name]) for name in COMPARED}


def _plain(value: Any) -> Any:
    """Return one spelling of what is null, in a row as in a DataFrame."""
    if value is None or value != value or str(value) == "<NA>":
        return None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else str(value)
