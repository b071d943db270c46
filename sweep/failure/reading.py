"""A log, an exit code and a state become a Failure; any text can be read, as a stream and in bounded memory."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from sweep.failure.kinds import KINDS, NO_REPORT, UNKNOWN, Policy

MOST_LINES = 20
MOST_CHARACTERS = 400
"""Characters of one line that are kept."""
LONGEST_LINE = 20_000
"""Characters of a line that are looked at."""
LONGEST_MESSAGE = 3_000
"""Characters of the message of an unknown failure; of more, the last lines are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong. `lines` are the last telling lines of the log, else its last lines; at most MOST_LINES."""

    kind: str
    message: str
    lines: tuple[str, ...] = ()

    @property
    def policy(self) -> Policy:
        return KINDS[self.kind].policy


def classify(lines: Iterable[str], *, exit_code: int | None = None, state: str | None = None) -> Failure:
    """Return the kind of a failure.

    Args:
        lines: the log, read once as a stream; any text is fine.
        exit_code: of the bench; negative is a signal.
        state: reasons and messages of the container, pod, Job or Workload, as one text.
    """
    said: dict[str, dict[str, tuple[int, str]]] = {"log": {}, "hints": {}, "echoes": {}}
    telling: deque[str] = deque(maxlen=MOST_LINES)
    last: deque[str] = deque(maxlen=MOST_LINES)
    unexplained = False
    for before, line, is_error in _candidates(lines, last):
        found = _search(line)
        if found is None:
            unexplained |= bool(_EXCEPTION.search(line)) and not _AFTERMATH.search(line)
            if is_error or _TELLING.search(line):
                telling.append(line)
            continue
        place, name, rank = found
        if "[type=" in line and _LOCATION.fullmatch(before):
            line = f"{before}: {line.strip()}"  # pydantic names the key in the line before
        telling.append(line)
        if name not in said[place] or rank < said[place][name][0]:
            said[place][name] = rank, line
    state = (state or "").strip()[:LONGEST_LINE]
    by_state = {name: (0, state) for name, pattern in _STATE.items() if state and pattern.search(state)}
    by_code = {name: (0, _ended(exit_code)) for name, kind in KINDS.items() if exit_code in kind.exit_codes}
    for place_said in (said["log"], by_state, said["hints"], by_code, {} if unexplained else said["echoes"]):
        for name in KINDS:
            if name in place_said:
                message = f"{KINDS[name].meaning}: {_cut(place_said[name][1])}"
                return Failure(kind=name, message=message, lines=tuple(map(_cut, telling)))
    if telling:
        return _unknown(telling, "" if _SAYS_NOTHING.fullmatch(state) else state)
    return _silent(exit_code, state, [bare for line in last for part in _parts(line) if (bare := _bare(part).strip())])


def _unknown(telling: Iterable[str], state: str) -> Failure:
    lines = tuple(map(_cut, telling))
    shown = [*lines, _cut(state)] if state else list(lines)
    while sum(map(len, shown)) > LONGEST_MESSAGE:
        del shown[0]
    return Failure(kind=UNKNOWN, message="\n".join(shown), lines=lines)


def _silent(exit_code: int | None, state: str, last: list[str]) -> Failure:
    """Return the failure of a run whose log has no error in it."""
    where = f"; the last line is: {_cut(last[-1])}" if last else ""
    if exit_code in (None, 0) and _SAYS_NOTHING.fullmatch(state):
        return Failure(kind=NO_REPORT, message=f"{KINDS[NO_REPORT].meaning}{where}")
    why = ", ".join(text for text in (_ended(exit_code) if exit_code else "", _cut(state)) if text)
    return Failure(
        kind=UNKNOWN,
        message=f"ended without an error in the log ({why}){where}",
        lines=tuple(map(_cut, last[-MOST_LINES:])),
    )


def _ended(exit_code: int | None) -> str:
    signal = _SIGNALS.get(-exit_code if exit_code is not None and exit_code < 0 else (exit_code or 0) - 128)
    return f"exit code {exit_code}" + (f", {signal}" if signal else "")


# ------------------------------------------------------------------------------------------------------ reading a log


def _candidates(lines: Iterable[str], last: deque[str]) -> Iterator[tuple[str, str, bool]]:
    """Yield (the line before, the line, whether it is tagged as an error) of all that may tell something, bare.

    Most of a log is passed over a hundred lines at a time: searching a joined text for words costs far less than a
    regular expression for each line. The last lines of all are kept in `last`. Of a line that is too long both ends are
    looked at: a file read without newline translation has all of a progress bar in one line, and the error behind it.
    """
    source, before, most = iter(lines), "", LONGEST_LINE // 2
    while some := [x if len(x) <= LONGEST_LINE else f"{x[:most]}\r{x[-most:]}" for x in islice(source, 100)]:
        together = "\n".join(some)
        words = [word for word in _WORDS if word in together]
        if words:
            for line in some:
                if any(word in line for word in words):
                    for part in _parts(line):
                        yield from _told(before, part)
                        before = part
                else:
                    before = line
        last.extend(some[-MOST_LINES:])
        before = some[-1]


def _parts(line: str) -> Iterator[str]:
    """Yield a line, parted where a progress bar or another rank left no newline."""
    for part in line.rstrip("\r\n").split("\r"):
        yield from _GLUED.split(part) if "LLM]" in part[20:] else (part,)


def _told(before: str, line: str) -> Iterator[tuple[str, str, bool]]:
    bare = _bare(line)
    if not _HARMLESS.search(bare):
        before = _bare(before).strip() if bare.startswith(" ") else ""
        if not before.startswith('File "'):  # else it is the code of a traceback
            level = _LEVEL.match(bare)
            yield before, bare[level.end() :] if level else bare, level is not None and level[1] != "I"


def _bare(line: str) -> str:
    """Return a line without colours, progress bars, labels and the time; the level of TensorRT-LLM's logger stays."""
    line = _COLOUR.sub("", line).rstrip()
    if "%|" in line:
        line = _BARS.sub("", line, count=1)
    return _PREFIX.sub("", line, count=1)


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 3] + "..."


def _search(line: str) -> tuple[str, str, int] | None:
    """Return (place, kind, rank of the pattern) of the first kind that knows the line."""
    if not any(word in line for word in _KNOWN):
        return None
    for place, name, pattern in _PATTERNS:
        if found := pattern.search(line):
            return place, name, found.lastindex or 0
    return None


def _joined(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"({pattern})" for pattern in patterns))


_PATTERNS = [
    (place, name, _joined(patterns))
    for place in ("log", "hints", "echoes")
    for name, kind in KINDS.items()
    if (patterns := getattr(kind, place))
]
_STATE = {name: _joined(kind.state) for name, kind in KINDS.items() if kind.state}
_SIGNALS = {2: "SIGINT", 6: "SIGABRT", 7: "SIGBUS", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}

_WORDS = (
    *("rror", "ERROR", "FATAL", "[E]", "xception", "ailed", "ailure", "illed", "oom", "of memory", "alloc", "ALLOC_"),
    *("insufficient", "blocks left", "be created", "must be large", "should not exceed", "max sequence", "must equal"),
    *("[type=", "not permitted", "verriding", "override KV", "No s", "nvalid value", "Invalid user", "please provide"),
    *("' for help", "not found", "gated", "valid model", "Xid", "uncorrectable", "GPU is lost", "off the bus"),
    *(
        "requires reset",
        "CUDA-capable",
        "system not yet",
        "quota",
        "Hang",
        "DUE TO",
        "NODE FAIL",
        "eyboard",
        "Watchdog",
        "MPI_ABORT",
    ),
    *("imeout", "imed out", "Too Many", "Disconnect", "IncompleteRead", "not connected", "Stale file"),
    *("terminated normally", "mpirun", "egmentation", "core dumped", "terminate called", "Aborted", "Assertion"),
)
"""A line is only looked at if it has one of these in it."""

_KNOWN = (
    *("of memory", "Memory", "insufficient", "alloc", "ALLOC_", "oom", "be created", "blocks left"),
    *("must be large", "should not exceed", "max sequence", "not permitted", "[type=", "KV cache quant", "must equal"),
    *("unexpected", "yaml.", "validation", "No such ", "nvalid value", "Missing ", "Option ", "please provide"),
    *("not found", ": error: ", "for help.", "valid model", "NotFoundError", "Client ", "gated", "Gated", "user token"),
    *("Xid", "ncorrectable", "GPU is lost", "off the bus", "requires reset", "CUDA-capable", "system not yet"),
    *("No space", "quota", "Hang", "slurmstepd", "eyboard", "NCCL", "nccl", "Watchdog", "Requests failed"),
    *("Benchmark failed", "Initial test", "mpirun", "MPI_ABORT", "terminated normally"),
    *("LocalEntry", "Local entry", "Access denied", "Server ", "Too Many", "Consistency", "couldn't connect"),
    *(
        "Data processing",
        "name resolution",
        "service not known",
        "resolve '",
        "httpx.",
        "httpcore.",
        "h11.",
        "http.client",
    ),
    *("ssl.", "socket.", "requests.exc", "urllib3.exc", "timed out", "onnection ", "unreachable", "route to host"),
    *("Errno ", "not connected", "Stale file"),
)
"""A line of _WORDS is only searched for kinds if it has one of these: for logs with millions of errors."""

_COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_BARS = re.compile(r"(?:[^|%]*%\|[^|]*\|[^\]|]*\])+\s*")
_GLUED = re.compile(r"(?<=[^\s\]])(?=\[TensorRT-LLM\]\[)|(?<=\S)(?=\[\d\d/\d\d/\d{4}-[\d:]{8}\] \[TRT-LLM\])")
_PREFIX = re.compile(
    r"^(?:\d{4}-\d\d-\d\dT[\d:.,]+\S* )?(?:\[pod/[^\]]*\] )?(?:\s*\d+: )?(?:\[rank ?\d+\]: ?)?"  # kubectl, srun, torch
    r"(?:\[[\d/:. -]{10,}\] )?(?:\[TRT-LLM\] )?(?:\[RANK \d+\] ?)?(?:\[TensorRT-LLM\](?=\[))?"  # TensorRT-LLM's loggers
)
_LEVEL = re.compile(r"^(?:(?:\[TensorRT-LLM\])?\[(E|ERROR|F|FATAL|I)\] ?)+")
_LOCATION = re.compile(r"[A-Za-z_][\w.\[\]-]*")

_HARMLESS = re.compile(
    r"^\[(?:I|W|V|D|INFO|WARNING|DEBUG|VERBOSE|TRACE)\](?!.*Keyboard interrupt)|\[Autotuner\]|\bNCCL INFO\b"
    r"|^[\[(]?[\d:., TZ/|-]{0,40}[\])]?\s?(?:[-|] )?(?:INFO|WARN|WARNING|DEBUG)\b|^\[?[IW]\d{4} \d|\b\w*Warning: |%\|"
    r"|The KV cache memory per GPU is less than|^Chunked prefill is disabled, but"
    r"|^\s*\"\w+\": |^\s*File \"|^\s*[~^]+$|^\s+(?:raise|return|assert|if|self\.|await|with|for|except) |^\++ "
)
"""Lines that only sound like it: notes, warnings (of kernels that were tried, too), progress bars, JSON, code."""

_EXCEPTION = re.compile(r"^[\w.]*(?:Error|Exception): .|CUDA error: |Assertion failed: ")
_AFTERMATH = re.compile(
    r"Executor worker|[Bb]roken ?[Pp]ipe|Connection(?:Reset|Aborted)|BrokenProcessPool|EOFError|EngineDead"
)
"""What ranks say when another one is gone; as an exception it explains nothing."""
_TELLING = re.compile(
    r"^\S*(?:Error|Exception|Interrupt|Exit)\b(?::|$)|\b(?:ERROR|FATAL|error|fatal)\b: |^(?:Error|ERROR|FATAL)\b"
    r"|\b[Ff]ailed (?:to|with)\b|\bSegmentation fault|\bBus error|core dumped|terminate called|Assertion .*failed"
    r"|\bKilled\b|\bAborted\b|Assertion failed|CUDA error"
)
_SAYS_NOTHING = re.compile(
    r"(?:Error|Failed|Completed|Succeeded|BackoffLimitExceeded|Job has reached the specified backoff limit|[\s:;,.()])*"
)
