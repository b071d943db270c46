"""What becomes of one damaged place in a report: is it seen, or does a wrong number pass as ok?

python -m tests.benchmarks.damage [--sample N] [--details]

Every recorded report is damaged in one place at a time, in each way that KINDS lists. The damaged account is read and
judged as `import` does it, for the settings that the sound report states: the text alone, the JSON alone, and each
beside the other one, sound. A mutation passes if the row is ok and holds a number that the row of the sound report
does not. A number that is lost is null, which is not a wrong number; these are counted apart.

Two groups are the whole:

(a) what is damaged can be seen, because its form is not that of the tool, because a figure stands there twice with two
    values or is missing, or because the numbers that stand there break one of the identities of a report. None may
    pass. The identities are computed here from the flat figures and by themselves, not by asking the gate.
(b) none of them is broken. What passes of these is printed by column and kind.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import multiprocessing
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.importing.settings import settings_of
from sweep.outcome import conclude
from sweep.report import Evidence, weigh
from sweep.table import Source, Status, imported_row

REPORTS = Path(__file__).parent.parent / "data" / "reports"
PROCESSES = 2
LAST_DIGIT = {"trtllm": 1e-4, "serving": 1e-2}
SCATTER = 2_654_435_761
"""Every n-th mutation is chosen by the high bits of its number times this, so that no kind is left out."""
MUTATIONS = 106_000
"""About so many there are in all."""
NEAR = 2e-3
"""Relative difference from which on an identity counts as broken here: far from what rounding does."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A recorded run: its printed report and its JSON; one of them may be missing."""

    name: str
    text: str | None
    json: str | None


@dataclass(frozen=True, slots=True)
class Mutation:
    """One damaged account. `figures` is what a perfect reader reads; None where it sees that the form is broken."""

    kind: str
    place: str
    said: str
    figures: Mapping[str, float] | None


def samples() -> list[Sample]:
    """Return every recorded report that is ok; not the altered ones (derived), nor a run of which a request failed."""
    found = []
    for path in sorted(REPORTS.rglob("*.txt")):
        folder = path.parent
        if folder.name == "derived" or path.stem == "fail" or not is_report(text := path.read_text()):
            continue
        beside = folder / "report.json" if path.name == "log.txt" else path.with_suffix(".json")
        name = str(path.relative_to(REPORTS).with_suffix(""))
        found.append(Sample(name, text, beside.read_text() if beside.exists() else None))
    return found


def is_report(text: str) -> bool:
    return "= PERFORMANCE OVERVIEW" in text or "Serving Benchmark Result" in text


# ---------------------------------------------------------------------------------------- figures, by names of our own

STAT = {"MINIMUM": "min", "MAXIMUM": "max", "AVERAGE": "mean", "MIN": "min", "MAX": "max", "AVG": "mean"} | {
    f"P{p}": f"p{p}" for p in (50, 90, 95, 99)
}
TAG = {"TTFT": "ttft", "TPOT": "tpot", "GTPS": "speed", "Latency": "e2e", "AR": "ar"} | {
    name: name.lower() for name in ("DT", "ADT", "DAR", "AL")
}
LABEL = {
    "Number of requests": "n",
    "Number of concurrent requests": "in_flight",
    "Average Input Length (tokens)": "isl_mean",
    "Average Output Length (tokens)": "osl_mean",
    "TP Size": "tp",
    "PP Size": "pp",
    "EP Size": "ep",
    "Max Runtime Batch Size": "batch",
    "Max Runtime Tokens": "tokens",
    "KV Memory Percentage": "kv",
    "Request Throughput (req/sec)": "request_tput",
    "Total Output Throughput (tokens/sec)": "output_tput",
    "Token Throughput (tokens/sec)": "output_tput",
    "Total Token Throughput (tokens/sec)": "total_tput",
    "Total Latency (ms)": "duration_ms",
    "Average request latency (ms)": "e2e.mean again",
    "Average time-to-first-token [TTFT] (ms)": "ttft.mean again",
    "Average time-per-output-token [TPOT] (ms)": "tpot.mean again",
    "Per User Output Throughput [w/ ctx] (tps/user)": "user_e2e",
    "Per User Output Throughput (tokens/sec/user)": "user_e2e",
    "Per GPU Output Throughput (tps/gpu)": "per_gpu",
    "Per GPU Output Throughput (tokens/sec/gpu)": "per_gpu",
    "Per User Output Speed (tps/user)": "speed.mean again",
    "Per User Output Speed [1/TPOT] (tokens/sec/user)": "old_speed",
    "Number of Sequences": "sequences",
    # benchmark_serving
    "Total requests": "asked",
    "Successful requests": "n",
    "Failed requests": "failed",
    "Maximum request concurrency": "limit",
    "Benchmark duration (s)": "duration_s",
    "Total input tokens": "tokens_in",
    "Total generated tokens": "tokens_out",
    "Request throughput (req/s)": "request_tput",
    "Output token throughput (tok/s)": "output_tput",
    "Total Token throughput (tok/s)": "total_tput",
    "User throughput (tok/s)": "user_e2e",
}
PATH = {
    "request_info.num_requests": "n",
    "request_info.avg_num_concurrent_requests": "in_flight",
    "request_info.avg_input_length": "isl_mean",
    "request_info.avg_output_length": "osl_mean",
    "world_info.tp_size": "tp",
    "world_info.pp_size": "pp",
    "world_info.ep_size": "ep",
    "world_info.world_size": "world",
    "world_info.max_batch_size": "batch",
    "world_info.max_num_tokens": "tokens",
    "world_info.kv_cache_percentage": "kv",
    "performance.request_throughput_req_s": "request_tput",
    "performance.system_output_throughput_tok_s": "output_tput",
    "performance.system_total_throughput_tok_s": "total_tput",
    "performance.total_latency_ms": "duration_ms",
    "performance.avg_request_latency_ms": "e2e.mean again",
    "performance.output_throughput_per_user_tok_s": "user_e2e",
    "performance.output_throughput_per_gpu_tok_s": "per_gpu",
    "streaming_metrics.avg_ttft_ms": "ttft.mean again",
    "streaming_metrics.avg_tpot_ms": "tpot.mean again",
    "streaming_metrics.token_output_speed_tok_s": "speed.mean again",
    "dataset.num_requests": "sequences",
    "dataset.max_isl": "isl.max again",
    "dataset.max_osl": "osl.max again",
    "dataset.max_sequence_length": "seq.max again",
    # benchmark_serving
    "num_prompts": "asked",
    "completed": "n",
    "failed": "failed",
    "max_concurrency": "limit",
    "duration": "duration_s",
    "total_input_tokens": "tokens_in",
    "total_output_tokens": "tokens_out",
    "request_throughput": "request_tput",
    "output_throughput": "output_tput",
    "total_token_throughput": "total_tput",
    "user_throughput": "user_e2e",
}
BLOCK = {
    "performance.request_latency_percentiles_ms": "e2e",
    "streaming_metrics.ttft_percentiles": "ttft",
    "streaming_metrics.tpot_percentiles": "tpot",
    "streaming_metrics.gen_tps_percentiles": "speed",
    "decoding_stats.num_draft_tokens_percentiles": "dt",
    "decoding_stats.num_accepted_draft_tokens_percentiles": "adt",
    "decoding_stats.draft_acceptance_rate_percentiles": "dar",
    "decoding_stats.acceptance_length_percentiles": "al",
    "decoding_stats.acceptance_percentiles": "ar",
    "dataset.isl_stats": "isl",
    "dataset.osl_stats": "osl",
    "dataset.seq_len_stats": "seq",
}
SERVING_LINE = re.compile(r"(Mean|Median|P\d\d) (TTFT|TPOT|ITL|E2EL) \(ms\)")
SERVING_KEY = re.compile(r"(mean|median|p\d\d)_(ttft|tpot|itl|e2el)_ms")
SERVING_STAT = {"mean": "mean", "median": "p50", "p50": "p50 again", "p90": "p90", "p95": "p95", "p99": "p99"}


def name_of(label: str, tag: str | None = None) -> str:
    if tag is not None:
        return f"{TAG[tag]}.{STAT[label]}"
    if found := SERVING_LINE.fullmatch(label):
        return f"{found[2].lower().replace('e2el', 'e2e')}.{SERVING_STAT[found[1].lower()]}"
    return LABEL.get(label, label)


def name_at(path: str) -> str:
    block, _, key = path.rpartition(".")
    if block in BLOCK:
        return f"{BLOCK[block]}.{STAT[key.upper()]}"
    if found := SERVING_KEY.fullmatch(path):
        return f"{found[2].replace('e2el', 'e2e')}.{SERVING_STAT[found[1]]}"
    return PATH.get(path, path)


# ----------------------------------------------------------------------------------------------------- the identities


def broken(figures: Mapping[str, float], sound: Mapping[str, float], serving: bool) -> str | None:
    """Return the first identity that the figures break, None where they break none.

    sound: the figures of the sound report, of which only those count that are settings of the run.
    """
    digit = LAST_DIGIT["serving" if serving else "trtllm"]

    def get(name: str) -> float | None:
        return figures.get(name)

    def far(one: float | None, other: float | None, also: float = 0.0) -> bool:
        return one is not None and other is not None and abs(one - other) > NEAR * abs(other) + digit + also

    for name in ("n", "asked", "tp", "pp", "ep", "batch", "tokens", "kv", "limit", "isl_mean", "osl_mean"):
        half = 0.5 if name.endswith("_mean") else NEAR * abs(sound.get(name, 0.0))
        if name in sound and (name not in figures or abs(figures[name] - sound[name]) > half):
            return "the settings"
    if figures.keys() != sound.keys():
        return "all lines are there"
    for name, value in figures.items():
        if name.endswith(" again") and far(value, get(name.removesuffix(" again"))):
            return "a figure that stands there twice"
    for block in ("ttft", "tpot", "speed", "e2e", "itl", "isl", "osl", "seq", "dt", "adt", "dar", "al", "ar"):
        order = [
            figures[f"{block}.{s}"] for s in ("min", "p50", "p90", "p95", "p99", "max") if f"{block}.{s}" in figures
        ]
        if any(one > other for one, other in itertools.pairwise(order)):
            return "order"
        low, mean, high = (get(f"{block}.{s}") for s in ("min", "mean", "max"))
        n = sound.get("sequences", sound["n"]) if block in ("isl", "osl", "seq") else sound["n"]
        room = n * (digit if block not in ("dt", "adt", "dar", "al", "ar") else 1e-2)
        if low is not None and mean is not None and high is not None:
            if (
                n * mean < (n - 1) * low + high - room - NEAR * high
                or n * mean > (n - 1) * high + low + room + NEAR * high
            ):
                return "mean between minimum and maximum"
        elif mean is not None and order and mean < order[0] / 2 - digit:
            return "mean at least half of the median"
        if block in ("isl", "osl", "seq") and any(not value.is_integer() for value in order):
            return "whole tokens"
    n = figures["n"]
    seconds = figures["duration_s"] if serving else figures["duration_ms"] / 1e3
    if seconds <= 0:
        return "duration"
    isl, osl = get("isl_mean"), get("osl_mean")
    if serving:
        isl, osl = figures["tokens_in"] / n, figures["tokens_out"] / n
        if far(isl, sound["tokens_in"] / n, 0.5) or far(osl, sound["tokens_out"] / n, 0.5):
            return "the settings"
        if "asked" in figures and "failed" in figures and figures["asked"] != n + figures["failed"]:
            return "requests"
    if far(get("request_tput"), n / seconds):
        return "requests over duration"
    if osl is not None and far(get("output_tput"), n * osl / seconds):
        return "output over duration"
    if isl is not None and osl is not None and far(get("total_tput"), n * (isl + osl) / seconds):
        return "tokens over duration"
    if get("per_gpu") is not None and far(get("per_gpu"), figures["output_tput"] / figures["tp"] / figures["pp"]):
        return "per GPU"
    mean, fastest, slowest = (get(f"e2e.{s}") for s in ("mean", "min", "max"))
    if mean is not None and far(get("in_flight"), n * mean / seconds / 1e3):
        return "mean in flight"
    for name, value in figures.items():
        if name.startswith(("e2e.", "ttft.", "tpot.", "itl.")) and value > seconds * 1e3 * (1 + NEAR):
            return "no latency is longer than the run"
        if name.startswith("ttft.") and (whole := get("e2e" + name[4:])) is not None and value > whole + digit:
            return "TTFT within E2E"
    pace, step = get("tpot.mean"), get("tpot.min")
    if pace is not None and step is not None and get("tpot.max") is not None:
        if step <= 0 < sound["tpot.min"]:
            return "speed and TPOT"
        speed = get("speed.mean again")
        if speed is not None and "speed.mean" in figures:
            bounds = (1e3 / figures["tpot.max"], 1e3 / step)
            if not bounds[0] * (1 - NEAR) - digit <= speed <= bounds[1] * (1 + NEAR) + digit:
                return "speed and TPOT"
            if speed < 1e3 / pace * (1 - NEAR) - digit:
                return "speed and TPOT"
            if far(get("speed.max"), 1e3 / step, step * 1e-3) or far(get("speed.min"), 1e3 / figures["tpot.max"]):
                return "speed and TPOT"
        if far(get("old_speed"), 1e3 / pace):
            return "speed and TPOT"
    constant = osl is not None and (
        osl == figures.get("osl.min") == figures.get("osl.max") if not serving else osl.is_integer()
    )
    first = get("ttft.mean")
    if constant and osl is not None and pace is not None and first is not None:
        whole = first + (osl - 1) * pace
        if far(mean, whole, digit * osl):
            return "E2E = TTFT + (OSL - 1) * TPOT"
        if (
            mean is None
            and "limit" in figures
            and n * (whole - digit * osl) > figures["limit"] * seconds * 1e3 * (1 + NEAR)
        ):
            return "mean in flight"
    user = get("user_e2e")
    if user is not None and osl is not None and fastest is not None and slowest is not None:
        if not osl / slowest * 1e3 * (1 - NEAR) - digit <= user <= osl / max(fastest, 1e-9) * 1e3 * (1 + NEAR) + digit:
            return "speed with prefill and E2E"
        if constant and mean is not None and user < osl / mean * 1e3 * (1 - NEAR) - digit:
            return "speed with prefill and E2E"
    if "seq.mean" in figures:
        if far(figures["seq.mean"], figures["isl.mean"] + figures["osl.mean"]):
            return "ISL + OSL"
        low, high = figures["isl.min"] + figures["osl.min"], figures["isl.max"] + figures["osl.max"]
        if figures["seq.min"] < low - digit or figures["seq.max"] > high + digit:
            return "ISL + OSL"
    if "dt.mean" in figures and osl is not None:
        drafted = round(sound["dt.mean"] / (sound["osl_mean"] - sound["adt.mean"]))
        for stat in ("mean", "min", "p50", "p90", "p95", "p99", "max"):
            if far(figures[f"dar.{stat}"], (figures[f"al.{stat}"] - 1) / drafted, 2e-2):
                return "drafts"
        if far(figures["adt.mean"], osl - figures["dt.mean"] / drafted, 2e-2):
            return "drafts"
    return None


# ------------------------------------------------------------------------------------------------- mutations of a text

NUMBER = r"\d+(?:\.\d+)?(?:[eE][+-]\d+)?"
LINE = re.compile(rf"(?:\[(?P<tag>\w+)\] )?(?P<label>[A-Z][^:]*?)\s*:\s+(?P<value>{NUMBER}(?:%?|(?:\s+{NUMBER})*))\s*")
FORMS = (re.compile(r"\d+\.\d{4}"), re.compile(r"\d+\.\d{2}"), re.compile(r"\d+"), re.compile(r"\d\.\d\de\+\d\d"))


@dataclass(frozen=True, slots=True)
class Figure:
    """A number in a text: its place, its form and what it is called."""

    begin: int
    end: int
    name: str
    value: str

    @property
    def decimals(self) -> int:
        return len(self.value.partition(".")[2])


def figures_in(text: str) -> Iterator[Figure]:
    """Yield the numbers of the printed report, in order; what is logged before it is none of them."""
    start = max(text.rfind(mark) for mark in ("BACKEND\n", "= ENGINE DETAILS", "Maximum request concurrency"))
    if "= REQUEST DETAILS" in text or "Serving" in text or "= ENGINE DETAILS" in text:
        for line in re.finditer(r"[^\n]+", text[start:]):
            if line[0].startswith("Issue Rate") or (found := LINE.fullmatch(line[0])) is None:
                continue
            tag, label = found["tag"], found["label"].strip()
            numbers = list(re.finditer(NUMBER, found["value"]))
            for number, block in zip(numbers, ("isl", "osl", "seq"), strict=False):
                name = f"{block}.{STAT[label]}" if len(numbers) == 3 else name_of(label, tag)
                begin = start + line.start() + found.start("value") + number.start()
                yield Figure(begin, begin + len(number[0]), name, number[0])


def damaged_texts(text: str) -> Iterator[Mutation]:
    """Yield every single-place mutation of a printed report."""
    figures = list(figures_in(text))
    sound = {f.name: float(f.value) for f in figures}

    def put(figure: Figure, value: str) -> str:
        return text[: figure.begin] + value + text[figure.end :]

    def read(figure: Figure, value: str, *, same_form: bool) -> Mapping[str, float] | None:
        return sound | {figure.name: float(value)} if same_form else None

    for figure in figures:
        value, decimals = figure.value, figure.decimals
        for length in range(1, len(value)):  # what is left of a number that is cut; of an integer it is one too
            cut = value[:length]
            same = not decimals and "e" not in value
            yield Mutation("cut in a number", figure.name, put(figure, cut), read(figure, cut, same_form=same))
        other = str(int(value[0]) % 9 + 1) + value[1:]
        for kind, changed in (
            ("x1000", f"{float(value) * 1000:.{decimals}f}"),
            ("zero", f"{0:.{decimals}f}"),
            ("first digit", other),
        ):
            if "e" not in value and changed != value:
                yield Mutation(kind, figure.name, put(figure, changed), read(figure, changed, same_form=True))
        yield Mutation("1e30", figure.name, put(figure, "1e30"), None)
        yield Mutation(
            "1e30 in its form", figure.name, put(figure, f"{1e30:.{decimals}f}"), read(figure, "1e30", same_form=True)
        )
        for kind, zero in (("Arabic digits", 0x660), ("full-width digits", 0xFF10)):
            digits = {ord("0") + digit: zero + digit for digit in range(10)}
            yield Mutation(kind, figure.name, put(figure, value.translate(digits)), None)
        line_begin, line_end = text.rfind("\n", 0, figure.begin) + 1, text.index("\n", figure.end)
        line = text[line_begin:line_end]
        second = line[: figure.begin - line_begin] + other + line[figure.end - line_begin :]
        for kind, lines in (("line twice, other first", (second, line)), ("line twice, other last", (line, second))):
            said = text[:line_begin] + "\n".join(lines) + text[line_end:]
            yield Mutation(kind, figure.name, said, None)
    for one, after in itertools.pairwise(figures):
        if one.value != after.value:
            said = text[: one.begin] + after.value + text[one.end : after.begin] + one.value + text[after.end :]
            same = one.decimals == after.decimals
            swapped = {one.name: float(after.value), after.name: float(one.value)}
            yield Mutation("swapped with the next", one.name, said, sound | swapped if same else None)
    places = {f.begin + at: f for f in figures for at in range(len(f.value) + 1)}
    begin = text.rfind("\n", 0, figures[0].begin) + 1
    end = text.index("\n", figures[-1].end)
    for at in range(begin + 1, end):
        if (
            "\n" in text[at - 1 : at + 1]
            or text[at:].split("\n", 1)[0].strip() == ""
            or text[at - 1 : at + 1].strip("=- ") == ""
        ):
            continue
        inside = places.get(at)
        of_line = next((f for f in figures if text.rfind("\n", 0, f.begin) < at <= f.end), None)
        if of_line is None:
            continue  # a line without a number
        cut = inside is not None and inside.begin < at < inside.end
        yield Mutation(
            "split by a line end",
            of_line.name,
            text[:at] + "\n" + text[at:],
            None if cut or at <= of_line.end else sound,
        )


# ----------------------------------------------------------------------------------------------- mutations of a JSON


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and path[-1] != "issue_rate":
        yield path, value


def changed(whole: Any, path: Sequence[str], value: Any) -> Any:
    return {
        key: (value if len(path) == 1 else changed(item, path[1:], value)) if key == path[0] else item
        for key, item in whole.items()
    }


MARK = "the same key again"


def damaged_jsons(text: str) -> Iterator[Mutation]:
    """Yield every single-place mutation of a JSON report."""
    whole = json.loads(text)
    numbers = list(leaves(whole))
    sound = {name_at(".".join(path)): float(value) for path, value in numbers}

    def mutation(kind: str, *values: tuple[tuple[str, ...], float]) -> Mutation:
        said = whole
        for path, value in values:
            said = changed(said, path, value)
        names = {name_at(".".join(path)): float(value) for path, value in values}
        return Mutation(kind, next(iter(names)), json.dumps(said), sound | names)

    for path, value in numbers:
        as_before: Callable[[float], float] = int if isinstance(value, int) else float
        for kind, other in (
            ("x1000", as_before(value * 1000)),
            ("/1000", as_before(value / 1000)),
            ("zero", as_before(0)),
            ("x1.3 + 1", as_before(value * 1.3 + 1)),
        ):
            if other != value:
                yield mutation(kind, (path, other))
        marked = json.dumps(changed(whole, path, MARK))
        key = json.dumps(path[-1])
        for kind, pair in (
            ("key twice, other first", (value * 2 + 1, value)),
            ("key twice, other last", (value, value * 2 + 1)),
        ):
            twice = f", {key}: ".join(json.dumps(item) for item in pair)
            yield Mutation(kind, name_at(".".join(path)), marked.replace(json.dumps(MARK), twice), None)
    for (one, value), (after, other) in itertools.pairwise(numbers):
        if value != other and type(value) is type(other):
            yield mutation("swapped with the next", (one, other), (after, value))


# ----------------------------------------------------------------------------------------------------------- judging


def judged(evidence: Evidence, settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the row of an account that is ok, None where it is not."""
    if evidence.report is None:
        return None
    outcome = conclude(settings, evidence)
    if outcome.status is not Status.OK:
        return None
    return imported_row(settings=settings, outcome=outcome, source=Source.MEASURED, environment={})


def numbers_of(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a row, with those of `report_extra` by their own names; nulls are none."""
    extra = {f"report_extra {name}": value for name, value in json.loads(row["report_extra"] or "{}").items()}
    found = {}
    for name, value in {**row, **extra}.items():
        if name != "report_extra" and value is not None and not isinstance(value, bool):
            with contextlib.suppress(TypeError, ValueError):
                found[name] = float(value)
    return found


def weighed(text: str | None, report: str | None) -> Evidence:
    return weigh(report=report, log=None if text is None else io.BytesIO(text.encode()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one mutation."""

    sample: str
    account: str
    kind: str
    place: str
    group: str
    why: str
    columns: tuple[str, ...]
    lost: tuple[str, ...]

    @property
    def passes(self) -> bool:
        return bool(self.columns)


ACCOUNTS = ("text", "JSON", "text beside JSON", "JSON beside text")


def verdicts(sample: Sample, account: str, every: int = 1) -> Iterator[Verdict]:
    """Judge every mutation of one account of a report, or every n-th."""
    of_text = account.startswith("text")
    alone = "beside" not in account
    text, report = sample.text, sample.json
    if (text if of_text else report) is None or (not alone and (text is None or report is None)):
        return
    text, report = (text if of_text or not alone else None), (report if not of_text or not alone else None)
    evidence = weighed(text, report)
    assert evidence.report is not None, (sample.name, account, evidence.problem)
    settings = settings_of(evidence.report)
    sound = judged(evidence, settings)
    assert sound is not None, (sample.name, account, conclude(settings, evidence).failure_message)
    before = numbers_of(sound)
    damaged = damaged_texts(text or "") if of_text else damaged_jsons(report or "")
    figures = (
        {f.name: float(f.value) for f in figures_in(text or "")}
        if of_text
        else {name_at(".".join(path)): float(value) for path, value in leaves(json.loads(report or ""))}
    )
    serving = "Serving Benchmark" in (sample.text or "")
    assert broken(figures, figures, serving) is None, (sample.name, account, broken(figures, figures, serving))
    for number, mutation in enumerate(damaged):
        if every > 1 and number * SCATTER % 2**32 >= 2**32 // every:
            continue
        row = judged(weighed(mutation.said if of_text else text, mutation.said if not of_text else report), settings)
        now = {} if row is None else numbers_of(row)
        columns = tuple(name for name, value in now.items() if value != before.get(name))
        lost = () if row is None else tuple(before.keys() - now.keys())
        why = "form" if mutation.figures is None else broken(mutation.figures, figures, serving)
        yield Verdict(
            sample=sample.name,
            account=account,
            kind=mutation.kind,
            place=mutation.place,
            group="b" if why is None else "a",
            why=why or "",
            columns=columns,
            lost=lost,
        )


def _work(job: tuple[Sample, str, int]) -> list[Verdict]:
    return list(verdicts(*job))


def main() -> None:
    """Damage, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=0, help="about so many mutations; 0 is all of them")
    parser.add_argument("--details", action="store_true", help="print each mutation that passes")
    said = parser.parse_args()
    every = max(1, MUTATIONS // said.sample) if said.sample else 1
    jobs = [(sample, account, every) for sample in samples() for account in ACCOUNTS]
    found: list[Verdict] = []
    with multiprocessing.Pool(PROCESSES) as pool:
        for verdict in pool.imap_unordered(_work, jobs):
            found += verdict
            print(f"\r{len(found):,} mutations", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    report(found)
    if said.details:
        for verdict in sorted(found, key=lambda v: (v.account, v.sample)):
            if verdict.passes:
                print(
                    verdict.group,
                    verdict.sample,
                    verdict.account,
                    verdict.kind,
                    verdict.place,
                    *verdict.columns,
                    sep=" | ",
                )
    sys.exit(1 if any(verdict.passes and verdict.group == "a" for verdict in found) else 0)


def report(found: Sequence[Verdict]) -> None:
    """Print the totals of each account and kind, and what passes of (b) by column."""
    for account in ACCOUNTS:
        of_account = [verdict for verdict in found if verdict.account == account]
        if not of_account:
            continue
        print(f"\n{account}\n  {'':28}{'mutations':>10}{'(a)':>9}{'(a) pass':>9}{'(b)':>9}{'(b) pass':>9}")
        by_kind: dict[str, list[Verdict]] = {}
        for verdict in of_account:
            by_kind.setdefault(verdict.kind, []).append(verdict)
        outside = [v for v in of_account if not v.kind.startswith("split")]
        for kind, group in [*by_kind.items(), ("all but splits", outside), ("all", of_account)]:
            counts = Counter((v.group, v.passes) for v in group)
            a, b = counts["a", False] + counts["a", True], counts["b", False] + counts["b", True]
            share = f"{(counts['a', True] + counts['b', True]) / len(group):9.2%}"
            print(f"  {kind:28}{len(group):10,}{a:9,}{counts['a', True]:9,}{b:9,}{counts['b', True]:9,}{share}")
        if lost := Counter(name for v in of_account if not v.passes for name in v.lost):
            print("  ok with a null instead of:", ", ".join(f"{name} {count}" for name, count in sorted(lost.items())))
        passed = Counter((v.group, v.columns[0], v.kind) for v in of_account if v.passes)
        for (group_name, column, kind), count in sorted(passed.items()):
            print(f"  passes, ({group_name}): {column:40} {kind:26} {count:5,}")


if __name__ == "__main__":
    main()
