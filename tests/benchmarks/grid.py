"""What a person waits for: --help, plan, the shipped grid from start to finished table, and the same command again.

python -m tests.benchmarks.grid
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.meter import measure

ROOT = Path(__file__).parent.parent.parent
GRID = "+experiment=ds_r1_grid"


def main() -> None:
    """Print one Markdown table; the commands run one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "`--help`": ["--help"],
            f"`plan {GRID}`": ["plan", GRID, f"results_dir={folder}"],
            f"`{GRID}`, start to finished table": [GRID, f"results_dir={folder}"],
            "the same command again": [GRID, f"results_dir={folder}"],
        }
        print(f"grid, {os.cpu_count()} CPUs\n")
        print("| command | wall s | CPU s | peak PSS MB | processes |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for label, arguments in commands.items():
            print(f"grid: {label}", file=sys.stderr)
            cost = measure([sys.executable, "-m", "sweep", *arguments], cwd=ROOT)
            if cost.exit_code:
                raise SystemExit(f"{label} ended with {cost.exit_code}:\n{cost.output}")
            print(
                f"| {label} | {cost.wall_s:.2f} | {cost.cpu_s:.2f} | {cost.peak_pss_mb:.0f} | {cost.peak_processes} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
