"""Samples of nvidia-smi: a real H200 under load, and what a node with a fault would say."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.table import ENVIRONMENT
from sweep.telemetry import Sample, read_samples, summarise

SAMPLES = (Path(__file__).parent / "data" / "gpu" / "h200-load.csv").read_text()
BEGIN, LOADED_S, COUNTER_J = datetime(2026, 11, 23, 19, 8, 45, 900000), 25.18, 17_344.9
"""When the load began, how long it was, and what NVML's own energy counter said of that time."""
END = BEGIN + timedelta(seconds=LOADED_S)
HEADER, *LINES = SAMPLES.splitlines()


def samples(text: str = SAMPLES) -> list[Sample]:
    return list(read_samples(text.splitlines()))


def test_a_real_gpu_agrees_with_its_energy_counter() -> None:
    found = summarise(samples(), gpus=1, begin=BEGIN, end=END)
    assert found["energy_j"] == pytest.approx(COUNTER_J, rel=0.01)
    assert found["power_w_per_gpu"] == pytest.approx(COUNTER_J / LOADED_S, rel=0.01)


def test_a_busy_gpu_is_power_capped_and_healthy() -> None:
    found = summarise(samples(), gpus=1, begin=BEGIN, end=END)
    assert (found["power_capped"], found["slowdown"], found["memory_errors_uncorrected"]) == (True, "", 0)
    assert 1400 < found["sm_clock_mhz"] < 1500
    assert found["memory_clock_mhz"] == 3201
    idle = summarise(samples(), gpus=1, begin=samples()[0].at, end=samples()[8].at)
    assert idle["power_capped"] is False


def test_what_is_summed_up_are_columns_of_the_table() -> None:
    assert summarise(samples(), gpus=1, begin=BEGIN, end=END).keys() <= ENVIRONMENT.keys()


@pytest.mark.parametrize(
    ("mask", "slowdown"),
    [
        ("0x0000000000000004", ""),
        ("0x0000000000000024", "sw_thermal_slowdown"),
        ("0x0000000000000048", "hw_slowdown,hw_thermal_slowdown"),
        ("0x0000000000000080", "hw_power_brake_slowdown"),
    ],
)
def test_thermal_and_hardware_slowdown_are_told(mask: str, slowdown: str) -> None:
    found = summarise(samples(SAMPLES.replace("0x0000000000000004", mask, 1)), gpus=1, begin=BEGIN, end=END)
    assert found["slowdown"] == slowdown


def test_the_reasons_had_another_name_and_may_come_one_by_one() -> None:
    old = SAMPLES.replace("clocks_event_reasons", "clocks_throttle_reasons")
    assert samples(old) == samples()
    single = SAMPLES.replace("clocks_event_reasons.active", "other").replace(
        "Not Active, Not Active, 0", "Active, Active, 0"
    )
    found = summarise(samples(single), gpus=1, begin=BEGIN, end=END)
    assert found["slowdown"] == "hw_thermal_slowdown,sw_thermal_slowdown"
    assert found["power_capped"] is True


def test_memory_errors_count_from_the_begin_on() -> None:
    lines = [line.removesuffix(", 0") + (", 3" if n < 40 else ", 5") for n, line in enumerate(LINES)]
    found = summarise(samples("\n".join([HEADER, *lines])), gpus=1, begin=BEGIN, end=END)
    assert found["memory_errors_uncorrected"] == 2


def test_power_needs_every_gpu_without_a_gap() -> None:
    assert "energy_j" not in summarise(samples(), gpus=4, begin=BEGIN, end=END)
    gap = "\n".join([HEADER, *LINES[:25], *LINES[55:]])
    assert "energy_j" not in summarise(samples(gap), gpus=1, begin=BEGIN, end=END)
    late = "\n".join([HEADER, *LINES[50:]])
    assert "energy_j" not in summarise(samples(late), gpus=1, begin=BEGIN, end=END)
    assert "energy_j" not in summarise(samples(), gpus=1, begin=BEGIN, end=END + timedelta(minutes=1))


def test_two_gpus_are_added_up() -> None:
    other = [line.replace("GPU-0000", "GPU-1111") for line in LINES]
    found = summarise(samples("\n".join([HEADER, *LINES, *other])), gpus=2, begin=BEGIN, end=END)
    assert found["energy_j"] == pytest.approx(2 * COUNTER_J, rel=0.01)
    assert found["power_w_per_gpu"] == pytest.approx(COUNTER_J / LOADED_S, rel=0.01)


def test_what_nvidia_smi_does_not_know_is_left_out() -> None:
    unknown = SAMPLES.replace(" W,", ",").replace("Not Active", "N/A")
    text = "\n".join([HEADER, *[line.replace(line.split(", ")[11], "[N/A]") for line in unknown.splitlines()[1:]]])
    assert "sm_clock_mhz" not in summarise(samples(text), gpus=1, begin=BEGIN, end=END)
    assert summarise([], gpus=1, begin=BEGIN, end=END) == {}
    assert samples("") == samples("timestamp\n") == []


def test_a_cut_file_gives_what_is_whole() -> None:
    for end in range(0, 3000, 7):
        found = samples(SAMPLES[:end])
        assert found == samples()[: len(found)] or found[:-1] == samples()[: len(found) - 1]


@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    samples(HEADER + "\n" + text)
    samples(text)
