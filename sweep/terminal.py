"""The one edge at which text reaches a terminal: whose text it is does not matter there, nor what can be shown.

Names of models, versions, files, logs and messages of a cluster are other people's. In them control characters would
move the cursor, change the window's title or turn the order of a line around, so they are shown as escapes (`\\x1b`).
What an encoding lacks is shown by the nearest ASCII, else as an escape too. Rich prints its colors past this, so its
consoles are made here: they escape each text before it is laid out, and markup in it is text.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.segment import Segment
    from rich.text import Text

_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
"""C0 and C1 but for tab and line feed, what is invisible or turns the direction of writing, and lone surrogates."""

_ASCII: Mapping[str, str] = {"–": "-", "→": "->", "…": "...", "━": "=", "≤": "<="}
"""What we print ourselves, where an encoding lacks it."""
_UNENCODABLE = "sweep.terminal"


def printable(text: str) -> str:
    r"""Return a text with each control character as an escape; tabs and line feeds stay.

    Example:
        >>> print(printable("a\x1b[2Jb"))
        a\x1b[2Jb
    """
    return _CONTROLS.sub(lambda found: _escape(found[0]), text)


def _escape(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for characters that an encoding lacks, as an error handler of `codecs`."""
    assert isinstance(error, UnicodeEncodeError)  # no input is read with this handler
    lacking = error.object[error.start : error.end]
    return "".join(_ASCII.get(each) or _escape(each) for each in lacking), error.end


class Output:
    """stdout or stderr while a command runs.

    Its reader may go away, as `head` does: the rest is then written to nowhere, and the command ends as it would have.
    """

    def __init__(self, stream: Any, *, may_be_lost: bool) -> None:
        self.stream, self._may_be_lost = stream, may_be_lost

    def write(self, text: str) -> int:
        """Write a text, its control characters as escapes.

        Raises:
            OSError: a disk is full, for example. Of stderr nothing is raised: no run ends because nobody can see it.
        """
        with self._lost():
            self.stream.write(printable(text))
        return len(text)

    def flush(self) -> None:
        """Flush, as `write` does."""
        with self._lost():
            self.stream.flush()

    @contextlib.contextmanager
    def _lost(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            drop(self.stream)
            if not (self._may_be_lost or isinstance(error, BrokenPipeError)):
                raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def drop(stream: Any) -> None:
    """Write what is still printed to nowhere: else Python ends with exit code 120, since it cannot be flushed."""
    with contextlib.suppress(OSError, ValueError):  # what has no file behind it needs none
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Let stdout and stderr be safe for any text, until the end of the block; what is closed becomes nowhere."""
    codecs.register_error(_UNENCODABLE, _replace)
    before = sys.stdout, sys.stderr
    with contextlib.ExitStack() as undo:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None:
                stream = undo.enter_context(open(os.devnull, "w", encoding="utf-8"))
            elif hasattr(stream, "reconfigure"):
                undo.callback(stream.reconfigure, errors=stream.errors)
                stream.reconfigure(errors=_UNENCODABLE)
            setattr(sys, name, Output(stream, may_be_lost=name == "stderr"))
        try:
            yield
        finally:
            for output in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    output.flush()
            sys.stdout, sys.stderr = before


def console(stream: IO[str] | None = None, *, width: int | None = None) -> Console:
    """Return what prints tables and colors to stdout, or to `stream`; markup in texts is text.

    width: of a line, in characters; None is that of the terminal.
    """
    from rich.console import Console

    class Safe(Console):
        def render_str(self, text: str, **how: Any) -> Text:  # before a cell is measured
            return super().render_str(printable(text), **how)

        def render(self, renderable: Any, options: ConsoleOptions | None = None) -> Iterator[Segment]:
            for part in super().render(renderable, options):  # lines of the log beside a live display are no str
                yield part if part.control else part._replace(text=printable(part.text))

        def on_broken_pipe(self) -> None:  # else it ends the process with 1, which compare says of a regression
            drop(self.file)

    to: Any = stream or sys.stdout
    return Safe(file=to.stream if isinstance(to, Output) else to, width=width, markup=False, emoji=False)
