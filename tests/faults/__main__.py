"""Kill sweeps at every instant and see that nothing is lost, doubled or left: python -m tests.faults --seeds 20."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.faults import schedule
from tests.faults.commands import Nursery
from tests.faults.joined import ray_head
from tests.faults.model import Kind
from tests.faults.schedule import Command, InstantNames, Round
from tests.faults.simulated import Outcome, Seed

BACKENDS = ("simulated", "cluster")


def dry_pass(nursery: Nursery, address: str, folder: Path) -> InstantNames:
    """Let each command run undisturbed, and return the names of its instants.

    Raises:
        SystemExit: a command does not end well even so.
    """
    seed = Seed(schedule=schedule.make(0, {}), folder=folder, nursery=nursery, address=address)
    for path in (seed.temporary, folder / "results"):
        path.mkdir(parents=True)
    found = {}
    for command in (Command.RUN, Command.COMPACT):
        running = seed.begin(command, Round())
        if running.wait(120) != 0:
            raise SystemExit(f"{command} ends with {running.code()} although nothing is done to it:\n{running.err}")
        found[command] = sorted(set(running.instants))
    return found


def simulated(numbers: Sequence[int], folder: Path, jobs: int, tell: Callable[[int, Outcome, Seed], None]) -> None:
    """Carry out seeds on this machine, so many at a time."""
    nursery = Nursery()
    with ray_head(folder) as address:
        instants = dry_pass(nursery, address, folder / "dry")

        def one(number: int) -> tuple[Seed, Outcome]:
            made = schedule.make(number, instants)
            seed = Seed(schedule=made, folder=folder / str(number), nursery=nursery, address=address)
            return seed, seed.carry_out()

        with ThreadPoolExecutor(jobs) as pool:
            for done in as_completed([pool.submit(one, number) for number in numbers]):
                seed, outcome = done.result()
                tell(seed.schedule.seed, outcome, seed)


class Tally:
    """Counts what came of seeds, and prints a line for each."""

    def __init__(self, backend: str, *, verbose: bool, keep: bool) -> None:
        self.backend, self.verbose, self.keep = backend, verbose, keep
        self.seeds = self.faults = 0
        self.kinds: Counter[Kind] = Counter()
        self.struck: Counter[str] = Counter()
        self.began = time.monotonic()

    def add(self, number: int, outcome: Outcome, seed: Seed) -> None:
        """Take the outcome of a seed."""
        self.seeds += 1
        self.faults += outcome.faults
        self.struck.update(outcome.struck)
        self.kinds.update(finding.kind for finding in outcome.findings)
        said = "ok" if not outcome.findings else f"{len(outcome.findings)} FINDINGS"
        print(f"{self.backend} seed {number}: {outcome.faults} faults, {said}", flush=True)
        if self.verbose or outcome.findings:
            print("\n".join(f"    {line}" for line in outcome.told))
        for finding in outcome.findings:
            print(f"    {finding.kind.upper()}: {finding.message}")
        if outcome.findings:
            print(f"    again: python -m tests.faults --backend {self.backend} --seed {number} -v --keep")
        if self.keep:
            print(f"    kept: {seed.folder}")
        else:
            shutil.rmtree(seed.folder, ignore_errors=True)
        sys.stdout.flush()


def last_line(tallies: Iterable[Tally]) -> tuple[str, bool]:
    """Return what is printed last, and whether nothing is wrong."""
    tallies = list(tallies)
    kinds: Counter[Kind] = sum((tally.kinds for tally in tallies), Counter())
    seeds, faults = (sum(getattr(tally, name) for tally in tallies) for name in ("seeds", "faults"))
    said = f"{seeds} seeds run, {faults} faults injected, {kinds[Kind.LOST]} rows lost, "
    said += f"{kinds[Kind.DOUBLED]} rows doubled, {kinds[Kind.LEFT]} objects left"
    return said, not kinds.total()


def main() -> int:
    """Run the seeds that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many, from 0 on")
    parser.add_argument("--seed", type=int, action="append", help="only this one; may be given again")
    parser.add_argument("--backend", choices=(*BACKENDS, "both"), default="simulated")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="seeds at a time")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what is done in each seed")
    parser.add_argument("--keep", action="store_true", help="keep the seeds' folders")
    options = parser.parse_args()
    numbers = options.seed or list(range(options.seeds))
    folder = Path(f"/tmp/f{secrets.token_hex(2)}")  # short: sockets lie in it
    folder.mkdir(mode=0o700)
    tallies = []
    try:
        for backend in BACKENDS if options.backend == "both" else (options.backend,):
            tally = Tally(backend, verbose=options.verbose, keep=options.keep)
            tallies.append(tally)
            simulated(numbers, folder, options.jobs, tally.add)
            print(f"{backend}: killed at {len(tally.struck)} kinds of instants, {time.monotonic() - tally.began:.0f} s")
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    said, right = last_line(tallies)
    print(said)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
