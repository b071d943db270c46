"""A seed becomes a schedule of faults on a cluster: of drivers, requests, nodes, pods and the way there. Pure."""

from __future__ import annotations

import random
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tests.faults.schedule import Action, Command, Fault, InstantNames, Round, Strike, Trap

ONLY = frozenset({Fault.TRAP, Fault.CUT, Fault.DARK, Fault.API, Fault.NODE, Fault.POD, Fault.EXPIRE})
"""Faults that there are on a cluster only."""
_LIKELY: Mapping[Fault, int] = {
    Fault.TRAP: 40,
    Fault.MOMENT: 16,
    Fault.INSTANT: 12,
    Fault.SIGNAL: 8,
    Fault.CUT: 8,
    Fault.POD: 6,
    Fault.API: 4,
    Fault.RIVAL: 4,
    Fault.NODE: 2,
    Fault.DARK: 2,
}
_ACTIONS: Mapping[Action, int] = {
    Action.KILL: 10,
    Action.RESET: 5,
    Action.BUSY: 3,
    Action.BROKEN: 3,
    Action.AWAY: 3,
    Action.LATE: 3,
    Action.SILENCE: 1,
}
_STREAM_ACTIONS: Mapping[Action, int] = {Action.KILL: 4, Action.RESET: 4, Action.END: 4, Action.AWAY: 2}
STREAMS = ("WATCH", "FOLLOW")
_TYPICAL_S = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSchedule:
    """All that a seed decides.

    most: points in one deployment at most.
    durable: whether pods write to a results volume too.
    again: whether all is measured again, after a first run that is let alone.
    """

    seed: int
    concurrencies: tuple[int, ...]
    repeats: int
    nodes: int
    most: int
    durable: bool
    again: bool
    rounds: tuple[Round, ...]


def make(seed: int, instants: InstantNames, requests: Sequence[str]) -> ClusterSchedule:
    """Return the schedule of a seed.

    requests: the names of those that an undisturbed run sends; the first faults of successive seeds kill their sender
        before each is forwarded and after each was answered.
    """
    rng = random.Random(f"cluster {seed}")
    rounds = [_round(rng, instants, requests) for _ in range(rng.choice([1, 2, 2, 3]))]
    if requests:
        number, after = divmod(seed, 2)
        request = sorted(requests)[number % len(requests)]
        trap = Trap(
            request=request,
            occurrence=rng.choice([1, 1, 1, 2]) if request.startswith(STREAMS) else 1,  # most are sent once
            action=Action.KILL,
            after=bool(after),
        )
        rounds[0] = Round(fault=Fault.TRAP, trap=trap)
    durable, again = rng.random() < 0.4, rng.random() < 0.15
    rounds = [_varied(rng, round, durable, again) for round in rounds]
    return ClusterSchedule(
        seed=seed,
        concurrencies=tuple(sorted(rng.sample([1, 2, 3, 4, 6, 8], rng.randint(1, 4)))),
        repeats=rng.choice([1, 1, 2]),
        nodes=rng.choice([1, 2, 3]),
        most=rng.choice([2, 4, 8]),
        durable=durable,
        again=again,
        rounds=(Round(), *rounds, Round(command=Command.REDO)) if again else (*rounds, Round()),
    )


def _varied(rng: random.Random, round: Round, durable: bool, again: bool) -> Round:
    """Give a run other rules: all again where that is the schedule's theme, else sometimes others.

    What a budget stops may be deleted before it was read, and who detaches reads nothing: both need a volume.
    """
    if again:
        return replace(round, command=Command.REDO, rival=Command.REDO if round.rival is Command.RUN else round.rival)
    if durable and rng.random() < 0.25:
        return Round(command=Command.DETACHED, fault=Fault.EXPIRE)
    if round.command is not Command.RUN:
        return round
    likely = {Command.RUN: 60, Command.CANARY: 15, Command.DETACHED: 25 * durable, Command.LIMITED: 15 * durable}
    return replace(round, command=rng.choices(list(likely), list(likely.values()))[0])


def _round(rng: random.Random, instants: InstantNames, requests: Sequence[str]) -> Round:
    fault = rng.choices(list(_LIKELY), list(_LIKELY.values()))[0]
    strike = trap = None
    if fault is Fault.INSTANT and (names := sorted(instants.get(Command.RUN, ()))):
        strike = Strike(instant=rng.choice(names), occurrence=rng.choice([1, 1, 1, 1, 2, 3, 6]))
    if fault is Fault.TRAP and requests:
        request = rng.choice(sorted(requests))
        stream = request.startswith(STREAMS)
        likely = _STREAM_ACTIONS if stream else _ACTIONS
        action = rng.choices(list(likely), list(likely.values()))[0]
        trap = Trap(
            request=request,
            occurrence=rng.choice([1, 1, 1, 2, 3]) if stream else rng.choice([1, 1, 1, 2]),
            action=action,
            after=action is Action.END or rng.random() < 0.5,
            times=1 if action in (Action.KILL, Action.SILENCE) else rng.choice([1, 1, 2, 4]),
        )
    return Round(
        command=rng.choice([Command.RUN] * 5 + [Command.PART]),
        fault=fault,
        strike=strike,
        trap=trap,
        signal=rng.choice([signal.SIGINT, signal.SIGTERM]),
        moment_s=rng.uniform(0.3, 1.5) if fault is Fault.CUT else rng.uniform(0, _TYPICAL_S),
        rival=rng.choice([Command.RUN, Command.STATUS]),
    )
