"""What shows that a text is the log of a run: a report, how a benchmark begins, or how a program dies.

Datasets, notes, scripts, lists of packages and other tools' output lie in the same folders, and none of them is a run
that failed. So a text counts only for what a run itself prints; each line may have a label before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sweep.importing.value import open_file
from sweep.line_labels import Label
from sweep.report.streams import title_in

BLOCK_BYTES = 1 << 20
LONGEST_LINE = 4 << 10
"""Bytes of a line that are looked at."""

_HEADER, _RULE = b"Serving Benchmark Result", b"=" * 20
_TITLES = (b" BACKEND", b" backend", b"= ENGINE DETAILS", _HEADER)

_LABEL = re.compile(
    rb"(?:[\])}]|\w>):? *$|^\S+ +\| *$|^\s*\d+: $|^\w+:\w+:$|\b(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)(?: +-|:) +$|\t$"
    rb"|:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:\d\d)? +$"
)
"""What a label ends with that shows in no other line, as before a single one; never part of a sentence."""
_COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
_PLACEHOLDER = re.compile(rb":[ \t]+(?:\{[a-z_][\w.:\[\]'\"]*\}|<[a-z_ ]+>)[ \t]*\r?(?:\n|\Z)")
"""What a template of a report has in the place of numbers."""
MOST_SAMPLED, MOST_TRIED = 200, 20
"""Lines in which a label is looked for, and labels that are tried for one sign."""
SHORTEST_LABEL = 8
"""Of shorter ones a list of notes is made, such as `W3 `."""
_QUOTED = re.compile(rb"[\s>|]+")
"""Before each line of a text that is quoted."""

# In what follows, ^ is where a line begins, or its text behind a label.
_CLIENT: Mapping[bytes, bytes] = {  # a word of the line: the line
    b"Starting initial ": rb"Starting initial (?:single prompt )?test run",
    b"Starting main ": rb"Starting main benchmark run",
    b"Traffic request rate:": rb"Traffic request rate: *[\w.]+",
    b"Maximum request concurrency:": rb"Maximum request concurrency: *\w+",
    b"Namespace(": rb"Namespace\(.*\b(?:backend|dataset_name|num_prompts)=",
    b"SWEEP_STEP ": rb"\bSWEEP_STEP ",
}
"""How benchmark_serving begins; and what a pod of ours tells."""
_ENGINE: Mapping[bytes, bytes] = {
    b"[TRT-LLM]": rb"\[TRT-LLM\]",
    b"[TensorRT-LLM]": rb"\[TensorRT-LLM\]",
    b"+ ": rb"^\++ (?:.*[ /])?(?:trtllm-(?:bench|serve|llmapi-launch)|benchmark_serving)\b",  # bash -x
    b"NVIDIA Release ": rb"^NVIDIA Release \d",  # the entry point of NVIDIA's containers
    b"== ": rb"^== (?:CUDA|PyTorch|TensorRT.LLM) ==",
    b"Fetching ": rb"^Fetching \d+ files:",  # huggingface_hub
    b"Loading safetensors weights in parallel": rb"Loading safetensors weights in parallel: +\d+%",
}
"""How TensorRT-LLM begins, in trtllm-bench or as a server, and what stands before it in a log."""
_PROGRAMS = (
    b"apptainer crun ctr curl docker enroot git hf huggingface-cli kubectl mpiexec mpirun nerdctl numactl"
    b" nvidia-container-cli orterun podman prterun python python3 runc sbatch singularity srun torchrun"
    b" trtllm-bench trtllm-llmapi-launch trtllm-serve wget"
).split()
"""Programs that begin and carry runs, as they name themselves before what they complain of."""
_COMPLAINT = (
    rb"(?:\w+ error|[Ee]rror|ERROR|fatal|[Ff]ailed|[Cc]annot|[Cc]an't|[Uu]nable|[Cc]ould|invalid|un(?:known|recognized)"
    rb"|/\S+: version `|No module named |not found|command not found|\(\d+\)|[Jj]ob |Force|Step|forcing|task)"
)
_FAILED: Mapping[bytes, bytes] = {
    b"Traceback ": rb"Traceback \(most recent call last\):\s*$",
    **dict.fromkeys(
        (b"Error", b"Exception", b"Interrupt"),
        rb"^(?:[a-z_]\w*\.)*(?:[A-Z]\w*(?:Error|Exception|Interrupt)\b(?:: |:?\s*$)|Exception: )",
    ),
    **dict.fromkeys((b"Timeout: ", b"Disconnected: ", b"gaierror: ", b"Unavailable: "), rb"^(?:[a-z_]\w*\.)+\w+: "),
    b"[type=": rb"\[type=\w+, input_value=",
    b"CUDA ": rb"^CUDA (?:(?:runtime |driver )?error|out of memory|initialization)\b",
    **dict.fromkeys((b"CUDA_ERROR_", b"cudaError"), rb"\b(?:CUDA_ERROR_[A-Z]\w+|cudaError[A-Z]\w+)\b"),
    b"NCCL ": rb"NCCL WARN |NCCL error ",
    b"nccl": rb"\bnccl[A-Z]\w+Error: ",
    b"Watchdog ": rb"Watchdog caught collective operation timeout",
    b"NVRM: ": rb"NVRM: Xid ",
    b"Unable to determine": rb"^Unable to determine the (?:device handle|GPU's state)",
    b"Executor creation failed": rb"^Executor creation failed ",
    b"could not be created": rb"^The following component could not be created",
    b"Error response from daemon": rb"Error response from daemon: ",
    b"pyxis: ": rb"^(?:slurmstepd: error: )?pyxis: ",
    b"slurmstepd: ": rb"slurmstepd: (?:error|info|\*)",
    **{program + b": ": rb"^(?:/\S*/)?" + re.escape(program) + rb": " + _COMPLAINT for program in _PROGRAMS},
    b"ERROR": rb"^(?:\[ERROR\]|ERROR: +(?:This container|The NVIDIA Driver|No supported GPU|\[Errno ))",
    b"FATAL": rb"^FATAL: +\S",
    b"mage": rb"^(?:(?:ErrImagePull|ImagePullBackOff): |Failed to pull image )",
    b"toomanyrequests": rb"^toomanyrequests: ",
    b"NVML": rb"^Failed to initialize NVML: ",
    b"reqwest::": rb"^reqwest::\w+ ",
    b"Client Error": rb"\b4\d\d Client Error\b",
    b"Server Error": rb"\b5\d\d Server Error\b",
    b"HTTP status ": rb"HTTP status (?:client|server) error \(",
    b"sage: ": rb"^[Uu]sage: (?:\S*/)?(?:trtllm-|benchmark_serving|python3? -m tensorrt_llm)",
    b"' for help": rb"^Try '.+ --help' for help",  # of click, like the next one
    b"Error: ": rb"^Error: (?:No such|Invalid|Missing|Option|Got|Access|Local entry|Client|Server)\b",
    b" not found": rb"^Error: (?:Model|Repository|Revision|File)\b.* not found",
    b"rror: ": rb"^Error: (?:the dataset |[Ee]rror |unable |[a-z]+ing )",
    b"gated repo": rb"^Cannot access gated repo",
    b"Too Many": rb"^429 Too Many Requests",
    b"results volume ": rb"^the results volume cannot be written",
    b": error: ": rb"^\S+: error: (?:unrecognized arguments|argument |the following arguments)",
    b"not found": rb"(?:line \d+: |\w: )\S*(?:trtllm-\w+|mpirun|srun|python3?|docker|enroot): (?:command )?not found",
    b": line ": rb"^\S+: line \d+: +(?:\d+ )?\w",  # bash of a script
    b"Killed": rb"^Killed\s*$",
    b"ut of memory": rb"[Oo]ut of memory: Killed process \d",
    b"oom": rb"\boom[-_]kill",
    b"Segmentation fault": rb"^(?:\S*\] )?(?:Signal: |Fatal Python error: )?Segmentation fault(?: \(|\s*$)",
    b"Bus error": rb"^(?:\S*\] )?(?:Signal: |Fatal Python error: )?Bus error(?: \(|\s*$)",
    b"core dumped": rb"\(core dumped\)",
    b"terminate called": rb"terminate called (?:after|without)",
    b"mpirun ": rb"mpirun (?:noticed|detected|has exited|has detected|was unable)",
    b"not enough slots": rb"^There are not enough slots available",
    b"exec format error": rb"^exec \S+: exec format error",
    b"MPI_ABORT": rb"MPI_ABORT was invoked on rank",
    b"ORTE_ERROR_LOG": rb"\bORTE_ERROR_LOG\b",
    b"PRTE ERROR": rb"\bPRTE ERROR: ",
    b"terminated normally": rb"Primary job  ?terminated normally, but",
}
_SERVER: Mapping[bytes, bytes] = {  # uvicorn
    b"startup complete": rb"Application startup complete",
    b"Uvicorn running": rb"Uvicorn running on ",
    b"Started server": rb"Started server process",
    b"HTTP/1.": rb"\"(?:GET|POST) /\S* HTTP/1\.\d\" \d{3}",
}


@dataclass(frozen=True, slots=True)
class Signs:
    """What a text has in it; where that settles what it is, nothing else was looked for."""

    report: bool
    client: bool
    engine: bool
    failed: bool
    server: bool

    @property
    def any(self) -> bool:
        """Whether it is what a benchmark, an engine or a server printed."""
        return self.report or self.client or self.engine or self.failed or self.server

    @property
    def of_a_run(self) -> bool:
        """Whether it is the log of a run; a server that works is none, its clients' are."""
        return self.report or self.failed or self.client or (self.engine and not self.server)


def signs_of(path: Path) -> Signs:
    """Look through a text once, a block at a time, for what is not seen yet."""
    seen = dict.fromkeys((*_KINDS, "report"), False)
    with open_file(path) as file:
        carry = b""
        while data := file.read(BLOCK_BYTES):
            block = carry + data
            carry = block[-LONGEST_LINE:] if len(data) == BLOCK_BYTES else b""
            seen["report"] = _has_title(block)
            if seen["report"]:
                break
            for kind, lines in _KINDS.items():
                settled = kind == "failed" and (seen["client"] or (seen["engine"] and not seen["server"]))
                if not (seen[kind] or settled):
                    seen[kind] = any(_has(block, word, line) for word, line in lines.items())
    return Signs(**seen)


_KINDS = {"client": _CLIENT, "engine": _ENGINE, "server": _SERVER, "failed": _FAILED}


def _has(block: bytes, word: bytes, sign: bytes) -> bool:
    """Return whether a line with this word is such a sign."""
    pattern, at_begin = re.compile(sign.removeprefix(b"^")), sign.startswith(b"^")
    tried = 0
    for line, _ in _lines_with(block, word):
        found = pattern.search(_COLOUR.sub(b"", line))
        if found is None:
            continue
        before = found.string[: found.start()]
        if not at_begin or not before.strip(b" \xef\xbb\xbf") or _LABEL.search(before):
            return True
        if tried < MOST_TRIED and _is_label(before, block):
            return True
        tried += 1
    return False


def _is_label(before: bytes, block: bytes) -> bool:
    """Return whether most lines begin in the same way."""
    long_enough = len(before.strip()) >= SHORTEST_LABEL or _QUOTED.fullmatch(before)
    label = Label.of(before.decode("utf-8", "replace")) if long_enough else None
    if label is None:
        return False
    lines = [line for line in block.split(b"\n", MOST_SAMPLED)[:MOST_SAMPLED] if line.strip()]
    labelled = sum(label.part(_COLOUR.sub(b"", line).decode("utf-8", "replace")) is not None for line in lines)
    return labelled > 1 and 2 * labelled > len(lines)


def _has_title(block: bytes) -> bool:
    """Return whether a report begins: with a title of benchmark_serving, or one of trtllm-bench and its rule.

    A template of one is none.
    """
    return any(
        title_in(line.decode("utf-8", "replace")) is not None
        and (word == _HEADER or block.find(_RULE, end, end + LONGEST_LINE) >= 0)
        and not _PLACEHOLDER.search(block, end, end + LONGEST_LINE)
        for word in _TITLES
        for line, end in _lines_with(block, word)
    )


def _lines_with(block: bytes, word: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield each line with a word in it, or what of a longer one is near the word, and where it ends."""
    place = block.find(word)
    while place >= 0:
        begin = max(block.rfind(b"\n", 0, place), block.rfind(b"\r", 0, place), place - LONGEST_LINE) + 1
        end = min(x for x in (block.find(b"\n", place), place + LONGEST_LINE, len(block)) if x >= 0)
        yield block[begin:end].rstrip(b"\r"), end
        place = block.find(word, end)
