"""The model finds each thing that must not be, and nothing else; schedules are the same each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults import cluster_schedule, schedule
from tests.faults.model import (
    Expected,
    Finding,
    Kind,
    Measured,
    Row,
    Span,
    judge_ending,
    judge_holders,
    judge_measured,
    judge_numbers,
    judge_reading,
    judge_rows,
)
from tests.faults.schedule import Command, Fault, InstantNames, Round
from tests.faults.trial import Redone

A = Row(point_id="a", repeat=1, attempt=1, status="ok")
B = replace(A, point_id="b")
FAILED = replace(A, status="failed", failure_kind="nccl", failure_message="it broke")
WANTED = Expected(points=frozenset({("a", 1)}))
FAILED_AGAIN = replace(FAILED, attempt=2)
SKIPPED = replace(A, attempt=0, status="skipped", failure_kind="budget", failure_message="it is spent")
TWICE = replace(WANTED, times=(2, 2))
BOTH = frozenset({("a", 1), ("b", 1)})
INSTANTS: InstantNames = {Command.RUN: ("rename sweep.json", "ask poll"), Command.COMPACT: ("mkdir .tmp-table-*",)}


def kinds(findings: list[Finding]) -> list[Kind]:
    return [finding.kind for finding in findings]


@pytest.mark.parametrize(
    ("expected", "rows", "found"),
    [
        (WANTED, [A], []),
        (WANTED, [FAILED, replace(A, attempt=2)], []),
        (WANTED, [], [Kind.LOST]),
        (WANTED, [FAILED], [Kind.LOST]),  # the last command should have mended it
        (replace(WANTED, excused=frozenset({"nccl"})), [FAILED], []),
        (replace(WANTED, excused=frozenset({"nccl"})), [replace(FAILED, failure_message=None)], [Kind.LOST]),
        (replace(WANTED, failing={("a", 1): "nccl"}), [FAILED], []),
        (replace(WANTED, failing={("a", 1): "oom"}), [FAILED], [Kind.LOST]),
        (replace(WANTED, failing={("a", 1): "oom"}), [A], [Kind.LOST]),
        (WANTED, [A, A], [Kind.DOUBLED]),
        (WANTED, [A, replace(A, attempt=2)], [Kind.DOUBLED]),
        (WANTED, [FAILED, A], [Kind.DOUBLED]),  # attempt 1 has two rows
        (WANTED, [A, B], [Kind.WRONG]),
        (WANTED, [SKIPPED, SKIPPED, A], []),
        (WANTED, [A, SKIPPED], [Kind.LOST]),
        (TWICE, [A, replace(A, attempt=2)], []),
        (TWICE, [A, FAILED_AGAIN, replace(A, attempt=3)], []),
        (TWICE, [A], [Kind.LOST]),
        (TWICE, [replace(A, attempt=number) for number in (1, 2, 3)], [Kind.DOUBLED]),
        (replace(TWICE, times=(1, 2), points=BOTH), [A, B, replace(A, attempt=2)], [Kind.DOUBLED]),
        (replace(WANTED, points=frozenset({("a", 1), ("a", 2)})), [A], [Kind.LOST]),
    ],
)
def test_rows_are_held_against_what_is_expected(expected: Expected, rows: list[Row], found: list[Kind]) -> None:
    assert kinds(list(judge_rows(expected, rows))) == found


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ({"tput": 2.0, "ttft": None}, []),
        ({"tput": 2.1, "ttft": None}, [Kind.WRONG]),
        ({"tput": None, "ttft": None}, [Kind.WRONG]),
        ({"tput": 2.0}, []),
        ({"ttft": 1.0}, [Kind.WRONG, Kind.WRONG]),
    ],
)
def test_numbers_are_those_of_an_undisturbed_measurement(numbers: dict[str, float | None], found: list[Kind]) -> None:
    undisturbed = {"a": {"tput": 2.0, "ttft": None}}
    assert kinds(list(judge_numbers(undisturbed, [Measured(name="a", point_id="a", numbers=numbers)]))) == found
    assert kinds(list(judge_numbers(undisturbed, [Measured(name="b", point_id="b", numbers=numbers)]))) == []


def test_what_was_read_once_stays() -> None:
    assert kinds(list(judge_reading(frozenset({A}), [A, B]))) == []
    assert kinds(list(judge_reading(frozenset({A}), [B]))) == [Kind.LOST]
    assert kinds(list(judge_reading(frozenset(), [B, B]))) == [Kind.DOUBLED]


@pytest.mark.parametrize(
    ("begin", "end", "holder", "found"),
    [
        (2.0, 3.0, "other", []),
        (0.5, 3.0, "other", [Kind.DOUBLED]),
        (0.5, 3.0, "one", []),
        (0.5, None, "other", []),  # it was killed, and nobody knows when
    ],
)
def test_two_may_not_hold_a_point_at_one_moment(
    begin: float, end: float | None, holder: str, found: list[Kind]
) -> None:
    first = Span(point=("a", 1), holder="one", begin=0.0, end=1.0)
    assert kinds(list(judge_holders([Span(point=("a", 1), holder=holder, begin=begin, end=end), first]))) == found


def test_what_was_measured_is_not_measured_again() -> None:
    assert kinds(list(judge_measured({("a", 1): 2, ("b", 1): 1}, frozenset()))) == [Kind.DOUBLED]
    assert kinds(list(judge_measured({("a", 1): 2}, frozenset({("a", 1)})))) == []
    assert kinds(list(judge_measured({("a", 1): 2}, frozenset(), most=2))) == []


def test_how_often_all_was_measured_again_is_known_as_well_as_it_can_be(tmp_path: Path) -> None:
    file, redone = tmp_path / "redo.json", Redone()

    def note(round: Round, goes_on: bool) -> tuple[int, int]:
        file.touch() if goes_on else file.unlink(missing_ok=True)
        redone.note(round, file)
        return redone.least, redone.most

    killed = Round(command=Command.REDO, fault=Fault.MOMENT)
    assert note(Round(), False) == (0, 0)
    assert note(killed, True) == (0, 0)
    assert note(Round(command=Command.COMPACT), True) == (0, 0)
    assert note(killed, False) == (1, 1)
    assert note(killed, False) == (1, 2)  # it may have done all before it was killed, or nothing
    assert note(replace(killed, fault=Fault.RIVAL, rival=Command.REDO), False) == (1, 4)
    assert note(Round(command=Command.REDO), False) == (2, 5)


@pytest.mark.parametrize(
    ("code", "said", "found"),
    [
        (0, "", []),
        (2, "sweep: disk full", []),
        (None, "", [Kind.WRONG]),
        (1, "", [Kind.WRONG]),
        (2, "Traceback (most recent call last):\nOSError", [Kind.WRONG]),
    ],
)
def test_a_command_ends_in_time_with_a_code_that_is_true(code: int | None, said: str, found: list[Kind]) -> None:
    assert kinds(list(judge_ending(code, {0, 2}, "run", said))) == found


def test_a_seed_is_always_the_same_schedule_and_ends_undisturbed() -> None:
    made = [schedule.make(seed, INSTANTS) for seed in range(300)]
    assert made == [schedule.make(seed, INSTANTS) for seed in range(300)]
    assert {one.rounds[-1].fault for one in made} == {Fault.NONE}
    assert {round.fault for one in made for round in one.rounds} == set(Fault) - cluster_schedule.ONLY
    assert {round.command for one in made for round in one.rounds} >= {Command.REDO, Command.CANARY, Command.LIMITED}


def test_seeds_kill_at_every_instant_in_turn() -> None:
    killed = {
        (round.command, round.strike.instant)
        for seed in range(8)
        for round in schedule.make(seed, INSTANTS).rounds[:3]
        if round.strike is not None
    }
    assert killed >= {(command, name) for command, names in INSTANTS.items() for name in names}
