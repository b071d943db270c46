"""Commands with Hydra overrides: a configuration becomes a plan, and the plan is run, shown, rendered or cleaned up."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.cli import pages
from sweep.cli.exits import Exit
from sweep.errors import UsageError

if TYPE_CHECKING:
    from sweep.backends.gke import Live
    from sweep.config import SweepConfig
    from sweep.driver import RayStart
    from sweep.driver.steering import Steering
    from sweep.matrix import Expansion
    from sweep.plan import Deployment, Plan
    from sweep.point import Model, Point
    from sweep.table import Record, Results, Source

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
            is_new = not results.sweep_file.exists()
            if is_new and backends.find(cfg.backend).in_process:
                ray.begin(cfg.ray.address)  # all of a new sweep is to do; of a known one perhaps nothing
            results.open_or_create()
            if cfg.html is Html.LIVE:
                page = pages.begin(results)
            held, nodes = cluster.take_stock(cfg, results.sweep_id), cluster.nodes_by_quota(cfg)
            if not is_new:
                left_there, trouble = _left_on_volume(cfg, results, held, answer_s=15)
                held = [*held, *left_there]
                if trouble is not None:
                    print(f"{cfg.name}: {trouble}; what lies there is asked for by pods", file=sys.stderr)
            job = _job(cfg, grown, results, held=held, nodes=nodes, redo_since=results.begin_redo(cfg.run.redo))
            left = _carry(cfg, job, results, ray)
    finally:
        ray.close()
        if page is not None:
            pages.end(page, results)
    if left:
        print(f"{cfg.name}: {left}", file=sys.stderr)
        return Exit.OK
    frame = results.load()
    summary.print_result(frame, job.plan, results.folder)
    if job.plan.attempts and (hint := summary.redo_hint(job.steering.outlook())):
        print(f"{cfg.name}: {hint}", file=sys.stderr)
    if not job.steering.has_done_all and (limit := job.steering.stopped()) is not None:
        print(f"{cfg.name}: not all was begun: {limit[1]}", file=sys.stderr)
    return Exit.OK if _complete(frame, job) and job.steering.has_done_all else Exit.INCOMPLETE


def _carry(cfg: SweepConfig, job: _Job, results: Results, ray: RayStart) -> str:
    """Carry what is to do to its end; return what runs on without us, where that was asked for."""
    from sweep import backends, cluster, driver, progress, summary

    recorder = driver.Recorder(
        results=results,
        sweep_id=results.sweep_id,
        backend=cfg.backend,
        source=job.source,
        config_hash=results.write_config(dict(cfg.resolved) | {"pruned": summary.pruned_as_data(job.plan)}),
        price_usd_per_gpu_hour=cfg.price_per_gpu_hour,
    )
    if not job.plan.deployments:
        results.append([recorder.skipped(*skip) for skip in job.steering.step(()).skip])
        if job.steering.has_done_all:
            results.end_redo()
        print(f"{cfg.name}: {summary.nothing_to_do(job.plan)}", file=sys.stderr)
        return ""
    deployments, submitted = list(job.plan.deployments), 0
    new = deployments[job.plan.adopted :]
    if new:
        dressed = job.steering.dressed(new)
        _expect_ready(cfg, [text for deployment in dressed for text in deployment.objects[:1]])
        deployments[job.plan.adopted :] = dressed
    if cfg.run.detach:
        submitted = cluster.submit(cfg, deployments[job.plan.adopted :], deployments[: job.plan.adopted])
        deployments = [each for each in deployments if each.deployment_id in job.ended or not _is_wanted(each)]
    if deployments:
        ray.begin(cfg.ray.address)
        to_do = sum(len(deployment.attempts) for deployment in deployments)
        with progress.Progress(name=cfg.name, total=to_do, source=job.source) as watcher:
            driver.run(
                deployments,
                steering=job.steering,
                recorder=recorder,
                backend_config=cfg.backend_config,
                ray=ray,
                actors=job.actors,
                in_process=backends.find(cfg.backend).in_process,
                watcher=watcher,
                cancel_on_interrupt=cfg.backend_config.get("on_interrupt") == "delete",
                follow_up=not cfg.run.detach,
            )
    running = job.plan.adopted - len(deployments) + submitted
    if cfg.run.detach and running:
        return f"{running} deployments run on without us ({submitted} new); the same command collects what they measure"
    if job.steering.has_done_all:
        results.end_redo()
    return ""


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
    job = _job(cfg, _expand(cfg), results, redo_since=results.redo_since(cfg.run.redo))
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
    job = _job(cfg, _expand(cfg), results, redo_since=results.redo_since(cfg.run.redo))
    written = cluster.write_manifests(cfg, job.plan, Path(folder))
    print(f"{len(written)} deployments written to {folder}; nothing was asked of a cluster", file=sys.stderr)
    return Exit.OK


def doctor(arguments: list[str]) -> int:
    """Print what is missing before a run, and what mends it."""
    from sweep import cluster, composition, plan, predict

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
        job = cluster.one_job(cfg, plan.make(grown, sweep_id=NOT_YET))
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
    """Delete what this sweep, or one person, left on the cluster."""
    from sweep import cluster, composition

    owner, rest = _take_option(arguments, "--owner")
    cfg = composition.read(rest)
    if cfg is None:
        return Exit.OK
    if any(argument.startswith("--owner") for argument in arguments) and (not owner or "=" in owner):
        raise UsageError("gc of whom? for example: python -m sweep gc backend=gke --owner alice")
    results = _results(cfg)
    if owner is None and not results.sweep_file.exists():
        raise UsageError(
            f"{results.folder} holds no sweep, so nothing of it can be on a cluster (--owner NAME deletes all of a"
            " person's)"
        )
    if owner is not None:
        deleted = cluster.remove_of(cfg, owner)
    else:
        with results.lock():  # a driver that runs would make again what is deleted
            deleted = cluster.remove(cfg, results.sweep_id)
    for name in deleted:
        print(name)
    whose = f"owner {owner}" if owner is not None else f"{cfg.name} ({results.sweep_id})"
    print(f"{len(deleted)} Jobs of {whose} deleted, with pods and ConfigMaps", file=sys.stderr)
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
    try:
        live = cluster.look(cfg, results.sweep_id) if results.sweep_file.exists() else ()
        trouble = None
    except UsageError as error:
        live, trouble = (), error
    if results.sweep_file.exists() and trouble is None:
        left_there, trouble = _left_on_volume(cfg, results, live, answer_s=5)
        live = [*live, *left_there]
    job = _job(cfg, _expand(cfg), results, held=live, redo_since=results.redo_since(cfg.run.redo))
    frame = results.load() if results.table_dir.is_dir() else None
    summary.print_status(job.plan, frame, holder=results.holder(), folder=results.folder)
    for line in summary.quarantine_lines(job.steering.quarantined()):
        print(line)
    if live:
        summary.print_live(live, job.plan, results_uri=cluster.results_uri(cfg))
    if trouble is not None:
        raise UsageError(f"what runs cannot be seen: {trouble}")
    return Exit.OK if not job.plan.attempts else Exit.INCOMPLETE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What is to do, and who decides how it goes on.

    ended: the deployments there that are over and only to be collected.
    """

    plan: Plan
    steering: Steering
    source: Source
    actors: int
    ended: frozenset[str]


def _results(cfg: SweepConfig) -> Results:
    from sweep.table import Results

    return Results(cfg.folder)


def _left_on_volume(
    cfg: SweepConfig, results: Results, held: Sequence[Live], *, answer_s: float
) -> tuple[Sequence[Live], UsageError | None]:
    """Return what no Job holds any more and the results volume has, or why that cannot be seen."""
    from sweep import cluster

    known = {(row.point_id, row.repeat, row.attempt) for row in results.history()}
    known |= {key for live in held for key in live.attempts}
    try:
        return cluster.left_on_volume(cfg, results.sweep_id, known, answer_s=answer_s), None
    except UsageError as error:
        return (), error


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
    *,
    held: Sequence[Live] = (),
    nodes: int | None = None,
    redo_since: int | None = None,
) -> _Job:
    """Plan what is not in the table yet.

    held: what exists on the cluster, and is taken over.
    nodes: over how many to spread where the configuration does not say.
    redo_since: rows from this one on are of the `run.redo` that goes on; None: it begins now.
    """
    from sweep import backends, cluster
    from sweep.driver.steering import Rules, Steering
    from sweep.limits import Limits, deadline_of
    from sweep.retry import Redo
    from sweep.table import Source

    backend = backends.find(cfg.backend)
    actors = cfg.ray.actors or ((os.cpu_count() or 1) if backend.in_process else 1)
    rows = results.history()
    records = _current(cfg, rows)
    now = datetime.now(UTC)
    steering = Steering(
        expansions=grown,
        sweep_id=results.sweep_id if results.sweep_file.exists() else NOT_YET,
        source=backend.source,
        rules=Rules(
            nodes=cfg.run.nodes or (actors if backend.source == Source.SIMULATED else nodes or 1),
            repeats=cfg.run.repeats,
            max_points=cfg.run.max_points_per_deployment,
            max_deployments=cfg.run.max_deployments,
            canary=cfg.run.canary,
            retry=cfg.run.retry,
            quarantine=cfg.run.quarantine,
            limits=Limits(
                budget=cfg.run.budget,
                price=cfg.price_per_gpu_hour,
                deadline=deadline_of(cfg.run.deadline, now) if cfg.run.deadline else None,
                max_failures=cfg.run.max_failures,
            ),
        ),
        records=records,
        former=_former_points(results, grown, held),
        redo=Redo.of(cfg.run.redo, len(_current(cfg, rows[:redo_since]))) if cfg.run.redo else None,
        dress=lambda deployments, avoid: cluster.dress(cfg, deployments, avoid),
    )
    made = steering.plan_beside(held, busy=sum(not live.over for live in held))
    return _Job(
        plan=made,
        steering=steering,
        source=backend.source,
        actors=actors,
        ended=frozenset(live.deployment_id for live in held if live.over),
    )


def _former_points(
    results: Results, grown: Sequence[tuple[Model, Expansion]], held: Sequence[Live]
) -> dict[str, tuple[Model, Point]]:
    """Return the points that are measured on the cluster and that only earlier commands of this sweep asked for."""
    from sweep import matrix, plan
    from sweep.config import parts_of

    missing = {point_id for live in held for point_id, _, _ in live.attempts} - plan.points_of(grown).keys()
    found: dict[str, tuple[Model, Point]] = {}
    for resolved in results.configs().values() if missing else ():
        with contextlib.suppress(UsageError, KeyError):  # of an older sweep, which had other settings
            for part in parts_of(resolved):
                points = matrix.expand(part.matrix, part.settings, part.model).points
                found |= {point.point_id: (part.model, point) for point in points if point.point_id in missing}
    return found


def _is_wanted(deployment: Deployment) -> bool:
    return any(attempt.key not in deployment.unwanted for attempt in deployment.attempts)


def _current(cfg: SweepConfig, rows: Sequence[Record]) -> list[Record]:
    """Return the rows that count: of simulated ones those of the simulator and database that are there now."""
    if cfg.backend != "simulated":
        return list(rows)
    from sweep import predict, simulate

    current = (simulate.SIMULATOR_VERSION, predict.database_version())
    return [row for row in rows if row.status == "skipped" or (row.simulator_version, row.db_version) == current]


NOT_YET = "not-yet"
"""Stands for the sweep's id where there is none, in what only shows what would be."""


def _complete(frame: Any, job: _Job) -> bool:
    """Say whether every measurement that is asked for has its ok row, and none failed when it was measured again."""
    ids = set(job.plan.points)
    asked = (frame["source"] == job.source) & (frame["repeat"] <= job.steering.rules.repeats)
    rows = frame[asked & frame["point_id"].isin(ids)]
    ok = bool((rows["status"] == "ok").all()) and set(rows["point_id"]) == ids
    return ok and not job.steering.outlook().given_up
