"""The table: every kind of failure, what tells it, and what to do.

What is known of an end is the log, the exit code and what the container, pod, Job or queue says of it (the state). They
are asked in this order:

    1. causes in the log     a rank that is out of memory makes the others complain of NCCL, and mpirun of all
    2. the state             it explains why the log just stops, and the complaints of what was killed
    3. hints in the log      what NCCL or the bench say for themselves, but also after other causes
    4. the exit code         alone it proves little: Ctrl-C ends with 0, without a report
    5. echoes in the log     what is said after any death, so only where no other error stands beside it

The literal strings are those of TensorRT-LLM 0.16 to 1.4 (source and issues), click, pydantic, huggingface_hub 0.2x and
1.x, hf_xet, requests, urllib3, httpx, gcsfuse, NCCL, Open MPI, Slurm, the CUDA runtime, the kubelet, GKE and Kueue 0.17
to 0.19.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Policy(StrEnum):
    """What to do with the point, and with others."""

    RETRY_ELSEWHERE = "again, on another node"
    RETRY_LATER = "again, later"
    DO_NOT_RETRY = "not again"
    NEXT_RUN = "not again by this run, but by the next"
    SKIP_LARGER = "not again, nor points that need at least as much"
    STOP_ENGINE = "not again, nor other points of its engine"
    STOP_MODEL = "not again, nor other points of its model"


class Skip(StrEnum):
    """Why no attempt was made."""

    NEEDS_MORE = "needs_more"
    ENGINE = "engine_refused"
    MODEL = "model_refused"
    BUDGET = "budget"
    DEADLINE = "deadline"
    CANARY = "canary"
    FAILURES = "many_failures"


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

_AWAY = (
    r"^(?!.{0,500}(?:\blocalhost\b|\b127\.0\.0\.1\b|\b0\.0\.0\.0\b|CERTIFICATE_VERIFY_FAILED|offline mode"
    r"|has been disabled|thrown while requesting))"
)
"""Begins what is said of a host elsewhere: not of a server that died here, of what lasts, or of what is tried again."""

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
        policy=Policy.STOP_ENGINE,
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
        policy=Policy.STOP_ENGINE,
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
        policy=Policy.STOP_MODEL,
        log=(
            r"is not a local folder and is not a valid model identifier",
            r"\b(?:Repository|Revision|Entry)NotFoundError\b",
            r"\b404 Client Error\b|Client error '404 ",
            r"^Error: (?:Repository|Model(?: '.*')?) not found\.|^Error: (?:Revision|File) not found in ",
        ),
    ),
    "hf_auth": Kind(
        meaning="Hugging Face refuses: the model is gated, or the token is missing or wrong",
        policy=Policy.STOP_MODEL,
        log=(
            r"[Cc]annot access gated repo",
            r"\bGatedRepoError\b|trying to access a gated repo|^Error: Access denied\. .* requires approval",
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
        policy=Policy.RETRY_ELSEWHERE,
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
            r"its queue has not taken notice",
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
    "network": Kind(  # after nccl and mpi: ranks lose their connections too, to one that has died
        meaning="Hugging Face or the results volume did not answer, or too slowly",
        policy=Policy.RETRY_LATER,
        # Of gcsfuse: EIO where Cloud Storage answers otherwise than with 401, 403 or 404 (its error_mapping.go),
        # ENOTCONN where it has died. The others are of file systems on a network.
        hints=(r"results volume cannot be written: \[Errno (?:4|5|11|107|110|112|113|116|125)\]",),
        echoes=(
            rf"{_AWAY}(?:(?:\w+\.)*LocalEntryNotFoundError: |Error: Local entry not found\.)",
            rf"{_AWAY}OSError: We couldn't connect to '",  # of transformers
            rf"{_AWAY}.{{0,200}}\b(?:408|429|5\d\d) (?:Client|Server) Error\b",
            rf"{_AWAY}.{{0,200}}\b(?:Client|Server) error '(?:408|429|5\d\d) ",
            rf"{_AWAY}.{{0,200}}\b(?:429 Too Many Requests|Consistency check failed: file should be of size)\b",
            rf"{_AWAY}RuntimeError: Data processing error: .{{0,200}}\b(?:CAS|[Rr]eqwest|[Rr]equest)",  # hf_xet
            rf"{_AWAY}.{{0,200}}(?:Temporary failure in name resolution|Name or service not known|Failed to resolve ')",
            rf"{_AWAY}(?:httpx|httpcore|h11\._util|http\.client|ssl|socket|(?:requests|urllib3)\.exceptions)\."
            r"(?:Connect|Read|Write|Pool|Proxy|Network|SSL|Protocol|RemoteProtocol|RemoteDisc|ChunkedEnc|IncompleteRead"
            r"|MaxRetry|NewConnection|NameResolution|Timeout|timeout)",
            rf"{_AWAY}(?:Connection\w{{0,20}}|Timeout|OS)Error: .{{0,200}}"
            r"(?:timed out|[Cc]onnection (?:refused|reset|aborted)|unreachable|No route to host)",
            r"^OSError: \[Errno (?:5|107|110|116)\] |\bTransport endpoint is not connected|\bStale file handle",
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
    "worker_died": Kind(meaning="the process that carried the point died at it twice", policy=Policy.NEXT_RUN),
    "not_reached": Kind(meaning="its deployment ended before this point", policy=Policy.RETRY_LATER),
    "no_result": Kind(
        meaning="its pod ended well, and neither its log nor a results volume has its result",
        policy=Policy.RETRY_LATER,
    ),
    "no_other_node": Kind(meaning="no node is left beside those that are avoided", policy=Policy.RETRY_LATER),
    "cancelled": Kind(
        meaning="the sweep, or its Job, was ended while it ran",
        policy=Policy.RETRY_LATER,
        state=(r"\bthe Job (?:is gone|was deleted)\b",),
    ),
    "backend_error": Kind(
        meaning="the backend itself failed, or the cluster refuses its Jobs or their pods",
        policy=Policy.NEXT_RUN,
        state=(r"\bFailedCreate\b",),
    ),
    **{
        kind.value: Kind(meaning=f"not attempted: {meaning}", policy=Policy.DO_NOT_RETRY)
        for kind, meaning in {
            Skip.NEEDS_MORE: "it needs at least as much memory as a point that ran out of it",
            Skip.ENGINE: "the configuration of another point of its engine was refused",
            Skip.MODEL: "the weights of another point of its model could not be fetched",
            Skip.BUDGET: "the budget in GPU-hours or USD was spent",
            Skip.DEADLINE: "the deadline had come",
            Skip.CANARY: "the first point, which is measured alone, failed",
            Skip.FAILURES: "too many points had failed in one way",
        }.items()
    },
    "does_not_fit": Kind(meaning="predicted: it cannot run on these GPUs", policy=Policy.SKIP_LARGER),
    "no_prediction": Kind(meaning="the operator database has no data near it", policy=Policy.DO_NOT_RETRY),
}
"""Every kind, in the order in which it is asked for within each of the five places."""
