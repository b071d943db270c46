"""A log, an exit code and a state become a Failure; any text can be read, as a stream and in bounded memory."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from sweep.failure.kinds import KINDS, NO_REPORT, UNKNOWN
from sweep.failure.messages import EXCEPTION, LONGEST_LINE, Message, bare, messages, parts
from sweep.failure.value import Policy
from sweep.line_labels import relabelled

MOST_LINES = 20
FIRST_LINES = 5
"""So many of them are the first causes; what came first more often explains the rest than what came last."""
MOST_CHARACTERS = 400
"""Characters of one line that are kept."""
LONGEST_MESSAGE = 3_000
"""Characters of the message of an unknown failure; of more, the first and the last lines are kept."""
MOST_REASONS = 2
"""So many lines of a kind are in the message, the most telling one first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong. `lines` are the first and last telling lines of the log, else its last ones."""

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
    last: deque[str] = deque(maxlen=MOST_LINES)
    reading = _Reading()
    for message in messages(relabelled(lines), last):
        reading.take(message)
    state = (state or "").strip()[:LONGEST_LINE]
    by_state = {name: {0: state} for name, pattern in _STATE.items() if state and pattern.search(state)}
    by_code = {name: {0: _ended(exit_code)} for name, kind in KINDS.items() if exit_code in kind.exit_codes}
    telling = reading.telling
    found = reading.found
    places = ((found["log"], KINDS), (by_state, KINDS), (found["hints"], KINDS), (by_code, KINDS))
    for place, names in (*places, (reading.echoes(), _ECHOES)):
        for name in names:
            if name in place:
                known = [place[name][rank] for rank in sorted(place[name])]
                details = reading.details.get(name, {})
                reasons = [known[0], *([details[min(details)]] if details else []), *known[1:]][:MOST_REASONS]
                why = "; ".join(map(_cut, dict.fromkeys(reasons)))
                return Failure(kind=name, message=f"{KINDS[name].meaning}: {why}", lines=tuple(map(_cut, telling)))
    if telling:
        return _unknown(telling, "" if _SAYS_NOTHING.fullmatch(state) else state)
    return _silent(exit_code, state, [text for line in last for part in parts(line) if (text := bare(part).strip())])


@dataclass(slots=True)
class _Reading:
    """What the messages of a log have told so far.

    found: by place and kind, the first line of each of its patterns, by their rank.
    details: by kind, the first line of each pattern that says why.
    unexplained, earlier: whether an exception of no known kind stands in the last traceback (and what follows it), or
        in one before, which the program may have survived.
    fatal: whether one stands anywhere that nothing survives.
    """

    found: dict[str, dict[str, dict[int, str]]] = field(default_factory=lambda: {"log": {}, "hints": {}, "echoes": {}})
    unexplained: bool = False
    earlier: bool = False
    fatal: bool = False
    names_a_host: bool = False
    details: dict[str, dict[int, str]] = field(default_factory=dict)
    _first: list[str] = field(default_factory=list)
    _last: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_LINES - FIRST_LINES))

    @property
    def telling(self) -> list[str]:
        return [*self._first, *self._last]

    def take(self, message: Message) -> None:
        """Take the next message of the log."""
        if message.begins_traceback:
            self.earlier, self.unexplained = self.earlier or self.unexplained, False
            return
        text = message.text
        known = _search(text)
        if known is None:
            if (message.is_exception or EXCEPTION.search(text)) and not _AFTERMATH.search(text):
                self.fatal |= bool(_FATAL.search(text))
                self.unexplained |= not (message.was_survived and _OPTIONAL.search(text))
            for name, pattern in _DETAILS.items():
                if detail := pattern.search(text):
                    self.details.setdefault(name, {}).setdefault(detail.lastindex or 0, text)
            if message.is_error or message.is_exception or _TELLING.search(text):
                self._tell(text, is_cause=not _AFTERMATH.search(text))
            return
        place, name, rank = known
        self.found[place].setdefault(name, {}).setdefault(rank, text)
        self.names_a_host |= place == "echoes" and name == "network" and not _ANY_CONNECTION.search(text)
        self._tell(text, is_cause=place != "echoes")

    def echoes(self) -> dict[str, dict[int, str]]:
        """Return what is said after any death, where no other error stands beside it.

        A host that does not answer ends the run by itself: what earlier tracebacks say was survived.
        """
        if self.fatal or self.unexplained:
            return {}
        found = self.found["echoes"]
        if self.earlier:
            return {"network": found["network"]} if self.names_a_host else {}
        return found

    def _tell(self, text: str, *, is_cause: bool) -> None:
        if text in self._first or text in self._last:
            return  # of another rank
        (self._first if is_cause and len(self._first) < FIRST_LINES else self._last).append(text)


def _unknown(telling: Iterable[str], state: str) -> Failure:
    lines = tuple(map(_cut, telling))
    shown = [*lines, _cut(state)] if state else list(lines)
    while sum(map(len, shown)) > LONGEST_MESSAGE:
        del shown[min(FIRST_LINES // 2, len(shown) - 2)]
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


# ---------------------------------------------------------------------------------------------------------- one text


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


_ECHOES = sorted(KINDS, key=lambda name: name == "hf_not_found")
"""What a model that cannot be loaded says it says whatever the reason is, so that it is asked last."""
_PATTERNS = [
    (place, name, _joined(patterns))
    for place, names in (("log", KINDS), ("hints", KINDS), ("echoes", _ECHOES))
    for name in names
    if (patterns := getattr(KINDS[name], place))
]
_DETAILS = {name: _joined(kind.details) for name, kind in KINDS.items() if kind.details}
_STATE = {name: _joined(kind.state) for name, kind in KINDS.items() if kind.state}
_SIGNALS = {2: "SIGINT", 6: "SIGABRT", 7: "SIGBUS", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}

_ANY_CONNECTION = re.compile(
    r"^(?:\w*Connection\w*|Timeout|OS|BrokenPipe)Error: (?!.*(?:https?:|host=|[Hh]ub|resolve))"
)
"""Of a rank's connection to another as well as to a host elsewhere."""
_OPTIONAL = re.compile(
    r"\b(?:Import|ModuleNotFound)Error: |cannot open shared object file|undefined symbol|No module named"
    r"|[Ff]ailed to import"
)
"""What is caught where a library is not needed."""
_FATAL = re.compile(r"CUDA (?:runtime |driver )?error|Assertion failed: |illegal memory access|device-side assert")

_KNOWN = (
    *("of memory", "Memory", "insufficient", "alloc", "ALLOC_", "oom", "be created", "blocks left"),
    *("cache blocks", "cache is needed"),
    *("must be large", "should not exceed", "max sequence", "not permitted", "[type=", "KV cache quant", "must equal"),
    *("unexpected", "yaml.", "validation", "No such ", "nvalid value", "Missing ", "Option ", "please provide"),
    *("not found", ": error: ", "for help.", "valid model", "NotFoundError", "Client ", "gated", "Gated", "user token"),
    *("Xid", "XID", "ncorrectable", "GPU is lost", "off the bus", "requires reset", "CUDA-capable", "system not yet"),
    *("No space", "quota", "Hang", "slurmstepd", "eyboard", "NCCL", "nccl", "Watchdog", "Requests failed"),
    *("Benchmark failed", "Initial test", "mpirun", "MPI_ABORT", "terminated normally"),
    *("LocalEntry", "Local entry", "Access denied", "Server ", "Too Many", "Consistency", "couldn't connect"),
    *("Data processing", "name resolution", "service not known", "resolve '", "httpx.", "httpcore.", "h11."),
    *("http.client", "ssl.", "socket.", "requests.exc", "urllib3.exc", "timed out", "onnection ", "unreachable"),
    *("route to host", "tls connection", "Last error", "Bus error", "Couldn't reach", "Cannot connect", "ot resolve"),
    *("Errno ", "not connected", "Stale file", "Error 80", "nvidia-container-cli", "unsatisfied", "too old"),
    *("display driver", "CUDA_ERROR_", "cudaError", "forward compat", "toolchain", "was built for", "EADDRINUSE"),
    *("ddress already", "already allocated", "bind socket", "Token ID", "DatasetFormat", "ataset", "status client"),
    *("HTTP Error", "HFValidation", "Repo id", "does not appear", "no file named", "a tokenizer", "Can't load"),
    *("is restricted", "ncontained", "peer GPU", "requires a reset"),
    *("device handle", "NVML", "nvml", "version mismatch"),
    *("communicate with", "abric", "ABRIC", "NVLink", "NVSwitch", "IMEX", "imex", "MNNVL", "no space", "shared memory"),
    *("/dev/shm", "shm_open", "pyxis", "returned error code", "process JSON", "Invalid image", "manifest", "pull"),
    *("daemon", "toomanyrequests", "register layer", "docker://", "httpReadSeeker", "resolve reference", "ErrImage"),
    *("ImagePull", "FATAL", "specific connection", "connection error"),
    *("nable to resolve", "status server", "request", "urlopen", "hf_transfer", "aiohttp", "FSTimeout", "google."),
)
"""A line of _WORDS is only searched for kinds if it has one of these: for logs with millions of errors."""

_AFTERMATH = re.compile(
    r"Can't load (?:the )?(?:tokenizer|config|model)|Executor worker|[Bb]roken ?[Pp]ipe|Connection(?:Reset|Aborted)"
    r"|BrokenProcessPool|EOFError|EngineDead|\d+ validation errors? for \w+$"
)
"""What ranks say when another one is gone, and what others explain; as an exception it explains nothing."""
_TELLING = re.compile(
    r"^\S*(?:Error|Exception|Interrupt|Exit)\b(?::|$)|\b(?:ERROR|FATAL|error|fatal)\b: |^(?:Error|ERROR|FATAL)\b"
    r"|\b[Ff]ailed (?:to|with)\b|\bSegmentation fault|\bBus error|core dumped|terminate called|Assertion .*failed"
    r"|\bKilled\b|\bAborted\b|Assertion failed|CUDA error|\bCUDA_ERROR_|\bcuda failed\b"
    r"|\bNCCL WARN\b|\bnon-zero status\b|^Last error: |\bError response from daemon: |\bCannot connect to the Docker"
    r"|^There are not enough slots|\battempt to run as root|\bversion `\w+_[\d.]+' not found|\bexec format error"
    r"|: No module named "
)
_SAYS_NOTHING = re.compile(
    r"(?:Error|Failed|Completed|Succeeded|BackoffLimitExceeded|Job has reached the specified backoff limit|[\s:;,.()])*"
)
