"""Seeds on this machine: drivers with the simulated backend, or a stand-in for it, are killed and go on."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweep import composition, matrix
from sweep.table import Source
from tests.faults import watch
from tests.faults.backend import read_spans
from tests.faults.child import Order
from tests.faults.commands import LOOK_S, Nursery, Running, kill
from tests.faults.disk import Disk
from tests.faults.model import Expected, Finding, Kind, judge_ending, judge_holders, judge_rows
from tests.faults.schedule import Command, Fault, Round, Schedule

CONF = Path(__file__).parent / "conf"
END_S = 240.0
"""A command that has not ended after so long hangs."""
MARK = "SWEEP_FAULTS_SEED"
KEPT = (0, 3)
"""Exit codes of a run that came to its end."""
HOLDING = 5
"""After so many instants a driver has the lock and has said so in it."""
_COMPOSING = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a seed: what was done to it, and what is wrong.

    struck: the instants at which a driver was killed.
    """

    faults: int
    findings: Sequence[Finding]
    struck: Sequence[str]
    told: Sequence[str]


@dataclass(slots=True)
class Seed:
    """One schedule, carried out in a folder of its own; `address` is of the Ray that runs, with how to join it."""

    schedule: Schedule
    folder: Path
    nursery: Nursery
    address: str
    sabotage: Callable[[], None] | None = None
    findings: list[Finding] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    struck: list[str] = field(default_factory=list)
    faults: int = 0
    begun: int = 0

    @property
    def results(self) -> Path:
        return self.folder / "results" / "smoke"

    @property
    def temporary(self) -> Path:
        return self.folder.parent / f"t{self.folder.name}"  # short: sockets lie in it

    @property
    def spans(self) -> Path:
        return self.folder / "spans"

    @property
    def mark(self) -> str:
        return f"{self.folder.parent.name}-{self.schedule.seed}"

    def carry_out(self) -> Outcome:
        """Do all of it, and judge."""
        for path in (self.folder, self.temporary, self.folder / "results"):
            path.mkdir(parents=True)
        small = any(round.fault in (Fault.FULL, Fault.READ_ONLY) for round in self.schedule.rounds)
        with Disk(self.folder / "results", small=small) as disk, watch.Reader(self.results) as reader:
            for number, round in enumerate(self.schedule.rounds, 1):
                reader.compacting = Command.COMPACT in (round.command, round.rival)
                before = self.faults
                self._carry_out(round, disk)
                reader.look()
                done = "" if self.faults > before or round.fault is Fault.NONE else " (came too late)"
                self.told.append(f"{number}. {round}{done}")
            rows = reader.look()
            self.findings += reader.findings
            self.findings += judge_rows(self._expected(), rows)
            self.findings += judge_holders(read_spans(self.spans))
            source = Source.SIMULATED if self.schedule.predicted else Source.MEASURED
            self.findings += watch.missing_evidence(self.results, rows, source)
            self.findings += watch.leftover_files(self.results)
        self.findings += watch.soon(self._processes)
        self.findings += watch.leftover_entries(self.temporary)
        return Outcome(faults=self.faults, findings=self.findings, struck=self.struck, told=self.told)

    # ------------------------------------------------------------------------------------------------------- commands

    def arguments(self, command: Command) -> list[str]:
        """Return the words of a command line."""
        if command is Command.COMPACT:
            return ["compact", str(self.results)]
        values = list(self.schedule.concurrencies)
        if command is Command.PART:
            values = values[::2]
        backend = ["backend=simulated"]
        if not self.schedule.predicted:
            failing = self.schedule.concurrencies[0] if self.schedule.failing else "null"
            backend = ["--config-dir", str(CONF), "backend=faults"]
            seconds = 0.1 if self.schedule.own_ray else 0.02
            backend += [f"backend.spans={self.spans}", f"backend.fail_at={failing}", f"backend.seconds={seconds}"]
        return [
            "status" if command is Command.STATUS else "run",
            "+experiment=smoke",
            *backend,
            f"matrix.grid.concurrency=[{','.join(map(str, values))}]",
            f"run.repeats={self.schedule.repeats}",
            f"ray.actors={self.schedule.actors}",
            f"results_dir={self.folder / 'results'}",
            *([] if self.schedule.own_ray else [f"ray.address={self.address}"]),
        ]

    def begin(self, command: Command, round: Round) -> Running:
        """Begin a command line."""
        self.begun += 1
        name = self.folder / f"{self.begun}-{command.name.lower()}"
        environment: dict[str, str | None] = {"TMPDIR": str(self.temporary), MARK: self.mark}
        if self.schedule.own_ray:
            environment |= {"RAY_AUTH_MODE": None, "RAY_AUTH_TOKEN": None}
        order = Order(
            arguments=self.arguments(command),
            folder=self.results,
            out=name.with_suffix(".out"),
            err=name.with_suffix(".err"),
            log=name.with_suffix(".log"),
            environment=environment,
            strike=round.strike,
            sabotage=self.sabotage,
            clock_s=round.clock_s,
            file_bytes=round.pages * 4096 if round.fault is Fault.LONG else None,
        )
        running = self.nursery.begin(order, fresh=self.schedule.own_ray)
        running.wait_until_begun()
        return running

    # ---------------------------------------------------------------------------------------------------------- rounds

    def _carry_out(self, round: Round, disk: Disk) -> None:
        self.faults += bool(round.clock_s)
        match round.fault:
            case Fault.FULL:
                with disk.full_after(round.pages):
                    self._end(self.begin(round.command, round), round, codes=(2,), words=("space left",))
            case Fault.READ_ONLY:
                with disk.read_only():
                    self._end(self.begin(round.command, round), round, codes=(2,), words=("Read-only", "ermission"))
            case Fault.LONG:
                self._end(self.begin(round.command, round), round, codes=(2,), words=("File too large",))
            case Fault.RIVAL:
                self._rival(round)
            case _:
                empty = round.command is Command.COMPACT and not (self.results / "table").is_dir()
                running = self.begin(round.command, round)
                codes = (*self._disturb(running, round), *((2,) if empty else ()))
                self._end(running, round, codes)

    def _disturb(self, running: Running, round: Round) -> tuple[int, ...]:
        """Do to a command what the round says, and return the exit codes that this explains."""
        match round.fault:
            case Fault.INSTANT if round.strike is not None:
                return _codes_of(round.strike.signal)
            case Fault.MOMENT:
                running.wait(round.moment_s)
                running.send(signal.SIGKILL)
                return _codes_of(signal.SIGKILL)
            case Fault.SIGNAL:
                running.wait(round.moment_s)
                running.send(round.signal)
                return _codes_of(round.signal)
            case Fault.SLEEP:
                if running.wait(round.moment_s) is None:
                    running.send(signal.SIGSTOP)
                    time.sleep(3)
                    running.send(signal.SIGCONT)
                    self.faults += 1
            case Fault.ACTOR:
                begun = sum(1 for _ in read_spans(self.spans))
                while running.code() is None:
                    spans = list(read_spans(self.spans))
                    if len(spans) >= begun + round.point:
                        self.faults += kill(int(spans[-1].holder.split()[1]))
                        break
                    time.sleep(LOOK_S)
            case Fault.RAY:
                while running.code() is None and not (mine := self._of_ray(round.process)):
                    time.sleep(10 * LOOK_S)
                if running.wait(round.moment_s) is None:
                    self.faults += bool([pid for pid in mine if kill(pid)])
                return (2,)
        return ()

    def _rival(self, round: Round) -> None:
        """Begin a second command once the first holds the lock; it says who that is, and does no harm."""
        first = self.begin(round.command, round)
        while first.code() is None and len(first.instants) < HOLDING:
            time.sleep(LOOK_S)
        second = self.begin(round.rival, Round())
        code = second.wait(END_S)
        if code == 2 or round.rival is Command.STATUS:
            self.faults += 1
            told = second.out if round.rival is Command.STATUS else second.err
            if f"pid {first.pid} on " not in told and first.code() is None:
                said = f"{round.rival} beside a run does not name its pid {first.pid}: {told.strip()[-200:]}"
                self.findings.append(Finding(kind=Kind.WRONG, message=said))
        allowed = (*KEPT, 2) if first.code() is None else (*KEPT, 2, -signal.SIGKILL)
        self.findings += judge_ending(code, allowed, f"{round.rival} beside a run", second.err)
        self._end(first, round)

    def _end(self, running: Running, round: Round, codes: tuple[int, ...] = (), words: Sequence[str] = ()) -> None:
        """Wait for a command's end and judge it; `codes` are allowed too, 2 only if it says one of the words."""
        code = running.wait(END_S)
        if code is None:
            running.send(signal.SIGKILL)
            running.wait(10)
        if code in codes and round.fault is not Fault.RAY:
            self.faults += 1
            if code == -signal.SIGKILL:
                self.struck += running.instants[-1:]
        if code == 2 and words and not any(word in running.err for word in words):
            said = f"{round}: it does not say what is wrong: {running.err.strip()[-300:]}"
            self.findings.append(Finding(kind=Kind.WRONG, message=said))
        done = (0,) if round.fault is Fault.NONE and not self._expected().failing else KEPT
        self.findings += judge_ending(code, (*done, *codes), str(round), running.err)

    # ------------------------------------------------------------------------------------------------------- the world

    def _expected(self) -> Expected:
        """Return what the last command asks for."""
        with _COMPOSING:  # Hydra has one state for all
            cfg = composition.read(self.arguments(Command.RUN)[1:])
        assert cfg is not None
        points = [point for part in cfg.parts for point in matrix.expand(part.matrix, part.settings, part.model).points]
        repeats = range(1, self.schedule.repeats + 1)
        failing = self.schedule.concurrencies[0] if self.schedule.failing else None
        return Expected(
            points=frozenset((point.point_id, repeat) for point in points for repeat in repeats),
            failing={
                (p.point_id, repeat): "out_of_memory" for p in points for repeat in repeats if p.concurrency == failing
            },
        )

    def _children(self) -> dict[int, str]:
        """Return the processes that drivers of this seed have started, by process id."""
        return watch.processes_with(f"{MARK}={self.mark}\0")

    def _of_ray(self, name: str) -> list[int]:
        return [pid for pid, said in self._children().items() if name in said]

    def _processes(self) -> list[str]:
        """Name what still runs of this seed."""
        actors = {int(span.holder.split()[1]) for span in read_spans(self.spans)}
        started = self._children() | {pid: "actor of the pool" for pid in actors if watch.is_alive(pid)}
        return [f"process {pid}: {said[:150]}" for pid, said in sorted(started.items())]


def _codes_of(number: int) -> tuple[int, ...]:
    """Return how a command may end that got a signal: where it has not come to its own handler yet, by the signal."""
    return (-number,) if number == signal.SIGKILL else (130, -number)
