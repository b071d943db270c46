"""The engine's own word on how it was set up: the dumps of its arguments in the log.

The report only echoes the command line, where the engine YAML may have said otherwise, and of attention DP, the MoE
backend, CUDA graphs and chunking it says nothing. The log often has them:

    [I] PyTorchConfig(..., moe_backend='CUTLASS', kv_cache_dtype='auto', use_cuda_graph=True, ...)        1.1
    [I] ATTENTION RUNTIME FEATURES:  AttentionRuntimeFeatures(chunked_prefill=False, ...)                 1.1
    [I] max_seq_len=8224, max_num_requests=64, max_num_tokens=8192, max_batch_size=64                     1.1
    [I] LLM Args:                                                                                         1.2
    model=PosixPath('...') tensor_parallel_size=4 kv_cache_config=KvCacheConfig(dtype='fp8', ...) ...
    TorchLlmArgs(model='...', tensor_parallel_size=4, kv_cache_config=KvCacheConfig(dtype='fp8', ...), ...)

That of 1.2 and later is pydantic's text of the arguments on a line of its own (py_executor_creator.py); it is read on
the line of its head too, with commas or without. Every rank prints the others, and a first, smaller engine is built to
measure the memory: the last word counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

DUMP = re.compile(
    rb"(?:^|[\]:] {1,2})"
    rb"(?:(?:PyTorchConfig|\w*LlmArgs|AttentionRuntimeFeatures)\(|LLM Args:|max_seq_len=\d+, max_num_req)"
)
"""Where a dump begins, in the bytes of a line."""

HEAD = re.compile(r"\bLLM Args:\s*$")
"""The end of a line whose dump is a line of its own, further down."""
_FIELD = re.compile(r"(?:^|[\s\]:>|])(?=[A-Za-z_]\w*=(?:[\w.]*[('\"\[{<]|[\w.+-]+(?=\s|$)))")
"""Where the first field begins in such a line, behind any label; no comma ends it."""

_BEGIN = re.compile(r"(PyTorchConfig|\w*LlmArgs|AttentionRuntimeFeatures)\(|LLM Args:|(?=max_seq_len=\d+, max_num_req)")

_SAME: Mapping[str, str] = {  # what other dumps call the keys of TorchLlmArgs
    "moe_backend": "moe_config.backend",
    "kv_cache_dtype": "kv_cache_config.dtype",
    "moe_max_num_tokens": "moe_config.max_num_tokens",
    "chunked_prefill": "enable_chunked_prefill",
    "cuda_graph_max_batch_size": "cuda_graph_config.max_batch_size",
    "cuda_graph_padding_enabled": "cuda_graph_config.enable_padding",
    "attention_dp_enable_balance": "attention_dp_config.enable_balance",
    "attention_dp_batching_wait_iters": "attention_dp_config.batching_wait_iters",
    "attention_dp_time_out_iters": "attention_dp_config.timeout_iters",
    "torch_compile_piecewise_cuda_graph": "torch_compile_config.enable_piecewise_cuda_graph",
}
_SPECULATION = "speculative_config"
_MTP_LAYERS = f"{_SPECULATION}.num_nextn_predict_layers"
_ADJUSTED = frozenset({"max_seq_len"})
"""The engine raises or lowers it to what its memory holds after it was told; only the arguments say what was asked."""

_TOKEN = re.compile(
    r"""(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<enum><[^<>]*>)|(?P<open>[\[({])|(?P<close>[\])}])|"""
    r"""(?P<comma>,)|(?P<key>[A-Za-z_]\w*)=|(?P<word>[^\s,'"()\[\]{}<>=]+)|(?P<other>.)""",
    re.DOTALL,
)


def fields_in(line: str) -> str | None:
    """Return what a line has of fields as pydantic prints them, without the labels before; None where it has none.

    A line of prose may end in one such figure.
    """
    begins = [found.end() for found in _FIELD.finditer(line)]
    is_dump = len(begins) > 1 or (begins and not line[: begins[0]].strip())
    return line[begins[0] :] if is_dump else None


def read_arguments(line: str) -> dict[str, str]:
    """Return what the dump in this line says, by dotted key as in the engine YAML; texts without their quotes.

    A section is told by the name of its class. Lists, and what is no `key=value`, are passed over. A line that holds no
    dump gives nothing.
    """
    begin = _BEGIN.search(line)
    if begin is None:
        return {}
    of_executor = not begin[0]
    found: dict[str, str] = {}
    for key, value in _pairs(line[begin.end() :]):
        if not (of_executor and key in _ADJUSTED):
            found[_SAME.get(key, key)] = value
    _tell_by_old_keys(found)
    return found


def _tell_by_old_keys(found: dict[str, str]) -> None:
    """Add what newer versions tell by other keys than those that the engine YAML still has.

    Of MTP the draft length counts: since 2026 `num_nextn_predict_layers` is the number of layers in the checkpoint
    (MTPDecodingConfig), and one in the YAML is moved to `max_draft_len`; 1.2 sets both to the same.
    """
    speculation, draft = found.get(_SPECULATION), found.get(f"{_SPECULATION}.max_draft_len", "None")
    if speculation is not None and not speculation.startswith("MTP"):
        found[_MTP_LAYERS] = "0"
    elif speculation is not None and draft != "None":
        found[_MTP_LAYERS] = draft
    if (backend := found.get("prefill_cuda_graph_backend", "None")) != "None":
        found["torch_compile_config.enable_piecewise_cuda_graph"] = str(backend.upper() == "PIECEWISE")


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Yield (dotted key, value) of a Python-like dump such as `a=1, b=Config(c='x'), d=[1, 2]`."""
    path: list[str | None] = []  # keys that enclose the place; None for a list, a tuple or a dict
    key: str | None = None
    for token in _TOKEN.finditer(text):
        match token.lastgroup:
            case "key":
                key = token["key"]
            case "open":
                path.append(key if token[0] == "(" else None)
                key = None
            case "close":
                if not path:
                    return  # the end of the dump
                path.pop()
                key = None
            case "comma":
                key = None
            case "other" if token[0] in "'\"":
                return  # a text without an end: the dump was cut in it
            case "text" | "enum" | "word" if key is not None and None not in path:
                rest = text[token.end() : token.end() + 1]
                if rest == "(" and token.lastgroup == "word":  # of a nested configuration
                    if token[0].endswith("Config"):
                        yield ".".join([*(name for name in path if name), key]), token[0]
                    continue
                yield ".".join([*(name for name in path if name), key]), _plain(token[0])
                key = None
            case _:
                pass


def _plain(said: str) -> str:
    if said[0] in "'\"":
        return said[1:-1]
    if said[0] == "<":  # <LoadFormat.AUTO: 0>
        return said[1:-1].partition(":")[0].rpartition(".")[2]
    return said
