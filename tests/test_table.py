import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.errors import UsageError
from sweep.plan import Attempt, Deployment
from sweep.point import SETTINGS, Bench, KvCacheDtype, Model, Point, Precision
from sweep.report import parse_json
from sweep.table import (
    COLUMNS,
    SCHEMA_VERSION,
    Outcome,
    Record,
    Results,
    Source,
    Status,
    arrow_schema,
    find_config,
    load,
    make_row,
    readme,
)
from sweep.table.schema import ENVIRONMENT, Group
from tests.patience import HANG_S

ROOT = Path(__file__).parent.parent
REPORTS = Path(__file__).parent / "data" / "reports"
BEGIN = datetime(2025, 11, 7, 12, tzinfo=UTC)
MODEL = Model(id="nvidia/Llama-3.3-70B-Instruct-FP4", precision=Precision.NVFP4, weights_gb=40)
POINT = Point(
    bench=Bench.THROUGHPUT,
    image="tensorrt-llm:1.2.0rc2",
    model=MODEL.id,
    isl=1024,
    osl=512,
    concurrency=64,
    num_requests=300,
    streaming=True,
    tp=4,
    kv_cache_dtype=KvCacheDtype.FP8,
    kv_cache_free_gpu_mem_fraction=0.9,
    max_batch_size=1024,
    max_num_tokens=8192,
    max_seq_len=1536,
)


def report(case: str = "1.2.0rc2-throughput-streaming") -> dict[str, Any]:
    said: dict[str, Any] = json.loads((REPORTS / f"{case}.json").read_text())
    return said


def row(
    number: int = 1,
    *,
    repeat: int = 1,
    point: Point = POINT,
    status: Status = Status.OK,
    source: Source = Source.MEASURED,
    said: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    outcome: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    attempt = Attempt(point=point, point_id=point.point_id, repeat=repeat, number=number)
    return make_row(
        sweep_id="s1",
        deployment=Deployment.of("s1", MODEL, (attempt,), gpus_held=8),
        attempt=attempt,
        outcome=Outcome(status=status, report=None if said is None else parse_json(said), **(outcome or {})),
        source=source,
        backend="local",
        started_at=BEGIN,
        ended_at=BEGIN + timedelta(minutes=6),
        environment=environment or {},
        **more,
    )


@pytest.fixture
def results(tmp_path: Path) -> Results:
    made = Results(tmp_path / "results" / "grid")
    made.open_or_create()
    return made


# ------------------------------------------------------------------------------------------------------------- schema


def test_every_column_has_a_name_of_its_own_and_a_meaning() -> None:
    names = [column.name for column in COLUMNS]
    assert len(set(names)) == len(names)
    assert all(column.meaning for column in COLUMNS)
    assert [
        column.name for column in COLUMNS if column.name.endswith(("_ms", "_s", "_tps", "_rps")) and not column.unit
    ] == []


def test_every_setting_is_a_column_of_its_type() -> None:
    of_name = {column.name: column for column in COLUMNS}
    for name, setting in SETTINGS.items():
        assert of_name[name].group is Group.SETTING
        assert of_name[name].unit == setting.unit
    assert [of_name[name].type for name in ("isl", "streaming", "kv_cache_free_gpu_mem_fraction", "model")] == [
        "int64",
        "bool",
        "double",
        "string",
    ]


def test_results_readme_is_the_one_that_the_schema_makes() -> None:
    assert (ROOT / "results" / "README.md").read_text() == readme(), "run: python -m sweep.table > results/README.md"
    assert all(f"| `{column.name}` | {column.type} |" in readme() for column in COLUMNS)
    assert all(f"| `{status}` |" in readme() for status in Status)


def test_importing_the_table_loads_neither_pandas_nor_arrow() -> None:
    code = "import sys, sweep.table; print([name for name in ('pandas', 'pyarrow', 'numpy') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT, timeout=HANG_S) == "[]\n"


# --------------------------------------------------------------------------------------------------------------- rows


def test_a_row_has_every_column_once() -> None:
    assert list(row()) == [column.name for column in COLUMNS]
    assert list(row(said=report())) == [column.name for column in COLUMNS]


def test_a_row_says_what_was_asked_and_what_the_report_states() -> None:
    made = row(said=report())
    assert (made["schema_version"], made["status"], made["source"]) == (SCHEMA_VERSION, "ok", "measured")
    assert (made["bench"], made["kv_cache_dtype"], type(made["kv_cache_dtype"])) == ("throughput", "fp8", str)
    assert (made["effective_kv_cache_dtype"], made["effective_ep"], made["effective_tp"]) == ("FP8", None, 4)
    assert made["effective_kv_cache_free_gpu_mem_fraction"] == 0.9
    assert made["ttft_ms_p50"] == 307.359384 and made["e2el_ms_max"] == 5256.257248999999
    assert made["tps_per_user"] == 109.90173968115762 and made["tps_per_user_min"] == 109.22891670439567
    assert made["bench_s"] == pytest.approx(24.902534046)
    assert made["trtllm_version"] == "1.2.0rc2"
    assert made["itl_ms_mean"] is None


def test_per_gpu_metrics_divide_by_the_gpus_that_were_used() -> None:
    made = row(said=report())
    assert (made["gpus_used"], made["gpus_held"]) == (4, 8)
    assert made["output_tput_per_gpu"] == pytest.approx(6168.046983341929 / 4)
    assert made["tput_per_gpu"] == pytest.approx(18504.140950025787 / 4)


def test_what_nobody_proved_is_listed() -> None:
    assert row(said=report(), outcome={"unverified": ("tp", "engine")})["unverified_settings"] == "tp,engine"
    assert row(said=report())["unverified_settings"] == ""
    assert row()["unverified_settings"] is None


@pytest.mark.parametrize(
    ("requests", "p95", "p99"), [(19, False, False), (20, True, False), (99, True, False), (100, True, True)]
)
def test_a_percentile_of_too_few_requests_is_null(requests: int, p95: bool, p99: bool) -> None:
    said = report()
    said["request_info"]["num_requests"] = requests
    made = row(said=said)
    for name in ("ttft_ms", "tpot_ms", "e2el_ms", "tps_per_user"):
        assert (made[f"{name}_p95"] is not None, made[f"{name}_p99"] is not None) == (p95, p99)
        assert made[f"{name}_p90"] is not None


def test_cost_needs_a_price_and_counts_what_was_held() -> None:
    assert row(said=report())["cost_usd"] is None
    made = row(said=report(), environment={"price_usd_per_gpu_hour": 10.0})
    assert made["gpu_hours"] == pytest.approx(0.8)
    assert made["cost_usd"] == pytest.approx(8.0)
    assert made["cost_usd_per_million_output_tokens"] == pytest.approx(80 / 3600 / 6168.046983341929 * 1e6)


def test_a_simulated_row_holds_no_gpu() -> None:
    made = row(said=report(), source=Source.SIMULATED, environment={"price_usd_per_gpu_hour": 10.0})
    assert (made["gpu_hours"], made["cost_usd"]) == (None, None)
    assert made["cost_usd_per_million_output_tokens"] > 0


def test_the_residual_is_measured_over_predicted() -> None:
    said = {"predicted_output_tput_tps": 6168.046983341929 / 1.25, "predicted_as": "x"}
    assert row(said=report(), environment=said)["residual"] == pytest.approx(0.25)
    assert row(said=report(), environment=said, source=Source.SIMULATED)["residual"] is None


@pytest.mark.parametrize(("status", "attempt"), [(Status.FAILED, 3), (Status.SKIPPED, 0), (Status.INFEASIBLE, 0)])
def test_what_was_not_attempted_is_attempt_0(status: Status, attempt: int) -> None:
    said = {"failure_kind": "oom", "failure_message": "out of memory", "exit_code": 1}
    made = row(3, status=status, outcome=said)
    assert (made["attempt"], made["failure_kind"], made["output_tput_tps"]) == (attempt, "oom", None)


def test_an_environment_may_only_name_its_columns() -> None:
    assert row(environment={"node": "n1", "load_s": 61.5, "power_capped": False})["load_s"] == 61.5
    for wrong in ("nodes", "isl", "status", "cost_usd"):
        with pytest.raises(ValueError, match=f"environment: {wrong}"):
            row(environment={wrong: "x"})
    for name, value in {
        "load_s": "x",
        "node": 1,
        "power_capped": 1,
        "steps": 1.5,
        "reported_at": BEGIN.replace(tzinfo=None),
    }.items():
        with pytest.raises(ValueError, match=f"environment: {name}"):
            row(environment={name: value})
    assert {"node", "queued_s", "simulator_version", "image_digest", "energy_j"} <= ENVIRONMENT.keys()


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        make_row(**kwargs_without_zone())


def kwargs_without_zone() -> dict[str, Any]:
    attempt = Attempt(point=POINT, point_id=POINT.point_id)
    deployment = Deployment.of("s1", MODEL, (attempt,), gpus_held=4)
    naive = BEGIN.replace(tzinfo=None)
    return dict(
        sweep_id="s1",
        deployment=deployment,
        attempt=attempt,
        outcome=Outcome(status=Status.OK),
        source=Source.MEASURED,
        backend="local",
        started_at=naive,
        ended_at=naive,
        environment={},
    )


# -------------------------------------------------------------------------------------------------------------- dtypes

DTYPES = {"string": "string", "int64": "Int64", "double": "float64", "bool": "boolean"}


def dtypes() -> dict[str, str]:
    return {column.name: DTYPES.get(column.type, "datetime64[us, UTC]") for column in COLUMNS}


def as_text(df: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(dtype) for name, dtype in df.dtypes.items()}


def test_a_new_table_is_empty_and_typed(results: Results) -> None:
    assert len(results.load()) == 0
    assert as_text(results.load()) == as_text(pd.read_parquet(results.table_dir)) == dtypes()
    assert Results(results.folder.parent / "never made").history() == []


@pytest.mark.parametrize("filled", [True, False])
def test_pandas_and_load_give_the_same_types_also_of_empty_columns(results: Results, filled: bool) -> None:
    results.append([row(said=report())] if filled else [row(status=Status.FAILED)])
    mine, plain = results.load(), pd.read_parquet(results.table_dir)
    assert as_text(mine) == as_text(plain) == dtypes()
    assert mine.dtypes.equals(plain.dtypes)
    pd.testing.assert_frame_equal(mine, plain)
    assert mine.loc[0, "exit_code"] is pd.NA and mine.loc[0, "started_at"] == BEGIN


def test_a_part_documents_itself(results: Results) -> None:
    part = results.append([row()])
    assert part is not None
    schema = pq.read_schema(part)
    assert schema.equals(arrow_schema(), check_metadata=True)
    assert schema.metadata[b"sweep.schema_version"] == b"1"
    assert schema.field("ttft_ms_p50").metadata[b"unit"] == b"ms"
    assert b"first token" in schema.field("ttft_ms_p50").metadata[b"meaning"]


def test_times_of_any_zone_are_kept_in_utc(results: Results) -> None:
    made = row() | {"started_at": BEGIN.astimezone(timezone(timedelta(hours=9)))}
    results.append([made])
    assert results.load().loc[0, "started_at"] == BEGIN


def test_a_row_with_other_columns_is_refused(results: Results) -> None:
    with pytest.raises(ValueError, match="new_column"):
        results.append([row() | {"new_column": 1}])


# ------------------------------------------------------------------------------------------------------------- reading


def test_rows_come_back_in_the_order_of_writing(results: Results) -> None:
    assert results.append([]) is None
    results.append([row(repeat=n) for n in range(1, 4)])
    results.append([row(repeat=n) for n in range(4, 20)])
    assert results.load().repeat.tolist() == list(range(1, 20))


def test_the_last_attempt_counts_unless_all_are_wanted(results: Results) -> None:
    results.append([row(1, status=Status.FAILED), row(1, repeat=2), row(1, source=Source.SIMULATED)])
    results.append([row(2)])
    last, every = results.load(), load(results.folder, attempts="all", status="all")
    assert last[["source", "repeat", "attempt", "status"]].values.tolist() == [
        ["measured", 2, 1, "ok"],
        ["simulated", 1, 1, "ok"],
        ["measured", 1, 2, "ok"],
    ]
    assert len(every) == len(results.load(last_attempt_only=False)) == 4
    with pytest.raises(UsageError, match="attempts must be"):
        load(results.folder, attempts="first")  # type: ignore[arg-type]


def test_only_ok_rows_are_loaded_unless_others_are_wanted(results: Results) -> None:
    results.append([row(1), row(1, repeat=2, status=Status.FAILED), row(1, repeat=3, status=Status.INVALID)])
    results.append([row(1, repeat=4), row(2, repeat=4, status=Status.INVALID)])  # what was ok is in doubt now
    folder = results.folder
    assert load(folder, columns=["repeat"]).repeat.tolist() == [1]
    assert load(folder, attempts="all").repeat.tolist() == [1, 4]
    assert load(folder, status="invalid").repeat.tolist() == [3, 4]
    assert load(folder, status=("ok", "failed")).repeat.tolist() == [1, 2]
    assert load(folder, status="all").repeat.tolist() == [1, 2, 3, 4] == results.load().repeat.tolist()
    assert load(folder, status=[]).empty
    with pytest.raises(UsageError, match=r"status 'faled' is none of .*; did you mean \"failed\""):
        load(folder, status="faled")


def test_an_ok_row_stays_where_measuring_again_failed_and_not_where_it_is_in_doubt(results: Results) -> None:
    results.append([row(1, repeat=n) for n in range(1, 5)])
    results.append([row(2, repeat=1, status=Status.FAILED), row(2, repeat=2, status=Status.INVALID)])
    results.append([row(0, repeat=3, status=Status.SKIPPED), row(3, repeat=2, status=Status.FAILED), row(2, repeat=4)])
    assert load(results.folder)[["repeat", "attempt"]].values.tolist() == [[1, 1], [3, 1], [4, 2]]
    assert results.load().set_index("repeat").status.to_dict() == {1: "ok", 2: "failed", 3: "ok", 4: "ok"}


def test_a_point_that_became_infeasible_is_shown_as_such(results: Results) -> None:
    results.append([row(1)])
    results.append([row(1, status=Status.INFEASIBLE)])
    assert results.load().status.tolist() == ["infeasible"]


def test_columns_can_be_chosen(results: Results) -> None:
    results.append([row(1, status=Status.FAILED), row(2)])
    chosen = results.load(columns=["osl", "status"])
    assert chosen.columns.tolist() == ["osl", "status"] and chosen.status.tolist() == ["ok"]
    assert as_text(chosen) == {"osl": "Int64", "status": "string"}
    with pytest.raises(UsageError, match='no column tps_per_usr; did you mean "tps_per_user"'):
        results.load(columns=["tps_per_usr"])


def test_several_tables_are_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a1", "a2", "b"):
        one = Results(tmp_path / name)
        sweep_id = one.open_or_create()
        one.append([row() | {"sweep_id": sweep_id}])
    assert len(load(str(tmp_path / "a*"))) == 2
    assert len(load([tmp_path / "a1", tmp_path / "a2" / "table", str(tmp_path / "*")])) == 3
    (tmp_path / "link").symlink_to(tmp_path / "a1")
    monkeypatch.chdir(tmp_path)
    spelled = ["a1", "./a1/", "b/../a1", "a1/table", tmp_path / "a1", "link", "[al]*1", "l*"]
    assert len(load(spelled, attempts="all")) == len(load(spelled)) == 1
    wrongs: list[Any] = [tmp_path / "c", str(tmp_path / "c*"), tmp_path, []]
    for wrong in wrongs:
        with pytest.raises(UsageError, match="no results table"):
            load(wrong)


def test_history_has_what_resuming_needs(results: Results) -> None:
    said = {"simulator_version": "3", "db_version": "0.12.0", "predicted_as": "LLAMA3.1_70B"}
    failed = row(1, status=Status.FAILED, environment={"node": "n1"}, outcome={"failure_kind": "nccl"})
    simulated = row(1, source=Source.SIMULATED, environment=said)
    results.append([failed])
    results.append([simulated])
    first, second = results.history()
    assert (first, second) == (Record.of(failed), Record.of(simulated))
    assert (first.point_id, first.source, first.repeat, first.attempt) == (POINT.point_id, "measured", 1, 1)
    assert (first.status, first.failure_kind, first.node, first.gpus_held) == ("failed", "nccl", "n1", 8)
    assert first.gpu_hours == pytest.approx(0.8) and first.ended_at == BEGIN + timedelta(minutes=6)
    assert (second.simulator_version, second.db_version, second.predicted_as) == ("3", "0.12.0", "LLAMA3.1_70B")


def test_a_redo_that_was_killed_goes_on_and_another_begins_anew(results: Results) -> None:
    results.append([row(1)])
    assert results.redo_since("all") is None
    assert results.begin_redo("all") == 1
    results.append([row(2)])
    assert results.begin_redo("all") == results.redo_since("all") == 1
    assert results.redo_since("failed") is results.redo_since(None) is None
    assert results.begin_redo("failed") == 2
    results.end_redo()
    assert results.begin_redo("failed") == 2
    assert results.begin_redo(None) == 2
    results.append([row(3)])
    assert results.begin_redo("failed") == 3


def write_as(version: int, results: Results, change: Callable[[pa.Table], pa.Table]) -> None:
    """Put a part beside the others as another version of sweep would have written it."""
    part = results.append([row(repeat=9)])
    assert part is not None
    table = change(pq.read_table(part))
    pq.write_table(table.replace_schema_metadata({"sweep.schema_version": str(version)}), part)


def test_columns_that_an_older_part_lacks_are_null(results: Results) -> None:
    write_as(1, results, lambda table: table.drop_columns(["zone", "exit_code"]))
    results.append([row(repeat=2, outcome={"exit_code": 3})])
    assert as_text(results.load()) == dtypes()
    assert results.load().exit_code.tolist() == [pd.NA, 3]
    assert results.compact() == 3
    assert as_text(pd.read_parquet(results.table_dir)) == dtypes()


def test_a_newer_table_is_refused(results: Results) -> None:
    write_as(2, results, lambda table: table)
    calls: Sequence[Callable[[], object]] = (results.load, results.history, results.compact)
    for call in calls:
        with pytest.raises(UsageError, match="schema version 2, this sweep reads up to 1: upgrade sweep"):
            call()


def test_a_newer_sweep_json_is_refused(results: Results) -> None:
    results.sweep_file.write_text(json.dumps({"schema_version": 2, "sweep_id": "x"}))
    with pytest.raises(UsageError, match=r"sweep\.json has schema version 2"):
        results.open_or_create()


def test_a_damaged_part_is_named(results: Results) -> None:
    part = results.append([row()])
    assert part is not None
    part.write_bytes(part.read_bytes()[:1000])
    with pytest.raises(UsageError, match=part.name):
        results.load()
    pq.write_table(pa.table({"x": [1]}), part)
    with pytest.raises(UsageError, match="not written by sweep"):
        results.load()


# --------------------------------------------------------------------------------------------- identity, configuration


def test_the_sweep_id_is_made_once(tmp_path: Path) -> None:
    results = Results(tmp_path / "a" / "b")
    assert results.holder() is None
    with pytest.raises(UsageError, match="cannot read"):
        assert results.sweep_id
    first = results.open_or_create()
    assert first == results.open_or_create() == Results(results.folder).sweep_id
    assert Results(tmp_path / "c").open_or_create() != first
    assert (results.name, len(first)) == ("b", 12)


def test_a_damaged_sweep_json_is_told(results: Results) -> None:
    results.sweep_file.write_text("{")
    with pytest.raises(UsageError, match=r"sweep\.json is damaged"):
        results.open_or_create()


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(resolved=st.dictionaries(st.text(), plain, max_size=4), number=st.uuids())
def test_a_configuration_comes_back_as_it_was(tmp_path_factory: Any, resolved: dict[str, Any], number: Any) -> None:
    results = Results(tmp_path_factory.getbasetemp() / str(number) / "grid")
    kept = results.write_config(resolved)
    assert results.read_config(kept) == find_config(results.folder.parent, kept) == resolved
    assert results.write_config(dict(reversed(resolved.items()))) == kept


def test_an_unknown_configuration_is_told(results: Results) -> None:
    kept = results.write_config({"name": "grid"})
    with pytest.raises(UsageError, match=f'no configuration {kept[:-1]}; did you mean "{kept}"'):
        find_config(results.folder.parent, kept[:-1])
    with pytest.raises(UsageError, match="cannot read"):
        results.read_config("0" * 16)


def test_evidence_is_kept_and_replaced_as_a_whole(results: Results) -> None:
    key = (POINT.point_id, 1, 2)
    first = results.write_evidence(key, {"engine": {}}, {"node": "n1", "at": BEGIN}, "old\udc80")
    again = results.write_evidence(key, None, {"node": "n2"}, "new\n")
    assert first == again == results.evidence_dir(key) == results.folder / "raw" / POINT.point_id / "1-2"
    assert sorted(path.name for path in again.iterdir()) == ["env.json", "log.txt"]
    assert json.loads((again / "env.json").read_text()) == {"node": "n2"}
    assert (again / "log.txt").read_text() == "new\n"
    other = results.write_evidence(key, {}, {}, "", source=Source.SIMULATED)
    assert other != again and again.exists()


# ---------------------------------------------------------------------------------------------------------------- disk


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    results = Results(tmp_path / "file" / "grid")
    calls: Sequence[Callable[[], object]] = (
        results.open_or_create,
        lambda: results.append([row()]),
        lambda: results.write_config({}),
        lambda: results.write_evidence(("p", 1, 1), {}, {}, ""),
    )
    for call in calls:
        with pytest.raises(UsageError, match=r"cannot .* Not a directory"):
            call()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told(results: Results) -> None:
    results.table_dir.chmod(0o555)
    try:
        with pytest.raises(UsageError, match=r"cannot write .* Permission denied"):
            results.append([row()])
    finally:
        results.table_dir.chmod(0o755)


# ---------------------------------------------------------------------------------------------------------------- lock


def test_there_is_one_writer_and_the_second_is_told_who(results: Results) -> None:
    other = Results(results.folder)
    with results.lock():
        who = other.holder()
        assert who is not None and who.startswith(f"pid {os.getpid()} on ") and "since 20" in who
        calls: Sequence[Callable[[], object]] = (lambda: other.append([row()]), other.compact, results.compact)
        for call in calls:
            with pytest.raises(UsageError, match=rf"is being written by pid {os.getpid()} on .* since 20"):
                call()
        results.append([row()])
    assert other.holder() is None
    other.append([row(repeat=2)])
    assert len(results.load()) == 2


BEGIN_WRITING = """
import sys, tests.test_table as t
from pathlib import Path
results = t.Results(Path(sys.argv[1]))
results.open_or_create()
first = 1 + max((record.repeat for record in results.history()), default=0)
def write(repeat):
    results.write_evidence((t.POINT.point_id, repeat, 1), t.report(), {}, "log")
    results.append([t.row(repeat=repeat), t.row(repeat=repeat + 1)])
    print(repeat + 1, flush=True)
"""
RUN = """
with results.lock():
    print("ready", flush=True)
    for repeat in t.itertools.count(first, 2):
        write(repeat)
"""
COMPACT = """
write(first)
print("ready", flush=True)
for repeat in t.itertools.count(first + 2, 2):
    write(repeat)
    results.compact()
"""


@pytest.mark.parametrize("doing", [RUN, COMPACT])
def test_a_killed_writer_leaves_a_whole_table_and_no_lock(tmp_path: Path, doing: str) -> None:
    results, said = Results(tmp_path / "grid"), 0
    for lines_before_kill in (0, 1, 2, 7):
        command = [sys.executable, "-c", BEGIN_WRITING + doing, str(results.folder)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            while writer.stdout.readline() != "ready\n":
                assert writer.poll() is None
            if doing == RUN:
                with pytest.raises(UsageError, match=f"pid {writer.pid} "):
                    results.append([row()])
            for _ in range(lines_before_kill):
                writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
            told = [int(line) for line in writer.stdout.read().splitlines() if line.isdecimal()]
        said = max([said, *told])
        repeats = results.load().repeat.tolist()
        assert repeats == list(range(1, len(repeats) + 1)) and len(repeats) % 2 == 0 and len(repeats) >= said
        assert pd.read_parquet(results.table_dir).repeat.tolist() == repeats
    with results.lock():
        assert list(results.folder.rglob(".tmp-*")) == []


# ----------------------------------------------------------------------------------------------- readers while writing


def test_compact_keeps_rows_order_and_types(results: Results) -> None:
    for repeat in range(1, 30):
        results.append([row(repeat=repeat, said=report() if repeat % 2 else None)])
    before = pd.read_parquet(results.table_dir)
    assert results.compact() == 30
    assert len(list(results.table_dir.iterdir())) == 1
    pd.testing.assert_frame_equal(pd.read_parquet(results.table_dir), before)
    results.append([row(repeat=30)])
    assert results.load().repeat.tolist() == list(range(1, 31))
    assert (results.compact(), results.compact()) == (2, 1)


def test_a_compaction_that_was_killed_is_cleaned_up(results: Results) -> None:
    results.append([row()])
    for left in (results.folder / ".tmp-table-1", results.folder / "raw" / ".tmp-2"):
        left.mkdir(parents=True)
        (left / "part-x.parquet").write_bytes(b"half")
    (results.table_dir / ".tmp-3").write_bytes(b"half")
    assert len(results.load()) == len(pd.read_parquet(results.table_dir)) == 1
    results.append([row(repeat=2)])
    assert len(results.load()) == 2
    assert not list(results.folder.rglob(".tmp-*"))


def test_readers_never_see_a_row_twice_or_lose_one(results: Results) -> None:
    """`load` never fails; a plain pandas.read_parquet may not find a part, but only if a compaction came in between."""
    stop, problems, reads = threading.Event(), [], {"load": 0, "pandas": 0, "history": 0}
    written, compactions = 0, 0.0

    def read(kind: str, repeats: Callable[[], list[int]]) -> None:
        seen = 0
        while not stop.is_set():
            least, compactions_before = max(seen, written), compactions
            try:
                found = repeats()
            except Exception as error:
                between = compactions > compactions_before or compactions_before % 1
                if kind == "pandas" and isinstance(error, FileNotFoundError) and between:
                    continue
                problems.append(f"{kind}: {error!r}")
                return
            if found != list(range(1, len(found) + 1)) or len(found) < least:
                problems.append(f"{kind}: {len(found)} rows after {least}, {len(set(found))} different")
            seen = len(found)
            reads[kind] += 1

    readers = [
        threading.Thread(target=read, args=("load", lambda: results.load(columns=["repeat"]).repeat.tolist())),
        threading.Thread(target=read, args=("history", lambda: [past.repeat for past in results.history()])),
        threading.Thread(
            target=read,
            args=("pandas", lambda: pd.read_parquet(results.table_dir, columns=["repeat"]).repeat.tolist()),
        ),
    ]
    for reader in readers:
        reader.start()
    try:
        numbers = itertools.count(1)
        for batch in range(200):
            results.append([row(repeat=next(numbers)) for _ in range(2)])
            written += 2
            if batch % 20 == 19:
                compactions += 0.5  # under way
                results.compact()
                compactions += 0.5
    finally:
        stop.set()
        for reader in readers:
            reader.join(30)
    assert problems == []
    assert min(reads.values()) > 3
    assert results.load().repeat.tolist() == list(range(1, 401))


def test_a_reader_in_a_folder_that_was_just_replaced_cannot_take_it_for_empty(results: Results) -> None:
    results.append([row()])
    handle = os.open(results.table_dir, os.O_RDONLY)
    try:
        results.compact()
        names = os.listdir(handle)
    finally:
        os.close(handle)
    assert names and not any((results.table_dir / name).exists() for name in names)
