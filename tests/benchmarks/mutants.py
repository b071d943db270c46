"""Mutation testing: how many small faults in the modules that must not be wrong do the tests notice?

python -m tests.benchmarks.mutants [--mutants 320] [--seed 1] [--only NAME] [--environment FOLDER]

cosmic-ray makes the mutants (a comparison turned round, a number off by one, `and` for `or`, a decorator or a `not`
gone, a loop that never runs, ...) and runs the tests of the module on each, in a copy of the tree. Which of the
possible mutants are tried is drawn with the seed, for each module as many as its share. Mutants of type annotations
are left out: nothing evaluates them. What survives is printed with its change.

It takes an hour or more. Tests of six mutants run at a time, since those of the launcher mostly wait.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COSMIC_RAY = "cosmic-ray==8.7.0"
TIMEOUT_S, TIMEOUTS = 120.0, 4.0
"""A mutant whose tests take longer than this, and than so many times what they take without it, hangs: that is noticed
too."""
INSTALL_S = 600
AT_A_TIME = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Modules, and the tests that are to notice what is wrong in them, those that notice most for their time first.

    parts: how many copies of the tree are at work on it.
    """

    modules: Sequence[str]
    tests: Sequence[str]
    parts: int = 1


TARGETS: Mapping[str, Target] = {
    "report": Target(
        modules=["sweep/report"],
        tests=[
            *(f"tests/report/test_{name}.py" for name in ("goldens", "evidence", "streams", "serving", "trtllm_json")),
            *(f"tests/report/test_{name}.py" for name in ("agreement", "iterations", "log", "text", "consistency")),
            *("tests/test_validity.py", "tests/report/test_damage.py"),
        ],
        parts=2,
    ),
    "publish": Target(
        modules=["launchers/publish.py"],
        tests=["tests/test_launcher_secrets.py", "tests/test_launcher_steps.py", "tests/test_launcher.py"],
        parts=4,
    ),
    "validity": Target(
        modules=["sweep/validity.py"],
        tests=["tests/test_validity.py", "tests/test_environment.py", "tests/report/test_goldens.py"],
    ),
    "retry": Target(modules=["sweep/retry.py"], tests=["tests/test_retry.py", "tests/test_steering.py"]),
    "store": Target(modules=["sweep/table/store.py"], tests=["tests/test_table.py", "tests/test_results_folder.py"]),
    "driver": Target(
        modules=["sweep/driver/recorder.py", "sweep/driver/work.py"],
        tests=["tests/test_work.py", "tests/test_published.py", "tests/test_steering.py"],
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """What was changed, and whether the tests noticed."""

    place: str
    operator: str
    outcome: str
    change: str


def tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def cosmic_ray(folder: Path) -> Path:
    """Make an environment with cosmic-ray, or take the one that is there, and return its programs' folder."""
    programs = folder / "bin"
    if not (programs / "cosmic-ray").exists():
        tell(f"installing {COSMIC_RAY} into {folder}")
        venv.create(folder, with_pip=True)
        install = [str(programs / "python"), "-m", "pip", "install", "--quiet", COSMIC_RAY]
        subprocess.run(install, check=True, timeout=INSTALL_S, stdout=sys.stderr)
    return programs


def call(program: Path, *arguments: str | Path, tree: Path) -> str:
    return subprocess.run([program, *arguments], cwd=tree, check=True, capture_output=True, text=True).stdout


def configure(tree: Path, target: Target, timeout_s: float) -> None:
    """Write what cosmic-ray shall do in this tree."""
    command = f"{sys.executable} -m pytest -x -q -p no:cacheprovider {' '.join(target.tests)}"
    (tree / "mutants.toml").write_text(
        f"[cosmic-ray]\nmodule-path = {json.dumps(target.modules)}\ntimeout = {timeout_s}\nexcluded-modules = []\n"
        f'test-command = "{command}"\n\n[cosmic-ray.distributor]\nname = "local"\n'
    )


def begin(name: str, target: Target, folder: Path, programs: Path) -> tuple[Path, int]:
    """Copy the tree, and return the copy and how many mutants there could be."""
    tree = folder / name
    known = subprocess.check_output(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, text=True)
    for file in known.split("\0")[:-1]:
        (tree / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tree / file)
    configure(tree, target, 20 * TIMEOUT_S)
    call(programs / "cosmic-ray", "init", "mutants.toml", "mutants.sqlite", tree=tree)
    drawn = call(programs / "python", Path(__file__).with_name("mutants_drawn.py"), "mutants.sqlite", tree=tree)
    return tree, int(drawn)


def finish(name: str, target: Target, tree: Path, programs: Path, count: int, seed: int, part: int = 0) -> list[Mutant]:
    """Draw the mutants, run the tests on each of this part of them in a copy of the tree, and return what came of them.

    Raises:
        subprocess.CalledProcessError: the tests fail on the module as it is.
    """
    tree = shutil.copytree(tree, tree.with_name(f"{name}.{part}"))
    drawing = [Path(__file__).with_name("mutants_drawn.py"), "mutants.sqlite", *map(str, (count, seed))]
    call(programs / "python", *drawing, str(part), str(target.parts), tree=tree)
    begun = time.monotonic()
    call(programs / "cosmic-ray", "baseline", "mutants.toml", tree=tree)  # the tests pass as they are
    baseline_s = time.monotonic() - begun
    tell(f"{name}: {count} mutants, part {part + 1} of {target.parts}, tests of {baseline_s:.0f} s")
    configure(tree, target, max(TIMEOUT_S, TIMEOUTS * baseline_s))
    call(programs / "cosmic-ray", "exec", "mutants.toml", "mutants.sqlite", tree=tree)
    mutants = []
    for line in call(programs / "cosmic-ray", "dump", "mutants.sqlite", tree=tree).splitlines():
        work, result = json.loads(line)
        if result is None or result["worker_outcome"] == "skipped":
            continue
        (mutation,) = work["mutations"]
        changed = [
            text
            for text in (result["diff"] or "").splitlines()
            if text[:1] in "+-" and not text.startswith(("+++", "---"))
        ]
        mutants.append(
            Mutant(
                place=f"{mutation['module_path']}:{mutation['start_pos'][0]}",
                operator=mutation["operator_name"].removeprefix("core/"),
                outcome=str(result["test_outcome"]),
                change="\n".join(f"        {text}" for text in changed),
            )
        )
    return mutants


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.mutants", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--mutants", type=int, default=320, help="how many are tried, of all targets together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=TARGETS, action="append", help="these targets alone")
    parser.add_argument("--environment", type=Path, help="where cosmic-ray is, or is to be installed and kept")
    given = parser.parse_args()
    chosen = {name: TARGETS[name] for name in given.only or TARGETS}
    with tempfile.TemporaryDirectory() as made, ThreadPoolExecutor(AT_A_TIME) as pool:
        folder = Path(made)
        programs = cosmic_ray(given.environment or folder / "environment")
        begun = {name: begin(name, target, folder, programs) for name, target in chosen.items()}
        possible = sum(count for _, count in begun.values())
        ending = {
            name: [
                pool.submit(
                    finish,
                    name,
                    chosen[name],
                    tree,
                    programs,
                    round(given.mutants * count / possible),
                    given.seed,
                    part,
                )
                for part in range(chosen[name].parts)
            ]
            for name, (tree, count) in begun.items()
        }
        ended = {name: [mutant for part in parts for mutant in part.result()] for name, parts in ending.items()}
    survivors = [mutant for mutants in ended.values() for mutant in mutants if mutant.outcome == "survived"]
    for mutant in survivors:
        print(f"survived: {mutant.place} {mutant.operator}\n{mutant.change}")
    print("\n| | possible | tried | killed | |\n| --- | ---: | ---: | ---: | ---: |")
    for name, mutants in ended.items():
        killed = sum(mutant.outcome != "survived" for mutant in mutants)
        print(f"| {name} | {begun[name][1]} | {len(mutants)} | {killed} | {killed / max(1, len(mutants)):.0%} |")
    tried = sum(map(len, ended.values()))
    print(f"\n{tried} mutants, {tried - len(survivors)} killed: {1 - len(survivors) / tried:.1%}")


if __name__ == "__main__":
    main()
