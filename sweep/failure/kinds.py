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

from sweep.failure.value import Kind, Policy, Skip

NO_REPORT, UNKNOWN = "no_report", "unknown"

_AWAY = (
    r"^(?!.{0,500}(?:\blocalhost\b|\b127\.0\.0\.1\b|\b0\.0\.0\.0\b|CERTIFICATE_VERIFY_FAILED|offline mode is"
    r"|has been disabled|thrown while requesting))"
)
"""Begins what is said of a host elsewhere: not of a server that died here, of what lasts, or of what is tried again."""

_NO_ANSWER = (
    r"\b(?:408|429|5\d\d) (?:Client|Server) Error\b",  # requests
    r"\b(?:[Cc]lient|[Ss]erver) error '(?:408|429|5\d\d) ",  # httpx
    r"\bstatus (?:client error \((?:408|429)|server error \(5\d\d) ",  # reqwest
    r"\bHTTP Error (?:408|429|5\d\d)\b|<urlopen error ",  # urllib
    r"\b429 Too Many Requests\b|\bConsistency check failed: file should be of size\b",
    r"\bWe couldn't connect to '|There was a specific connection error when trying to load",  # transformers
    r"Can't load .{1,200}due to a connection error",
    r"Couldn't reach |Cannot connect to host |(?:ould not|nable to) resolve host",  # datasets, aiohttp, curl, wget
    r"Temporary failure in name resolution|Name or service not known|Failed to resolve '",
    r"\b(?:request|reqwest) error: (?:https?:|HTTP |error sending|operation |[Cc]onnect)|error sending request for ",
    r"downloading using `hf_transfer`|tls connection init failed|Data processing error: .{0,200}\b(?:CAS|[Rr]e?qw?est)",
)
"""What clients say of a host that does not answer, or not now."""

_NOT_A_TOKENIZER = r"^(?!.*Cannot find a tokenizer from the given string)"
"""Begins what pydantic refuses: what prepare-dataset could not fetch is in its words too."""
_HARMLESS_XIDS = (
    # 13, 31, 45 and the like are faults of the application and the cleaning up after any fault; of others NVIDIA's
    # catalog says to ignore them at once: https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html
    r"(?:11|13|14|25|31|32|37|38|43|44|45|63|66|67|69|80|92|93|106|107|108|121|137|141|152|153|157|16[0-5])\b"
    r"|154\b.{0,80}\bto 0x0\b"  # the recovery action changed to none
    r"|\d+\b.{0,60}\b[Nn]on-?fatal\b"  # 144 to 150: NVLink 5 has sub-codes of both sorts
)

_IS_NOT_WELL = r"(?:not (?:running|ready|initialized|started|completed)|fail(?:ed|ure|s)?|un(?:healthy|available))\b"
_OF_THE_RUNTIME = r"nvidia-container-cli: (?:initialization|detection|device|ldcache|mount) error|\bnvml error: "

KINDS: Mapping[str, Kind] = {
    "kv_cache_too_small": Kind(
        meaning="the memory that weights leave does not hold the KV cache that the requests need",
        policy=Policy.SKIP_LARGER,
        log=(
            r"The amount of KV cache memory is insufficient to run this model",
            r"The model requires at least: .*is insufficient",
            r"Can't allocate new blocks\. No free blocks left",
            r"maxTokensInPagedKvCache must be large enough",
            r"KV cache is needed, which is larger than the available|No available memory for the cache blocks",  # vLLM
        ),
    ),
    "oom": Kind(
        meaning="out of GPU memory; or the container was out of host memory",
        # Host memory too: what weights and datasets take on the host is the same on every node of a kind.
        policy=Policy.SKIP_LARGER,
        log=(
            r"CUDA (?:driver )?(?:error: )?out of memory",
            r"CUDA (?:runtime|driver) error in .*: out of memory|\bCUDA_ERROR_OUT_OF_MEMORY\b",
            r"Cuda (?:failure|error) (?:\d+ )?'?out of memory",  # NCCL WARN, before its "unhandled cuda error"
            r"\b[Cc]uda ?(?:Malloc\w*|Host\w*|Runtime)\b.{0,40}\bout of memory|Triton Error \[CUDA\]: out of memory",
            r"Executor creation failed due to insufficient GPU memory",
            r"\bOutOfMemoryError\b|\bcudaErrorMemoryAllocation\b|\bCUBLAS_STATUS_ALLOC_FAILED\b",
            r"oom[_-]kill|(?i:out of memory: killed process)|DefaultCPUAllocator: can't allocate memory",
            r"\bstd::bad_alloc\b|Cannot allocate memory|^(?:[\w.]*\._Array)?MemoryError\b",
        ),
        state=(r"(?<!sidecar container terminated due to )(?:OOMKilled|\bOOM[- ]?[Kk]ill)",),
        # TensorRT-LLM asks itself the same: _maybe_explain_if_oom has this text for NCCL's "unhandled cuda error".
        hints=(
            r"Executor creation failed with NCCL error:",
            r"might indicate insufficient GPU memory",
            r"The following component could not be created",
        ),
    ),
    "driver_too_old": Kind(
        meaning="the driver of the node is too old for the image, or does not go with it",
        policy=Policy.STOP_IMAGE,  # all nodes of a type have one driver
        log=(
            r"\bError 80[34]: |CUDA driver version is insufficient for CUDA runtime version",
            r"nvidia-container-cli: requirement error|unsatisfied condition: (?:cuda|driver|brand)\b",
            r"[Tt]he NVIDIA driver on your system is too old",
            r"unsupported display driver / cuda driver combination|\bCUDA_ERROR_SYSTEM_DRIVER_MISMATCH\b",
            r"forward compatibility was attempted on non[- ]supported HW|\bCUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE\b",
            r"\bcudaErrorInsufficientDriver\b|\bCUDA_ERROR_UNSUPPORTED_PTX_VERSION\b",
            r"PTX was compiled with an unsupported toolchain",
            r"container was built for NVIDIA Driver Release \S+ or later, but",
        ),
        state=(r"nvidia-container-cli: requirement error|unsatisfied condition: (?:cuda|driver)",),
    ),
    "port_in_use": Kind(
        meaning="a port that it listens on is taken",
        policy=Policy.RETRY_LATER,  # another process has it for a while, or two took the same free one
        log=(
            r"(?i:\baddress already in use\b)|\bEADDRINUSE\b|\[Errno 98\]",
            r"port is already allocated|Failed to bind socket to",
        ),
    ),
    "request_too_long": Kind(
        meaning="a request is longer than max_num_tokens or max_seq_len of the engine",
        policy=Policy.DO_NOT_RETRY,
        log=(r"should not exceed max_(?:num_tokens|seq_len|input_len)", r"Engine supports a max sequence of"),
    ),
    "bad_dataset": Kind(  # before usage and requests_lost: what refuses it says that too
        meaning="the dataset is of another tokenizer, or is damaged",
        policy=Policy.DO_NOT_RETRY,
        log=(
            r"\bToken ID out of range\b",
            r"\bDatasetFormatError\b",
            r"^Error: (?!Invalid value).{0,200}\b[Dd]ataset\b.{0,200}(?:\bline \d|\bformat\b|\bJSON\b|malformed)",
        ),
    ),
    "invalid_config": Kind(
        meaning="TensorRT-LLM refuses the configuration: an engine key, a value, the KV dtype or the MoE mapping",
        policy=Policy.STOP_ENGINE,
        log=(
            rf"{_NOT_A_TOKENIZER}(?:.*Extra inputs are not permitted|.*\[type=\w+, input_value=)",
            r"Overriding KV cache quantization with an invalid type",
            r"Attempting to override KV cache quantization",
            r"_size \* \w+.* must equal",
            r"LlmArgs\.__init__\(\) got an unexpected keyword argument",
            r"\byaml\.(?:scanner|parser)\.\w+Error",
            r"\bvalidation errors? for (?!RootArgs\b)\w+",  # those are of prepare-dataset: mostly its tokenizer
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
        meaning="there is no such model, revision, tokenizer or file, on Hugging Face or in the folder of weights",
        policy=Policy.STOP_MODEL,
        log=(
            r"is not a local folder and is not a valid model identifier",
            r"\b(?:Repository|Revision|Entry)NotFoundError\b",
            r"\b404 Client Error\b|Client error '404 |status client error \(404 |\bHTTP Error 404\b",
            r"\bHFValidationError\b|Repo id must (?:be in the form|use alphanumeric)",  # a path that is not there
            r"does not appear to have a file named|Error no file named .* found in directory",
            r"^Error: (?:Repository|Model(?: '.*')?) not found\.|^Error: (?:Revision|File) not found in ",
        ),
        echoes=(  # after network, which may be why
            r"Cannot find a tokenizer from the given string",
            r"Can't load (?:the )?(?:tokenizer|configuration|config|model|image processor|feature extractor)\b",
        ),
    ),
    "hf_auth": Kind(
        meaning="Hugging Face refuses: the model is gated, or the token is missing or wrong",
        policy=Policy.STOP_MODEL,
        log=(
            r"[Cc]annot access gated repo",
            r"\bGatedRepoError\b|trying to access a gated repo|^Error: Access denied\. .* requires approval",
            r"\b40[13] Client Error\b|Client error '40[13] |status client error \(40[13] |\bHTTP Error 40[13]\b",
            r"Invalid user token|Access to model .* is restricted|enable access to public gated repositories",
        ),
    ),
    "sick_gpu": Kind(
        meaning="a GPU, a link between GPUs or their driver is broken: an Xid error, a memory error, or it is lost",
        policy=Policy.RETRY_ELSEWHERE,
        log=(
            rf"\b(?:Xid|XID)\b(?: [Ee]rror)?(?: ?\([^)]*\))?[:=]? ?(?!{_HARMLESS_XIDS})\d",
            r"\bSXid\b.{0,40}: \d+, (?:Fatal|fatal)\b",
            r"uncorrectable (?:ECC|NVLink|nvlink) error",
            r"Invalid access of peer GPU memory over nvlink",
            r"\bCUDA_ERROR_(?:CONTAINED|NVLINK_UNCORRECTABLE|ECC_UNCORRECTABLE|SYSTEM_NOT_READY|NO_DEVICE"
            r"|DEVICE_UNAVAILABLE)\b",
            r"\bcudaError(?:Contained|NvlinkUncorrectable|ECCUncorrectable|SystemNotReady|NoDevice|DevicesUnavailable)\b",
            r"Unable to determine the device handle for",  # nvidia-smi
            r"\bGPU is lost\b|fallen off the bus|GPU requires (?:a )?reset",
            r"\bNVML_ERROR_(?:GPU_IS_LOST|RESET_REQUIRED)\b",
            r"no CUDA-capable device is detected|system not yet initialized|\bError 802: ",
            r"CUDA-capable device\(s\) is/are busy or unavailable",
            r"Failed to initialize NVML|\bnvml error: |Driver/library version mismatch",
            r"couldn't communicate with the NVIDIA driver",
            _OF_THE_RUNTIME,
            rf"(?i:\bfabric ?manager\b.{{0,80}}\b{_IS_NOT_WELL})",
            rf"(?i:\b(?:NVLink|NVSwitch|GPU|MNNVL) fabric\b.{{0,80}}\b{_IS_NOT_WELL})",
            rf"(?i:\bfabric stat(?:e|us)\b.{{0,40}}\b(?:in progress|{_IS_NOT_WELL}))",
            rf"(?i:\bIMEX\b.{{0,80}}\b{_IS_NOT_WELL})",
            r"\bMNNVL\b.{0,80}\b(?:not (?:ready|initialized)|unhealthy)\b",
        ),
        state=(
            r"UnexpectedAdmissionError",  # the kubelet cannot hand out the GPUs that the scheduler counted on
            _OF_THE_RUNTIME,
        ),
    ),
    "out_of_disk": Kind(
        meaning="the node's disk (or /dev/shm) is full",
        policy=Policy.RETRY_ELSEWHERE,  # the cache of weights that fills it is the node's own
        log=(
            r"No space left on device|Disk quota exceeded|no space left on device",
            r"creating shared memory segment",  # NCCL
            r"failed to extend /dev/shm|\b(?:[Ii]nsufficient|out of) shared memory|shm_open .{0,80}failed",
            r"(?i:unable to (?:open|mmap|resize|write to) shared memory|\bbus error\b.{0,80}shared memory)",
        ),
        state=(
            r"low on resource: ephemeral-storage|DiskPressure|[Nn]o space left on device",
            r"(?:ephemeral local|local ephemeral|ephemeral) storage usage exceeds|EmptyDir volume .*exceeds",
        ),
    ),
    "image_pull": Kind(  # before timeout: a pull can fail with DeadlineExceeded
        meaning="the image cannot be pulled",
        policy=Policy.RETRY_ELSEWHERE,
        log=(
            r"pyxis: (?:failed to (?:import|create)|couldn't (?:pull|import))",
            r"\bURL \S+ returned error code: \d|Could not process JSON input",  # enroot
            r"Invalid image (?:reference|format)",
            r"\bmanifest unknown\b|\bmanifest for .{1,300} not found|\bpull access denied\b|[Nn]o matching manifest\b",
            r"[Ee]rror response from daemon: (?:Head|Get|unauthorized|denied|toomanyrequests|pull|error pulling)\b",
            r"\btoomanyrequests: |\bfailed to register layer\b|error pulling image",
            r"[Ii]nitializing source docker://|copy from source docker://|reading manifest \S+ in ",  # podman, skopeo
            r"failed to (?:pull and unpack image|resolve reference|copy: httpReadSeeker)",  # containerd
            r"\bErrImagePull\b|\bImagePullBackOff\b|[Ff]ailed to pull image",
            r"^FATAL: +(?:Unable to pull|While (?:making|pulling) image|Unable to handle docker)",  # apptainer
        ),
        details=(r"pyxis: +\[ERROR\] ",),
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
            # gcsfuse in its sidecar ends with the node, or before the node is ready.
            r"\bContainerStatusUnknown\b|gcsfuse exited with error: signal: |sidecar container terminated due to",
            r"FailedPrepareDynamicResources|FailedCreatePodSandBox|DRA driver \S+ (?:is )?not (?:registered|found)",
        ),
    ),
    "evicted": Kind(  # before quota: what was evicted waits for quota again, and its Workload says both
        meaning="evicted or preempted: others needed the node, or its queue was stopped",
        policy=Policy.RETRY_LATER,
        log=(r"slurmstepd: .*DUE TO PREEMPTION",),
        # "Pending the preemption of ..." and "No preemption victims" are said of those that wait.
        state=(
            r"Evicted|EvictionBy|\bPreempt(?:ed|ing|ionBy)|\bpreempted\b|TerminationByKubelet",
            r"(?:Cluster|Local)QueueStopped|Deactivated(?!DueToAdmissionCheck)",
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
            r"TopologyPlacementFailed|no topology domains at level",
            r"DeactivatedDueToAdmissionCheck",  # DWS has no nodes
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
        details=(r"^Last error: ", r"\bNCCL WARN\b"),  # it also warns of what it can do without
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
        state=(
            r"FailedMount.{0,300}\b(?:gcsfuse|sidecar|bucket|storage\.googleapis)\b.{0,300}"
            r"(?:[Tt]imed? ?out|code = (?:Unavailable|DeadlineExceeded)|deadline exceeded|Error (?:429|5\d\d)\b"
            r"|connection (?:refused|reset))",
        ),
        # Of gcsfuse: EIO where Cloud Storage answers otherwise than with 401, 403 or 404 (its error_mapping.go),
        # ENOTCONN where it has died. The others are of file systems on a network.
        hints=(r"results volume cannot be written: \[Errno (?:4|5|11|107|110|112|113|116|125)\]",),
        echoes=(
            rf"{_AWAY}(?:(?:\w+\.)*LocalEntryNotFoundError: |Error: Local entry not found\.)",
            rf"{_AWAY}.{{0,200}}?(?:{'|'.join(_NO_ANSWER)})",
            rf"{_AWAY}(?:httpx|httpcore|h11\._util|http\.client|ssl|socket|(?:requests|urllib3)\.exceptions)\."
            r"(?:Connect|Read|Write|Pool|Proxy|Network|SSL|Protocol|RemoteProtocol|RemoteDisc|ChunkedEnc|IncompleteRead"
            r"|MaxRetry|NewConnection|NameResolution|Timeout|timeout)",
            rf"{_AWAY}(?:aiohttp\.client_exceptions|fsspec\.exceptions\.FSTimeout|google\.auth\.exceptions\.Transport)",
            rf"{_AWAY}google\.api_core\.exceptions\.(?:TooManyRequests|ServiceUnavailable|InternalServerError|BadGateway"
            r"|GatewayTimeout|RetryError|DeadlineExceeded)",
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
        meaning="the backend itself failed, or the cluster refuses its Jobs or their pods, or no queue takes them",
        policy=Policy.NEXT_RUN,
        state=(r"\bFailedCreate\b", r"its queue has not taken notice"),
    ),
    **{
        kind.value: Kind(meaning=f"not attempted: {meaning}", policy=Policy.DO_NOT_RETRY)
        for kind, meaning in {
            Skip.NEEDS_MORE: "it needs at least as much memory as a point that ran out of it",
            Skip.ENGINE: "the configuration of another point of its engine was refused",
            Skip.MODEL: "the weights of another point of its model could not be fetched",
            Skip.IMAGE: "the driver of this type of node is too old for its image, as another point found",
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
