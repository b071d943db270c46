"""What a cluster says of a deployment, read: the Job, its pod and Kueue's Workload become one Standing.

    of                says                                             becomes
    ---------------------------------------------------------------------------------------------------------------
    Job               Complete, Failed                                 the end; nothing else is (with Kueue's webhooks
                                                                       down a Job stays at SuccessCriteriaMet)
    Job               gone, or being deleted                           the end: somebody deleted it, or its TTL ran out
    Job               Suspended                                        QUEUED
     Workload          QuotaReserved False                              with Kueue's message
     Workload          Evicted True                                     evicted (why), waits to begin anew
     Workload          Deactivated...MaximumExecutionTime, not active   the end: it never runs again, and never fails
     Workload          none                                             BROKEN after a while: its priority class is
                                                                       unknown, or Kueue is not there
    Job               not suspended, no pod                            SCHEDULING
    pod               PodScheduled False                               SCHEDULING with the scheduler's message: GPUs,
                                                                       taints; BROKEN where a claim is missing
    pod               ContainerCreating, PodInitializing               PULLING (image and volumes)
    container         waiting for an image, Secret or config           PULLING, BROKEN: the Job itself would say Running
                                                                       for ever
    pod               Running                                          LOADING, MEASURING once a point has begun
    pod               Running, its node not Ready                      the same, with a word on the node
    pod               DisruptionTarget, Failed                         why, for failure.classify: evicted, preempted,
                                                                       node lost, OOMKilled, exit code

Conditions have no fixed order and are looked up by type. Pure: plain objects in, a Standing out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sweep.backends import Stage

CONTAINER = "bench"
BROKEN_REASONS = frozenset(
    """ErrImagePull ImagePullBackOff ErrImageNeverPull InvalidImageName ImageInspectError RegistryUnavailable
    CreateContainerConfigError CreateContainerError RunContainerError""".split()
)
"""Why a container waits for what does not come by itself. Each may still pass: a Secret made late, a registry back."""
NO_CLAIM = "persistentvolumeclaim"
"""In the scheduler's words about a claim that is not there, or not bound."""
NEVER_AGAIN = "DeactivatedDueToMaximumExecutionTimeExceeded"

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a deployment stands.

    message: what it waits for, or why it ended, in the cluster's words.
    broken: it waits for what may never come.
    ended: nothing of it will happen any more.
    readable: the container has begun, so that it has a log.
    over: the container has ended.
    """

    stage: Stage
    message: str = ""
    node: str | None = None
    pod: str | None = None
    broken: bool = False
    ended: bool = False
    readable: bool = False
    over: bool = False
    exit_code: int | None = None


def read(
    job: Object | None, pod: Object | None, workload: Object | None = None, lost: Object | None = None
) -> Standing:
    """Return where a deployment stands.

    Args:
        job: None once it is gone.
        pod: the newest of the Job; None before there is one, or after it was deleted.
        workload: Kueue's; None where there is no Kueue, or not yet.
        lost: a pod of the Job that was deleted, as it was then.
    """
    about = _of_pod(pod)
    ended, why = _end_of(job, workload)
    if ended:
        last = pod or lost
        return Standing(stage=Stage.MEASURING, message=_joined(why, _cause(last)), ended=True, **_of_pod(last))
    if job is not None and _is(job, "Suspended"):
        message, broken = _queue(workload)
        return Standing(stage=Stage.QUEUED, message=message, broken=broken)
    if about["over"]:  # the Job will follow
        return Standing(stage=Stage.MEASURING, message=_cause(pod), **about)
    if pod is None:
        return Standing(stage=Stage.SCHEDULING, message="no pod yet")
    scheduled = _condition(pod, "PodScheduled")
    if not about["node"]:
        told = _text(scheduled, "message")
        return Standing(stage=Stage.SCHEDULING, message=told, broken=NO_CLAIM in told, **about)
    if about["readable"]:
        return Standing(stage=Stage.LOADING, message=_disturbance(pod), **about)
    waiting = _waiting(pod)
    reason, said = waiting.get("reason", ""), waiting.get("message", "")
    broken = reason in BROKEN_REASONS
    return Standing(
        stage=Stage.PULLING, message=_joined(reason, said) if broken else _disturbance(pod), broken=broken, **about
    )


def lives_on(job: Object | None) -> bool:
    """Say whether a Job is there and has come to no end by itself."""
    return job is not None and not (
        _is(job, "Complete") or _is(job, "Failed") or "deletionTimestamp" in job["metadata"]
    )


def seconds_to_start(job: Object | None, pod: Object | None) -> dict[str, float]:
    """Return queued_s (from the Job's creation to a node) and pull_s (from there to the container's start)."""
    created = _time((job or {}).get("metadata", {}).get("creationTimestamp"))
    scheduled = held_since(pod)
    state = _container(pod or {}).get("state", {})
    started = _time((state.get("running") or state.get("terminated") or {}).get("startedAt"))
    found: dict[str, float] = {}
    if created and scheduled:
        found["queued_s"] = max(0.0, (scheduled - created).total_seconds())
    if scheduled and started:
        found["pull_s"] = max(0.0, (started - scheduled).total_seconds())
    return found


def held_since(pod: Object | None) -> datetime | None:
    """Return since when a pod holds its node's GPUs."""
    return _time(_text(_condition(pod or {}, "PodScheduled"), "lastTransitionTime"))


def released_at(pod: Object | None) -> datetime | None:
    """Return when a pod's container ended; None where that is not told."""
    ended = _container(pod or {}).get("state", {}).get("terminated") or {}
    return _time(ended.get("finishedAt"))


def is_over(pod: Object) -> bool:
    """Say whether a pod has ended, and has given its node's GPUs back."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def image_digest(pod: Object) -> str | None:
    """Return the digest of the image that ran."""
    return str(_container(pod).get("imageID") or "").rpartition("@")[2] or None


def evictions(workload: Object | None) -> int | None:
    """Return how often Kueue evicted the deployment; `Evicted` itself goes back to False when it begins anew."""
    if workload is None:
        return None
    counted = workload.get("status", {}).get("schedulingStats", {}).get("evictions") or ()
    return sum(int(eviction.get("count") or 0) for eviction in counted)


# ------------------------------------------------------------------------------------------------------ the Job's end


def _end_of(job: Object | None, workload: Object | None) -> tuple[bool, str]:
    if job is None:
        return True, "the Job is gone: it was deleted, or kept no longer"
    if _is(job, "Complete"):
        return True, ""
    if _is(job, "Failed"):
        return True, _said(_condition(job, "Failed"))
    if job["metadata"].get("deletionTimestamp"):
        return True, "the Job was deleted"
    evicted = _condition(workload or {}, "Evicted")
    if evicted and evicted.get("status") == "True" and evicted.get("reason") == NEVER_AGAIN:
        return True, _joined("MaximumExecutionTimeExceeded", _text(evicted, "message"))
    return False, ""


def _queue(workload: Object | None) -> tuple[str, bool]:
    if workload is None:
        return (
            "its queue has not taken notice: Kueue is not there, or its WorkloadPriorityClass does not exist",
            True,
        )
    evicted = _condition(workload, "Evicted")
    if evicted and evicted.get("status") == "True":
        return f"evicted ({_said(evicted)}), waits to begin anew", False
    return _text(_condition(workload, "QuotaReserved"), "message") or "waits for quota", False


# ------------------------------------------------------------------------------------------------------------ the pod


def _of_pod(pod: Object | None) -> dict[str, Any]:
    if pod is None:
        return {"over": False, "readable": False, "node": None, "pod": None, "exit_code": None}
    state = _container(pod).get("state", {})
    ended = state.get("terminated")
    return {
        "node": pod.get("spec", {}).get("nodeName") or None,
        "pod": pod["metadata"]["name"],
        "readable": bool(state.get("running") or (ended and ended.get("startedAt"))),
        "over": is_over(pod),
        "exit_code": ended.get("exitCode") if ended else None,
    }


def _cause(pod: Object | None) -> str:
    """Return why a pod failed: its own words, a disruption, the container's end; empty where it succeeded."""
    if pod is None or pod.get("status", {}).get("phase") == "Succeeded":
        return ""
    status, ended = pod.get("status", {}), _container(pod).get("state", {}).get("terminated") or {}
    container = _joined(str(ended.get("reason") or ""), str(ended.get("message") or "").strip())
    return _joined(_said(status), _disturbance(pod), container)


def _disturbance(pod: Object) -> str:
    """Return what goes on around a pod that has not ended: its node, its own deletion."""
    target, ready = _condition(pod, "DisruptionTarget"), _condition(pod, "Ready")
    told = _said(target) if target and target.get("status") == "True" else ""
    if pod.get("status", {}).get("phase") == "Unknown" or (ready or {}).get("status") == "Unknown":
        told = _joined(told, "its node does not answer")
    return told


def _container(pod: Object) -> Mapping[str, Any]:
    statuses: Iterable[Mapping[str, Any]] = pod.get("status", {}).get("containerStatuses") or ()
    return next((status for status in statuses if status.get("name") == CONTAINER), {})


def _waiting(pod: Object) -> Mapping[str, Any]:
    statuses = [*(pod.get("status", {}).get("initContainerStatuses") or ()), _container(pod)]
    found = [waiting for status in statuses if (waiting := (status.get("state") or {}).get("waiting"))]
    return next((w for w in found if w.get("reason") in BROKEN_REASONS), found[-1] if found else {})


# --------------------------------------------------------------------------------------------------------- conditions


def _condition(thing: Object, kind: str) -> Mapping[str, Any] | None:
    conditions: Iterable[Mapping[str, Any]] = thing.get("status", {}).get("conditions") or ()
    return next((condition for condition in conditions if condition.get("type") == kind), None)


def _is(thing: Object, kind: str) -> bool:
    condition = _condition(thing, kind)
    return condition is not None and condition.get("status") == "True"


def _said(condition: Mapping[str, Any] | None) -> str:
    return _joined(_text(condition, "reason"), _text(condition, "message"))


def _text(condition: Mapping[str, Any] | None, key: str) -> str:
    return str((condition or {}).get(key) or "")


def _joined(*texts: str) -> str:
    return ": ".join(dict.fromkeys(text for text in texts if text))


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) and text else None
