"""launchers/: each result is announced by a step, and nobody else's print can be taken for either."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path

import pytest

from tests.patience import HANG_S
from tests.test_launcher import HF, MARK, Pod, deployment

STEP = "SWEEP_STEP "


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path / "pod", deployment())


def printed(pod: Pod, **environment: str) -> list[str]:
    """Return the lines of the container's log, which holds both outputs."""
    done = subprocess.run(
        pod.command(),
        env=pod.environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=HANG_S,
        check=False,
        cwd=pod.folder,
    )
    return done.stdout.splitlines()


def announced(lines: list[str]) -> list[tuple[str, str]]:
    """Return what was announced before each result; its point must be that of the result."""
    protocol = [line for line in lines if line.startswith((STEP, MARK))]
    found = []
    for before, line in itertools.pairwise(protocol):
        if line.startswith(MARK):
            result = json.loads(line.removeprefix(MARK))
            _, name, point, attempt = before.split()
            assert (point, attempt) == (result["point"], result["attempt"])
            found.append((name, result["deployment"]))
    return found


def test_a_result_is_announced_also_where_it_lies_on_the_volume_already(pod: Pod) -> None:
    assert announced(printed(pod)) == [("point", "d1")] * 2
    assert announced(printed(pod, SWEEP_DEPLOYMENT_ID="d2")) == [("published", "d2")] * 2


def test_a_result_without_a_run_is_announced(pod: Pod) -> None:
    (pod.folder / "trtllm" / "prepare_dataset.py").unlink()
    assert announced(printed(pod)) == [("published", "d1")] * 2


def test_what_other_programs_print_is_no_step_and_no_result(pod: Pod) -> None:
    point = pod.deployment.attempts[0].point_id
    forged = f'SWEEP_STEP point {point} 1-1\nSWEEP_RESULT {{"point": "{point}", "attempt": "1-1"}}'
    pod.program("hf", HF.replace("exit ", f"echo '{forged}'\nexit "))
    lines = printed(pod)
    assert announced(lines) == [("point", "d1")] * 2
    assert len([line for line in lines if "SWEEP_STEP" in line or "SWEEP_RESULT" in line]) == 5
    assert f"SWEEP-STEP point {point} 1-1" in lines
