"""What nvidia-smi sampled beside a run becomes columns of the row: power, energy, clocks, slowdown, memory errors.

The samples are those of

    nvidia-smi --query-gpu=timestamp,index,uuid,...,clocks.current.sm,clocks_event_reasons.active --format=csv -lms 500

Names changed between driver versions: clocks_throttle_reasons.* became clocks_event_reasons.*; both are read, with or
without units. On a real H200 (driver 580) a software power cap is active all the time under full load: that is how a
busy GPU runs, and it is recorded. Thermal and hardware slowdown, and the power brake, are faults of the node.

Energy is power integrated over the samples (trapezes). On that H200 it agrees with NVML's own counter over 25 s within
one percent.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

REASONS: Mapping[int, str] = {  # nvml.h, nvmlClocksEventReason*
    0x08: "hw_slowdown",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
}
"""Bits of clocks_event_reasons.active that make a number bad."""
SW_POWER_CAP = 0x04
LONGEST_GAP_S = 10.0
"""With a longer time between two samples of a GPU its energy is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One GPU at one time; None where nvidia-smi says N/A. `reasons` is the bit mask of clocks_event_reasons.active."""

    at: datetime
    gpu: str
    power_w: float | None
    sm_clock_mhz: float | None
    memory_clock_mhz: float | None
    reasons: int | None
    memory_errors: int | None


def read_samples(lines: Iterable[str]) -> Iterator[Sample]:
    """Yield the samples of nvidia-smi's CSV; a line that was cut or is damaged is passed over."""
    rows = csv.reader(lines, skipinitialspace=True)
    header = next(rows, [])
    names = [name.partition(" [")[0].replace("clocks_throttle_reasons", "clocks_event_reasons") for name in header]
    for row in rows:
        if len(row) != len(names):
            continue
        said = dict(zip(names, row, strict=True))
        try:
            at = datetime.strptime(said["timestamp"], "%Y/%m/%d %H:%M:%S.%f")
        except (KeyError, ValueError):
            continue
        yield Sample(
            at=at,
            gpu=said.get("uuid") or said.get("index", "0"),
            power_w=_number(said.get("power.draw.instant")) or _number(said.get("power.draw")),
            sm_clock_mhz=_number(said.get("clocks.current.sm") or said.get("clocks.sm")),
            memory_clock_mhz=_number(said.get("clocks.current.memory") or said.get("clocks.mem")),
            reasons=_reasons(said),
            memory_errors=_count(said.get("ecc.errors.uncorrected.volatile.total")),
        )


def summarise(samples: Iterable[Sample], *, gpus: int, begin: datetime, end: datetime) -> dict[str, Any]:
    """Return the row's columns for the time from `begin` to `end`, in the samples' own clock, without zone.

    `energy_j` is of all GPUs, `power_w_per_gpu` the mean of one. Both are there only if all `gpus` were sampled without
    a gap over the whole time. `memory_errors_uncorrected` is how many came in that time.
    """
    of_gpu: dict[str, list[Sample]] = {}
    for sample in samples:
        of_gpu.setdefault(sample.gpu, []).append(sample)
    inside = [s for found in of_gpu.values() for s in found if begin <= s.at <= end]
    if not inside:
        return {}
    slow = {name for s in inside for bit, name in REASONS.items() if s.reasons is not None and s.reasons & bit}
    energies = [_energy_j(found, begin, end) for found in of_gpu.values()]
    columns: dict[str, Any] = {
        "slowdown": ",".join(sorted(slow)) if any(s.reasons is not None for s in inside) else None,
        "power_capped": _any(bool(s.reasons & SW_POWER_CAP) for s in inside if s.reasons is not None),
        "sm_clock_mhz": _mean([s.sm_clock_mhz for s in inside]),
        "memory_clock_mhz": _mean([s.memory_clock_mhz for s in inside]),
        "memory_errors_uncorrected": _new_errors(of_gpu, begin, end),
    }
    if len(of_gpu) == gpus and (known := [energy for energy in energies if energy is not None]) and len(known) == gpus:
        columns["energy_j"] = sum(known)
        columns["power_w_per_gpu"] = sum(known) / gpus / (end - begin).total_seconds()
    return {name: value for name, value in columns.items() if value is not None}


def _energy_j(samples: list[Sample], begin: datetime, end: datetime) -> float | None:
    """Return the energy of one GPU, or None where there is no sample near an end or in between."""
    known = sorted((s.at, s.power_w) for s in samples if s.power_w is not None)
    gap = timedelta(seconds=LONGEST_GAP_S)
    known = [(at, watts) for at, watts in known if begin - gap <= at <= end + gap]
    if len(known) < 2 or known[0][0] > begin + gap or known[-1][0] < end - gap or end <= begin:
        return None
    joules = 0.0
    for (first, one), (second, other) in pairwise(known):
        if second - first > gap:
            return None
        joules += _between(first, one, second, other, begin, end)
    head, tail = known[0], known[-1]
    joules += head[1] * max(0.0, (head[0] - begin).total_seconds())
    return joules + tail[1] * max(0.0, (end - tail[0]).total_seconds())


def _between(first: datetime, one: float, second: datetime, other: float, begin: datetime, end: datetime) -> float:
    """Return the part of one trapeze that lies between begin and end, in J."""
    width = (second - first).total_seconds()
    left, right = max(first, begin), min(second, end)
    if right <= left or not width:
        return 0.0
    slope = (other - one) / width
    at_left = one + slope * (left - first).total_seconds()
    at_right = one + slope * (right - first).total_seconds()
    return (at_left + at_right) / 2 * (right - left).total_seconds()


def _new_errors(of_gpu: Mapping[str, list[Sample]], begin: datetime, end: datetime) -> int | None:
    counts = []
    for samples in of_gpu.values():
        known = sorted((s.at, s.memory_errors) for s in samples if s.memory_errors is not None and s.at <= end)
        before = [errors for at, errors in known if at <= begin]
        inside = [errors for at, errors in known if at >= begin]
        if inside:
            counts.append(max(inside) - (before[-1] if before else inside[0]))
    return sum(counts) if counts else None


def _reasons(said: Mapping[str, str]) -> int | None:
    try:
        return int(said.get("clocks_event_reasons.active", ""), 16)
    except ValueError:
        pass
    bits = {name: bit for bit, name in {**REASONS, SW_POWER_CAP: "sw_power_cap"}.items()}
    told = {bits[name]: said.get(f"clocks_event_reasons.{name}") for name in bits}
    if all(value is None for value in told.values()):
        return None
    return sum(bit for bit, value in told.items() if value == "Active")


def _number(text: str | None) -> float | None:
    try:
        return float((text or "").split(" ")[0])
    except ValueError:  # N/A, [Not Supported]
        return None


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _any(values: Iterable[bool]) -> bool | None:
    told = list(values)
    return any(told) if told else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
