"""Whatever is typed: an answer or one message, and an exit code that means something; never a stack trace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweep.cli import run_command
from sweep.config import SHIPPED
from tests.standins import sweeps
from tests.test_comparison_summary import put

REPORT = str(Path(__file__).parent / "data" / "reports" / "serving-default.json")
CODES = (0, 1, 2, 3, 130)
SMOKE = "+experiment=smoke"


class Odd:
    """A table, and what may be given in its place."""

    def __init__(self, folder: Path) -> None:
        self.table = put(folder / "table", sweeps.measured(1, sweeps.points(shapes=1)))
        (folder / "file").write_text("x")
        (folder / "empty").mkdir()
        (folder / "a" / "table").mkdir(parents=True)
        (folder / "b").mkdir()
        (folder / "b" / "table").write_text("x")
        os.mkfifo(folder / "fifo")
        (folder / "loop").symlink_to(folder / "loop")
        self.results_dir = f"results_dir={folder}/results"
        made = [str(folder / name) for name in ("file", "empty", "a", "b", "fifo", "loop", "nowhere")]
        self.paths = [*made, *ODD_PATHS]


ODD_PATHS = ["", "/dev/null", "/proc/self", "x" * 300, "x/" * 3000, "\0", "a\0b", "\ud800", "\udcff", "\x1b[2J", "\n"]
ODD_TEXTS = [
    *(
        "",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "-1",
        "0",
        "9" * 5000,
        "x" * 100_000,
        "\0",
        "\ud800",
        "\udcff",
        "\n",
        "'",
        '"',
    ),
    *(
        "(" * 3000,
        "[",
        "{}",
        "[]",
        "None",
        "__import__('os')",
        "lambda: 1",
        "1/0",
        "1 if 1 else 2",
        "status",
        "tp=='a'",
    ),
    *("started_at", "started_at > 3", "tp in 3", "tp in ['a']", "min()", "max(tp,'a')", "tp[0]", "'a'*10**9"),
    *(
        "10**10**10",
        "+".join(["1"] * 20_000),
        "-" * 5000 + "1",
        "not " * 5000 + "1",
        ",",
        "a,b,",
        "-isl",
        "*",
        "=",
        "a=",
    ),
    *("tp=", "tp=x", "tp=1e999", "isl=9" + "9" * 400, "{tp}", "{", "*{tp}*", "{tp}{ep}", "[{tp}", "%", "5%%"),
]
ODD_OVERRIDES = [
    *("", "=", "=b", "+", "++", "~isl", "~name", "~run", "~backend", "~ray", "~results_dir", "~model", "~matrix"),
    *(
        "name=null",
        "name=..",
        "name=a/b",
        "name=\udcff",
        "results_dir=\udcff",
        "name=" + "x" * 300,
        "isl=[1,2]",
        "isl={a:1}",
        "isl=1e999",
    ),
    *("isl=${nope}", "isl=${isl}", "isl=???", "model.id=[]", "model.weights_gb=nan", "model.engine_config=/dev/null"),
    *("model.engine_config=/tmp", "matrix=null", "matrix=[]", "matrix.grid.isl=[[1]]", "matrix.require=[1]"),
    *("run=null", "run.nodes=1e9", "run.budget.usd=nan", "run.deadline=9999999999h", "run.redo=(((", "html=1"),
    *("backend=null", "backend.name=os:path", "backend.name=x:y", "ray=null", "ray.address=[]", "engine=3", "rerun=.."),
    *("hydra.run.dir=/proc/x", "hydra/launcher=joblib", "hydra.searchpath=[x]", "--config-dir", "--config-dir=/nope"),
    *("--cfg=nope", "--package", "-x", "--", "@", "a@b=c", "+experiment=smoke,smoke", "experiment=null", "x" * 100_000),
]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Odd:
    return Odd(tmp_path_factory.mktemp("odd"))


@pytest.fixture
def answers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Answers:
    monkeypatch.chdir(tmp_path)
    return Answers(capsys)


class Answers:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> int:
        """Run a command, see that it ended as it should, and return its exit code."""
        try:
            code = run_command(arguments)
        except SystemExit as error:  # of argparse
            code = error.code  # type: ignore[assignment]
        shown = [argument[:80] for argument in arguments]
        _, err = self._capsys.readouterr()
        assert code in CODES, shown
        assert "Traceback" not in err and "internal error" not in err, (shown, err)
        assert len(err) < 150_000 if "usage:" in err else len(err) < 20_000, shown
        return code


def test_odd_paths(answers: Answers, odd: Odd) -> None:
    for path in odd.paths:
        for command in ("show", "html", "compact", "import"):
            answers(command, path)
        answers("show", odd.table, path)
        answers("compare", odd.table, path)
        answers("compare", path, odd.table)
        answers("import", "--reparse", path)
        answers("import", REPORT, "--into", path)
        answers("html", odd.table, "--out", path)
        answers(path)


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_not_the_current_folder(answers: Answers, odd: Odd, tmp_path: Path, name: str) -> None:
    for arguments in (
        ("show", name),
        ("html", name),
        ("compact", name),
        ("compare", odd.table, name),
        ("import", name),
        ("import", "--reparse", name),
        ("import", REPORT, "--into", name),
        ("import", REPORT, f"--into={name}"),
        ("render", SMOKE, odd.results_dir, "backend=gke", "--out", name),
    ):
        assert answers(*arguments) == 2, arguments
    assert list(tmp_path.iterdir()) == []


def test_odd_texts(answers: Answers, odd: Odd) -> None:
    for text in ODD_TEXTS:
        for option in ("--where", "--columns", "--sort"):
            answers("show", odd.table, f"{option}={text}")
            answers("show", odd.table, "--json", option, text)
        for option in ("--metric", "--at", "--allow"):
            answers("compare", odd.table, odd.table, f"{option}={text}")
        for option in ("--set", "--pattern"):
            answers("import", REPORT, f"{option}={text}")


def test_odd_numbers(answers: Answers, odd: Odd) -> None:
    for text in ODD_TEXTS[:12]:
        for option in ("--noise", "--alpha", "--source", "--fail-on"):
            assert answers("compare", odd.table, odd.table, f"{option}={text}") in (0, 2)


@pytest.mark.parametrize("override", ODD_OVERRIDES, ids=lambda override: ascii(override[:40]))
def test_odd_overrides(override: str, answers: Answers, odd: Odd) -> None:
    answers("plan", SMOKE, odd.results_dir, override)
    answers("plan", "-m", SMOKE, odd.results_dir, "tp=1,2", override)


def test_an_experiment_is_no_command_and_its_spelling_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["smoke"]) == 2
    assert capsys.readouterr().err.startswith("sweep: smoke is not a command; write +experiment=smoke")


def test_no_pickle_is_ever_loaded(tmp_path: Path) -> None:
    (tmp_path / "evil.pickle").write_bytes(b"cos\nmkdir\n(V" + str(tmp_path / "made").encode() + b"\ntR.")
    for option in ("--experimental-rerun", "--exp"):
        command = [sys.executable, "-m", "sweep", "plan", option, str(tmp_path / "evil.pickle")]
        done = subprocess.run(command, capture_output=True, text=True, cwd=SHIPPED, check=False)
        assert done.returncode == 2 and done.stderr.startswith(f"sweep: {option} is not an option")
        assert done.stdout == "" and done.stderr.count("\n") == 1
    assert not (tmp_path / "made").exists()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["show", "compare", "html", "compact", "import"]),
    st.lists(
        st.one_of(
            st.text(max_size=20),
            st.sampled_from(
                ["--json", "--csv", "--all", "--desc", "--watch", "--out", "--into", "--where", "--at", "-", "{t}"]
            ),
        ),
        max_size=5,
    ),
)
def test_any_arguments(answers: Answers, odd: Odd, command: str, arguments: list[str]) -> None:
    typed = [odd.table if argument == "{t}" else argument for argument in arguments if argument != "-"]
    if not any(argument.strip("./") == "" for argument in typed):  # a parent of the folder of this test is not its own
        answers(command, *typed)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_what_may_not_be_read_or_written_is_one_message(answers: Answers, odd: Odd, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o000)
    assert answers("show", str(closed / "x")) == 2
    assert answers("import", str(closed)) == 3
    assert answers("import", REPORT, "--into", str(closed / "x")) == 2
    assert answers("html", odd.table, "--out", str(closed / "x.html")) == 2


def test_an_error_that_nobody_has_foreseen_is_one_line_and_its_trace_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run_command(["plan", SMOKE, f"results_dir={tmp_path}", "backend.name=broken:Backend"]) == 2
    err = capsys.readouterr().err
    (trace,) = tmp_path.glob("sweep-error-*.txt")
    assert err.startswith("sweep: internal error, ") and err.count("\n") == 1 and str(trace) in err
    assert "Traceback (most recent call last)" in trace.read_text()


@pytest.mark.parametrize("empty", ["", "''", "' '"])
def test_an_empty_results_folder_is_not_the_current_one(
    empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("run", "plan", "status"):
        assert run_command([command, SMOKE, f"results_dir={empty}"]) == 2
        assert "results_dir must be a folder's name, not empty" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
