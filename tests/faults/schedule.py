"""A seed becomes a schedule: which sweep, which command lines, and what is done to each. Pure.

The last command line of a schedule is let alone; what holds after it is what the model judges.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class Fault(StrEnum):
    """What is done to a command line. Each says what it is followed by: the same command line again."""

    NONE = "let alone"
    INSTANT = "driver killed at an instant"
    MOMENT = "driver killed at a moment"
    SIGNAL = "driver told to stop"
    SLEEP = "driver stopped for a while, as by a laptop's lid"
    ACTOR = "pool actor killed"
    RAY = "process of Ray killed"
    RIVAL = "second driver at once"
    FULL = "disk full"
    LONG = "files may not be larger"
    READ_ONLY = "folder read-only"
    TRAP = "request trapped"
    CUT = "connections cut"
    DARK = "nothing comes through"
    API = "API server killed"
    EXPIRE = "Jobs deleted once they have ended"
    NODE = "node deleted"
    POD = "pod deleted"


class Command(StrEnum):
    """The command lines that a schedule is made of; all are about the same sweep."""

    RUN = "run"
    PART = "run of a part"
    REDO = "run of all again"
    CANARY = "run of one point and then the others"
    LIMITED = "run within a budget"
    DETACHED = "run that submits and leaves"
    COMPACT = "compact"
    STATUS = "status"
    GC = "gc"
    OTHER = "run of another sweep"


OPTIONS: Mapping[Command, Sequence[str]] = {
    Command.REDO: ("run.redo=all",),
    Command.CANARY: ("run.canary=true", "run.max_deployments=1"),
    Command.LIMITED: ("run.budget.gpu_hours=0.000001",),  # the first row spends it
    Command.DETACHED: ("run.detach=true",),
}

InstantNames = Mapping[Command, Sequence[str]]
"""The names of the instants that each command has when it is let alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A signal at the `occurrence`-th instant of this name; see instants.py."""

    instant: str
    occurrence: int
    signal: int = signal.SIGKILL


class Action(StrEnum):
    """What a trap does to a request, and to who sent it."""

    KILL = "its sender killed"
    RESET = "connection reset"
    SILENCE = "never answered"
    LATE = "answered late"
    BUSY = "answered 429"
    BROKEN = "answered 500"
    AWAY = "answered 503"
    END = "ended as if that were all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """Waits at the gate (gate.py) for `times` requests of a name, the first of them the `occurrence`-th.

    after: the server has answered, and the sender does not hear it.
    """

    request: str
    occurrence: int
    action: Action
    after: bool = False
    times: int = 1

    def __str__(self) -> str:
        when = "answered" if self.after else "sent"
        return f"{self.request} {self.occurrence} {when}: {self.action}" + (f" x{self.times}" if self.times > 1 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One command line and what is done to it.

    moment_s: when, from the command's begin; for a process of Ray, from its own.
    point: the actor is killed at the so-maniest point of the seed that it begins.
    process: which of Ray's processes is killed.
    pages: 4 KiB pages that are free on the disk.
    rival: the command that is begun while this one runs.
    clock_s: by how much the command's wall clock is wrong.
    """

    command: Command = Command.RUN
    fault: Fault = Fault.NONE
    strike: Strike | None = None
    trap: Trap | None = None
    signal: int = signal.SIGKILL
    moment_s: float = 0.0
    point: int = 0
    process: str = ""
    pages: int = 0
    rival: Command = Command.RUN
    clock_s: float = 0.0

    def __str__(self) -> str:
        said = {
            Fault.INSTANT: f" {self.strike.occurrence} before {self.strike.instant}" if self.strike else "",
            Fault.MOMENT: f" after {self.moment_s:.2f} s",
            Fault.SIGNAL: f" by {signal.Signals(self.signal).name} after {self.moment_s:.2f} s",
            Fault.SLEEP: f" after {self.moment_s:.2f} s",
            Fault.ACTOR: f" at point {self.point}",
            Fault.RAY: f": {self.process} after {self.moment_s:.2f} s",
            Fault.RIVAL: f": {self.rival}",
            Fault.TRAP: f": {self.trap}",
            Fault.CUT: f" every {self.moment_s:.2f} s",
            **dict.fromkeys((Fault.DARK, Fault.API, Fault.NODE, Fault.POD), f" after {self.moment_s:.2f} s"),
            Fault.FULL: f" after {self.pages} pages",
            Fault.LONG: f" than {self.pages} pages",
        }.get(self.fault, "")
        clock = f", clock wrong by {self.clock_s:+.0f} s" if self.clock_s else ""
        return f"{self.command}: {self.fault}{said}{clock}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """All that a seed decides.

    own_ray: each driver starts its own Ray, as a person's does; otherwise all join one that runs, which costs a tenth.
    predicted: the backend is the real simulated one; otherwise a stand-in that tells who measured what when.
    failing: whether one point fails by itself.
    again: whether all is measured again, after a first run that is let alone.
    """

    seed: int
    own_ray: bool
    predicted: bool
    concurrencies: tuple[int, ...]
    repeats: int
    actors: int
    failing: bool
    again: bool = False
    rounds: tuple[Round, ...]

    @property
    def faults(self) -> int:
        return sum((round.fault is not Fault.NONE) + bool(round.clock_s) for round in self.rounds)


OWN_RAY_EVERY = 12
RAY_PROCESSES = (
    "raylet/raylet",
    "raylet/raylet",
    "gcs/gcs_server",
    "gcs/gcs_server",
    "ray::Pool",
    "ray::RuntimeEnvAgent",
    "ray::DashboardAgent",
    "log_monitor.py",
)
"""What their command lines contain."""
_LIKELY = {
    Fault.INSTANT: 40,
    Fault.MOMENT: 20,
    Fault.SIGNAL: 12,
    Fault.ACTOR: 10,
    Fault.RIVAL: 5,
    Fault.SLEEP: 3,
    Fault.FULL: 8,
    Fault.LONG: 3,
    Fault.READ_ONLY: 3,
}
_OWN_RAY_LIKELY = {Fault.INSTANT: 3, Fault.MOMENT: 4, Fault.SIGNAL: 4, Fault.RAY: 6}
_TYPICAL_S, _OWN_RAY_TYPICAL_S, _OF_RAY_PROCESS_S = 3.0, 9.0, 8.0


def make(seed: int, instants: InstantNames) -> Schedule:
    """Return the schedule of a seed; the first kills of successive seeds go through all instants."""
    rng = random.Random(seed)
    own_ray = seed % OWN_RAY_EVERY == OWN_RAY_EVERY - 1
    predicted = rng.random() < (0.5 if own_ray else 0.15)
    count = 1 if own_ray else rng.choice([1, 2, 2, 3, 3, 4])
    rounds = [_round(rng, own_ray, predicted, instants) for _ in range(count)]
    every = [(command, name) for command in sorted(instants) for name in sorted(instants[command])]
    failing, again = not predicted and rng.random() < 0.2, not own_ray and rng.random() < 0.15
    if every and not own_ray:
        command, name = every[seed % len(every)]
        again = again or command is Command.REDO
        strike = Strike(instant=name, occurrence=1 if command is Command.COMPACT else rng.choice([1, 1, 1, 2]))
        rounds[0] = Round(command=command, fault=Fault.INSTANT, strike=strike, clock_s=rounds[0].clock_s)
        if command is Command.COMPACT:  # there must be something to merge
            rounds.insert(0, Round(command=Command.PART))
    rounds = [_varied(rng, round, again) for round in rounds] if not own_ray else rounds
    return Schedule(
        seed=seed,
        own_ray=own_ray,
        predicted=predicted,
        concurrencies=tuple(sorted(rng.sample([1, 2, 3, 4, 6, 8, 12, 16], rng.randint(3, 8)))),
        repeats=rng.choice([1, 1, 1, 2]),
        actors=rng.choice([1, 1, 2]),
        failing=failing,
        again=again,
        rounds=(Round(), *rounds, Round(command=Command.REDO)) if again else (*rounds, Round()),
    )


def _varied(rng: random.Random, round: Round, again: bool) -> Round:
    """Give a run other rules: all again where that is the schedule's theme, else sometimes a canary or a budget."""
    if again:
        runs = (Command.RUN, Command.PART)
        command = Command.REDO if round.command in runs else round.command
        return replace(round, command=command, rival=Command.REDO if round.rival in runs else round.rival)
    if round.command is not Command.RUN:
        return round
    return replace(round, command=rng.choices([Command.RUN, Command.CANARY, Command.LIMITED], [75, 10, 15])[0])


def _longest_s(own_ray: bool, fault: Fault) -> float:
    return _OF_RAY_PROCESS_S if fault is Fault.RAY else _OWN_RAY_TYPICAL_S if own_ray else _TYPICAL_S


def _round(rng: random.Random, own_ray: bool, predicted: bool, instants: InstantNames) -> Round:
    likely = _OWN_RAY_LIKELY if own_ray else _LIKELY
    fault = rng.choices(list(likely), list(likely.values()))[0]
    if predicted and fault is Fault.ACTOR:  # only the stand-in tells which process it is
        fault = Fault.MOMENT
    command = rng.choices([Command.RUN, Command.PART, Command.COMPACT], [80, 10, 10])[0]
    if own_ray or fault not in (Fault.INSTANT, Fault.MOMENT):
        command = Command.RUN
    names = sorted(instants.get(Command.COMPACT if command is Command.COMPACT else Command.RUN, ()))
    if not names and fault is Fault.INSTANT:
        fault = Fault.MOMENT
    strike = None
    if fault is Fault.INSTANT:
        signals = [signal.SIGKILL] * 6 + [signal.SIGINT, signal.SIGTERM]
        occurrence = rng.choice([1, 1, 1, 1, 2, 3, 6])
        strike = Strike(instant=rng.choice(names), occurrence=occurrence, signal=rng.choice(signals))
    return Round(
        command=command,
        fault=fault,
        strike=strike,
        signal=rng.choice([signal.SIGINT, signal.SIGTERM]),
        moment_s=rng.uniform(0, _longest_s(own_ray, fault)),
        point=rng.randint(1, 6),
        process=rng.choice(RAY_PROCESSES),
        pages=rng.choice([1, 2, 4, 8, 16, 32, 64]),
        rival=rng.choice([Command.RUN, Command.RUN, Command.COMPACT, Command.STATUS]),
        clock_s=rng.choice([-86400.0, -3600.0, -5.0, 3600.0, 86400.0]) if rng.random() < 0.15 else 0.0,
    )
