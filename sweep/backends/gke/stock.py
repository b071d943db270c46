"""What of a sweep exists on the cluster, seen once: for who takes it over, removes it or only asks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sweep.backends import AttemptKey, Stage
from sweep.backends.fields import Form, moment, text
from sweep.backends.gke.conditions import CONTAINER, Standing
from sweep.backends.gke.objects import (
    CONFIG_MAPS,
    JOB_UID,
    JOBS,
    LABEL,
    PODS,
    Seen,
    attempts_of,
    of_sweep,
    workloads_path,
)
from sweep.backends.gke.volume import Volume
from sweep.backends.kubernetes import Cluster
from sweep.errors import ClusterError
from sweep.plan import job_name
from sweep.published import ANNOUNCED, RESULT, STEP, read_step

LOGS_AT_ONCE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """A deployment that exists on the cluster.

    attempts: what it measures, in order.
    since: when its Job was made; None where that is gone, or does not tell.
    whole: its ConfigMap is there too; without it the pod never begins.
    """

    deployment_id: str
    job: str
    attempts: tuple[AttemptKey, ...]
    since: datetime | None
    standing: Standing
    whole: bool

    @property
    def over(self) -> bool:
        return self.standing.ended


async def live(cluster: Cluster, sweep_id: str) -> list[Live]:
    """Return what of a sweep exists on the cluster, ended Jobs too.

    Raises:
        ClusterError: it cannot be read.
    """
    ours = {"labelSelector": of_sweep(sweep_id)}
    jobs, pods, maps, workloads = await asyncio.gather(
        *(cluster.request("GET", path, params=ours, form=Form.LIST) for path in (JOBS, PODS, CONFIG_MAPS)),
        _list_workloads(cluster),
    )
    assert jobs is not None
    assert pods is not None
    assert maps is not None
    seen = Seen.of(jobs["items"], pods["items"], None if workloads is None else workloads["items"])
    whole = {made["metadata"]["name"] for made in maps["items"]}
    return [
        Live(
            deployment_id=text(job, "metadata", "labels", f"{LABEL}/deployment-id") or name,
            job=name,
            attempts=tuple(attempts_of(job)),
            since=moment(job, "metadata", "creationTimestamp"),
            standing=seen.standing(name),
            whole=name in whole,
        )
        for name, job in seen.jobs.items()
    ]


async def _list_workloads(cluster: Cluster) -> dict[str, Any] | None:
    """Return Kueue's Workloads; None without Kueue, or without the right to see them."""
    path = await workloads_path(cluster)
    try:
        ours = {"labelSelector": JOB_UID}
        return await cluster.request("GET", path, params=ours, form=Form.LIST) if path else None
    except ClusterError as error:
        if error.status == 403:
            return None
        raise


async def kept(volume: Volume, known: Collection[AttemptKey]) -> list[Live]:
    """Return deployments whose Jobs are gone and whose results lie on the volume, without the attempts that are known.

    Raises:
        OSError: the volume cannot be read.
    """
    found = await asyncio.to_thread(volume.published)
    keys = [key for key in found if key not in known]
    few = asyncio.Semaphore(LOGS_AT_ONCE)

    async def whose(key: AttemptKey) -> str:
        async with few:
            return await asyncio.to_thread(volume.deployment_of, key)

    of_deployment: dict[str, list[AttemptKey]] = {}
    for key, deployment_id in zip(keys, await asyncio.gather(*map(whose, keys)), strict=True):
        if deployment_id:
            of_deployment.setdefault(deployment_id, []).append(key)
    return [
        Live(
            deployment_id=deployment_id,
            job=job_name(deployment_id),
            attempts=tuple(measured),
            since=None,
            standing=Standing(stage=Stage.MEASURING, message="its results lie on the volume", ended=True),
            whole=True,
        )
        for deployment_id, measured in of_deployment.items()
    ]


async def how_far(cluster: Cluster, deployments: Sequence[Live]) -> list[Live]:
    """Return the deployments, those that run with the point that their log has come to."""
    few = asyncio.Semaphore(LOGS_AT_ONCE)

    async def look(deployment: Live) -> Live:
        standing = deployment.standing
        if standing.pod is None or not standing.readable or standing.ended:
            return deployment
        current, done = None, set()
        async with few:
            with contextlib.suppress(ClusterError):
                async for line in cluster.log_lines(standing.pod, CONTAINER, follow=False):
                    if line.text.startswith(STEP):
                        current = read_step(line.text) or read_step(line.text, ANNOUNCED)
                    elif line.text.startswith(RESULT) and current is not None:
                        done.add(current)
        if current not in deployment.attempts:
            return deployment
        number = deployment.attempts.index(current) + 1
        message = f"point {number} of {len(deployment.attempts)}, {len(done)} published"
        said = "; ".join(text for text in (message, standing.message) if text)
        return replace(deployment, standing=replace(standing, stage=Stage.MEASURING, message=said))

    return list(await asyncio.gather(*map(look, deployments)))
