"""Commands with Hydra overrides: a configuration becomes a plan, and the plan is run, shown, rendered or cleaned up."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.cli import pages
from sweep.cli.exits import Exit
from sweep.errors import UsageError

if TYPE_CHECKING:
    from sweep.config import SweepConfig
    from sweep.driver import RayStart
    from sweep.matrix import Expansion
    from sweep.plan import Held, Plan
    from sweep.point import Model
    from sweep.table import Results, Source

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


def run(arguments: list[str]) -> int:
    """Measure what is not in the table yet, and say what came of it."""
    from sweep import composition

    if any(argument.split("=")[0] in HYDRA_ANSWERS for argument in arguments):
        composition.read(arguments)
        return Exit.OK
    from sweep import backends, cluster, driver, summary
    from sweep.config import Html

    ray = driver.RayStart()  # imports Ray in a thread while the configuration is read
    cfg = composition.read(arguments)
    if cfg is None:
        return Exit.OK
    results = _results(cfg)
    grown, page = _expand(cfg), None
    try:
        with results.lock():
            if not results.sweep_file.exists() and backends.find(cfg.backend).in_process:
                ray.begin(cfg.ray.address)  # all of a new sweep is to do; of a known one perhaps nothing
            sweep_id = results.open_or_create()
            if cfg.html is Html.LIVE:
                page = pages.begin(results)
            held, nodes = cluster.take_stock(cfg, sweep_id), cluster.nodes_by_quota(cfg)
            job = _job(cfg, grown, results, sweep_id, held=held, nodes=nodes)
            if job.plan.attempts:
                _carry(cfg, job, results, ray)
            else:
                told = f"all {len(job.plan.points):,} points have their row; nothing to do"
                print(f"{cfg.name}: {told}", file=sys.stderr)
    finally:
        ray.close()
        if page is not None:
            pages.end(page, results)
    frame = results.load()
    summary.print_result(frame, job.plan, results.folder)
    return Exit.OK if _complete(frame, job) else Exit.INCOMPLETE


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


def plan(arguments: list[str]) -> int:
    """Print what would run; touch nothing."""
    from sweep import cluster, composition, summary

    as_json = "--json" in arguments
    cfg = composition.read([argument for argument in arguments if argument != "--json"])
    if cfg is None:
        return Exit.OK
    results = _results(cfg)
    job = _job(cfg, _expand(cfg), results, _sweep_id(results))
    if as_json:
        print(json.dumps(summary.plan_as_data(job.plan)))
    else:
        summary.print_plan(job.plan, cfg.name, job.source)
        if cluster.config_of(cfg) is not None and cfg.run.nodes is None:
            print("\nrun.nodes is not given: shown for one node; a run takes as many as its queue has quota for.")
    return Exit.OK


def render(arguments: list[str]) -> int:
    """Write the manifests that would be created."""
    from sweep import cluster, composition

    folder, rest = _take_option(arguments, "--out")
    cfg = composition.read(rest)
    if cfg is None:
        return Exit.OK
    if folder is None:
        raise UsageError("render where? for example: python -m sweep render +experiment=smoke backend=gke --out DIR")
    results = _results(cfg)
    job = _job(cfg, _expand(cfg), results, _sweep_id(results))
    written = cluster.write_manifests(cfg, job.plan, Path(folder))
    print(f"{len(written)} deployments written to {folder}; nothing was asked of a cluster", file=sys.stderr)
    return Exit.OK


def doctor(arguments: list[str]) -> int:
    """Print what is missing before a run, and what mends it."""
    from sweep import cluster, composition, plan, predict
    from sweep.backends import find

    as_json = "--json" in arguments
    cfg = composition.read([argument for argument in arguments if argument != "--json"])
    if cfg is None:
        return Exit.OK
    config, grown = cluster.config_of(cfg), _expand(cfg)
    if config is None:
        said = f"operator database {predict.database_version()}" if cfg.backend == "simulated" else "nothing to ask"
        print(json.dumps({"name": cfg.backend, "level": "ok", "message": said}) if as_json else f"ok  {said}")
        return Exit.OK
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
    return Exit.MISTAKE if doctor.errors_in(found) else Exit.OK


def gc(arguments: list[str]) -> int:
    """Delete what this sweep left on the cluster."""
    from sweep import cluster, composition

    cfg = composition.read(arguments)
    if cfg is None:
        return Exit.OK
    results = _results(cfg)
    if not results.sweep_file.exists():
        raise UsageError(f"{results.folder} holds no sweep, so nothing of it can be on a cluster")
    deleted = cluster.remove(cfg, results.sweep_id)
    for name in deleted:
        print(name)
    print(f"{len(deleted)} Jobs of {cfg.name} ({results.sweep_id}) deleted, with pods and ConfigMaps", file=sys.stderr)
    return Exit.OK


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


def status(arguments: list[str]) -> int:
    """Print what is done, runs, failed and is to do."""
    from sweep import cluster, composition, summary

    cfg = composition.read(arguments)
    if cfg is None:
        return Exit.OK
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
    return Exit.OK if not job.plan.attempts else Exit.INCOMPLETE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    plan: Plan
    sweep_id: str
    source: Source
    actors: int


def _results(cfg: SweepConfig) -> Results:
    from sweep.table import Results

    return Results(cfg.folder)


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
