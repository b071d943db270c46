"""What Job, pod and Workload say, and what is made of it."""

from __future__ import annotations

from typing import Any

import pytest

from sweep import failure
from sweep.backends import Stage
from sweep.backends.gke import conditions
from sweep.backends.gke.conditions import read


def thing(*conditions: tuple[str, str, str, str], name: str = "x", **status: Any) -> dict[str, Any]:
    said = [{"type": k, "status": v, "reason": r, "message": m} for k, v, r, m in conditions]
    return {"metadata": {"name": name}, "spec": {}, "status": {"conditions": said, **status}}


def pod(*conditions: tuple[str, str, str, str], phase: str = "Pending", node: str = "", **state: Any) -> dict[str, Any]:
    made = thing(*conditions, name="pod", phase=phase, containerStatuses=[{"name": "bench", "state": state}])
    made["spec"] = {"nodeName": node} if node else {}
    return made


RUNNING: dict[str, Any] = {"running": {"startedAt": "2026-01-01T00:00:10Z"}}
JOB, SUSPENDED = thing(), thing(("Suspended", "True", "JobSuspended", ""))


def ended(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"startedAt": "2026-01-01T00:00:10Z", "exitCode": code, "reason": reason}}


@pytest.mark.parametrize(
    ("job", "a_pod", "workload", "stage", "said"),
    [
        (SUSPENDED, None, None, Stage.QUEUED, "its queue has not taken notice"),
        (SUSPENDED, None, thing(("QuotaReserved", "False", "Pending", "no quota")), Stage.QUEUED, "no quota"),
        (SUSPENDED, None, thing(), Stage.QUEUED, "waits for quota"),
        (SUSPENDED, None, thing(("Evicted", "True", "Preempted", "by a")), Stage.QUEUED, "evicted (Preempted: by a)"),
        (JOB, None, None, Stage.SCHEDULING, "no pod yet"),
        (JOB, pod(("PodScheduled", "False", "", "0/3 nodes")), None, Stage.SCHEDULING, "0/3 nodes"),
        (JOB, pod(node="n", waiting={"reason": "ContainerCreating"}), None, Stage.PULLING, ""),
        (JOB, pod(node="n", phase="Running", **RUNNING), None, Stage.LOADING, ""),
        (
            JOB,
            pod(("Ready", "Unknown", "", ""), node="n", phase="Running", **RUNNING),
            None,
            Stage.LOADING,
            "its node does not answer",
        ),
    ],
)
def test_where_a_deployment_stands(job: Any, a_pod: Any, workload: Any, stage: Stage, said: str) -> None:
    standing = read(job, a_pod, workload)
    assert (standing.stage, standing.ended) == (stage, False) and said in standing.message


@pytest.mark.parametrize("reason", sorted(conditions.BROKEN_REASONS))
def test_what_a_container_waits_for_in_vain_is_broken(reason: str) -> None:
    standing = read(JOB, pod(node="n", waiting={"reason": reason, "message": "why"}))
    assert standing.broken and standing.stage is Stage.PULLING and standing.message == f"{reason}: why"


@pytest.mark.parametrize(
    ("job", "a_pod", "said"),
    [
        (thing(("Complete", "True", "", "")), pod(phase="Succeeded", node="n", **ended(0, "Completed")), ""),
        (
            thing(("Failed", "True", "BackoffLimitExceeded", "limit")),
            pod(phase="Failed", node="n", **ended(137, "OOMKilled")),
            "OOMKilled",
        ),
        (thing(("Failed", "True", "DeadlineExceeded", "was active")), None, "DeadlineExceeded: was active"),
        (None, None, "the Job is gone"),
        ({**JOB, "metadata": {"name": "x", "deletionTimestamp": "2026"}}, None, "the Job was deleted"),
    ],
)
def test_an_end_is_told_with_its_cause(job: Any, a_pod: Any, said: str) -> None:
    standing = read(job, a_pod)
    assert standing.ended and said in standing.message


def test_the_order_of_conditions_does_not_matter() -> None:
    several = (
        ("Failed", "True", "DeadlineExceeded", "late"),
        ("FailureTarget", "True", "", ""),
        ("Suspended", "", "", ""),
    )
    assert read(thing(*several), None) == read(thing(*reversed(several)), None)


def test_success_is_not_told_before_the_job_itself_says_so() -> None:
    """With Kueue's webhooks down a Job stays at SuccessCriteriaMet; its pod has ended all the same."""
    standing = read(
        thing(("SuccessCriteriaMet", "True", "", "")), pod(phase="Succeeded", node="n", **ended(0, "Completed"))
    )
    assert not standing.ended and standing.over and standing.exit_code == 0


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("DeactivatedDueToMaximumExecutionTimeExceeded", "timeout"),
        ("DeactivatedDueToRequeuingLimitExceeded", "evicted"),
        ("DeactivatedDueToAdmissionCheck", "quota"),
        ("DeactivatedDueToWhatIsNotKnownYet", "evicted"),
    ],
)
def test_a_job_that_kueue_ended_for_good_has_ended(reason: str, kind: str) -> None:
    workload = thing(("Evicted", "True", reason, "The workload is deactivated due to this"))
    workload["spec"] = {"active": False}
    standing = read(SUSPENDED, None, workload)
    assert standing.ended and standing.message == f"{reason}: The workload is deactivated due to this"
    assert failure.classify([], state=standing.message).kind == kind
    workload["spec"] = {"active": True}  # a person set it so
    assert not read(SUSPENDED, None, workload).ended


@pytest.mark.parametrize("reason", ["Deactivated", "PodsReadyTimeout"])  # the second: while it was backing off
def test_what_a_person_deactivated_says_how_it_goes_on(reason: str) -> None:
    workload = thing(("Evicted", "True", reason, "The workload is deactivated"), name="job-a")
    workload["metadata"]["namespace"], workload["spec"] = "bench", {"active": False}
    standing = read(SUSPENDED, None, workload)
    assert (standing.stage, standing.ended, standing.broken) == (Stage.QUEUED, False, False)
    assert """kubectl patch workload job-a -n bench --type merge -p '{"spec":{"active":true}}'""" in standing.message


def test_a_check_that_is_not_passed_is_what_is_waited_for() -> None:
    checks = [
        {"name": "dws", "state": "Pending", "message": "Retrying after failure:\n no capacity in zone"},
        {"name": "other", "state": "Ready"},
    ]
    reserved = ("QuotaReserved", "True", "QuotaReserved", "Quota reserved in ClusterQueue a")
    requeued = {"count": 2, "requeueAt": "2026-01-01T00:01:00Z"}
    workload = thing(reserved, admissionChecks=checks, requeueState=requeued)
    assert read(SUSPENDED, None, workload).message == (
        "admission check dws: Pending (Retrying after failure: no capacity in zone); tried 2 times, again at"
        " 2026-01-01T00:01:00Z"
    )
    evicted = thing(("Evicted", "True", "AdmissionCheck", "dws"), admissionChecks=checks)
    assert read(SUSPENDED, None, evicted).message.startswith(
        "evicted (AdmissionCheck: dws), waits to start again; admi"
    )
    admitted = thing(reserved, ("Admitted", "True", "Admitted", ""))
    assert read(SUSPENDED, None, admitted).stage is Stage.SCHEDULING


TAS = 'topology "gke" doesn\'t allow to fit any of 1 pod(s). Total nodes: 6; excluded: '


@pytest.mark.parametrize(
    ("said", "none_left"),
    [
        (TAS + "affinity: 6", True),
        (TAS + "affinity: 4, nodeSelector: 2", True),
        (TAS + 'affinity: 5, resource "nvidia.com/gpu": 1', False),
        (TAS + 'affinity: 5, taint "node.kubernetes.io/unschedulable=:NoSchedule": 1', False),
        (TAS + "nodeSelector: 6", False),
        ("waits for quota", False),
    ],
)
def test_a_queue_with_a_topology_says_that_all_nodes_are_avoided(said: str, none_left: bool) -> None:
    standing = read(SUSPENDED, None, thing(("QuotaReserved", "False", "Pending", said)))
    assert conditions.fits_no_other_node(standing) is none_left


def test_a_pod_that_was_deleted_still_says_how_it_ended() -> None:
    lost = pod(("DisruptionTarget", "True", "EvictionByEvictionAPI", "evicted"), phase="Failed", node="n", **ended(143))
    standing = read(thing(("Failed", "True", "BackoffLimitExceeded", "")), None, lost=lost)
    assert (standing.exit_code, standing.node) == (143, "n") and "EvictionByEvictionAPI" in standing.message


def test_the_seconds_before_a_container_runs() -> None:
    job = {"metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": {}}
    ready = pod(node="n", phase="Running", **RUNNING)
    ready["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:04Z"}
    ]
    assert conditions.seconds_to_start(job, ready) == {"queued_s": 4.0, "pull_s": 6.0}
    assert conditions.seconds_to_start(None, None) == {}


def test_evictions_are_counted_over_all_reasons() -> None:
    stats = {"evictions": [{"reason": "Preempted", "count": 2}, {"reason": "Deactivated", "count": 1}]}
    assert conditions.evictions(thing(schedulingStats=stats)) == 3
    assert conditions.evictions(thing()) == 0 and conditions.evictions(None) is None
