"""What went wrong becomes a kind, and the kind says what to do: KINDS is the one table.

What is known of an end is the log, the exit code and what the container, pod, Job or queue says of it (the state). They
are asked in this order:

    1. causes in the log     a rank that is out of memory makes the others complain of NCCL, and mpirun of all
    2. the state             it explains why the log just stops, and the complaints of what was killed
    3. hints in the log      what NCCL or the bench say for themselves, but also after other causes
    4. the exit code         alone it proves little: Ctrl-C ends with 0, without a report
    5. echoes in the log     what is said after any death, so only where no other error stands beside it

The literal strings are those of TensorRT-LLM 0.16 to 1.4 (source and issues), click, pydantic, huggingface_hub, NCCL,
Open MPI, Slurm, the CUDA runtime, the kubelet, GKE and Kueue 0.17 to 0.19.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

MOST_LINES = 20
MOST_CHARACTERS = 400
"""Characters of one line that are kept."""
LONGEST_LINE = 20_000
"""Characters of a line that are looked at."""
LONGEST_MESSAGE = 3_000
"""Characters of the message of an unknown failure; of more, the last lines are kept."""


class Policy(StrEnum):
    """What to do with the point, and with others."""

    RETRY_ELSEWHERE = "again, on another node"
    RETRY_LATER = "again, later"
    DO_NOT_RETRY = "not again"
    SKIP_LARGER = "not again, nor points that need at least as much"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One class of failures.

    All but the exit codes are regular expressions without groups, searched in single lines of the log or in the state.
    The first one of a tuple is the most telling one, and its line goes into the message.
    """

    meaning: str
    policy: Policy
    log: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    exit_codes: tuple[int, ...] = ()
    echoes: tuple[str, ...] = ()


NO_REPORT, UNKNOWN = "no_report", "unknown"

KINDS: Mapping[str, Kind] = {
    "kv_cache_too_small": Kind(
        meaning="the memory that weights leave does not hold the KV cache that the requests need",
        policy=Policy.SKIP_LARGER,
        log=(
            r"The amount of KV cache memory is insufficient to run this model",
            r"The model requires at least: .*is insufficient",
            r"Can't allocate new blocks\. No free blocks left",
            r"maxTokensInPagedKvCache must be large enough",
        ),
    ),
    "oom": Kind(
        meaning="out of GPU memory; or the container was out of host memory",
        # Host memory too: what weights and datasets take on the host is the same on every node of a kind.
        policy=Policy.SKIP_LARGER,
        log=(
            r"CUDA (?:driver )?(?:error: )?out of memory",
            r"CUDA runtime error in .*: out of memory",
            r"Cuda (?:failure|error) (?:\d+ )?'?out of memory",  # NCCL WARN, before its "unhandled cuda error"
            r"Executor creation failed due to insufficient GPU memory",
            r"\bOutOfMemoryError\b|\bcudaErrorMemoryAllocation\b|\bCUBLAS_STATUS_ALLOC_FAILED\b",
            r"oom[_-]kill|Out of memory: Killed process|DefaultCPUAllocator: can't allocate memory",
            r"\bstd::bad_alloc\b|Cannot allocate memory|^MemoryError\b",
        ),
        state=(r"OOMKilled|\bOOM[- ]?[Kk]ill",),
        # TensorRT-LLM asks itself the same: _maybe_explain_if_oom has this text for NCCL's "unhandled cuda error".
        hints=(
            r"Executor creation failed with NCCL error:",
            r"might indicate insufficient GPU memory",
            r"The following component could not be created",
        ),
    ),
    "request_too_long": Kind(
        meaning="a request is longer than max_num_tokens or max_seq_len of the engine",
        policy=Policy.DO_NOT_RETRY,
        log=(r"should not exceed max_(?:num_tokens|seq_len|input_len)", r"Engine supports a max sequence of"),
    ),
    "invalid_config": Kind(
        meaning="TensorRT-LLM refuses the configuration: an engine key, a value, the KV dtype or the MoE mapping",
        policy=Policy.DO_NOT_RETRY,
        log=(
            r"Extra inputs are not permitted|\[type=\w+, input_value=",
            r"Overriding KV cache quantization with an invalid type",
            r"Attempting to override KV cache quantization",
            r"_size \* \w+.* must equal",
            r"LlmArgs\.__init__\(\) got an unexpected keyword argument",
            r"\byaml\.(?:scanner|parser)\.\w+Error",
            r"\bvalidation errors? for \w+",
        ),
        state=(r"CreateContainerConfigError",),  # for example a secret that is not there
    ),
    "usage": Kind(
        meaning="the command line is refused: an option that this version does not know, a file that is not there",
        policy=Policy.DO_NOT_RETRY,
        log=(
            r"\bNo such (?:option|command)\b",
            r"^(?:Error: )?Invalid value(?: for|:)",
            r"^Error: (?:Missing (?:option|argument|parameter|command)|Got unexpected|Option )",
            r"Model is a file or directory, please provide a model name",
            r"trtllm-[\w-]+: (?:command not found|not found)",
            r": error: (?:unrecognized arguments|argument |the following arguments)",  # argparse: benchmark_serving
            r"^Try '.*' for help\.$",  # of click: with every usage error, and never with --help
        ),
        exit_codes=(126, 127),
    ),
    "hf_not_found": Kind(  # before hf_auth: without a token the answer to a model that does not exist is 401
        meaning="Hugging Face has no such model, revision or file",
        policy=Policy.DO_NOT_RETRY,
        log=(
            r"is not a local folder and is not a valid model identifier",
            r"\b(?:Repository|Revision|Entry)NotFoundError\b",
            r"\b404 Client Error\b|Client error '404 ",
        ),
    ),
    "hf_auth": Kind(
        meaning="Hugging Face refuses: the model is gated, or the token is missing or wrong",
        policy=Policy.DO_NOT_RETRY,
        log=(
            r"[Cc]annot access gated repo",
            r"\bGatedRepoError\b|trying to access a gated repo",
            r"\b40[13] Client Error\b|Client error '40[13] |Invalid user token",
        ),
    ),
    "sick_gpu": Kind(
        meaning="a GPU is broken: an Xid error, an uncorrectable memory error, or it is lost",
        policy=Policy.RETRY_ELSEWHERE,
        log=(
            # 13, 31, 43 and 45 are faults of the application and their cleaning up; NVIDIA's Xid catalog.
            r"\bXid\b(?: ?\([^)]*\))?[:=]? ?(?!(?:13|31|43|45)\b)\d",
            r"uncorrectable (?:ECC|NVLink) error",
            r"\bGPU is lost\b|fallen off the bus|GPU requires reset",
            r"\bcudaErrorECCUncorrectable\b|no CUDA-capable device is detected|system not yet initialized",
        ),
        state=(r"UnexpectedAdmissionError",),  # the kubelet cannot hand out the GPUs that the scheduler counted on
    ),
    "out_of_disk": Kind(
        meaning="the node's disk (or /dev/shm) is full",
        policy=Policy.RETRY_ELSEWHERE,  # the cache of weights that fills it is the node's own
        log=(r"No space left on device|Disk quota exceeded",),
        state=(
            r"low on resource: ephemeral-storage|DiskPressure|[Nn]o space left on device",
            r"(?:ephemeral local|local ephemeral|ephemeral) storage usage exceeds|EmptyDir volume .*exceeds",
        ),
    ),
    "image_pull": Kind(  # before timeout: a pull can fail with DeadlineExceeded
        meaning="the image cannot be pulled",
        policy=Policy.RETRY_LATER,
        state=(
            r"ImagePull|ErrImage|ImageInspectError|InvalidImageName|[Ff]ailed to pull|manifest unknown|pull access",
        ),
    ),
    "hang": Kind(
        meaning="TensorRT-LLM found itself hanging and killed all ranks",
        policy=Policy.RETRY_ELSEWHERE,  # for one GPU or link; a repeat costs minutes
        log=(r"Hang detected after [\d.]+ seconds", r"\bHangDetector: (?:propagating|self-SIGKILL)"),
    ),
    "timeout": Kind(
        meaning="the time limit ended it",
        policy=Policy.DO_NOT_RETRY,  # the dearest failure there is, and with the same limit it would end the same way
        log=(r"slurmstepd: .*DUE TO TIME LIMIT",),
        state=(r"(?<!code = )\bDeadlineExceeded|MaximumExecutionTimeExceeded|[Tt]ime ?limit",),
        exit_codes=(124,),
    ),
    "node_lost": Kind(
        meaning="the node went away or stopped answering",
        policy=Policy.RETRY_ELSEWHERE,
        log=(r"slurmstepd: .*(?:NODE FAIL|node failure)",),
        state=(
            r"Node(?:Lost|NotReady|Unreachable|Shutdown|Failure)|imminent node shutdown",
            r"\b[Nn]ode [^;]{0,200}?(?:not found|not ready|unreachable|was deleted|no longer exists)",
            r"DeletionByTaintManager|DeletionByPodGC",
        ),
    ),
    "evicted": Kind(  # before quota: what was evicted waits for quota again, and its Workload says both
        meaning="evicted or preempted: others needed the node, or its queue was stopped",
        policy=Policy.RETRY_LATER,
        log=(r"slurmstepd: .*DUE TO PREEMPTION",),
        # "Pending the preemption of ..." and "No preemption victims" are said of those that wait.
        state=(
            r"Evicted|EvictionBy|\bPreempt(?:ed|ing|ionBy)|\bpreempted\b|TerminationByKubelet",
            r"(?:Cluster|Local)QueueStopped|Deactivated",
        ),
    ),
    "quota": Kind(
        meaning="no quota, or no such machines to be had now",
        policy=Policy.RETRY_LATER,
        state=(
            r"[Ee]xceeded quota|QuotaExceeded|QUOTA_EXCEEDED|\bquota\.exceeded|insufficient (?:unused )?quota",
            r"ZONE_RESOURCE_POOL_EXHAUSTED|(?i:stockout)|out\.of\.resources|does not have enough resources",
            r"Inadmissible|couldn't assign flavors|unavailable in ClusterQueue|Queue \S+ (?:is inactive|doesn't exist)",
            r"\bInsufficient [\w./-]+|FailedScheduling|Unschedulable",
        ),
    ),
    "interrupted": Kind(
        meaning="ended from outside before it reported: Ctrl-C (also with exit code 0) or SIGTERM",
        policy=Policy.RETRY_LATER,
        hints=(r"Keyboard interrupt, exiting benchmark", r"^KeyboardInterrupt\b"),
        exit_codes=(130, 143, -2, -15),
    ),
    "nccl": Kind(
        meaning="the GPUs could not talk to each other",
        policy=Policy.RETRY_ELSEWHERE,
        hints=(
            r"\bNCCL error\b(?!.*(?:remote process exited|abort|unhandled cuda error))",
            r"\bnccl(?:System|Internal)Error\b",
            r"Watchdog caught collective operation timeout",
        ),
        echoes=(r"\bNCCL error\b", r"\bnccl(?:Remote|UnhandledCuda)Error\b"),  # the other rank, or CUDA, has the cause
    ),
    "requests_lost": Kind(
        meaning="the bench ended with requests that failed or never came back",
        policy=Policy.RETRY_ELSEWHERE,
        hints=(r"\bRequests failed:", r"AssertionError: Benchmark failed", r"Initial test run failed"),
    ),
    "mpi": Kind(
        meaning="a rank ended and MPI ended the others; the log does not say why it did",
        policy=Policy.RETRY_ELSEWHERE,  # a cause in the program would have left its traceback
        echoes=(
            r"mpirun noticed that process",  # tells rank, node and signal
            r"MPI_ABORT was invoked",
            r"Primary job\s+terminated normally, but|mpirun detected that one or more processes",
        ),
    ),
    NO_REPORT: Kind(
        meaning="it ended without a report and without an error; with trtllm-bench often for lack of memory",
        policy=Policy.DO_NOT_RETRY,  # often is not enough to leave out larger points
    ),
    UNKNOWN: Kind(
        meaning="an error of no known kind; failure_message has the last telling lines",
        policy=Policy.DO_NOT_RETRY,  # a bug is met again on every node, and GPUs cost more than a second look
    ),
    "invalid_report": Kind(
        meaning="there is a report, but it is not of this point or not to be trusted; failure_message has every reason",
        policy=Policy.DO_NOT_RETRY,
    ),
    "worker_died": Kind(meaning="the process that carried the point died at it twice", policy=Policy.DO_NOT_RETRY),
    "not_reached": Kind(meaning="its deployment ended before this point", policy=Policy.RETRY_LATER),
    "cancelled": Kind(meaning="the sweep was ended while it ran", policy=Policy.RETRY_LATER),
    "backend_error": Kind(meaning="the backend itself failed", policy=Policy.DO_NOT_RETRY),
    "does_not_fit": Kind(meaning="predicted: it cannot run on these GPUs", policy=Policy.SKIP_LARGER),
    "no_prediction": Kind(meaning="the operator database has no data near it", policy=Policy.DO_NOT_RETRY),
}
"""Every kind, in the order in which it is asked for within each of the five places."""


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
