"""Accounts of one run held against each other: JSON, text and per-request records."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.errors import ReportError
from sweep.report import parse_report, parse_requests, weigh

REPORTS = Path(__file__).parent.parent / "data" / "reports"
CASE = "1.2.0rc2-throughput-streaming-perrequest"
JSON = (REPORTS / f"{CASE}.json").read_text()
TEXT = (REPORTS / f"{CASE}.txt").read_bytes()
RECORDS = (REPORTS / f"{CASE}.request_json").read_text()


def records() -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = json.loads(RECORDS)
    return said


# ---------------------------------------------------------------------------------------------------------- the records


def test_every_metric_follows_from_the_records() -> None:
    again, report = parse_requests(records()), parse_report(JSON)
    for name in (
        *("num_requests", "concurrency_mean", "isl_mean", "osl_mean", "duration_s", "request_tput_rps"),
        *("output_tput_tps", "total_tput_tps", "tps_per_user", "tps_per_user_e2e", "streaming"),
    ):
        assert getattr(again, name) == pytest.approx(getattr(report, name), rel=1e-9), name
    for name in ("ttft_ms", "tpot_ms", "e2el_ms", "tps_per_user_distribution", "isl", "osl", "seq_len"):
        found, wanted = dataclasses.asdict(getattr(again, name)), dataclasses.asdict(getattr(report, name))
        assert found == pytest.approx(wanted, rel=1e-9), name
    assert again.requests_failed == 0
    assert again.model is None and again.tp is None


def test_records_without_first_tokens_have_no_ttft() -> None:
    said = [record | {"first_token_timestamp": -1} for record in records()]
    again = parse_requests(said)
    assert (again.streaming, again.ttft_ms, again.tpot_ms, again.tps_per_user) == (False, None, None, None)
    assert again.e2el_ms is not None


def test_requests_without_tokens_failed() -> None:
    said = records()
    said[0]["error_tokens"], said[1]["num_total_output_tokens"] = 3, 0
    assert parse_requests(said).requests_failed == 2


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("end_timestamp", None),
        ("end_timestamp", "1"),
        ("end_timestamp", 1.5),
        ("end_timestamp", 10**30),
        ("end_timestamp", 1),
        ("num_input_tokens", -1),
        ("first_token_timestamp", 5),
        ("first_token_timestamp", 0),
        ("num_total_output_tokens", True),
    ],
)
def test_a_damaged_record_is_refused(key: str, wrong: Any) -> None:
    said = records()
    said[2][key] = wrong
    with pytest.raises(ReportError, match="record 2 is damaged"):
        parse_requests(said)


@pytest.mark.parametrize("said", [[], [{}], [3], [{"id": 1}]])
def test_what_are_no_records_is_refused(said: Any) -> None:
    with pytest.raises(ReportError):
        parse_requests(said)


@given(st.data())
def test_changed_bytes_make_no_exception(draw: st.DataObject) -> None:
    said = bytearray(RECORDS.encode())
    for _ in range(draw.draw(st.integers(1, 10))):
        said[draw.draw(st.integers(0, len(said) - 1))] = draw.draw(st.integers(0, 255))
    found = weigh(requests=bytes(said))
    assert found.report is not None or found.problem is not None


# --------------------------------------------------------------------------------------------------------- the accounts


def test_accounts_of_one_run_agree() -> None:
    found = weigh(report=JSON, log=io.BytesIO(TEXT), requests=RECORDS)
    assert (found.disagreements, found.problem) == ((), None)
    assert found.report == dataclasses.replace(parse_report(JSON), requests_failed=0)  # the most exact one


def test_without_json_the_text_counts_and_then_the_records() -> None:
    found = weigh(log=io.BytesIO(TEXT), requests=RECORDS)
    assert found.report is not None
    assert (found.report.version, found.disagreements) == ("1.2.0rc2", ())
    assert weigh(requests=RECORDS).report == parse_requests(records())
    assert weigh().report is None


def test_the_records_know_which_requests_failed() -> None:
    said = records()
    said[3]["error_tokens"] = 1
    found = weigh(report=JSON, requests=json.dumps(said))
    assert found.report is not None
    assert (found.report.requests_failed, found.disagreements) == (1, ())
    assert weigh(report=JSON).report == parse_report(JSON)


def test_a_text_of_another_run_disagrees() -> None:
    other = TEXT.replace(b"168.9088", b"168.9188")
    assert other != TEXT
    found = weigh(report=JSON, log=io.BytesIO(other))
    assert [what.partition(":")[0] for what in found.disagreements] == ["JSON and text disagree on output_tput_tps"]


def test_many_disagreements_are_counted() -> None:
    other = (REPORTS / "1.2.0rc2-throughput-streaming.txt").read_bytes()
    found = weigh(report=JSON, log=io.BytesIO(other))
    assert len(found.disagreements) == 6
    assert found.disagreements[-1].startswith("and ")
    assert "JSON and text disagree on tp: 2 and 4" in found.disagreements


@pytest.mark.parametrize(
    "key", ["end_timestamp", "first_token_timestamp", "num_input_tokens", "num_total_output_tokens"]
)
def test_records_of_another_run_disagree(key: str) -> None:
    said = records()
    said[1][key] += 1
    found = weigh(report=JSON, requests=json.dumps(said))
    assert found.disagreements
    assert all(what.startswith(("JSON and records disagree", "and ")) for what in found.disagreements)


@pytest.mark.parametrize("key", ["end_timestamp", "num_total_output_tokens"])
def test_a_record_that_lacks_a_number_is_a_problem(key: str) -> None:
    said = records()
    del said[1][key]
    found = weigh(requests=json.dumps(said))
    assert found.report is None and "record 1 is damaged" in (found.problem or "")


def test_a_cut_account_is_a_problem() -> None:
    found = weigh(report=JSON[:-20], log=io.BytesIO(TEXT))
    assert found.report is not None
    assert "cut off" in (found.problem or "")
    assert "cut off" in (weigh(report=JSON, requests=RECORDS[:-20]).problem or "")
    nothing = weigh(report=JSON[:-20])
    assert nothing.report is None
    assert "cut off" in (nothing.problem or "")


def test_text_and_json_of_every_version_agree() -> None:
    for path in sorted(REPORTS.glob("*.txt")):
        if (beside := path.with_suffix(".json")).exists() or (beside := Path(f"{path}"[:-4] + ".json")).exists():
            with path.open("rb") as log:
                found = weigh(report=beside.read_bytes(), log=log)
            assert (found.disagreements, found.problem) == ((), None), path.name
