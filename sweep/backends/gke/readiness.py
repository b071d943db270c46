"""What must be there before a Job of ours can run, and what is said of it: needs of a Job, and judgements.

Pure: a rendered Job and what the API server answered in, findings out. doctor.py asks and prints.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sweep.backends.fields import Object, condition_of, mapping, mappings, text
from sweep.errors import ClusterError

GPU = "nvidia.com/gpu"
KUEUE = "kueue.x-k8s.io"
TOPOLOGY_NOTES = (f"{KUEUE}/podset-required-topology", f"{KUEUE}/podset-preferred-topology")
CLUSTER_ROLE = (
    "kubectl apply -f charts/trtllm-bench/examples/cluster-role.yaml && kubectl create clusterrolebinding sweep"
    " --clusterrole=sweep --user=YOU"
)
"""Lets a person see more before a run; it needs none of it."""
CLOCK_S = 30.0
"""More than that and the times of rows, which come from both sides, contradict each other."""
FIRST_HELM = (3, 8)


class Level(StrEnum):
    """How bad a finding is. ERROR: a run would only wait or fail. UNKNOWN: we have no right to see it."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The answer to one question; `mend` is the command that would help."""

    name: str
    level: Level
    message: str
    mend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """What one kind of object is used for; without an `optional` one a run goes on, and tells less."""

    resource: str
    verbs: tuple[str, ...]
    group: str = ""
    optional: bool = False


RIGHTS = (
    Right(group="batch", resource="jobs", verbs=("create", "get", "list", "watch", "delete")),
    Right(resource="configmaps", verbs=("create", "get", "list", "patch")),
    Right(resource="pods", verbs=("list", "watch")),
    Right(resource="pods/log", verbs=("get",)),
    Right(resource="namespaces", verbs=("get",), optional=True),
    Right(resource="events", verbs=("list",), optional=True),
    Right(group=KUEUE, resource="workloads", verbs=("list", "watch"), optional=True),
    Right(group=KUEUE, resource="localqueues", verbs=("get", "list"), optional=True),
)
"""Everything that a run asks of a namespace; charts/trtllm-bench/examples/role.yaml grants just this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretNeed:
    """A Secret that a Job reads; `key` is empty for one to pull images with. Pods start without an optional one."""

    name: str
    key: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a Job asks of its cluster, read from its manifest.

    requests: amounts by resource, cores and bytes for cpu and memory.
    topology_level: the label of nodes that its pods must share, or had better share.
    """

    requests: Mapping[str, float]
    node_selector: Mapping[str, str]
    tolerations: Sequence[Object]
    queue: str | None
    queue_priority: str | None
    topology_level: str | None
    service_account: str | None
    secrets: tuple[SecretNeed, ...]
    claims: tuple[str, ...]
    gcsfuse: bool


def needs_of(job: Object) -> Needs:
    """Read a Job's manifest."""
    pod, labels = job["spec"]["template"]["spec"], job["metadata"].get("labels") or {}
    notes = job["spec"]["template"].get("metadata", {}).get("annotations") or {}
    requests: dict[str, float] = {}
    secrets = [SecretNeed(name=secret["name"]) for secret in pod.get("imagePullSecrets") or ()]
    for container in pod["containers"]:
        resources = container.get("resources") or {}
        asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
        for name, amount in asked.items():
            requests[name] = requests.get(name, 0.0) + quantity(amount)
        for variable in container.get("env") or ():
            if reference := (variable.get("valueFrom") or {}).get("secretKeyRef"):
                optional = bool(reference.get("optional"))
                secrets.append(SecretNeed(name=reference["name"], key=reference["key"], optional=optional))
    volumes = pod.get("volumes") or ()
    claims = [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume]
    return Needs(
        requests=requests,
        node_selector=pod.get("nodeSelector") or {},
        tolerations=pod.get("tolerations") or (),
        queue=labels.get(f"{KUEUE}/queue-name"),
        queue_priority=labels.get(f"{KUEUE}/priority-class"),
        topology_level=next((level for name in TOPOLOGY_NOTES if (level := notes.get(name))), None),
        service_account=pod.get("serviceAccountName"),
        secrets=tuple(dict.fromkeys(secrets)),
        claims=tuple(dict.fromkeys(claims)),
        gcsfuse=any((volume.get("csi") or {}).get("driver") == "gcsfuse.csi.storage.gke.io" for volume in volumes),
    )


def quantity(said: object) -> float:
    """Return a Kubernetes quantity as a number.

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)(m|[kMGTPE]i?|Ki)?", str(said))
    if found is None:
        raise ValueError(f"{said!r} is no quantity")
    return float(found[1]) * _UNITS[found[2] or ""]


def amount_of(given: object) -> float:
    """Return a quantity that a server tells; none where it cannot be read."""
    try:
        amount = quantity(given or 0)
    except ValueError:
        return 0.0
    return amount if math.isfinite(amount) else 0.0


_UNITS = {"": 1.0, "m": 1e-3, "k": 1e3} | {
    unit + i: (1024.0 if i else 1000.0) ** power for power, unit in enumerate("KMGTPE", 1) for i in ("", "i")
}

# --------------------------------------------------------------------------------------------------------- judgements


def judge_helm(said: str | None) -> Finding:
    """Judge what `helm version` says; None without helm."""
    mend = "https://helm.sh/docs/intro/install"
    if said is None:
        return Finding(name="helm", level=Level.ERROR, message="helm is not on PATH", mend=mend)
    found = re.match(r"v?(\d+)\.(\d+)", said)
    if found is None:
        return Finding(name="helm", level=Level.UNKNOWN, message=f"helm says {said!r} of its version")
    if (int(found[1]), int(found[2])) < FIRST_HELM:
        first = ".".join(map(str, FIRST_HELM))
        return Finding(name="helm", level=Level.ERROR, message=f"helm {said} is older than {first}", mend=mend)
    return Finding(name="helm", level=Level.OK, message=said)


def judge_clock(ahead_s: float | None) -> Finding:
    """Judge by how much this machine's clock is ahead of the API server's."""
    if ahead_s is None:
        return Finding(name="clock", level=Level.UNKNOWN, message="the API server does not tell its time")
    if abs(ahead_s) > CLOCK_S:
        way = "ahead of" if ahead_s > 0 else "behind"
        message = f"this machine's clock is {abs(ahead_s):.0f} s {way} the cluster's"
        return Finding(name="clock", level=Level.WARNING, message=message, mend="timedatectl set-ntp true")
    return Finding(name="clock", level=Level.OK, message=f"within {CLOCK_S:.0f} s of the cluster's")


def judge_rights(denied: Sequence[tuple[Right, str]], namespace: str) -> list[Finding]:
    """Judge the rights that are missing, each as (right, verb); required ones and others apart."""
    found = []
    mend = (
        f"kubectl apply -n {namespace} -f charts/trtllm-bench/examples/role.yaml && kubectl create rolebinding"
        f" -n {namespace} sweep --role=sweep --user=YOU"
    )
    for optional, level, so in (
        (False, Level.ERROR, ""),
        (
            True,
            Level.WARNING,
            "; the run goes on, and knows less of why a Job waits, or whether this is the cluster of earlier Jobs",
        ),
    ):
        told = [
            f"{verb} {right.resource}{f' ({right.group})' if right.group else ''}"
            for right, verb in denied
            if right.optional is optional
        ]
        if told:
            message = f"you may not, in namespace {namespace}: {', '.join(told)}{so}"
            found.append(Finding(name="rights", level=level, message=message, mend=mend))
    return found or [Finding(name="rights", level=Level.OK, message=f"all that is used in namespace {namespace}")]


def judge_no_secret(needed: SecretNeed, namespace: str) -> Finding:
    """Judge that a Secret is not there; without an optional one pods start, and gated models cannot be fetched."""
    message = f"there is no Secret {needed.name} in namespace {namespace}"
    if needed.key:
        mend = f"kubectl create secret generic {needed.name} -n {namespace} --from-file={needed.key}=FILE"
    else:
        mend = (
            f"kubectl create secret docker-registry {needed.name} -n {namespace} --docker-server=REGISTRY"
            " --docker-username=_json_key --docker-password=..."
        )
    if needed.optional:
        message += ": gated models cannot be fetched"
    level = Level.WARNING if needed.optional else Level.ERROR
    return Finding(name=f"secret {needed.name}", level=level, message=message, mend=mend)


def judge_trial(refusal: ClusterError | None) -> Finding:
    """Judge what the API server and its webhooks said to a Job that was sent only to be tried (dryRun)."""
    if refusal is None:
        return Finding(name="job", level=Level.OK, message="the cluster would take it")
    if refusal.status == 403 and "cannot create resource" in str(refusal):
        message = f"whether the cluster would take it cannot be tried: {refusal}"
        return Finding(name="job", level=Level.UNKNOWN, message=message)
    if refusal.is_passing:
        message = f"the cluster takes no Job now: {refusal}"
        return Finding(name="job", level=Level.WARNING, message=message, mend="kubectl get pods -n kueue-system")
    return Finding(name="job", level=Level.ERROR, message=f"the cluster refuses it: {refusal}")


def judge_nodes(needs: Needs, nodes: Sequence[Object]) -> Finding:
    """Judge the nodes that have the labels that a Job asks for."""
    labels = ",".join(f"{name}={value}" for name, value in needs.node_selector.items())
    mend = f"kubectl get nodes -l '{labels}'"
    asked = needs.requests.get(GPU, 0.0)
    if not nodes:
        message = f"no node has the labels {labels} now; a node pool that grows from zero may make them"
        return Finding(name="nodes", level=Level.WARNING, message=message, mend=mend)
    unfit = Counter(why for node in nodes if (why := _unfit(node, needs)))
    fit = len(nodes) - sum(unfit.values())
    reasons = "; ".join(f"{count} {why}" for why, count in unfit.most_common())
    if all(0 < _gpus(node, "capacity") < asked for node in nodes):
        has = max(_gpus(node, "capacity") for node in nodes)
        message = f"a Job asks {asked:g} GPUs of one node, and the nodes have {has:g}"
        return Finding(name="nodes", level=Level.ERROR, message=message, mend=f"backend.values.gpus={has:g}")
    if not fit:
        return Finding(
            name="nodes", level=Level.WARNING, message=f"none of {len(nodes)} fits now: {reasons}", mend=mend
        )
    message = f"{fit} with {asked:g} GPUs or more{f'; {reasons}' if reasons else ''}"
    return Finding(name="nodes", level=Level.OK, message=message)


def _unfit(node: Object, needs: Needs) -> str:
    if text(condition_of(node, "Ready"), "status") != "True":
        return "not ready"
    for taint in mappings(node, "spec", "taints"):
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not _tolerated(taint, needs.tolerations):
            return f"with taint {taint.get('key')}"
    return "with too few GPUs to give away" if _gpus(node, "allocatable") < needs.requests.get(GPU, 0.0) else ""


def _tolerated(taint: Object, tolerations: Sequence[Object]) -> bool:
    return any(
        tolerated.get("effect") in (None, "", taint.get("effect"))
        and tolerated.get("key") in (None, "", taint.get("key"))
        and (tolerated.get("operator") == "Exists" or tolerated.get("value", "") == taint.get("value", ""))
        for tolerated in tolerations
    )


def _gpus(node: Object, what: str) -> float:
    return amount_of(mapping(node, "status", what).get(GPU))
