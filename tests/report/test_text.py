"""The printed report: what logs do to it, and what it must never be taken for."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.report import Log, Report, read_log
from sweep.report.log import MOST_LINES

REPORTS = Path(__file__).parent.parent / "data" / "reports"
STREAMING = "1.2.0rc2-throughput-streaming"
OLD = "0.16.0-throughput-nonstreaming"

OLD_LATENCY = """
===========================================================
= ENGINE DETAILS
===========================================================
Model:\t\t\t/models/llama
Engine Directory:\t/engines/llama
TensorRT-LLM Version:\t0.16.0
Dtype:\t\t\tbfloat16
KV Cache Dtype:\t\tNone
Quantization:\t\tNone
Max Input Length:\t1024
Max Sequence Length:\t131072

===========================================================
= WORLD + RUNTIME INFORMATION
===========================================================
TP Size:\t\t4
PP Size:\t\t1
Max Runtime Batch Size:\t1
Max Runtime Tokens:\t8192
Scheduling Policy:\tGuaranteed No Evict
KV Memory Percentage:\t90.00%

===========================================================
= GENERAL OVERVIEW
===========================================================
Number of requests:\t\t100
Average Input Length (tokens):\t2048.0000
Average Output Length (tokens):\t1024.0000
Average request latency (ms):\t31728.0000

===========================================================
= THROUGHPUT OVERVIEW
===========================================================
Request Throughput (req/sec):\t\t  0.0315
Total Token Throughput (tokens/sec):\t  32.2743
Generation Token Throughput (tokens/sec): 32.3340

===========================================================
= LATENCY OVERVIEW
===========================================================
Total Latency (ms):\t\t  3172800.0000
Average time-to-first-token (ms): 147.7500
Average inter-token latency (ms): 30.8702
Acceptance Rate (Speculative):\t  1.00

===========================================================
= GENERATION LATENCY BREAKDOWN
===========================================================
MIN (ms): 31500.0000
MAX (ms): 31700.0000
AVG (ms): 31580.2500
P90 (ms): 31579.0000
P95 (ms): 31650.0000
P99 (ms): 31700.0000

===========================================================
= ACCEPTANCE BREAKDOWN
===========================================================
MIN: 1.00
MAX: 1.00
AVG: 1.00
P90: 1.00
P95: 1.00
P99: 1.00

===========================================================

"""

OLD_STREAMING = """
===========================================================
= STREAMING STATISTICS
===========================================================
Average request latency (ms):\t\t4000.5000
Average time-to-first-token (ms):\t120.2500
Average inter-token latency (ms):\t30.1250

===========================================================

"""


def text(case: str = STREAMING) -> str:
    return (REPORTS / f"{case}.txt").read_text()


def log(said: str | bytes) -> Log:
    return read_log(io.BytesIO(said.encode() if isinstance(said, str) else said))


def report(said: str | bytes) -> Report:
    found = log(said).report
    assert found is not None
    return found


WHOLE = report(text())


# --------------------------------------------------------------------------------------------------- what logs do to it


def with_noise(said: str) -> str:
    """Put other log lines between all lines of a report."""
    noise = [
        "[TensorRT-LLM][WARNING] Attention workspace size is not enough",
        "",
        "2025-11-07 - INFO - flashinfer.jit: ok",
    ]
    lines = said.split("\n")
    return "\n".join(f"{line}\n{noise[number % 3]}" for number, line in enumerate(lines))


BAR = "\rBenchmarking:  50%|#####     | 150/300 [00:12<00:12, 12.1it/s]"

CHANGES = {
    "CRLF": lambda said: said.replace("\n", "\r\n"),
    "colours": lambda said: "\n".join(f"\x1b[32m{line}\x1b[0m" for line in said.split("\n")),
    "srun": lambda said: "".join(f" 3: {line}\n" for line in said.split("\n")),
    "mpirun": lambda said: "".join(f"[1,0]<stdout>:{line}\n" for line in said.split("\n")),
    "kubectl": lambda said: "".join(f"2025-11-07T03:14:07.123456789Z {line}\n" for line in said.split("\n")),
    "pods": lambda said: "".join(f"[pod/bench-x7k2/main] {line}\n" for line in said.split("\n")),
    "cri": lambda said: "".join(f"2025-11-07T03:14:07.12+00:00 stdout F {line}\n" for line in said.split("\n")),
    "noise": with_noise,
    "bars between": lambda said: "\n".join(f"{line}{BAR}" for line in said.split("\n")),
    "bars before": lambda said: "\n".join(f"{BAR.strip()}{line}" for line in said.split("\n")),
    "blanks": lambda said: said.replace("\t", "    "),
    "tabs": lambda said: said.replace(":  ", ":\t"),
    "trailing": lambda said: "\n".join(f"{line}   " for line in said.split("\n")),
    "bytes": lambda said: b"\xff\xfe\x00" + said.encode() + b"\xff",
    "after": lambda said: said + "[11/07/2025-03:14:09] [TRT-LLM] [I] Stopping LLM backend.\n",
}


@pytest.mark.parametrize("case", [STREAMING, "1.2.0rc2-throughput-nonstreaming-mtp1", "0.19-throughput-streaming"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_a_log_does_to_a_report_changes_no_number(change: str, case: str) -> None:
    assert report(CHANGES[change](text(case))) == report(text(case))


@pytest.mark.parametrize("change", sorted(set(CHANGES) - {"noise"}, key=str))
def test_so_for_the_old_report(change: str) -> None:
    assert report(CHANGES[change](text(OLD))) == report(text(OLD))


def test_ranks_that_write_through_each_other_stay_apart() -> None:
    other = text("1.2.0rc2-throughput-nonstreaming").split("\n")
    lines = text().split("\n")
    both = "".join(
        f"0: {lines[n] if n < len(lines) else ''}\n1: {other[n] if n < len(other) else ''}\n" for n in range(len(lines))
    )
    assert report(both) in (WHOLE, report(text("1.2.0rc2-throughput-nonstreaming")))
    assert report(both.replace("1: ", "1: rank ")) == WHOLE


def test_two_reports_written_through_each_other_without_labels_are_none() -> None:
    lines, other = text().split("\n"), text().replace("12.0470", "13.0470").split("\n")
    both = "\n".join(line for pair in zip(lines, other, strict=True) for line in pair)
    found = log(both)
    assert found.report is None
    assert "two values for one line: Request Throughput" in (found.problem or "")


def test_the_dataset_told_before_the_run_is_no_end() -> None:
    said = text()
    dataset = said[said.index("===========================================================\n= DATASET") :]
    other = dataset.replace("1024.0000", "9999.0000")
    assert report(other + said) == WHOLE
    assert log(other).report is None
    assert log(other).problem is None


def test_the_last_complete_report_counts() -> None:
    second = text("1.2.0rc2-latency")
    assert report(text() + second) == report(second)
    assert report(second + text()) == WHOLE
    assert report(text() + second[: len(second) // 2]) == WHOLE
    assert report(text() + second[: len(second) // 2] + text()) == WHOLE


def test_the_numbers_of_the_dataset_lose_digits() -> None:
    said = text().replace("1536.0000          \n", "1.31e+05\n").replace("1536.0000\n", "1.31e+05\n")
    found = report(said)
    assert found.seq_len is not None
    assert found.seq_len.max == 131000


def test_a_run_without_settings_of_its_own_says_none() -> None:
    said = text().replace("KV Memory Percentage:   90.00%", "KV Memory Percentage:   None")
    said = said.replace("KV Cache Dtype:\t\tFP8", "KV Cache Dtype:\t\tNone")
    found = report(said)
    assert (found.kv_cache_free_gpu_mem_fraction, found.kv_cache_dtype, found.ep, found.effective_ep) == (
        None,
        None,
        None,
        1,
    )


def test_the_first_gpu_is_read_from_the_right() -> None:
    said = text("1.2.0rc3-throughput-streaming")
    for line, expected in {
        "NVIDIA RTX, Ada, memory 47.50 GB, 10.00 GHz": ("NVIDIA RTX, Ada", 47.5, 10.0),
        "NVIDIA GB200, memory 184.31 GB, N/A": ("NVIDIA GB200", 184.31, None),
        "No GPU info available": (None, None, None),
    }.items():
        found = report(said.replace("NVIDIA GB200, memory 184.31 GB, 4.00 GHz", line))
        assert (found.gpu_name, found.gpu_memory_gib, found.memory_clock_ghz) == expected


def test_an_engine_of_the_trt_runtime_states_its_lengths() -> None:
    header = "Model Path:\t\tNone\n"
    lengths = "Engine Directory:\t/engines/x\nMax Input Length:\t1024\nMax Sequence Length:\t2048\n"
    found = report(text().replace("= PYTORCH BACKEND", "= ENGINE DETAILS").replace(header, header + lengths))
    assert (found.engine_backend, found.engine_dir) == ("TRT", "/engines/x")
    assert (found.max_input_len, found.max_seq_len) == (1024, 2048)
    assert found.e2el_ms == WHOLE.e2el_ms


def test_images_have_lines_of_their_own_nowhere() -> None:
    """--modality image prints no dataset before the run, and the one after it with the tokens of the images."""
    found = report(text().replace("1024.0000", "1601.5000"))
    assert found.isl_mean == 1601.5
    assert found.isl is not None and found.isl.mean == 1601.5


def test_autodeploy_is_a_pytorch_backend_too() -> None:
    assert report(text().replace("= PYTORCH BACKEND", "= AUTODEPLOY BACKEND")) == WHOLE


def test_lines_of_newer_versions_are_kept() -> None:
    lines = (
        "Total Energy (J):                                 17344.9000\n"
        "Average GPU Power (W):                            688.8000\n"
        "Output Tokens per Second per Watt (tps/W):        2.5000\n"
        "Carbon (g):                                       1.5\n"
    )
    found = report(text().replace("\n-- Per-Request Time-per", f"{lines}\n-- Per-Request Time-per", 1))
    assert (found.energy_j, found.power_w_per_gpu, found.output_tokens_per_j) == (17344.9, 688.8 / 4, 2.5)  # all 4 GPUs
    assert found.extra["Carbon (g)"] == "1.5"
    assert found.output_tput_tps == WHOLE.output_tput_tps


def test_another_log_line_is_no_figure() -> None:
    """What is not known has names of its own, and one that comes twice with two values is not kept."""
    lines = "loss: 0.5\nTTFT: 3.0\nttft_ms: 9.0\nloss: 0.25\n"
    found = report(text().replace("\n-- Per-Request Time-per", f"{lines}\n-- Per-Request Time-per", 1))
    assert found.extra == {"TTFT": "3.0", "ttft_ms": "9.0"}
    assert found.ttft_ms == WHOLE.ttft_ms


@pytest.mark.parametrize("value", ["17344.9", "17344", "1e30", "17344.9000\nTotal Energy (J): 1.0000"])
def test_energy_has_its_form_too(value: str) -> None:
    lines = f"Total Energy (J):                                 {value}\n"
    found = log(text().replace("\n-- Per-Request Time-per", f"{lines}\n-- Per-Request Time-per", 1))
    assert found.report is None
    assert "damaged" in (found.problem or "")


def test_issue_rate_and_the_speed_of_0_19_are_dropped() -> None:
    assert "Issue Rate (req/sec)" not in WHOLE.extra
    found = report(text("0.19-throughput-streaming"))
    assert found.tps_per_user is None
    assert found.extra == {"Per User Output Speed [1/TPOT] (tokens/sec/user)": "109.9014"}


# -------------------------------------------------------------------------------------------------------- 0.16 and 0.17


def test_old_latency_counts_output_tokens_and_has_no_p90() -> None:
    found = report(OLD_LATENCY)
    assert (found.version, found.streaming, found.tp, found.ep, found.effective_ep) == ("0.16.0", True, 4, None, None)
    assert (found.output_tput_tps, found.total_tput_tps) == (32.2743, None)
    assert (found.num_requests, found.isl_mean, found.duration_s) == (100, 2048, 3172.8)
    assert found.e2el_ms is not None and found.e2el_ms.mean == 31728 and found.e2el_ms.p90 is None
    assert found.ttft_ms is not None and found.ttft_ms.mean == 147.75
    assert found.tpot_ms is not None and found.tpot_ms.mean == 30.8702
    assert found.extra["Generation latency breakdown: P50 (ms)"] == "31579.0000"
    assert not [name for name in found.extra if "P90" in name]


def test_old_streaming_statistics_come_after_a_banner() -> None:
    said = text(OLD)
    assert said.endswith("\n\n===========================================================\n\n")
    body = said.removesuffix("===========================================================\n\n")
    found = report(body + OLD_STREAMING.lstrip("\n"))
    assert found.streaming is True
    assert found.ttft_ms is not None and found.ttft_ms.mean == 120.25
    assert found.output_tput_tps == report(said).output_tput_tps
    for end in range(len(body), len(body + OLD_STREAMING) - 2):
        assert log((body + OLD_STREAMING.lstrip("\n"))[:end]).report is None


def test_the_banner_of_0_17_has_another_case() -> None:
    assert report(text(OLD).replace("= ENGINE DETAILS", "= PyTorch backend")).engine_backend == "Pytorch"


# ------------------------------------------------------------------------------------------- cut, changed, not a report


@pytest.mark.parametrize(
    "case", [STREAMING, "1.2.0rc2-throughput-nonstreaming-mtp1", "0.20.0-throughput-streaming", OLD]
)
def test_a_report_cut_at_any_byte_is_none_or_whole(case: str) -> None:
    said = text(case).encode()
    whole = report(said)
    complete = 0
    for end in range(len(said)):
        found = log(said[:end]).report
        assert found is None or found == whole
        complete += found is not None
    assert complete < 60  # within the last banner


@given(st.data())
def test_a_report_with_any_bytes_changed_is_read_or_not(draw: st.DataObject) -> None:
    said = bytearray(text().encode())
    for _ in range(draw.draw(st.integers(1, 20))):
        said[draw.draw(st.integers(0, len(said) - 1))] = draw.draw(st.integers(0, 255))
    found = log(bytes(said))
    assert found.report is None or found.report.num_requests >= 0


@given(st.binary(max_size=2000))
def test_any_bytes_are_a_log(said: bytes) -> None:
    assert log(said).report is None


@pytest.mark.parametrize(
    ("line", "damaged"),
    [
        ("Total Latency (ms):                               24902.5340", "Total Latency (ms):   24902.53.40"),
        ("[TTFT] P90    : 415.4548", "[TTFT] P90    : -415.4548"),
        ("[TTFT] P90    : 415.4548", "[TTFT] P90    : nan"),
        ("TP Size:                4", "TP Size:                4.0"),
        ("MIN:  1024.0000           512.0000          1536.0000", "MIN:  1024.0000           512.0000"),
        # a number in another form than the one it is printed in
        ("[TTFT] P99    : 536.9165", "[TTFT] P99    : 53"),
        ("[TTFT] P99    : 536.9165", "[TTFT] P99    : 536.916"),
        ("[TTFT] P99    : 536.9165", "[TTFT] P99    : 0536.9165"),
        ("[TTFT] P99    : 536.9165", "[TTFT] P99    : 5.369165e+02"),
        ("[TTFT] P99    : 536.9165", f"[TTFT] P99    : {'9' * 400}.0000"),
        ("[TTFT] P99    : 536.9165", "[TTFT] P99    : \u0665\u0663\u0666.\u0669\u0661\u0666\u0665"),
        ("[TTFT] P99    : 536.9165", "[TTFT] P99    : \uff15\uff13\uff16.\uff19\uff11\uff16\uff15"),
        ("[TTFT] P99    : 536.9165", "[TTFT] P99    : 536.9165\n[TTFT] P99    : 537.9165"),
        ("[TTFT] P99    : 536.9165", "[TTFT] P9\n9    : 536.9165"),
        (
            "Average time-to-first-token [TTFT] (ms):          317.1818",
            "Average time-to-first-token [TTFT] (ms): 999.0000",
        ),
        ("Max Runtime Tokens:     8192", "Max Runtime To\nkens:     8192"),
        ("Max Runtime Tokens:     8192", "Max Runtime Tokens:\n     8192"),
        ("Max Runtime Tokens:     8192", "Max Runtime Tokens:     8192\nMax Runtime Tokens:     819"),
        ("Max Runtime Tokens:     8192", "Max Runtime Tokens:     \u0668192"),
        ("KV Memory Percentage:   90.00%", "KV Memory Percentage:   90.00"),
        ("KV Memory Percentage:   90.00%", "KV Memory Percentage:   9%"),
        ("Per User Output Speed (tps/user):                 109.9017", "Per User Output Speed (tps/user): 1"),
    ],
)
def test_a_damaged_line_makes_no_report(line: str, damaged: str) -> None:
    assert line in text()
    found = log(text().replace(line, damaged))
    assert found.report is None
    assert "damaged" in (found.problem or "")


@pytest.mark.parametrize(
    "line", [line for line in text().split("\n") if line.startswith(("[", "Total", "Number", "Per"))]
)
def test_a_missing_line_makes_no_report(line: str) -> None:
    found = log(text().replace(line + "\n", "", 1))
    if line.startswith("[11/"):
        assert found.report == WHOLE
    else:
        assert found.report is None
        assert "missing" in (found.problem or "")


def test_a_report_that_never_ends_is_given_up() -> None:
    begun = text()[: text().index("= PERFORMANCE")]
    found = log(begun + "nothing\n" * (MOST_LINES + 10) + text())
    assert found.report == WHOLE


@pytest.mark.parametrize("row", ["MIN: 7 8 9", "NVIDIA H100, memory 80.00 GB, 2.00 GHz"])
@pytest.mark.parametrize("section", ["WORLD +", "REQUEST DETAILS", "PERFORMANCE OVERVIEW", "DATASET", "MACHINE"])
def test_a_row_of_one_section_means_nothing_in_another(section: str, row: str) -> None:
    if section.startswith("DATASET" if row.startswith("MIN") else "MACHINE"):
        return  # that is its own
    said = (REPORTS / "1.2.0rc3-throughput-streaming.txt").read_text()
    place = said.index("\n", said.index("====", said.index(f"= {section}"))) + 1
    found = log(said[:place] + row + "\n" + said[place:])
    whole = log(said).report
    assert whole is not None
    assert found.report is not None
    assert (found.report.isl, found.report.gpu_name) == (whole.isl, whole.gpu_name)
