"""What a person sees while a sweep runs: one live line in a terminal, plain lines elsewhere. All of it on stderr."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import IO, Any, Self

from sweep import terminal

PLAIN_EVERY_S = 2.0
"""Elsewhere than in a terminal: at most one line in this time, and one at the end."""
FEW_ROWS = 3
"""Rows of each deployment, on average, before a rate and the time that is left are shown."""
SLOWEST_PER_SECOND = 0.1
"""A smaller rate is shown per hour."""
MEASURING = "measuring"
BAR_CELLS = 20
LONGEST_REASON = 100


class Progress:
    """Counts rows and shows them; a context manager."""

    def __init__(
        self,
        *,
        name: str,
        total: int,
        source: str,
        stream: IO[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.total, self.source, self.clock = name, total, source, clock
        self.done, self.bad = 0, 0
        self.best: Mapping[str, Any] | None = None
        self.phase = ""
        self._stages: dict[str, tuple[str, str]] = {}
        self._stream = stream or sys.stderr
        self._live: Any = None
        self._told = clock()
        self._first_at: float | None = None

    def __enter__(self) -> Self:
        self._told = self.clock()
        if self._stream.isatty():
            from rich.live import Live

            console = terminal.console(self._stream)
            self._live = Live(console=console, get_renderable=self._renderable, refresh_per_second=8)
            self._live.__enter__()
        else:
            self._print(f"{self.name}: {self.total:,} measurements to do ({self.source})")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)
            self._live = None
        else:
            self._print(self.line())

    def row(self, row: Mapping[str, Any]) -> None:
        """Count one row of the table."""
        self.done += 1
        self.phase = ""
        if self._first_at is None:
            self._first_at = self.clock()
        if row["status"] != "ok":
            self.bad += 1
        elif row["output_tput_per_gpu"] is not None and (
            self.best is None or row["output_tput_per_gpu"] > self.best["output_tput_per_gpu"]
        ):
            self.best = row
        self._tell()

    def stage(self, deployment_id: str, stage: str | None, message: str) -> None:
        """Take note of how far a deployment has come; None: it is over."""
        self.phase = ""
        if stage is None:
            self._stages.pop(deployment_id, None)
        else:
            self._stages[deployment_id] = stage, message
            self._tell()

    def _tell(self) -> None:
        now = self.clock()
        if self._live is None and now - self._told >= PLAIN_EVERY_S and self.done < self.total:
            self._told = now
            self._print(self.line())

    def say(self, message: str) -> None:
        """Tell of something out of the ordinary."""
        if self._live is not None:
            self._live.console.print(f"{self.name}: {message}", highlight=False, markup=False)
        else:
            self._print(f"{self.name}: {message}")

    def line(self) -> str:
        """Return the state as one line of text."""
        parts = [f"{self.name}: {self.done:,}/{self.total:,} ({self.source})"]
        if self.phase:
            parts.append(self.phase)
        parts += _stages(self._stages.values())
        if self.bad:
            parts.append(f"{self.bad:,} without a number")
        if (rate := self._rate()) is not None:
            parts.append(f"{rate:,.1f}/s" if rate >= SLOWEST_PER_SECOND else f"{rate * 3600:,.1f}/h")
            if self.done < self.total:
                parts.append(f"{duration((self.total - self.done) / rate)} to go")
        if self.best is not None:
            parts.append(f"best {self.best['output_tput_per_gpu']:,.0f} tok/s/GPU at {where(self.best)}")
        return ", ".join(parts)

    def _rate(self) -> float | None:
        """Return the rows per second since the first one, None as long as they say little of the rest.

        The time up to the first row is the start of Ray, a queue or the load of a model, and no measure of what a
        row takes. Deployments that run side by side end their first points together, so each of them must have had
        time for more.
        """
        measuring = sum(stage == MEASURING for stage, _ in self._stages.values())
        if self._first_at is None or self.done <= FEW_ROWS * max(1, measuring):
            return None
        seconds = self.clock() - self._first_at
        return (self.done - 1) / seconds if seconds > 0 else None

    def _renderable(self) -> Any:
        from rich.text import Text

        filled = BAR_CELLS * self.done // max(1, self.total)
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append("━" * filled, style="green").append("━" * (BAR_CELLS - filled), style="bright_black")
        return text.append(" " + terminal.printable(self.line()))

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


def _stages(stages: Iterable[tuple[str, str]]) -> list[str]:
    """Return how many deployments are at each stage, and what most of those that wait are told."""
    told: dict[str, Counter[str]] = {}
    for stage, message in stages:
        told.setdefault(stage, Counter())[message] += 1
    lines = []
    for stage, messages in told.items():
        (most, _), *_ = messages.most_common(1)
        said = f" ({most[:LONGEST_REASON]})" if most and stage != MEASURING else ""
        lines.append(f"{messages.total()} {stage}{said}")
    return lines


def where(row: Mapping[str, Any]) -> str:
    """Return a row's place in the matrix, for people: `1024/1024 TP4 EP4 DP c=64`."""
    layout = f"TP{row['tp']}" + (f" EP{row['ep']}" if row["ep"] > 1 else "") + (" DP" if row["attention_dp"] else "")
    return f"{row['isl']}/{row['osl']} {layout} c={row['concurrency'] or 'unlimited'}"


def duration(seconds: float) -> str:
    """Return a time span as people say it: `42 s`, `3 min`, `5.2 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
