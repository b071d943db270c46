"""What trials of both backends share: beginning commands, doing to them what a round says, and judging how they end."""

from __future__ import annotations

import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweep import composition, matrix
from sweep.plan import Attempt
from sweep.point import Model
from tests.faults import watch
from tests.faults.child import Order
from tests.faults.commands import LOOK_S, Nursery, Running
from tests.faults.model import Finding, Kind, judge_ending
from tests.faults.schedule import Command, Fault, Round
from tests.patience import HANG_S

MARK = "SWEEP_FAULTS_SEED"
DONE = (0, 3)
"""Exit codes of a run that came to its end."""
HOLDING = 5
"""After so many instants a driver has the lock and has said so in it."""
_COMPOSING = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a seed.

    faults: how many were injected.
    struck: the instants at which a driver was killed.
    told: what was done, a line for each round.
    """

    findings: Sequence[Finding]
    faults: int = 0
    struck: Sequence[str] = ()
    told: Sequence[str] = ()


@dataclass(slots=True)
class Redone:
    """How often all was measured again, at least and at most; the file tells whether that goes on.

    A killed command may have begun and ended it, or never have come to it.
    """

    least: int = 0
    most: int = 0
    goes_on: bool = False

    def note(self, round: Round, file: Path) -> None:
        """Take note of a round that is over."""
        commands = [round.command, *([round.rival] if round.fault is Fault.RIVAL else [])]
        count, before, self.goes_on = commands.count(Command.REDO), self.goes_on, file.exists()
        if count:
            self.most += count - self.goes_on
            self.least += not self.goes_on and (before or round.fault is Fault.NONE)


@dataclass(slots=True, kw_only=True)
class Trial(ABC):
    """One schedule, carried out in a folder of its own.

    address: of the Ray that runs; how to join it is in the environment.
    sabotage: breaks the program, to see that this is found.
    instants: the names of all that came.
    """

    folder: Path
    nursery: Nursery
    address: str
    sabotage: Callable[[], None] | None = None
    findings: list[Finding] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    struck: list[str] = field(default_factory=list)
    faults: int = 0
    begun: int = 0
    instants: list[str] = field(default_factory=list)
    redone: Redone = field(default_factory=lambda: Redone())

    @abstractmethod
    def carry_out(self) -> Outcome:
        """Do all of it, and judge."""

    @abstractmethod
    def arguments(self, command: Command) -> list[str]:
        """Return the words of a command line."""

    @property
    def fresh(self) -> bool:
        """Whether each command is a new interpreter."""
        return False

    @property
    def results(self) -> Path:
        return self.folder / "results" / "smoke"

    @property
    def temporary(self) -> Path:
        return self.folder.parent / f"t{self.folder.name}"  # short: sockets lie in it

    @property
    def mark(self) -> str:
        """Stands in the environment of all that this trial starts."""
        return f"{self.folder.parent.name}-{self.folder.name}"

    def make_folders(self) -> None:
        for path in (self.folder, self.temporary, self.folder / "results"):
            path.mkdir(parents=True)

    def environment(self) -> dict[str, str | None]:
        return {"TMPDIR": str(self.temporary), MARK: self.mark}

    def begin(self, command: Command, round: Round) -> Running:
        """Begin a command line."""
        self.begun += 1
        name = self.folder / f"{self.begun}-{command.name.lower()}"
        order = Order(
            arguments=self.arguments(command),
            folder=self.results,
            out=name.with_suffix(".out"),
            err=name.with_suffix(".err"),
            log=name.with_suffix(".log"),
            environment=self.environment(),
            strike=round.strike,
            sabotage=self.sabotage,
            clock_s=round.clock_s,
            file_bytes=round.pages * 4096 if round.fault is Fault.LONG else None,
        )
        running = self.nursery.begin(order, fresh=self.fresh)
        running.wait_until_begun()
        return running

    def disturb(self, running: Running, round: Round) -> tuple[int, ...]:
        """Do to a driver what a round says, and return the exit codes that this explains."""
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
        return ()

    def rival(self, round: Round) -> None:
        """Begin a second command once the first holds the lock; it says who that is, and does no harm."""
        first = self.begin(round.command, round)
        while first.code() is None and len(first.instants) < HOLDING:
            time.sleep(LOOK_S)
        second = self.begin(round.rival, Round())
        code = second.wait(HANG_S)
        if code == 2 or round.rival is Command.STATUS:
            self.faults += 1
            told = second.out if round.rival is Command.STATUS else second.err
            if f"pid {first.pid} on " not in told and first.code() is None:
                said = f"{round.rival} beside a run does not name its pid {first.pid}: {told.strip()[-200:]}"
                self.findings.append(Finding(kind=Kind.WRONG, message=said))
        self.findings += judge_ending(code, (*DONE, 2), f"{round.rival} beside a run", second.err)
        self.end(first, round)

    def end(
        self,
        running: Running,
        round: Round,
        codes: tuple[int, ...] = (),
        words: Sequence[str] = (),
        failing: bool = False,
    ) -> None:
        """Wait for a command's end and judge it.

        codes: allowed beside those of a run that came to its end, and 2 only if it says one of the words.
        failing: points fail by themselves.
        """
        code = running.wait(HANG_S)
        if code is None:
            running.send(signal.SIGABRT)  # it says in its .err file where it hangs
            running.wait(10)
            running.send(signal.SIGKILL)
            running.wait(10)
        if code in codes and round.fault not in (Fault.RAY, Fault.TRAP):
            self.faults += 1
        self.instants += running.instants
        if code == -signal.SIGKILL:
            self.struck += running.instants[-1:]
        if code == 2 and words and not any(word in running.err for word in words):
            said = f"{round}: it does not say what is wrong: {running.err.strip()[-300:]}"
            self.findings.append(Finding(kind=Kind.WRONG, message=said))
        done = (0,) if round.fault is Fault.NONE and round.command is not Command.LIMITED and not failing else DONE
        self.findings += judge_ending(code, (*done, *codes), str(round), running.err)

    def tell(self, number: int, round: Round, before: int) -> None:
        done = "" if self.faults > before or round.fault is Fault.NONE else " (came too late)"
        self.told.append(f"{number}. {round}{done}")

    def outcome(self) -> Outcome:
        return Outcome(faults=self.faults, findings=self.findings, struck=self.struck, told=self.told)

    def attempts(self) -> Mapping[str, tuple[Attempt, Model]]:
        """Return the first attempt of each point that the last command asks for, and its model, by point_id."""
        with _COMPOSING:  # Hydra has one state for all
            cfg = composition.read(self.arguments(Command.RUN)[1:])
        assert cfg is not None
        return {
            point.point_id: (Attempt(point=point, point_id=point.point_id), part.model)
            for part in cfg.parts
            for point in matrix.expand(part.matrix, part.settings, part.model).points
        }

    def children(self) -> dict[int, str]:
        """Return the processes that commands of this trial have started, by process id."""
        return watch.processes_with(f"{MARK}={self.mark}\0")


def _codes_of(number: int) -> tuple[int, ...]:
    """Return how a command may end that got a signal: where it has not come to its own handler yet, by the signal."""
    return (-number,) if number == signal.SIGKILL else (130, -number)
