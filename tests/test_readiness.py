"""What a Job needs of its cluster, and what is said where it is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sweep.backends.gke import admission, readiness
from sweep.backends.gke.readiness import RIGHTS, Level, Needs, Right, SecretNeed, needs_of, quantity
from sweep.errors import ClusterError

ROLE = Path(__file__).parent.parent / "charts" / "trtllm-bench" / "examples" / "role.yaml"
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}


def job(**pod: Any) -> dict[str, Any]:
    container = {"name": "bench", "resources": {"limits": {"nvidia.com/gpu": 4}, "requests": {"memory": "2Gi"}}}
    spec = {"containers": [container], "nodeSelector": {"pool": "a4x"}, **pod}
    return {
        "metadata": {"name": "sweep-1", "labels": {"kueue.x-k8s.io/queue-name": "a4x"}},
        "spec": {"template": {"spec": spec}},
    }


def node(gpus: int = 4, free: int | None = None, ready: bool = True, **spec: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    allocatable = gpus if free is None else free
    amounts = {"capacity": {"nvidia.com/gpu": str(gpus)}, "allocatable": {"nvidia.com/gpu": str(allocatable)}}
    return {"spec": spec, "status": {"conditions": conditions, **amounts}}


def queue(gpus: object = 16, **spec: Any) -> dict[str, Any]:
    flavor = {"name": "a4x", "resources": [{"name": "nvidia.com/gpu", "nominalQuota": gpus}]}
    groups = [{"coveredResources": ["nvidia.com/gpu"], "flavors": [flavor]}]
    return {"metadata": {"name": "bench"}, "spec": {"resourceGroups": groups, **spec}}


def gpus_only(**pod: Any) -> Needs:
    made = job(**pod)
    del made["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
    return needs_of(made)


@pytest.mark.parametrize(
    ("said", "number"),
    [("4", 4), (4, 4), ("500m", 0.5), ("2k", 2000), ("2Ki", 2048), ("1.5Gi", 1.5 * 2**30), ("1e3", 1000), ("3M", 3e6)],
)
def test_a_quantity_is_a_number(said: object, number: float) -> None:
    assert quantity(said) == number


@pytest.mark.parametrize("said", ["", "four", "4 Gi", "4gi", "--1"])
def test_what_is_no_quantity_is_refused(said: str) -> None:
    with pytest.raises(ValueError):
        quantity(said)


def test_what_a_job_needs_is_read_from_its_manifest() -> None:
    token = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token", "optional": True}}}
    made = job(
        serviceAccountName="bench",
        imagePullSecrets=[{"name": "registry"}],
        volumes=[
            {"name": "w", "persistentVolumeClaim": {"claimName": "lustre"}},
            {"name": "r", "csi": {"driver": "gcsfuse.csi.storage.gke.io"}},
        ],
    )
    made["spec"]["template"]["spec"]["containers"][0]["env"] = [token, {"name": "A", "value": "b"}]
    needs = needs_of(made)
    assert needs.requests == {"nvidia.com/gpu": 4, "memory": 2 * 2**30}
    assert needs.secrets == (SecretNeed(name="registry"), SecretNeed(name="hf", key="token", optional=True))
    assert (needs.queue, needs.queue_priority, needs.service_account) == ("a4x", None, "bench")
    assert needs.claims == ("lustre",) and needs.gcsfuse


@pytest.mark.parametrize(
    ("said", "level"), [(None, "error"), ("v3.7.2", "error"), ("v3.8.0", "ok"), ("v4.0.1+g1", "ok"), ("?", "unknown")]
)
def test_helm_must_be_there_and_not_too_old(said: str | None, level: str) -> None:
    assert readiness.judge_helm(said).level == level


@pytest.mark.parametrize(("ahead_s", "level"), [(0.4, "ok"), (-29, "ok"), (31, "warning"), (None, "unknown")])
def test_clocks_that_differ_are_told(ahead_s: float | None, level: str) -> None:
    assert readiness.judge_clock(ahead_s).level == level


def test_a_right_that_is_missing_is_named_with_what_gives_it() -> None:
    jobs = next(right for right in RIGHTS if right.resource == "jobs")
    events = next(right for right in RIGHTS if right.resource == "events")
    needed, useful = readiness.judge_rights([(jobs, "create"), (events, "list")], "bench")
    assert needed.level is Level.ERROR and "create jobs (batch)" in needed.message and "role.yaml" in needed.mend
    assert useful.level is Level.WARNING and "list events" in useful.message
    (fine,) = readiness.judge_rights([], "bench")
    assert fine.level is Level.OK


def test_the_role_of_the_chart_grants_just_what_is_used() -> None:
    rules = yaml.safe_load(ROLE.read_text())["rules"]
    granted = [(rule["apiGroups"], rule["resources"], rule["verbs"]) for rule in rules]
    assert granted == [([right.group], [right.resource], list(right.verbs)) for right in RIGHTS]
    assert all(isinstance(right, Right) for right in RIGHTS)


@pytest.mark.parametrize(
    ("cluster_queue", "level", "said"),
    [
        (queue(16), "ok", "16 GPUs, so 4 Jobs at a time"),
        (queue("2"), "error", "has a quota of 2 nvidia.com/gpu; a Job asks 4: it would wait for ever"),
        (queue(2, cohortName="all"), "warning", "would have to borrow from cohort all"),
        (queue(16, stopPolicy="Hold"), "warning", "is stopped (Hold)"),
        ({"metadata": {"name": "bench"}, "spec": {}}, "error", "does not cover nvidia.com/gpu"),
    ],
)
def test_a_quota_must_cover_what_a_job_asks(cluster_queue: dict[str, Any], level: str, said: str) -> None:
    finding = admission.judge_quota(gpus_only(), cluster_queue)
    assert finding.level == level and said in finding.message


def test_a_resource_that_the_queue_does_not_know_is_told() -> None:
    """Kueue admits no Job that asks for what its queue has no quota of, unless it is told to overlook it."""
    finding = admission.judge_quota(needs_of(job()), queue(16))
    assert finding.level is Level.WARNING and "does not cover memory" in finding.message


@pytest.mark.parametrize(
    ("nodes", "level", "said"),
    [
        ([], "warning", "no node has the labels pool=a4x"),
        ([node(), node(ready=False)], "ok", "1 with 4 GPUs or more; 1 not ready"),
        ([node(ready=False)], "warning", "none of 1 fits now: 1 not ready"),
        ([node(gpus=2)], "error", "the nodes have 2"),
        ([node(free=3)], "warning", "too few GPUs"),
        ([node(taints=[GPU_TAINT])], "warning", "with taint nvidia.com/gpu"),
        ([node(taints=[GPU_TAINT | {"effect": "PreferNoSchedule"}])], "ok", "1 with 4"),
    ],
)
def test_nodes_must_have_what_a_job_asks(nodes: list[Any], level: str, said: str) -> None:
    finding = readiness.judge_nodes(gpus_only(), nodes)
    assert finding.level == level and said in finding.message


@pytest.mark.parametrize("operator", ["Exists", "Equal"])
def test_a_taint_that_is_tolerated_is_none(operator: str) -> None:
    value = {"value": "present"} if operator == "Equal" else {}
    tolerated = gpus_only(tolerations=[{"key": "nvidia.com/gpu", "operator": operator, **value}])
    assert readiness.judge_nodes(tolerated, [node(taints=[GPU_TAINT])]).level is Level.OK


def test_a_queue_that_is_not_there_is_told_with_those_that_are() -> None:
    found = admission.judge_unknown_queue("a4x", "bench", ["b", "a"])
    assert found.level is Level.ERROR and "there are a, b" in found.message and found.mend == "backend.queue=a"
    assert "there is none" in admission.judge_unknown_queue("a4x", "bench", []).message
    (past,) = admission.judge_no_queue(["a4x"])
    assert past.level is Level.WARNING and admission.judge_no_queue([]) == []


def test_a_secret_that_is_missing_is_an_error_unless_pods_start_without_it() -> None:
    needed = SecretNeed(name="hf", key="token")
    missing = readiness.judge_no_secret(needed, "bench")
    assert missing.level is Level.ERROR
    assert missing.mend == "kubectl create secret generic hf -n bench --from-file=token=FILE"
    assert readiness.judge_no_secret(SecretNeed(name="hf", key="t", optional=True), "bench").level is Level.WARNING
    assert "docker-registry" in readiness.judge_no_secret(SecretNeed(name="r"), "bench").mend


# ------------------------------------------------------------------------------------------------------ Kueue's queues


@pytest.mark.parametrize(
    ("selector", "taken"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"team": "bench"}}, True),
        ({"matchLabels": {"team": "other"}}, False),
        ({"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "bench"]}]}, True),
        ({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a", "bench"]}]}, False),
        ({"matchExpressions": [{"key": "team", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["a"]}]}, True),
        ({"matchExpressions": [{"key": "team", "operator": "SomethingNew"}]}, True),
    ],
)
def test_a_cluster_queue_selects_namespaces(selector: Any, taken: bool) -> None:
    spec = {} if selector is None else {"namespaceSelector": selector}
    namespace = {"metadata": {"name": "ns", "labels": {"team": "bench"}}}
    found = admission.judge_namespace({"metadata": {"name": "cq"}, "spec": spec}, namespace)
    assert (found == []) is taken


@pytest.mark.parametrize(
    ("status", "said", "level"),
    [
        (403, 'User "x" cannot create resource "jobs" in API group "batch"', Level.UNKNOWN),
        (403, 'admission webhook "policy" denied the request', Level.ERROR),
        (422, "spec.template is invalid", Level.ERROR),
        (500, 'failed calling webhook "mjob.kb.io"', Level.WARNING),
        (0, "the server does not answer", Level.WARNING),
    ],
)
def test_a_job_that_was_only_tried_is_judged_by_the_answer(status: int, said: str, level: Level) -> None:
    found = readiness.judge_trial(ClusterError(said, status))
    assert found.level is level and said in found.message
    assert readiness.judge_trial(None).level is Level.OK


@pytest.mark.parametrize(
    ("reason", "level"),
    [("FlavorNotFound", Level.ERROR), ("TopologyNotFound", Level.ERROR), ("AdmissionCheckInactive", Level.WARNING)],
)
def test_a_queue_that_is_not_active_says_why(reason: str, level: Level) -> None:
    condition = {"type": "Active", "status": "False", "reason": reason, "message": "in Kueue's words"}
    (found,) = admission.judge_active(
        {"metadata": {"name": "cq"}, "status": {"conditions": [condition]}}, "ClusterQueue"
    )
    assert found.level is level and f"{reason}: in Kueue's words" in found.message
    assert admission.judge_active({"metadata": {"name": "cq"}}, "ClusterQueue") == []


def test_a_level_that_no_flavor_has_is_named_with_those_that_there_are() -> None:
    (found,) = admission.judge_topology("some/level", {"a": ("block", "host"), "b": ()})
    assert found.level is Level.ERROR and "a has block, host; b has none" in found.mend
    assert admission.judge_topology("host", {"a": ("block", "host"), "b": ()}) == []
