"""A label before each line of a log, whatever put it there, changes nothing of what the log holds."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.report import Log, Report, read_log
from sweep.report.log import MOST_LINES
from sweep.report.streams import Streams
from tests.labelled import LABELS, clock, labelled

REPORTS = Path(__file__).parent.parent / "data" / "reports"
NAMES = ("1.2.0rc2-throughput-streaming", "1.2.0rc2-latency", "0.16.0-throughput-nonstreaming", "serving-default")
TEXTS = {name: (REPORTS / f"{name}.txt").read_text() for name in NAMES}
STREAMING, LATENCY = TEXTS[NAMES[0]], TEXTS[NAMES[1]]
SERVING = TEXTS[NAMES[3]][TEXTS[NAMES[3]].index("====") :]
CONCURRENCY = "Maximum request concurrency: 64\n"


def log(text: str) -> Log:
    return read_log(io.BytesIO(text.encode()))


def report(text: str) -> Report:
    read = log(text)
    assert read.report is not None, read.problem
    return read.report


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("label", LABELS)
def test_any_label_before_each_line(label: str, name: str) -> None:
    assert report(labelled(TEXTS[name], LABELS[label])) == report(TEXTS[name])


@pytest.mark.parametrize("label", LABELS)
def test_blanks_at_the_end_of_lines_may_be_gone(label: str) -> None:
    text = "\n".join(line.rstrip() for line in labelled(STREAMING, LABELS[label]).split("\n"))
    assert report(text) == report(STREAMING)


@pytest.mark.parametrize("label", sorted(set(LABELS) - {"blanks"}))
def test_lines_of_others_stand_between(label: str) -> None:
    lines = labelled(STREAMING, LABELS[label]).split("\n")
    others = ["node-b | TP Size:                8", "", "= other =", "2026-01-17 kernel: eth0: link up", "=" * 59]
    text = "\n".join(f"{line}\n{others[number % 5]}" for number, line in enumerate(lines))
    assert report(text) == report(STREAMING)


RANKS: dict[str, Callable[[int, int], str]] = {
    "docker": lambda n, rank: f"bench-{rank}  | ",
    "horovod": lambda n, rank: f"Sat Jan 17 {clock(n)} 2026[1,{rank}]<stdout>:",
    "journal": lambda n, rank: f"Jan 17 {clock(n)} node-a4x-7 bench[{4711 + rank}]: ",
    "kubectl": lambda n, rank: f"[pod/bench-{rank}-7d9f8/bench] 2026-01-17T{clock(n)}.{n * 100}Z ",
    "names": lambda n, rank: f"{'ab'[rank]} ",
    "Ray": lambda n, rank: f"(BenchActor pid={4711 + rank}, ip=10.128.0.7) ",
    "srun": lambda n, rank: f" {rank}: ",
}


@pytest.mark.parametrize("label", RANKS)
def test_ranks_that_write_through_each_other_stay_apart(label: str) -> None:
    ranks = [
        labelled(text, lambda n, rank=rank: RANKS[label](n, rank)).split("\n")  # type: ignore[misc]
        for rank, text in enumerate((STREAMING, LATENCY))
    ]
    most = max(map(len, ranks))
    both = "\n".join("\n".join(lines) for lines in zip(*(x + [""] * (most - len(x)) for x in ranks), strict=True))
    assert report(both) == report(STREAMING if len(ranks[0]) > len(ranks[1]) else LATENCY)  # the last one counts


def test_only_the_first_line_of_a_text_that_was_logged_at_once_has_the_label() -> None:
    assert report(f"{CONCURRENCY}2026-01-17 18:48:10,418 - INFO - {SERVING}") == report(CONCURRENCY + SERVING)


def test_the_concurrency_of_one_report_is_not_that_of_the_next() -> None:
    def label(n: int) -> str:
        return f"bench-1 | {n} "

    assert report(labelled(CONCURRENCY + SERVING, label)).concurrency == 64
    assert report(labelled(CONCURRENCY + SERVING + SERVING, label)).concurrency is None
    assert report(labelled(SERVING + CONCURRENCY + SERVING, label)).concurrency == 64


def test_a_dump_behind_a_label_is_read() -> None:
    dump = "TorchLlmArgs(model='a', tensor_parallel_size=4, moe_config=MoeConfig(backend='TRTLLM'))\n"
    for label in ("docker, two digits", "Ray", "torchrun", "stern"):
        read = log(labelled(dump + STREAMING, LABELS[label]))
        assert read.arguments["moe_config.backend"] == "TRTLLM"
        again = log(read.excerpt)
        assert (again.report, again.arguments) == (read.report, read.arguments)


# ------------------------------------------------------------------------------------------------- what is not a label


def test_one_odd_line_has_no_label() -> None:
    for line in ("Total Output Throughput", "TP Size", "[TTFT] P99"):
        damaged = log(STREAMING.replace(line, f"x {line}", 1))
        assert damaged.report is None
        assert "missing" in (damaged.problem or "")


def test_a_line_of_another_label_is_not_taken() -> None:
    text = labelled(STREAMING, lambda n: "bench-1 | ").replace("bench-1 | Total Latency", "x | Total Latency")
    read = log(text)
    assert read.report is None
    assert "duration_s is missing" in (read.problem or "")


def test_two_reports_behind_one_label_are_none() -> None:
    lines, other = STREAMING.split("\n"), STREAMING.replace("12.0470", "13.0470").split("\n")
    both = "\n".join(f"bench-1 | {line}" for pair in zip(lines, other, strict=True) for line in pair)
    read = log(both)
    assert read.report is None
    assert "two values for one line: Request Throughput" in (read.problem or "")


@pytest.mark.parametrize("line", ["attention = TRTLLM backend", "key = PYTORCH BACKEND", "x == ENGINE DETAILS"])
def test_a_line_that_only_ends_like_a_title_begins_no_report(line: str) -> None:
    for rest in (300, 3, 0):
        read = log(f"{line}\n" + "[11/07/2025-03:11:09] [TRT-LLM] [I] Loading weights\n" * rest)
        assert (read.report, read.problem) == (None, None)
    assert report(f"{line}\n{STREAMING}{line}\n") == report(STREAMING)


def test_a_labelled_report_that_never_ends_is_given_up() -> None:
    text = labelled(STREAMING, lambda n: "0: ")
    begun = text[: text.index("0: = PERFORMANCE")]
    assert report(begun + "nothing\n" * (MOST_LINES + 200) + text) == report(STREAMING)
    assert "no end" in (log(begun).problem or "")


def test_a_report_that_began_late_and_never_ends_is_given_up_as_soon() -> None:
    begun = STREAMING[: STREAMING.index("= PERFORMANCE")]
    streams = Streams(500)
    for line in [*["nothing"] * 10_000, *begun.split("\n"), *["nothing"] * 300]:
        streams.take(line)
    assert streams.open
    for _ in range(300):
        streams.take("nothing")
    assert not streams.open


@pytest.mark.parametrize("size", [1, 7, 100, 4096])
def test_where_blocks_begin_makes_no_difference(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = labelled(STREAMING, LABELS["kubectl"]) + labelled(CONCURRENCY + SERVING, LABELS["glog"])
    whole = log(text)
    monkeypatch.setattr("sweep.report.log.BLOCK_BYTES", size)
    read = log(text)
    assert (read.report, read.problem, read.arguments) == (whole.report, whole.problem, whole.arguments)
