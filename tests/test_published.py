"""What a pod publishes may hold any value: one result that is off costs itself, never the results beside it."""

import copy
import gzip
import json
import os
import pickle
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.backends import PointDone, PointFailed
from sweep.driver.recorder import Recorder, failed
from sweep.driver.work import Work
from sweep.errors import ReportError
from sweep.importing import add_to, find_runs, read_runs
from sweep.plan import Attempt, Deployment
from sweep.point import Bench, KvCacheDtype, Model, Point, Precision
from sweep.published import RESULT, read_files, read_result
from sweep.table import Results, Source, Status

REPORT = json.loads((Path(__file__).parent / "data" / "reports" / "1.2.0rc2-throughput-streaming.json").read_text())
BEGIN = "2026-11-26T04:00:00+00:00"
ABOUT: dict[str, Any] = {
    "attempt": "1-1",
    "exit_code": 0,
    "outcome": "ended",
    "started_at": BEGIN,
    "ended_at": "2026-11-26T04:10:00+00:00",
    "report": REPORT,
    "environment": {
        "node": "a4x-7",
        "evictions": 0,
        "bench_s": REPORT["performance"]["total_latency_ms"] / 1e3,
        "load_s": 61.5,
        "power_capped": False,
        "reported_at": "2026-11-26T04:09:00+00:00",
    },
    "log_tail": "the end\n",
    "report_too_long": False,
}
POINT = Point(
    bench=Bench.THROUGHPUT,
    image="tensorrt-llm:1.2.0rc2",
    model=REPORT["engine"]["model"],
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
MODEL = Model(id=REPORT["engine"]["model"], precision=Precision.NVFP4, weights_gb=40)


def line(point_id: str, **changed: Any) -> str:
    return f"{RESULT}{json.dumps(ABOUT | {'point': point_id} | changed)}"


def paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every field, of inner ones too."""
    for key, item in value.items():
        yield (*path, key)
        if isinstance(item, dict):
            yield from paths(item, (*path, key))


def nested(levels: int, empty: str = "[]") -> str:
    return empty[0] * levels + empty[1] * levels


ODD = [
    *("1e400", "-1e400", "NaN", "Infinity", "-Infinity", "1e308", "5e-324", "-0.0", "1.5"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "9007199254740993"),
    *("1" + "0" * 30, "9" * 400, "-" + "9" * 400, "9" * 4300, "9" * 4301, "9" * 5000),
    *(r'"\ud800"', r'"a\udfffb"', r'"\u0000"', r'"\ud83d\ude00"', r'"\u202e"', '""', '"../../x"', '"a/b"', '" "'),
    *('"0001-01-01T00:00:00+00:00"', '"0001-01-01T00:00:00+23:59"', '"9999-12-31T23:59:59.999999-23:59"'),
    *('"1969-12-31T23:59:59+00:00"', '"2262-01-01T00:00:00Z"', '"2026-11-26T04:00:00"', '"2026-W48-4"'),
    *('"2026-11-26T04:00:00.123456+00:00:01.5"', '"1-1-1"', '"-1--1"', '"1-9999999999999999999999"', '"1-\u0661"'),
    *("null", "true", "false", "[]", "{}", '[["x"]]', '{"a": {"b": [1, null]}}', '"1-1"', '"0"', "-1"),
    *(nested(30), nested(40), nested(500), nested(900), nested(5000), '{"a":' * 600 + "1" + "}" * 600),
]
"""JSON texts of every type, and of every size that a type of the table, a path, a pickle or a clock does not have."""

FIGURES = ["1e400", "NaN", "1e308", "9" * 20, "9" * 400, '"x"', "[]"]
"""Of these each of the many figures of a report is tried."""

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**400), max_value=10**400)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.datetimes(timezones=st.timezones() | st.none()).map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
).map(json.dumps)


def replaced(path: tuple[str, ...], text: str) -> str:
    """Return the line of point b with one field replaced by a JSON text."""
    about = copy.deepcopy(ABOUT | {"point": "b"})
    inner = about
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = "@@"
    return f"{RESULT}{json.dumps(about).replace(json.dumps('@@'), text)}"


FIELDS = sorted(set(paths(ABOUT | {"point": "b"})))


def recorder(folder: Path, count: int = 3) -> tuple[Recorder, Deployment]:
    results = Results(folder)
    sweep_id = results.open_or_create()
    attempts = tuple(
        Attempt(point=point, point_id=point.point_id)
        for point in (replace(POINT, concurrency=number) for number in range(1, count + 1))
    )
    made = Recorder(
        results=results,
        sweep_id=sweep_id,
        backend="gke",
        source=Source.MEASURED,
        config_hash="0" * 16,
        price_usd_per_gpu_hour=10.0,
    )
    return made, Deployment.of(sweep_id, MODEL, attempts, gpus_held=4)


def check_driver(folder: Path, odd: Sequence[str]) -> None:
    """Make rows of a pod's results, all but the first and the last of them odd, as a driver does, in one batch."""
    made, deployment = recorder(folder, len(odd) + 2)
    work = Work(deployment, {attempt.key: attempt for attempt in deployment.attempts})
    work.hold(datetime.fromisoformat(BEGIN), None)
    rows = []
    for text, attempt in zip((line("a"), *odd, line("c")), deployment.attempts, strict=True):
        try:
            said = read_result(text)
        except ReportError as error:
            event: PointDone | PointFailed = failed(attempt.key, "no_result", str(error))
        else:
            event = PointDone(
                key=attempt.key,
                report=said.report,
                environment=said.environment,
                started_at=said.started_at,
                ended_at=said.ended_at,
                log_tail=said.log_tail,
                exit_code=said.exit_code,
                state=said.state,
            )
        event = pickle.loads(pickle.dumps(event))  # as from an actor
        rows.append(made.row(deployment, attempt, event, work.begin_of))
        work.charge(rows[-1]["ended_at"])
    made.results.append(rows)
    written = list(made.results.rows())
    for row, again in zip(rows, written, strict=True):  # what the driver decides from is what is in the table
        assert (row["status"], row["failure_kind"]) == (again["status"], again["failure_kind"])
        assert 0 <= again["gpu_hours"] < 1e5
        assert len(again["failure_message"] or "") < 1000
    for good in (written[0], written[-1]):
        assert good["output_tput_tps"] == REPORT["performance"]["system_output_throughput_tok_s"]


def check_import(folder: Path, odd: Sequence[str]) -> None:
    folder.mkdir(parents=True)
    log = folder / "pod.log"
    log.write_text(
        "\n".join([line("a"), *odd, line("c", report=None, environment={}, log_tail="CUDA out of memory"), ""])
    )
    runs, unreadable, _ = find_runs([log], folder / "unpacked")
    damaged: dict[Path, str] = {}
    imported = list(read_runs(runs, {}, None, damaged))
    assert damaged == {} and all(len(why) < 500 * len(odd) for why in unreadable.values())
    rows, known = add_to(Results(folder / "into"), imported)
    assert (rows[0]["status"], rows[-1]["failure_kind"]) == ("ok", "oom")
    assert len(rows) + known == len(imported) == len(odd) + 2 - sum(map(is_refused, odd))
    assert len(list(Results(folder / "into").rows())) == len(rows)


def is_refused(text: str) -> bool:
    try:
        return read_result(text).cut
    except ReportError:
        return True


@pytest.mark.parametrize("field", sorted({path[:2] for path in FIELDS}), ids=".".join)
def test_no_value_of_a_result_costs_the_results_beside_it(tmp_path: Path, field: tuple[str, ...]) -> None:
    texts = {path: FIGURES if len(path) > 2 else ODD for path in FIELDS if path[:2] == field}
    odd = [replaced(path, text) for path, some in texts.items() for text in some]
    check_driver(tmp_path / "driver", odd)
    if field[0] != "report":
        check_import(tmp_path / "import", odd)


@settings(max_examples=25)
@given(fields=st.lists(st.tuples(st.sampled_from(FIELDS), values), min_size=1, max_size=12))
def test_any_json_value_in_any_field(fields: list[tuple[tuple[str, ...], str]]) -> None:
    odd = [replaced(path, text) for path, text in fields]
    with tempfile.TemporaryDirectory() as folder:
        check_driver(Path(folder) / "driver", odd)
        check_import(Path(folder) / "import", odd)


@given(text=values)
def test_any_json_value_in_place_of_a_result(text: str) -> None:
    with pytest.raises(ReportError):
        read_result(f"{RESULT}{text}")
    with pytest.raises(ReportError):
        read_files(text, text, "")


def test_a_damaged_report_beside_a_sound_env_json_counts_as_none() -> None:
    environment = json.dumps({"node": "n", "attempt": ABOUT | {"point": "a"}})
    assert read_files(environment, json.dumps(REPORT), "").report == REPORT
    for damaged in ("", "{", nested(5000), nested(100, "[]"), "9" * 5000, "[]"):
        assert read_files(environment, damaged, "").report is None


def test_what_is_in_range_is_kept_as_it_is() -> None:
    said = read_result(
        line(
            "a",
            environment={
                "memory_errors_uncorrected": 2**63 - 1,
                "load_s": 2**60,
                "node": "n\0ö",
                "cuda_version": "\ud800",
                "bench_s": None,
            },
        )
    )
    assert said.environment == {
        "memory_errors_uncorrected": 2**63 - 1,
        "load_s": float(2**60),
        "node": "n\0ö",
    }
    assert said.started_at == datetime(2026, 11, 26, 4, tzinfo=UTC)
    assert read_result(line("a", started_at="2026-11-26T13:00:00+09:00")).started_at == said.started_at


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"exit_code": 10**30}, "its exit code is 1000000"),
        ({"exit_code": True}, "its exit code is True"),
        ({"exit_code": 1.0}, r"its exit code is 1\.0"),
        ({"started_at": "0001-01-01T00:00:00+00:00"}, "'0001-01-01T00:00:00[+]00:00' is not a usable time"),
        ({"started_at": "2026-01-01T00:00:00+00:00"}, "it took from 2026-01-01"),
        ({"outcome": ["ended"]}, "its outcome is"),
        ({"point": "a/../b"}, "there is no point 'a/../b'"),
        ({"attempt": "1"}, "there is no attempt '1'"),
    ],
)
def test_what_cannot_be_used_is_named(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(ReportError, match=f"makes no sense: ValueError: {why}"):
        read_result(line("a", **changed))


# ------------------------------------------------------------------------------------------------------- from a backend


@pytest.mark.parametrize(
    "changed",
    [
        {"exit_code": 10**30},
        {"exit_code": "0"},
        {"environment": {"node": "\ud800"}},
        {"environment": {"load_s": float("nan")}},
        {"environment": {("a", "b"): 1}},
        {"environment": None},
        {"started_at": datetime(1, 1, 1, tzinfo=UTC)},
        {"ended_at": datetime(9999, 12, 31, tzinfo=UTC)},
        {"ended_at": datetime(2026, 11, 26)},
        {"report": REPORT | {"performance": REPORT["performance"] | {"total_latency_ms": 10**400}}},
        {"report": {"x": json.loads(nested(900))}},
        {"report": REPORT | {"x": json.loads(nested(900))}},
        {"report": 5},
        {"log_tail": 5},
        {"state": 5},
    ],
    ids=str,
)
def test_no_event_of_a_backend_costs_the_events_beside_it(tmp_path: Path, changed: dict[str, Any]) -> None:
    made, deployment = recorder(tmp_path / "grid")
    sound = dict(
        report=REPORT,
        environment={"node": "n"},
        started_at=datetime(2026, 11, 26, 4, tzinfo=UTC),
        ended_at=datetime(2026, 11, 26, 5, tzinfo=UTC),
        log_tail="CUDA error: \ud800\n",
        exit_code=0,
    )
    rows = [
        made.row(deployment, attempt, PointDone(key=attempt.key, **(sound | (changed if number == 1 else {}))))
        for number, attempt in enumerate(deployment.attempts)
    ]
    made.results.append(rows)
    statuses = [row["status"] for row in made.results.rows()]
    assert statuses[0] == statuses[2] != Status.FAILED
    assert statuses == [row["status"] for row in rows], "what the driver goes on from is what is in the table"
    for attempt in deployment.attempts:
        assert (made.results.evidence_dir(attempt.key) / "log.txt").is_file() or "log_tail" in changed


def test_an_attempt_begins_when_it_says_where_nothing_is_known_of_its_gpus(tmp_path: Path) -> None:
    made, deployment = recorder(tmp_path / "grid")
    begin = datetime(2026, 11, 26, 4, tzinfo=UTC)
    event = PointDone(
        key=deployment.attempts[0].key,
        report=REPORT,
        environment={},
        started_at=begin,
        ended_at=begin + timedelta(hours=1),
    )
    row = made.row(deployment, deployment.attempts[0], event)
    assert (row["started_at"], row["gpu_hours"]) == (begin, 4.0)


def test_the_price_of_a_row_is_the_configuration_s_whatever_a_pod_says(tmp_path: Path) -> None:
    begin = datetime(2026, 11, 26, 4, tzinfo=UTC)
    for name, price, expected in (("priced", 10.0, (10.0, 40.0)), ("free", None, (None, None))):
        made, deployment = recorder(tmp_path / name)
        event = PointDone(
            key=deployment.attempts[0].key,
            report=REPORT,
            environment={"price_usd_per_gpu_hour": 0.01},
            started_at=begin,
            ended_at=begin + timedelta(hours=1),
        )
        row = replace(made, price_usd_per_gpu_hour=price).row(deployment, deployment.attempts[0], event)
        assert (row.get("price_usd_per_gpu_hour"), row.get("cost_usd")) == expected


# -------------------------------------------------------------------------------------------------------------- import


@pytest.mark.parametrize(
    "damage",
    [
        lambda report: report["performance"].update(total_latency_ms=1e308),
        lambda report: report["request_info"].update(avg_input_length=1e300),
        lambda report: report["world_info"].update(tp_size=2**50, pp_size=2**50),
        lambda report: report.update(x=json.loads(nested(900))),
        lambda report: report.update(total_energy_j=10**400),
        lambda report: report["machine"].update({"clocks.mem": 1e308}),
    ],
)
def test_a_report_that_is_off_costs_no_other_file_its_row(tmp_path: Path, damage: Callable[[Any], None]) -> None:
    report = copy.deepcopy(REPORT)
    report.setdefault("machine", {"name": "GB200", "memory.total": 180.0, "clocks.mem": 4.0})
    damage(report)
    for name, content in {"a": REPORT, "b": report}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    step = f"iter = 1, num_scheduled_requests: {'9' * 5000}, kv_cache_util = {'9' * 400}\n"
    (tmp_path / "d.txt").write_text(f"[TRT-LLM] [I] {step}RuntimeError: CUDA out of memory\n")
    serving = json.loads((Path(__file__).parent / "data" / "reports" / "serving-default.json").read_text())
    (tmp_path / "e.json").write_text(json.dumps(serving | {"energy_j": 10**399, "odd": float("inf")}))
    runs, unreadable, _ = find_runs(
        [tmp_path / f"{name}" for name in ("a.json", "b.json", "d.txt", "e.json")], tmp_path
    )
    damaged: dict[Path, str] = {}
    imported = list(read_runs(runs, {}, None, damaged))
    assert unreadable == {} and damaged == {}
    rows, _ = add_to(Results(tmp_path / "into"), imported)
    assert rows[0]["status"] == "ok"
    assert [row["failure_kind"] for row in rows if row["imported_from"].endswith("d.txt")] != []
    assert json.loads(rows[-1]["report_extra"])["odd"] == "inf"
    assert len(list(Results(tmp_path / "into").rows())) == len(rows)


def test_a_packed_file_that_is_cut_or_damaged_costs_no_other_file_its_row(tmp_path: Path) -> None:
    (tmp_path / "whole.json").write_text(json.dumps(REPORT))
    noise = random.Random(1)
    lines = (line(f"p{number}", report=None, log_tail=noise.randbytes(500).hex()) for number in range(500))
    log = gzip.compress("\n".join(lines).encode())
    (tmp_path / "cut.log.gz").write_bytes(log[: len(log) // 2])
    report = gzip.compress(json.dumps(REPORT | {"padding": [str(n) for n in range(100_000)]}).encode())
    half = len(report) // 2
    (tmp_path / "damaged.json.gz").write_bytes(report[:half] + b"\xff" * 64 + report[half + 64 :])
    names = ["cut.log.gz", "damaged.json.gz", "whole.json"]
    runs, unreadable, _ = find_runs([tmp_path / name for name in names], tmp_path / "unpacked")
    damaged: dict[Path, str] = {}
    imported = list(read_runs(runs, {}, None, damaged))
    assert {path.name for path in (unreadable | damaged)} == {"cut.log.gz", "damaged.json.gz"}
    assert {item.named.name: item.outcome.status for item in imported}["whole.json"] == "ok"
    assert len(imported) > 100, "the results before the cut are whole"


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses names that are not UTF-8")
def test_a_file_s_name_need_not_be_unicode(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.json"))
    path.write_text(json.dumps(REPORT))
    runs, _, _ = find_runs([path], tmp_path / "unpacked")
    rows, _ = add_to(Results(tmp_path / "into"), read_runs(runs, {}, None, {}))
    assert (rows[0]["status"], rows[0]["imported_from"]) == ("ok", f"{tmp_path}/\\udcff.json")
