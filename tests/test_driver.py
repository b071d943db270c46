"""The driver: every attempt becomes exactly one row, whatever dies in between."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sweep import driver, plan
from sweep.backends import Ended, PointDone, PointFailed
from sweep.driver.pool import Pool
from sweep.errors import UsageError
from sweep.matrix import expand
from sweep.table import Results, Source
from tests.standins import NONSENSE
from tests.test_matrix import CHECKED, LLAMA

STANDIN = "tests.standins:Standin"
HANG_S = 300


class Silent:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.phase = ""
        self.rows: list[Mapping[str, Any]] = []
        self.said: list[str] = []

    def row(self, row: Mapping[str, Any]) -> None:
        self.rows.append(row)

    def say(self, message: str) -> None:
        self.said.append(message)

    def stage(self, deployment_id: str, stage: str | None, message: str) -> None:
        self.said.append(f"{deployment_id} {stage} {message}")


def deployments(points: int, nodes: int = 2) -> tuple[plan.Deployment, ...]:
    grown = expand({"grid": {"concurrency": list(range(1, points + 1))}}, CHECKED | {"model": LLAMA.id}, LLAMA)
    return plan.make([(LLAMA, grown)], sweep_id="s", source="measured", nodes=nodes).deployments


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """A driver that hangs is a failure, not a wait."""

    def give_up(*_: object) -> None:
        raise TimeoutError("the driver hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(HANG_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def ray_start() -> Iterator[driver.RayStart]:
    """One Ray for the module: each start takes seconds."""
    start = driver.RayStart()
    start.begin(None)
    yield start
    start.close()


def drive(
    folder: Path, start: driver.RayStart, watcher: Silent | None = None, *, points: int = 20, **config: Any
) -> tuple[pd.DataFrame, Silent]:
    results, watcher = Results(folder), watcher or Silent()
    with results.lock():
        recorder = driver.Recorder(
            results=results,
            sweep_id=results.open_or_create(),
            backend=STANDIN,
            source=Source.MEASURED,
            config_hash="c",
        )
        counts = driver.run(
            deployments(points),
            recorder=recorder,
            backend_config={"name": STANDIN} | config,
            ray=start,
            actors=2,
            in_process=True,
            watcher=watcher,
        )
    frame = results.load(last_attempt_only=False)
    assert sum(counts.values()) == len(frame) == len(watcher.rows) == points
    assert frame["point_id"].is_unique
    return frame, watcher


def failures(frame: pd.DataFrame) -> dict[int, tuple[str, str]]:
    bad = frame[frame["status"] != "ok"]
    return {row.concurrency: (row.failure_kind, row.failure_message) for row in bad.itertuples()}


def test_every_attempt_becomes_one_row(tmp_path: Path, ray_start: driver.RayStart) -> None:
    frame, _ = drive(tmp_path / "r", ray_start)
    assert set(frame["status"]) == {"ok"}
    assert len(list((tmp_path / "r" / "raw").glob("*/*/report.json"))) == 20


def test_failures_are_rows_with_kind_and_message(tmp_path: Path, ray_start: driver.RayStart) -> None:
    frame, _ = drive(tmp_path / "r", ray_start, fail_at=3, lie_at=7)
    bad = failures(frame)
    assert bad[3] == ("out_of_memory", "CUDA out of memory")
    assert bad[7][0] == "no_report"
    assert set(bad) == {3, 7}
    (row,) = frame[frame["concurrency"] == 3].itertuples()
    assert row.exit_code == 1
    assert (tmp_path / "r" / row.log_path).read_text() == "torch.OutOfMemoryError"


def test_a_backend_that_raises_costs_its_deployment_not_the_sweep(tmp_path: Path, ray_start: driver.RayStart) -> None:
    frame, _ = drive(tmp_path / "r", ray_start, raise_at=5)
    bad = failures(frame)
    assert bad.pop(5) == ("backend_error", "RuntimeError: the backend broke")
    assert {kind for kind, _ in bad.values()} == {"not_reached"}
    assert (frame["status"] == "ok").sum() >= 10


def test_a_deployment_that_ends_early_leaves_no_point_without_a_row(tmp_path: Path, ray_start: driver.RayStart) -> None:
    frame, _ = drive(tmp_path / "r", ray_start, end_at=5)
    assert {message for _, message in failures(frame).values()} == {
        "its deployment ended before this point: the node went away"
    }


def test_a_killed_actor_loses_nothing_and_repeats_nothing(tmp_path: Path, ray_start: driver.RayStart) -> None:
    marker = tmp_path / "marker"
    frame, watcher = drive(tmp_path / "r", ray_start, points=60, seconds=0.02, kill_once_at=33, marker=str(marker))
    assert marker.exists()
    assert set(frame["status"]) == {"ok"}
    assert any("a worker process died" in said for said in watcher.said)


def test_a_point_that_kills_its_process_each_time_is_given_up(tmp_path: Path, ray_start: driver.RayStart) -> None:
    frame, _ = drive(tmp_path / "r", ray_start, points=12, kill_at=6)
    ((concurrency, (kind, message)),) = failures(frame).items()
    assert (concurrency, kind) == (6, "worker_died")
    assert message.startswith("the worker process died 2 times at this point alone: ")


def test_a_backend_that_cannot_be_made_is_told_at_once(tmp_path: Path, ray_start: driver.RayStart) -> None:
    with pytest.raises(UsageError, match=r"the backend cannot be made"):
        drive(tmp_path / "r", ray_start, broken=True)


@pytest.mark.parametrize("how", ["cancel_at", "exit_at"])
def test_what_is_no_ordinary_exception_ends_a_deployment_too(
    tmp_path: Path, ray_start: driver.RayStart, how: str
) -> None:
    frame, _ = drive(tmp_path / "r", ray_start, points=8, **{how: 3})
    assert failures(frame)[3][0] == "backend_error"


def test_what_cannot_be_sent_costs_its_point(tmp_path: Path, ray_start: driver.RayStart) -> None:
    frame, watcher = drive(tmp_path / "r", ray_start, points=6, lock_at=3)
    kind, message = failures(frame).pop(3)
    assert kind == "worker_died"
    assert "pickle" in message
    assert set(failures(frame)) == {3}
    assert watcher.said


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_of_a_backend_costs_its_point(tmp_path: Path, ray_start: driver.RayStart, nonsense: str) -> None:
    frame, _ = drive(tmp_path / "r", ray_start, points=4, nonsense_at=2, nonsense=nonsense)
    assert {concurrency: kind for concurrency, (kind, _) in failures(frame).items()} == {2: "backend_error"}


def test_an_actor_that_never_answers_is_replaced(
    tmp_path: Path, ray_start: driver.RayStart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "ANSWER_S", 4.0)
    frame, _ = drive(tmp_path / "r", ray_start, points=4, block_at=2)
    assert failures(frame) == {
        2: ("worker_died", "the worker process died 2 times at this point alone: it did not answer for 4 s")
    }


class Killer(Silent):
    """Kills the process of a row while the driver asks it nothing, and waits until Ray has a new one."""

    def __init__(self) -> None:
        super().__init__()
        self.killed = False

    def row(self, row: Mapping[str, Any]) -> None:
        super().row(row)
        if not self.killed:
            self.killed = True
            os.kill(int(row["node"]), signal.SIGKILL)
            time.sleep(3)


def test_an_actor_that_is_replaced_between_two_questions_is_given_its_work_again(
    tmp_path: Path, ray_start: driver.RayStart
) -> None:
    watcher = Killer()
    frame, _ = drive(tmp_path / "r", ray_start, watcher, points=30, seconds=0.05)
    assert watcher.killed
    assert set(frame["status"]) == {"ok"}


def test_a_pool_does_not_take_what_another_life_acknowledged() -> None:
    async def scenario() -> None:
        old, new = (Pool(STANDIN, {"name": STANDIN}) for _ in range(2))
        work = deployments(3, nodes=1)
        life, events = await old.poll(None, 0, work, 1.0)
        again, _ = await new.poll(life, 10**6, work, 1.0)
        assert again != life
        _, told = await new.poll(life, 10**6, (), 1.0)
        assert len(told) == len(events)

    asyncio.run(scenario())


def test_a_pool_is_plain_python_and_tells_again_what_is_not_acknowledged() -> None:
    async def scenario() -> None:
        pool = Pool(STANDIN, {"name": STANDIN})
        (deployment,) = deployments(3, nodes=1)
        life, events = await pool.poll(None, 0, [deployment], 1.0)
        while not any(isinstance(event, Ended) for _, _, event in events):
            _, events = await pool.poll(life, 0, [deployment], 1.0)  # the same twice is begun once
        assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
        assert Counter(isinstance(event, PointDone) for _, _, event in events)[True] == 3
        assert await pool.poll(life, 2, (), 0.0) == (life, events[2:])
        assert await pool.poll(life, events[-1][0], (), 0.0) == (life, [])

    asyncio.run(scenario())


def test_a_pool_tells_what_its_backend_raised() -> None:
    async def scenario() -> list[Any]:
        pool = Pool(STANDIN, {"name": STANDIN, "raise_at": 2})
        events: list[Any] = []
        while not any(isinstance(event, Ended) for event in events):
            _, told = await pool.poll(None, 0, deployments(3, nodes=1), 1.0)
            events = [event for _, _, event in told]
        return events

    events = asyncio.run(scenario())
    (failed,) = [event for event in events if isinstance(event, PointFailed)]
    assert failed.kind == "backend_error"
    assert "the backend broke" in failed.log_tail
