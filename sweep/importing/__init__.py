"""Files that people already have become rows: reports, logs, per-request records; packed or not, alone or in folders.

    files.py      which files there are, and what each is
    names.py      what their names say
    texts.py      the text in a file, whatever wrote or carried it
    entries.py    logs of which each line is an entry of JSON
    signs.py      what shows that a text is the log of a run
    pairs.py      which texts are of one run
    podlogs.py    the log of a pod of ours holds many runs
    appended.py   a file of many reports, one a line
    settings.py   what a report does not state: given, in the file's name, or null
    runs.py       one run's files become one outcome
    known.py      which runs a table holds already
    tables.py     rows land in a table, or are made again from its raw/

Each run is judged as one of our own: what was given counts as asked for, and the evidence is held against itself.
"""

from sweep.importing.files import find_runs
from sweep.importing.runs import Imported, read_runs
from sweep.importing.settings import Pattern, parse_setting
from sweep.importing.tables import add_to, reparse
from sweep.importing.value import FileKind, Run

__all__ = ["FileKind", "Imported", "Pattern", "Run", "add_to", "find_runs", "parse_setting", "read_runs", "reparse"]
