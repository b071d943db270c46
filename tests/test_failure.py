"""What TensorRT-LLM, its libraries and the cluster say at an end, and what we call it."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.failure import KINDS, MOST_LINES, Policy, classify

SAMPLES = Path(__file__).parent / "data" / "failures"
INDEX = json.loads((SAMPLES / "index.json").read_text())

LITERALS = {
    "oom": [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 184 GiB",
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "torch.AcceleratorError: CUDA error: out of memory",
        "[TensorRT-LLM][ERROR] CUDA runtime error in cudaMalloc(&ptr, size): out of memory",
        "RuntimeError: Executor creation failed due to insufficient GPU memory.",
        "The following component could not be created: KV cache",
        "Executor creation failed with NCCL error: unhandled cuda error",
        "Executor creation failed with an error which might indicate insufficient GPU memory.",
        "gke-a4x-1:392:494 [2] enqueue.cc:43 NCCL WARN Cuda failure 'out of memory'",
        "gke-a4x-1:392:494 [2] include/alloc.h:99 NCCL WARN Cuda failure 2 'out of memory'",
        "[TRT-LLM] [RANK 2] [E] Error executing load_single_module with args ('x', Linear()): CUDA out of memory.",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "RuntimeError: cudaErrorMemoryAllocation",
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "slurmstepd: error: Detected 1 oom_kill event in StepId=12.0. Some of the step tasks have been OOM Killed.",
        "[1.2] Out of memory: Killed process 12 (python)",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried to",
        "OSError: [Errno 12] Cannot allocate memory",
        "MemoryError",
    ],
    "kv_cache_too_small": [
        "RuntimeError: Can't allocate new blocks. No free blocks left.",
        "ValueError: The amount of KV cache memory is insufficient to run this model. Please try with more GPUs.",
        "ValueError: The model requires at least: 160.0 GB, the total GPU memory of 80.0 is insufficient.",
        "[TensorRT-LLM][ERROR] maxTokensInPagedKvCache must be large enough to process at least 1 sequence",
    ],
    "request_too_long": [
        "ValueError: The sum of prompt length (8192.0), query length (0) should not exceed max_num_tokens (4096)",
        "ValueError: The sum of prompt length (8192.0), max tokens (9) should not exceed max_seq_len (8200)",
        "ValueError: Requests failed: Prompt length (8192) should not exceed max_num_tokens (4096) (512 requests)",
        "RuntimeError: Engine supports a max sequence of 2048. Provided dataset contains a maximum sequence of 4096.",
    ],
    "invalid_config": [
        "pydantic_core._pydantic_core.ValidationError: 2 validation errors for TorchLlmArgs",
        "  Extra inputs are not permitted [type=extra_forbidden, input_value=True, input_type=bool]",
        "  Input should be 'CUTLASS', 'TRTLLM' or 'WIDEEP' [type=literal_error, input_value='X', input_type=str]",
        "TypeError: LlmArgs.__init__() got an unexpected keyword argument 'enable_attention_dp'",
        "ValueError: moe_tp_size * moe_ep_size * moe_cluster_size must equal to moe_world_size, but got 8 != 4",
        "ValueError: attn_tp_size * attn_cp_size must equal to tp_size * cp_size, but got 8 != 4",
        'ValueError: Overriding KV cache quantization with an invalid type "bfloat16"',
        'RuntimeError: Attempting to override KV cache quantization "FP8" with PyTorchConfig.kv_cache_dtype="nvfp4".',
        "yaml.scanner.ScannerError: while scanning for the next token",
    ],
    "usage": [
        "Error: No such option: --ep (Possible options: --help, --pp, --tp)",
        "Error: No such option '--ep'. (Did you mean one of: '--help', '--pp', '--tp'?)",
        "Error: Invalid value for '--dataset': Path '/x' does not exist.",
        "bash: line 1: trtllm-bench: command not found",
        "Model is a file or directory, please provide a model name.",
        "Try 'trtllm-bench throughput --help' for help.",
        "Error: Missing option '--dataset'.",
        "Error: Got unexpected extra argument (x)",
        "Error: Option '--tp' requires an argument.",
        "benchmark_serving.py: error: unrecognized arguments: --ignore-eso",
    ],
    "nccl": [
        "RuntimeError: Failed, NCCL error x.cpp:125 'unhandled system error (run with NCCL_DEBUG=INFO for details)'",
        "torch.distributed.DistBackendError: NCCL error in: /opt/ProcessGroupNCCL.cpp:3356, ncclSystemError",
        "RuntimeError: Failed, NCCL error x.cpp:125 'unhandled cuda error (run with NCCL_DEBUG=INFO for details)'",
        "ncclInternalError: Internal check failed.",
        "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.",
        "[rank0]:[E1120 03:14:07] [Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=1)",
    ],
    "mpi": [
        "MPI_ABORT was invoked on rank 2 in communicator MPI_COMM_WORLD with errorcode 1.",
        "Primary job  terminated normally, but 1 process returned a non-zero exit code",
        "mpirun detected that one or more processes exited with non-zero status",
        "mpirun noticed that process rank 1 with PID 0 on node a4x-1 exited on signal 9 (Killed).",
    ],
    "hang": ["[11/07/2025-04:13:33] [TRT-LLM] [E] Hang detected after 300 seconds."],
    "hf_auth": [
        "huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1)",
        "requests.exceptions.HTTPError: 403 Client Error: Forbidden for url: https://huggingface.co/x",
        "Cannot access gated repo for url https://huggingface.co/x.",
        "Error: Access denied. Model 'x/y' requires approval.",
        "Error: Local entry not found. Client error '403 Forbidden' for url 'https://huggingface.co/x'",
        "OSError: You are trying to access a gated repo.",
        "huggingface_hub.errors.HfHubHTTPError: Invalid user token.",
        "httpx.HTTPStatusError: Client error '403 Forbidden' for url 'https://huggingface.co/x'",
    ],
    "hf_not_found": [
        "huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error. (Request ID: Root=1)",
        "requests.exceptions.HTTPError: 404 Client Error: Not Found for url: https://huggingface.co/x",
        "Error: Model 'x/y' not found.",
        "Error: Revision not found in model 'x/y'.",
        "OSError: x/y is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'",
    ],
    "network": [
        "the results volume cannot be written: [Errno 5] Input/output error: '/results/s/.probe-p'; a bucket needs",
        "the results volume cannot be written: [Errno 107] Transport endpoint is not connected: '/results/s'; a bucket",
        "requests.exceptions.ConnectionError: (MaxRetryError(\"HTTPSConnectionPool(host='huggingface.co', port=443):"
        ' Max retries exceeded with url: /api/models/x/y (Caused by NameResolutionError("<urllib3.connection.'
        "HTTPSConnection object at 0x7f>: Failed to resolve 'huggingface.co' ([Errno -3] Temporary failure in name",
        "requests.exceptions.ConnectionError: ('Connection aborted.', ConnectionResetError(104, 'Connection reset'))",
        "requests.exceptions.ReadTimeout: (ReadTimeoutError(\"HTTPSConnectionPool(host='huggingface.co', port=443):"
        " Read timed out. (read timeout=10)\"), '(Request ID: 1)')",
        "requests.exceptions.ChunkedEncodingError: ('Connection broken: IncompleteRead(1 bytes read, 2 more)',",
        "requests.exceptions.SSLError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded"
        " with url: /x (Caused by SSLError(SSLEOFError(8, 'EOF occurred in violation of protocol (_ssl.c:1007)')))",
        "requests.exceptions.HTTPError: 503 Server Error: Service Unavailable for url: https://huggingface.co/x",
        "huggingface_hub.errors.HfHubHTTPError: 429 Client Error: Too Many Requests for url: https://huggingface.co/x",
        "httpx.HTTPStatusError: Server error '504 Gateway Timeout' for url 'https://huggingface.co/x'",
        "Error: Client error '429 Too Many Requests' for url 'https://huggingface.co/x'",
        "429 Too Many Requests: you have reached your 'api' rate limit.",
        "huggingface_hub.errors.LocalEntryNotFoundError: An error happened while trying to locate the files on the"
        " Hub and we cannot find the appropriate snapshot folder for the specified revision on the local disk.",
        "huggingface_hub.errors.LocalEntryNotFoundError: Got: ConnectError: [Errno 101] Network is unreachable",
        "Error: Local entry not found. The read operation timed out",
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in",
        "OSError: Consistency check failed: file should be of size 1000 but has size 10 (model-1-of-2.safetensors).",
        "RuntimeError: Data processing error: CAS service error : ReqwestMiddleware Error: Request failed after 5",
        "httpx.ConnectTimeout: timed out",
        "httpx.ConnectError: [Errno 101] Network is unreachable",
        "httpx.RemoteProtocolError: peer closed connection without sending complete message body (received 1 bytes,",
        "http.client.RemoteDisconnected: Remote end closed connection without response",
        "socket.gaierror: [Errno -2] Name or service not known",
        "TimeoutError: The read operation timed out",
        "OSError: [Errno 5] Input/output error: '/weights/model-00001-of-00002.safetensors'",
        "OSError: [Errno 107] Transport endpoint is not connected: '/results/s'",
    ],
    "requests_lost": ["AssertionError: Benchmark failed", "ValueError: Initial test run failed - Please make sure"],
    "interrupted": [
        "[11/07/2025-03:14:00] [TRT-LLM] [I] Keyboard interrupt, exiting benchmark...",
        "KeyboardInterrupt",
    ],
    "sick_gpu": [
        "NVRM: Xid (PCI:0008:06:00): 79, pid=1234, GPU has fallen off the bus.",
        "RuntimeError: CUDA error: uncorrectable ECC error encountered",
        "RuntimeError: CUDA error: system not yet initialized",
        "RuntimeError: No CUDA GPUs are available: no CUDA-capable device is detected",
        "Unable to determine the GPU's state: GPU requires reset",
        "Unable to determine the device handle for GPU 0000:06:00.0: GPU is lost.  Reboot the system",
    ],
    "out_of_disk": [
        "OSError: [Errno 28] No space left on device: '/ssd/model'",
        "OSError: [Errno 122] Disk quota exceeded",
    ],
    "timeout": ["slurmstepd: error: *** STEP 12.0 ON n1 CANCELLED AT 2025 DUE TO TIME LIMIT ***"],
    "evicted": ["slurmstepd: error: *** JOB 12 ON n1 CANCELLED AT 2025 DUE TO PREEMPTION ***"],
    "node_lost": ["slurmstepd: error: *** JOB 12 ON n1 CANCELLED AT 2025 DUE TO NODE FAILURE ***"],
}
HARMLESS = [
    "[TRT-LLM] [W] The KV cache memory per GPU is less than 10 GB. Performance may be undesirable.",
    "The KV cache memory per GPU is less than 10 GB.",
    "[TRT-LLM] [W] Chunked prefill is disabled, but max_num_tokens (8192) is less than the max ISL (8192).",
    "Chunked prefill is disabled, but max_num_tokens (8192) is less than the max ISL",
    "[TRT-LLM] [I] Setting PyTorch memory fraction to 0.9; on out of memory it raises OutOfMemoryError",
    "[TensorRT-LLM][WARNING] cudaMalloc: out of memory, trying again",
    "2025-12-20 04:20:03,864 - INFO - flashinfer.jit: kernels not found, error ignored",
    "/usr/lib/python3.12/x.py:36: UserWarning: failed to import",
    "Loading weights:  50%|#####     | failed 0 errors 0",
    "Benchmarking:  50%|#####     | 150/300 [00:12<00:12, 12.1it/s, errors=0, failed=0]",
    "3: [11/07/2025-03:14:00] [TRT-LLM] [RANK 3] [I] 0 errors, 0 requests failed to complete",
    "[TRT-LLM] [W] [Autotuner] Failed when profiling runner=x, tactic=3. Error: [TensorRT-LLM][ERROR] CUDA runtime"
    " error in cudaMalloc(&p, n): out of memory",
    "gke-a4x-1:812:1203 [0] NCCL INFO NET/Plugin: Failed to find libnccl-net.so, error ignored",
    "W1120 03:14:07.123456 812 torch/x.py:1] Error: falling back",
    "[11/07/2025-03:14:07] [TRT-LLM] [I] MPI size: 4, MPI local size: 4, aborts on failure",
    "MPI_COMM_WORLD size 4, nothing was killed, and 0 errors",
    '    "error_tokens": 0,',
    "'[Errno -3] Temporary failure in name resolution' thrown while requesting HEAD https://huggingface.co/x/y/z.json",
    '    raise ValueError(f"Requests failed: {task_errors_str}")',
]


@pytest.mark.parametrize(("kind", "line"), [(kind, line) for kind, lines in LITERALS.items() for line in lines])
def test_what_is_said_literally_is_classified(kind: str, line: str) -> None:
    found = classify(["starting\n", f"{line}\n", "done\n"], exit_code=1)
    assert found.kind == kind
    assert found.message.startswith(KINDS[kind].meaning)
    assert found.policy is KINDS[kind].policy


@pytest.mark.parametrize("name", INDEX)
def test_samples(name: str) -> None:
    said = (SAMPLES / name).read_text().splitlines()
    assert classify(said, exit_code=INDEX[name]["exit_code"]).kind == INDEX[name]["suggested_class"]
    assert classify(said).kind == INDEX[name]["suggested_class"]


@pytest.mark.parametrize("line", HARMLESS)
def test_what_only_sounds_like_it_is_no_failure(line: str) -> None:
    found = classify([line], exit_code=0)
    assert (found.kind, found.lines) == ("no_report", ())


@pytest.mark.parametrize(
    "label",
    [
        *["", "3: ", "\x1b[31m", "[pod/x/main] ", "2025-11-07T03:14:07.123Z ", "[rank0]: ", "[TensorRT-LLM][ERROR] "],
        *["[11/07/2025-03:14:00] [TRT-LLM] [E] ", "3: [11/07/2025-03:14:00] [TRT-LLM] [RANK 3] [E] "],
        "Benchmarking:   0%|          | 0/9 [00:00<?, ?it/s]Benchmarking:  50%|##   | 4/9 [00:12<00:12, 12.1it/s]",
        "Benchmarking:   0%|          | 0/9 [00:00<?, ?it/s]\rBenchmarking:  50%|##   | 4/9 [00:12<00:12, 12.1it/s]\r",
        "Loading weights in parallel[11/07/2025-03:14:00] [TRT-LLM] [E] ",
        "[TensorRT-LLM][INFO] Allocated 61.20 GiB[TensorRT-LLM][ERROR] ",
    ],
)
def test_labels_and_colours_do_not_matter(label: str) -> None:
    found = classify([f"{label}torch.OutOfMemoryError: CUDA out of memory\x1b[0m\r\n"])
    assert found.kind == "oom"
    assert found.message.endswith(": torch.OutOfMemoryError: CUDA out of memory")


# ------------------------------------------------------------------------------------------------------------- order

OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate"
ABORT = ["RuntimeError: Executor worker returned error", "NCCL error: aborted", *LITERALS["mpi"]]


@pytest.mark.parametrize("lines", [[OOM, *ABORT], [*ABORT, OOM]])
def test_a_cause_comes_before_its_consequences(lines: list[str]) -> None:
    assert classify(lines, exit_code=1).kind == "oom"
    assert classify(lines, exit_code=1, state="Error: BackoffLimitExceeded").kind == "oom"


NCCL_LEFT = "RuntimeError: NCCL error: remote process exited or there was a network error"


def test_suspected_memory_is_out_of_memory_unless_a_cause_is_known() -> None:
    hidden = "Executor creation failed with NCCL error: Failed, NCCL error x.cpp:125 'unhandled cuda error'"
    assert classify([hidden, *ABORT], exit_code=1).kind == "oom"
    assert classify([hidden, *LITERALS["sick_gpu"], *ABORT], exit_code=1).kind == "sick_gpu"
    assert classify([hidden], exit_code=1, state="NodeLost").kind == "node_lost"


def test_what_follows_any_death_does_not_hide_an_error_that_nobody_knows() -> None:
    died = "RuntimeError: CUDA error: an illegal memory access was encountered"
    found = classify([died, NCCL_LEFT, *LITERALS["mpi"]], exit_code=1)
    assert found.kind == "unknown"
    assert found.lines[0] == died
    assert classify([NCCL_LEFT, *LITERALS["mpi"]], exit_code=1).kind == "nccl"
    assert classify(["RuntimeError: Executor worker returned error", *LITERALS["mpi"]], exit_code=1).kind == "mpi"
    assert classify(LITERALS["mpi"], exit_code=143).kind == "interrupted"


HUB_IS_AWAY = """\
Traceback (most recent call last):
socket.gaierror: [Errno -3] Temporary failure in name resolution
The above exception was the direct cause of the following exception:
urllib3.exceptions.NameResolutionError: <urllib3.connection.HTTPSConnection object at 0x7f>: Failed to resolve 'hf.co'
urllib3.exceptions.MaxRetryError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with
During handling of the above exception, another exception occurred:
requests.exceptions.ConnectionError: (MaxRetryError("HTTPSConnectionPool(host='huggingface.co', port=443): Max retries")
The above exception was the direct cause of the following exception:
huggingface_hub.errors.LocalEntryNotFoundError: An error happened while trying to locate the files on the Hub and we
2026-01-31T12:00:00Z the launcher ended in step 'weights of x/y' with exit code 1
""".splitlines()
DIED = "RuntimeError: CUDA error: an illegal memory access was encountered"


def test_a_network_that_is_away_is_told_from_what_only_loses_its_connections() -> None:
    found = classify(
        HUB_IS_AWAY, exit_code=1, state="BackoffLimitExceeded: Job has reached the specified backoff limit"
    )
    assert found.kind == "network" and "LocalEntryNotFoundError: An error happened" in found.message
    reset = "ConnectionResetError: [Errno 104] Connection reset by peer"
    assert classify([reset], exit_code=1).kind == "network"
    assert classify([reset, NCCL_LEFT], exit_code=1).kind == "nccl"
    assert classify([reset, *LITERALS["mpi"]], exit_code=1).kind == "mpi"
    for cause, kind in ((OOM, "oom"), (DIED, "unknown"), ("AssertionError: Benchmark failed", "requests_lost")):
        assert classify([cause, reset, *HUB_IS_AWAY], exit_code=1).kind == kind
    assert classify([*HUB_IS_AWAY, "huggingface_hub.errors.GatedRepoError: 403 Client Error."]).kind == "hf_auth"
    assert classify(HUB_IS_AWAY, exit_code=1, state="NodeLost").kind == "node_lost"


@pytest.mark.parametrize(
    "line",
    [
        "requests.exceptions.ConnectionError: HTTPConnectionPool(host='localhost', port=8000): Max retries exceeded",
        "httpx.ConnectError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate",
        "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached snapshot folder for the"
        " specified revision on the local disk and outgoing traffic has been disabled.",
        "the results volume cannot be written: [Errno 13] Permission denied: '/results/s'; a bucket needs",
        "TimeoutError: the executor was not ready after 600 s",
    ],
)
def test_what_lasts_is_no_network_that_is_away(line: str) -> None:
    assert classify([line], exit_code=1).kind == "unknown"


def test_faults_of_the_application_are_no_sick_gpu() -> None:
    assert classify(["NVRM: Xid (PCI:0008:06:00): 31, pid=1, name=python, MMU Fault"], exit_code=1).kind == "unknown"


def test_of_the_lines_of_a_kind_the_most_telling_one_is_told() -> None:
    found = classify((SAMPLES / "handwritten-hf-gated.txt").read_text().splitlines())
    assert "Cannot access gated repo for url https://huggingface.co/meta-llama/Llama-3.3-70B" in found.message
    found = classify((SAMPLES / "standin-pydantic-extra-and-literal.txt").read_text().splitlines())
    assert "moe_config.backend: Input should be 'CUTLASS'" in found.message
    assert found.lines[-1].startswith("enable_attention_pd: Extra inputs are not permitted")


def test_an_exception_behind_a_frame_without_source_is_seen() -> None:
    lines = ['  File "mpi4py/MPI/Comm.pyx", line 3, in mpi4py.MPI.Comm.Abort', OOM]
    assert classify(lines).kind == "oom"


def test_nccl_comes_before_mpi_and_state_before_both() -> None:
    assert classify(ABORT, exit_code=1).kind == "nccl"
    assert classify(ABORT, exit_code=1, state="NodeLost").kind == "node_lost"
    assert classify([*ABORT, OOM], exit_code=1, state="Preempted: to accommodate a workload").kind == "oom"


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("OOMKilled", "oom"),
        ("ImagePullBackOff: Back-off pulling image", "image_pull"),
        ("ErrImagePull: manifest unknown", "image_pull"),
        ("Evicted: The node was low on resource: ephemeral-storage.", "out_of_disk"),
        ("Evicted: Pod ephemeral local storage usage exceeds the total limit of containers 10Gi.", "out_of_disk"),
        ("Evicted: The node had condition: [MemoryPressure].", "evicted"),
        ("ErrImagePull: rpc error: code = DeadlineExceeded desc = context deadline exceeded", "image_pull"),
        ("Failed to pull image on node a4x-1: not found", "image_pull"),
        ("Preempted; QuotaReserved False Pending couldn't assign flavors: insufficient unused quota", "evicted"),
        ("Pending: couldn't assign flavors, 4 more needed. Pending the preemption of 1 workload(s)", "quota"),
        ("0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: No preemption victims found", "quota"),
        ("couldn't assign flavors: resource ephemeral-storage unavailable in ClusterQueue", "quota"),
        ("PreemptionByScheduler: preempting to accommodate a higher priority pod", "evicted"),
        ("EvictionByEvictionAPI", "evicted"),
        ("Pod was terminated in response to imminent node shutdown.", "node_lost"),
        ("UnexpectedAdmissionError: Allocate failed due to no healthy devices present", "sick_gpu"),
        ('CreateContainerConfigError: secret "hf-secret" not found', "invalid_config"),
        ("GCE_STOCKOUT", "quota"),
        ("scale.up.error.quota.exceeded", "quota"),
        ("Preempted: Preempted to accommodate a workload (UID: 1)", "evicted"),
        ("Evicted ClusterQueueStopped", "evicted"),
        ("DeactivatedDueToMaximumExecutionTimeExceeded", "timeout"),
        ("DeadlineExceeded: Job was active longer than specified deadline", "timeout"),
        ("NodeNotReady", "node_lost"),
        ("NodeLost: node gke-a4x-1 which was running pod was not found", "node_lost"),
        ("DeletionByTaintManager", "node_lost"),
        ('forbidden: exceeded quota: compute, requested: requests.nvidia.com/gpu="4"', "quota"),
        ("couldn't assign flavors: insufficient unused quota for nvidia.com/gpu in flavor a4x, 4 more needed", "quota"),
        ("FailedScheduling: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu", "quota"),
        ("ZONE_RESOURCE_POOL_EXHAUSTED", "quota"),
    ],
)
def test_what_the_cluster_says_is_classified(state: str, kind: str) -> None:
    found = classify(["starting"], exit_code=137, state=state)
    assert found.kind == kind
    assert state in found.message


@pytest.mark.parametrize(
    ("exit_code", "kind"),
    [
        *[
            (0, "no_report"),
            (None, "no_report"),
            (1, "unknown"),
            (124, "timeout"),
            (127, "usage"),
            (130, "interrupted"),
        ],
        *[(143, "interrupted"), (-15, "interrupted"), (137, "unknown"), (-9, "unknown")],
    ],
)
def test_an_exit_code_alone_says_little(exit_code: int | None, kind: str) -> None:
    found = classify(["[TRT-LLM] [I] Setting up throughput benchmark."], exit_code=exit_code)
    assert found.kind == kind
    assert exit_code in (None, 0) or str(exit_code) in found.message


def test_signals_are_named() -> None:
    assert "exit code 137, SIGKILL" in classify([], exit_code=137).message
    assert "exit code -11, SIGSEGV" in classify([], exit_code=-11).message


@pytest.mark.parametrize("state", [None, "", "Error", "Completed", "BackoffLimitExceeded: Job has reached ..."])
def test_where_nothing_is_told_it_is_said_where_it_ended(state: str | None) -> None:
    found = classify(["[TRT-LLM] [I] Loading\n", "[TRT-LLM] [I] Setting up.\n", "\n"], exit_code=1, state=state)
    assert (found.kind, found.lines) == ("unknown", ("[I] Loading", "[I] Setting up."))
    assert found.message.endswith("the last line is: [I] Setting up.")


def test_a_state_that_nobody_knows_is_told() -> None:
    found = classify(["[TRT-LLM] [I] Setting up."], exit_code=0, state="FailedMount: gcsfuse is not there")
    assert found.kind == "unknown"
    assert "FailedMount: gcsfuse is not there" in found.message
    assert "FailedMount" in classify(["ValueError: x"], exit_code=1, state="FailedMount: y").message


# --------------------------------------------------------------------------------------------------------- the unknown


def test_of_the_unknown_the_last_telling_lines_are_kept() -> None:
    lines = [line for n in range(40) for line in (f"RuntimeError: number {n}\n", "[I] nothing\n")]
    found = classify(lines, exit_code=1)
    assert (found.kind, len(found.lines)) == ("unknown", MOST_LINES)
    assert found.lines[-1] == "RuntimeError: number 39"
    assert found.message.splitlines() == list(found.lines)


def test_long_lines_are_cut() -> None:
    found = classify(["ValueError: " + "x" * 1_000_000])
    assert len(found.message) < 1000
    assert len(classify([OOM + "y" * 1_000_000]).message) < 1000
    assert classify(["Benchmarking:  50%|##   | 4/9 [00:12<00:12, 1it/s]\r" * 100_000 + OOM]).kind == "oom"
    many = classify([f"ValueError: {n} " + "x" * 1_000 for n in range(40)], exit_code=1)
    assert len(many.message) < 4_000
    assert many.message.splitlines()[-1].startswith("ValueError: 39 ")


def test_a_log_is_read_once_as_a_stream() -> None:
    def lines() -> Iterator[str]:
        yield from (f"[TRT-LLM] [I] step {n}\n" for n in range(20_000))
        yield from (f"[TRT-LLM] [E] error {n} {'x' * 1_000}\n" for n in range(3_000))
        yield OOM

    tracemalloc.start()
    try:
        assert classify(lines()).kind == "oom"
        assert tracemalloc.get_traced_memory()[1] < 1_500_000
    finally:
        tracemalloc.stop()


@given(
    st.lists(st.text() | st.binary().map(lambda said: said.decode(errors="replace"))),
    st.none() | st.integers(-64, 255),
    st.none() | st.text(),
)
def test_any_text_is_classified(lines: list[str], exit_code: int | None, state: str | None) -> None:
    found = classify(lines, exit_code=exit_code, state=state)
    assert found.kind in KINDS
    assert found.message


def test_every_kind_says_what_happened_and_what_to_do() -> None:
    for kind in KINDS.values():
        assert kind.meaning
        assert kind.policy in Policy
    assert {name for name, kind in KINDS.items() if kind.policy is Policy.SKIP_LARGER} == {
        "oom",
        "kv_cache_too_small",
        "does_not_fit",
    }
