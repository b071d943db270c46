"""Trials on this machine: drivers with the simulated backend, or a stand-in for it, are killed and go on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from sweep.table import Source
from tests.faults import numbers, watch
from tests.faults.backend import FAILING_KIND, read_spans
from tests.faults.commands import LOOK_S, Running, kill
from tests.faults.disk import Disk
from tests.faults.model import Expected, judge_holders, judge_numbers, judge_rows
from tests.faults.schedule import OPTIONS, Command, Fault, Round, Schedule
from tests.faults.trial import Outcome, Trial

RAY_GRACE_S = 90.0
"""Ray's agents notice only after a while that the raylet was killed that had just started them."""
CONF = Path(__file__).parent / "conf"


@dataclass(slots=True, kw_only=True)
class Simulated(Trial):
    """One schedule on this machine."""

    schedule: Schedule

    @property
    def fresh(self) -> bool:
        return self.schedule.own_ray

    @property
    def spans(self) -> Path:
        return self.folder / "spans"

    def carry_out(self) -> Outcome:
        """Do all of it, and judge."""
        self.make_folders()
        small = any(round.fault in (Fault.FULL, Fault.READ_ONLY) for round in self.schedule.rounds)
        with Disk(self.folder / "results", small=small) as disk, watch.Reader(self.results) as reader:
            for number, round in enumerate(self.schedule.rounds, 1):
                reader.compacting = Command.COMPACT in (round.command, round.rival)
                before = self.faults
                self._carry_out(round, disk)
                reader.look()
                self.redone.note(round, self.results / "redo.json")
                self.tell(number, round, before)
            rows = reader.look()
            self.findings += reader.findings
            self.findings += judge_rows(self._expected(), rows)
            self.findings += judge_holders(read_spans(self.spans))
            source = Source.SIMULATED if self.schedule.predicted else Source.MEASURED
            self.findings += judge_numbers(numbers.undisturbed(self.attempts(), source), numbers.measured(self.results))
            self.findings += watch.missing_evidence(self.results, rows, source)
            self.findings += watch.leftover_files(self.results)
        self.findings += watch.soon(self._processes, RAY_GRACE_S if self.schedule.own_ray else watch.GRACE_S)
        if self.schedule.own_ray and any(self.temporary.iterdir()):  # the next Ray clears what a killed one left
            self.end(self.begin(Command.OTHER, Round()), Round(command=Command.OTHER))
        self.findings += watch.leftover_entries(self.temporary)
        return self.outcome()

    def arguments(self, command: Command) -> list[str]:
        """Return the words of a command line."""
        if command is Command.COMPACT:
            return ["compact", str(self.results)]
        values = list(self.schedule.concurrencies)
        if command is Command.PART:
            values = values[::2]
        if command is Command.OTHER:
            values = [5]
        backend = ["backend=simulated"]
        if not self.schedule.predicted:
            failing = self.schedule.concurrencies[0] if self.schedule.failing else "null"
            seconds = 0.1 if self.schedule.own_ray else 0.02
            backend = ["--config-dir", str(CONF), "backend=faults", f"backend.seconds={seconds}"]
            backend += [f"backend.spans={self.spans}", f"backend.fail_at={failing}"]
        return [
            "status" if command is Command.STATUS else "run",
            *OPTIONS.get(command, ()),
            "+experiment=smoke",
            *backend,
            f"matrix.grid.concurrency=[{','.join(map(str, values))}]",
            f"run.repeats={self.schedule.repeats}",
            f"ray.actors={self.schedule.actors}",
            f"results_dir={self.folder / ('other' if command is Command.OTHER else 'results')}",
            *([] if self.schedule.own_ray else [f"ray.address={self.address}"]),
        ]

    def environment(self) -> dict[str, str | None]:
        own = {"RAY_AUTH_MODE": None, "RAY_AUTH_TOKEN": None} if self.schedule.own_ray else {}
        return Trial.environment(self) | own

    def _carry_out(self, round: Round, disk: Disk) -> None:
        self.faults += bool(round.clock_s)
        match round.fault:
            case Fault.FULL:
                with disk.full_after(round.pages):
                    self._end(self.begin(round.command, round), round, (2,), "space left")
            case Fault.READ_ONLY:
                with disk.read_only():
                    self._end(self.begin(round.command, round), round, (2,), "Read-only")
            case Fault.LONG:
                self._end(self.begin(round.command, round), round, (2,), "File too large")
            case Fault.RIVAL:
                self.rival(round)
            case Fault.ACTOR:
                self._end(running := self.begin(round.command, round), round, self._kill_actor(running, round))
            case Fault.RAY:
                self._end(running := self.begin(round.command, round), round, self._kill_ray(running, round))
            case _:
                empty = round.command is Command.COMPACT and not (self.results / "table").is_dir()
                running = self.begin(round.command, round)
                self._end(running, round, (*self.disturb(running, round), *((2,) if empty else ())))

    def _end(self, running: Running, round: Round, codes: tuple[int, ...] = (), *words: str) -> None:
        self.end(running, round, codes, words, failing=self.schedule.failing)

    def _kill_actor(self, running: Running, round: Round) -> tuple[int, ...]:
        """Kill the process that begins the so-maniest point from now on."""
        begun = sum(1 for _ in read_spans(self.spans))
        while running.code() is None:
            spans = list(read_spans(self.spans))
            if len(spans) >= begun + round.point:
                self.faults += kill(int(spans[-1].holder.split()[1]))
                break
            time.sleep(LOOK_S)
        return ()

    def _kill_ray(self, running: Running, round: Round) -> tuple[int, ...]:
        """Kill one of Ray's processes a while after it has begun; the run may end by that, but it ends."""
        mine: list[int] = []
        while running.code() is None and not mine:
            mine = [pid for pid, said in self.children().items() if round.process in said]
            time.sleep(10 * LOOK_S)
        if running.wait(round.moment_s) is None:
            self.faults += bool([pid for pid in mine if kill(pid)])
        return (1, 2)  # 1: where Ray finds its own processes gone, it ends the driver itself

    def _expected(self) -> Expected:
        """Return what the last command asks for."""
        points = [
            (attempt.point, (point_id, repeat))
            for point_id, (attempt, _) in self.attempts().items()
            for repeat in range(1, self.schedule.repeats + 1)
        ]
        failing = self.schedule.concurrencies[0] if self.schedule.failing else None
        return Expected(
            points=frozenset(name for _, name in points),
            failing={name: FAILING_KIND for point, name in points if point.concurrency == failing},
            times=(1 + self.redone.least, 1 + self.redone.most),
        )

    def _processes(self) -> list[str]:
        """Name what still runs of this trial."""
        actors = {int(span.holder.split()[1]) for span in read_spans(self.spans)}
        started = self.children() | {pid: "actor of the pool" for pid in actors if watch.is_alive(pid)}
        return [f"process {pid}: {said[:150]}" for pid, said in sorted(started.items())]
