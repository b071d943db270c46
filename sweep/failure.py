"""What went wrong becomes a kind, and the kind says what to do: KINDS is the one table.

What is known of an end is the log, the exit code and what the container, pod, Job or queue says of it (the state). Root
causes in the log come first: a rank that is out of memory makes the others complain of NCCL, and mpirun of all. Then
the state, which explains why there is nothing in the log; then the consequences; then the exit code.

The literal strings are those of TensorRT-LLM 0.16 to 1.4 (source and issues), click, pydantic, huggingface_hub, Open
MPI, Slurm, the kubelet and Kueue 0.17 to 0.19. An exit code alone proves little: Ctrl-C ends with 0, without a report.
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
LONGEST_LINE = 20_000
"""Characters of a line that are looked at."""


class Policy(StrEnum):
    """What to do with the point, and with others."""

    RETRY_ELSEWHERE = "again, on another node"
    RETRY_LATER = "again, later"
    DO_NOT_RETRY = "not again"
    SKIP_LARGER = "not again, nor points that need at least as much"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One class of failures. Patterns are regular expressions, searched in single lines and in the state."""

    meaning: str
    policy: Policy
    log: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    exit_codes: tuple[int, ...] = ()
    consequence: bool = False
    """Whether what the log says of it is also said after other causes."""


NO_REPORT, UNKNOWN = "no_report", "unknown"

KINDS: Mapping[str, Kind] = {
    "kv_cache_too_small": Kind(
        meaning="the memory that weights leave does not hold the KV cache that the requests need",
        policy=Policy.SKIP_LARGER,
        log=(
            r"Can't allocate new blocks\. No free blocks left",
            r"The amount of KV cache memory is insufficient to run this model",
            r"The model requires at least: .*is insufficient",
            r"maxTokensInPagedKvCache must be large enough",
        ),
    ),
    "oom": Kind(
        meaning="out of GPU memory; or the container was out of host memory (OOMKilled)",
        policy=Policy.SKIP_LARGER,
        log=(
            r"\bOutOfMemoryError\b",
            r"CUDA (?:error: )?out of memory",
            r"CUDA runtime error in .*: out of memory",
            r"\bcudaErrorMemoryAllocation\b",
            r"insufficient GPU memory",  # of the executor, certain or suspected
            r"The following component could not be created",
            r"Executor creation failed with NCCL error:",  # where NCCL gets no memory for its buffers
            r"oom[_-]kill|Out of memory: Killed process",
        ),
        state=(r"OOMKilled",),
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
            r"\bvalidation error\S* for \w+",
            r"Extra inputs are not permitted",
            r"Input should be .*\[type=|\[type=\w+, input_value=",
            r"LlmArgs\.__init__\(\) got an unexpected keyword argument",
            r"_size \* .*must equal",
            r"Overriding KV cache quantization with an invalid type",
            r"Attempting to override KV cache quantization",
            r"\byaml\.(?:scanner|parser)\.\w+Error",
        ),
    ),
    "usage": Kind(
        meaning="the command line is refused: an option that this version does not know, a file that is not there",
        policy=Policy.DO_NOT_RETRY,
        log=(
            r"\bNo such (?:option|command)\b",
            r"^(?:Error: )?Invalid value(?: for|:)",
            r"^Error: (?:Missing (?:option|argument|parameter)|Got unexpected|Option )",
            r"Model is a file or directory, please provide a model name",
            r"trtllm-\w+: (?:command not found|not found)",
        ),
        exit_codes=(126, 127),
    ),
    "hf_not_found": Kind(
        meaning="Hugging Face has no such model or revision",
        policy=Policy.DO_NOT_RETRY,
        log=(
            r"\b(?:Repository|Revision|Entry)NotFoundError\b",
            r"\b404 Client Error\b",
            r"is not a local folder and is not a valid model identifier",
        ),
    ),
    "hf_auth": Kind(
        meaning="Hugging Face refuses: the model is gated, or the token is missing or wrong",
        policy=Policy.DO_NOT_RETRY,
        log=(
            r"\bGatedRepoError\b",
            r"\b40[13] Client Error\b",
            r"[Cc]annot access gated repo",
            r"trying to access a gated repo",
            r"Invalid user token",
        ),
    ),
    "sick_gpu": Kind(
        meaning="a GPU is broken: an Xid error, an uncorrectable memory error, or it is lost",
        policy=Policy.RETRY_ELSEWHERE,
        log=(
            r"\bXid\b.*\d",
            r"uncorrectable (?:ECC|NVLink) error",
            r"\bGPU is lost\b|fallen off the bus",
            r"\bcudaErrorECCUncorrectable\b",
        ),
    ),
    "out_of_disk": Kind(
        meaning="the node's disk is full",
        policy=Policy.RETRY_ELSEWHERE,
        log=(r"No space left on device",),
        state=(r"ephemeral[- ]storage|DiskPressure",),
    ),
    "hang": Kind(
        meaning="TensorRT-LLM found itself hanging and killed all ranks",
        policy=Policy.RETRY_ELSEWHERE,  # seen as a broken link between GPUs more often than as a bug
        log=(r"Hang detected after [\d.]+ seconds", r"\bHangDetector\b"),
    ),
    "timeout": Kind(
        meaning="the time limit ended it",
        policy=Policy.DO_NOT_RETRY,  # it would take as long again
        log=(r"slurmstepd: .*DUE TO TIME LIMIT",),
        state=(r"DeadlineExceeded|MaximumExecutionTimeExceeded|[Tt]ime ?limit",),
        exit_codes=(124,),
    ),
    "node_lost": Kind(
        meaning="the node went away or stopped answering",
        policy=Policy.RETRY_ELSEWHERE,
        log=(r"slurmstepd: .*(?:NODE FAIL|node failure)",),
        state=(
            r"Node(?:Lost|NotReady|Unreachable|Shutdown|Failure)",
            r"[Nn]ode .*(?:not found|not ready|unreachable|was deleted)",
            r"DeletionByTaintManager|DeletionByPodGC|UnexpectedAdmissionError|Terminated.*imminent node shutdown",
        ),
    ),
    "image_pull": Kind(
        meaning="the image cannot be pulled",
        policy=Policy.RETRY_LATER,
        state=(r"ImagePull|ErrImage|InvalidImageName|[Ff]ailed to pull|manifest unknown|pull access denied",),
    ),
    "quota": Kind(
        meaning="no quota, or no such machines to be had now",
        policy=Policy.RETRY_LATER,
        state=(
            r"[Ee]xceeded quota|QuotaExceeded|QUOTA_EXCEEDED|insufficient (?:unused )?quota|Inadmissible",
            r"ZONE_RESOURCE_POOL_EXHAUSTED|STOCKOUT|stockout",
            r"Insufficient nvidia\.com/gpu|FailedScheduling|Unschedulable",
        ),
    ),
    "evicted": Kind(
        meaning="evicted or preempted: others needed the node, or its queue was stopped",
        policy=Policy.RETRY_LATER,
        log=(r"slurmstepd: .*DUE TO PREEMPTION",),
        state=(r"Evicted|[Pp]reempt|TerminationByKubelet|ClusterQueueStopped|LocalQueueStopped|Deactivated",),
    ),
    "nccl": Kind(
        meaning="the GPUs could not talk to each other",
        policy=Policy.RETRY_ELSEWHERE,
        log=(r"\bNCCL error\b", r"\bnccl(?:UnhandledCuda|System|Internal|Remote)Error\b"),
        consequence=True,
    ),
    "requests_lost": Kind(
        meaning="the bench ended with requests that failed or never came back",
        policy=Policy.RETRY_ELSEWHERE,
        log=(r"AssertionError: Benchmark failed", r"\bRequests failed:", r"Initial test run failed"),
        consequence=True,
    ),
    "mpi": Kind(
        meaning="a rank ended and MPI ended the others; the log does not say why it did",
        policy=Policy.RETRY_ELSEWHERE,
        log=(
            r"MPI_ABORT was invoked",
            r"Primary job\s+terminated normally, but",
            r"mpirun (?:detected that one or more processes|noticed that process)",
        ),
        consequence=True,
    ),
    "interrupted": Kind(
        meaning="ended from outside before it reported: Ctrl-C (also with exit code 0) or SIGTERM",
        policy=Policy.RETRY_LATER,
        log=(r"Keyboard interrupt, exiting benchmark", r"^KeyboardInterrupt\b"),
        exit_codes=(130, 143, -2, -15),
        consequence=True,
    ),
    NO_REPORT: Kind(
        meaning="it ended without a report and without an error; with trtllm-bench often for lack of memory",
        policy=Policy.DO_NOT_RETRY,
    ),
    UNKNOWN: Kind(
        meaning="an error of no known kind; failure_message has the last telling lines",
        policy=Policy.DO_NOT_RETRY,
    ),
    "invalid_report": Kind(
        meaning="there is a report, but it is not of this point or not to be trusted; failure_message has every reason",
        policy=Policy.DO_NOT_RETRY,
    ),
    "worker_died": Kind(meaning="the process that carried the point died at it twice", policy=Policy.DO_NOT_RETRY),
    "not_reached": Kind(meaning="its deployment ended before this point", policy=Policy.RETRY_LATER),
    "backend_error": Kind(meaning="the backend itself failed", policy=Policy.DO_NOT_RETRY),
    "does_not_fit": Kind(meaning="predicted: it cannot run on these GPUs", policy=Policy.SKIP_LARGER),
    "no_prediction": Kind(meaning="the operator database has no data near it", policy=Policy.DO_NOT_RETRY),
}
"""Every kind, in the order in which it is asked for within its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong. `lines` are the last telling lines of the log, at most MOST_LINES."""

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
    causes: dict[str, str] = {}  # kind: the first line that says so
    consequences: dict[str, str] = {}
    telling: deque[str] = deque(maxlen=MOST_LINES)
    for raw in _candidates(lines):
        line = _bare(raw)
        if _HARMLESS.search(line):
            continue
        telling.append(line)
        for name, pattern in _LOG.items():
            if pattern.search(line):
                (consequences if KINDS[name].consequence else causes).setdefault(name, line)
                break
    by_state = {n: state or "" for n, pattern in _STATE.items() if state and pattern.search(state)}
    by_code = {name: f"exit code {exit_code}" for name, kind in KINDS.items() if exit_code in kind.exit_codes}
    for found in (causes, by_state, consequences, by_code):
        for name in KINDS:
            if name in found:
                return _failure(name, found[name], telling)
    if telling:
        return _failure(UNKNOWN, "\n".join(telling), telling)
    ended = (
        ""
        if exit_code is None
        else f" (exit code {exit_code}{', ' + _SIGNALS[exit_code] if exit_code in _SIGNALS else ''})"
    )
    why = f"{KINDS[NO_REPORT].meaning}{ended}" + (f": {state}" if state else "")
    return Failure(kind=NO_REPORT if exit_code in (None, 0) else UNKNOWN, message=why)


def _candidates(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines that have a word of _WORDS in them; most of a log is passed over a hundred lines at a time."""
    source = iter(lines)
    while some := [line[:LONGEST_LINE] for line in islice(source, 100)]:
        together = "\n".join(some)
        words = [word for word in _WORDS if word in together]
        if words:
            yield from (line for line in some if any(word in line for word in words))


_SIGNALS = {137: "SIGKILL", 139: "SIGSEGV", 134: "SIGABRT", -9: "SIGKILL", -11: "SIGSEGV", -6: "SIGABRT"}

_LOG = {name: re.compile("|".join(kind.log)) for name, kind in KINDS.items() if kind.log}
_STATE = {name: re.compile("|".join(kind.state)) for name, kind in KINDS.items() if kind.state}

_WORDS = (
    *("rror", "ERROR", "xception", "fail", "Fail", "FAIL", "fatal", "FATAL", "kill", "Kill", "abort", "ABORT", "MPI"),
    *("mpirun", "terminated", "core dumped", "insufficient", "out of memory", "OutOfMemory", "blocks left", "exceed"),
    *("max sequence", "No s", "must equal", "must be large", "not permitted", "verriding", "override KV", "Missing"),
    *("Invalid", "unexpected", "not found", "eyboard", "Hang", "Xid", "uncorrectable", "GPU is lost", "off the bus"),
    *("gated", "valid model", "DUE TO", "please provide", "[type=", "could not be created"),
)
"""A line is only looked at if it has one of these in it."""

_HARMLESS = re.compile(
    r"\[(?:I|W|INFO|WARNING|DEBUG|V|D)\](?!.*Keyboard interrupt)"
    r"|^\[?[\d:., T/-]*\]?\s*(?:- )?(?:INFO|WARNING|DEBUG)\b|\b\w*Warning: |\d+%\|"
    r"|The KV cache memory per GPU is less than|^Chunked prefill is disabled, but"
    r"|^\s*\"\w+\": |^\s*File \"|^\s*[~^]+\s*$|^\s+(?:raise|return|assert|if|self\.|await|with|for|except) "
)
"""Lines that only sound like it: notes, warnings, progress bars, JSON, the code in a traceback."""

_COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_PREFIX = re.compile(
    r"^(?:\d{4}-\d\d-\d\dT[\d:.,]+\S* )?(?:\[pod/[^\]]*\] )?(?:\s*\d+: )?"  # collectors and srun
    r"(?:\[[\d/:. -]{10,}\] )?(?:\[TRT-LLM\] )?(?:\[E\] )?"  # TensorRT-LLM's logger
)


def _bare(raw: str) -> str:
    """Return a line without colours, labels and what the logger puts before an error."""
    line = _COLOUR.sub("", raw[:LONGEST_LINE]).rstrip()
    return _PREFIX.sub("", line, count=1)


def _failure(name: str, said: str, telling: Iterable[str]) -> Failure:
    lines = tuple(line[:MOST_CHARACTERS] for line in telling)
    if name == UNKNOWN:
        return Failure(kind=name, message="\n".join(lines), lines=lines)
    said = said.strip()
    cut = said if len(said) <= MOST_CHARACTERS else said[: MOST_CHARACTERS - 3] + "..."
    return Failure(kind=name, message=f"{KINDS[name].meaning}: {cut}", lines=lines)
