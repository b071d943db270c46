"""`python -m sweep html`, and the page that a run keeps up to date."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from sweep.cli import run_command
from sweep.cli.pages import follow
from sweep.table import Results
from tests.browser.tables import measured, simulated
from tests.patience import HANG_S

ROOT = Path(__file__).parent.parent


def told(path: Path) -> tuple[bool, int]:
    """Whether the page is live, and how many rows it has."""
    (found,) = re.findall(r'id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    data = json.loads(found)
    return data["live"], data["rows"]["count"]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [sys.executable, "-m", "sweep", *arguments]
    environment = clean | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=HANG_S)


def test_html_writes_one_file_beside_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = measured(tmp_path / "night", repeats=1)
    assert run_command(["html", str(results.folder)]) == 0
    assert told(results.page_file) == (False, len(results.load()))
    assert capsys.readouterr().err.startswith(f"{results.page_file}: ")
    assert not list(results.folder.glob(".tmp-*"))


def test_html_writes_where_it_is_told(tmp_path: Path) -> None:
    results = measured(tmp_path / "night", repeats=1)
    out = tmp_path / "to send.html"
    assert run_command(["html", str(results.folder), "--out", str(out)]) == 0
    assert told(out)[1] == len(results.load())
    assert not results.page_file.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere holds no table"),
        (["night", "--out", "."], "--out . is a folder; name a file"),
        (["night", "--out", "no/such.html"], "there is no folder no"),
    ],
)
def test_html_says_what_it_needs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    Results(tmp_path / "night").open_or_create()
    monkeypatch.chdir(tmp_path)
    assert run_command(["html", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_page_follows_the_rows_of_a_run_until_it_releases_the_table(tmp_path: Path) -> None:
    results, run_of_ours, seen = Results(tmp_path / "night"), ExitStack(), list[tuple[bool, int]]()
    run_of_ours.enter_context(results.lock())
    results.open_or_create()

    def wait(_: float) -> None:
        seen.append(told(results.page_file))
        if len(seen) == 1:
            simulated(results)
        elif seen[-1] != seen[0]:
            run_of_ours.close()

    follow(results, results.page_file, wait)
    assert seen[0] == (True, 0)
    assert seen[-1] == (True, len(results.load()))
    assert told(results.page_file) == (False, len(results.load()))


def test_a_run_with_html_live_leaves_the_last_page(tmp_path: Path) -> None:
    done = run("+experiment=smoke", "html=live", "run.repeats=2", cwd=tmp_path)
    results = Results(tmp_path / "results" / "smoke")
    assert done.returncode == 0, done.stderr
    assert f"Page: {results.page_file.relative_to(tmp_path)}" in done.stderr
    assert told(results.page_file) == (False, len(results.load()))
    again = run("+experiment=smoke", "html=live", "run.repeats=2", cwd=tmp_path)
    assert (again.returncode, "nothing to do" in again.stderr) == (0, True)


def test_what_is_measured_does_not_depend_on_the_page(tmp_path: Path) -> None:
    plans = [run("plan", "+experiment=smoke", *extra, cwd=tmp_path).stdout for extra in ([], ["html=live"])]
    assert plans[0] == plans[1] != ""


def test_html_must_be_live_or_nothing(tmp_path: Path) -> None:
    done = run("plan", "+experiment=smoke", "html=always", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "sweep: html must be live or null, not 'always'\n")
