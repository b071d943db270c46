"""Write the table's documentation to stdout."""

import sys

from sweep.table.document import readme

sys.stdout.write(readme())
