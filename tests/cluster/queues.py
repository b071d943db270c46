"""Queues of Kueue for tests: each with a ClusterQueue, a flavor and, where asked for, a topology of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from tests.cluster.kit.cluster import Cluster

KUEUE = "kueue.x-k8s.io/v1beta2"
NAME = "a4x"
"""Of the LocalQueue that `make` makes."""
LABELS = {"cloud.google.com/gke-accelerator": "nvidia-gb200"}
LEVELS = ("cloud.google.com/gce-topology-block", "cloud.google.com/gce-topology-subblock", "kubernetes.io/hostname")


class Queues:
    """The queues of one namespace; what is not namespaced has the namespace's name."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace

    def make(
        self,
        gpus: int,
        *,
        name: str = NAME,
        flavor: Mapping[str, Any] | None = None,
        levels: tuple[str, ...] = (),
        node_labels: Mapping[str, str] = LABELS,
        **spec: Any,
    ) -> str:
        """Make a LocalQueue with a quota of so many GPUs, and return its name.

        Args:
            flavor: the spec of its ResourceFlavor; an empty one makes none.
            levels: of the flavor's topology; none without them.
            spec: more of the ClusterQueue.
        """
        given = {"name": self.namespace, "resources": [{"name": "nvidia.com/gpu", "nominalQuota": gpus}]}
        described: dict[str, Any] = {
            "namespaceSelector": {},
            "preemption": {"withinClusterQueue": "LowerPriority"},
            "resourceGroups": [{"coveredResources": ["nvidia.com/gpu"], "flavors": [given]}],
        }
        if levels:
            self.apply("Topology", {"levels": [{"nodeLabel": level} for level in levels]})
        if flavor is None:
            topology = {"topologyName": self.namespace} if levels else {}
            self.apply("ResourceFlavor", {"nodeLabels": dict(node_labels), **topology})
        elif flavor:
            self.apply("ResourceFlavor", flavor)
        self.apply("ClusterQueue", described | spec)
        self.apply("LocalQueue", {"clusterQueue": self.namespace}, name=name, namespace=self.namespace)
        return name

    def apply(self, kind: str, spec: Mapping[str, Any] | None = None, *, name: str | None = None, **more: Any) -> None:
        """Apply an object of Kueue; `namespace` makes it one of the namespace, anything else lies beside its spec."""
        meta = {"name": name or self.namespace}
        if namespace := more.pop("namespace", None):
            meta["namespace"] = namespace
        made = {"apiVersion": KUEUE, "kind": kind, "metadata": meta, **({"spec": spec} if spec is not None else {})}
        self.cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(made | more))

    def priority(self, name: str = "very-high", value: int = 1000) -> str:
        """Make a WorkloadPriorityClass and return its name; all tests may share it."""
        self.apply("WorkloadPriorityClass", name=name, value=value)
        return name

    def patch(self, kind: str, spec: Mapping[str, Any], name: str | None = None) -> None:
        """Change the spec of an object."""
        told = json.dumps({"spec": spec})
        named = (kind, name or self.namespace, *(("-n", self.namespace) if kind in ("localqueue", "workload") else ()))
        self.cluster.kubectl("patch", *named, "--type=merge", "-p", told)

    def workloads(self) -> list[dict[str, Any]]:
        """Return the namespace's Workloads."""
        found: list[dict[str, Any]] = json.loads(
            self.cluster.kubectl("get", "workloads", "-n", self.namespace, "-o", "json")
        )["items"]
        return found

    def is_active(self, kind: str = "clusterqueue", name: str | None = None) -> bool:
        """Say whether Kueue says of a queue that it can admit."""
        named = (kind, name or self.namespace, *(("-n", self.namespace) if kind == "localqueue" else ()))
        said = json.loads(self.cluster.kubectl("get", *named, "-o", "json"))
        conditions = said.get("status", {}).get("conditions", [])
        return any(c["type"] == "Active" and c["status"] == "True" for c in conditions)


def condition(workload: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return a condition, an empty one where there is none."""
    found = workload.get("status", {}).get("conditions", [])
    return next((c for c in found if c["type"] == kind), {})
