"""The lines of a log become messages that may tell something: without labels, and whole where they span several lines.

    ValueError: 1 validation error for TorchLlmArgs      pydantic: one message for each of its errors, which names the
    moe_config.backend                                   key in the line before the reason
      Input should be 'CUTLASS' or 'TRTLLM' [type=literal_error, ...]

    RuntimeError: Error(s) in loading state_dict for Linear:      what is indented under a message, and the line after
            size mismatch for weight: ...                         one that ends in a colon, belong to it

Most of a log is ignored a hundred lines at a time: searching a joined text for words costs far less than a regular
expression for each line.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from sweep.line_labels import COLOR

LONGEST_LINE = 20_000
"""Characters of a line that are looked at."""
MOST_CONTINUED = 4
"""So many further lines a message may have; more are details."""
MOST_REASON = 6
"""So many lines pydantic may print for one error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one place in a log says.

    is_error: it is tagged as an error by a logger.
    is_exception: it ends a traceback, whatever its class is called.
    was_survived: the next line is an ordinary one of a logger, so that the program went on.
    begins_traceback: it only begins a traceback that does not follow from one before.
    """

    text: str = ""
    is_error: bool = False
    is_exception: bool = False
    was_survived: bool = False
    begins_traceback: bool = False


EXCEPTION = re.compile(r"^[\w.]*(?:Error|Exception): .|CUDA error: |Assertion failed: ")


def messages(lines: Iterable[str], last: deque[str]) -> Iterator[Message]:
    """Yield all messages that may tell something; the last lines of all are kept in `last`.

    Of a line that is too long both ends are looked at: a file read without newline translation has all of a progress
    bar in one line, and the error behind it.
    """
    source, most, assembly = iter(lines), LONGEST_LINE // 2, _Assembly()
    while some := [x if len(x) <= LONGEST_LINE else f"{x[:most]}\r{x[-most:]}" for x in islice(source, 100)]:
        together = "\n".join(some)
        words = [word for word in _WORDS if word in together]
        if words or assembly.is_open:
            for line in some:
                if assembly.is_open or any(word in line for word in words):
                    for part in parts(line):
                        yield from assembly.take(part)
                else:
                    assembly.before = line
        last.extend(some[-(last.maxlen or 0) :])
        assembly.before = some[-1]
    yield from assembly.close()


def parts(line: str) -> Iterator[str]:
    """Yield a line, parted where a progress bar or another rank left no newline."""
    for part in line.rstrip("\r\n").split("\r"):
        yield from _GLUED.split(part) if "LLM]" in part[20:] else (part,)


def bare(line: str) -> str:
    """Return a line without colours, progress bars, labels and the time; the level of TensorRT-LLM's logger stays."""
    return _split(line)[2]


def _split(line: str) -> tuple[str, bool, str]:
    """Return the label of a line (its pod and rank), whether a logger wrote it, and the rest."""
    line = COLOR.sub("", line).rstrip()
    if "%|" in line:
        line = _BARS.sub("", line, count=1)
    prefix = _PREFIX.match(line)
    assert prefix is not None  # it also matches nothing
    rest = line[prefix.end() :]
    label = f"{prefix['pod'] or ''}{prefix['rank'] or ''}"
    return label, bool(prefix["logger"] or _LEVEL.match(rest) or _DATED.match(rest)), rest


@dataclass(slots=True)
class _Assembly:
    """Puts messages together; `before` is the line before."""

    before: str = ""
    _head: str | None = None  # a message that may go on
    _label: str = ""
    _is_error: bool = False
    _is_exception: bool = False
    _left: int = 0
    _is_chained: bool = False
    _traceback: str | None = None  # the label of a traceback whose exception is still to come
    _has_frames: bool = False
    _reasons: list[str] | None = field(default=None)  # the lines so far of one of pydantic's errors

    @property
    def is_open(self) -> bool:
        """Say whether the next line may belong to a message or a traceback that has begun."""
        return self._head is not None or self._reasons is not None or self._traceback is not None

    def take(self, line: str) -> Iterator[Message]:
        """Take a line; yield the messages that it ends."""
        label, of_logger, rest = _split(line)
        same = label == self._label and not of_logger
        if self._reasons is not None:
            if same and self._is_reason(rest):
                yield from self._take_reason(rest.strip())
                self.before = line
                return
            self._reasons = None
        if self._head is not None:
            if same and self._continues(self._head, rest):
                self._head, self._left = f"{self._head} {rest.strip()}", self._left - 1
                self.before = line
                return
            yield from self.close(survived=of_logger and bool(HARMLESS.search(rest)))
        yield from self._begin(label, rest)
        self.before = line

    def close(self, *, survived: bool = False) -> Iterator[Message]:
        """Yield the message that has begun."""
        if self._head is not None:
            yield Message(
                text=self._head, is_error=self._is_error, is_exception=self._is_exception, was_survived=survived
            )
            self._head = None

    def _begin(self, label: str, rest: str) -> Iterator[Message]:
        """Begin a message, if this line may tell something."""
        if (traceback := _TRACEBACK.search(rest)) is not None:
            if EXCEPTION.match(rest) and traceback.start():
                yield Message(text=rest[: traceback.start()])  # a message that contains another traceback
            if not self._is_chained:
                yield Message(begins_traceback=True)
            self._is_chained, self._traceback, self._has_frames = False, label, False
            return
        is_exception = self._ends_traceback(label, rest)
        if _CHAINED.search(rest):
            self._is_chained = True
            return
        if not is_exception and (HARMLESS.search(rest) or not any(word in rest for word in _WORDS)):
            return
        before = bare(self.before).strip() if rest.startswith(" ") else ""
        if before.startswith('File "'):  # the code of a traceback
            return
        level = _LEVEL.match(rest)
        text = rest[level.end() :] if level else rest
        if "[type=" in text and _LOCATION.fullmatch(before):
            text = f"{before}: {text.strip()}"  # pydantic names the key in the line before
        self._head, self._label, self._left = text, label, MOST_CONTINUED
        self._is_error, self._is_exception = level is not None and level[1] != "I", is_exception
        if _PYDANTIC.search(text):
            yield from self.close()
            self._reasons = []

    def _ends_traceback(self, label: str, rest: str) -> bool:
        """Say whether a line is the exception of the traceback that has begun: the first that is not indented."""
        if label != self._traceback or not rest.strip():
            return False
        if rest[0] in " \t":
            self._has_frames = True
            return False
        ended = self._has_frames and _RAISED.fullmatch(rest) is not None
        self._traceback = None if ended else self._traceback
        return ended

    def _continues(self, head: str, rest: str) -> bool:
        text = rest.strip()
        if not self._left or not text or HARMLESS.search(rest) or _STRUCTURE.match(text):
            return False
        if rest[0] in " \t":
            return True
        return head.endswith(":") and not EXCEPTION.match(text)

    def _is_reason(self, rest: str) -> bool:
        """Say whether a line is of the errors that pydantic lists."""
        text = rest.strip()
        if not text or _STRUCTURE.match(text) or EXCEPTION.match(text):
            return False
        return bool(self._reasons) or rest[0] == " " or _LOCATION.fullmatch(text) is not None

    def _take_reason(self, text: str) -> Iterator[Message]:
        assert self._reasons is not None
        if text.startswith("For further information"):
            return
        self._reasons.append(text)
        if "[type=" in text or len(self._reasons) == MOST_REASON:
            first, *others = self._reasons
            at = f"{first}: " if others and _LOCATION.fullmatch(first) else ""
            yield Message(text=at + " ".join(others if at else self._reasons))
            self._reasons = []


_WORDS = (
    *("rror", "ERROR", "FATAL", "[E]", "xception", "ailed", "ailure", "illed", "oom", "of memory", "alloc", "ALLOC_"),
    *("insufficient", "blocks left", "be created", "must be large", "should not exceed", "max sequence", "must equal"),
    *("[type=", "not permitted", "verriding", "override KV", "No s", "nvalid value", "Invalid user", "please provide"),
    *("' for help", "not found", "gated", "valid model", "Xid", "XID", "uncorrectable", "GPU is lost", "off the bus"),
    *("requires reset", "requires a reset", "CUDA-capable", "system not yet", "quota", "Hang", "DUE TO", "NODE FAIL"),
    *("eyboard", "Watchdog", "MPI_ABORT", "imeout", "imed out", "Too Many", "Disconnect", "IncompleteRead"),
    *("not connected", "Stale file", "terminated normally", "mpirun", "egmentation", "core dumped", "terminate called"),
    *("Aborted", "Assertion", "Traceback (most", "above exception", "NCCL WARN", "too old", "unsupported", "Token ID"),
    *("already in use", "EADDRINUSE", "already allocated", "unsatisfied", "was built for", "forward compat"),
    *("peer GPU", "NVML", "nvml", "abric", "ABRIC", "IMEX", "imex", "MNNVL", "mismatch", "couldn't", "Couldn't"),
    *("shared memory", "space left", "manifest", "pull access", "toomanyrequests", "docker://", "ould not"),
    *("ImagePull", "ErrImage", "Invalid image", "nable to resolve", "service not known", "Cannot connect"),
    *("Can't load", "a tokenizer", "restricted", "does not appear", "communicate with", "Repo id", "device handle"),
    *("[Errno", "unexpected keyword", "hf_transfer", "slots avail"),
    *("as root", "No module"),
)
"""A line only begins a message if it has one of these in it."""

_BARS = re.compile(r"(?:[^|%]*%\|[^|]*\|[^\]|]*\])+\s*")
_GLUED = re.compile(r"(?<=[^\s\]])(?=\[TensorRT-LLM\]\[)|(?<=\S)(?=\[\d\d/\d\d/\d{4}-[\d:]{8}\] \[TRT-LLM\])")
_TIME = r"(?:\d{4}-\d\d-\d\dT[\d:.,]+\S* )?"
_PREFIX = re.compile(
    rf"^{_TIME}(?P<pod>\[pod/[^\]]*\] )?{_TIME}"  # kubectl
    r"(?P<rank>(?:[A-Za-z][\w.-]* +\| |\([\w.:]+ pid=\d+[^)]*\) )?"  # docker compose, Ray
    r"(?:\[[\w@,-]+\]<std(?:out|err)>: ?)?(?:\s*\d+: )?(?:\[[a-z]+ ?\d+\]: ?)?)"  # mpirun and horovod, srun, torch
    r"(?P<logger>(?:\[[\d/:. -]{10,}\] )?(?:\[TRT-LLM\] )?(?:\[RANK \d+\] ?)?(?:\[TensorRT-LLM\](?=\[))?)"
)
_LEVEL = re.compile(r"^(?:(?:\[TensorRT-LLM\])?\[(E|ERROR|F|FATAL|I)\] ?)+")
_DATED = re.compile(r"^[\[(]?\d{4}-\d\d-\d\d[ T]\d\d:|^\[[A-Z]\] |^[EFIW]\d{4} \d")
_LOCATION = re.compile(r"[A-Za-z_][\w.\[\]-]*")
_PYDANTIC = re.compile(r"\bvalidation errors? for \w+$")
_TRACEBACK = re.compile(r"\bTraceback \(most recent call last\):$")
_CHAINED = re.compile(
    r"^(?:During handling of the above exception|The above exception was the direct cause of the following)"
)
_RAISED = re.compile(r"(?:[A-Za-z_]\w*\.)*(?:[A-Z]\w*|_\w+|error|timeout)(?:: .*)?")
_STRUCTURE = re.compile(
    r"Traceback \(most|File \"|During handling of the above|The above exception was|Exception raised from \w+ at"
    r"|frame #\d|\d+ +0x[0-9a-f]+ |-{20}|={20}"
)
"""Begins what is no message and continues none."""

HARMLESS = re.compile(
    r"^\[(?:I|W|V|D|INFO|WARNING|DEBUG|VERBOSE|TRACE)\](?!.*Keyboard interrupt)|\[Autotuner\]|\bNCCL INFO\b"
    r"|^[\[(]?[\d:., TZ/|-]{0,40}[\])]?\s?(?:[-|] )?(?:INFO|WARN|WARNING|DEBUG)\b|^\[?[IW]\d{4} \d|\b\w*Warning: |%\|"
    r"|The KV cache memory per GPU is less than|^Chunked prefill is disabled, but"
    r"|^\s*\"\w+\": |^\s*File \"|^\s*[~^]+$|^\s+(?:raise|return|assert|if|self\.|await|with|for|except) |^\++ "
)
"""Lines that only sound like it: notes, warnings (of kernels that were tried, too), progress bars, JSON, code."""
