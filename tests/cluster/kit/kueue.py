"""Kueue's own controller beside a control plane of this machine, with its webhooks, certificates and conversion.

It runs outside the cluster, so this does what the cluster would: a Service that leads back to this machine, and a
kubelet that mounts a Secret. Names are those that Kueue insists on.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.kit.cluster import LOOPBACK, Client, Cluster, crds, free_ports, http_ok

NAMESPACE = "kueue-system"
SERVICE = "kueue-webhook-service"
SECRET = "kueue-webhook-server-cert"
CONVERTED = ("localqueues", "clusterqueues", "cohorts", "workloads", "multikueueclusters")
"""Kueue does not start while one of these definitions has no conversion webhook."""
OWN = ("clusterqueue", "resourceflavor", "workload", "cohort", "localqueue", "admissioncheck", "topology")
"""Webhooks of these kinds hold in all namespaces; those of others not in the system's."""
FLAVORS = "/apis/kueue.x-k8s.io/v1beta2/resourceflavors"
PROBE = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor", "metadata": {"name": "probe"}}


class Kueue:
    """Kueue for a control plane that runs; `start`, `stop`, and another configuration for a while."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._port, self._health_port = free_ports(2)
        self._certificates = cluster.dir / "kueue"
        self._is_installed = False

    def start(self, **changes: Any) -> None:
        """Start it, and wait until it takes Jobs.

        Args:
            changes: keys of its configuration that replace those of its own default one.
        """
        if not self._is_installed:
            self._install()
        path = self._cluster.dir / "kueue.yaml"
        path.write_text(yaml.safe_dump(self._configuration() | changes))
        self._cluster.start("kueue", f"--config={path}", f"--kubeconfig={self._cluster.kubeconfig('queue')}")
        self._cluster.wait("Kueue's certificate", self._mount)
        self._cluster.wait("Kueue", lambda: http_ok(self._health_port, "/readyz"))
        client = Client(self._cluster)
        self._cluster.wait("Kueue's webhooks", lambda: client.call("POST", f"{FLAVORS}?dryRun=All", PROBE))
        client.close()

    def stop(self) -> None:
        """Stop it, as a node's end would; what it has set up stays, so the API server refuses what it should judge."""
        self._cluster.stop("kueue")

    @contextlib.contextmanager
    def configured(self, **changes: Any) -> Iterator[None]:
        """Run it with another configuration for a while; there is one for all that use the cluster."""
        self.stop()
        self.start(**changes)
        try:
            yield
        finally:
            self.stop()
            self.start()

    def _install(self) -> None:
        # without ProvisioningRequests at its start it never takes notice of them
        self._cluster.install_crds("provisioning")
        text = yaml.dump_all(self._objects(), Dumper=yaml.CSafeDumper)
        self._cluster.kubectl("apply", "--server-side", "-f", "-", stdin=text)
        self._certificates.mkdir()
        self._is_installed = True

    def _objects(self) -> Iterator[dict[str, Any]]:
        """Yield what Kueue's kustomization makes of its manifests, with a Service that leads to this machine."""
        here = {"namespace": NAMESPACE, "name": SERVICE, "port": self._port}
        outside = {"type": "ExternalName", "externalName": LOOPBACK, "ports": [{"port": self._port}]}
        meta = {"namespace": NAMESPACE}
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        yield {"apiVersion": "v1", "kind": "Secret", "metadata": {**meta, "name": SECRET}}
        yield {"apiVersion": "v1", "kind": "Service", "metadata": {**meta, "name": SERVICE}, "spec": outside}
        for definition in filter(None, yaml.load_all(Path(crds("kueue")).read_text(), yaml.CSafeLoader)):
            if definition["spec"]["names"]["plural"] in CONVERTED:
                webhook = {
                    "clientConfig": {"service": {**here, "path": "/convert"}},
                    "conversionReviewVersions": ["v1"],
                }
                definition["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
            yield definition
        system = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", NAMESPACE]}
        for configuration in filter(None, yaml.safe_load_all(Path(crds("kueue-webhooks")).read_text())):
            configuration["metadata"]["name"] = f"kueue-{configuration['metadata']['name']}"
            for hook in configuration["webhooks"]:
                hook["clientConfig"]["service"].update(here)
                if hook["name"].removesuffix(".kb.io")[1:] not in OWN:
                    hook["namespaceSelector"] = {"matchExpressions": [system]}
            yield configuration

    def _configuration(self) -> dict[str, Any]:
        """Return its own default configuration, but on loopback and without election."""
        default: dict[str, Any] = yaml.safe_load(Path(crds("kueue-config")).read_text())
        return default | {
            "namespace": NAMESPACE,
            "health": {"healthProbeBindAddress": f"{LOOPBACK}:{self._health_port}"},
            "metrics": {"bindAddress": "0"},
            "webhook": {"host": LOOPBACK, "port": self._port, "certDir": str(self._certificates)},
            "leaderElection": {"leaderElect": False},
            # without it, it wants a certificate for metrics at a fixed path, even where it serves none
            "internalCertManagement": {"enable": True, "webhookServiceName": SERVICE, "webhookSecretName": SECRET},
            # it would take a fixed port, and write to the root of the file system
            "featureGates": {"VisibilityOnDemand": False},
        }

    def _mount(self) -> bool:
        """Do what a kubelet does: put the Secret, which Kueue fills, where Kueue looks for it."""
        said = json.loads(self._cluster.kubectl("get", "secret", SECRET, "-n", NAMESPACE, "-o", "json"))
        if not {"tls.key", "tls.crt"} <= (said.get("data") or {}).keys():
            return False
        for name in ("tls.key", "tls.crt"):
            (self._certificates / name).write_bytes(base64.b64decode(said["data"][name]))
        return True
