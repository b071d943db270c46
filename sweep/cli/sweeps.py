"""Commands with Hydra overrides: a configuration becomes a plan, and the plan is run, shown, rendered or cleaned up."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.cli import pages, todo
from sweep.cli.exits import Exit
from sweep.errors import ReadOnly, UsageError

if TYPE_CHECKING:
    from sweep.config import SweepConfig
    from sweep.driver import RayStart
    from sweep.matrix import Expansion
    from sweep.plan import Deployment
    from sweep.point import Model
    from sweep.table import Results

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


def _read(arguments: Sequence[str]) -> SweepConfig | None:
    """Compose the configuration, and report what the user should know of it; None where Hydra has answered."""
    from sweep import composition

    cfg = composition.read(arguments)
    for note in () if cfg is None else cfg.notes:
        print(f"sweep: {note}", file=sys.stderr)
    return cfg


def run(arguments: list[str]) -> int:
    """Measure what is not in the table yet, and say what came of it."""
    if any(argument.split("=")[0] in HYDRA_ANSWERS for argument in arguments):
        _read(arguments)
        return Exit.OK
    from sweep import backends, cluster, driver, place
    from sweep.config import Html

    ray = driver.RayStart()
    cfg = _read(arguments)
    if cfg is None:
        return Exit.OK
    results = _results(cfg)
    grown, page = todo.expand(cfg), None
    todo.expect_to_end(cfg, grown, results)
    cfg = cluster.pinned(cfg)
    try:
        with results.lock():
            is_new = not results.exists()
            if is_new and backends.find(cfg.backend).in_process:
                ray.begin(cfg.ray.address)  # all of a new sweep is to do; of a known one perhaps nothing
            results.open_or_create()
            if cfg.html is Html.LIVE:
                page = pages.begin(results)
            place.settle(cfg, results)
            held, nodes = cluster.take_stock(cfg, results.sweep_id), cluster.nodes_by_quota(cfg)
            if not is_new:
                left_there, trouble = todo.left_on_volume(cfg, results, held, answer_s=15)
                held = [*held, *left_there]
                if trouble is not None:
                    print(f"{cfg.name}: {trouble}; what lies there is asked for by pods", file=sys.stderr)
            to_do = todo.make(cfg, grown, results, held=held, nodes=nodes, redo_since=results.begin_redo(cfg.run.redo))
            left = _carry(cfg, to_do, results, ray)
    except ReadOnly as error:
        to_do, left = _finished(cfg, grown, results, error), ""
    finally:
        ray.close()
        if page is not None:
            pages.end(page, results)
    if left:
        print(f"{cfg.name}: {left}", file=sys.stderr)
        return Exit.OK
    return _print_result(cfg, to_do, results)


def _finished(
    cfg: SweepConfig, expansions: list[tuple[Model, Expansion]], results: Results, why: ReadOnly
) -> todo.ToDo:
    """Return what is to do in a folder that cannot be written, which is nothing.

    Raises:
        ReadOnly: something is.
    """
    from sweep import summary

    if not results.exists():
        raise why
    to_do = todo.make(cfg, expansions, results, redo_since=results.redo_since(cfg.run.redo))
    if left := len(to_do.plan.attempts):
        raise ReadOnly(f"{why}, and {left} measurements are still to do") from why
    print(f"{cfg.name}: {summary.nothing_to_do(to_do.plan, results.folder)}", file=sys.stderr)
    return to_do


def _print_result(cfg: SweepConfig, to_do: todo.ToDo, results: Results) -> Exit:
    from sweep import summary

    frame = results.load()
    if to_do.plan.deployments:  # otherwise one line has told that there was nothing to do
        summary.print_result(frame, to_do.plan, results.folder)
    if to_do.plan.attempts and (hint := summary.redo_hint(to_do.steering.outlook())):
        print(f"{cfg.name}: {hint}", file=sys.stderr)
    if not to_do.steering.has_done_all and (limit := to_do.steering.stopped()) is not None:
        print(f"{cfg.name}: not all was begun: {limit[1]}", file=sys.stderr)
    return Exit.OK if todo.is_complete(frame, to_do) and to_do.steering.has_done_all else Exit.INCOMPLETE


def _carry(cfg: SweepConfig, to_do: todo.ToDo, results: Results, ray: RayStart) -> str:
    """Carry what is to do to its end; return what runs on without us, where that was asked for."""
    from sweep import backends, cluster, driver, progress, summary

    recorder = driver.Recorder(
        results=results,
        sweep_id=results.sweep_id,
        backend=cfg.backend,
        source=to_do.source,
        config_hash=results.write_config(dict(cfg.resolved) | {"pruned": summary.pruned_as_data(to_do.plan)}),
        price_usd_per_gpu_hour=cfg.price_per_gpu_hour,
    )
    if not to_do.plan.deployments:
        results.append([recorder.skipped(*skip) for skip in to_do.steering.step(()).skip])
        if to_do.steering.has_done_all:
            results.end_redo()
        print(f"{cfg.name}: {summary.nothing_to_do(to_do.plan, results.folder)}", file=sys.stderr)
        return ""
    deployments, submitted = list(to_do.plan.deployments), 0
    new = deployments[to_do.plan.adopted :]
    if new:
        dressed = to_do.steering.dressed(new)
        _expect_ready(cfg, [text for deployment in dressed for text in deployment.objects[:1]])
        deployments[to_do.plan.adopted :] = dressed
    if cfg.run.detach:
        submitted = cluster.submit(cfg, deployments[to_do.plan.adopted :], deployments[: to_do.plan.adopted])
        deployments = [each for each in deployments if each.deployment_id in to_do.ended or not _is_wanted(each)]
    if deployments:
        ray.begin(cfg.ray.address)
        total = sum(len(deployment.attempts) for deployment in deployments)
        with progress.Progress(name=cfg.name, total=total, source=to_do.source) as watcher:
            driver.run(
                deployments,
                steering=to_do.steering,
                recorder=recorder,
                backend_config=cfg.backend_config,
                ray=ray,
                actors=to_do.actors,
                in_process=backends.find(cfg.backend).in_process,
                watcher=watcher,
                cancel_on_interrupt=cfg.backend_config.get("on_interrupt") == "delete",
                follow_up=not cfg.run.detach,
            )
    running = to_do.plan.adopted - len(deployments) + submitted
    if cfg.run.detach and running:
        return f"{running} deployments run on without us ({submitted} new); the same command collects what they measure"
    if to_do.steering.has_done_all:
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
    from sweep import cluster, predict, summary

    as_json = "--json" in arguments
    cfg = _read([argument for argument in arguments if argument != "--json"])
    if cfg is None:
        return Exit.OK
    results, grown = _results(cfg), todo.expand(cfg)
    made = todo.make(cfg, grown, results, redo_since=results.redo_since(cfg.run.redo))
    overlong = todo.overlong(cfg, made.plan, grown)
    if as_json:
        seconds = {each.point_id: round(each.predicted_s, 1) for each in overlong or ()}
        print(json.dumps(summary.plan_as_data(made.plan) | {"beyond_point_timeout_s": seconds}))
        return Exit.OK
    summary.print_plan(made.plan, cfg.name, made.source)
    if overlong:
        print("\n" + "\n".join(summary.overlong_lines(overlong, made.plan, cfg.backend_config["point_timeout_s"])))
    if cluster.config_of(cfg) is None:
        return Exit.OK
    if not predict.available():
        print("\nHow long the points take is not predicted, without the extra `predict`.")
    if cfg.run.nodes is None:
        print("\nrun.nodes is not given: shown for one node; a run takes as many as its queue has quota for.")
    return Exit.OK


def render(arguments: list[str]) -> int:
    """Write the manifests that would be created."""
    from sweep import cluster

    folder, rest = _take_option(arguments, "--out")
    cfg = _read(rest)
    if cfg is None:
        return Exit.OK
    if folder is None or not folder.strip():
        raise UsageError("render where? for example: python -m sweep render +experiment=smoke backend=gke --out DIR")
    results = _results(cfg)
    to_do = todo.make(cfg, todo.expand(cfg), results, redo_since=results.redo_since(cfg.run.redo))
    written = cluster.write_manifests(cfg, to_do.plan, Path(folder))
    print(f"{len(written)} deployments written to {folder}; nothing was asked of a cluster", file=sys.stderr)
    return Exit.OK


def doctor(arguments: list[str]) -> int:
    """Print what is missing before a run, and what mends it."""
    from sweep import cluster, plan, predict

    as_json = "--json" in arguments
    cfg = _read([argument for argument in arguments if argument != "--json"])
    if cfg is None:
        return Exit.OK
    config, grown = cluster.config_of(cfg), todo.expand(cfg)
    if config is None:
        said = f"operator database {predict.database_version()}" if cfg.backend == "simulated" else "nothing to ask"
        print(json.dumps({"name": cfg.backend, "level": "ok", "message": said}) if as_json else f"ok  {said}")
        return Exit.OK
    from sweep import doctor
    from sweep.backends.gke.readiness import Finding, Level

    found, job = [], None
    try:
        job = cluster.one_job(cfg, plan.make(grown, sweep_id=todo.NOT_YET))
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
    from sweep import cluster, place

    owner, rest = _take_option(arguments, "--owner")
    cfg = _read(rest)
    if cfg is None:
        return Exit.OK
    cfg = cluster.pinned(cfg)
    if any(argument.startswith("--owner") for argument in arguments) and (not owner or "=" in owner):
        raise UsageError("gc of whom? for example: python -m sweep gc backend=gke --owner alice")
    results = _results(cfg)
    if owner is None and not results.exists():
        raise UsageError(
            f"{results.folder} holds no sweep, so nothing of it can be on a cluster (--owner NAME deletes all of a"
            " person's)"
        )
    if owner is not None:
        deleted = cluster.remove_of(cfg, owner)
    else:
        place.expect_settled(cfg, results)
        with results.lock():  # a driver that runs would make again what is deleted
            deleted = cluster.remove(cfg, results.sweep_id)
    for name in deleted.jobs:
        print(name)
    whose = f"owner {owner}" if owner is not None else f"{cfg.name} ({results.sweep_id})"
    print(f"{len(deleted.jobs)} Jobs of {whose} deleted, with pods and ConfigMaps", file=sys.stderr)
    if deleted.terminating:
        print(f"still terminating, on their nodes until then: {', '.join(deleted.terminating)}", file=sys.stderr)
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
    from sweep import cluster, place, summary

    cfg = _read(arguments)
    if cfg is None:
        return Exit.OK
    cfg = cluster.pinned(cfg)
    results = _results(cfg)
    try:
        place.expect_settled(cfg, results)
        live = cluster.look(cfg, results.sweep_id) if results.exists() else ()
        trouble = None
    except UsageError as error:
        live, trouble = (), error
    if results.exists() and trouble is None:
        left_there, trouble = todo.left_on_volume(cfg, results, live, answer_s=5)
        live = [*live, *left_there]
    to_do = todo.make(cfg, todo.expand(cfg), results, held=live, redo_since=results.redo_since(cfg.run.redo))
    frame = results.load() if results.table_dir.is_dir() else None
    summary.print_status(to_do.plan, frame, holder=results.holder(), folder=results.folder)
    for line in summary.quarantine_lines(to_do.steering.quarantined()):
        print(line)
    if live:
        summary.print_live(live, to_do.plan, results_uri=cluster.results_uri(cfg))
    if trouble is not None:
        raise UsageError(f"what runs cannot be seen: {trouble}")
    return Exit.OK if not to_do.plan.attempts else Exit.INCOMPLETE


def _results(cfg: SweepConfig) -> Results:
    from sweep.table import Results

    return Results(cfg.folder)


def _is_wanted(deployment: Deployment) -> bool:
    return any(attempt.key not in deployment.unwanted for attempt in deployment.attempts)
