"""The harness finds nothing in the program, and finds what is wrong as soon as something is made wrong."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import sabotage
from tests.faults.commands import Nursery
from tests.faults.joined import ray_head
from tests.faults.model import Kind
from tests.faults.schedule import Command, Fault, Round, Schedule, Strike
from tests.faults.simulated import Simulated
from tests.faults.trial import Outcome

TORN = Round(fault=Fault.INSTANT, strike=Strike(instant="write table/part-*-*.parquet", occurrence=2))
BEFORE_RENAME = Round(fault=Fault.INSTANT, strike=Strike(instant="rename table/part-*-*.parquet", occurrence=1))
RIVALS = Round(fault=Fault.RIVAL, rival=Command.RUN)
INTERRUPTED = Round(fault=Fault.ACTOR, point=3)


@pytest.fixture(scope="module")
def carry_out() -> Iterator[Callable[..., Outcome]]:
    """Carry out rounds, the program sabotaged or not; one Ray for all."""
    folder = Path(f"/tmp/f{secrets.token_hex(2)}")
    folder.mkdir(mode=0o700)
    made = 0

    def carry(*rounds: Round, sabotaged: Callable[[], None] | None = None) -> Outcome:
        nonlocal made
        made += 1
        schedule = Schedule(
            seed=made,
            own_ray=False,
            predicted=False,
            concurrencies=(1, 2, 3, 4),
            repeats=1,
            actors=1,
            failing=False,
            rounds=(*rounds, Round()),
        )
        seed = Simulated(
            schedule=schedule, folder=folder / str(made), nursery=nursery, address=address, sabotage=sabotaged
        )
        return seed.carry_out()

    try:
        with ray_head(folder) as address:
            nursery = Nursery()
            yield carry
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_nothing_is_found_in_the_program(carry_out: Callable[..., Outcome]) -> None:
    outcome = carry_out(BEFORE_RENAME, RIVALS, INTERRUPTED)
    assert list(outcome.findings) == []
    assert outcome.faults >= 2
    assert "rename table/part-*-*.parquet" in outcome.struck


@pytest.mark.parametrize(
    ("sabotaged", "rounds", "found"),
    [
        (sabotage.parts_in_place, (TORN,), Kind.LOST),
        (sabotage.no_lock, (RIVALS,), Kind.DOUBLED),
        (sabotage.no_memory, (BEFORE_RENAME, Round()), Kind.DOUBLED),
        (sabotage.no_cleaning, (BEFORE_RENAME,), Kind.LEFT),
        (sabotage.other_numbers, (TORN,), Kind.WRONG),
    ],
)
def test_what_is_made_wrong_is_found(
    carry_out: Callable[..., Outcome], sabotaged: Callable[[], None], rounds: tuple[Round, ...], found: Kind
) -> None:
    assert found in {finding.kind for finding in carry_out(*rounds, sabotaged=sabotaged).findings}
