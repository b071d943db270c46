"""A label before each line of a log changes neither the kind of a failure nor what its message says."""

from __future__ import annotations

import pytest

from sweep.failure import classify
from tests.labelled import LABELS, labelled

DEATHS = {
    "usage of click": (
        "Usage: trtllm-bench throughput [OPTIONS]\n"
        "Try 'trtllm-bench throughput --help' for help.\n\n"
        "Error: Invalid value for '--dataset': Path '/tmp/ds.txt' does not exist.",
        "usage",
        "Error: Invalid value for '--dataset'",
    ),
    "usage of a server": (
        "Usage: trtllm-serve serve [OPTIONS] MODEL\nTry 'trtllm-serve serve -h' for help.\n\n"
        "Error: No such option: --max_batchsize (Possible options: --max_batch_size)",
        "usage",
        "No such option: --max_batchsize",
    ),
    "image": (
        "Unable to find image 'nvcr.io/nvidia/tensorrt-llm/release:1.9.9' locally\n"
        "docker: Error response from daemon: manifest for nvcr.io/x not found: manifest unknown: manifest unknown.\n"
        "See 'docker run --help'.",
        "image_pull",
        "manifest unknown",
    ),
    "docker without GPUs": (
        'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].\n'
        "See 'docker run --help'.",
        "unknown",
        "could not select device driver",
    ),
    "an exception of a library": (
        "[TRT-LLM] [I] Preparing to run throughput benchmark...\nTraceback (most recent call last):\n"
        '  File "/usr/local/bin/trtllm-bench", line 8, in <module>\n    sys.exit(main())\n'
        "jinja2.exceptions.TemplateNotFound: chat_template.jinja",
        "unknown",
        "TemplateNotFound: chat_template.jinja",
    ),
    "an error of TensorRT-LLM": (
        "[TRT-LLM] [I] Preparing to run throughput benchmark...\nTraceback (most recent call last):\n"
        '  File "/usr/local/bin/trtllm-bench", line 8, in <module>\n    sys.exit(main())\n'
        "ValueError: The amount of KV cache memory is insufficient to run this model. Please try with more GPUs.",
        "kv_cache_too_small",
        "Please try with more GPUs",
    ),
    "NCCL": (
        "[TRT-LLM] [I] Preparing to run throughput benchmark...\nTraceback (most recent call last):\n"
        '  File "/x/run.py", line 8, in <module>\n    main()\n'
        "torch.distributed.DistBackendError: NCCL error in: /x.cpp:1, internal error, NCCL version 2.27.5\n"
        "ncclInternalError: Internal check failed.\nLast error:\nnet.cc:12 the interface has no address",
        "nccl",
        "the interface has no address",
    ),
}
OF_ONE_LINE = {"glog", "pids of another width", "bench's own file and line"}
"""Labels with a number of a process or of a line of source, which is one and the same in all lines of a message."""


@pytest.mark.parametrize("death", DEATHS)
def test_without_a_label(death: str) -> None:
    text, kind, why = DEATHS[death]
    failure = classify(text.split("\n"))
    assert (failure.kind, why in failure.message) == (kind, True), failure


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("label", LABELS)
def test_any_label_before_each_line(label: str, death: str) -> None:
    text, kind, why = DEATHS[death]
    before = LABELS[label]
    of_one_line = label in OF_ONE_LINE
    failure = classify(labelled(text, (lambda _: before(7)) if of_one_line else before).split("\n"))
    assert (failure.kind, why in failure.message) == (kind, True), failure


def test_colours_take_nothing_of_an_exception_away() -> None:
    lines = [
        "Traceback (most recent call last):",
        '  File "/x/run.py", line 8, in <module>',
        "yaml.scanner.ScannerError: mapping values are not allowed here",
    ]
    assert classify(f"\x1b[31m{line}\x1b[0m" for line in lines) == classify(lines)
    assert classify(lines).kind == "invalid_config"


@pytest.mark.parametrize(
    "exception",
    [
        "subprocess.TimeoutExpired: Command '['nvidia-smi', '-q']' timed out after 60 seconds",
        "concurrent.futures.process.BrokenProcessPool: A process in the process pool was terminated abruptly",
        "zmq.error.Again: Resource temporarily unavailable",
        "_queue.Empty",
        "StopIteration",
        "SystemExit: please set --backend",
    ],
)
def test_what_ends_a_traceback_is_told_whatever_it_is_called(exception: str) -> None:
    lines = ["Traceback (most recent call last):", '  File "/x/run.py", line 8, in <module>', "    main()", exception]
    failure = classify([*lines, "bye"])
    assert (failure.kind, failure.message) == ("unknown", exception)
    assert classify([*lines[:1], exception]).kind == "no_report"  # no frames: only a text that says so


@pytest.mark.parametrize("host", ["localhost:8000", "trtllm-server:8000"])
def test_a_message_that_holds_a_traceback_is_a_message(host: str) -> None:
    text = f"""Starting initial single prompt test run...
Traceback (most recent call last):
  File "/x/benchmark_serving.py", line 8, in <module>
    asyncio.run(main())
ValueError: Initial test run failed - Please check your arguments. Error: Traceback (most recent call last):
  File "/x/aiohttp/connector.py", line 1268, in _wrap_create_connection
    sock = await aiohappyeyeballs.start_connection(
aiohttp.client_exceptions.ClientConnectorError: Cannot connect to host {host} ssl:default [Connect call failed]"""
    failure = classify(text.split("\n"))
    assert failure.kind == "requests_lost" and "Initial test run failed" in failure.message
