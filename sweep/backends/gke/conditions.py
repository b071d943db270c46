"""What a cluster says of a deployment, read: the Job, its pod and Kueue's Workload become one Standing.

    of                says                                             becomes
    ---------------------------------------------------------------------------------------------------------------
    Job               Complete, Failed                                 the end; nothing else is (with Kueue's webhooks
                                                                       down a Job stays at SuccessCriteriaMet)
    Job               gone, or being deleted                           the end: somebody deleted it, or its TTL ran out
    Job               Suspended                                        QUEUED
     Workload          QuotaReserved False                              with Kueue's message
     Workload          QuotaReserved True, a check not Ready            with the check's state: DWS looks for nodes
     Workload          Admitted True                                    SCHEDULING
     Workload          Evicted True                                     evicted (why), waits to start again
     Workload          Evicted DeactivatedDueTo..., not active          the end: it never runs again, and never fails
     Workload          not active otherwise                             a person did that, and only one can undo it
     Workload          none                                             BROKEN after a while: Kueue is not there, or
                                                                       does not want it
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

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sweep.backends import Stage
from sweep.backends.fields import Object, condition_of, count, field, mapping, mappings, moment, text

CONTAINER = "bench"
BROKEN_REASONS = frozenset(
    """ErrImagePull ImagePullBackOff ErrImageNeverPull InvalidImageName ImageInspectError RegistryUnavailable
    CreateContainerConfigError CreateContainerError RunContainerError""".split()
)
"""Why a container waits for what does not come by itself. Each may still pass: a Secret made late, a registry back."""
NO_CLAIM = "persistentvolumeclaim"
"""In the scheduler's words about a claim that is not there, or not bound."""
NEVER_AGAIN = "DeactivatedDueTo"
"""The start of each reason for which Kueue itself deactivates a Workload for good: its execution time or its requeuings
are used up, or an admission check was rejected."""
UNNOTICED = (
    "its queue has not taken notice: Kueue is not there, its WorkloadPriorityClass does not exist, or its namespace is"
    " not one that Kueue manages"
)


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
        return _in_queue(workload)
    if about["over"]:  # the Job will follow
        return Standing(stage=Stage.MEASURING, message=_cause(pod), **about)
    if pod is None:
        return Standing(stage=Stage.SCHEDULING, message="no pod yet")
    scheduled = condition_of(pod, "PodScheduled")
    if not about["node"]:
        told = text(scheduled, "message")
        return Standing(stage=Stage.SCHEDULING, message=told, broken=NO_CLAIM in told, **about)
    if about["readable"]:
        return Standing(stage=Stage.LOADING, message=_disturbance(pod), **about)
    waiting = _waiting(pod)
    reason, said = text(waiting, "reason"), text(waiting, "message")
    broken = reason in BROKEN_REASONS
    return Standing(
        stage=Stage.PULLING, message=_joined(reason, said) if broken else _disturbance(pod), broken=broken, **about
    )


def lives_on(job: Object | None) -> bool:
    """Say whether a Job is there and has come to no end by itself."""
    return job is not None and not (
        _is(job, "Complete") or _is(job, "Failed") or text(job, "metadata", "deletionTimestamp")
    )


def fits_no_other_node(standing: Standing) -> bool:
    """Say whether a deployment avoids every node, as the scheduler reports or, with a topology, Kueue.

    A node that is only busy or cordoned may be used later.
    """
    if standing.stage is Stage.SCHEDULING:
        return "node affinity" in standing.message and "Insufficient" not in standing.message
    if standing.stage is not Stage.QUEUED:
        return False
    total = re.search(r"Total nodes: (\d+); excluded: (.*)", standing.message)
    if total is None:
        return False
    of_other_labels, avoided = (re.search(rf"\b{why}: (\d+)", total[2]) for why in ("nodeSelector", "affinity"))
    excluded = sum(int(count[1]) for count in (of_other_labels, avoided) if count is not None)
    return avoided is not None and excluded == int(total[1])


def seconds_to_start(job: Object | None, pod: Object | None) -> dict[str, float]:
    """Return queued_s (from the Job's creation to a node) and pull_s (from there to the container's start)."""
    created = moment(job, "metadata", "creationTimestamp")
    scheduled = held_since(pod)
    state = mapping(_container(pod), "state")
    started = moment(mapping(state, "running") or mapping(state, "terminated"), "startedAt")
    found: dict[str, float] = {}
    if created and scheduled:
        found["queued_s"] = max(0.0, (scheduled - created).total_seconds())
    if scheduled and started:
        found["pull_s"] = max(0.0, (started - scheduled).total_seconds())
    return found


def held_since(pod: Object | None) -> datetime | None:
    """Return since when a pod holds its node's GPUs."""
    return moment(condition_of(pod, "PodScheduled"), "lastTransitionTime")


def released_at(pod: Object | None) -> datetime | None:
    """Return when a pod's container ended; None where that is not told."""
    return moment(_container(pod), "state", "terminated", "finishedAt")


def is_over(pod: Object) -> bool:
    """Say whether a pod has ended, and has given its node's GPUs back."""
    return text(pod, "status", "phase") in ("Succeeded", "Failed")


def image_digest(pod: Object) -> str | None:
    """Return the digest of the image that ran."""
    return text(_container(pod), "imageID").rpartition("@")[2] or None


def evictions(workload: Object | None) -> int | None:
    """Return how often Kueue evicted the deployment; `Evicted` itself goes back to False when it begins anew."""
    if workload is None:
        return None
    counted = mappings(workload, "status", "schedulingStats", "evictions")
    return sum(max(0, count(eviction, "count") or 0) for eviction in counted)


# ------------------------------------------------------------------------------------------------------ the Job's end


def _end_of(job: Object | None, workload: Object | None) -> tuple[bool, str]:
    if job is None:
        return True, "the Job is gone: it was deleted, or kept no longer"
    if _is(job, "Complete"):
        return True, ""
    if _is(job, "Failed"):
        return True, _said(condition_of(job, "Failed"))
    if text(job, "metadata", "deletionTimestamp"):
        return True, "the Job was deleted"
    evicted = condition_of(workload, "Evicted")
    is_active = field(workload, "spec", "active") is True
    if _is(workload, "Evicted") and text(evicted, "reason").startswith(NEVER_AGAIN) and not is_active:
        return True, _said(evicted)
    return False, ""


# ---------------------------------------------------------------------------------------------------------- the queue


def _in_queue(workload: Object | None) -> Standing:
    """Return where a Job stands that is suspended by its queue."""
    if workload is None:
        return Standing(stage=Stage.QUEUED, message=UNNOTICED, broken=True)
    if field(workload, "spec", "active") is False:
        name, namespace = text(workload, "metadata", "name"), text(workload, "metadata", "namespace")
        undo = f"""kubectl patch workload {name} -n {namespace} --type merge -p '{{"spec":{{"active":true}}}}'"""
        return Standing(stage=Stage.QUEUED, message=f"deactivated by a person; this resumes it: {undo}")
    if _is(workload, "Evicted"):
        message = f"evicted ({_said(condition_of(workload, 'Evicted'))}), waits to start again"
        return Standing(stage=Stage.QUEUED, message="; ".join([message, *_checks(workload)]))
    if not _is(workload, "QuotaReserved"):
        message = text(condition_of(workload, "QuotaReserved"), "message") or "waits for quota"
        return Standing(stage=Stage.QUEUED, message=message)
    if _is(workload, "Admitted"):
        return Standing(stage=Stage.SCHEDULING, message="admitted, no pod yet")
    message = "; ".join(_checks(workload)) or "has its quota, but is not admitted yet"
    return Standing(stage=Stage.QUEUED, message=message)


def _checks(workload: Object) -> list[str]:
    """Return a line for each admission check that has not passed, and one for earlier attempts."""
    lines = []
    for check in mappings(workload, "status", "admissionChecks"):
        if (state := text(check, "state")) != "Ready":
            reason = " ".join(text(check, "message").split())
            lines.append(f"admission check {text(check, 'name')}: {state}" + (f" ({reason})" if reason else ""))
    requeued = mapping(workload, "status", "requeueState")
    if again := text(requeued, "requeueAt"):
        lines.append(f"tried {count(requeued, 'count') or 0} times, again at {again}")
    return lines


# ------------------------------------------------------------------------------------------------------------ the pod


def _of_pod(pod: Object | None) -> dict[str, Any]:
    if pod is None:
        return {"over": False, "readable": False, "node": None, "pod": None, "exit_code": None}
    state = mapping(_container(pod), "state")
    ended = mapping(state, "terminated")
    return {
        "node": text(pod, "spec", "nodeName") or None,
        "pod": text(pod, "metadata", "name") or None,
        "readable": bool(mapping(state, "running") or text(ended, "startedAt")),
        "over": is_over(pod),
        "exit_code": count(ended, "exitCode"),
    }


def _cause(pod: Object | None) -> str:
    """Return why a pod failed: its own words, a disruption, the container's end; empty where it succeeded."""
    if pod is None or text(pod, "status", "phase") == "Succeeded":
        return ""
    ended = mapping(_container(pod), "state", "terminated")
    container = _joined(text(ended, "reason"), text(ended, "message").strip())
    return _joined(_said(mapping(pod, "status")), _disturbance(pod), container)


def _disturbance(pod: Object) -> str:
    """Return what goes on around a pod that has not ended: its node, its own deletion."""
    told = _said(condition_of(pod, "DisruptionTarget")) if _is(pod, "DisruptionTarget") else ""
    if "Unknown" in (text(pod, "status", "phase"), text(condition_of(pod, "Ready"), "status")):
        told = _joined(told, "its node does not answer")
    return told


def _container(pod: Object | None) -> Object:
    statuses = mappings(pod, "status", "containerStatuses")
    return next((status for status in statuses if status.get("name") == CONTAINER), {})


def _waiting(pod: Object) -> Object:
    statuses = [*mappings(pod, "status", "initContainerStatuses"), _container(pod)]
    waits = [waiting for status in statuses if (waiting := mapping(status, "state", "waiting"))]
    return next((wait for wait in waits if text(wait, "reason") in BROKEN_REASONS), waits[-1] if waits else {})


# --------------------------------------------------------------------------------------------------------- conditions


def _is(thing: Object | None, kind: str) -> bool:
    return text(condition_of(thing, kind), "status") == "True"


def _said(condition: Object) -> str:
    return _joined(text(condition, "reason"), text(condition, "message"))


def _joined(*texts: str) -> str:
    return ": ".join(dict.fromkeys(text for text in texts if text))
