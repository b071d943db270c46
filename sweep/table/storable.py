"""A row that the table cannot hold becomes one that it can, and that says so.

Numbers and texts of a row come from reports, logs and pods. The readers check them; this is the last line behind them:
one value that is off costs its own row, never the rows beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweep.table.schema import COLUMNS, TYPES, Group, Status, Type, is_of

UNSTORABLE = "backend_error"
"""The failure_kind of such a row."""
MOST_NAMED = 5
"""Of many values that are refused so many are named."""
MOST_SHOWN = 60
"""Characters of a value in a message."""

_KEPT = frozenset(
    column.name
    for column in COLUMNS
    if column.group in (Group.IDENTITY, Group.SETTING, Group.TIME, Group.COST, Group.PROVENANCE)
    and column.name != "cost_usd_per_million_output_tokens"
) | {"exit_code", "log_path"}
"""What of such a row may stay: whose attempt it was, what it cost, where it ran; no figure of its report."""


def storable(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row; where a column cannot hold its value, a failed row of the same attempt that names the column."""
    refused = {name: value for name, value in row.items() if not is_of(TYPES[name], value)}
    if not refused:
        return dict(row)
    named = [f"{name} is {shown(value)}" for name, value in refused.items()][:MOST_NAMED]
    more = [f"{len(refused) - MOST_NAMED} more"] if len(refused) > MOST_NAMED else []
    kept = {name: row[name] if name not in refused else _mended(TYPES[name], row[name]) for name in _KEPT}
    about = {
        "status": Status.FAILED.value,
        "failure_kind": UNSTORABLE,
        "failure_message": f"the table cannot hold what was reported: {', '.join(named + more)}",
    }
    return dict.fromkeys(row) | kept | about


def shown(value: object) -> str:
    """Return a value as a message can show it: short, and whatever it is."""
    try:
        text = ascii(value)
    except (ValueError, RecursionError):  # of integers Python writes at most 4300 digits
        text = f"a {type(value).__name__} that cannot be written out"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def _mended(kind: Type, value: Any) -> Any:
    """Return what of a refused value can be kept: a text without what is not Unicode, so that an identity stays one."""
    return value.encode("utf-8", "replace").decode() if kind is Type.STRING and isinstance(value, str) else None
