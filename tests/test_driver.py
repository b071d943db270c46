"""The driver: every attempt becomes exactly one row, whatever dies in between."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sweep import driver, plan
from sweep.backends import Ended, PointDone, PointFailed, Released, Started
from sweep.driver import drive as driving
from sweep.driver.pool import Pool
from sweep.driver.work import Work
from sweep.errors import Interrupted, UsageError
from sweep.limits import Budget, Limits
from sweep.matrix import Expansion, expand
from sweep.retry import Retry
from sweep.table import Results, Source
from tests.patience import HANG_S
from tests.standins import NONSENSE
from tests.test_matrix import CHECKED, LLAMA

STANDIN = "tests.standins:Standin"


class Silent:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.phase = ""
        self.total = 0
        self.rows: list[Mapping[str, Any]] = []
        self.said: list[str] = []

    def row(self, row: Mapping[str, Any]) -> None:
        self.rows.append(row)

    def say(self, message: str) -> None:
        self.said.append(message)

    def stage(self, deployment_id: str, stage: str | None, message: str) -> None:
        self.said.append(f"{deployment_id} {stage} {message}")


def grown(points: int) -> Expansion:
    return expand({"grid": {"concurrency": list(range(1, points + 1))}}, CHECKED | {"model": LLAMA.id}, LLAMA)


def deployments(points: int, nodes: int = 2) -> tuple[plan.Deployment, ...]:
    return plan.make([(LLAMA, grown(points))], sweep_id="s", nodes=nodes).deployments


QUICK = driver.Rules(nodes=2, retry=Retry(backoff_s=0.1))


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """A driver that hangs is a failure, not a wait."""

    def give_up(*_: object) -> None:
        raise TimeoutError("the driver hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(int(HANG_S))
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
    folder: Path,
    start: driver.RayStart,
    watcher: Silent | None = None,
    *,
    points: int = 20,
    rules: driver.Rules = QUICK,
    elsewhere: bool = False,
    **config: Any,
) -> tuple[pd.DataFrame, Silent]:
    """Run a sweep as the command line does; return the last row of each point."""
    results, watcher = Results(folder), watcher or Silent()
    with results.lock():
        recorder = driver.Recorder(
            results=results,
            sweep_id=results.open_or_create(),
            backend=STANDIN,
            source=Source.MEASURED,
            config_hash="c",
            price_usd_per_gpu_hour=rules.limits.price,
        )
        steering = driver.Steering(
            expansions=[(LLAMA, grown(points))],
            sweep_id="s",
            source=Source.MEASURED,
            rules=rules,
            records=results.history(),
        )
        counts = driver.run(
            steering.plan_beside().deployments,
            steering=steering,
            recorder=recorder,
            backend_config={"name": STANDIN} | config,
            ray=start,
            actors=2,
            in_process=not elsewhere,
            watcher=watcher,
            cancel_on_interrupt=elsewhere,
        )
    frame = results.load(last_attempt_only=False)
    made = frame[frame["attempt"] > 0]
    assert sum(counts.values()) == len(watcher.rows) == watcher.total
    assert not made.duplicated(["point_id", "repeat", "attempt"]).any()
    assert not made[made["status"] == "ok"].duplicated(["point_id", "repeat"]).any()
    last = results.load()
    assert len(last) == points
    return last, watcher


def failures(frame: pd.DataFrame) -> dict[int, tuple[str, str]]:
    bad = frame[frame["status"] != "ok"]
    return {row.concurrency: (row.failure_kind, row.failure_message) for row in bad.itertuples()}


def test_every_attempt_becomes_one_row(tmp_path: Path, ray_start: driver.RayStart) -> None:
    frame, _ = drive(tmp_path / "r", ray_start)
    assert set(frame["status"]) == {"ok"}
    assert len(list((tmp_path / "r" / "raw").glob("*/*/report.json"))) == 20


def test_failures_are_rows_with_kind_and_message(tmp_path: Path, ray_start: driver.RayStart) -> None:
    frame, _ = drive(tmp_path / "r", ray_start, fail_at=3, kind="request_too_long", lie_at=7)
    bad = failures(frame)
    assert bad.pop(3) == ("request_too_long", "CUDA out of memory")
    assert bad.pop(7)[0] == "no_report"
    assert not bad
    (row,) = frame[frame["concurrency"] == 3].itertuples()
    assert row.exit_code == 1
    assert (tmp_path / "r" / row.log_path).read_text() == "torch.OutOfMemoryError"


def test_a_backend_that_raises_costs_its_point_and_the_others_are_measured_elsewhere(
    tmp_path: Path, ray_start: driver.RayStart
) -> None:
    frame, watcher = drive(tmp_path / "r", ray_start, raise_at=5)
    assert failures(frame) == {5: ("backend_error", "RuntimeError: the backend broke")}
    assert {row["failure_kind"] for row in watcher.rows if row["status"] == "failed"} == {
        "backend_error",
        "not_reached",
    }
    assert any("new deployments" in said for said in watcher.said)


def test_a_deployment_that_ends_early_costs_the_point_that_it_was_at(
    tmp_path: Path, ray_start: driver.RayStart
) -> None:
    frame, watcher = drive(tmp_path / "r", ray_start, end_at=5)
    said = "its deployment ended before this point: the node went away"
    assert failures(frame) == {5: ("node_lost", said)}
    of_five = [row for row in watcher.rows if row["concurrency"] == 5]
    told = [(row["attempt"], row["failure_kind"], row["node"]) for row in of_five]
    assert told == [(n, "node_lost", "standin") for n in (1, 2, 3)]
    assert {row["node"] for row in watcher.rows if row["failure_kind"] == "not_reached"} == {None}


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


def test_a_ray_that_never_starts_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """Its raylet is stopped as soon as it is there, as on a machine that has hung."""
    program = """
import os, pathlib, signal, sys, threading, time
from sweep.driver import session
from sweep.errors import UsageError
session.START_S, session.CLOSE_S = 6.0, 1.0
start = session.RayStart()
start.begin(None)
def stop():
    while True:
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                said = path.read_bytes()
            except OSError:
                continue
            ours = f"sweep-ray-{os.getpid()}-".encode() in said
            if ours and said.split(b"\\0")[0].endswith((b"gcs_server", b"raylet")):
                os.kill(int(path.parent.name), signal.SIGSTOP)
        time.sleep(0.01)
threading.Thread(target=stop, daemon=True).start()
try:
    start.connect()
except UsageError as error:
    print(error, flush=True)
start.close()
os._exit(0)
"""
    out, left = run_program(program)
    assert "Ray did not start within 6 s" in out
    assert left == []


def run_program(program: str) -> tuple[str, list[bytes]]:
    """Run a program that succeeds; return its stdout and the processes that its Ray left behind."""
    how: dict[str, Any] = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"TMPDIR": "/tmp"}, **how) as process:
        out, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, err
    left = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            left += [said] if f"/sweep-ray-{process.pid}-".encode() in (said := path.read_bytes()) else []
    return out, left


@pytest.mark.parametrize(("times", "start_s"), [(2, HANG_S), (99, 20.0)])
def test_a_ray_that_gives_up_for_lack_of_time_is_begun_again(times: int, start_s: float) -> None:
    """As on a busy machine, where Ray's own limit of 30 s is over while its processes still start."""
    program = f"""
import os, pathlib, ray
from ray._private import services
from sweep.driver import session
from sweep.errors import UsageError
session.START_S, session.GAVE_UP_S = {start_s}, 0.0
told, given_up = services.get_node, []
def get_node(*arguments):
    if len(given_up) >= {times}:
        return told(*arguments)
    given_up.append(arguments)
    raise Exception("The current node timed out during startup.")
services.get_node = get_node
start = session.RayStart()
start.begin(None)
try:
    start.connect()
    print("nodes:", len(ray.nodes()), "folders:", len(list(pathlib.Path("/tmp").glob(f"sweep-ray-{{os.getpid()}}-*"))))
except UsageError as error:
    print(error)
start.close()
print("left:", len(list(pathlib.Path("/tmp").glob(f"sweep-ray-{{os.getpid()}}-*"))), flush=True)
"""
    out, processes = run_program(program)
    how, left = out.splitlines()
    if times == 2:
        assert how == "nodes: 1 folders: 1"
    else:
        assert "timed out during startup" in how or "did not start within 20 s" in how
    assert left == "left: 0" and processes == []


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
    monkeypatch.setattr(driving, "ANSWER_S", 4.0)
    frame, _ = drive(tmp_path / "r", ray_start, points=4, block_at=2)
    assert failures(frame) == {
        2: ("worker_died", "the worker process died 2 times at this point alone: it did not answer for 4 s")
    }


# --------------------------------------------------------------------------------------------- tried again, left out


def test_what_failed_by_its_node_is_measured_again(tmp_path: Path, ray_start: driver.RayStart) -> None:
    frame, watcher = drive(
        tmp_path / "r", ray_start, points=6, fail_at=3, kind="nccl", node="n7", marker=str(tmp_path / "marker")
    )
    assert set(frame["status"]) == {"ok"}
    tries = [(row["attempt"], row["status"]) for row in watcher.rows if row["concurrency"] == 3]
    assert tries == [(1, "failed"), (2, "ok")]


def test_after_running_out_of_memory_what_needs_as_much_is_skipped(tmp_path: Path, ray_start: driver.RayStart) -> None:
    one_by_one = driver.Rules(nodes=1, max_deployments=1, retry=Retry(backoff_s=0.1))
    frame, _ = drive(tmp_path / "r", ray_start, points=8, rules=one_by_one, seconds=0.6, fail_at=8)
    bad = failures(frame)
    assert bad.pop(8)[0] == "oom" and not bad  # the largest alone: nothing needs more
    frame, _ = drive(tmp_path / "s", ray_start, points=8, rules=one_by_one, seconds=0.6, fail_at=4)
    bad = failures(frame)
    assert bad[4][0] == "oom"
    skipped = {concurrency for concurrency, (kind, _) in bad.items() if kind == "needs_more"}
    measured = set(frame[frame["status"] == "ok"]["concurrency"])
    assert skipped and skipped | measured | {4} == set(range(1, 9)) and {1, 2, 3} <= measured
    (row, *_) = frame[frame["failure_kind"] == "needs_more"].itertuples()
    assert (row.status, row.attempt) == ("skipped", 0) and "c=4" in row.failure_message


def test_a_refused_configuration_stops_its_engine(tmp_path: Path, ray_start: driver.RayStart) -> None:
    one = driver.Rules(nodes=1, retry=Retry(backoff_s=0.1))
    frame, _ = drive(tmp_path / "r", ray_start, points=6, rules=one, seconds=0.6, fail_at=1, kind="invalid_config")
    bad = failures(frame)
    assert bad.pop(1)[0] == "invalid_config"
    assert {kind for kind, _ in bad.values()} == {"engine_refused"}


def test_too_many_failures_of_one_kind_end_the_sweep(tmp_path: Path, ray_start: driver.RayStart) -> None:
    rules = driver.Rules(nodes=1, limits=Limits(max_failures=1), retry=Retry(backoff_s=0.1))
    frame, _ = drive(tmp_path / "r", ray_start, points=6, rules=rules, seconds=0.6, fail_at=1, kind="unknown")
    bad = failures(frame)
    assert bad.pop(1)[0] == "unknown"
    assert {kind for kind, _ in bad.values()} == {"many_failures"}


def test_a_budget_ends_the_sweep_between_points(tmp_path: Path, ray_start: driver.RayStart) -> None:
    spent = driver.Rules(nodes=1, limits=Limits(budget=Budget(usd=1e-9), price=2.0))
    frame, _ = drive(tmp_path / "r", ray_start, points=12, rules=spent, seconds=2.0)
    ok = frame[frame["status"] == "ok"]
    assert 0 < len(ok) < 12 and (ok["cost_usd"] > 0).all()
    assert {kind for kind, _ in failures(frame).values()} == {"budget"}
    assert "run.budget.usd" in frame[frame["status"] == "skipped"]["failure_message"].iloc[0]


def test_gpus_that_were_given_back_while_a_job_waited_again_are_not_charged(
    tmp_path: Path, ray_start: driver.RayStart
) -> None:
    now = datetime.now(UTC)
    told = [
        Started(node="n", at=now - timedelta(hours=10)),
        Released(at=now - timedelta(hours=9, minutes=40)),
        Started(node="n", at=now - timedelta(minutes=20)),
        Started(node="n", at=now - timedelta(minutes=20)),  # as an actor that was restarted tells it
    ]
    rules = driver.Rules(nodes=1, limits=Limits(budget=Budget(gpu_hours=10)))
    frame, _ = drive(tmp_path / "r", ray_start, points=3, rules=rules, elsewhere=True, told=told)
    assert set(frame["status"]) == {"ok"} and set(frame["gpus_held"]) == {4}
    assert frame["gpu_hours"].sum() == pytest.approx(4 * 40 / 60, rel=0.05)
    assert frame["gpu_hours"].max() == pytest.approx(frame["gpu_hours"].sum(), rel=0.05)  # in the first row


def test_a_deployment_that_ends_while_it_waits_again_is_charged_what_it_held(
    tmp_path: Path, ray_start: driver.RayStart
) -> None:
    now = datetime.now(UTC)
    told = [
        Started(node="n", at=now - timedelta(hours=10)),
        Released(at=now - timedelta(hours=9)),
        Ended(message="the Job was deleted", kind="cancelled"),
    ]
    rules = driver.Rules(nodes=1, limits=Limits(budget=Budget(gpu_hours=10)), retry=Retry(attempts=1))
    frame, _ = drive(tmp_path / "r", ray_start, points=1, rules=rules, elsewhere=True, told=told)
    assert set(frame["failure_kind"]) == {"cancelled"}
    assert frame["gpu_hours"].sum() == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("ends_all", [False, True])
def test_what_each_attempt_would_meet_again_counts_for_all_of_them(
    tmp_path: Path, ray_start: driver.RayStart, ends_all: bool
) -> None:
    """Where no nodes can be had for any of them, each further try would wait for hours."""
    told = [Ended(message="no capacity in zone", kind="quota", ends_all=ends_all)]
    rules = driver.Rules(nodes=1, retry=Retry(attempts=2, backoff_s=0.1))
    _, watcher = drive(tmp_path / "r", ray_start, points=3, rules=rules, elsewhere=True, told=told)
    assert {row["failure_kind"] for row in watcher.rows} == ({"quota"} if ends_all else {"quota", "not_reached"})
    tries = len({row["deployment_id"] for row in watcher.rows})
    assert tries == 2 if ends_all else tries > 2


def test_what_is_told_late_is_charged_the_time_of_the_pod_that_measured_it() -> None:
    def at(minute: float) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)

    work = Work(deployments(1, nodes=1)[0], {})
    work.hold(at(0), None)
    work.release(at(31))
    work.hold(at(600), None)
    for ended, begun in ((20, 0), (30, 20), (620, 599), (640, 620)):
        assert work.begin_of(at(ended)) == at(begun)
        work.charge(at(ended))
    assert work.holding().since == at(640) and not work.holding().held


def test_a_deadline_that_has_come_begins_nothing(tmp_path: Path, ray_start: driver.RayStart) -> None:
    rules = driver.Rules(nodes=2, limits=Limits(deadline=datetime.now(UTC)))
    frame, _ = drive(tmp_path / "r", ray_start, points=4, rules=rules)
    assert set(frame["failure_kind"]) == {"deadline"}


def test_a_canary_that_sings_is_followed_by_the_others(tmp_path: Path, ray_start: driver.RayStart) -> None:
    rules = driver.Rules(nodes=2, canary=True)
    frame, _ = drive(tmp_path / "r", ray_start, points=7, rules=rules)
    assert set(frame["status"]) == {"ok"}
    sizes = frame.groupby("deployment_id").size().tolist()
    assert sorted(sizes) == [1, 3, 3]


def test_a_canary_that_dies_is_followed_by_none(tmp_path: Path, ray_start: driver.RayStart) -> None:
    rules = driver.Rules(nodes=2, canary=True)
    frame, _ = drive(tmp_path / "r", ray_start, points=7, rules=rules, fail_at=1, kind="unknown")
    bad = failures(frame)
    assert bad.pop(1)[0] == "unknown"
    assert {kind for kind, _ in bad.values()} == {"canary"} and len(bad) == 6


def test_no_more_deployments_exist_at_once_than_allowed(tmp_path: Path, ray_start: driver.RayStart) -> None:
    rules = driver.Rules(nodes=4, max_points=1, max_deployments=1)
    frame, _ = drive(tmp_path / "r", ray_start, points=5, rules=rules, seconds=0.1)
    by_time = frame.sort_values("started_at")
    assert (by_time["started_at"].iloc[1:].to_numpy() >= by_time["ended_at"].iloc[:-1].to_numpy()).all()


def test_what_nobody_can_see_any_more_gets_no_row_and_is_not_begun_again(
    tmp_path: Path, ray_start: driver.RayStart
) -> None:
    with pytest.raises(UsageError, match=r"1 deployments can be followed no more \(may not watch it any more\)"):
        drive(tmp_path / "r", ray_start, points=8, lose_at=5, rules=driver.Rules(nodes=1))
    rows = Results(tmp_path / "r").load()
    assert set(rows["status"]) == {"ok"} and 5 not in set(rows["concurrency"])


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


class Interrupter(Silent):
    """Presses Ctrl-C at the first row, after it has killed the process of that row where it is asked to."""

    def __init__(self, kills: bool) -> None:
        super().__init__()
        self.kills = kills

    def row(self, row: Mapping[str, Any]) -> None:
        super().row(row)
        if len(self.rows) == 1:
            if self.kills:
                os.kill(int(row["node"]), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("kills", [False, True], ids=["", "just after an actor died"])
def test_an_interrupt_says_how_much_was_deleted(tmp_path: Path, ray_start: driver.RayStart, kills: bool) -> None:
    with pytest.raises(Interrupted, match=r"; 2 deployments were deleted$"):
        drive(tmp_path / "r", ray_start, Interrupter(kills), elsewhere=True, seconds=1)


def test_an_interrupt_says_what_may_be_left_and_what_deletes_it(tmp_path: Path, ray_start: driver.RayStart) -> None:
    watcher, marker = Interrupter(False), str(tmp_path / "marker")
    with pytest.raises(Interrupted) as told:
        drive(tmp_path / "r", ray_start, watcher, elsewhere=True, seconds=1, endless=marker)
    said = "; 1 deployments were deleted; 1 deployments may be left (you may not delete it): `python -m sweep gc ...`"
    assert said in str(told.value)


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
