"""The gke backend: each deployment is a Job on A4X nodes, followed from its creation to its last point.

Three sources tell of a deployment, and each may fail: the API server says where its Job and pod stand, the pod's log
says what was measured, and the results volume, where there is one, has it too.

    course.py       one deployment from its creation to its end
    creation.py     its Job and ConfigMap, created or taken over
    podlog.py       the log of one pod, followed
    transcript.py   which results in a log are taken
    volume.py       the results volume, read from here
    sight.py        what exists of a sweep, kept current by one watch a kind
    conditions.py   what Job, pod and Workload say, read: the one table of it
    readiness.py    what a Job needs of its cluster, and whether it is there (sweep doctor)
    admission.py    whether a queue of Kueue would ever admit it
    stock.py        what of a sweep exists, seen once
    objects.py      what is ours on a cluster: names, labels, deleting, what was seen of it
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, ClassVar

from sweep.backends import AttemptKey, Ended, Event, Lost, Stage, Waiting
from sweep.backends.fields import Form
from sweep.backends.gke.course import Course
from sweep.backends.gke.creation import create
from sweep.backends.gke.objects import JOBS, Gone, annotation, delete_job, jobs_of_owner, pods_of, unless_gone
from sweep.backends.gke.sight import Sight
from sweep.backends.gke.stock import Live, how_far, kept, live
from sweep.backends.gke.volume import Volume, results_uri
from sweep.backends.kubernetes import Cluster, Pauses
from sweep.errors import ClusterError, UsageError
from sweep.plan import Deployment, job_name
from sweep.table import Source

__all__ = ["Gke", "Live", "create", "delete_job", "how_far", "jobs_of_owner", "kept", "live", "pods_of", "results_uri"]


log = logging.getLogger(__name__)


class Gke:
    """Runs deployments as Jobs of one cluster and namespace."""

    source: ClassVar[Source] = Source.MEASURED
    in_process: ClassVar[bool] = False

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._cluster: Cluster | None = None
        self._sights: dict[str, Sight] = {}
        self._courses: dict[str, Course] = {}
        self._to_stop: dict[str, Collection[AttemptKey]] = {}
        self._opening = asyncio.Lock()

    async def deploy(self, deployment: Deployment) -> AsyncIterator[Event]:
        """Create the deployment's Job, or take over the one that is there, and follow it to its end.

        While the cluster does not answer it is waited for, however long: the Job goes on meanwhile.
        """
        course, pauses = None, Pauses()
        try:
            while True:
                try:
                    if course is None:
                        course = Course(await self._sight(deployment.sweep_id), deployment, self._config)
                        self._courses[deployment.deployment_id] = course
                        course.stop(self._to_stop.get(deployment.deployment_id, ()))
                    async for event in course.events():
                        yield event
                    return
                except UsageError as error:  # credentials or the results volume: they may be had later
                    told = str(error)
                except ClusterError as error:
                    if not error.is_passing:
                        yield await self._over(deployment, course, str(error))
                        return
                    told = f"the cluster is waited for: {error}"
                except Exception as error:
                    log.exception("deployment %s", deployment.deployment_id)
                    yield await self._over(deployment, course, f"a mistake in sweep, {error!r}")
                    return
                yield Waiting(stage=Stage.QUEUED, message=told)
                await asyncio.sleep(pauses.next())
        finally:
            self._courses.pop(deployment.deployment_id, None)
            if course is not None:
                await course.close()

    async def stop(self, deployment_id: str, keys: Collection[AttemptKey]) -> None:
        """See to it that these attempts do not begin; without any left, and none begun, the Job is deleted."""
        self._to_stop[deployment_id] = keys  # its course may only be about to begin
        if (course := self._courses.get(deployment_id)) is not None:
            course.stop(keys)

    async def cancel(self, deployment_id: str) -> bool:
        """Delete the deployment's Job, and with it its pod and ConfigMap; a pod may take a while to end."""
        cluster, name = await self._connected(), job_name(deployment_id)
        await delete_job(cluster, name)
        try:
            return bool(await pods_of(cluster, [name], patience_s=0))
        except ClusterError:  # the Job is deleted all the same
            return False

    async def close(self) -> None:
        """End watches and connections."""
        for sight in self._sights.values():
            await sight.close()
        if self._cluster is not None:
            await self._cluster.close()

    @property
    def requests(self) -> int:
        """How many requests the API server was asked."""
        return 0 if self._cluster is None else self._cluster.requests

    async def _over(self, deployment: Deployment, course: Course | None, why: str) -> Ended | Lost:
        """Return the end of what cannot be followed: only of a Job that is known not to be there it is an Ended.

        Nobody may begin anew what may still run, and an actor before this one may have created it.
        """
        if deployment.exists or (course is not None and course.exists):
            return Lost(message=why)
        path = f"{JOBS}/{job_name(deployment.deployment_id)}"
        try:
            there = await unless_gone((await self._connected()).request("GET", path, form=Form.OBJECT))
        except Gone:
            return Ended(message=why, kind="backend_error")
        except (ClusterError, UsageError):
            return Lost(message=why)
        is_ours = annotation(there, "spec-hash") == annotation(json.loads(deployment.objects[0]), "spec-hash")
        return Lost(message=why) if is_ours else Ended(message=why, kind="backend_error")

    async def _connected(self) -> Cluster:
        async with self._opening:
            if self._cluster is None:
                self._cluster = await Cluster.connect(self._config["context"], self._config["namespace"])
        return self._cluster

    async def _sight(self, sweep_id: str) -> Sight:
        cluster = await self._connected()
        async with self._opening:
            if sweep_id not in self._sights:
                uri = results_uri(self._config)
                volume = Volume(uri, sweep_id) if uri else None
                self._sights[sweep_id] = await Sight.open(cluster, sweep_id, volume)
        return self._sights[sweep_id]
