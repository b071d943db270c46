#!/usr/bin/env python3
"""Publishes what an attempt left: env.json, done.json on the results volume, and one SWEEP_RESULT line for the log.

Runs in the pod beside trtllm-bench.sh, on Python 3.11 and later with the standard library only; sweep/telemetry.py lies
beside it. The line is at most 12 KiB, because longer ones are split by container runtimes; what does not fit is the
beginning of the log. done.json is written last and lists every file with its size and hash: without it there is no
result, so that a pod that is evicted while it copies leaves none. An attempt that was interrupted gets none either: a
pod that begins anew measures it. The line is printed whatever becomes of the files. Secrets never leave the pod:
`Redactor` takes them out of the files, of the line, and (`publish.py redact`) of all that the launcher prints.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import telemetry

LONGEST_LINE_BYTES = 12 * 1024 - 64
MARK = "SWEEP_RESULT "
ANSWER_S = 60
"""For so long nvidia-smi is waited for; beside a sick GPU it can hang."""
MOST_TAIL_BYTES = 64 * 1024
FIELDS = (
    *("timestamp", "index", "uuid", "name", "driver_version", "memory.total", "power.draw.instant", "power.draw"),
    *("clocks.current.sm", "clocks.current.memory", "ecc.errors.uncorrected.volatile.total"),
    *("clocks_event_reasons.active", "clocks_throttle_reasons.active"),
)
"""What is asked of nvidia-smi, as far as this driver knows it."""
CUDA = Path("/usr/local/cuda")
COPIED = ("report.json", "requests.json", "env.json", "log.txt", "gpu.csv")
SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""Variables that hold a secret wherever they come from; SWEEP_SECRETS names those that the chart takes from Secrets."""
LEAST_SECRET = 8
"""Characters. What is shorter stays: it may be a user's name, a number or `true`, and so be in every report. GitLab
masks nothing shorter either."""
LONGEST_HELD_BYTES, OVERLAP_BYTES = 2**20, 2**16
"""A line that is longer than the first is passed on in pieces, less its last bytes: a secret may begin there."""


def query_fields() -> str:
    """Return the fields for --query-gpu that this nvidia-smi knows; names changed between drivers."""
    known = _run("nvidia-smi", "--help-query-gpu")
    fields = [field for field in FIELDS if f'"{field}"' in known] if known else list(FIELDS[:-1])
    if "clocks_event_reasons.active" in fields and "clocks_throttle_reasons.active" in fields:
        fields.remove("clocks_throttle_reasons.active")
    return ",".join(fields)


MEND = (
    "a bucket needs Workload Identity and a right: gcloud storage buckets add-iam-policy-binding gs://BUCKET"
    " --role=roles/storage.objectUser --member=principal://iam.googleapis.com/projects/PROJECT_NUMBER/locations/global/"
    "workloadIdentityPools/PROJECT_ID.svc.id.goog/subject/ns/NAMESPACE/sa/SERVICE_ACCOUNT (a claim: check its mode)"
)


def probe(into: Path) -> None:
    """Write a file to the results volume and delete it, before anything that takes long is begun.

    Raises:
        SystemExit: it cannot be written.
    """
    file = into / f".probe-{os.environ.get('SWEEP_POD') or os.getpid()}"
    try:
        into.mkdir(parents=True, exist_ok=True)
        file.write_text("can be written")  # an error of a bucket comes when the file is closed
        file.unlink()
    except OSError as error:
        sys.exit(f"the results volume cannot be written: {error}; {MEND}")


def publish(
    folder: Path,
    *,
    point: str,
    attempt: str,
    exit_code: int,
    outcome: str,
    download_s: float,
    into: Path | None,
    facts: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Write env.json and the results volume, and return the line; `unsaved` in it says why there are no files.

    Args:
        folder: the attempt's own: report.json, requests.json, log.txt, gpu.csv, began.
        outcome: ended, timeout, interrupted, or sick (a GPU is).
        download_s: seconds that weights and the dataset took; those of the weights in the first attempt of the pod.
        into: the sweep's folder on the results volume.
        facts: what else env.json is to say.
    """
    redactor = Redactor(os.environ)
    for name in COPIED:
        redactor.file(folder / name)
    ended = datetime.now(UTC)
    started = _began(folder) or ended
    report = _report(folder / "report.json")
    about = {
        "point": point,
        "attempt": attempt,
        "deployment": os.environ.get("SWEEP_DEPLOYMENT_ID", ""),
        "sweep": os.environ.get("SWEEP_ID", ""),
        "pod": os.environ.get("SWEEP_POD", ""),
        "exit_code": exit_code,
        "outcome": outcome,
        "started_at": started.isoformat(),
        "ended_at": ended.isoformat(),
    }
    environment = _environment(folder, report, started, ended, download_s) | {k: v for k, v in facts.items() if v}
    try:
        (folder / "env.json").write_text(json.dumps(environment | {"attempt": about}, indent=1))
        redactor.file(folder / "env.json")
        if into is not None and outcome != "interrupted":
            commit(folder, into / point / attempt)
    except OSError as error:
        about["unsaved"] = str(error)
        print(f"point {point} attempt {attempt} is told by its line only: {error}", file=sys.stderr)
    return line(about, report, environment, _tail(folder / "log.txt"))


def line(about: dict[str, Any], report: dict[str, Any] | None, environment: dict[str, Any], tail: str) -> str:
    """Return the SWEEP_RESULT line; of the log's tail as much as fits, and a report that is too long is left out."""
    redactor = Redactor(os.environ)
    tail = redactor.text(tail.encode()).decode("utf-8", "replace")  # before a cut hides half of a secret
    result = about | {"report": report, "environment": environment, "log_tail": ""}
    if _size(result) > LONGEST_LINE_BYTES:
        result |= {"report": None, "report_too_long": True}
    room = LONGEST_LINE_BYTES - _size(result)
    while tail and _size({"": tail}) - 6 > room:
        tail = tail[max(1, len(tail) // 10) :]
    return MARK + redactor.json(_compact(result | {"log_tail": tail}).encode()).decode()


def again(folder: Path) -> str:
    """Return the line of an attempt that lies on the results volume, published by an earlier pod.

    It names the deployment that tells it, which may be another one of the sweep than the one that measured it.
    """
    environment = json.loads((folder / "env.json").read_text())
    about = environment.pop("attempt")
    about["deployment"] = os.environ.get("SWEEP_DEPLOYMENT_ID", "")
    return line(about, _report(folder / "report.json"), environment, _tail(folder / "log.txt"))


def _environment(
    folder: Path, report: dict[str, Any] | None, started: datetime, ended: datetime, download_s: float
) -> dict[str, Any]:
    """Return columns of the row: where it ran, on what, how long each part took, and how the GPUs did."""
    image = os.environ.get("SWEEP_IMAGE") or None
    columns: dict[str, Any] = {
        "node": os.environ.get("SWEEP_NODE") or None,
        "download_s": download_s or None,
        "image": image,
        "image_digest": (image or "").partition("@")[2] or None,  # of a tag only the cluster knows it
        "trtllm_version": _trtllm_version(),
        "cuda_version": _cuda_version(),
    }
    gpus: list[telemetry.Sample] = []
    if (folder / "gpu.csv").exists():
        with (folder / "gpu.csv").open(errors="replace") as samples:
            columns |= _hardware(samples.readline(), samples.readline())
            samples.seek(0)
            gpus = list(telemetry.read_samples(samples))
    if report is not None:
        bench_s = _bench_s(report)
        written = datetime.fromtimestamp((folder / "report.json").stat().st_mtime, UTC)
        columns["reported_at"] = written.isoformat()
        if bench_s is not None:
            columns["bench_s"] = bench_s
            columns["load_s"] = max(0.0, (written - started).total_seconds() - bench_s)
            end = written.astimezone().replace(tzinfo=None)  # nvidia-smi prints local time
            count = len({sample.gpu for sample in gpus})
            columns |= telemetry.summarise(gpus, gpus=count, begin=end - timedelta(seconds=bench_s), end=end)
    return {name: value for name, value in columns.items() if value is not None}


def _trtllm_version() -> str | None:
    try:
        return importlib.metadata.version("tensorrt_llm")
    except importlib.metadata.PackageNotFoundError:
        return None


def _cuda_version() -> str | None:
    """Return the version of CUDA in the image: NVIDIA's images say it in their environment and in a file."""
    try:
        said = json.loads((CUDA / "version.json").read_text())["cuda"]["version"]
    except (OSError, ValueError, KeyError, TypeError):
        said = os.environ.get("CUDA_VERSION")
    return said if isinstance(said, str) and said else None


def _hardware(header: str, first: str) -> dict[str, Any]:
    names = [name.partition(" [")[0].strip() for name in header.split(",")]
    said = dict(zip(names, (value.strip() for value in first.split(",")), strict=False))
    found: dict[str, Any] = {"gpu_name": said.get("name"), "driver_version": said.get("driver_version")}
    memory = (said.get("memory.total") or "").split(" ")[0]
    if memory.isdigit():
        found["gpu_memory_gib"] = int(memory) / 1024
    return found


def _bench_s(report: dict[str, Any]) -> float | None:
    performance = report.get("performance")
    milliseconds = performance.get("total_latency_ms") if isinstance(performance, dict) else None
    return milliseconds / 1e3 if isinstance(milliseconds, (int, float)) else None


def commit(folder: Path, final: Path) -> None:
    """Copy the files and, when all are there, their list."""
    final.mkdir(parents=True, exist_ok=True)
    files = {}
    for name in COPIED:
        source = folder / name
        if source.exists():
            shutil.copyfile(source, final / name)
            files[name] = {"size": source.stat().st_size, "sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
    temporary = final / "done.json.tmp"
    temporary.write_text(json.dumps({"files": files}, indent=1))
    os.replace(temporary, final / "done.json")


class Redactor:
    """Replaces secrets by ***, as they are and as URLs, JSON and Python's repr write them.

    A value counts without the white space around it: a Secret that was made from a file ends with a line break. Of one
    of several lines, as a key in PEM, each line counts for itself too.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        names = [*SECRETS, *environment.get("SWEEP_SECRETS", "").split()]
        secrets = {secret for name in names for secret in _parts(environment.get(name, ""))}
        self._patterns = [(_core(secret), _pattern(secret)) for secret in sorted(secrets)]

    def text(self, text: bytes) -> bytes:
        """Return a text without the secrets."""
        kept, at = [], 0
        for begin, end in self._spans(text):
            kept.append(text[at:begin])
            at = end
        return b"***".join([*kept, text[at:]])

    def json(self, text: bytes) -> bytes:
        """Return JSON without the secrets: it stays JSON, and all but the strings that held one stays byte for byte."""
        if not self._spans(text):
            return text
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return self.text(text)
        return _STRING.sub(self._string, text)

    def file(self, path: Path) -> None:
        """Take the secrets out of a file, if it is there. Its time stays: a report's tells when it was written."""
        try:
            text, was = path.read_bytes(), path.stat()
        except OSError:
            return
        clean = self.json(text) if path.suffix == ".json" else self.text(text)
        if clean != text:
            path.write_bytes(clean)
            os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))

    def stream(self, source: int, *, others: bool = False) -> None:
        """Pass on what comes from a file descriptor to standard output, whole lines as soon as they are there.

        others: other programs print there too, and nothing of it may be taken for a step or result of the launcher.
        """
        held = b""
        while chunk := os.read(source, 2**16):
            held += chunk
            cut = held.rfind(b"\n") + 1
            if not cut and len(held) > LONGEST_HELD_BYTES:
                least = len(held) - OVERLAP_BYTES
                cut = max([least, *(end for begin, end in self._spans(held) if begin < least)])
            self._pass_on(held[:cut], others)
            held = held[cut:]
        self._pass_on(held, others)

    def _pass_on(self, text: bytes, others: bool) -> None:
        """Print lines: together, because a secret may have several, but for those of results, which are JSON."""
        text = _OURS.sub(rb"SWEEP-\1 ", text) if others else text
        mark = MARK.encode()
        parts = text.splitlines(keepends=True) if mark in text else [text]
        for part in parts:
            is_result = part.startswith(mark)
            sys.stdout.buffer.write(mark + self.json(part.removeprefix(mark)) if is_result else self.text(part))
        sys.stdout.buffer.flush()

    def _string(self, literal: re.Match[bytes]) -> bytes:
        text = json.loads(literal[0]).encode("utf-8", "surrogatepass")
        clean = self.text(text)
        return literal[0] if clean == text else json.dumps(clean.decode("utf-8", "surrogatepass")).encode()

    def _spans(self, text: bytes) -> list[tuple[int, int]]:
        """Return where secrets stand, those that overlap as one."""
        spans: list[tuple[int, int]] = []
        patterns = (pattern for core, pattern in self._patterns if core in text)  # a search for the core takes no time
        for begin, end in sorted(match.span() for pattern in patterns for match in pattern.finditer(text)):
            if spans and begin < spans[-1][1]:
                spans[-1] = spans[-1][0], max(end, spans[-1][1])
            else:
                spans.append((begin, end))
        return spans


_OURS = re.compile(rb"SWEEP_(RESULT|STEP) ")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
"""A string of valid JSON."""
_PLAIN = re.compile(r"[A-Za-z0-9._~-]+")
_UNITS = re.compile(r"\s+|\\+|.", re.DOTALL)
"""What other forms of a text write otherwise: runs of white space or of backslashes, and single characters."""


def _parts(value: str) -> set[str]:
    """Return what is secret of a variable: its value and the lines of it, as far as they are long enough."""
    whole = value.strip().strip("\ufeff").strip()
    lines = (line.strip() for line in re.split(r"[\r\n]+|\\n", whole))  # a key within JSON has its line ends escaped
    return {part for part in (whole, *lines) if len(part) >= LEAST_SECRET}


def _core(secret: str) -> bytes:
    """Return the longest part of a secret that every form writes as it is."""
    return max(_PLAIN.findall(secret), key=len, default="").encode()


def _pattern(secret: str) -> re.Pattern[bytes]:
    return re.compile(b"".join(map(_any_form, _UNITS.findall(secret))))


def _any_form(unit: str) -> bytes:
    """Return the pattern of a unit as it is, percent-encoded, or with escapes: of repr, JSON, or JSON within JSON."""
    if unit.isspace():  # a shell that splits words makes one blank of a line end
        return rb"(?:[\s+]|\\+(?:[nrt]|u00[0-9a-fA-F]{2})|%(?:0[9aAdD]|20))+"
    if unit.startswith("\\"):
        return rb"(?:\\|%5[cC]|u005[cC])+"
    if _PLAIN.fullmatch(unit):
        return re.escape(unit.encode())
    raw = os.fsencode(unit)
    percent = "".join(f"%{byte:02x}" for byte in raw)
    codes = struct.iter_unpack(">H", unit.encode("utf-16-be", "surrogatepass"))
    escaped = "".join(rf"\\+u{code:04x}" for (code,) in codes)
    return rb"\\*(?:(?i:%b|%b)|%b)" % (percent.encode(), escaped.encode(), re.escape(raw))


def _report(path: Path) -> dict[str, Any] | None:
    try:
        said = json.loads(path.read_text(), object_pairs_hook=_object)
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; one with two values for one key is damaged, and the line could not show it."""
    read = dict(pairs)
    if any(value != read[key] for key, value in pairs):
        raise ValueError("a key stands twice in one object")
    return read


def _began(folder: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(float((folder / "began").read_text()), UTC)
    except (OSError, ValueError):
        return None


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - MOST_TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _size(value: Any) -> int:
    return len(_compact(value))  # ASCII: json escapes the rest


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Publish what an attempt left.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("query", help="print the fields for nvidia-smi --query-gpu")
    volume = commands.add_parser("probe", help="fail unless the results volume can be written")
    volume.add_argument("folder", type=Path)
    redact = commands.add_parser("redact", help="pass on standard input without the secrets of this environment")
    redact.add_argument("--others", action="store_true", help="other programs print there too")
    former = commands.add_parser("again", help="print the line of an attempt that was published")
    former.add_argument("folder", type=Path)
    attempt = commands.add_parser("attempt", help="publish an attempt that has ended")
    attempt.add_argument("folder", type=Path)
    attempt.add_argument("--point", required=True)
    attempt.add_argument("--attempt", required=True)
    attempt.add_argument("--exit-code", type=int, required=True)
    attempt.add_argument("--outcome", choices=["ended", "timeout", "interrupted", "sick"], required=True)
    attempt.add_argument("--download-s", type=float, default=0.0)
    attempt.add_argument("--into", type=Path)
    attempt.add_argument("--fact", action="append", default=[], help="NAME=VALUE for env.json")
    said = parser.parse_args()
    if said.command == "query":
        print(query_fields())
    elif said.command == "probe":
        probe(said.folder)
    elif said.command == "redact":
        Redactor(os.environ).stream(sys.stdin.fileno(), others=said.others)
    elif said.command == "again":
        print(again(said.folder), flush=True)
    else:
        told = publish(
            said.folder,
            point=said.point,
            attempt=said.attempt,
            exit_code=said.exit_code,
            outcome=said.outcome,
            download_s=said.download_s,
            into=said.into,
            facts={name: value for name, _, value in (fact.partition("=") for fact in said.fact)},
        )
        print(told, flush=True)


if __name__ == "__main__":
    sys.exit(main())
