"""Points that would be ended for their time: predicted, named, and not begun."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sweep import composition, durations, matrix, predict, simulate
from sweep.cli import run_command
from sweep.point import UNLIMITED, Model, Point
from tests.test_predict import LLAMA, point

pytestmark = pytest.mark.skipif(not predict.available(), reason="the extra `predict` is not installed")

GRID = ("+experiment=ds_r1_grid", "backend=gke", "isl=1024", "osl=8192", "kv_cache_dtype=fp8")
LONG = point(LLAMA, osl=8192, concurrency=1, num_requests=32, warmup=0)


def simulated_s(each: object) -> float:
    report = simulate.simulate(each, LLAMA, predict.step_times(each, LLAMA))  # type: ignore[arg-type]
    return float(report["performance"]["total_latency_ms"]) / 1e3


@pytest.mark.parametrize(
    "changed",
    [
        {"num_requests": 7},
        {"concurrency": 64, "num_requests": 320, "osl": 128},
        {"concurrency": UNLIMITED, "num_requests": 500, "osl": 128},
        {"num_requests": 40, "osl": 128},  # more rounds than are simulated
    ],
)
def test_a_run_takes_what_its_simulation_says(changed: dict[str, int]) -> None:
    each = replace(LONG, **changed)  # type: ignore[arg-type]
    assert durations.predicted_s(each, LLAMA) == pytest.approx(simulated_s(each), rel=1e-3)


def test_the_warm_up_counts() -> None:
    plain, warm = (durations.predicted_s(replace(LONG, warmup=warmup), LLAMA) for warmup in (0, 2))
    assert warm == pytest.approx(plain * 34 / 32, rel=1e-3)  # type: ignore[operator]


def test_a_run_of_a_billion_requests_is_predicted_too() -> None:
    found = durations.predicted_s(replace(LONG, num_requests=2**31 - 1, osl=16, warmup=2**31 - 1), LLAMA)
    assert found is not None and found > 1e6
    found = durations.predicted_s(replace(LONG, num_requests=2**31 - 1, osl=16, concurrency=UNLIMITED), LLAMA)
    assert found is not None and found > 1e4


def test_nothing_is_claimed_where_nothing_is_known() -> None:
    unknown = replace(LLAMA, predict_as=None)
    assert durations.predicted_s(LONG, unknown) is None
    assert durations.overlong([("a", LONG, unknown)], timeout_s=1) == ()


def test_what_is_suggested_is_enough() -> None:
    ((found),) = durations.overlong([("a", LONG, LLAMA)], timeout_s=durations.LOAD_S)
    limit = durations.limit_for([found])
    assert limit > found.predicted_s + durations.LOAD_S
    assert durations.overlong([("a", LONG, LLAMA)], timeout_s=limit) == ()
    assert durations.overlong([("a", LONG, LLAMA)], timeout_s=found.predicted_s + durations.LOAD_S) == ()


def test_of_many_points_every_one_is_found_and_not_all_are_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durations, "ENOUGH", 2)
    asked: list[int] = []

    def predicted_s(point: Point, _: Model) -> float:
        asked.append(point.osl)
        return float(point.osl)

    monkeypatch.setattr(durations, "predicted_s", predicted_s)
    points = [(str(osl), replace(LONG, osl=osl), LLAMA) for osl in range(1, 31)]
    found = durations.overlong(points, timeout_s=durations.LOAD_S + 9)
    assert [each.point.osl for each in found] == list(range(30, 9, -1))
    assert asked == list(range(30, 7, -1))


def test_plan_names_every_point_and_the_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [*GRID, f"results_dir={tmp_path}", "backend.point_timeout_s=3600"]
    assert run_command(["plan", *given]) == 0
    printed = capsys.readouterr().out
    lines = printed[printed.index("would be ended by backend.point_timeout_s=3600") :].splitlines()
    labels = {line.split("  ")[-1] for line in lines if "1024/8192" in line}
    assert labels >= {
        "1024/8192 tp4 kv=fp8 c=1024",
        "1024/8192 tp4 ep4 kv=fp8 c=1024",
        "1024/8192 tp4 kv=fp8 c=512",
        "1024/8192 tp4 ep4 dp kv=fp8 c=1",
    }
    (limit,) = [line.split("=")[1].split(",")[0] for line in lines if line.startswith("set backend.point_timeout_s=")]
    assert run_command(["plan", *given, f"backend.point_timeout_s={limit}"]) == 0
    assert "would be ended" not in capsys.readouterr().out
    assert run_command(["plan", "--json", *given]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert len(plan["beyond_point_timeout_s"]) == len(labels)
    assert min(plan["beyond_point_timeout_s"].values()) > 3600 - durations.LOAD_S


def test_a_run_does_not_begin_with_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "results"
    assert run_command([*GRID, f"results_dir={folder}", "backend.point_timeout_s=3600"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("sweep: nothing was begun: ") and "set backend.point_timeout_s=" in printed.err
    assert not folder.exists()


@pytest.mark.parametrize("experiment", ["ds_r1_grid", "qwen3_32b_tp", "smoke", "recipe"])
def test_shipped_experiments_end_in_their_time(experiment: str) -> None:
    cfg = composition.read([f"+experiment={experiment}", "backend=gke"])
    assert cfg is not None
    (part,) = cfg.parts
    points = matrix.expand(part.matrix, part.settings, part.model, predict.too_big).points
    limit_s = cfg.backend_config["point_timeout_s"]
    assert durations.overlong([(each.point_id, each, part.model) for each in points], limit_s) == ()


@pytest.mark.parametrize("backend", ["simulated", "own"])
def test_only_what_is_ended_has_a_limit(backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "backend").mkdir()
    (tmp_path / "backend" / "own.yaml").write_text("name: tests.standins:Standin\nseconds: 0\n")
    given = ["--config-dir", str(tmp_path), GRID[0], *GRID[2:], f"backend={backend}", f"results_dir={tmp_path}/results"]
    assert run_command(["plan", *given, "++backend.point_timeout_s=1"]) == 0
    assert "would be ended" not in capsys.readouterr().out
