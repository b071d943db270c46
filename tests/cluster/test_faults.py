"""The fault harness on the control plane: nothing is found in the program, and what is made wrong is found."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.kit.cluster import Cluster
from tests.faults import sabotage
from tests.faults.cluster import OnCluster, gates
from tests.faults.cluster_schedule import ClusterSchedule
from tests.faults.commands import Nursery
from tests.faults.joined import ray_head
from tests.faults.model import Kind
from tests.faults.schedule import Action, Fault, Round, Strike, Trap
from tests.faults.trial import Outcome


def kills_at(request: str, *, after: bool) -> Round:
    return Round(fault=Fault.TRAP, trap=Trap(request=request, occurrence=1, action=Action.KILL, after=after))


JOB_MADE = kills_at("POST jobs", after=True)
LOG_READ = Round(fault=Fault.TRAP, trap=Trap(request="FOLLOW log", occurrence=1, action=Action.RESET, after=True))
ROW_DUE = Round(fault=Fault.INSTANT, strike=Strike(instant="write raw/.tmp-*/report.json", occurrence=1))


@pytest.fixture(scope="module")
def carry_out(cluster: Cluster) -> Iterator[Callable[..., Outcome]]:
    """Carry out rounds, the program sabotaged or not; one Ray and one gate for all."""
    folder = Path(f"/tmp/f{secrets.token_hex(2)}")
    folder.mkdir(mode=0o700)
    made = 0

    def carry(*rounds: Round, sabotaged: Callable[[], None] | None = None) -> Outcome:
        nonlocal made
        made += 1
        schedule = ClusterSchedule(
            seed=made,
            concurrencies=(1, 2),
            repeats=1,
            nodes=2,
            most=2,
            durable=False,
            again=False,
            rounds=(*rounds, Round()),
        )
        trial = OnCluster(
            schedule=schedule,
            folder=folder / str(made),
            nursery=nursery,
            address=address,
            cluster=cluster,
            place=place,
            sabotage=sabotaged,
        )
        return trial.carry_out()

    with pytest.MonkeyPatch.context() as patch, gates(cluster, folder, 1) as (kubeconfig, free):
        patch.setenv("KUBECONFIG", str(kubeconfig))  # Ray's workers inherit it
        place = free.get()
        try:
            with ray_head(folder) as address:
                nursery = Nursery()
                yield carry
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def test_nothing_is_found_in_the_program(carry_out: Callable[..., Outcome]) -> None:
    outcome = carry_out(JOB_MADE, LOG_READ, ROW_DUE)
    assert list(outcome.findings) == []
    assert outcome.faults >= 1, outcome


def test_a_program_that_does_not_adopt_is_found(carry_out: Callable[..., Outcome]) -> None:
    outcome = carry_out(ROW_DUE, sabotaged=sabotage.no_adoption)
    assert Kind.DOUBLED in {finding.kind for finding in outcome.findings}, outcome


def test_a_gc_that_takes_what_is_of_others_is_found(carry_out: Callable[..., Outcome]) -> None:
    outcome = carry_out(sabotaged=sabotage.greedy_gc)
    assert "gc deleted the Job of another sweep" in {finding.message for finding in outcome.findings}
