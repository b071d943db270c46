"""What a person sees while a sweep runs."""

from __future__ import annotations

import io
import os
import pty
import select
from typing import Any

import pytest

from sweep.progress import Progress, duration, where


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def row(concurrency: int = 64, status: str = "ok", tput: float | None = 900.0) -> dict[str, Any]:
    return {
        "status": status,
        "output_tput_per_gpu": tput,
        "isl": 1024,
        "osl": 8192,
        "tp": 4,
        "ep": 4,
        "attention_dp": True,
        "concurrency": concurrency,
    }


def test_plain_lines_are_few_and_the_last_one_tells_all() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress(name="grid", total=100, source="simulated", stream=stream, clock=clock) as progress:
        for number in range(99):
            clock.now += 0.1
            progress.row(row(concurrency=number, tput=float(number)))
        progress.row(row(status="failed", tput=None))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "grid: 100 measurements to do (simulated)"
    assert len(lines) <= 2 + 5
    assert "to go" in lines[1]
    assert lines[-1] == (
        "grid: 100/100 (simulated), 1 without a number, 10.1/s, best 98 tok/s/GPU at 1024/8192 TP4 EP4 DP c=98"
    )


def test_the_rest_is_estimated_from_what_came_after_the_first_row() -> None:
    clock = Clock()
    progress = Progress(name="grid", total=10, source="measured", stream=io.StringIO(), clock=clock)
    progress.phase = "starting Ray"
    assert progress.line() == "grid: 0/10 (measured), starting Ray"
    clock.now += 3600  # a queue, an image, a model: no measure of what a row takes
    for _ in range(3):
        progress.row(row(tput=None))
        assert progress.line() == f"grid: {progress.done}/10 (measured)"
        clock.now += 600
    progress.row(row(tput=None))
    assert progress.line() == "grid: 4/10 (measured), 6.0/h, 60 min to go"


def test_deployments_that_end_their_first_points_together_give_no_estimate_yet() -> None:
    clock = Clock()
    progress = Progress(name="grid", total=100, source="measured", stream=io.StringIO(), clock=clock)
    for number in range(10):
        progress.stage(f"d{number}", "measuring", "")
    for number in range(30):
        clock.now += 600 if number % 10 == 0 else 0.1
        progress.row(row(tput=None))
        assert "to go" not in progress.line()
    clock.now += 600
    progress.row(row(tput=None))
    assert "69 min to go" in progress.line()  # 30 rows in 1,802.6 s, 69 are left


def test_unusual_things_are_told_at_once() -> None:
    stream = io.StringIO()
    with Progress(name="grid", total=1, source="simulated", stream=stream) as progress:
        progress.say("a worker process died")
        assert "grid: a worker process died\n" in stream.getvalue()


@pytest.mark.parametrize(
    ("columns", "shown"), [(60, "grid: 1/2"), (120, "best 900 tok/s/GPU at 1024/8192 TP4 EP4 DP c=64")]
)
def test_in_a_terminal_it_is_one_line(columns: int, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal:
        with Progress(name="grid", total=2, source="simulated", stream=terminal) as progress:
            progress.row(row())
        terminal.flush()
        text = ""
        while shown not in text and select.select([leader], [], [], 5)[0]:
            text += os.read(leader, 65536).decode()
    os.close(leader)
    assert shown in text
    assert "━" in text


def test_words_of_people() -> None:
    assert [duration(s) for s in (7.2, 300, 20000)] == ["7 s", "5 min", "5.6 h"]
    assert where(row(concurrency=0)) == "1024/8192 TP4 EP4 DP c=unlimited"
