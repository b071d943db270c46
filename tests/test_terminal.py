"""What reaches a terminal: any text, in any encoding, to a reader that may go away."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep import terminal
from sweep.cli import run_command
from sweep.table import Results, arrow_schema
from tests.patience import HANG_S

ROOT = Path(__file__).parent.parent
REPORTS = Path(__file__).parent / "data" / "reports"
STREAMING = REPORTS / "1.2.0rc2-throughput-streaming.json"
HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b31m\u202egnp.\r\x00\u2028[/z][bold]x[tp4]"
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")
ENCODINGS: list[dict[str, str]] = [
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "utf-16"},
    {"LC_ALL": "C", "LANG": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
]


def run(*arguments: str, cwd: Path = ROOT, stdout: Any = subprocess.PIPE, **changed: str) -> Any:
    command = [sys.executable, "-m", "sweep", *arguments]
    env = os.environ | {"PYTHONPATH": str(ROOT)} | changed
    return subprocess.run(command, cwd=cwd, env=env, stdout=stdout, stderr=subprocess.PIPE, timeout=HANG_S)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table whose texts are all hostile."""
    folder = tmp_path_factory.mktemp("results") / "hostile"
    results = Results(folder)
    known = dict.fromkeys(arrow_schema().names) | {
        "sweep_id": results.open_or_create(),
        "point_id": "p",
        "repeat": 1,
        "attempt": 1,
        "status": "ok",
        "source": "measured",
        "backend": "import",
        "isl": 1024,
        "osl": 1024,
        "tp": 4,
        "pp": 1,
        "ep": 1,
        "concurrency": 4,
        "output_tput_per_gpu": 9.5,
        "tps_per_user": 8.5,
        "model": f"org/→{HOSTILE.replace(chr(0), '')}",
        "moe_backend": HOSTILE.replace("\0", ""),
    }
    failed = {"status": "failed", "failure_kind": "unknown", "failure_message": known["model"], "concurrency": 8}
    results.append([known, known | failed | {"point_id": "q"}])
    return folder


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of reports with hostile names and texts."""
    folder = tmp_path_factory.mktemp("reports")
    said = json.loads(STREAMING.read_text())
    said["engine"]["version"] = HOSTILE
    said["engine"]["model"] = f"org/{HOSTILE}"
    (folder / "version.json").write_text(json.dumps(said))
    for name in ("log[tp4].txt", "x[_y].txt", "\x1b[31mred\u202e.txt", os.fsdecode(b"\xff\xfe.txt")):
        shutil.copy(STREAMING.with_suffix(".txt"), folder / name)
    (folder / "err.log").write_text("RuntimeError: " + HOSTILE.replace("\0", "") + "\n", "utf-8")
    return folder


# --------------------------------------------------------------------------------------------------- controls of others


@given(st.text())
def test_nothing_printable_is_changed_and_no_control_is_left(text: str) -> None:
    shown = terminal.printable(text)
    assert not CONTROLS.search(shown) and terminal.printable(shown) == shown
    shown.encode()  # lone surrogates are gone too
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "{table}"],
        ["show", "{table}", "--csv"],
        ["show", "{table}", "--json"],
        ["show", "{table}", "--columns", "model,moe_backend,failure_message"],
        ["compare", "{table}", "{table}", "--all"],
        ["compare", "{table}", "{table}", "--json"],
        ["import", "{reports}"],
        ["import", "{reports}", "--json"],
        ["import", "\x1b[2Jno\u202efile"],
        ["show", "\x1b[2Jno\u202efile"],
        ["show", "{table}", "--where", "model == '\x1b[2J'"],
        ["show", "{table}", "--columns", "\x1b[2J\u202e"],
        ["show", "--\x1b[2J\u202e"],
        ["html", "{table}", "--out", "/nowhere/\x1b[2J"],
        ["plan", "+experiment=\x1b[2J\u202e"],
        ["plan", "+experiment=smoke", "+\x1b[2J\u202e=1"],
        ["\x1b[2J\u202e"],
    ],
)
def test_no_control_of_others_reaches_the_terminal(
    arguments: list[str], hostile: Path, reports: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with contextlib.suppress(SystemExit):  # of argparse
        run_command([each.format(table=hostile, reports=reports) for each in arguments])
    out, err = capfd.readouterr()
    assert out or err
    assert not CONTROLS.search(out + err)
    assert "Traceback" not in err and "internal error" not in err


def test_a_real_terminal_gets_no_sequence_of_others(hostile: Path, reports: Path) -> None:
    table = str(hostile)
    for arguments in (
        ["show", table, "--columns", "model"],
        ["compare", table, table, "--all"],
        ["import", str(reports)],
    ):
        shown = "".join(_in_a_terminal(arguments))
        assert "\\x1b[" in shown or arguments[0] == "compare"
        assert not CONTROLS.search(re.sub(r"\x1b\[[\d;]*m|\r\n", "", shown))


def _in_a_terminal(arguments: list[str]) -> Iterator[str]:
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "sweep", *arguments]
    env = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=follower, stderr=follower) as process:
        os.close(follower)
        while select.select([leader], [], [], 60)[0]:
            try:
                yield os.read(leader, 65536).decode()
            except OSError:  # it has ended
                break
        assert process.wait(60) in (0, 3)
    os.close(leader)


def test_markup_is_text(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["import", str(reports)]) == 0
    shown = capsys.readouterr().out
    assert "log[tp4].txt" in shown and "x[_y].txt" in shown and "[/z]" in shown and "[bold]" in shown


@pytest.mark.parametrize("name", ["\x1b[31mred", "two\nlines", "tab\there", "\u202egnp", "a\x7f", "\udcff"])
def test_a_name_with_control_characters_is_refused(name: str, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "odd.yaml").write_text(
        f"# @package _global_\ndefaults: [smoke]\nname: {json.dumps(name)}\n", "utf-8"
    )
    for arguments in (
        ["+experiment=odd", f"--config-dir={tmp_path}"],
        ["+experiment=smoke", f"name={name}"],
        ["+experiment=smoke", f"name='{name}'"],
    ):
        assert run_command(["plan", *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == "" and not CONTROLS.search(err) and "name" in err


# ----------------------------------------------------------------------------------------------------------- encodings


@pytest.mark.parametrize("environment", ENCODINGS, ids=lambda changed: "-".join(changed.values()))
def test_every_encoding_can_show_every_answer(environment: dict[str, str], hostile: Path, reports: Path) -> None:
    for arguments, code in (
        (["plan", "+experiment=smoke"], 0),
        (["plan", "+experiment=smoke", "--json"], 0),
        (["show", str(hostile)], 0),
        (["show", str(hostile), "--json"], 0),
        (["show", str(hostile), "--csv"], 0),
        (["compare", str(hostile), str(hostile), "--all"], 0),
        (["import", str(reports)], 0),
        (["import", str(reports), "--json"], 0),
        (["import", "nö→file"], 3),
        (["nö→command"], 2),
        (["show", "--help"], 0),
        (["show", "--nö→option"], 2),
    ):
        ended = run(*arguments, **environment)
        assert (ended.returncode, b"Traceback" in ended.stderr) == (code, False), ended.stderr.decode("latin-1")
        assert b"Error" not in ended.stderr
        if "--json" in arguments:
            encoding = environment.get("PYTHONIOENCODING", "ascii")
            assert all(json.loads(line) for line in ended.stdout.decode(encoding).splitlines())


@pytest.mark.parametrize("environment", ENCODINGS[1::2], ids=lambda changed: "-".join(changed.values()))
def test_a_run_ends_as_it_should_where_its_answer_cannot_be_encoded(
    environment: dict[str, str], tmp_path: Path
) -> None:
    ended = run("+experiment=smoke", f"results_dir={tmp_path}", **environment)
    assert ended.returncode == 0, ended.stderr
    assert b"4 ok" in ended.stdout and b"layout" in ended.stdout


def test_what_we_print_has_ascii_to_stand_for_it() -> None:
    ended = run("plan", "+experiment=smoke", PYTHONIOENCODING="ascii")
    assert b"4 cells -> 4 points -> " in ended.stdout


# ------------------------------------------------------------------------------------------------ readers that go away


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "{table}"], 0),
        (["show", "{table}", "--csv"], 0),
        (["import", "{reports}", "nowhere"], 3),
        (["plan", "+experiment=smoke"], 0),
        (["--help"], 0),
        (["show", "--help"], 0),
        (["show", "nowhere"], 2),
    ],
)
def test_a_reader_that_goes_away_changes_no_exit_code(
    arguments: list[str], code: int, hostile: Path, reports: Path
) -> None:
    command = [each.format(table=hostile, reports=reports) for each in arguments]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as gone:
        ended = run(*command, stdout=gone)
        assert ended.returncode == code and b"Pipe" not in ended.stderr and b"Traceback" not in ended.stderr
        both = subprocess.run(
            [sys.executable, "-m", "sweep", *command], cwd=ROOT, stdout=gone, stderr=gone, timeout=HANG_S
        )
        assert both.returncode == code
    closed = subprocess.run(
        ["/bin/sh", "-c", '"$@" >&- 2>&-', "sh", sys.executable, "-m", "sweep", *command], cwd=ROOT, timeout=HANG_S
    )
    assert closed.returncode == code


def test_a_full_disk_under_the_output_is_one_sentence(hostile: Path) -> None:
    if not Path("/dev/full").is_char_device():  # a file may lie there, of a shell that wrote to what was not there
        pytest.skip("there is no /dev/full")
    for form in ("--csv", "--json", "--columns=status"):
        with open("/dev/full", "wb") as full:
            ended = run("show", str(hostile), form, stdout=full)
        assert ended.returncode == 2
        assert ended.stderr.decode().count("\n") == 1 and b"No space left" in ended.stderr
