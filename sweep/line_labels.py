"""What stands before each line of a log, put there by whatever carried it, is found from the lines themselves.

kubectl, docker, mpirun, srun, Ray, logging, CI and many others put a label before each line: a name, a rank, a time, or
all of these. No list can know them all. But where a line is known to the last character, such as a title of a report,
all that stands before it is the label, and other lines of the same writer begin in the same way: with the same text,
and with other numbers where it counts or tells the time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

LONGEST_LABEL = 512
MOST_LABELS = 64
MOST_STREAMS = 100_000
MOST_SEARCHED = 2 * LONGEST_LABEL
"""Characters of a line in which its label is looked for."""
SHORTEST_COUNT = 4
"""In so many lines a number must differ each time to be a line number."""
ENOUGH = 300
"""After so many lines that had no label and would have shown one, a log is taken to have none."""

COLOR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][0-9A-Za-z]")
_NUMBER = re.compile(r"\d+(?:[:.,/-]\d+)*")
_TIME = re.compile(r".*:|\d+([/-])\d+\1\d+$|\d{8}|\d+[.,]\d{3}")
"""A number that tells the time, by its form: 18:48:10,418, 2026-01-17, 11/23/2026, 1768675690, 12.345."""
_PART = re.compile(rf"(?P<number>\s*{_NUMBER.pattern})|(?P<space>\s+)|(?P<text>[^\s\d]+)")

_ANCHORS = (
    *("[TRT-LLM] [", "[TensorRT-LLM][", "Traceback (most recent call last):", "Error: ", "slurmstepd: error: "),
    *("Usage: trtllm-", "' for help", "Error response from daemon: "),
)
_ANCHOR = re.compile(
    r"(?:\[[\d/:-]{19}\] )?\[TRT-LLM\] \[|\[TensorRT-LLM\]\[|Traceback \(most recent call last\):\s*$"
    r"|(?:\b[a-z_]\w*\.)+[A-Z]\w*Error: |\bslurmstepd: error: |\bUsage: trtllm-|\bTry '.{1,200} --help' for help"
    r"|(?<![\w.])Error: (?:No such|Invalid|Missing|Option|Got|Model|Repository|Revision|Local entry|Access)\b"
    r"|(?:\bdocker: )?\bError response from daemon: "
)
"""How lines begin before which TensorRT-LLM, click, Python, Slurm and docker print nothing."""
_INDENTED = re.compile(rf"\s+(?={_ANCHOR.pattern})")


@dataclass(frozen=True, slots=True)
class Label:
    """The form of a label; its numbers tell streams apart (ranks, pods), but for those that tell the time."""

    pattern: re.Pattern[str]

    @classmethod
    def of(cls, before: str) -> Label | None:
        """Return the label of a line before whose text `before` stands; None where nothing does."""
        body = before.strip(" \t\ufeff")
        if not body or len(before) > LONGEST_LABEL:
            return None
        form = "".join(_form(part) for part in _PART.finditer(body))
        behind = len(before) - len(before.rstrip())
        return cls(re.compile(rf"[\s\ufeff]*{form}\s{{0,{behind}}}"))

    @classmethod
    def indentation(cls, before: str) -> Label:
        """Return the label of lines that are indented, as text is that was pasted into other text."""
        return cls(re.compile(re.escape(before)))

    def part(self, line: str) -> tuple[tuple[str, ...], str] | None:
        """Return the numbers in the label of a line and the text behind it; None where the line has another."""
        found = self.pattern.match(line)
        return None if found is None else (found.groups(), line[found.end() :])


def _form(part: re.Match[str]) -> str:
    if part["number"] is None:
        return r"\s+" if part["text"] is None else re.escape(part["text"])
    number = _NUMBER.pattern
    return rf"\s*{number}" if _TIME.match(part["number"].strip()) else rf"\s*({number})"


def relabelled(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a log, as soon as some line has told what its labels are with `[stream N]: ` in their place.

    N tells streams apart as the labels did. A label stands before most lines; what one line alone has before a
    traceback is a message.
    """
    labels: dict[Label, tuple[int, ...]] = {}  # which of its numbers tell streams apart
    streams: dict[tuple[Label, tuple[str, ...]], int] = {}
    source, bare = iter(lines), 0
    while (bare < ENOUGH or labels) and (some := [_uncolored(line) for line in islice(source, 100)]):
        if len(labels) < MOST_LABELS and any(anchor in "\n".join(some) for anchor in _ANCHORS):
            before = [found.string[: found.start()] for line in some if (found := _ANCHOR.search(line[:MOST_SEARCHED]))]
            new = [label for text in dict.fromkeys(before) if (label := Label.of(text)) and label not in labels]
            indented = {match[0]: None for line in some if (match := _INDENTED.match(line))}
            new += [label for label in map(Label.indentation, indented) if label not in labels]
            heard = {label: [parts[0] for line in some if (parts := label.part(line))] for label in new}
            known = labels | {label: _telling_apart(numbers) for label, numbers in heard.items()}
            labelled = sum(any(label.part(line) for label in known) for line in some) if known else 0
            if labelled > 1 and 2 * labelled >= sum(not line.isspace() for line in some):
                labels = known
            bare += before.count("")
        yield from (_relabelled(line, labels, streams) for line in some) if labels else some
    yield from source


def _uncolored(line: str) -> str:
    return COLOR.sub("", line) if "\x1b" in line else line


def _telling_apart(numbers: list[tuple[str, ...]]) -> tuple[int, ...]:
    """Return which numbers of a label tell streams apart: not one that differs in every line, which counts lines."""
    return tuple(
        place
        for place, values in enumerate(zip(*numbers, strict=True))
        if len(values) < SHORTEST_COUNT or len(set(values)) < len(values)
    )


def _relabelled(
    line: str, labels: Mapping[Label, tuple[int, ...]], streams: dict[tuple[Label, tuple[str, ...]], int]
) -> str:
    parts = [(label, *heard) for label in labels if (heard := label.part(line))]
    if not parts:
        return line
    label, numbers, text = min(parts, key=lambda part: len(part[2]))
    writer = label, tuple(numbers[place] for place in labels[label])
    stream = streams.setdefault(writer, len(streams) + 1) if len(streams) < MOST_STREAMS else 0
    return f"[stream {stream}]: {text}"
