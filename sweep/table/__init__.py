"""The results table: its schema, its rows and the folder it lies in."""

from sweep.table.document import readme
from sweep.table.reading import load
from sweep.table.row import make_row
from sweep.table.schema import COLUMNS, SCHEMA_VERSION, Column, Source, Status, arrow_schema
from sweep.table.store import Record, Results, find_config

__all__ = [
    "COLUMNS",
    "SCHEMA_VERSION",
    "Column",
    "Record",
    "Results",
    "Source",
    "Status",
    "arrow_schema",
    "find_config",
    "load",
    "make_row",
    "readme",
]
