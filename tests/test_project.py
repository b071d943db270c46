"""The project's own promises: the lock, the links, the shipped models, the Makefile."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from sweep.point import Precision
from tests.patience import HANG_S

ROOT = Path(__file__).parent.parent
MODELS = sorted((ROOT / "conf" / "model").glob("*.yaml"))
ENGINES = sorted((ROOT / "trtllm-configs").glob("*.yaml"))
MODEL_KEYS = {"id", "precision", "weights_gb", "kv_cache_dtype", "moe", "mtp", "engine_config", "predict_as"}
COMMAND_LINE_ONLY = {
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "moe_expert_parallel_size",
    "max_batch_size",
    "max_num_tokens",
    "max_seq_len",
    "enable_attention_dp",
    "print_iter_log",
}
"""Given on trtllm-bench's command line, by the setting attention_dp, or (print_iter_log) never: it fills the log."""
TOO_BIG_BYTES = 500_000


def read(path: Path) -> dict[str, Any]:
    found = yaml.safe_load(path.read_text())
    assert isinstance(found, dict)
    assert found
    return found


def tracked() -> list[Path]:
    """The files of the repository, those not yet committed included."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("no git checkout: which files belong to the repository is not known")
    listed = subprocess.run(
        [git, "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=HANG_S,
    )
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


# ------------------------------------------------------------------------------------------------------------ the lock


LOCKS = ("requirements.lock", "requirements-dev.lock")
"""What running needs, and what tests and checks need beyond it."""


def locked(*files: str) -> dict[str, list[str]]:
    """Name -> versions in the locks (more than one where they depend on the Python)."""
    found: dict[str, list[str]] = {}
    for file in files:
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", (ROOT / file).read_text(), re.MULTILINE):
            found.setdefault(name.lower(), []).append(version)
    return found


@pytest.mark.parametrize("file", LOCKS)
def test_every_locked_version_has_hashes(file: str) -> None:
    for entry in re.split(r"^(?=\S)", (ROOT / file).read_text(), flags=re.MULTILINE):
        if entry.strip() and not entry.startswith("#"):
            assert "--hash=sha256:" in entry, entry.splitlines()[0]


@pytest.mark.parametrize("file", LOCKS)
def test_the_lock_names_no_index(file: str) -> None:
    assert not re.search(r"://|--(extra-)?index-url|--find-links", (ROOT / file).read_text())


def test_the_locks_cover_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    running = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["predict"]]
    for asked, file in ((running, LOCKS[0]), (project["dependency-groups"]["dev"], LOCKS[1])):
        have = locked(file)
        for requirement in map(Requirement, asked):
            versions = have.get(requirement.name.lower().replace("_", "-"), [])
            assert versions, f"{requirement.name} is not in {file}: make lock"
            assert all(requirement.specifier.contains(version) for version in versions), f"{requirement}: make lock"


def test_the_locks_agree() -> None:
    running, developing = locked(LOCKS[0]), locked(LOCKS[1])
    assert {name: running[name] for name in running.keys() & developing.keys()} == {
        name: developing[name] for name in running.keys() & developing.keys()
    }


def test_running_needs_no_tool_of_developers() -> None:
    assert not locked(LOCKS[0]).keys() & {"pytest", "mypy", "ruff", "playwright", "duckdb", "ipykernel"}


# ---------------------------------------------------------------------------------------------------------- the files


def test_every_relative_link_leads_somewhere() -> None:
    broken = []
    for page in (path for path in tracked() if path.suffix == ".md"):
        text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path = target.split("#")[0]
            if path and "://" not in path and not (page.parent / path).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def test_no_file_is_big() -> None:
    assert [str(path) for path in tracked() if path.stat().st_size > TOO_BIG_BYTES] == []


# --------------------------------------------------------------------------------------------------------- the models


def test_the_recipe_has_eleven_models() -> None:
    assert len(MODELS) == 11
    assert len({read(path)["id"] for path in MODELS}) == 11


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_a_model_says_all_there_is_to_say(path: Path) -> None:
    said = read(path)
    assert set(said) == MODEL_KEYS
    assert said["precision"] in list(Precision)
    assert (ROOT / "trtllm-configs" / said["engine_config"]) in ENGINES


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_no_moe_backend_without_kernels_for_the_checkpoint(path: Path) -> None:
    said = read(path)
    backend = read(ROOT / "trtllm-configs" / said["engine_config"]).get("moe_config", {}).get("backend")
    assert said["moe"] or backend is None
    assert (backend == "DEEPGEMM") == (said["precision"] == Precision.FP8_BLOCK)


@pytest.mark.parametrize("path", ENGINES, ids=lambda path: path.stem)
def test_an_engine_file_repeats_the_whole_kv_section_and_nothing_of_the_command_line(path: Path) -> None:
    said = read(path)  # not empty: that crashes trtllm-bench
    assert said["kv_cache_config"]["enable_block_reuse"] is False
    assert 0 < said["kv_cache_config"]["free_gpu_memory_fraction"] < 1
    assert not COMMAND_LINE_ONLY & set(said)


def test_every_engine_file_has_a_model() -> None:
    assert {path.name for path in ENGINES} == {read(path)["engine_config"] for path in MODELS}


# -------------------------------------------------------------------------------------------------- make and .ci/run


def test_without_a_fitting_python_setup_says_so(tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.lock").touch()
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3.13").write_text("#!/bin/sh\necho 'a shim of a version that is not there' >&2\nexit 127\n")
    (programs / "python3").write_text("#!/bin/sh\nexit 1\n")  # too old
    for program in programs.iterdir():
        program.chmod(0o755)
    done = subprocess.run(
        [make, "setup"], cwd=tmp_path, env={"PATH": str(programs)}, capture_output=True, text=True, timeout=HANG_S
    )
    assert done.returncode == 2
    assert done.stderr.startswith("sweep needs Python 3.11, 3.12 or 3.13")
    assert not (tmp_path / ".venv").exists()


def test_setup_does_not_empty_what_a_link_leads_to(tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.lock").touch()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "kept").touch()
    (tmp_path / ".venv").symlink_to("theirs")
    done = subprocess.run([make, "setup"], cwd=tmp_path, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 2 and ".venv is a link to theirs" in done.stderr
    assert (tmp_path / "theirs" / "kept").exists()


def test_ci_calls_make_and_nothing_else() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert commands[0] == "set -euo pipefail"
    assert {line.split()[0] for line in commands[1:]} <= {"cd", "make"}


def test_the_public_names_are_there_and_told() -> None:
    import sweep

    assert set(sweep.__all__) == {"Point", "__version__", "best", "compare", "cost", "interpolate", "load", "pareto"}
    assert dir(sweep) == sorted(sweep.__all__)
    for name in sweep.__all__:
        assert getattr(sweep, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = sweep.lod  # type: ignore[attr-defined]
