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
        "[12345.678] Memory cgroup out of memory: Killed process 4711 (python3) total-vm:1kB, anon-rss:9kB",
        "[TensorRT-LLM][ERROR] CUDA driver error in cuMemCreate(&h, size, &prop, 0): CUDA_ERROR_OUT_OF_MEMORY: out of",
        "RuntimeError: cuMemCreate failed with CUDA_ERROR_OUT_OF_MEMORY",
        "RuntimeError: Triton Error [CUDA]: out of memory",
        "[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)",
        "ggml_cuda: cudaMalloc failed: out of memory",
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 100. GiB for an array with shape (1, 2)",
    ],
    "kv_cache_too_small": [
        "RuntimeError: Can't allocate new blocks. No free blocks left.",
        "ValueError: The amount of KV cache memory is insufficient to run this model. Please try with more GPUs.",
        "ValueError: The model requires at least: 160.0 GB, the total GPU memory of 80.0 is insufficient.",
        "[TensorRT-LLM][ERROR] maxTokensInPagedKvCache must be large enough to process at least 1 sequence",
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when",
        "ValueError: max seq len (131072), (16.00 GiB KV cache is needed, which is larger than the available KV cache",
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
    "driver_too_old": [
        "RuntimeError: The NVIDIA driver on your system is too old (found version 12020). Please update",
        "RuntimeError: CUDA error: CUDA driver version is insufficient for CUDA runtime version",
        "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=13.0, please update your driver",
        "RuntimeError: cudaGetDeviceCount(). Error 804: forward compatibility was attempted on non supported HW",
        "CUDA initialization failed: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        "RuntimeError: CUDA error: the provided PTX was compiled with an unsupported toolchain.",
        "ERROR: This container was built for NVIDIA Driver Release 580.65 or later, but version 535.129 was detected",
    ],
    "port_in_use": [
        "zmq.error.ZMQError: Address already in use (addr='tcp://127.0.0.1:10012')",
        "OSError: [Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): address already in use",
        "torch.distributed.DistNetworkError: The server socket has failed to listen on any local network address. port:"
        " 29500, useIpv6: false, code: -98, name: EADDRINUSE, message: address already in use",
        "RuntimeError: Failed to bind socket to localhost:8000",
        "docker: Error response from daemon: driver failed programming external connectivity: Bind for 0.0.0.0:8000"
        " failed: port is already allocated.",
    ],
    "bad_dataset": [
        "ValueError: Requests failed: Token ID out of range (1 requests)",
        "tensorrt_llm.bench.utils.data.DatasetFormatError: line 3 is not valid JSON",
        "Error: Invalid dataset: line 7 has no input_ids",
        "Error: the dataset /cache/a.jsonl is malformed",
    ],
    "image_pull": [
        "docker: Error response from daemon: manifest for nvcr.io/nvidia/tensorrt-llm/release:9.9 not found: manifest"
        " unknown: manifest unknown.",
        "docker: Error response from daemon: pull access denied for trtllm, repository does not exist or may require"
        " 'docker login': denied: requested access to the resource is denied.",
        'Error response from daemon: Head "https://nvcr.io/v2/nvidia/x/manifests/9.9": unauthorized: <html>',
        "toomanyrequests: You have reached your unauthenticated pull rate limit.",
        "Error: initializing source docker://nvcr.io/nvidia/x:9.9: reading manifest 9.9 in nvcr.io/nvidia/x: manifest"
        " unknown",
        "Error: unable to copy from source docker://alpine:latest: initializing source: authentication required",
        "[ERROR] URL https://nvcr.io/proxy_auth returned error code: 401 Unauthorized",
        "slurmstepd: error: pyxis:     [ERROR] URL https://nvcr.io/v2/x/manifests/9 returned error code: 404 Not Found",
        "0: slurmstepd: error: pyxis: failed to import docker image",
        'ctr: failed to resolve reference "nvcr.io/nvidia/x:9.9": nvcr.io/nvidia/x:9.9: not found',
        "  Warning  Failed     3s    kubelet  Error: ErrImagePull",
        "FATAL:   Unable to handle docker://nvcr.io/nvidia/x:9.9 uri: failed to get checksum for docker://nvcr.io",
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
        "Exception: HTTP status client error (401 Unauthorized) for url (https://huggingface.co/x/resolve/main/config)",
        "urllib.error.HTTPError: HTTP Error 403: Forbidden",
        "OSError: There was a specific connection error when trying to load x/y: 401 Client Error: Unauthorized",
        "  Value error, Cannot find a tokenizer from the given string because of You are trying to access a gated repo."
        " Please set tokenizer to the directory [type=value_error, input_value={'tokenizer': 'x'}, input_type=dict]",
        "Access to model x/y is restricted and you are not in the authorized list.",
    ],
    "hf_not_found": [
        "huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error. (Request ID: Root=1)",
        "requests.exceptions.HTTPError: 404 Client Error: Not Found for url: https://huggingface.co/x",
        "Error: Model 'x/y' not found.",
        "Error: Revision not found in model 'x/y'.",
        "OSError: x/y is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'",
        "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name'",
        "OSError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/no/such'. Use `repo_type`",
        "OSError: /weights/x does not appear to have a file named config.json. Checkout 'https://huggingface.co//weights'",
        "OSError: Can't load tokenizer for '/weights/x'. If you were trying to load it from 'https://huggingface.co/'",
        "  Value error, Cannot find a tokenizer from the given string because of /w is not a local folder and is not a"
        " valid model identifier [type=value_error, input_value={'tokenizer': '/w'}, input_type=dict]",
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for RootArgs: Value error, Cannot find a"
        " tokenizer from the given string. [type=value_error, input_value='x', input_type=str]",
        "Exception: HTTP status client error (404 Not Found) for url (https://huggingface.co/x/resolve/main/config.json)",
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
        "OSError: There was a specific connection error when trying to load x/y: 504 Server Error: Gateway Time-out",
        "OSError: Can't load the model for 'x/y' due to a connection error. Check your internet connection.",
        "  Value error, Cannot find a tokenizer from the given string because of We couldn't connect to"
        " 'https://huggingface.co' to load the files [type=value_error, input_value={'tokenizer': 'x'}]",
        "ConnectionError: Couldn't reach 'x/y' on the Hub (LocalEntryNotFoundError)",
        "datasets.exceptions.DatasetNotFoundError: Couldn't reach https://huggingface.co/x (ReadTimeout)",
        "aiohttp.client_exceptions.ClientConnectorError: Cannot connect to host huggingface.co:443 ssl:default",
        "Exception: request error: https://huggingface.co/x: Connection Failed: tls connection init failed",
        "Download failed: request error: HTTP status server error (502 Bad Gateway) for url (https://hf.example.com/x)",
        "RuntimeError: An error occurred while downloading using `hf_transfer`. Consider disabling it.",
        "reqwest::Error { kind: Request, source: error sending request for url (https://cas.example.com/x) }",
        "urllib.error.URLError: <urlopen error [Errno -2] Name or service not known>",
        "urllib.error.HTTPError: HTTP Error 503: Service Unavailable",
        "requests.exceptions.ProxyError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded",
        "curl: (6) Could not resolve host: huggingface.co; error",
        "wget: unable to resolve host address 'huggingface.co'",
        "google.api_core.exceptions.ServiceUnavailable: 503 GET https://storage.googleapis.com/storage/v1/b/x",
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
        "NVRM: Xid (PCI:0000:00:00): 149, NETIR_LINK_EVT Fatal XC0 i0 Link 00 (0x026001c6 0x00000000 0x00000000)",
        "NVRM: Xid (PCI:0000:dc:00): 45, pid=1818990, name=python3, Ch 00000001 caused by previous Xid 145",
        "NVRM: Xid (PCI:0000:9b:00): 94, pid=1234, name=python3, Contained ECC error",
        "NVRM: Xid (PCI:0000:9b:00): 154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)",
        "[gpu-health] [CRITICAL] GPU-1234: XID error 79 on GPU 0",
        "nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 20034, Fatal, Link 30 LTSSM Fault Up",
        "torch.AcceleratorError: CUDA error: Invalid access of peer GPU memory over nvlink or a hardware error",
        "RuntimeError: CUDA error: uncorrectable NVLink error detected during the execution",
        "2026-09-05 17:34:36.549 E allocator.cc:414] CUDA_ERROR_NVLINK_UNCORRECTABLE: uncorrectable NVLink error",
        "cudaErrorContained: Invalid access of peer GPU memory",
        "CUDA initialization: Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized",
        "RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable",
        "Failed to initialize NVML: Driver/library version mismatch",
        "Unable to determine the device handle for GPU0: 0000:06:00.0: Unknown Error",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
        "nvidia-container-cli: initialization error: nvml error: driver not loaded: unknown",
        "[TRT-LLM] [E] GPU fabric state is not completed: In Progress",
        "RuntimeError: the fabric manager is not running, NVLink cannot be used",
        "RuntimeError: MNNVL memory cannot be allocated: IMEX daemon not running",
    ],
    "out_of_disk": [
        "OSError: [Errno 28] No space left on device: '/ssd/model'",
        "OSError: [Errno 122] Disk quota exceeded",
        "docker: failed to register layer: write /usr/lib/libtorch.so: no space left on device.",
        "host-a:21858:21858 [2] misc/shmutils.cc:72 NCCL WARN Error: failed to extend /dev/shm/nccl-Y4 to 9637 bytes",
        "RuntimeError: DataLoader worker (pid 12) is killed by signal: Bus error. It is possible that dataloader's"
        " workers are out of shared memory.",
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
    "Unable to find image 'nvcr.io/nvidia/tensorrt-llm/release:1.2.0' locally",
    "[TRT-LLM] [I] NVLinkOneSided not available: MNNVL is not initialized",
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
        *["bench-1  | ", "(RayWorker pid=123, ip=10.0.0.1) ", "[default0]:", "[1,0]<stdout>:", "[0]<stderr>:"],
        "[pod/x/main] 2025-11-07T03:14:00.123Z ",
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
        ("TopologyPlacementFailed: pod set main cannot be placed", "quota"),
        (
            "FailedMount: the sidecar container failed with error: gcsfuse exited with error: signal: killed",
            "node_lost",
        ),
        ("FailedMount: the sidecar container terminated due to ContainerStatusUnknown", "node_lost"),
        ("FailedMount: the sidecar container terminated due to OOMKilled with exit code 137", "node_lost"),
        (
            'FailedMount: MountVolume.SetUp failed for volume "results": rpc error: code = Unavailable desc = dial unix'
            " /var/lib/kubelet/plugins/gcsfuse.csi.storage.gke.io/csi.sock: connect: connection refused",
            "network",
        ),
        (
            'FailedMount: MountVolume.SetUp failed for volume "results": rpc error: code = PermissionDenied desc ='
            " failed to get GCS bucket: googleapi: Error 403: no storage.objects.list access",
            "unknown",
        ),
        ("FailedPrepareDynamicResources: DRA driver compute-domain.nvidia.com is not registered", "node_lost"),
        ("StartError: nvidia-container-cli: requirement error: unsatisfied condition: cuda>=13.0", "driver_too_old"),
        ("StartError: nvidia-container-cli: initialization error: nvml error: driver not loaded", "sick_gpu"),
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


# ------------------------------------------------------------------------------------------- what spans several lines


def message_of(*lines: str) -> tuple[str, str]:
    found = classify(lines, exit_code=1)
    return found.kind, found.message


def test_the_line_under_last_error_says_why() -> None:
    head = "torch.distributed.DistBackendError: NCCL error in: NCCLUtils.hpp:268, unhandled system error"
    for label in ("", "[rank0]: ", "3: ", "[pod/x/main] "):
        kind, message = message_of(
            f"{label}{head}",
            f"{label}ncclSystemError: System call (e.g. socket, malloc) or external library call failed.",
            f"{label}Last error:",
            f"{label}socketPollConnect: connect to 10.0.0.7<41551> returned No route to host",
            f"{label}Exception raised from create at NCCLUtils.hpp:268 (most recent call first):",
        )
        assert kind == "nccl"
        assert "connect to 10.0.0.7<41551> returned No route to host" in message


def test_a_rank_that_is_gone_does_not_hide_why_it_went() -> None:
    left = [
        "[rank1]: Traceback (most recent call last):",
        "[rank1]: torch.distributed.DistBackendError: NCCL error in: NCCLUtils.hpp:77, remote process exited or there",
        "[rank1]: ncclRemoteError: A call failed possibly due to a network error or a remote process exiting",
        "[rank1]: Last error:",
        "[rank1]: socketProgress: Connection closed by remote peer n2<51234>",
    ]
    kind, message = message_of("[rank0]: Traceback (most recent call last):", "[rank0]: ValueError: a bug", *left)
    assert kind == "unknown" and message.startswith("ValueError: a bug")
    kind, message = message_of(*left)
    assert kind == "nccl" and "Connection closed by remote peer n2" in message
    assert message_of(*left, f"[rank0]: {OOM}")[0] == "oom"


def test_why_an_image_was_not_imported_is_told() -> None:
    kind, message = message_of(
        "slurmstepd: error: pyxis: failed to create container filesystem",
        "slurmstepd: error: pyxis: printing enroot log file:",
        "slurmstepd: error: pyxis:     [ERROR] No such file or directory: /images/trtllm.sqsh",
        "slurmstepd: error: pyxis: couldn't start container",
    )
    assert kind == "image_pull" and "No such file or directory: /images/trtllm.sqsh" in message


def test_a_warning_of_nccl_is_told_with_its_error_and_alone_tells_no_kind() -> None:
    warning = "n1:21858:21901 [2] transport/net_ib.cc:1295 NCCL WARN NET/IB : Got completion with error 12, opcode 0"
    kind, message = message_of(warning, "RuntimeError: Failed, NCCL error x.cpp:125 'unhandled system error'")
    assert kind == "nccl" and "Got completion with error 12" in message
    kind, message = message_of(warning, DIED)
    assert kind == "unknown" and "Got completion with error 12" in message and DIED in message


@pytest.mark.parametrize(
    ("lines", "kind", "why"),
    [
        (
            [
                "ValidationError: 1 validation error for TorchLlmArgs",
                "  Value error, max_batch_size is not",
                "what max_num_tokens allows: 4096",
                "and so it cannot be. [type=value_error, input_value={'model': 'a'}, input_type=dict]",
                "    For further information visit https://errors.pydantic.dev/2.14/v/value_error",
                "RuntimeError: Executor worker returned error",
            ],
            "invalid_config",
            "max_batch_size is not what max_num_tokens allows: 4096 and so it cannot be. [type=value_error",
        ),
        (
            [
                "pydantic_core._pydantic_core.ValidationError: 1 validation error for RootArgs",
                "  Value error, Cannot find a tokenizer from the given string because of We couldn't connect to 'hf'",
                "Check your internet connection or see how to run the library in offline mode at 'https://x'.",
                "Please set tokenizer to the directory that contains the tokenizer, or set to a model name in"
                " HuggingFace. [type=value_error, input_value={'tokenizer': 'x/y'}, input_type=dict]",
            ],
            "network",
            "We couldn't connect to 'hf'",
        ),
        (
            [
                "pydantic_core._pydantic_core.ValidationError: 1 validation error for RootArgs",
                "tokenizer",
                "  Value error, Cannot find a tokenizer from the given string because of You are trying to access a"
                " gated repo.",
                "Make sure to have access to it at https://huggingface.co/meta-llama/x.",
                "403 Client Error. (Request ID: Root=1)",
                "Please set tokenizer to the directory [type=value_error, input_value='x/y', input_type=str]",
            ],
            "hf_auth",
            "trying to access a gated repo",
        ),
        (
            [
                "[TRT-LLM] [E] Failed to load the checkpoint: 2 tensors do not fit:",
                "\tsize mismatch for lm_head.weight: copying a param with shape [2, 3]",
                "\tsize mismatch for norm.weight: copying a param with shape [2]",
            ],
            "unknown",
            "size mismatch for lm_head.weight",
        ),
        (
            [
                "terminate called after throwing an instance of 'tensorrt_llm::common::TllmException'",
                "  what():  [TensorRT-LLM][ERROR] CUDA runtime error in cudaMalloc(&p, n): out of memory",
            ],
            "oom",
            "cudaMalloc(&p, n): out of memory",
        ),
        (
            ["RuntimeError:", "    the tactic of the autotuner is not there", "", "RuntimeError: Executor worker"],
            "unknown",
            "the tactic of the autotuner is not there",
        ),
        (
            [
                "Error: Error initializing source docker://php:fpm: Error reading manifest fpm in docker.io: errors:",
                "denied: requested access to the resource is denied",
            ],
            "image_pull",
            "denied: requested access to the resource is denied",
        ),
        (
            [
                "OSError: There was a specific connection error when trying to load x/y:",
                "403 Client Error: Forbidden for url: https://huggingface.co/x/y/resolve/main/config.json",
            ],
            "hf_auth",
            "403 Client Error: Forbidden",
        ),
    ],
)
def test_a_message_over_several_lines_is_whole(lines: list[str], kind: str, why: str) -> None:
    assert message_of(*lines)[0] == kind
    assert why in message_of(*lines)[1]
    labelled = [f"2: {line}" for line in lines]
    assert message_of(*labelled)[0] == kind
    assert why in message_of(*labelled)[1]
    for before in range(96, 101):  # wherever the stream is divided
        kind_then, message = message_of(*["[TRT-LLM] [I] loading"] * before, *lines, *["done"] * 200)
        assert kind_then == kind and why in message


def test_what_another_rank_or_logger_prints_continues_no_message() -> None:
    head = "0: [11/07/2025-03:14:00] [TRT-LLM] [RANK 0] [E] Failed to initialize executor:"
    for other in (
        "1: RuntimeError: CUDA error: out of memory",
        "0: [11/07/2025-03:14:00] [TRT-LLM] [RANK 0] [E] CUDA out of memory",
        "0: Traceback (most recent call last):",
        "",
    ):
        found = classify([head, other, "0: no word of it"], exit_code=1)
        assert "Failed to initialize executor:" in (found.lines[0] if found.lines else found.message)
        assert "no word of it" not in found.message
        assert found.kind == ("oom" if "of memory" in other else "unknown")


def test_the_root_cause_of_a_chain_is_in_the_message() -> None:
    chain = [
        "Traceback (most recent call last):",
        "KeyError: 'model.layers.61.eh_proj.weight'",
        "",
        "The above exception was the direct cause of the following exception:",
        "",
        "Traceback (most recent call last):",
        "RuntimeError: Failed to load weights",
        "",
        "During handling of the above exception, another exception occurred:",
        "",
        *[line for rank in range(40) for line in (f"RuntimeError: rank {rank} of 40 died", *LITERALS["mpi"])],
    ]
    kind, message = message_of(*chain)
    assert kind == "unknown"
    assert message.splitlines()[0] == "KeyError: 'model.layers.61.eh_proj.weight'"
    assert "rank 39 of 40" in message


def test_what_mpi_prints_first_is_not_told_first() -> None:
    noise = [f"MPI_ABORT was invoked on rank {rank} in communicator MPI_COMM_WORLD" for rank in range(8)]
    kind, message = message_of(*noise, "RuntimeError: Executor worker returned error", "KeyError: 'layers.61'")
    assert kind == "unknown" and message.splitlines()[0] == "KeyError: 'layers.61'"


SURVIVED = [
    "Traceback (most recent call last):",
    "ImportError: libnvshmem_host.so.3: cannot open shared object file: No such file or directory",
]
NAMED = "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='hf.co', port=443): Max retries exceeded"


@pytest.mark.parametrize(
    "between", [[], ["[TRT-LLM] [W] deep_ep is not available"], ["2025-11-07 03:14:00,1 - INFO - without it"]]
)
@pytest.mark.parametrize("survived", [SURVIVED, ["Traceback (most recent call last):", "KeyError: 'TRITON_CACHE'"]])
def test_an_exception_that_was_caught_does_not_silence_a_host_that_is_away(
    survived: list[str], between: list[str]
) -> None:
    lines = [*survived, *between, "Traceback (most recent call last):", NAMED]
    assert message_of(*lines)[0] == "network"
    assert message_of(NAMED, *survived)[0] == "unknown"  # what ended it came later


def test_an_import_that_was_caught_does_not_silence_ranks_that_lost_each_other() -> None:
    went_on = [*SURVIVED, "[11/07/2025-03:14:00] [TRT-LLM] [W] deep_ep is not available"]
    assert message_of(*went_on, NCCL_LEFT)[0] == "nccl"
    assert message_of(*went_on, *LITERALS["mpi"])[0] == "mpi"
    assert message_of(*SURVIVED, *LITERALS["mpi"])[0] == "unknown"
    assert message_of("ValueError: a bug", "[TRT-LLM] [I] rank 1 goes on", *LITERALS["mpi"])[0] == "unknown"


def test_a_model_that_cannot_be_loaded_is_what_follows_from_a_host_that_is_away() -> None:
    last = "OSError: Can't load tokenizer for 'x/y'. If you were trying to load it from 'https://huggingface.co/models'"
    assert message_of("Traceback (most recent call last):", NAMED, last)[0] == "network"
    assert message_of("Traceback (most recent call last):", last)[0] == "hf_not_found"


@pytest.mark.parametrize(
    "xid",
    [
        "144, SAW_MVB Nonfatal XC0 i0 Link 0 (0x00000001 0x00000008 0x00000000 0x00000000 0x00000000 0x00000000)",
        "145, RLW_RXPIPE Nonfatal XC0 i0 Link 13 (0x0409a0c2 0x00000008 0x00000001 0x00000000 0x00100000 0x00000004)",
        "149, NETIR_LINK_EVT Non-fatal XC0 i0 Link 00 (0x025001c6 0x00000000)",
        "13, pid=41, name=python3, Graphics Exception: ESR 0x504730=0x20",
        "31, pid=41, name=python3, MMU Fault",
        "43, pid=41, name=python3, Ch 00000010",
        "45, pid=41, name=python3, Ch 00000001",
        "45, pid=41, name=python3, Ch 00000001 caused by previous Xid 31",
        "63, Row remapping event: Rows 0x1a and 0x2b have been remapped",
        "92, High single-bit ECC error rate",
        "154, GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)",
    ],
)
def test_what_nvidia_s_catalog_says_to_ignore_makes_no_gpu_sick(xid: str) -> None:
    lines = [f"NVRM: Xid (PCI:0000:01:00): {xid}", "json.decoder.JSONDecodeError: Expecting value: line 1 column 1"]
    kind, message = message_of(*lines)
    assert kind == "unknown" and "JSONDecodeError" in message
    assert message_of(*lines, "NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.")[0] == "sick_gpu"


CLI = Path(__file__).parent / "data" / "reports" / "cli" / "fails"


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("extrakey", "invalid_config", "no_such_key: Extra inputs are not permitted"),
        ("graph", "invalid_config", "max_batch_size must equal max(batch_sizes)"),
        ("isdir", "invalid_config", "Model is a file or directory, please provide a model name"),
        ("kvbf16", "invalid_config", "PyTorchConfig.kv_cache_dtype=bfloat16"),
        ("moelit", "invalid_config", "backend: Input should be 'CUTLASS'"),
        ("nods", "usage", "Path '/opt/bench/nods.jsonl' does not exist"),
        ("nopath", "hf_not_found", "'/no/such'"),
        ("option", "usage", "No such option '--no_such'"),
    ],
)
def test_what_trtllm_bench_s_own_python_printed(name: str, kind: str, why: str) -> None:
    found_kind, message = message_of(*(CLI / f"{name}.log").read_text().splitlines())
    assert found_kind == kind
    assert why in message


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
