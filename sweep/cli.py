"""The commands: what a person types becomes calls of the modules, and their answers are printed here and nowhere else.

Exit codes: 0 every point has its ok rows; 2 the user's mistake; 3 the sweep ended, but some points failed, were skipped
or cannot be predicted; 130 interrupted, everything kept.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.errors import Interrupted, UsageError, nearest

if TYPE_CHECKING:
    from sweep.config import SweepConfig
    from sweep.driver import RayStart
    from sweep.matrix import Expansion
    from sweep.plan import Held, Plan
    from sweep.point import Model
    from sweep.table import Results, Source

OK, MISTAKE, INCOMPLETE, INTERRUPTED = 0, 2, 3, 130

HYDRA_ANSWERS = (
    "--help",
    "-h",
    "--cfg",
    "-c",
    "--info",
    "-i",
    "--version",
    "--shell-completion",
    "-sc",
    "--hydra-help",
)
"""With one of these Hydra prints something and nothing runs."""


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    commands: Mapping[str, Callable[[list[str]], int]] = {
        "run": _run,
        "plan": _plan,
        "render": _render,
        "status": _status,
        "doctor": _doctor,
        "gc": _gc,
        "show": _show,
        "import": _import,
        "compact": _compact,
    }
    first, rest = (arguments[0], list(arguments[1:])) if arguments else ("run", [])
    try:
        if first in commands:
            return commands[first](rest)
        if not first.startswith(("-", "+", "~")) and "=" not in first:
            raise UsageError(f"{first} is no command{nearest(first, commands)}; there are {', '.join(commands)}")
        return _run(list(arguments))
    except UsageError as error:
        print(f"sweep: {error}", file=sys.stderr)
        return MISTAKE
    except (Interrupted, KeyboardInterrupt) as error:
        print(f"sweep: {error or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


# ------------------------------------------------------------------------------------- commands with Hydra overrides


def _run(arguments: list[str]) -> int:
    from sweep import composition

    if any(argument.split("=")[0] in HYDRA_ANSWERS for argument in arguments):
        composition.read(arguments)
        return OK
    from sweep import backends, cluster, driver, summary

    ray = driver.RayStart()  # imports Ray in a thread while the configuration is read
    cfg = composition.read(arguments)
    if cfg is None:
        return OK
    results = _results(cfg)
    grown = _expand(cfg)
    try:
        with results.lock():
            if not results.sweep_file.exists() and backends.find(cfg.backend).in_process:
                ray.begin(cfg.ray.address)  # all of a new sweep is to do; of a known one perhaps nothing
            sweep_id = results.open_or_create()
            held, nodes = cluster.take_stock(cfg, sweep_id), cluster.nodes_by_quota(cfg)
            job = _job(cfg, grown, results, sweep_id, held=held, nodes=nodes)
            if job.plan.attempts:
                _carry(cfg, job, results, ray)
            else:
                told = f"all {len(job.plan.points):,} points have their row; nothing to do"
                print(f"{cfg.name}: {told}", file=sys.stderr)
    finally:
        ray.close()
    frame = results.load()
    summary.print_result(frame, job.plan, results.folder)
    return OK if _complete(frame, job) else INCOMPLETE


def _carry(cfg: SweepConfig, job: _Job, results: Results, ray: RayStart) -> None:
    from sweep import backends, cluster, driver, progress, summary

    deployments = cluster.with_objects(cfg, job.plan)
    _expect_ready(cfg, [text for deployment in deployments for text in deployment.objects[:1]])
    recorder = driver.Recorder(
        results=results,
        sweep_id=job.sweep_id,
        backend=cfg.backend,
        source=job.source,
        config_hash=results.write_config(dict(cfg.resolved) | {"pruned": summary.pruned_as_data(job.plan)}),
    )
    ray.begin(cfg.ray.address)
    with progress.Progress(name=cfg.name, total=len(job.plan.attempts), source=job.source) as watcher:
        driver.run(
            deployments,
            recorder=recorder,
            backend_config=cfg.backend_config,
            ray=ray,
            actors=job.actors,
            in_process=backends.find(cfg.backend).in_process,
            watcher=watcher,
            cancel_on_interrupt=cfg.backend_config.get("on_interrupt") == "delete",
        )


def _expect_ready(cfg: SweepConfig, jobs: Sequence[str]) -> None:
    """Ask the cluster, before anything is created on it, whether it can run; say what is odd."""
    from sweep import cluster

    config = cluster.config_of(cfg)
    if config is None or not jobs:
        return
    from sweep import doctor

    for warning in doctor.expect_ready(config, jobs[0]):
        print("\n  ".join([f"{cfg.name}: {line}" for line in doctor.told(warning)]), file=sys.stderr)


def _plan(arguments: list[str]) -> int:
    from sweep import cluster, composition, summary

    as_json = "--json" in arguments
    cfg = composition.read([argument for argument in arguments if argument != "--json"])
    if cfg is None:
        return OK
    results = _results(cfg)
    job = _job(cfg, _expand(cfg), results, _sweep_id(results))
    if as_json:
        print(json.dumps(summary.plan_as_data(job.plan)))
    else:
        summary.print_plan(job.plan, cfg.name, job.source)
        if cluster.config_of(cfg) is not None and cfg.run.nodes is None:
            print("\nrun.nodes is not given: shown for one node; a run takes as many as its queue has quota for.")
    return OK


def _render(arguments: list[str]) -> int:
    from sweep import cluster, composition

    folder, rest = _take_option(arguments, "--out")
    cfg = composition.read(rest)
    if cfg is None:
        return OK
    if folder is None:
        raise UsageError("render where? for example: python -m sweep render +experiment=smoke backend=gke --out DIR")
    results = _results(cfg)
    job = _job(cfg, _expand(cfg), results, _sweep_id(results))
    written = cluster.write_manifests(cfg, job.plan, Path(folder))
    print(f"{len(written)} deployments written to {folder}; nothing was asked of a cluster", file=sys.stderr)
    return OK


def _doctor(arguments: list[str]) -> int:
    from sweep import cluster, composition, plan, predict
    from sweep.backends import find

    as_json = "--json" in arguments
    cfg = composition.read([argument for argument in arguments if argument != "--json"])
    if cfg is None:
        return OK
    config, grown = cluster.config_of(cfg), _expand(cfg)
    if config is None:
        said = f"operator database {predict.database_version()}" if cfg.backend == "simulated" else "nothing to ask"
        print(json.dumps({"name": cfg.backend, "level": "ok", "message": said}) if as_json else f"ok  {said}")
        return OK
    from sweep import doctor
    from sweep.backends.gke.readiness import Finding, Level

    found, job = [], None
    try:
        job = cluster.one_job(cfg, plan.make(grown, sweep_id="not-yet", source=find(cfg.backend).source))
    except UsageError as error:
        if shutil.which("helm"):  # else that is told anyway
            found.append(Finding(name="chart", level=Level.ERROR, message=str(error)))
    found += doctor.examine(config, job)
    for finding in found:
        if as_json:
            print(json.dumps(asdict(finding)))
        else:
            first, *mend = doctor.told(finding)
            print("\n          ".join([f"{finding.level:<8}  {first}", *mend]))
    return MISTAKE if doctor.errors_in(found) else OK


def _gc(arguments: list[str]) -> int:
    from sweep import cluster, composition

    cfg = composition.read(arguments)
    if cfg is None:
        return OK
    results = _results(cfg)
    if not results.sweep_file.exists():
        raise UsageError(f"{results.folder} holds no sweep, so nothing of it can be on a cluster")
    deleted = cluster.remove(cfg, results.sweep_id)
    for name in deleted:
        print(name)
    print(f"{len(deleted)} Jobs of {cfg.name} ({results.sweep_id}) deleted, with pods and ConfigMaps", file=sys.stderr)
    return OK


def _take_option(arguments: Sequence[str], name: str) -> tuple[str | None, list[str]]:
    """Part `name VALUE` or `name=VALUE` from the other arguments."""
    rest, value = [], None
    waiting = iter(arguments)
    for argument in waiting:
        if argument == name:
            value = next(waiting, None)
        elif argument.startswith(f"{name}="):
            value = argument.partition("=")[2]
        else:
            rest.append(argument)
    return value, rest


def _status(arguments: list[str]) -> int:
    from sweep import cluster, composition, summary

    cfg = composition.read(arguments)
    if cfg is None:
        return OK
    results = _results(cfg)
    sweep_id = _sweep_id(results)
    try:
        live = cluster.look(cfg, sweep_id) if results.sweep_file.exists() else ()
        trouble = None
    except UsageError as error:
        live, trouble = (), error
    job = _job(cfg, _expand(cfg), results, sweep_id, held=live)
    frame = results.load() if results.table_dir.is_dir() else None
    summary.print_status(job.plan, frame, holder=results.holder(), folder=results.folder)
    if live:
        summary.print_live(live, job.plan, results_uri=cluster.results_uri(cfg))
    if trouble is not None:
        raise UsageError(f"what runs cannot be seen: {trouble}")
    return OK if not job.plan.attempts else INCOMPLETE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    plan: Plan
    sweep_id: str
    source: Source
    actors: int


def _results(cfg: SweepConfig) -> Results:
    return _results_at(cfg.folder)


def _expand(cfg: SweepConfig) -> list[tuple[Model, Expansion]]:
    """Expand and prune; a sweep without a point is the user's mistake."""
    from sweep import matrix, predict, summary

    if cfg.backend == "simulated" and not predict.available():
        raise UsageError(predict.MISSING_EXTRA)
    memory = predict.too_big if predict.available() else None
    grown = [(part.model, matrix.expand(part.matrix, part.settings, part.model, memory)) for part in cfg.parts]
    if not any(expansion.points for _, expansion in grown):
        pruned: Counter[matrix.Reason] = Counter()
        for _, expansion in grown:
            pruned.update(expansion.pruned)
        raise UsageError("no point is left after pruning:\n" + "\n".join(summary.pruned_lines(pruned)))
    return grown


def _job(
    cfg: SweepConfig,
    grown: list[tuple[Model, Expansion]],
    results: Results,
    sweep_id: str,
    held: Sequence[Held] = (),
    nodes: int | None = None,
) -> _Job:
    """Plan what is not in the table yet.

    held: what exists on the cluster, and is taken over.
    nodes: over how many to spread where the configuration does not say.
    """
    from sweep import backends, plan, predict, simulate
    from sweep.table import Source

    backend = backends.find(cfg.backend)
    source = backend.source
    actors = cfg.ray.actors or ((os.cpu_count() or 1) if backend.in_process else 1)
    history = results.history()
    if cfg.backend == "simulated":
        current = (simulate.SIMULATOR_VERSION, predict.database_version())
        history = [record for record in history if (record.simulator_version, record.db_version) == current]
    made = plan.make(
        grown,
        sweep_id=sweep_id,
        history=history,
        source=source,
        repeats=cfg.run.repeats,
        nodes=cfg.run.nodes or (actors if source == Source.SIMULATED else nodes or 1),
        max_points_per_deployment=cfg.run.max_points_per_deployment,
        held=held,
    )
    return _Job(plan=made, sweep_id=sweep_id, source=source, actors=actors)


def _sweep_id(results: Results) -> str:
    return results.sweep_id if results.sweep_file.exists() else "not-yet"


def _complete(frame: Any, job: _Job) -> bool:
    ids = set(job.plan.points)
    rows = frame[(frame["source"] == job.source) & frame["point_id"].isin(ids)]
    return bool((rows["status"] == "ok").all()) and set(rows["point_id"]) == ids


# ----------------------------------------------------------------------------------------------- commands with paths


def _show(arguments: list[str]) -> int:
    from sweep import summary

    parser = _parser("show", "Print the rows of a table.")
    parser.add_argument("folder", help="results/NAME")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object per row and line")
    form.add_argument("--csv", action="store_true", help="comma-separated, with a header")
    parser.add_argument("--columns", help="comma-separated names; results/README.md explains them")
    said = parser.parse_args(arguments)
    frame = _existing(said.folder).load()
    columns = said.columns.split(",") if said.columns else None
    for column in columns or ():
        if column not in frame:
            raise UsageError(f"there is no column {column}{nearest(column, frame.columns)}")
    if said.json:
        for row in json.loads(frame[columns or list(frame)].to_json(orient="records", date_format="iso")):
            print(json.dumps(row))
    elif said.csv:
        frame[columns or list(frame)].to_csv(sys.stdout, index=False)
    else:
        summary.print_rows(frame, columns)
    return OK


def _import(arguments: list[str]) -> int:
    from sweep import importing

    parser = _parser(
        "import",
        "Reports and logs that you already have become rows: of trtllm-bench 0.16 to 1.4 and benchmark_serving, JSON"
        " or text, pod logs, folders, .gz. Each file is judged as a run of sweep is; a log of a failure is a row too. "
        "Exit code 3: some files could not be read at all; they are named.",
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="a file or a folder; - is the standard input")
    parser.add_argument("--into", metavar="results/NAME", help="append the rows to this table, evidence kept beside it")
    parser.add_argument("--json", action="store_true", help="one JSON object per row and line, every column")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting that the reports do not state, for example concurrency=64; what they state must agree",
    )
    parser.add_argument(
        "--pattern",
        metavar="TEXT",
        help="where settings stand in the files' names, for example '*_tp{tp}_c{concurrency}*'",
    )
    parser.add_argument("--reparse", metavar="results/NAME", help="make all rows of a table again from its raw/")
    said = parser.parse_intermixed_args(arguments)
    if said.reparse is not None:
        if said.files or said.into or said.set or said.pattern:
            raise UsageError("--reparse makes the rows of one table again and takes nothing else")
        return _reparse(said.reparse)
    if not said.files:
        raise UsageError("import what? give files or folders, for example: python -m sweep import logs/*.txt --json")
    given = dict(importing.parse_setting(text) for text in said.set)
    pattern = None if said.pattern is None else importing.Pattern.of(said.pattern)
    with tempfile.TemporaryDirectory(prefix="sweep-import-") as folder:
        paths = [Path(file) if file != "-" else _standard_input(Path(folder)) for file in said.files]
        runs, unreadable, passed_over = importing.find_runs(paths, Path(folder) / "unpacked")
        for run in runs:  # what came by standard input lies in no folder of the user's
            run.named = [Path(file.name) if file.parent == Path(folder) else file for file in run.named]
        imported = [item for run in runs for item in importing.read_run(run, given, pattern)]
        rows, known = [item.row() for item in imported], 0
        if said.into is not None:
            rows, known = importing.add_to(_results_at(Path(said.into)), imported)
    for path, why in unreadable.items():
        print(f"sweep: cannot read {path}: {why}", file=sys.stderr)
    _tell_import(rows, as_json=said.json, into=said.into, known=known, passed_over=passed_over)
    return INCOMPLETE if unreadable else OK


def _tell_import(
    rows: Sequence[Mapping[str, Any]], *, as_json: bool, into: str | None, known: int, passed_over: int
) -> None:
    from sweep import summary

    if as_json:
        for row in rows:
            print(json.dumps(row, default=str))
    else:
        summary.print_imported(rows)
    counts = Counter(row["status"] for row in rows)
    told = [f"{count} {status}" for status, count in counts.items()]
    told += [f"{known} in the table already"] if known else []
    told += [f"{passed_over} other files passed over"] if passed_over else []
    print(f"import{f' into {into}' if into else ''}: {', '.join(told) or 'nothing'}", file=sys.stderr)


def _reparse(folder: str) -> int:
    from sweep import importing
    from sweep.config import SweepConfig

    results = _existing(folder)
    configs = [SweepConfig.of(config, results.folder.parent) for config in results.configs()]
    models = {part.model.id: part.model for config in configs for part in config.parts}
    changes, kept = importing.reparse(results, models)
    counts = Counter(f"{before} → {now}" for before, now in changes if before != now)
    told = ", ".join(f"{count} {change}" for change, count in counts.items()) or "no status changed"
    print(f"{len(changes)} rows made again: {told}; {kept} without evidence kept as they were", file=sys.stderr)
    return OK


def _standard_input(folder: Path) -> Path:
    path = folder / "standard-input"
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return path


def _results_at(folder: Path) -> Results:
    from sweep.table import Results

    return Results(folder)


def _compact(arguments: list[str]) -> int:
    parser = _parser("compact", "Merge the parts of a table into one; readers see the old or the new one.")
    parser.add_argument("folder", help="results/NAME")
    results = _existing(parser.parse_args(arguments).folder)
    results.compact()
    print(f"{results.table_dir} is one part now", file=sys.stderr)
    return OK


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"python -m sweep {command}", description=description)


def _existing(folder: str) -> Results:
    results = _results_at(Path(folder))
    if not results.table_dir.is_dir():
        raise UsageError(f"{folder} holds no table (there is no folder {results.table_dir})")
    return results
