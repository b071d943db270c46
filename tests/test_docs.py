"""The documentation tells the truth: commands and snippets run, links lead somewhere, pictures are of our own rows."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import sweep
from docs import draw
from sweep.cli import COMMANDS, run_command
from sweep.figures import pictures
from sweep.point import KvCacheDtype
from sweep.table import Results
from tests.browser.tables import measured, points, simulated
from tests.patience import HANG_S

ROOT = Path(__file__).parent.parent
TUTORIAL = ROOT / "docs" / "tutorial.md"
NOTEBOOK = ROOT / "examples" / "analysis.ipynb"
PAGES = [ROOT / "README.md", ROOT / "charts" / "trtllm-bench" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PICTURES = sorted((ROOT / "docs" / "pictures").glob("*.svg"))
WITH_OVERRIDES = {"run", "plan", "render", "status", "doctor", "gc"}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: `info` stands behind its fence, for example `bash cluster`."""

    info: str
    text: str


def blocks(page: Path) -> list[Block]:
    found = re.findall(r"^```([^\n]*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(info, text) for info, text in found]


def environment() -> dict[str, str]:
    """A person's shell in which .venv is active, from where `python -m sweep` is found."""
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}
    programs = os.pathsep.join([str(Path(sys.executable).parent), clean["PATH"]])
    return clean | {"PATH": programs, "PYTHONPATH": str(ROOT), "COLUMNS": "160"}


# ------------------------------------------------------------------------------------------------------- the tutorial


@dataclass(frozen=True, slots=True)
class Told:
    """A block of the tutorial that was run: what it printed, and what the tutorial says that it prints."""

    block: Block
    printed: str
    claimed: tuple[str, ...]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tutorial")


@pytest.fixture(scope="module")
def told(home: Path) -> list[Told]:
    """Run what the tutorial runs without a cluster, in its order, as one person at one place."""
    names: dict[str, Any] = {}
    ran: list[Told] = []
    for block in blocks(TUTORIAL):
        if block.info == "text":
            ran[-1] = Told(ran[-1].block, ran[-1].printed, (*ran[-1].claimed, *block.text.splitlines()))
        elif block.info == "bash":
            command = ["bash", "-euo", "pipefail", "-c", block.text]
            done = subprocess.run(
                command, cwd=home, env=environment(), capture_output=True, text=True, timeout=HANG_S, check=False
            )
            assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
            ran.append(Told(block, done.stdout + done.stderr, ()))
        elif block.info == "python":
            printed = io.StringIO()
            with contextlib.chdir(home), contextlib.redirect_stdout(printed):
                exec(compile(block.text, named(TUTORIAL), "exec"), names)
            ran.append(Told(block, printed.getvalue(), ()))
    return ran


def test_the_tutorial_runs_and_prints_what_it_says(told: list[Told]) -> None:
    assert len(told) >= 8
    missing = []
    for one in told:
        lines = [" ".join(line.split()) for line in one.printed.splitlines()]
        for claim in filter(None, (" ".join(line.split()) for line in one.claimed)):
            pattern = re.compile(".*".join(map(re.escape, claim.split("…"))))
            if not any(pattern.search(line) for line in lines):
                missing.append(f"{claim!r} after\n{one.block.text}{one.printed}")
    assert not missing, "\n".join(missing)
    assert sum(bool(one.claimed) for one in told) >= 6


def test_the_tutorial_leaves_what_it_says(told: list[Told], home: Path) -> None:
    assert len(sweep.load(home / "results" / "ds_r1_grid")) == 132
    assert (home / "results" / "ds_r1_grid" / "index.html").stat().st_size > 500_000


# ------------------------------------------------------------------------------------------------- the other commands


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tables, logs and configurations that the pages speak of."""
    folder = tmp_path_factory.mktemp("desk")
    results = folder / "results"
    fp8 = [point for point in points() if point.kv_cache_dtype is KvCacheDtype.FP8]
    for name in ("old", "new", "baseline", "candidate", "measured", "ds_r1_grid"):
        measured(results / name, of=fp8, repeats=1)
    for name in ("ds_r1_grid", "predicted"):
        simulated(Results(results / name), kv_cache_dtype=KvCacheDtype.FP8)
    (folder / "logs").mkdir()
    report = ROOT / "tests" / "data" / "reports" / "1.2.0rc2-throughput-streaming.txt"
    shutil.copy(report, folder / "logs" / "run_tp4_c64_.txt")
    shutil.copy(report.with_suffix(".json"), folder / "old-report.json")
    (folder / "pod.log.gz").write_bytes(gzip.compress(report.read_bytes()))
    shutil.copytree(ROOT / "conf", folder / "my-conf", ignore=shutil.ignore_patterns("config.yaml"))
    return folder


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the arguments of each `python -m sweep` of a page, in blocks or sentences; not of those that `told` ran."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    if page == TUTORIAL:
        text = re.sub(r"^```bash\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    fenced = re.findall(r"^(?:[^`\n]*\| *)?python -m sweep\b(?!\.)([^\n]*)$", text, re.MULTILINE)
    indented = re.findall(r"^    (?:[^`\n]*\| *)?python -m sweep\b(?!\.)([^\n]*)$", text, re.MULTILINE)
    spoken = re.findall(r"`(?:[^`\n]*\| )?python -m sweep ([^`]*)`", text)
    for line in dict.fromkeys([*fenced, *indented, *spoken]):
        yield shlex.split(line, comments=True)


def everything() -> list[Any]:
    found = [(page, arguments) for page in PAGES for arguments in commands(page)]
    return [pytest.param(arguments, id=f"{named(page)}: {' '.join(arguments)}") for page, arguments in found]


def as_plan(arguments: list[str]) -> list[str]:
    """Return the command that reads the same overrides and touches nothing."""
    rest = arguments[1:] if arguments[0] in WITH_OVERRIDES else arguments
    for option in ("--out", "--owner"):
        if option in rest:
            at = rest.index(option)
            rest = rest[:at] + rest[at + 2 :]
    return ["plan", *rest]


@pytest.mark.parametrize("arguments", everything())
def test_every_command_of_the_pages_is_understood(
    arguments: list[str], desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands with overrides are planned, all others are run; a sentence may leave out the rest by `...`."""
    log = (desk / "logs" / "run_tp4_c64_.txt").read_bytes()
    if (len(arguments) == 1 and "=" not in arguments[0]) or "..." in arguments:
        assert arguments[0] in {*COMMANDS, "--help"}
        return
    monkeypatch.chdir(desk)
    if arguments[0] in WITH_OVERRIDES or arguments[0].startswith(("+", "-m")):
        arguments = as_plan(arguments)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(log)))
    arguments = [argument.replace("NAME", "ds_r1_grid") for argument in arguments]
    arguments = [match for a in arguments for match in ([str(p) for p in Path().glob(a)] if "logs/*" in a else [a])]
    assert run_command([a for a in arguments if a != "--watch"]) in (0, 1), capsys.readouterr().err


@pytest.mark.parametrize("page", [page for page in PAGES if page != TUTORIAL], ids=named)
def test_every_python_snippet_runs(page: Path, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    names: dict[str, Any] = {}
    for block in blocks(page):
        if block.info == "python":
            exec(compile(block.text, named(page), "exec"), names)


# ------------------------------------------------------------------------------------------------------- the notebook


def test_the_notebook_runs_from_rows_to_a_decision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a small simulated table, in a kernel of its own."""
    simulated(Results(tmp_path / "results" / "ds_r1_grid"), kv_cache_dtype=KvCacheDtype.FP8)
    (tmp_path / "examples").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook, timeout=HANG_S, kernel_name="python3", resources={"metadata": {"path": str(tmp_path / "examples")}}
    )
    client.execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    drawn = [output.data["image/svg+xml"] for output in shown if "image/svg+xml" in output.get("data", {})]
    assert len(drawn) == 2
    assert all("PREDICTED, not measured" in "".join(picture) for picture in drawn)
    decision = shown[-1].data["text/plain"]
    assert "usd_per_million_output" in decision and "simulated" in decision
    assert not [output for output in shown if output.get("name") == "stderr"]


def test_the_notebook_is_kept_without_its_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
    assert NOTEBOOK.stat().st_size < 20_000


# ------------------------------------------------------------------------------------------------ pictures and links


def test_the_pictures_are_those_of_our_own_rows(told: list[Told], home: Path) -> None:
    drawn = draw.of_the_grid(sweep.load(home / "results" / "ds_r1_grid"))
    assert drawn
    for name, chart in drawn.items():
        kept = (ROOT / "docs" / "pictures" / name).read_text(encoding="utf-8")
        assert pictures.svg(chart) == kept, f"{name} is not what the predictions say now: make pictures"


def test_every_picture_is_shown_small_and_readable_in_the_dark() -> None:
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert {path.name for path in PICTURES} == {"fronts.svg", "throughput.svg", "ttft.svg", "published.svg", "flow.svg"}
    for path in PICTURES:
        drawn = path.read_text(encoding="utf-8")
        ET.fromstring(drawn)
        assert path.stat().st_size < 150_000
        assert f"pictures/{path.name})" in shown
        assert re.search(r"@media \(prefers-color-scheme: ?dark\)", drawn)
        assert not re.search(r"<script|<image|href=|url\(http|@import", drawn)
        if path.name not in ("flow.svg", "published.svg"):
            assert ">PREDICTED<" in drawn and ">PREDICTED, not measured: " in drawn


def test_the_picture_of_published_numbers_has_all_of_them() -> None:
    drawn = (ROOT / "docs" / "pictures" / "published.svg").read_text(encoding="utf-8")
    assert "NVIDIA's 213 published throughputs" in drawn.replace("&#39;", "'")
    assert drawn.count('aria-roledescription="point"') == 213


def slugs(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=named)
def test_every_link_into_a_page_finds_its_heading(page: Path) -> None:
    broken = []
    for path, anchor in re.findall(r"\]\(([^)\s#:]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        if target.suffix == ".md" and anchor not in slugs(target):
            broken.append(f"{path}#{anchor}")
    assert broken == []
