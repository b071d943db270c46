"""The report that trtllm-bench prints, 0.16 to 1.4, becomes a Report, line by line as a log is read.

A report has its end: from 0.18 on the banner after the P99 row of DATASET DETAILS, before that the banner with an empty
line after it. Without its end it is no report, so a number that was cut can never be read as a smaller one. The block
DATASET DETAILS that is printed before a run has no results before it and is passed over.

The lines are those of one writer, without their labels (streams.py). What stands between the lines of a report (other
log lines, progress bars) is ignored.

What changed its meaning between versions, besides what trtllm_json.py says:
- 0.17 and before: `Token Throughput` and, in the latency report, `Total Token Throughput` count output tokens only.
- 0.16 and before, latency: the lines labelled P90 hold the median (the code printed p50 there). The breakdown is of the
  generation time, E2E - TTFT, for which there is no field: all of it goes to `extra`, `P90` under the name P50.
- `Issue Rate` is no rate and is dropped.
- Numbers of the dataset from 100,000 on are printed with three digits (1.31e+05).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sweep.errors import ReportError
from sweep.report.energy import energy_fields, is_energy
from sweep.report.value import MOST_COUNT, Distribution, Report

NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
"""Any number, of lines that are not known."""
_WHOLE = re.compile(r"0|[1-9][0-9]{0,15}")
_FOUR = re.compile(r"(?:0|[1-9][0-9]*)\.[0-9]{4}")
_TWO = re.compile(r"(?:0|[1-9][0-9]*)\.[0-9]{2}")
_ROW = re.compile(rf"{_FOUR.pattern}|[1-9]\.[0-9]{{2}}e\+[0-9]{{2}}")
"""The only forms that trtllm-bench prints numbers in, so that one that was cut or changed is seen. (`_ROW`: DATASET)"""

_BANNER = re.compile(r"={20,}")
_TITLE = re.compile(r"= (\S.*)")
_LINE = re.compile(r"([A-Za-z][^:]*?)\s*:\s+(\S.*)")
_STAT = re.compile(r"\[(TPOT|TTFT|GTPS|Latency|DT|ADT|DAR|AL|AR)\] (\w+)\s*:\s*(.*)")
_DATASET_ROW = re.compile(r"(MIN|MAX|AVG|P\d\d):\s*(.*)")
_MACHINE = re.compile(r"(.+), memory (\S+) GB, (?:(\S+) GHz|N/A)")  # from the right: a name may hold a comma
_MODE = re.compile(r"DECODING STATISTICS \((.*)\)")

_STATS = {"MINIMUM": "min", "MAXIMUM": "max", "AVERAGE": "mean", "MIN": "min", "MAX": "max", "AVG": "mean"} | {
    name: name.lower() for name in ("P50", "P90", "P95", "P99")
}
_BLOCKS = {
    "TPOT": "tpot_ms",
    "TTFT": "ttft_ms",
    "GTPS": "tps_per_user_distribution",
    "Latency": "e2el_ms",
    "DT": "draft_tokens",
    "ADT": "accepted_draft_tokens",
    "DAR": "draft_acceptance_rate",
    "AL": "acceptance_length",
    "AR": "",  # (OSL - 1) / (iterations + 1) of 0.20 and before: extra
}
_TWO_DECIMALS = frozenset({"DT", "ADT", "DAR", "AL", "AR"})


def _text(said: str) -> str | None:
    return None if said == "None" else said


def _count(said: str) -> int | None:
    if said == "None":
        return None
    if not _WHOLE.fullmatch(said) or int(said) > MOST_COUNT:
        raise ValueError
    return int(said)


def _number(said: str, form: re.Pattern[str] = _FOUR) -> float:
    if not form.fullmatch(said) or (number := float(said)) == float("inf"):
        raise ValueError
    return number


def _seconds(said: str) -> float:
    return _number(said) / 1e3


def _fraction(said: str) -> float | None:
    if said == "None":
        return None
    if not said.endswith("%"):
        raise ValueError
    return _number(said[:-1], _TWO) / 100


_FIELDS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "Model": ("model", _text),
    "Model Path": ("model_path", _text),
    "Engine Directory": ("engine_dir", _text),
    "TensorRT LLM Version": ("version", _text),
    "TensorRT-LLM Version": ("version", _text),  # 1.1.0rc6 and before
    "Dtype": ("dtype", _text),
    "KV Cache Dtype": ("kv_cache_dtype", _text),
    "Quantization": ("quantization", _text),
    "Max Input Length": ("max_input_len", _count),
    "Max Sequence Length": ("max_seq_len", _count),
    "Number of requests": ("num_requests", _count),
    "Number of concurrent requests": ("concurrency_mean", _number),
    "Average Input Length (tokens)": ("isl_mean", _number),
    "Average Output Length (tokens)": ("osl_mean", _number),
    "TP Size": ("tp", _count),
    "PP Size": ("pp", _count),
    "EP Size": ("ep", _count),
    "Max Runtime Batch Size": ("max_batch_size", _count),
    "Max Runtime Tokens": ("max_num_tokens", _count),
    "Scheduling Policy": ("scheduler_policy", _text),
    "KV Memory Percentage": ("kv_cache_free_gpu_mem_fraction", _fraction),
    "Issue Rate (req/sec)": ("", _text),
    "Request Throughput (req/sec)": ("request_tput_rps", _number),
    "Total Output Throughput (tokens/sec)": ("output_tput_tps", _number),
    "Total Token Throughput (tokens/sec)": ("total_tput_tps", _number),
    "Total Latency (ms)": ("duration_s", _seconds),
    "Average request latency (ms)": ("e2el_ms.mean", _number),
    "Per User Output Throughput [w/ ctx] (tps/user)": ("tps_per_user_e2e", _number),
    "Per User Output Throughput (tokens/sec/user)": ("tps_per_user_e2e", _number),  # 0.19
    "Per GPU Output Throughput (tps/gpu)": ("output_tput_per_gpu", _number),
    "Per GPU Output Throughput (tokens/sec/gpu)": ("output_tput_per_gpu", _number),  # 0.19
    "Average time-to-first-token [TTFT] (ms)": ("ttft_ms.mean", _number),
    "Average time-per-output-token [TPOT] (ms)": ("tpot_ms.mean", _number),
    "Per User Output Speed (tps/user)": ("tps_per_user", _number),
    "Dataset Path": ("dataset_path", _text),
    "Number of Sequences": ("dataset_requests", _count),
}
"""Label: field of Report, how its value is read."""
_SPEED_OF_0_19 = "Per User Output Speed [1/TPOT] (tokens/sec/user)"
"""It is not the mean of 1/TPOT, but 1000 / mean TPOT: kept in `extra`."""

_OLD_FIELDS: Mapping[str, tuple[str, Callable[[str], Any]]] = {  # 0.17 and before
    **_FIELDS,
    "Token Throughput (tokens/sec)": ("output_tput_tps", _number),
    "Total Token Throughput (tokens/sec)": ("output_tput_tps", _number),
    "Average time-to-first-token (ms)": ("ttft_ms.mean", _number),
    "Average inter-token latency (ms)": ("tpot_ms.mean", _number),  # generation time / (OSL - 1), mean over requests
}

_ALWAYS = frozenset({"num_requests", "isl_mean", "osl_mean", "duration_s", "request_tput_rps", "output_tput_tps"})
_NEEDED = _ALWAYS | {
    *("tp", "pp", "concurrency_mean", "total_tput_tps", "e2el_ms.mean", "tps_per_user_e2e", "output_tput_per_gpu"),
    *("dataset_requests", "isl", "osl", "seq_len", "e2el_ms"),
}
_WORLD = frozenset(
    {"tp", "pp", "max_batch_size", "max_num_tokens", "scheduler_policy", "kv_cache_free_gpu_mem_fraction"}
)
"""What WORLD + RUNTIME INFORMATION states in every version; the last of it may be None."""
_STREAMING = frozenset({"ttft_ms.mean", "tpot_ms.mean", "ttft_ms", "tpot_ms"})

_LAST_DIGIT = 1.1e-4
"""So much may differ between two lines that print one figure, should each be computed for itself."""
_MODERN = frozenset({"REQUEST DETAILS", "MACHINE DETAILS", "EP Size"})
"""Sections and a label that only reports from 0.18 on have."""


@dataclass(slots=True)
class _Draft:
    """A report of which some lines have come."""

    backend: str
    section: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    stats: dict[str, dict[str, float]] = field(default_factory=dict)
    extra: dict[str, float | str] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    rest: str = ""
    damage: str | None = None
    modern: bool = False
    world: bool = False
    results: bool = False
    banner: bool = False

    def set(self, name: str, value: Any, line: str) -> None:
        """Keep a value; one that comes twice and differs is of two reports written through each other."""
        if self.fields.setdefault(name, value) != value:
            self.damage = f"two values for one line: {line}"

    def stat(self, name: str, stat: str, value: float, line: str) -> None:
        if self.stats.setdefault(name, {}).setdefault(stat, value) != value:
            self.damage = f"two values for one line: {line}"

    def more(self, name: str, value: float | str, line: str, *, known: bool) -> None:
        """Keep a line that no field stands for.

        One that is not known may be another log line; if it comes twice with two values neither is kept.
        """
        if self.extra.setdefault(name, value) == value:
            return
        if known:
            self.damage = f"two values for one line: {line}"
        else:
            self.unsure.add(name)


class TrtllmText:
    """Reads lines until a report is complete; `open` says that one has begun."""

    def __init__(self) -> None:
        self._draft: _Draft | None = None

    @property
    def open(self) -> bool:
        return self._draft is not None

    def feed(self, line: str) -> Report | None:
        """Take one whole line, without colours and labels; return a report when this line is its end.

        Raises:
            ReportError: the line is the end of a report that is damaged; the message names the line.
        """
        whole, line = line, line.strip()
        draft = self._draft
        title = _TITLE.fullmatch(line)
        if title is not None:
            self._title(title[1].strip())
            return None
        if draft is None:
            return None
        if _BANNER.fullmatch(line):
            draft.banner = True
            if draft.section == "DATASET DETAILS" and "p99" in draft.stats.get("isl", {}):
                return self._finish(draft)
            return None
        if draft.banner and not line and not draft.modern and draft.fields.keys() >= _ALWAYS:
            return self._finish(draft)
        draft.banner = draft.banner and not line
        try:
            exactly = _take(draft, line)
        except ValueError:
            draft.damage, exactly = f"not what is printed there: {line[:80]!r}", False
        if draft.rest and not exactly and _is_known(draft, (draft.rest + whole).strip()):
            draft.damage = f"a line in two pieces: {(draft.rest + whole)[:80]!r}"
        found = _LINE.fullmatch(line)
        draft.rest = "" if exactly or (found is not None and is_energy(found[1])) else whole
        return None

    def _title(self, title: str) -> None:
        name = title.upper()
        if name.endswith(" BACKEND") or name == "ENGINE DETAILS":
            self._draft = _Draft(backend="TRT" if name == "ENGINE DETAILS" else "Pytorch")
        elif self._draft is not None:
            draft = self._draft
            draft.section, draft.banner = name, False
            draft.modern = draft.modern or name in _MODERN
            draft.world = draft.world or name.startswith("WORLD")
            if mode := _MODE.fullmatch(title):
                draft.set("decoding_mode", mode[1], f"= {title}")
            elif name == "PERFORMANCE OVERVIEW":
                draft.results = True
            elif name == "DATASET DETAILS" and not draft.results:
                self._draft = None  # the dataset is also told before a run

    def _finish(self, draft: _Draft) -> Report:
        self._draft = None
        if draft.damage is not None:
            raise ReportError(f"the printed report is damaged: {draft.damage}")
        return _build(draft)


def _is_known(draft: _Draft, line: str) -> bool:
    """Tell a line that a report has."""
    if found := _STAT.fullmatch(line):
        return found[2] in _STATS
    if found := _LINE.fullmatch(line):
        return found[1] in _OLD_FIELDS or found[1] == _SPEED_OF_0_19 or is_energy(found[1])
    return bool(_DATASET_ROW.fullmatch(line) if draft.section == "DATASET DETAILS" else _MACHINE.fullmatch(line))


def _take(draft: _Draft, line: str) -> bool:
    """Read one line of a report into the draft; return whether it is exactly one that reports have.

    Raises:
        ValueError: a known line holds no value of its kind.
    """
    if found := _STAT.fullmatch(line):
        tag, stat, value = found.groups()
        if stat in _STATS:
            number = _number(value, _TWO if tag in _TWO_DECIMALS else _FOUR)
            if _BLOCKS[tag]:
                draft.stat(_BLOCKS[tag], _STATS[stat], number, line)
            else:
                draft.more(f"[{tag}] {stat}", number, line, known=True)
        return stat in _STATS
    if draft.section == "DATASET DETAILS" and (found := _DATASET_ROW.fullmatch(line)):
        numbers = [_number(value, _ROW) for value in found[2].split()]
        if len(numbers) != 3:
            raise ValueError
        for name, value in zip(("isl", "osl", "seq_len"), numbers, strict=True):
            draft.stat(name, _STATS.get(found[1], found[1]), value, line)
        return True
    if draft.section == "MACHINE DETAILS" and (found := _MACHINE.fullmatch(line)):
        draft.set("gpu_name", found[1], line)
        draft.set("gpu_memory_gib", _number(found[2], _TWO), line)
        draft.set("memory_clock_ghz", None if found[3] is None else _number(found[3], _TWO), line)
        return True
    if not (found := _LINE.fullmatch(line)):
        return False
    label, value = found.groups()
    draft.modern = draft.modern or label in _MODERN
    known = (_FIELDS if draft.modern else _OLD_FIELDS).get(label)
    if label == _SPEED_OF_0_19 or (known is None and is_energy(label)):
        _number(value)
        draft.more(label, value, line, known=True)
        return label == _SPEED_OF_0_19
    if known is not None:
        if known[0]:
            draft.set(known[0], known[1](value), line)
    else:
        if NUMBER.fullmatch(value.removesuffix("%")):
            name = label if draft.modern else f"{draft.section.capitalize()}: {label}"
            name = name.replace("P90", "P50") if "BREAKDOWN" in draft.section else name
            draft.more(name, value, line, known=False)
        return False
    return True


def _build(draft: _Draft) -> Report:
    fields, stats = dict(draft.fields), draft.stats
    for name, said in stats.items():
        lacking = {"min", "max", "mean", "p50", "p90", "p95", "p99"} - said.keys()
        if lacking:
            raise ReportError(f"the printed report is not complete: {', '.join(sorted(lacking))} of {name} is missing")
    have = fields.keys() | stats.keys()
    streaming = any(name in have for name in _STREAMING)
    needed = _ALWAYS if not draft.modern else _NEEDED | (_STREAMING if streaming else frozenset())
    if "tps_per_user_distribution" in stats:
        needed |= {"tps_per_user"}
    missing = {name for name in needed if name not in have or fields.get(name, True) is None}
    missing |= _WORLD - have if draft.world else set()
    if missing:
        raise ReportError(f"the printed report is not complete: {', '.join(sorted(missing))} is missing")
    for name in ("e2el_ms", "ttft_ms", "tpot_ms"):
        mean = fields.pop(f"{name}.mean", None)
        if name in stats:
            if mean is not None and abs(mean - stats[name]["mean"]) > _LAST_DIGIT:
                raise ReportError(f"the printed report is damaged: {name} is {mean:g} and {stats[name]['mean']:g}")
            fields[name] = Distribution(**stats[name])
        elif mean is not None:
            fields[name] = Distribution(mean=mean)  # all that 0.17 and before say
    for name, said in stats.items():
        fields.setdefault(name, Distribution(**said))
    extra = {name: value for name, value in draft.extra.items() if name not in draft.unsure}
    gpus = (fields.get("tp") or 0) * (fields.get("pp") or 1)
    return Report(
        engine_backend=draft.backend,
        streaming=streaming,
        extra=extra,
        **energy_fields(extra, duration_s=fields["duration_s"], gpus=gpus),
        **fields,
    )
