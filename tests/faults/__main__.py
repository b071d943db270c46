"""Kill sweeps at every instant and see that nothing is lost, doubled or left: python -m tests.faults --seeds 20."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from tests.faults import cluster_schedule, schedule
from tests.faults.cluster import OnCluster, control_plane
from tests.faults.commands import Nursery
from tests.faults.joined import ray_head
from tests.faults.model import Finding, Kind
from tests.faults.schedule import Command, InstantNames, Round
from tests.faults.simulated import Simulated
from tests.faults.trial import Outcome, Trial

BACKENDS = ("simulated", "cluster")
DRY_S = 120


def dry_pass(trial: Trial, commands: Iterable[Command]) -> InstantNames:
    """Let each command run undisturbed, and return the names of its instants.

    Raises:
        SystemExit: a command does not end well even so.
    """
    found = {}
    for command in commands:
        running = trial.begin(command, Round())
        if running.wait(DRY_S) != 0:
            raise SystemExit(f"{command} ends with {running.code()} although nothing is done to it:\n{running.err}")
        found[command] = sorted(set(running.instants))
    return found


def simulated(numbers: Sequence[int], folder: Path, jobs: int) -> Iterator[tuple[int, Outcome]]:
    """Carry out seeds on this machine, so many at a time."""
    nursery = Nursery()
    with ray_head(folder) as address:
        dry = Simulated(schedule=schedule.make(0, {}), folder=folder / "dry", nursery=nursery, address=address)
        dry.make_folders()
        instants = dry_pass(dry, (Command.RUN, Command.REDO, Command.COMPACT))

        def one(number: int) -> Outcome:
            made, place = schedule.make(number, instants), folder / str(number)
            return Simulated(schedule=made, folder=place, nursery=nursery, address=address).carry_out()

        yield from _all(one, numbers, jobs)


def on_cluster(numbers: Sequence[int], folder: Path, jobs: int) -> Iterator[tuple[int, Outcome]]:
    """Carry out seeds on a control plane with fake nodes, so many at a time."""
    nursery = Nursery()
    with control_plane(folder, jobs) as (cluster, free), ray_head(folder) as address:

        def trial(made: cluster_schedule.ClusterSchedule, name: str) -> OnCluster:
            return OnCluster(
                schedule=made,
                folder=folder / name,
                nursery=nursery,
                address=address,
                cluster=cluster,
                place=free.get(),
            )

        plain = replace(cluster_schedule.make(0, {}, ()), rounds=(Round(),), durable=True, again=False)
        dry = trial(plain, "dry")
        outcome = dry.carry_out()
        if outcome.findings:
            raise SystemExit(f"wrong although nothing is done to it: {outcome.findings}")
        instants = {Command.RUN: sorted(set(dry.instants))}
        free.put(dry.place)

        def one(number: int) -> Outcome:
            made = trial(cluster_schedule.make(number, instants, dry.requests), str(number))
            try:
                return made.carry_out()
            finally:
                free.put(made.place)

        yield from _all(one, numbers, jobs)


def _all(one: Callable[[int], Outcome], numbers: Sequence[int], jobs: int) -> Iterator[tuple[int, Outcome]]:
    """Carry out seeds, and give each outcome as it comes; what the harness itself cannot do is a finding too."""
    pool = ThreadPoolExecutor(jobs)
    try:
        begun = {pool.submit(one, number): number for number in numbers}
        for done in as_completed(begun):
            error = done.exception()
            if error is not None:
                said = f"the harness failed: {type(error).__name__}: {error}"
                yield begun[done], Outcome(findings=[Finding(kind=Kind.WRONG, message=said)])
            else:
                yield begun[done], done.result()
    finally:
        pool.shutdown(cancel_futures=True)


class Tally:
    """Counts what came of seeds, and prints a line for each."""

    def __init__(self, backend: str, *, verbose: bool) -> None:
        self.backend, self.verbose = backend, verbose
        self.seeds = self.faults = 0
        self.kinds: Counter[Kind] = Counter()
        self.struck: Counter[str] = Counter()
        self.began = time.monotonic()

    def add(self, number: int, outcome: Outcome) -> None:
        """Take the outcome of a seed."""
        self.seeds += 1
        self.faults += outcome.faults
        self.struck.update(outcome.struck)
        self.kinds.update(finding.kind for finding in outcome.findings)
        said = f"{len(outcome.findings)} FINDINGS" if outcome.findings else "ok"
        print(f"{self.backend} seed {number}: {outcome.faults} faults, {said}")
        if self.verbose or outcome.findings:
            print("\n".join(f"    {line}" for line in outcome.told))
        for finding in outcome.findings:
            print(f"    {finding.kind.upper()}: {finding.message}")
        if outcome.findings:
            print(f"    again: python -m tests.faults --backend {self.backend} --seed {number} -v --keep")
        sys.stdout.flush()

    def close(self) -> None:
        """Say how much was covered."""
        killed = f"drivers killed at {len(self.struck)} kinds of instants"
        wrong = self.kinds[Kind.WRONG]
        also = f", {wrong} other things wrong" if wrong else ""
        print(f"{self.backend}: {killed}, {time.monotonic() - self.began:.0f} s{also}")


def last_line(tallies: Sequence[Tally]) -> tuple[str, bool]:
    """Return what is printed last, and whether nothing is wrong."""
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
    tallies = []
    for backend in BACKENDS if options.backend == "both" else (options.backend,):
        tallies.append(tally := Tally(backend, verbose=options.verbose))
        folder = Path(f"/tmp/f{secrets.token_hex(2)}")  # short: sockets lie in it
        folder.mkdir(mode=0o700)
        try:
            for number, outcome in (simulated if backend == "simulated" else on_cluster)(numbers, folder, options.jobs):
                tally.add(number, outcome)
                if not outcome.findings and not options.keep:
                    for name in (f"{number}", f"t{number}"):
                        shutil.rmtree(folder / name, ignore_errors=True)
        finally:
            if options.keep or tally.kinds:
                print(f"kept: {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)
        tally.close()
    said, right = last_line(tallies)
    print(said)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
