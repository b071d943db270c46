"""What a configuration, the table and the cluster together leave to do, and who decides how it goes on."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sweep.errors import NONSENSE, UsageError

if TYPE_CHECKING:
    from sweep.backends.gke import Live
    from sweep.config import SweepConfig
    from sweep.driver.steering import Steering
    from sweep.durations import Overlong
    from sweep.matrix import Expansion
    from sweep.plan import Plan
    from sweep.point import Model, Point
    from sweep.table import Record, Results, Source

NOT_YET = "not-yet"
"""Stands for the sweep's id where there is none, in what only shows what would be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToDo:
    """What is to do, and who decides how it goes on.

    ended: the deployments there that are over and only to be collected.
    """

    plan: Plan
    steering: Steering
    source: Source
    actors: int
    ended: frozenset[str]


def left_on_volume(
    cfg: SweepConfig, results: Results, held: Sequence[Live], *, answer_s: float
) -> tuple[Sequence[Live], UsageError | None]:
    """Return what no Job holds any more and the results volume has, or why that cannot be seen."""
    from sweep import cluster

    known = results.measured() | {key for live in held for key in live.attempts}
    try:
        return cluster.left_on_volume(cfg, results.sweep_id, known, answer_s=answer_s), None
    except UsageError as error:
        return (), error


def expand(cfg: SweepConfig) -> list[tuple[Model, Expansion]]:
    """Expand and prune; a sweep without a point is the user's mistake."""
    from sweep import matrix, predict, summary
    from sweep.axes import check_count

    if cfg.backend == "simulated" and not predict.available():
        raise UsageError(predict.MISSING_EXTRA)
    memory = predict.too_big if predict.available() else None
    for part in cfg.parts if predict.available() else ():
        predict.check_name(part.model)
    grown = [(part.model, matrix.expand(part.matrix, part.settings, part.model, memory)) for part in cfg.parts]
    if not any(expansion.points for _, expansion in grown):
        pruned: Counter[matrix.Reason] = Counter()
        for _, expansion in grown:
            pruned.update(expansion.pruned)
        raise UsageError("no point is left after pruning:\n" + "\n".join(summary.pruned_lines(pruned)))
    check_count(sum(len(expansion.points) for _, expansion in grown) * cfg.run.repeats, "measurements")
    return grown


def make(
    cfg: SweepConfig,
    grown: list[tuple[Model, Expansion]],
    results: Results,
    *,
    held: Sequence[Live] = (),
    nodes: int | None = None,
    redo_since: int | None = None,
) -> ToDo:
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
        sweep_id=results.sweep_id if results.exists() else NOT_YET,
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
    return ToDo(
        plan=made,
        steering=steering,
        source=backend.source,
        actors=actors,
        ended=frozenset(live.deployment_id for live in held if live.over),
    )


def overlong(cfg: SweepConfig, plan: Plan, grown: Sequence[tuple[Model, Expansion]]) -> tuple[Overlong, ...] | None:
    """Return what would not end within `backend.point_timeout_s`, by prediction, of what is still to begin.

    None where nothing is ended for its time, or where nothing is known for want of the operator database.
    """
    from sweep import durations, predict

    limit_s = _limit_s(cfg)
    if limit_s is None or not predict.available():
        return None
    models = {model.id: model for model, _ in grown}
    begins = [attempt for deployment in plan.deployments[plan.adopted :] for attempt in deployment.attempts]
    points = {attempt.point_id: attempt.point for attempt in begins}
    return durations.overlong([(key, point, models[point.model]) for key, point in points.items()], limit_s)


def expect_to_end(cfg: SweepConfig, grown: list[tuple[Model, Expansion]], results: Results) -> None:
    """Refuse to begin what would only be ended for its time, before anything is asked of a cluster.

    Raises:
        UsageError: there is such a point.
    """
    from sweep import summary

    limit_s = _limit_s(cfg)
    if limit_s is None:
        return
    made = make(cfg, grown, results, redo_since=results.redo_since(cfg.run.redo)).plan
    found = overlong(cfg, made, grown)
    if found:
        lines = summary.overlong_lines(found, made, limit_s)
        raise UsageError("\n".join(["nothing was begun: " + lines[0], *lines[1:]]))


def _limit_s(cfg: SweepConfig) -> int | None:
    """Return after how many seconds a run of one point is ended; None where the backend ends none.

    Another backend may be given the value by an experiment, and does not act on it.
    """
    from sweep import cluster

    config = cluster.config_of(cfg)
    return None if config is None else config.point_timeout_s


def _former_points(
    results: Results, grown: Sequence[tuple[Model, Expansion]], held: Sequence[Live]
) -> dict[str, tuple[Model, Point]]:
    """Return the points that are measured on the cluster and that only earlier commands of this sweep asked for."""
    from sweep import matrix, plan
    from sweep.config import parts_of

    missing = {point_id for live in held for point_id, _, _ in live.attempts} - plan.points_of(grown).keys()
    found: dict[str, tuple[Model, Point]] = {}
    for resolved in results.configs().values() if missing else ():
        with contextlib.suppress(UsageError, *NONSENSE):  # of an older sweep, which had other settings
            for part in parts_of(resolved):
                points = matrix.expand(part.matrix, part.settings, part.model).points
                found |= {point.point_id: (part.model, point) for point in points if point.point_id in missing}
    return found


def _current(cfg: SweepConfig, rows: Sequence[Record]) -> list[Record]:
    """Return the rows that count: of simulated ones those of the simulator and database that are there now."""
    if cfg.backend != "simulated":
        return list(rows)
    from sweep import predict, simulate

    current = (simulate.SIMULATOR_VERSION, predict.database_version())
    return [row for row in rows if row.status == "skipped" or (row.simulator_version, row.db_version) == current]


def is_complete(frame: Any, to_do: ToDo) -> bool:
    """Say whether every measurement that is asked for has its ok row, and none failed when it was measured again."""
    ids = set(to_do.plan.points)
    asked = (frame["source"] == to_do.source) & (frame["repeat"] <= to_do.steering.rules.repeats)
    rows = frame[asked & frame["point_id"].isin(ids)]
    ok = bool((rows["status"] == "ok").all()) and set(rows["point_id"]) == ids
    return ok and not to_do.steering.outlook().given_up
