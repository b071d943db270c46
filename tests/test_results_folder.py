"""A results folder that somebody touched, cut or filled: nothing of a user's is lost, each fault is one sentence."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweep.cli import run_command
from sweep.errors import ReadOnly, UsageError
from sweep.table import Results, Source, Status, load, parts, write_file
from tests.patience import HANG_S
from tests.test_table import POINT, ROOT, row


@pytest.fixture
def results(tmp_path: Path) -> Results:
    made = Results(tmp_path / "results" / "grid")
    made.open_or_create()
    return made


# ----------------------------------------------------------------------------------------------- rows that are off


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("exit_code", 10**30, "exit_code is 1000000000000000000000000000000"),
        ("exit_code", 10**5000, "exit_code is a int that cannot be written out"),
        ("effective_tp", 2**63, "effective_tp is 9223372036854775808"),
        ("node", "n\ud800", r"node is 'n\ud800'"),
        ("model", "m\ud800", r"model is 'm\ud800'"),
        ("failure_message", "\udfff", "failure_message is"),
        ("ttft_ms_p50", 10**400, "ttft_ms_p50 is 1000"),
        ("ttft_ms_p50", "fast", "ttft_ms_p50 is 'fast'"),
        ("report_extra", ["x" * 10_000], "report_extra is ['xxx"),
    ],
    ids=range(9),
)
def test_a_row_that_cannot_be_written_says_so_and_the_others_are_written(
    results: Results, name: str, value: Any, shown: str
) -> None:
    results.append([row(repeat=1), row(repeat=2) | {name: value}, row(repeat=3)])
    first, bad, last = results.rows()
    assert (first["status"], last["status"]) == ("ok", "ok")
    assert (bad["status"], bad["failure_kind"], bad["repeat"]) == (Status.FAILED, "backend_error", 2)
    assert shown in bad["failure_message"] and len(bad["failure_message"]) < 500
    assert (bad["point_id"], bad["gpu_hours"], bad["isl"]) == (POINT.point_id, first["gpu_hours"], POINT.isl)
    assert bad["output_tput_tps"] is None
    assert bad["model"] == ("m?" if name == "model" else POINT.model)


# ---------------------------------------------------------------------------------------------- files of the user's


def put_foreign_files(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    (folder / "other.parquet").write_bytes(b"mine too")
    (folder / "part-list.txt").write_text("no part")
    (folder / "plots").mkdir()
    (folder / "plots" / "a.png").write_bytes(b"png")
    (folder / "link").symlink_to("/nowhere")
    (folder / ".hidden").write_text("hidden")


FOREIGN = [".hidden", "link", "notes.txt", "other.parquet", "part-list.txt", "plots"]


def foreign(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not parts.is_part(name))


def test_compact_and_the_next_writer_keep_what_a_user_put_beside_the_parts(results: Results) -> None:
    results.append([row()])
    put_foreign_files(results.table_dir)
    assert results.compact() == 2
    assert foreign(results.table_dir) == FOREIGN
    results.append([row(repeat=2)])
    results.replace(list(results.rows()))
    with results.lock():
        pass
    assert foreign(results.table_dir) == FOREIGN
    assert (results.table_dir / "plots" / "a.png").read_bytes() == b"png"
    assert os.readlink(results.table_dir / "link") == "/nowhere"
    assert len(results.load()) == 2
    assert [path.name for path in results.folder.iterdir() if path.name.startswith(".tmp-")] == []


@pytest.mark.parametrize("command", [("compact",), ("import", "--reparse"), ("html",), ("show",)], ids=" ".join)
def test_a_folder_called_table_that_is_not_one_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    (tmp_path / "table").mkdir()
    put_foreign_files(tmp_path / "table")
    before = sorted(path.stat(follow_symlinks=False).st_ino for path in tmp_path.rglob("*"))
    assert run_command([*command, str(tmp_path)]) == 2
    assert f"sweep: {tmp_path} holds no table" in capsys.readouterr().err
    assert sorted(path.stat(follow_symlinks=False).st_ino for path in tmp_path.rglob("*")) == before


def test_a_compaction_that_was_killed_after_its_exchange_keeps_them_too(results: Results) -> None:
    results.append([row()])
    put_foreign_files(results.table_dir)
    left = results.folder / ".tmp-table-0123abcd"
    shutil.copytree(results.table_dir, left, symlinks=True)
    shutil.rmtree(results.table_dir / "plots")
    for name in FOREIGN[:-1]:
        (results.table_dir / name).unlink()
    (results.table_dir / "notes.txt").write_text("written since")
    results.append([row(repeat=2)])
    assert not left.exists() and len(results.load()) == 2
    kept = foreign(results.table_dir)
    assert [name for name in kept if not name.startswith("notes.txt")] == [n for n in FOREIGN if n != "notes.txt"]
    notes = [(results.table_dir / name).read_text() for name in kept if name.startswith("notes.txt")]
    assert sorted(notes) == ["mine", "written since"]


def test_compact_drops_the_rows_of_a_part_that_was_copied(results: Results) -> None:
    first = results.append([row(1, status=Status.FAILED), row(1, repeat=2, environment={"load_s": 1.5})])
    assert first is not None
    results.append([row(2), row(1, repeat=2, source=Source.SIMULATED), row(0, repeat=3, status=Status.SKIPPED)])
    results.append([row(0, repeat=3, status=Status.SKIPPED, outcome={"failure_message": "again"})])
    before = list(results.rows())
    shutil.copy(first, first.with_name(first.name.replace(".parquet", "-copy.parquet")))
    shutil.copy(first, results.table_dir / parts.part_name(time.time_ns()))
    assert len(list(results.rows())) == len(before) + 4
    results.compact()
    assert list(results.rows()) == before
    assert len(pd.read_parquet(results.table_dir)) == len(before)


# ----------------------------------------------------------------------------------------------------- the sweep's id


def test_a_lost_id_is_taken_from_the_rows_and_written_again(results: Results) -> None:
    sweep_id = results.sweep_id
    results.append([row(repeat=1) | {"sweep_id": sweep_id}, row(repeat=2) | {"sweep_id": sweep_id}])
    results.sweep_file.unlink()
    assert Results(results.folder).sweep_id == sweep_id and not results.sweep_file.exists()
    assert Results(results.folder).open_or_create() == sweep_id
    assert json.loads(results.sweep_file.read_text())["sweep_id"] == sweep_id


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ([], "no row to take the sweep's id from"),
        (["a", "b"], r"rows of 2 sweeps \(a, b\)"),
        ([None], "no row"),
        ([""], "rows of 1 sweeps"),
    ],
)
def test_a_lost_id_that_the_rows_do_not_agree_on_is_refused(results: Results, ids: list[str | None], told: str) -> None:
    results.append([row(repeat=n) | {"sweep_id": sweep_id} for n, sweep_id in enumerate(ids, start=1)])
    results.sweep_file.unlink()
    with pytest.raises(UsageError, match=rf"sweep\.json is missing.*{told}.*restore"):
        results.open_or_create()
    assert not results.sweep_file.exists()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"null", b"5", b"\xff\xfe\x00", b"[" * 200_000, b'{"sweep_id": "x"}', b"9" * 5000),
        b'{"schema_version": 1}',
        b'{"schema_version": 1, "sweep_id": null}',
        b'{"schema_version": 1, "sweep_id": ""}',
        b'{"schema_version": 1, "sweep_id": ["x"]}',
        b'{"schema_version": 1, "sweep_id": "a/../b"}',
        b'{"schema_version": 1, "sweep_id": "\\ud800"}',
        b'{"schema_version": 1e999, "sweep_id": "x"}',
        b'{"schema_version": NaN, "sweep_id": "x"}',
        b'{"schema_version": "1", "sweep_id": "x"}',
        b'{"schema_version": true, "sweep_id": "x"}',
        b'{"schema_version": -1, "sweep_id": "x"}',
    ],
    ids=lambda content: content[:50].decode(errors="replace"),
)
def test_a_damaged_sweep_json_is_refused_in_one_sentence(results: Results, content: bytes) -> None:
    results.sweep_file.write_bytes(content)
    with pytest.raises(UsageError, match=r"sweep\.json is damaged; restore it, or delete it"):
        results.open_or_create()


@pytest.mark.parametrize("content", [b"", b"[" * 200_000, b"\xff", b"[]", b'{"said": "all", "rows": 1e999}'])
def test_a_damaged_note_of_a_redo_counts_as_none(results: Results, content: bytes) -> None:
    (results.folder / "redo.json").write_bytes(content)
    assert results.redo_since("all") is None
    assert results.begin_redo("all") == 0 == results.redo_since("all")


@pytest.mark.parametrize("content", [b"", b"[" * 200_000, b"\xff", b"[]", b"null"])
def test_a_damaged_cluster_json_is_refused(results: Results, content: bytes) -> None:
    results.place_file.write_bytes(content)
    with pytest.raises(UsageError, match=r"cluster\.json is damaged"):
        results.place()


# ---------------------------------------------------------------------------------------------------- what is synced


class Disk:
    """Records, through Python's own functions, what is synced and renamed, and in which order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: list[tuple[int, int]] = []
        self.unsynced: list[str] = []
        self.renamed: list[Path] = []
        self._waiting: dict[tuple[int, int], Path] = {}
        for name in ("fsync", "rename", "replace"):
            monkeypatch.setattr(os, name, getattr(self, f"_{name.replace('replace', 'rename')}")(getattr(os, name)))

    def _fsync(self, original: Callable[[int], None]) -> Callable[[int], None]:
        def call(handle: int) -> None:
            original(handle)
            about = os.fstat(handle)
            self.synced.append((about.st_dev, about.st_ino))
            self._waiting.pop((about.st_dev, about.st_ino), None)

        return call

    def _rename(self, original: Callable[..., None]) -> Callable[..., None]:
        def call(source: Any, target: Any) -> None:
            if self._of(source) not in self.synced:
                self.unsynced.append(os.fspath(target))
            original(source, target)
            self.renamed.append(Path(target))
            self._waiting[self._of(Path(target).parent)] = Path(target)

        return call

    @staticmethod
    def _of(path: Any) -> tuple[int, int]:
        about = os.stat(path)
        return about.st_dev, about.st_ino

    def judge(self, *names: str) -> None:
        """These were renamed, each synced before, and its folder after."""
        assert [path.name for path in self.renamed] == list(names)
        assert self.unsynced == [], "renamed before it was on disk"
        assert self._waiting == {}, "the folder was not synced after the rename"


@pytest.fixture
def disk(results: Results, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_a_part_is_on_disk_before_it_has_its_name(results: Results, disk: Disk) -> None:
    part = results.append([row()])
    assert part is not None
    disk.judge(part.name)


def test_what_lies_beside_the_table_is_on_disk_before_it_has_its_name(results: Results, disk: Disk) -> None:
    kept = results.write_config({"name": "grid"})
    assert disk._of(results.folder) in disk.synced, "the folder configs/ is new"
    results.keep_place({"context": "a"})
    results.begin_redo("all")
    write_file(results.page_file, "<html>")
    disk.judge(f"{kept}.yaml", "cluster.json", "redo.json", "index.html")


def test_a_new_sweep_is_on_disk_when_its_id_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    results = Results(tmp_path / "new")
    results.open_or_create()
    ((part,),) = [[path.name for path in results.table_dir.iterdir()]]
    disk.judge("sweep.json", part, "table")


def test_a_compacted_table_is_on_disk_before_the_exchange_and_the_exchange_after(results: Results, disk: Disk) -> None:
    results.append([row()])
    before = disk._of(results.table_dir)
    synced_before = len(disk.synced)
    results.compact()
    merged, table, folder = (
        disk._of(path) for path in (parts.list_parts(results.table_dir)[0], results.table_dir, results.folder)
    )
    assert before != table
    order = disk.synced[synced_before:]
    assert order.index(merged) < order.index(table) < order.index(folder)
    assert disk.unsynced == []


@pytest.mark.parametrize("what", ["part", "note"])
def test_a_file_that_cannot_be_written_whole_takes_no_one_s_place(results: Results, what: str) -> None:
    results.append([row()])
    results.keep_place({"context": "before"})
    program = f"""
import resource, sys
from tests.test_table import Results, row, Path
results = Results(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
if {what!r} == "part":
    results.append([row(repeat=n) for n in range(2, 2000)])
else:
    results.keep_place({{"context": "x" * 10_000}})
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(results.folder)], cwd=ROOT, capture_output=True, text=True, timeout=HANG_S
    )
    assert "UsageError: cannot write" in done.stderr and "File too large" in done.stderr
    assert results.load().repeat.tolist() == [1] and results.place() == {"context": "before"}
    assert list(results.folder.rglob(".tmp-*")) == []


# ---------------------------------------------------------------------------------------------- the order of parts


def test_rows_stay_in_order_where_the_clock_was_set_back(results: Results) -> None:
    part = results.append([row(repeat=1)])
    assert part is not None
    part.rename(part.with_name(parts.part_name(time.time_ns() + 10**15)))  # eleven days ahead
    for repeat in (2, 3):
        Results(results.folder).append([row(repeat=repeat)])
    with results.lock():
        results.append([row(repeat=4)])
        results.append([row(repeat=5)])
    assert [record.repeat for record in results.history()] == [1, 2, 3, 4, 5]
    results.compact()
    results.append([row(repeat=6)])
    assert [record.repeat for record in results.history()] == [1, 2, 3, 4, 5, 6]


# ---------------------------------------------------------------------------------------------------- what is no file


@contextlib.contextmanager
def odd_file(path: Path, kind: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        match kind:
            case "fifo":
                os.mkfifo(path)
            case "socket":
                bound = stack.enter_context(socket.socket(socket.AF_UNIX))
                here = os.open(path.parent, os.O_RDONLY)
                stack.callback(os.close, here)
                bound.bind(f"/proc/self/fd/{here}/{path.name}")
            case "folder":
                path.mkdir()
            case "device":
                path.symlink_to("/dev/zero")
        yield


KINDS = ["fifo", "socket", "folder", "device"]
only_linux = pytest.mark.skipif(sys.platform == "darwin", reason="/proc")


@only_linux
@pytest.mark.parametrize("kind", KINDS)
def test_a_part_that_is_not_a_file_is_told_and_not_waited_for(results: Results, kind: str) -> None:
    with odd_file(results.table_dir / "part-1-x.parquet", kind):
        calls: list[Callable[[], object]] = [
            results.load,
            results.history,
            results.compact,
            lambda: load(results.folder),
        ]
        for call in calls:
            with pytest.raises(UsageError, match=r"part-1-x\.parquet is not a regular file; move it away"):
                call()


@only_linux
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["sweep.json", "redo.json", "cluster.json", "configs/0123456789abcdef.yaml"])
def test_what_lies_beside_the_table_is_not_waited_for(results: Results, name: str, kind: str) -> None:
    path = results.folder / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    asked: dict[str, Callable[[], object]] = {
        "sweep.json": lambda: results.sweep_id,
        "redo.json": lambda: results.redo_since("all"),
        "cluster.json": results.place,
        "configs/0123456789abcdef.yaml": results.configs,
    }
    with odd_file(path, kind), pytest.raises(UsageError, match=r"is not a regular file|cannot read"):
        asked[name]()


@only_linux
@pytest.mark.parametrize("kind", [*KINDS, "link", "second name"])
def test_a_lock_that_is_not_ours_is_refused_and_left_as_it_is(results: Results, kind: str) -> None:
    victim = results.folder.parent / "victim"
    victim.write_text("precious")
    results.lock_file.unlink()
    with contextlib.ExitStack() as stack:
        if kind == "link":
            results.lock_file.symlink_to(victim)
        elif kind == "second name":
            os.link(victim, results.lock_file)
        else:
            stack.enter_context(odd_file(results.lock_file, kind))
        calls: list[Callable[[], object]] = [lambda: results.append([row()]), results.compact]
        for call in calls:
            with pytest.raises(UsageError, match=r"run\.lock is a link.*remove it|cannot lock .*run\.lock"):
                call()
    assert victim.read_text() == "precious"


def test_a_copy_of_the_folder_by_hard_links_can_be_written(results: Results) -> None:
    os.link(results.lock_file, results.folder.parent / "backup.lock")
    results.append([row()])
    assert len(results.load()) == 1


# ---------------------------------------------------------------------------------------------- parts of another kind


@pytest.mark.parametrize("version", [b"abc", b"1.0", b"", b"-1", b"1e999", "\u0661".encode(), b"9" * 5000])
def test_a_part_with_an_odd_version_is_told(results: Results, version: bytes) -> None:
    part = results.append([row()])
    assert part is not None
    pq.write_table(pq.read_table(part).replace_schema_metadata({"sweep.schema_version": version}), part)
    for call in (results.load, results.history, results.compact):
        with pytest.raises(UsageError, match=f"{part.name} was not written by sweep; move it away"):
            call()


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("repeat", pa.array(["x"]), "its column repeat is string, not int64"),
        ("repeat", pa.array([[1]]), "its column repeat is list<.*>, not int64"),
        ("ended_at", pa.array(["yesterday"]), "its column ended_at is string, not timestamp"),
        ("point_id", pa.array([b"\xff"]), "its column point_id is binary, not string"),
    ],
)
def test_a_part_with_a_column_of_another_type_is_told(results: Results, name: str, values: Any, told: str) -> None:
    part = results.append([row()])
    assert part is not None
    table = pq.read_table(part)
    schema = table.schema.set(table.schema.get_field_index(name), pa.field(name, values.type))
    columns = [values if field.name == name else table[field.name] for field in schema]
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), part)
    for call in (results.load, results.history, results.compact):
        with pytest.raises(UsageError, match=f"{part.name}: {told}"):
            call()


def test_a_part_with_a_column_twice_is_told(results: Results) -> None:
    part = results.append([row()])
    assert part is not None
    table = pq.read_table(part)
    pq.write_table(
        pa.Table.from_arrays(
            [*table.columns, table["repeat"]], schema=table.schema.append(table.schema.field("repeat"))
        ),
        part,
    )
    with pytest.raises(UsageError, match=f"{part.name}: it has 2 columns repeat"):
        results.load()


# ---------------------------------------------------------------------------------------------- names, configurations


def test_a_name_with_a_nul_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has a NUL character in it"):
        Results(tmp_path / "a\0b")


@pytest.fixture
def shown(results: Results, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    results.append([row() | {"sweep_id": results.sweep_id}])

    def call(*arguments: str) -> tuple[int, str]:
        return run_command([*arguments, str(results.folder)]), capsys.readouterr().err

    return call


@pytest.mark.parametrize("command", [("html",), ("import", "--reparse")])
def test_other_files_in_configs_are_ignored(results: Results, shown: Any, command: tuple[str, ...]) -> None:
    folder = results.folder / "configs"
    folder.mkdir()
    for name, content in {"empty": b"", "binary": b"\x00\xff", "list": b"- 1", "HASH copy": b"{"}.items():
        (folder / f"{name}.yaml").write_bytes(content)
    code, told = shown(*command)
    assert code == 0, told


@pytest.mark.parametrize("command", [("html",), ("import", "--reparse")])
@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\xff\xfe", b"- 1", b"{", b"5", b"[" * 100_000, b"!!python/object:os.system {}"],
    ids=lambda content: repr(content[:20]),
)
def test_a_damaged_configuration_is_told(
    results: Results, shown: Any, command: tuple[str, ...], content: bytes
) -> None:
    kept = results.write_config({"name": "grid"})
    results.config_file(kept).write_bytes(content)
    code, told = shown(*command)
    assert code == 2 and "Traceback" not in told
    assert told.startswith("sweep: ") and f"{kept}.yaml" in told and "restore it, or move it away" in told


@pytest.mark.parametrize("content", [{"a": 1}, {"pruned": 5, "parts": "x"}, {"pruned": {"x": [1]}}])
def test_a_mapping_that_is_not_a_configuration_is_told_by_reparse(
    results: Results, shown: Any, content: dict[str, Any]
) -> None:
    kept = results.write_config(content)
    code, told = shown("import", "--reparse")
    assert code == 2 and f"{kept}.yaml is not a configuration of a sweep" in told
    assert shown("html")[0] == 0


def test_evidence_that_a_power_cut_emptied_leaves_the_row_as_it_was(results: Results, shown: Any) -> None:
    results.append([row(repeat=2) | {"sweep_id": results.sweep_id}])
    folder = results.write_evidence((POINT.point_id, 2, 1), {"engine": {}}, {"node": "n"}, "log")
    for path in folder.iterdir():
        path.write_bytes(b"")
    assert shown("import", "--reparse")[0] == 0
    assert results.load().status.tolist() == ["ok", "ok"]


# --------------------------------------------------------------------------------------------------------- read-only


def read_only(folder: Path) -> list[str]:
    """Return how to begin a command for which the folder cannot be written: root may write everything but a mount."""
    if os.geteuid() != 0:
        folder.chmod(0o555)
        (folder / "run.lock").chmod(0o444)
        return []
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    prefix = ["unshare", "-m", "sh", "-c", script, str(folder)]
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
        pytest.skip("root needs a mount of its own to be refused")
    return prefix


def test_a_folder_that_may_only_be_read_is_told_as_such(results: Results) -> None:
    program = """
import sys
from tests.test_table import Results, row, Path
results = Results(Path(sys.argv[1]))
print(len(results.load()), results.holder(), results.open_or_create() == results.sweep_id)
for call in (lambda: results.append([row()]), results.compact):
    try:
        call()
    except Exception as error:
        print(type(error).__name__, error)
"""
    command = [*read_only(results.folder), sys.executable, "-B", "-c", program, str(results.folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANG_S)
    first, *refused = done.stdout.splitlines()
    assert first == "0 None True", done.stderr
    assert [line.partition("/")[0] for line in refused] == ["ReadOnly cannot lock "] * 2
    assert issubclass(ReadOnly, UsageError)


# ---------------------------------------------------------------------------------------------------------- the work


def test_a_batch_is_one_part_and_a_row_s_evidence_one_folder(results: Results) -> None:
    """What a row costs is what it asks of the disk, however fast that is; tests/benchmarks measures the time."""
    program = """
import os, sys
from collections import Counter
from dataclasses import replace
from tests.test_table import POINT, Path, Results, report, row
results, said, done = Results(Path(sys.argv[1])), report(), Counter()
points = [replace(POINT, concurrency=n) for n in range(1, 17)]
def heard(event, arguments):
    if event in ("open", "os.mkdir", "os.rename", "os.listdir", "os.scandir", "os.remove", "os.chmod"):
        if str(arguments[0]).startswith(sys.argv[1]):
            done[event] += 1
with results.lock():
    sys.addaudithook(heard)
    for point in points:
        results.write_evidence((point.point_id, 1, 1), said, {"node": "n1"}, "log")
    print(sorted(done.items()))
    done.clear()
    results.append([row(point=point, said=said) for point in points])
    print(sorted(done.items()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(results.folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=True,
    )
    evidence, batch = done.stdout.splitlines()
    assert evidence == str([("open", 48), ("os.mkdir", 34), ("os.rename", 16)])  # three files, two folders
    assert batch == str([("open", 2), ("os.mkdir", 1), ("os.rename", 1)])  # the part, and its folder to sync
