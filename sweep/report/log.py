"""A log is read as a stream, once and in bounded memory: the last complete report in it, and what else it tells.

Most of a log is of no interest, so blocks of a megabyte are searched for the few places where something begins, and
only from there on are lines taken apart. What belongs to the report is what came before its end: the dumps of the
engine's arguments, and the engine's steps.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from sweep.line_labels import COLOR, Label
from sweep.report.arguments import DUMP, HEAD, fields_in, read_arguments
from sweep.report.iterations import STEP, Iterations, StepReader
from sweep.report.streams import EARLIER, Printed, Streams
from sweep.report.value import Report

BLOCK_BYTES = 1 << 20
TAIL_BYTES = 64 << 10
"""So much of the end of a log is kept as evidence."""
LONGEST_LINE = 64 << 10
MOST_LINES = 20_000
"""A report that has not ended after so many lines never will."""
MOST_LABELLED = 64
"""Dumps of arguments behind a label that are kept until the report tells what the label is."""
MOST_COUNTED = 1000
"""So many runs in one log are counted."""
LINES_TO_DUMP = 8
"""So many lines may other ranks print between `LLM Args:` and the line that it announces."""

_STARTS = (
    *(b" BACKEND", b" backend", b"= ENGINE DETAILS", b"Serving Benchmark Result"),
    *(line.encode() for line in EARLIER),
)
_ASIDES = (STEP, b"PyTorchConfig(", b"LlmArgs(", b"AttentionRuntimeFeatures(", b"LLM Args:", b", max_num_requests=")
_SETTINGS = "tool model tp pp ep max_batch_size max_num_tokens concurrency num_requests isl_mean osl_mean".split()
_LINE = re.compile(rb"[^\r\n]*")
_BAR = re.compile(r"(?:[A-Za-z][\w ()/.-]*:\s*)?\d{1,3}%\|.*?(?:it/s|s/it)[^\]]*\]")


def plain(line: str) -> str:
    """Return a line without terminal colours and progress bars."""
    if "\x1b" in line:
        line = COLOR.sub("", line)
    return _BAR.sub("", line) if "%|" in line else line


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What a log holds.

    report: the last complete one. problem: why the last one that ended after it is none.
    reports: of how many runs complete reports are in it; what several ranks or an echo print of one run is one.
    after: what stands after that report, of a long text the end.
    arguments: what the engine dumped of its arguments before that report, by dotted key of the engine YAML.
    excerpt: the lines that all this was read from, and the end of the log; it gives the same Log again, but for the
        number of reports.
    """

    report: Report | None
    reports: int
    problem: str | None
    arguments: Mapping[str, str]
    iterations: Iterations | None
    after: str
    excerpt: str


def read_log(stream: BinaryIO) -> Log:
    """Read a log to its end; any bytes can be read.

    Lines end with LF, CR (a progress bar) or both. What stands after the last line end was cut, and counts only where
    nothing of it can be cut: as the banner that ends a report.
    """
    reader = _Reader()
    for block in _blocks(stream):
        reader.feed(block)
    return reader.close()


def together(logs: Sequence[Log]) -> Log:
    """Return what the texts of one run hold: the last one with a report has the last word, the others add to it."""
    *others, main = sorted(logs, key=lambda log: log.report is not None)
    if not others:
        return main
    arguments = {key: value for log in others for key, value in log.arguments.items()}
    return Log(
        report=main.report,
        reports=max(log.reports for log in logs),
        problem=next((log.problem for log in (main, *others) if log.problem is not None), None),
        arguments=arguments | dict(main.arguments),
        iterations=next((log.iterations for log in (main, *others) if log.iterations is not None), None),
        after=main.after,
        excerpt="\n".join(log.excerpt for log in (*others, main) if log.excerpt),
    )


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Yield blocks of whole lines; the last one is what was not ended."""
    carry = b""
    while data := stream.read(BLOCK_BYTES):
        data = carry + data
        cut = data.rfind(b"\n") + 1 or data.rfind(b"\r", 0, -1) + 1  # a CR at the end may be half a CRLF
        if not cut and len(data) > max(BLOCK_BYTES, LONGEST_LINE):
            cut = len(data)  # no log but one endless line
        carry = data[cut:]
        if cut:
            yield data[:cut]
    yield carry


class _Counted:
    """Counts runs by their reports: those that one writer printed and that differ, or that differ in their settings."""

    def __init__(self) -> None:
        self._figures: dict[object, set[int]] = {}
        self._settings: set[object] = set()

    @property
    def runs(self) -> int:
        return max(len(self._settings), *map(len, self._figures.values())) if self._figures else 0

    def add(self, printed: Printed) -> None:
        report = printed.report
        if self.runs < MOST_COUNTED:
            self._figures.setdefault((printed.label, printed.numbers), set()).add(hash(repr(report)))
            self._settings.add(tuple(getattr(report, name) for name in _SETTINGS))


class _Reader:
    def __init__(self) -> None:
        self._streams = Streams(MOST_LINES)
        self._printed: Printed | None = None
        self._counted = _Counted()
        self._bytes_after = 0  # the last report
        self._dumps: dict[str, str] = {}  # by what the dump is of: its line
        self._lines_to_dump = 0  # so many lines may still come before the dump that the last head announced
        self._labelled: deque[str] = deque(maxlen=MOST_LABELLED)
        self._arguments: Mapping[str, str] = {}
        self._argument_lines: list[str] = []
        self._steps = StepReader()
        self._iterations: Iterations | None = None
        self._tail = b""

    def feed(self, block: bytes) -> None:
        """Take whole lines."""
        self._tail = (self._tail + block)[-TAIL_BYTES:] if len(block) < TAIL_BYTES else block[-TAIL_BYTES:]
        self._bytes_after += len(block)
        asides, seen, position = self._asides(block), 0, 0
        starts = iter(_line_begins(block, _STARTS))
        while True:
            if not self._streams.open:
                start = next((begin for begin in starts if begin >= position), None)
                if start is None:
                    break
                position = start
            for line in block[position:].splitlines(keepends=True):
                position += len(line)
                if printed := self._line(line):
                    while seen < len(asides) and asides[seen][0] < position:
                        self._aside(asides[seen][1])
                        seen += 1
                    self._printed = printed
                    self._counted.add(printed)
                    self._bytes_after = len(block) - position
                    self._conclude(printed.label)
                if not self._streams.open:
                    break
            else:
                break
        for _, line in asides[seen:]:
            self._aside(line)

    def close(self) -> Log:
        """Return what was found."""
        printed, problem = self._printed, self._streams.problem
        if printed is None:
            self._conclude(None)
            if problem is None and self._streams.unfinished:
                problem = "the report has no end: it was cut, or its run was killed"
        tail = self._tail.decode("utf-8", "replace")
        report = "" if printed is None else "\n".join(printed.lines)
        whole = report and report in tail.replace("\r\n", "\n")
        parts = [*self._argument_lines, *([] if whole or not report else [report]), tail]
        return Log(
            report=None if printed is None else printed.report,
            reports=self._counted.runs,
            problem=problem,
            arguments=self._arguments,
            iterations=self._iterations,
            after=self._tail[max(0, len(self._tail) - self._bytes_after) :].decode("utf-8", "replace"),
            excerpt="\n".join(parts),
        )

    def _line(self, line: bytes) -> Printed | None:
        """Take one line; return the report that it ended."""
        text = plain(line[:LONGEST_LINE].decode("utf-8", "replace")).rstrip("\r\n")
        return self._streams.take(text, cut=not line.endswith((b"\n", b"\r")))

    def _asides(self, block: bytes) -> list[tuple[int, bytes]]:
        """Return where dumps and steps stand, and their lines."""
        found = self._announced(block, 0)
        for begin in _line_begins(block, _ASIDES):
            line = _line_at(block, begin)
            found.append((begin, line))
            if b"LLM Args:" in line and HEAD.search(_text(line)):
                self._lines_to_dump = LINES_TO_DUMP
                found += self._announced(block, _next_line(block, begin))
        return sorted(found)

    def _announced(self, block: bytes, position: int) -> list[tuple[int, bytes]]:
        """Return the dump that a line before `position` announced, as if it stood behind its head."""
        while self._lines_to_dump and position < len(block):
            line = _line_at(block, position)
            self._lines_to_dump -= bool(line.strip())
            if not DUMP.search(line) and (fields := fields_in(_text(line))) is not None:
                self._lines_to_dump = 0
                return [(position, f"LLM Args: {fields}".encode())]
            position = _next_line(block, position)
        return []

    def _aside(self, line: bytes) -> None:
        if STEP in line:
            self._steps.printed(line)
        elif dump := DUMP.search(line):
            of_what = dump[0].decode().lstrip("]: ")
            self._dumps.pop(of_what, None)  # the last word stands last
            self._dumps[of_what] = _text(line)
        else:
            self._labelled.append(_text(line))

    def _conclude(self, label: Label | None) -> None:
        """Give the report what came before its end; some of it shows only without the report's label."""
        for line in self._labelled:
            heard = None if label is None else label.part(line)
            if heard is not None and (dump := DUMP.match(heard[1].encode())):
                self._dumps[dump[0].decode()] = heard[1]
        self._argument_lines = list(self._dumps.values())
        self._arguments = {key: said for line in self._argument_lines for key, said in read_arguments(line).items()}
        self._iterations = self._steps.summary()
        self._dumps = {}
        self._labelled.clear()
        self._steps.clear()


def _text(line: bytes) -> str:
    return plain(line.decode("utf-8", "replace"))


def _line_at(block: bytes, begin: int) -> bytes:
    """Return the line that begins there; of one that was cut, only up to its last blank, as half a value is another."""
    found = _LINE.match(block, begin, begin + LONGEST_LINE)
    assert found is not None  # it also matches nothing
    whole = found.end() < len(block) and found.end() < begin + LONGEST_LINE
    return found[0] if whole else found[0].rpartition(b" ")[0]


def _next_line(block: bytes, begin: int) -> int:
    """Return where the line after this one begins; the length of the block where there is none."""
    return (block.find(b"\n", begin) + 1) or len(block)


def _line_begins(block: bytes, words: Sequence[bytes]) -> list[int]:
    """Return where the lines begin that hold one of the words; each once, in order. Much faster than one expression."""
    begins: set[int] = set()
    for word in words:
        place = block.find(word)
        while place >= 0:
            begins.add(max(block.rfind(b"\n", 0, place), block.rfind(b"\r", 0, place)) + 1)
            end = block.find(b"\n", place)
            place = block.find(word, end) if end >= 0 else -1
    return sorted(begins)
