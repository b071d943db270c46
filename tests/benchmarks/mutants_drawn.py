"""Draw which mutants of a session of cosmic-ray are tried; runs in its environment, for mutants.py.

python mutants_drawn.py SESSION [COUNT SEED PART PARTS]

Prints how many there are; skips all but COUNT of them, and of these all but a part.
"""

from __future__ import annotations

import ast
import functools
import random
import sys
from pathlib import Path
from typing import Any

from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import WorkerOutcome, WorkResult


@functools.cache
def annotations(module: Path) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return from where to where nothing is evaluated: annotations, and what only a type checker imports."""
    spans = []
    for node in ast.walk(ast.parse(module.read_text())):
        unused: list[Any] = []
        if isinstance(node, ast.arg | ast.AnnAssign):
            unused.append(node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            unused.append(node.returns)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            unused.append(node)
        spans += [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in unused if n is not None]
    return spans


def is_evaluated(mutation: Any) -> bool:
    """Return whether what a mutation changes is ever evaluated."""
    return not any(begin <= tuple(mutation.start_pos) <= end for begin, end in annotations(mutation.module_path))


def main() -> None:
    session, *drawn = sys.argv[1:]
    with use_db(session) as database:
        items = sorted(
            database.work_items, key=lambda item: (item.mutations[0].module_path, item.mutations[0].start_pos)
        )
        possible = [item for item in items if is_evaluated(item.mutations[0])]
        print(len(possible))
        if not drawn:
            return
        count, seed, part, parts = map(int, drawn)
        wanted = {item.job_id for item in random.Random(seed).sample(possible, min(count, len(possible)))[part::parts]}
        for item in items:
            if item.job_id not in wanted:
                database.set_result(item.job_id, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))


if __name__ == "__main__":
    main()
