"""What Kueue's queues say before a run: whether they would ever admit a Job. Pure, as readiness.py is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sweep.backends.fields import Object, condition_of, field, mapping, mappings, text
from sweep.backends.gke.readiness import CLUSTER_ROLE, GPU, Finding, Level, Needs, amount_of

DEFAULT_QUEUE = "default"
"""A LocalQueue of this name takes the Jobs of its namespace that name none."""


def judge_no_kueue(queue: str) -> Finding:
    """Judge that a queue is asked for, and nothing knows of queues."""
    message = f"backend.queue={queue}, and this cluster has no Kueue: Jobs would start unqueued"
    return Finding(name="queue", level=Level.ERROR, message=message, mend="backend.queue=null, or install Kueue")


def judge_no_queue(local_queues: Iterable[str]) -> list[Finding]:
    """Judge that no queue is asked for, where the namespace has some."""
    names = sorted(local_queues)
    if not names:
        return []
    message = f"Jobs go past Kueue, though this namespace has {', '.join(names)}"
    return [Finding(name="queue", level=Level.WARNING, message=message, mend=f"backend.queue={names[0]}")]


def judge_unknown_queue(queue: str, namespace: str, there: Sequence[str]) -> Finding:
    """Judge that there is no such LocalQueue: Kueue would leave the Jobs suspended."""
    known = f"; there are {', '.join(sorted(there))}" if there else "; there is none"
    message = f"there is no LocalQueue {queue} in namespace {namespace}{known}"
    mend = f"backend.queue={sorted(there)[0]}" if there else "kubectl get localqueues --all-namespaces"
    return Finding(name="queue", level=Level.ERROR, message=message, mend=mend)


def judge_no_cluster_queue(queue: str, cluster_queue: str) -> Finding:
    """Judge that a LocalQueue leads nowhere."""
    message = f"LocalQueue {queue} leads to ClusterQueue {cluster_queue}, which does not exist"
    return Finding(name="queue", level=Level.ERROR, message=message, mend="kubectl get clusterqueues")


def judge_local_queue(queue: Object, *, is_default: bool) -> Finding:
    """Judge a LocalQueue by what Kueue says of it; that its ClusterQueue is not active is that one's to tell."""
    name, leads_to = text(queue, "metadata", "name"), text(queue, "spec", "clusterQueue")
    where = f"{name}, of ClusterQueue {leads_to}"
    if (stopped := text(queue, "spec", "stopPolicy") or "None") != "None":
        message = f"LocalQueue {where}, is stopped ({stopped}): Jobs wait until it goes on"
        return Finding(name="queue", level=Level.WARNING, message=message, mend=f"kubectl edit localqueue {name}")
    taken = f" (Kueue puts Jobs into {name} where backend.queue names none)" if is_default else ""
    return Finding(name="queue", level=Level.OK, message=where + taken)


def judge_active(queue: Object, kind: str) -> list[Finding]:
    """Judge a queue of which Kueue says that it admits nothing: what it refers to is missing, or does not work."""
    name, active = text(queue, "metadata", "name"), condition_of(queue, "Active")
    reason = text(active, "reason")
    if text(active, "status") != "False" or reason == "Stopped":  # which its stopPolicy tells
        return []
    message = f"{kind} {name} admits nothing: {reason}: {text(active, 'message')}"
    level = Level.ERROR if reason.endswith("NotFound") else Level.WARNING
    return [Finding(name="quota", level=level, message=message, mend=f"kubectl describe {kind.lower()} {name}")]


def judge_namespace(queue: Object, namespace: Object) -> list[Finding]:
    """Judge whether a ClusterQueue takes Jobs of a namespace: it selects by labels, and without a selector none."""
    selector = field(queue, "spec", "namespaceSelector")
    labels = mapping(namespace, "metadata", "labels")
    if isinstance(selector, Mapping) and _selects(selector, labels):
        return []
    name, space = text(queue, "metadata", "name"), text(namespace, "metadata", "name")
    message = f"ClusterQueue {name} takes no Jobs of namespace {space}: its namespaceSelector does not match the labels"
    wanted = " ".join(f"{key}={value}" for key, value in mapping(selector, "matchLabels").items())
    mend = f"kubectl label namespace {space} {wanted}" if wanted else f"kubectl edit clusterqueue {name}"
    return [Finding(name="quota", level=Level.ERROR, message=message, mend=mend)]


def _selects(selector: Object, labels: Object) -> bool:
    """Say whether a label selector of Kubernetes selects; an operator that is not known does."""
    wanted = mapping(selector, "matchLabels")
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for rule in mappings(selector, "matchExpressions"):
        key, values = text(rule, "key"), rule.get("values") or ()
        holds = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not holds.get(text(rule, "operator"), True):
            return False
    return True


def judge_topology(level: str, levels: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Judge whether a flavor has the level of a topology that a Job asks for; `levels` has those of each flavor."""
    if any(level in there for there in levels.values()):
        return []
    known = "; ".join(f"{flavor} has {', '.join(there) or 'none'}" for flavor, there in levels.items())
    message = f"no flavor of the queue has the topology level {level}, which a Job asks: Kueue would never admit it"
    mend = f"of the flavors, {known}" if known else "kubectl get topologies"
    return [Finding(name="topology", level=Level.ERROR, message=message, mend=mend)]


def flavors(cluster_queue: Object) -> list[str]:
    """Return the names of the ResourceFlavors that give a ClusterQueue its GPUs."""
    groups = mappings(cluster_queue, "spec", "resourceGroups")
    return [
        text(flavor, "name")
        for group in groups
        for flavor in mappings(group, "flavors")
        if any(text(resource, "name") == GPU for resource in mappings(flavor, "resources"))
    ]


def quotas(cluster_queue: Object) -> dict[str, float]:
    """Return the most of each resource that one flavor of a ClusterQueue gives, without what it may borrow."""
    most: dict[str, float] = {}
    for group in mappings(cluster_queue, "spec", "resourceGroups"):
        for flavor in mappings(group, "flavors"):
            for resource in mappings(flavor, "resources"):
                name = text(resource, "name")
                most[name] = max(most.get(name, 0.0), amount_of(resource.get("nominalQuota")))
    return most


def judge_quota(needs: Needs, queue: Object) -> Finding:
    """Judge whether a ClusterQueue can ever admit what a Job asks; a pod's resources come from one flavor."""
    name, spec = text(queue, "metadata", "name"), mapping(queue, "spec")
    most = quotas(queue)
    mend = f"kubectl edit clusterqueue {name}"
    cohort = text(spec, "cohortName") or text(spec, "cohort")
    for resource, asked in needs.requests.items():
        said = f"ClusterQueue {name} has a quota of {most.get(resource, 0):g} {resource}; a Job asks {asked:g}"
        if resource not in most:
            said = f"ClusterQueue {name} does not cover {resource}, which a Job asks: Kueue would never admit it"
            level = Level.ERROR if resource == GPU else Level.WARNING  # Kueue can be told to overlook the others
            return Finding(name="quota", level=level, message=said, mend=mend)
        if most[resource] < asked and cohort:
            said += f", and would have to borrow from cohort {cohort}"
            return Finding(name="quota", level=Level.WARNING, message=said, mend=mend)
        if most[resource] < asked:
            return Finding(name="quota", level=Level.ERROR, message=f"{said}: it would wait for ever", mend=mend)
    if (stopped := text(spec, "stopPolicy") or "None") != "None":
        message = f"ClusterQueue {name} is stopped ({stopped}): Jobs wait until it goes on"
        return Finding(name="quota", level=Level.WARNING, message=message, mend=mend)
    at_once = int(most[GPU] // needs.requests[GPU]) if needs.requests.get(GPU) else 0
    message = f"ClusterQueue {name}: {most.get(GPU, 0):g} GPUs, so {at_once} Jobs at a time"
    return Finding(name="quota", level=Level.OK, message=message)


def judge_unseen_priority(name: str) -> Finding:
    """Judge that a WorkloadPriorityClass may not be seen."""
    message = f"whether WorkloadPriorityClass {name} exists may not be seen; without it Kueue takes no notice of Jobs"
    return Finding(name="priority", level=Level.UNKNOWN, message=message, mend=CLUSTER_ROLE)
