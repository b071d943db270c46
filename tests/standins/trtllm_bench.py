#!/usr/bin/env python3
"""A stand-in for trtllm-bench: its options, its files and its ways to fail, with made-up numbers and no GPU.

Takes exactly the options of 1.2.0rc2, or of 1.3 with STANDIN_VERSION=1.3.0, with values of their types, and refuses
others as click does: also `throughput --help` without --model, which the group requires (1.3 does not for help). Called
prepare_dataset.py it is that script of 1.2. Standard library only, because it also runs in a pod.

Before the run the engine logs its limits and, on a line of its own, its arguments (py_executor_creator.py), merged from
command line and engine YAML; `latency` sets batch size, tokens and chunking itself (low_latency.py).

    STANDIN_FAIL     how to fail: a key of FAILURES, or hang, report_then_crash, slow_to_die, leak (prints the token),
                     hang_detected (kills itself, as TensorRT-LLM's own watch does), stray_rank (leaves a process in a
                     session of its own), host_memory (takes it until the kernel ends this process; only in a pod with
                     a limit!), host_memory_of_all (so that it ends the whole container, as the kubelet wants with
                     cgroup v2)
    STANDIN_FAIL_AT  only at this concurrency
    STANDIN_SECONDS  how long a run takes (0.1)
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

VERSION = os.environ.get("STANDIN_VERSION", "1.2.0rc2")
NEWER = VERSION.startswith("1.3")

Kind = tuple[str, ...] | str | None
"""What a value must be: choices, "integer", "float", "path" (exists), "text"; None: a flag, which takes none."""


def options(names: str, kind: Kind) -> dict[str, Kind]:
    return dict.fromkeys(names.split(), kind)


LEVELS = ("internal_error", "error", "warning", "info", "verbose", "debug")
TOP = (
    options("--model -m --model_path --workspace -w" + (" --revision" if NEWER else ""), "text")
    | {"--log_level": (*LEVELS, "trace") if NEWER else LEVELS}
    | (options("--telemetry --no-telemetry", None) if NEWER else {})
)
BOTH: dict[str, Kind] = (
    options(
        "--max_seq_len --max_input_len --num_requests --warmup --tp --pp --ep --beam_width --concurrency", "integer"
    )
    | options("--extra_llm_api_options --report_json --iteration_log", "text")
    | (options("--config --custom_tokenizer", "text") if NEWER else {})
    | options("--dataset --sampler_options --engine_dir", "path")
    | {
        "--kv_cache_free_gpu_mem_fraction": "float",
        "--backend": ("pytorch", "_autodeploy") if NEWER else ("pytorch", "_autodeploy", "tensorrt"),
        "--modality": ("image", "video"),
    }
)
THROUGHPUT = (
    BOTH
    | options("--max_batch_size --max_num_tokens --cluster_size --eos_id", "integer")
    | options("--target_input_len --target_output_len", "integer")
    | options("--output_json --request_json", "text")
    | options("--streaming --enable_chunked_context --disable_chunked_context --no_skip_tokenizer_init", None)
    | {
        "--custom_module_dirs": "path",
        "--scheduler_policy": ("guaranteed_no_evict", "max_utilization"),
        "--image_data_format": ("pt", "pil"),
        "--data_device": ("cuda", "cpu"),
    }
)
COMMANDS = {"throughput": THROUGHPUT, "latency": BOTH | {"--medusa_choices": "path"}}
LATENCY_TOKENS = 3072
"""max_num_tokens of a latency run: a heuristic, made up here; 3072 is of a real report of 1.2.0rc2."""
PREPARE = options("--output", "text") | options("--random-seed", "integer")
LENGTHS = options("--num-requests --input-mean --output-mean --input-stdev --output-stdev", "integer")

FAILURES: dict[str, tuple[int, str]] = {
    "oom": (1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
    "kv_cache_too_small": (1, "RuntimeError: Can't allocate new blocks. No free blocks left."),
    "request_too_long": (
        1,
        "ValueError: Requests failed: The sum of prompt length (8192.0), query length (0) should not exceed"
        " max_num_tokens (4096) (512 requests)",
    ),
    "invalid_config": (1, "pydantic_core._pydantic_core.ValidationError: 1 validation error for TorchLlmArgs"),
    "engine_too_short": (
        1,
        "RuntimeError: Engine supports a max sequence of 2048. Provided dataset contains a maximum sequence of 9216.",
    ),
    "mapping": (
        1,
        "ValueError: moe_tp_size * moe_ep_size * moe_cluster_size must equal to moe_world_size, but got 8 != 4",
    ),
    "oom_as_nccl": (1, "Executor creation failed with NCCL error: unhandled cuda error"),
    "nccl": (1, "RuntimeError: Failed, NCCL error opUtils.cpp:125 'unhandled system error'"),
    "mpi": (1, "MPI_ABORT was invoked on rank 2 in communicator MPI_COMM_WORLD with errorcode 1."),
    "hf_auth": (1, "huggingface_hub.errors.GatedRepoError: 401 Client Error."),
    "requests_lost": (1, "AssertionError: Benchmark failed"),
    "sick_gpu": (1, "NVRM: Xid (PCI:0008:06:00): 79, GPU has fallen off the bus."),
    "fault_of_the_program": (1, "NVRM: Xid (PCI:0008:06:00): 31, pid=41, name=python3, MMU Fault"),
    "interrupted": (0, "[TRT-LLM] [I] Keyboard interrupt, exiting benchmark..."),
    "no_report": (0, "[TRT-LLM] [I] Setting up throughput benchmark."),
}


def refuse(said: str) -> NoReturn:
    """End as click does."""
    print(f"Usage: trtllm-bench [OPTIONS]\nTry 'trtllm-bench --help' for help.\n\nError: {said}", file=sys.stderr)
    sys.exit(2)


def take(words: list[str], known: dict[str, Kind]) -> dict[str, str]:
    """Take options from the front of the words, up to the first that is none."""
    found: dict[str, str] = {}
    while words and words[0].startswith("-"):
        name, equals, value = words.pop(0).partition("=")
        if name == "--help":
            print("Options:\n" + "\n".join(f"  {option} TEXT" for option in known))
            sys.exit(0)
        if name not in known:
            refuse(f"No such option '{name}'.")
        if known[name] is not None:
            if not equals and not words:
                refuse(f"Option '{name}' requires an argument.")
            value = value if equals else words.pop(0)
            check(name, value, known[name])
        found[name] = value
    return found


def check(name: str, value: str, kind: Kind) -> None:
    """Refuse a value that is not of its option's type."""
    wrong = ""
    if isinstance(kind, tuple) and value not in kind:
        wrong = f"'{value}' is not one of {', '.join(map(repr, kind))}."
    elif kind in ("integer", "float"):
        try:
            int(value) if kind == "integer" else float(value)
        except ValueError:
            wrong = f"'{value}' is not a valid {kind}."
    elif kind == "path" and not Path(value).exists():
        wrong = f"Path '{value}' does not exist."
    if wrong:
        refuse(f"Invalid value for '{name}': {wrong}")


def prepare(words: list[str], output: str | None, seed: str) -> None:
    """Write a dataset of random tokens; without an output to stdout."""
    if not words or words.pop(0) != "token-norm-dist":
        refuse("Missing command.")
    said = take(words, LENGTHS)
    isl, osl = int(said["--input-mean"]), int(said["--output-mean"])
    lines = (
        json.dumps(
            {"task_id": n, "input_ids": [(n * 7 + k + int(seed)) % 32000 for k in range(isl)], "output_tokens": osl}
        )
        for n in range(int(said["--num-requests"]))
    )
    text = "".join(f"{line}\n" for line in lines)
    if output is None:
        sys.stdout.write(text)
    else:
        Path(output).write_text(text)


def fail(kind: str) -> None:
    """Fail on order."""
    if kind in FAILURES:
        code, said = FAILURES[kind]
        print(said, flush=True)
        sys.exit(code)
    if kind.startswith("host_memory"):
        if kind.endswith("_of_all"):
            Path("/proc/1/oom_score_adj").write_text("1000")  # the kernel ends the first process, and so all,
            os.fork()  # unless another has nearly all of the memory
        taken = []
        while True:
            taken.append(bytearray(os.urandom(2**20)))
    if kind == "hang_detected":
        print("[TRT-LLM] [E] Hang detected after 300 seconds.", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "stray_rank" and os.fork() == 0:
        os.setsid()
        time.sleep(600)
    if kind == "slow_to_die":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if kind in ("hang", "slow_to_die"):
        print("[TRT-LLM] [I] Loading weights", flush=True)
        time.sleep(600)


def main() -> None:
    """Be trtllm-bench, or prepare_dataset.py."""
    words = sys.argv[1:]
    if Path(sys.argv[0]).name == "prepare_dataset.py":
        said = take(words, options("--tokenizer", "text") | options("--stdout", None) | PREPARE)
        if "--stdout" not in said:
            refuse("without --stdout this writes a format that trtllm-bench cannot read")
        return prepare(words, None, said.get("--random-seed", "420"))
    if words[:1] == ["--help"]:
        print("\n".join(["Options:", *TOP, "Commands:", *COMMANDS, *(["prepare-dataset"] if NEWER else [])]))
        return None
    top = take(words, TOP)
    if not {"--model", "-m"} & top.keys() and not (NEWER and "--help" in words):
        refuse("Missing option '--model' / '-m'.")
    command = words.pop(0) if words else refuse("Missing command.")
    if command == "prepare-dataset" and NEWER:
        said = take(words, PREPARE | options("--stdout --trust-remote-code", None))
        if not {"--output", "--stdout"} & said.keys():
            refuse("Missing option '--output'.")
        return prepare(words, said.get("--output"), said.get("--random-seed", "420"))
    if command not in COMMANDS:
        refuse(f"No such command '{command}'.")
    return run(command, top, take(words, COMMANDS[command]))


def run(command: str, top: dict[str, str], said: dict[str, str]) -> None:
    """Read the dataset and the engine YAML, take a while, write the report."""
    if not (Path(top["--model_path"]) / "config.json").exists():
        print(f"OSError: {top['--model_path']} is not a local folder and is not a valid model identifier listed on")
        sys.exit(1)
    requests = [json.loads(line) for line in Path(said["--dataset"]).read_text().splitlines()]
    requests = requests[: int(said.get("--num_requests", 0)) or None]
    engine = Path(said.get("--config") or said.get("--extra_llm_api_options") or os.devnull).read_text()
    concurrency = int(said.get("--concurrency", "-1"))
    print(
        f"[TensorRT-LLM] TensorRT LLM version: {VERSION}\n[TRT-LLM] [I] Preparing to run {command} benchmark...",
        flush=True,
    )
    kind = os.environ.get("STANDIN_FAIL", "")
    if os.environ.get("STANDIN_FAIL_AT", str(concurrency)) == str(concurrency):
        fail(kind)
        if kind == "leak":
            print(f"token is {os.environ.get('HF_TOKEN')}")
    print(loaded(command, top, said, sections(engine)), flush=True)
    begin = time.monotonic()
    time.sleep(float(os.environ.get("STANDIN_SECONDS", "0.1")))
    report = figures(
        command, top.get("--model") or top["-m"], said, requests, engine, concurrency, time.monotonic() - begin
    )
    Path(said["--report_json"]).write_text(json.dumps(report, indent=4))
    if kind == "report_then_crash":
        sys.exit(1)


def sections(text: str) -> dict[str, dict[str, str]]:
    """Return an engine YAML by section and key, top-level values under ""; of lists and deeper levels nothing."""
    found: dict[str, dict[str, str]] = {"": {}}
    section = ""
    for line in text.splitlines():
        name, colon, value = line.partition("#")[0].partition(":")
        name, value = name.strip(), value.strip()
        if not colon or name.startswith("-"):
            continue
        section = section if line.startswith(" ") else ""
        if value.startswith("{"):
            pairs = (pair.partition(":") for pair in value.strip("{}").split(","))
            found[name] = {key.strip(): item.strip() for key, _, item in pairs if item}
        elif value or section:
            found[section][name] = value
        else:
            section = name
            found[section] = {}
    return found


def loaded(command: str, top: dict[str, str], said: dict[str, str], yaml: dict[str, dict[str, str]]) -> str:
    """Return what the engine logs when it is loaded: its limits, and its arguments as pydantic prints them."""
    switch, latency = yaml[""], command == "latency"
    batch, tokens = limits(command, said)
    chunked = switch.get("enable_chunked_prefill", str(not latency)).title()
    cache, graphs, speculation = (
        yaml.get(name, {}) for name in ("kv_cache_config", "cuda_graph_config", "speculative_config")
    )
    moe = yaml.get("moe_config", {}).get("backend", "AUTO" if NEWER else "CUTLASS")
    drafts = speculation.get("num_nextn_predict_layers")
    arguments = {
        "model": f"PosixPath({top['--model_path']!r})",
        "backend": "'pytorch'",
        "max_seq_len": said.get("--max_seq_len"),
        "max_batch_size": batch,
        "max_num_tokens": tokens,
        "pipeline_parallel_size": said.get("--pp", 1),
        "tensor_parallel_size": said.get("--tp", 1),
        "moe_expert_parallel_size": said.get("--ep"),
        "enable_chunked_prefill": chunked,
        "enable_attention_dp": switch.get("enable_attention_dp", "false").title(),
        "kv_cache_config": f"KvCacheConfig(enable_block_reuse={cache.get('enable_block_reuse', 'true').title()},"
        f" max_tokens=None, free_gpu_memory_fraction={cache.get('free_gpu_memory_fraction', 0.9)},"
        f" dtype={cache.get('dtype', 'auto')!r}, tokens_per_block=32)",
        "cuda_graph_config": f"CudaGraphConfig(batch_sizes=[1, 2, 4], max_batch_size={batch},"
        f" enable_padding={graphs.get('enable_padding', 'false').title()})",
        "moe_config": f"MoeConfig(backend={moe!r}, max_num_tokens=None, load_balancer=None)",
        "speculative_config": drafts
        and f"MTPDecodingConfig(max_draft_len={drafts}, num_nextn_predict_layers={1 if NEWER else drafts})",
        "stream_interval": switch.get("stream_interval", 1),
        "print_iter_log": switch.get("print_iter_log", "false").title(),
    }
    mark = f"[{time.strftime('%m/%d/%Y-%H:%M:%S')}] [TRT-LLM] [I]"
    return (
        f"{mark} ATTENTION RUNTIME FEATURES:  AttentionRuntimeFeatures(chunked_prefill={chunked}, cache_reuse=False,"
        f" has_speculative_draft_tokens=False, chunk_size={tokens})\n"
        f"{mark} max_seq_len={said.get('--max_seq_len')}, max_num_requests={batch}, max_num_tokens={tokens},"
        f" max_batch_size={batch}\n"
        f"{mark} LLM Args:\n" + " ".join(f"{name}={value}" for name, value in arguments.items())
    )


def limits(command: str, said: dict[str, str]) -> tuple[int, int]:
    """Return max_batch_size and max_num_tokens of the engine."""
    if command == "latency":
        return 1, LATENCY_TOKENS
    return int(said.get("--max_batch_size", 2048)), int(said.get("--max_num_tokens", 8192))


def figures(
    command: str,
    model: str,
    said: dict[str, str],
    requests: list[dict[str, Any]],
    engine: str,
    concurrency: int,
    seconds: float,
) -> dict[str, Any]:
    """Return the report of a closed loop in which every request takes the same time."""
    n = len(requests)
    isl, osl = len(requests[0]["input_ids"]), requests[0]["output_tokens"]
    slots = n if concurrency <= 0 else min(n, concurrency)
    total_ms = seconds * 1e3
    e2el = total_ms / math.ceil(n / slots)
    ttft, tpot = e2el * 0.1, e2el * 0.9 / max(1, osl - 1)
    tp, pp = int(said.get("--tp", 1)), int(said.get("--pp", 1))
    output = n * osl / seconds
    batch, tokens = limits(command, said)
    dtype = re.search(r"^\s+dtype: (\w+)", engine, re.MULTILINE)
    share = re.search(r"free_gpu_memory_fraction: ([\d.]+)", engine)
    report: dict[str, Any] = {
        "engine": {
            "model": model,
            "model_path": "None",
            "engine_dir": "None",
            "version": VERSION,
            "backend": "Pytorch",
            "dtype": "bfloat16",
            "kv_cache_dtype": dtype[1].upper()
            if dtype and dtype[1] != "auto"
            else os.environ.get("STANDIN_KV_CACHE_DTYPE"),
            "quantization": os.environ.get("STANDIN_QUANTIZATION"),
        },
        "world_info": {
            "tp_size": tp,
            "pp_size": pp,
            "ep_size": int(said["--ep"]) if "--ep" in said else None,
            "world_size": tp * pp,
            "max_batch_size": batch,
            "max_num_tokens": tokens,
            "scheduling_policy": said.get("--scheduler_policy", "guaranteed_no_evict").upper(),
            "kv_cache_percentage": float(share[1]) if share else None,
            "issue_rate": 4.9e17,
        },
        "request_info": {
            "num_requests": n,
            "avg_num_concurrent_requests": n * e2el / total_ms,
            "avg_input_length": float(isl),
            "avg_output_length": float(osl),
        },
        "performance": {
            "total_latency_ms": total_ms,
            "avg_request_latency_ms": e2el,
            "request_throughput_req_s": n / seconds,
            "system_output_throughput_tok_s": output,
            "system_total_throughput_tok_s": n * (isl + osl) / seconds,
            "output_throughput_per_user_tok_s": osl / e2el * 1e3,
            "output_throughput_per_gpu_tok_s": output / (tp * pp),
            "request_latency_percentiles_ms": same(e2el),
        },
        "dataset": {f"{name}_stats": same(float(v)) for name, v in (("isl", isl), ("osl", osl), ("seq_len", isl + osl))}
        | {"num_requests": n, "dataset_path": said["--dataset"]},
    }
    if NEWER:
        report["machine"] = {"name": "NVIDIA GB200", "memory.total": 184.31, "clocks.mem": 4.0}
    if command == "latency" or "--streaming" in said:
        speed = 1e3 / tpot if tpot else 0.0
        report["streaming_metrics"] = {
            "token_output_speed_tok_s": speed,
            "avg_ttft_ms": ttft,
            "avg_tpot_ms": tpot,
            "tpot_percentiles": same(tpot),
            "ttft_percentiles": same(ttft),
            "gen_tps_percentiles": same(speed),
        }
    return report


def same(value: float) -> dict[str, float]:
    return dict.fromkeys(("p50", "p90", "p95", "p99", "minimum", "maximum", "average"), value)


if __name__ == "__main__":
    main()
