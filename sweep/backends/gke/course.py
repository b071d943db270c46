"""One deployment from its creation to its end: what happens to its Job, pod and log becomes events."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sweep import failure
from sweep.backends import (
    AttemptKey,
    Ended,
    Event,
    Lost,
    PointDone,
    PointFailed,
    PointStarted,
    Released,
    Stage,
    Started,
    Waiting,
)
from sweep.backends.fields import Object, mappings, text
from sweep.backends.gke import conditions
from sweep.backends.gke.conditions import Standing
from sweep.backends.gke.creation import create
from sweep.backends.gke.objects import EVENTS, attempts_of, avoids_nodes, delete_job, stop_points
from sweep.backends.gke.podlog import PodLog
from sweep.backends.gke.sight import Sight
from sweep.backends.gke.transcript import Transcript
from sweep.backends.gke.volume import Volume, told
from sweep.backends.kubernetes import LogLine, Pauses
from sweep.errors import ClusterError, ReportError
from sweep.failure import KINDS
from sweep.plan import Deployment, job_name
from sweep.published import ANNOUNCED, INTERRUPTED, PASSED, RESULT, STEP, Published, read_step
from sweep.table import Status

log = logging.getLogger(__name__)

AFTER_LAST_POINT_S = 30.0
"""How long a Job whose points are all told may take to end."""
PULL_S = 3600.0
"""How long image and volumes may take without an error being told."""
UNREAD_S = 600.0
"""For so long the log, or the results volume, of what has ended is asked for: its kubelet is busy, DNS fails."""
LOST_LOG_S = 60.0
"""The same for the log of a pod whose node is lost."""
LATE_LOG_S = 10.0
"""How long to wait before reading once more the log of a pod that succeeded and lacks results: its end may be late."""
PODLESS_S = 30.0
"""How often it is asked why a Job has no pod."""
NOTICE_S = 10.0
"""How long a queue may take to notice a Job before the delay is reported."""
GLANCE_S = 5.0
"""How often the clock is looked at while nothing happens."""


class Course:
    """One deployment; `events` begins it and tells all of it."""

    def __init__(self, sight: Sight, deployment: Deployment, config: Mapping[str, Any]) -> None:
        self._sight, self._cluster, self._config = sight, sight.cluster, config
        self._deployment = deployment
        self._job = job_name(deployment.deployment_id)
        self._order = [attempt.key for attempt in deployment.attempts]
        self._left = set(self._order)
        self._changed = sight.changes(self._job)
        self._log: PodLog | None = None
        self._transcript = self._new_transcript()
        self._current: tuple[AttemptKey, datetime] | None = None
        self._start_up: dict[str, float] = {}
        self._about: dict[str, Any] = {}
        self._told: Waiting | None = None
        self._pod: str | None = None
        self._holds = False
        self._released: datetime | None = None
        self._stopped: frozenset[AttemptKey] = frozenset()
        self._said: tuple[frozenset[AttemptKey], str | None] | None = None
        self._passed_over: set[AttemptKey] = set()
        self._only_on_volume: set[AttemptKey] = set()
        self._no_other_node = self._deleted = False
        self._unread: list[tuple[LogLine, Transcript]] = []
        self._cut_short: dict[AttemptKey, Published] = {}
        self._warned_s = 0.0
        self._no_pod, self._ask_at = "", math.inf
        self._unnoticed_since, self._evictions_before = math.inf, 0
        self.exists = deployment.exists
        """Whether its Job was there; from then on only what is seen of it tells what became of it."""

    async def close(self) -> None:
        """Stop following; the Job goes on."""
        if self._log is not None:
            await self._log.close()
        self._sight.forget(self._job)

    async def events(self) -> AsyncIterator[Event]:
        """Create the Job, or take over the one that is there, and tell what becomes of it; an Ended last.

        Raises:
            ClusterError: the API server refuses, or is away for too long; a further call goes on.
        """
        if not self.exists:
            async for event in self._create():
                yield event
            self.exists = True
        since, stood = time.monotonic(), None
        while True:
            self._changed.clear()
            if self._sight.broken is not None:
                raise self._sight.broken
            standing = await self._stands()
            await self._look_at_pod(standing)
            for event in [*self._heard(), *self._held(standing), *self._tell(standing)]:
                yield event
            if standing.ended or (standing.over and not self._left):
                break
            await self._say_what_not_to_begin(standing)
            if self._waits_for_nothing():
                if self._log is not None and standing.readable:
                    self._transcript = self._new_transcript()
                    await self._log.catch_up()
                    for event in self._heard():
                        yield event
                if self._waits_for_nothing():
                    log.info("%s: nothing of it is wanted any more", self._job)
                    await self._delete()
            is_stuck = standing.broken or self._avoids_all(standing)
            if (now := (standing.stage, is_stuck, bool(self._left))) != stood:
                since, stood = time.monotonic(), now
            if given_up := await self._give_up(standing, time.monotonic() - since):
                standing = given_up
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), GLANCE_S)
        async for event in self._finish(standing):
            yield event

    # ---------------------------------------------------------------------------------------------------------- begin

    async def _create(self) -> AsyncIterator[Event]:
        """Create Job and ConfigMap, and tell while the cluster does not take them."""
        troubles: deque[str] = deque(maxlen=1)
        creating = asyncio.create_task(create(self._cluster, self._deployment, troubles.append, self._sight.made))
        try:
            while not creating.done():
                await asyncio.wait([creating], timeout=1.0)
                if troubles:
                    event = Waiting(stage=Stage.QUEUED, message=f"the cluster does not take it yet: {troubles.pop()}")
                    if event != self._told:
                        self._told = event
                        yield event
            await creating
        finally:
            creating.cancel()
            await asyncio.wait([creating])

    # --------------------------------------------------------------------------------------------------------- follow

    async def _stands(self) -> Standing:
        """Return how it stands; of a Job that has had no pod for long, with why none can be made for it."""
        standing, now = self._sight.seen.standing(self._job), time.monotonic()
        if standing.stage is not Stage.SCHEDULING or standing.pod is not None:
            self._no_pod, self._ask_at = "", math.inf
            return standing
        if self._ask_at == math.inf:
            self._ask_at = now + PODLESS_S
        elif now >= self._ask_at:
            self._no_pod, self._ask_at = await self._warnings(standing), now + PODLESS_S
        is_refused = "FailedCreate" in self._no_pod and "exceeded quota" not in self._no_pod  # a quota may be freed
        return replace(standing, message=self._no_pod or standing.message, broken=standing.broken or is_refused)

    async def _look_at_pod(self, standing: Standing) -> None:
        """Follow the log of the newest pod, and keep what rows need of it while it can be seen."""
        pod = self._sight.seen.pod(self._job)
        if pod is None or standing.pod is None or not standing.readable:
            return
        evictions = conditions.evictions(self._sight.seen.workload(self._job))
        if self._log is None or self._log.pod != standing.pod:
            if self._log is None and not self._deployment.exists and self._job not in self._sight.seen.lost:
                self._evictions_before = evictions or 0  # a Job that had no pod was taken off no node
            if self._log is not None:
                await self._log.close()
                self._unread += [(line, self._transcript) for line in self._log.take()]
            elif self._begins_it(job := self._sight.seen.jobs.get(self._job)):
                self._start_up = conditions.seconds_to_start(job, pod)
            self._log, self._transcript = PodLog(self._cluster, standing.pod, self._changed), self._new_transcript()
        if evictions is not None:
            evictions = max(0, evictions - self._evictions_before)
        found = {"node": standing.node, "image_digest": conditions.image_digest(pod), "evictions": evictions}
        self._about |= {name: value for name, value in found.items() if value is not None}

    def _new_transcript(self) -> Transcript:
        return Transcript(self._order, self._deployment.deployment_id, self._deployment.sweep_id)

    def _begins_it(self, job: Object | None) -> bool:
        """Say whether the Job's first point is ours; else its start-up is in a row already."""
        first, *_ = [*attempts_of(job or {"metadata": {}}), None]
        return first is None or first in self._left

    def _held(self, standing: Standing) -> Iterator[Event]:
        """Tell that a pod has begun, and that it has given its GPUs back though the Job has not ended."""
        seen = self._sight.seen
        is_new = standing.readable and standing.pod != self._pod
        if self._holds and (is_new or not standing.ended):
            pod = seen.pods.get(self._job, {}).get(str(self._pod))
            if is_new or pod is None or conditions.is_over(pod):
                self._holds = False
                self._released = conditions.released_at(pod or seen.lost.get(self._job)) or datetime.now(UTC)
                yield Released(at=self._released)
        if is_new and standing.node:
            self._pod, self._holds, self._released, self._current = standing.pod, True, None, None
            yield Started(node=standing.node, at=conditions.held_since(seen.pod(self._job)))

    def _heard(self) -> Iterator[Event]:
        """Tell what the log has said since the last call."""
        unread, self._unread = self._unread, []
        lines = [] if self._log is None else self._log.take()
        for line, transcript in [*unread, *((line, self._transcript) for line in lines)]:
            if line.text.startswith(STEP):
                yield from self._step(line, transcript)
            elif line.text.startswith(RESULT):
                try:
                    results = transcript.result(line.text)
                except ReportError as error:
                    log.warning("%s: %s", self._job, error)
                else:
                    yield from self._results(results)

    def _results(self, results: Sequence[Published]) -> Iterator[Event]:
        """Tell results, but for those that are cut: whole ones may be had elsewhere."""
        for result in results:
            if result.outcome == INTERRUPTED:  # a pod that takes its place may measure it yet
                self._cut_short[result.key] = result
                self._current = None if self._current and self._current[0] == result.key else self._current
            elif result.cut and self._sight.volume:  # it is whole there
                self._only_on_volume.add(result.key)
            else:
                yield from self._result(result)

    def _step(self, line: LogLine, transcript: Transcript) -> Iterator[Event]:
        if (passed := read_step(line.text, PASSED)) is not None:
            self._passed_over.add(passed)
        key = read_step(line.text)
        if (announced := key or read_step(line.text, ANNOUNCED)) is not None:
            yield from self._results(transcript.step(announced))
        if key in self._left and (self._current is None or self._current[0] != key):
            self._current = key, line.at
            yield PointStarted(key=key)

    def _result(self, said: Published, state: str | None = None) -> Iterator[Event]:
        if said.key not in self._left:
            return  # told before
        self._left.discard(said.key)
        if self._current is not None and self._current[0] == said.key:
            self._current = None
        start_up, self._start_up = self._start_up, {}
        yield PointDone(
            key=said.key,
            report=said.report,
            environment={**start_up, **self._about, **said.environment},
            started_at=said.started_at,
            ended_at=said.ended_at,
            log_tail=said.log_tail,
            exit_code=said.exit_code,
            state=said.state or state,
        )

    def _tell(self, standing: Standing) -> Iterator[Event]:
        """Tell what has changed for who watches."""
        stage, message = standing.stage, standing.message
        if stage is Stage.LOADING and (self._current is not None or len(self._left) < len(self._order)):
            done = len(self._order) - len(self._left)
            number = done if self._current is None else self._order.index(self._current[0]) + 1
            stage, message = Stage.MEASURING, message or f"point {number} of {len(self._order)}"
        is_unnoticed = stage is Stage.QUEUED and standing.broken
        self._unnoticed_since = min(self._unnoticed_since, time.monotonic()) if is_unnoticed else math.inf
        if is_unnoticed and time.monotonic() - self._unnoticed_since < NOTICE_S:
            message = "waits for its queue"
        now = Waiting(stage=stage, message=message)
        if now != self._told and not standing.ended and not standing.over:
            self._told = now
            yield now

    async def _give_up(self, standing: Standing, seconds: float) -> Standing | None:
        """Delete a Job that waits for what does not come, and return how it ended."""
        lingers = not self._left and seconds > AFTER_LAST_POINT_S
        is_stuck = standing.broken or self._avoids_all(standing) or await self._waits_for_a_volume(standing, seconds)
        cannot_start = is_stuck and seconds > self._config["pending_timeout_s"]
        if not (lingers or cannot_start or (standing.stage is Stage.PULLING and seconds > PULL_S)):
            return None
        why = "; ".join(dict.fromkeys(text for text in (standing.message, await self._warnings(standing)) if text))
        said = f"given up after {seconds:.0f} s ({standing.stage}): {why or 'no reason was told'}"
        if self._avoids_all(standing):
            self._no_other_node = True
        log.warning("%s: %s", self._job, said)
        await self._delete()
        return Standing(stage=standing.stage, message=said, node=standing.node, pod=standing.pod, ended=True)

    def _avoids_all(self, standing: Standing) -> bool:
        """Say whether no node is left beside those that this deployment avoids; one that is only busy is waited for."""
        job = self._sight.seen.jobs.get(self._job)
        return job is not None and avoids_nodes(job) and conditions.fits_no_other_node(standing)

    async def _waits_for_a_volume(self, standing: Standing, seconds: float) -> bool:
        """Say whether a pod that has waited for long cannot mount what it needs; looked at now and then."""
        patience_s: float = self._config["pending_timeout_s"]
        if standing.stage is not Stage.PULLING or seconds < max(self._warned_s, 1.0) + patience_s:
            return False
        self._warned_s = seconds
        return "Failed" in await self._warnings(standing)

    def stop(self, keys: Collection[AttemptKey]) -> None:
        """See to it that these attempts do not begin; where nothing else is left and none runs, the Job goes."""
        self._stopped = frozenset(keys)
        self._changed.set()

    def _waits_for_nothing(self) -> bool:
        """Say whether all that is left was stopped, and none of it runs as far as the log was read.

        A point that was begun is measured to its end, unless nobody asks for it any more.
        """
        runs = self._current is not None and self._current[0] not in self._deployment.unwanted
        return bool(self._left) and self._left <= self._stopped and not runs and not self._deleted

    async def _delete(self) -> None:
        await delete_job(self._cluster, self._job)
        self._deleted = True
        log.info("%s: its Job was deleted", self._job)

    async def _say_what_not_to_begin(self, standing: Standing) -> None:
        """Keep stop.txt up to date: what was stopped, and what is told already, for a pod that takes another's place.

        A Job that was taken over is told once in any case: an earlier command may have stopped what is wanted now.
        """
        if self._said is None and not self._deployment.exists:
            self._said = frozenset(), standing.pod
        pod = standing.pod or (self._said[1] if self._said is not None else None)
        if self._said is not None and self._said[1] is None and not self._deployment.exists:
            self._said = self._said[0], pod  # its first pod
        if self._said == (self._stopped, pod):
            return
        held = {*attempts_of(self._sight.seen.jobs.get(self._job) or {"metadata": {}}), *self._order}
        try:
            await stop_points(self._cluster, self._job, sorted((held - self._left) | self._stopped))
        except ClusterError as error:
            if error.is_passing:
                raise
            log.warning("%s: its pod cannot be told what not to begin: %s", self._job, error)
        self._said = self._stopped, pod

    async def _warnings(self, standing: Standing) -> str:
        """Return what the cluster warned of last about a pod that does not begin, or that cannot be made."""
        if standing.readable:
            return ""
        params = {"fieldSelector": f"involvedObject.name={standing.pod or self._job},type=Warning"}
        try:
            warned = mappings(await self._cluster.request("GET", EVENTS, params=params), "items")
        except ClusterError:
            return ""
        return "; ".join(dict.fromkeys(f"{text(event, 'reason')}: {text(event, 'message')}" for event in warned[-3:]))

    # ------------------------------------------------------------------------------------------------------------ end

    async def _finish(self, standing: Standing) -> AsyncIterator[Event]:
        """Read what is missing from the log and the volume; tell of the rest that it has no result, and why."""
        is_whole = False
        for reading in range(3):  # what follows the last line; then all of it; then, where its end may be late, again
            if self._log is None or not self._left or (reading and not is_whole):
                break
            if reading == 2:
                if not self._may_be_late(standing):
                    break
                yield Waiting(stage=Stage.MEASURING, message="its log lacks results; it is read once more")
                await asyncio.sleep(LATE_LOG_S)
            if reading:
                self._log.start_over()
                self._transcript = self._new_transcript()
            finishing = asyncio.create_task(self._log.finish(LOST_LOG_S if _is_lost(standing) else UNREAD_S))
            try:
                while not finishing.done():
                    await asyncio.wait([finishing], timeout=GLANCE_S)
                    if not finishing.done():
                        yield Waiting(stage=Stage.MEASURING, message="its log cannot be read; it is asked for again")
                is_whole = finishing.result() or reading > 0
            finally:
                finishing.cancel()
            for event in self._heard():
                yield event
        if standing.exit_code == 0:
            for event in self._results(self._transcript.end()):
                yield event
        if self._left and self._sight.volume is not None:
            missing = self._only_on_volume if is_whole else self._left
            async for event in self._read_volume(self._sight.volume, UNREAD_S if self._left & missing else 0.0):
                yield event
                if isinstance(event, Lost):
                    return
        for said in self._cut_short.values():
            for event in self._result(said, state=standing.message):
                yield event
        if standing.ended and not self._deleted and conditions.lives_on(self._sight.seen.jobs.get(self._job)):
            await self._delete()  # Kueue leaves it suspended for ever, and no TTL begins
        last = self._sight.seen.pod(self._job) or self._sight.seen.lost.get(self._job)
        at = self._released or conditions.released_at(last)
        lines = [] if self._log is None else list(self._log.last)
        found = failure.classify(lines, exit_code=standing.exit_code, state=standing.message)
        if self._left and standing.exit_code == 0:  # a pod that ended well has published all that it began
            kind = "not_reached" if self._left <= self._passed_over else "no_result"
            found = failure.Failure(kind=kind, message=KINDS[kind].meaning)
        if self._current is not None:
            key, begun = self._current
            yield PointFailed(
                key=key,
                status=Status.FAILED,
                kind=found.kind,
                message=found.message,
                started_at=begun,
                ended_at=max(begun, at or datetime.now(UTC)),
                exit_code=standing.exit_code,
                environment={**self._start_up, **self._about},
                log_tail="\n".join(lines),
            )
            yield Ended(message=found.message, at=at)
        elif not self._left:
            yield Ended(at=at)
        elif self._no_other_node:
            yield Ended(message=standing.message, kind="no_other_node", at=at)
        else:
            ends_all = standing.message.startswith(conditions.NEVER_AGAIN)
            yield Ended(message=found.message, kind=found.kind, at=at, node=standing.node, ends_all=ends_all)

    def _may_be_late(self, standing: Standing) -> bool:
        """Say whether results that the log lacks may still come, and can be had nowhere else."""
        is_missing = not self._left <= self._passed_over
        return standing.exit_code == 0 and is_missing and self._sight.volume is None

    async def _read_volume(self, volume: Volume, patience_s: float) -> AsyncIterator[Event]:
        """Tell what the volume has of what is left; where it cannot be read for so long, nobody knows what it has."""
        pauses, until = Pauses(), time.monotonic() + patience_s
        for key in [key for key in self._order if key in self._left]:
            said = None
            while True:
                try:
                    said = await asyncio.to_thread(volume.read, key)
                except ReportError as error:
                    log.warning("%s: %s", self._job, error)
                except OSError as error:
                    if patience_s and time.monotonic() > until:
                        yield Lost(message=f"the results volume cannot be read: {told(error)}")
                        return
                    if patience_s:
                        yield Waiting(stage=Stage.MEASURING, message=f"the results volume is waited for: {told(error)}")
                        await asyncio.sleep(pauses.next())
                        continue
                    log.warning("%s: %s", self._job, told(error))
                break
            for event in self._result(said) if said is not None else ():
                yield event


def _is_lost(standing: Standing) -> bool:
    """Say whether the node went away, and with it the log."""
    return failure.classify([], exit_code=standing.exit_code, state=standing.message).kind == "node_lost"
