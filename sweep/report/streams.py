"""The reports that a log holds, each read from the lines of the one writer that printed it.

Several ranks or pods may write into one log, each behind a label of its own (line_labels.py). The label is what stands
before a report's title; from there on the lines with this label are read, without it, and all others are other text. A
line that cannot have the label, because damage or a progress bar took it, is other text as well.

Whether a number in a label is a rank's or counts lines shows only later. So lines with the same numbers are read as one
stream, and those with any numbers as another: the one in which a report becomes whole is right. Lines of two ranks
taken for one make no whole report, since their values differ. And where a logger was given a report as one text, it
labels the first line only: so a title of benchmark_serving may also be followed by lines without a label.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sweep.errors import ReportError
from sweep.line_labels import Label
from sweep.report.serving import ServingText
from sweep.report.text import TrtllmText
from sweep.report.value import Report

MOST_LINES_TO_RULE = 100
"""So soon the rule below a title must come, else a line with a label before it was no title."""
MOST_STREAMS = 1024

EARLIER = ("Maximum request concurrency:", "Total failed requests:")
"""Lines of benchmark_serving that stand before its report and belong to it."""

_TITLE = re.compile(r"= (?:[^=]*\S (?:BACKEND|backend)|ENGINE DETAILS)\s*$")
_HEADER = re.compile(r"(=+) Serving Benchmark Result \1=*\s*$")  # in the middle: a label may end with "=" too
_RULE = re.compile(r"={20,}")


def title_in(line: str) -> re.Match[str] | None:
    """Return the title of a report in a line without colours; a label may stand before it."""
    return (_HEADER if "Serving Benchmark Result" in line else _TITLE).search(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """A whole report, the lines that it was read from, without their label, that label and the numbers in it."""

    report: Report
    lines: list[str]
    label: Label | None
    numbers: tuple[str, ...] | None


@dataclass(slots=True)
class _Stream:
    """What the lines of one writer build up, since the line (of the log) in which a report began."""

    begun: int
    bench: TrtllmText = field(default_factory=TrtllmText)
    serving: ServingText = field(default_factory=ServingText)
    lines: list[str] = field(default_factory=list)
    ruled: bool = False

    @property
    def open(self) -> bool:
        return self.bench.open or self.serving.open

    def lasts(self, line: int, most: int) -> bool:
        """Return whether a report can still come."""
        return self.open and line - self.begun <= (most if self.ruled else MOST_LINES_TO_RULE)


_Numbers = tuple[str, ...] | None
"""The numbers in the label of a stream; None for lines with any numbers."""


class Streams:
    """Takes the lines of a log; `problem` says why the report that ended last is none.

    A report that has not ended after `most_lines` never will.
    """

    def __init__(self, most_lines: int) -> None:
        self._most = most_lines
        self.problem: str | None = None
        self._streams: dict[Label | None, dict[_Numbers, _Stream]] = {}
        self._earlier: deque[str] = deque(maxlen=MOST_STREAMS)
        self._line = 0

    @property
    def open(self) -> bool:
        """Whether a report may have begun and not ended."""
        return bool(self._streams)

    @property
    def unfinished(self) -> bool:
        """Whether a report has begun for certain and not ended."""
        return any(stream.ruled for streams in self._streams.values() for stream in streams.values())

    def take(self, line: str, *, cut: bool = False) -> Printed | None:
        """Take a line without colours and progress bars; return the report whose end it is.

        cut: it has no line end, so it counts only where nothing of it can be missing.
        """
        self._line += 1
        if not cut:
            self._begin(line)
        printed, inside = None, False
        for label, numbers, stream, text in list(self._heard(line)):
            if printed is None and not (cut and text.strip("= ")):
                inside = inside or (stream.serving.open and text.lstrip().startswith(EARLIER))
                printed = self._feed(label, numbers, stream, text)
        if not inside and not cut and any(word in line for word in EARLIER):
            self._earlier.append(line)
        if self._line % MOST_LINES_TO_RULE == 0:
            self._keep(lambda _label, _numbers, stream: stream.lasts(self._line, self._most))
        return printed

    def _begin(self, line: str) -> None:
        """Open the streams of a report if this line is its title."""
        title = title_in(line)
        if title is None or sum(map(len, self._streams.values())) >= MOST_STREAMS:
            return
        header = title.re is _HEADER
        label = Label.of(line[: title.start()])
        heard = _heard(label, line)
        if heard is None:
            return
        numbers, text = heard
        opened: list[_Numbers] = [numbers, None] if numbers else [numbers]
        for one in opened:
            stream = self._streams.setdefault(label, {}).setdefault(one, _Stream(self._line))
            stream.begun, stream.ruled = self._line, stream.ruled or header or label is None
            if header:
                self._tell_earlier(label, one, stream)
        if header and label is not None:
            stream = self._streams.setdefault(None, {}).setdefault((), _Stream(self._line, ruled=True))
            stream.begun = self._line
            self._tell_earlier(None, (), stream)
            self._tell_earlier(label, numbers, stream)
            self._feed(None, (), stream, text)
        self._earlier = deque((x for x in self._earlier if _heard(label, x, numbers) is None), MOST_STREAMS)

    def _tell_earlier(self, label: Label | None, numbers: _Numbers, stream: _Stream) -> None:
        for line in self._earlier:
            heard = _heard(label, line, numbers)
            if heard is not None and heard[1].lstrip().startswith(EARLIER):
                stream.lines.append(heard[1])
                stream.serving.feed(heard[1])

    def _heard(self, line: str) -> Iterator[tuple[Label | None, _Numbers, _Stream, str]]:
        """Yield each open stream that a line is of, and the line without its label."""
        for label, streams in self._streams.items():
            heard = _heard(label, line)
            if heard is not None:
                for numbers in (heard[0], None):
                    if numbers in streams:
                        yield label, numbers, streams[numbers], heard[1]

    def _feed(self, label: Label | None, numbers: _Numbers, stream: _Stream, text: str) -> Printed | None:
        stream.lines.append(text)
        stream.ruled = stream.ruled or _RULE.fullmatch(text.strip()) is not None
        report = None
        try:
            report = stream.bench.feed(text) or stream.serving.feed(text)
        except ReportError as error:
            if numbers is not None or self.problem is None:
                self.problem = str(error)
        if report is not None:
            self.problem = None
            self._keep(
                lambda of, ns, other: other.begun != stream.begun and not (of == label and None in (ns, numbers))
            )
            if numbers is None:
                self._earlier = deque((x for x in self._earlier if _heard(label, x) is None), MOST_STREAMS)
            return Printed(report=report, lines=stream.lines, label=label, numbers=numbers)
        if not stream.lasts(self._line, self._most):
            self._keep(lambda _label, _numbers, other: other is not stream)
        return None

    def _keep(self, wanted: Callable[[Label | None, _Numbers, _Stream], bool]) -> None:
        kept = {
            label: {numbers: stream for numbers, stream in streams.items() if wanted(label, numbers, stream)}
            for label, streams in self._streams.items()
        }
        self._streams = {label: streams for label, streams in kept.items() if streams}


def _heard(label: Label | None, line: str, numbers: _Numbers = None) -> tuple[tuple[str, ...], str] | None:
    """Return the numbers of the line's label and the text behind it; None if it has another label, or other numbers."""
    heard = ((), line) if label is None else label.part(line)
    return heard if heard is not None and numbers in (None, heard[0]) else None
