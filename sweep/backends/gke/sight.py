"""What exists of a sweep, kept current by one watch a kind, however many deployments there are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sweep.backends.fields import Object, mappings, text
from sweep.backends.gke.objects import JOB_UID, JOBS, PODS, Seen, job_of, of_sweep, uid_of, workloads_path
from sweep.backends.gke.volume import Volume
from sweep.backends.kubernetes import Change, Cluster, version_of
from sweep.errors import ClusterError

log = logging.getLogger(__name__)


class Sight:
    """The Jobs, pods and Workloads of one sweep; `open` makes it, `close` ends its watches.

    broken: why nothing more will be seen; None as long as all is well.
    """

    def __init__(self, cluster: Cluster, sweep_id: str, volume: Volume | None) -> None:
        self.cluster, self.sweep_id, self.volume = cluster, sweep_id, volume
        self.seen = Seen()
        self.broken: ClusterError | None = None
        self._changed: dict[str, asyncio.Event] = {}
        self._uids: dict[str, str] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, cluster: Cluster, sweep_id: str, volume: Volume | None) -> Sight:
        """Begin to watch, and return once everything that exists is known.

        Raises:
            ClusterError: Jobs or pods cannot be watched.
        """
        sight = cls(cluster, sweep_id, volume)
        ours = of_sweep(sweep_id)
        kinds: list[tuple[str, str, Callable[[Change], set[str]]]] = [
            (JOBS, ours, sight._take_jobs),
            (PODS, ours, sight._take_pods),
        ]
        workloads = await workloads_path(cluster)
        if workloads is not None:
            kinds.append((workloads, JOB_UID, sight._take_workloads))
        known = [asyncio.Event() for _ in kinds]
        for (path, selector, take), listed in zip(kinds, known, strict=True):
            sight._tasks.append(asyncio.create_task(sight._follow(path, selector, take, listed)))
        await asyncio.gather(*(listed.wait() for listed in known))
        if sight.broken is not None:
            await sight.close()
            raise sight.broken
        return sight

    async def close(self) -> None:
        """End the watches."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def changes(self, job: str) -> asyncio.Event:
        """Return the event that is set whenever something of a Job changes."""
        return self._changed.setdefault(job, asyncio.Event())

    def made(self, job: Object) -> None:
        """Take note of a Job that was just created; what is told of an earlier one of its name is passed over."""
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        self._uids[name] = uid
        if text(self.seen.jobs.get(name), "metadata", "uid") != uid:
            self.seen.jobs[name] = job

    def forget(self, job: str) -> None:
        """Drop a Job that has ended and was told."""
        self._changed.pop(job, None)
        self._uids.pop(job, None)
        self.seen.pods.pop(job, None)
        self.seen.lost.pop(job, None)

    async def _follow(
        self, path: str, selector: str, take: Callable[[Change], set[str]], listed: asyncio.Event
    ) -> None:
        try:
            async for change in self.cluster.watch(path, selector):
                for job in take(change):
                    if job in self._changed:
                        self._changed[job].set()
                listed.set()
        except ClusterError as error:
            self._break(path, error)
        except Exception as error:  # whatever it was, who waits here must hear of it
            log.exception("the watch of %s", path)
            self._break(path, ClusterError(f"the watch of {path} broke: {error!r}", status=-1))
        finally:
            listed.set()

    def _break(self, path: str, error: ClusterError) -> None:
        """Take note that nothing more will be seen; without Workloads only reasons are missing."""
        if path not in (JOBS, PODS):
            self.seen.kueue = False
            log.warning("Kueue's reasons cannot be seen: %s", error)
            return
        self.broken = error
        for event in self._changed.values():
            event.set()

    def _take_jobs(self, change: Change) -> set[str]:
        if change.listed is not None:
            before = self.seen.jobs
            newer = {
                name: job for name, job in before.items() if name in self._uids and version_of(job) > change.version
            }
            self.seen.jobs = Seen.of(filter(self._is_current, change.listed), (), None).jobs | newer
            return set(before) | set(self.seen.jobs)
        assert change.object is not None
        name = change.object["metadata"]["name"]
        if self._is_current(change.object):
            if change.deleted:
                self.seen.jobs.pop(name, None)
            else:
                self.seen.jobs[name] = change.object
        return {name}

    def _is_current(self, job: Object) -> bool:
        uid = text(job, "metadata", "uid")
        return not uid or self._uids.get(job["metadata"]["name"], uid) == uid

    def _take_pods(self, change: Change) -> set[str]:
        if change.listed is not None:
            before, self.seen.pods = self.seen.pods, Seen.of((), change.listed, None).pods
            for job, pods in before.items():
                for name in pods.keys() - self.seen.pods.get(job, {}).keys():
                    self.seen.lost[job] = pods[name]
            return set(before) | set(self.seen.pods)
        assert change.object is not None
        job, name = job_of(change.object), change.object["metadata"]["name"]
        if change.deleted:
            self.seen.pods.get(job, {}).pop(name, None)
            self.seen.lost[job] = change.object
        else:
            self.seen.pods.setdefault(job, {})[name] = change.object
        return {job}

    def _take_workloads(self, change: Change) -> set[str]:
        self.seen.kueue = True
        if change.listed is not None:
            self.seen.workloads = {uid_of(workload): workload for workload in change.listed}
            return set(self._changed)
        assert change.object is not None
        uid = uid_of(change.object)
        if change.deleted:
            self.seen.workloads.pop(uid, None)
        else:
            self.seen.workloads[uid] = change.object
        return {text(owner, "name") for owner in mappings(change.object, "metadata", "ownerReferences")}
