"""The results table: its schema, its rows and the folder it lies in."""

from sweep.table.document import readme
from sweep.table.parts import list_parts, write_file
from sweep.table.reading import last_attempts, load
from sweep.table.row import Outcome, imported_row, make_row, remade_row
from sweep.table.schema import COLUMNS, ENVIRONMENT, SCHEMA_VERSION, Column, Source, Status, arrow_schema, columns_of
from sweep.table.store import Record, Results, find_config

__all__ = [
    "COLUMNS",
    "ENVIRONMENT",
    "SCHEMA_VERSION",
    "Column",
    "Outcome",
    "Record",
    "Results",
    "Source",
    "Status",
    "arrow_schema",
    "columns_of",
    "find_config",
    "imported_row",
    "last_attempts",
    "list_parts",
    "load",
    "make_row",
    "readme",
    "remade_row",
    "write_file",
]
