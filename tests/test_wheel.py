"""What is installed works from any folder: the wheel that pip installs, and the checkout after `make setup`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.patience import HANG_S

ROOT = Path(__file__).parent.parent
LEFT_OUT = (".*", "results", "build", "dist", "*.egg-info", "__pycache__")
"""What is not of the source: everything hidden (.git, .venv, caches), what is built and what was measured."""


def run(*command: str | Path, cwd: Path) -> str:
    """Return stdout; no environment of ours may make up for what the wheel lacks."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=clean, capture_output=True, text=True, timeout=HANG_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this tree, built offline by the setuptools of the lock."""
    tmp = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, tmp / "tree", ignore=shutil.ignore_patterns(*LEFT_OUT))
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp / "dist", cwd=tmp / "tree")
    (built,) = (tmp / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and, through a .pth, the dependencies of this one; its folder of programs."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=home)
    (packages,) = (home / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def test_the_wheel_carries_all_that_a_checkout_has(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        str(path.relative_to(ROOT)) for folder in ("sweep", "hydra_plugins") for path in (ROOT / folder).rglob("*.py")
    } | {
        str(Path("sweep") / path.relative_to(ROOT))
        for folder in ("conf", "trtllm-configs", "charts", "launchers")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    expected |= {str(path.relative_to(ROOT)) for path in (ROOT / "sweep" / "figures" / "static").iterdir()}
    assert expected <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_carries_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if not name.startswith(("sweep/", "sweep-", "hydra_plugins/sweep_multirun/"))] == []


def test_help_and_plan_work_elsewhere(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "python", "-c", "import sweep; print(sweep.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
    assert "ds_r1_grid" in run(installed / "python", "-m", "sweep", "--help", cwd=tmp_path)
    planned = run(installed / "python", "-m", "sweep", "plan", "+experiment=smoke", cwd=tmp_path)
    assert planned == run(installed / "sweep", "plan", "+experiment=smoke", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_whole_sweep_runs_elsewhere(installed: Path, tmp_path: Path) -> None:
    told = run(installed / "python", "-m", "sweep", "+experiment=smoke", cwd=tmp_path)
    assert "4 ok" in told
    assert len(list((tmp_path / "results" / "smoke" / "raw").glob("*/*/report.json"))) == 4
    run(installed / "python", "-m", "sweep", "html", "results/smoke", cwd=tmp_path)
    assert "vegaEmbed" in (tmp_path / "results" / "smoke" / "index.html").read_text()


# ---------------------------------------------------------------------------------------------------------- a checkout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone called `sweep`, as the README has it, after `make setup`; what is installed comes from here by a .pth."""
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    home = tmp_path_factory.mktemp("clones") / "sweep"
    shutil.copytree(ROOT, home, ignore=shutil.ignore_patterns(*LEFT_OUT, "tests", "docs"))
    (home / "requirements.lock").write_text("")
    printed = run(make, "setup", cwd=home)
    assert "MB" in printed  # what it is going to fetch
    (packages,) = (home / ".venv" / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home


@pytest.mark.parametrize("folder", ["..", ".", "examples"])
def test_a_checkout_is_imported_and_run_from_any_folder(checkout: Path, folder: str) -> None:
    programs, cwd = checkout / ".venv" / "bin", checkout / folder
    code = "import sweep; print(sweep.load.__module__, sweep.__file__)"
    module, file = run(programs / "python", "-c", code, cwd=cwd).split()
    assert module == "sweep.table.reading" and Path(file).is_relative_to(checkout)
    assert run(programs / "sweep", "--version", cwd=cwd) == run(
        programs / "python", "-m", "sweep", "--version", cwd=cwd
    )
    swept = ("plan", "-m", "+experiment=smoke", "concurrency=1,2,4")  # needs Hydra's plugin
    assert "6 points" in run(programs / "sweep", *swept, cwd=cwd)


def test_a_script_beside_the_clone_imports_it(checkout: Path) -> None:
    script = checkout.parent / "mine.py"  # Python takes the clone there for a namespace package, if nothing else is one
    script.write_text("import sweep\nprint(sweep.load)\n")
    assert "function load" in run(checkout / ".venv" / "bin" / "python", script, cwd=checkout.parent)


COMPLETE = """
eval "$(sweep -sc install=bash)"
COMP_LINE="$1"; COMP_POINT=${#COMP_LINE}; words=($COMP_LINE); COMP_CWORD=$((${#words[@]} - 1))
hydra_bash_completion
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("sweep pl", ["plan"]),
        ("sweep plan +experiment=s", ["+experiment=smoke"]),
        ("sweep model=qwen3-32", ["model=qwen3-32b"]),
        ("sweep run backend=", ["backend=gke", "backend=simulated"]),
        ("sweep show res", []),  # paths are bash's own
    ],
)
def test_bash_completes_commands_groups_and_settings(checkout: Path, line: str, completed: list[str]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    path = f"{checkout / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [bash, "-c", COMPLETE, "bash", line],
        cwd=checkout,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(filter(None, done.stdout.split("\n"))) == completed
