"""A log of a failure that something put labels into is the same failure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweep.failure import classify
from sweep.line_labels import Label, relabelled
from tests.labelled import LABELS, labelled

FAILURES = Path(__file__).parent / "data" / "failures"
TRACED = [  # by whose lines the label shows
    name
    for name in json.loads((FAILURES / "index.json").read_text())
    if any(sign in (FAILURES / name).read_text() for sign in ("[TRT-LLM] [", "[TensorRT-LLM][", "Traceback"))
]


@pytest.mark.parametrize("name", TRACED)
@pytest.mark.parametrize("label", sorted(set(LABELS) - {"blanks"}))
def test_a_labelled_log_of_a_failure_is_the_same_failure(label: str, name: str) -> None:
    text = (FAILURES / name).read_text()
    plain, behind = classify(text.splitlines()), classify(labelled(text, LABELS[label]).splitlines())
    assert (behind.kind, behind.message) == (plain.kind, plain.message)


def test_an_error_that_a_wrapper_logs_as_info_is_an_error() -> None:
    lines = [
        "Traceback (most recent call last):",
        '  File "/usr/local/bin/trtllm-bench", line 8, in <module>',
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
    ]
    assert classify(f"2026-01-17 18:48:1{n},418 - INFO - {line}" for n, line in enumerate(lines)).kind == "oom"


def test_labels_of_two_pods_tell_them_apart() -> None:
    lines = [f"[pod/bench-{n % 2}-ab/bench] [11/07/2025-03:14:07] [TRT-LLM] [I] {n}" for n in range(300)]
    expected = [f"[stream {n % 2 + 1}]: [11/07/2025-03:14:07] [TRT-LLM] [I] {n}" for n in range(300)]
    assert list(relabelled(lines)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "[06/16/2025-05:33:58] [TRT-LLM] [RANK 1] [E] Traceback (most recent call last):\n  File x\n",
        "Failed to start: Traceback (most recent call last):\n  File x\nValueError: y\n",
        "2026-01-17 18:48:10,418 - ERROR - Traceback (most recent call last):\n  File x\nValueError: y\n",
        "nothing\n" * 250,
        "",
    ],
)
def test_what_only_looks_like_a_label_stays(text: str) -> None:
    assert list(relabelled(text.splitlines())) == text.splitlines()


def test_a_label_keeps_the_blanks_of_the_text_behind_it() -> None:
    label = Label.of("bench-1 | ")
    assert label is not None
    assert label.part("bench-12 |   File x") == (("12",), "  File x")
    assert label.part("bench-12 |") == (("12",), "")
    assert label.part("other-12 | x") is None


def test_nothing_is_no_label() -> None:
    assert [Label.of(before) for before in ("", "  ", "\ufeff", "x" * 600)] == [None] * 4
