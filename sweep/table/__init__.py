"""The results table: its schema, its rows and the folder it lies in."""

from sweep.table.disk import write_file
from sweep.table.document import readme
from sweep.table.parts import list_parts
from sweep.table.reading import last_attempts, load
from sweep.table.row import Outcome, imported_row, make_row, remade_row
from sweep.table.schema import (
    COLUMNS,
    ENVIRONMENT,
    PREDICTED_BY,
    SCHEMA_VERSION,
    STATED,
    STATED_BY_POD,
    Column,
    Source,
    Status,
    Type,
    arrow_schema,
    columns_of,
    is_of,
)
from sweep.table.storable import shown, storable
from sweep.table.store import Record, Results, find_config

__all__ = [
    "COLUMNS",
    "ENVIRONMENT",
    "PREDICTED_BY",
    "SCHEMA_VERSION",
    "STATED",
    "STATED_BY_POD",
    "Column",
    "Outcome",
    "Record",
    "Results",
    "Source",
    "Status",
    "Type",
    "arrow_schema",
    "columns_of",
    "find_config",
    "imported_row",
    "is_of",
    "last_attempts",
    "list_parts",
    "load",
    "make_row",
    "readme",
    "remade_row",
    "shown",
    "storable",
    "write_file",
]
