"""What a pod says of its environment: only what it may state, and only what can be."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sweep.backends import PointDone
from sweep.driver.recorder import Recorder
from sweep.plan import Attempt, Deployment
from sweep.published import read_result
from sweep.table import STATED, STATED_BY_POD, Results, Source, columns_of
from sweep.table.schema import ENVIRONMENT
from tests.test_table import MODEL, POINT

REPORT = Path(__file__).parent / "data" / "reports" / "1.2.0rc2-throughput-streaming.json"
BEGIN = datetime(2026, 11, 26, 4, tzinfo=UTC)

NOT_ITS_OWN = {
    "price_usd_per_gpu_hour": 0.0,
    "sweep_version": "zz",
    "imported_from": "elsewhere",
    "predicted_as": "x",
    "predicted_output_tput_tps": 1.0,
    "simulator_version": "9",
    "db_version": "9",
    "residual": 0.0,
    "config_hash": "x",
    "cost_usd": 0.0,
    "gpu_hours": 0.0,
    "output_tput_tps": 1.0,
    "status": "ok",
    "schema_version": 9,
}


def line(environment: dict[str, Any]) -> str:
    about = {"point": "a", "attempt": "1-1", "exit_code": 0, "outcome": "ended", "log_tail": ""}
    times = {"started_at": BEGIN.isoformat(), "ended_at": (BEGIN + timedelta(minutes=5)).isoformat()}
    report = json.loads(REPORT.read_text())
    return "SWEEP_RESULT " + json.dumps({**about, **times, "report": report, "environment": environment})


@pytest.mark.parametrize("name", NOT_ITS_OWN)
def test_a_pod_does_not_state_what_is_not_its_own(name: str) -> None:
    assert read_result(line({name: NOT_ITS_OWN[name], "node": "n1"})).environment == {"node": "n1"}
    assert columns_of({name: NOT_ITS_OWN[name], "zone": "z"}) == {"zone": "z"}


@pytest.mark.parametrize("name", ["queued_s", "pull_s", "evictions", "zone"])
def test_what_the_backend_sees_of_a_pod_the_pod_does_not_state(name: str) -> None:
    value = "z" if name == "zone" else 3
    assert read_result(line({name: value})).environment == {}
    assert columns_of({name: value}) == {name: value}  # in the env.json of a results folder


@pytest.mark.parametrize("name", sorted(n for n in STATED if ENVIRONMENT[n] in ("double", "int64")))
@pytest.mark.parametrize("value", [-3, -0.5, float("nan"), float("inf"), float("-inf")])
def test_numbers_are_finite_and_not_negative(name: str, value: float) -> None:
    assert columns_of({name: value}) == {}
    assert columns_of({name: 0}) == {name: 0}
    if name in STATED_BY_POD:
        assert read_result(line({name: value})).environment == {}


def test_what_is_stated_are_columns_that_a_backend_may_give() -> None:
    assert set(STATED_BY_POD) < set(STATED) < set(ENVIRONMENT)
    assert not {"sweep_version", "imported_from", "config_hash", "residual"} & ENVIRONMENT.keys()


# ---------------------------------------------------------------------------------------------------------------- rows


def recorded(tmp_path: Path, price: float | None, environment: dict[str, Any], held_for: timedelta) -> dict[str, Any]:
    """Return the row that a measured attempt of five minutes becomes."""
    results = Results(tmp_path / "results")
    results.open_or_create()
    attempt = Attempt(point=POINT, point_id=POINT.point_id, repeat=1, number=1)
    recorder = Recorder(
        results=results,
        sweep_id="s1",
        backend="gke",
        source=Source.MEASURED,
        config_hash="c",
        price_usd_per_gpu_hour=price,
    )
    event = PointDone(
        key=attempt.key,
        report=json.loads(REPORT.read_text()),
        environment=environment,
        started_at=BEGIN,
        ended_at=BEGIN + timedelta(minutes=5),
    )
    deployment = Deployment.of("s1", MODEL, (attempt,), gpus_held=8)
    if held_for:
        return recorder.row(deployment, attempt, event, lambda ended_at: ended_at - held_for)
    return recorder.row(deployment, attempt, event)


def test_the_price_of_the_configuration_wins(tmp_path: Path) -> None:
    row = recorded(tmp_path, 10.0, {"price_usd_per_gpu_hour": 0.0, "node": "n1"}, timedelta(minutes=6))
    assert (row["price_usd_per_gpu_hour"], row["node"]) == (10.0, "n1")
    assert row["cost_usd"] == pytest.approx(8.0)


def test_an_attempt_begins_when_it_says_so_where_nothing_was_held_before(tmp_path: Path) -> None:
    row = recorded(tmp_path, 10.0, {}, timedelta(0))
    assert row["ended_at"] - row["started_at"] == timedelta(minutes=5)
    assert row["gpu_hours"] == pytest.approx(8 * 5 / 60)


def test_the_version_is_that_of_the_number(tmp_path: Path) -> None:
    assert recorded(tmp_path, None, {"trtllm_version": "9.9"}, timedelta(0))["trtllm_version"] == "1.2.0rc2"


def test_another_time_than_the_report_s_makes_a_row_invalid(tmp_path: Path) -> None:
    row = recorded(tmp_path, None, {"bench_s": 5.0}, timedelta(0))
    assert row["status"] == "invalid"
    assert "measuring took 5 s" in row["failure_message"]
