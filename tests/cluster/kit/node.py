"""One real node beside the fake ones of a cluster: a kubelet with containerd and runc on this machine.

Needs root and what install.sh installs. There is one at a time, because bridge and cgroup have fixed names. No registry
is ever asked: images are imported, and any pull knocks on a dead port. Nothing of a GPU is real: the node says that it
has some, and no device is given to a container.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import yaml

from tests.cluster.kit import image
from tests.cluster.kit.cluster import HERE, LOOPBACK, Client, Cluster, free_ports

NAME = "real-0"
LABELS = {
    "cloud.google.com/gke-accelerator": "nvidia-gb200",
    "cloud.google.com/gke-ephemeral-storage-local-ssd": "true",
    "cloud.google.com/gke-nodepool": "real",
}
PAUSE = "localhost/pause:1"
BRIDGE, SUBNET = "test-cni0", "10.88.0.0/24"
CNI = Path("/usr/lib/cni")
CGROUPS = Path("/sys/fs/cgroup")
THEIR_FOLDERS = tuple(map(Path, ("/var/lib/kubelet", "/var/lib/cni", "/var/log/containers", "/run/containerd")))
"""Where kubelet, plugins and shims write whatever they are told; removed again unless they were there before."""


def lacking() -> list[str]:
    """Return what a real node needs and this machine has not."""
    found = [] if os.geteuid() == 0 else ["root"]
    found += [name for name in ("containerd", "ctr", "runc", "ip") if shutil.which(name) is None]
    return found + ([] if (CNI / "bridge").exists() else [f"the network plugins of {CNI}"])


class Node:
    """The real node of a cluster; `up` and `down`, which also takes down what `up` left half done.

    images: digests of what `add_image` added, by name.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.dir = cluster.dir / "node"
        self.socket = self.dir / "c.sock"  # a socket's path may have 107 characters
        self.images: dict[str, str] = {}
        self._layer = self.dir / "layer.tar"
        self._not_ours = {folder for folder in THEIR_FOLDERS if folder.exists()}

    def up(self, gpus: int, programs: dict[str, str]) -> None:
        """Start the node and wait until it is Ready.

        Args:
            programs: texts of programs that all images have, by their path without the leading slash.
        """
        self.dir.mkdir()
        image.build(self._layer, programs)
        self._start_containerd()
        self.add_image(PAUSE, "sleep", "infinity")
        self.cluster.kubectl("apply", "-f", str(HERE / "manifests" / "arm64-node.yaml"))
        self._start_kubelet()
        self._make_ready(gpus)

    def add_image(self, name: str, *command: str) -> None:
        """Give the node an image under any name, the chart's own for example."""
        path = self.dir / "image.tar"
        self.images[name] = image.archive(path, self._layer, name, command)
        self._ctr("images", "import", "--all-platforms", str(path))
        self._ctr("images", "tag", name, f"{name.rpartition(':')[0]}@{self.images[name]}")  # as a pull would
        path.unlink()

    def down(self) -> None:
        """Stop the node; no process, mount, network link or cgroup is left."""
        pids = self.cluster.load()["pids"]
        if "kubelet" in pids:  # while it runs, it takes its pods and their mounts down in order
            with contextlib.suppress(subprocess.SubprocessError):
                self._remove_pods()
            self.cluster.stop("kubelet")
        if "containerd" in pids:
            for task in self._tasks():
                self._ctr("tasks", "delete", "-f", task, check=False)
            self.cluster.stop("containerd")
        self._kill_rest()
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in reversed([mount for mount in mounts if mount.startswith(f"{self.dir}/")]):
            subprocess.run(["umount", "-l", mount], check=False)
        subprocess.run(["ip", "link", "delete", BRIDGE], check=False, capture_output=True)
        for folder in {self.dir, *THEIR_FOLDERS} - self._not_ours:
            shutil.rmtree(folder, ignore_errors=True)
        for folder in [*CGROUPS.glob("*/kubepods"), *CGROUPS.glob("kubepods")]:
            for path in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
                path.rmdir()
            folder.rmdir()

    def _remove_pods(self) -> None:
        here = f"--field-selector=spec.nodeName={NAME}"
        self.cluster.kubectl("delete", "jobs", "-A", "--all", "--cascade=background", "--timeout=30s", check=False)
        self.cluster.kubectl("delete", "pods", "-A", here, "--grace-period=1", "--timeout=20s", check=False)
        end = time.monotonic() + 20
        while self._tasks() and time.monotonic() < end:
            time.sleep(0.2)

    def _kill_rest(self) -> None:
        """End what outlives a containerd that was killed: its shims, and what runs in its containers."""

        def ours() -> list[int]:
            found = []
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    in_pod = "/kubepods/" in (process / "cgroup").read_text()
                    said = (process / ("mountinfo" if in_pod else "cmdline")).read_bytes()
                    is_shim = b"containerd-shim" in said and bytes(self.socket) in said
                    if is_shim or (in_pod and f"{self.dir}/".encode() in said):
                        found.append(int(process.name))
            return found

        end = time.monotonic() + 10
        while (left := ours()) and time.monotonic() < end:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)

    def _tasks(self) -> list[str]:
        return self._ctr("tasks", "ls", "-q", check=False).split()

    def _ctr(self, *arguments: str, check: bool = True) -> str:
        command = ["ctr", "--address", str(self.socket), "-n", "k8s.io", *arguments]
        return subprocess.run(command, check=check, capture_output=True, text=True, timeout=120).stdout

    def _start_containerd(self) -> None:
        network = self.dir / "cni"
        addresses = {"type": "host-local", "dataDir": str(self.dir / "ipam"), "ranges": [[{"subnet": SUBNET}]]}
        bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "ipMasq": False, "ipam": addresses}
        network.mkdir()
        (network / "10-bridge.conflist").write_text(
            json.dumps({"cniVersion": "1.0.0", "name": "test", "plugins": [bridge]})
        )
        dead = f"http://{LOOPBACK}:{free_ports(1)[0]}"
        (self.dir / "registries" / "_default").mkdir(parents=True)
        (self.dir / "registries" / "_default" / "hosts.toml").write_text(
            f'server = "{dead}"\n[host."{dead}"]\n  capabilities = ["pull", "resolve"]\n'
        )
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        (self.dir / "containerd.toml").write_text(f"""
version = 2
root = "{self.dir}/root"
state = "{self.dir}/state"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs",
    "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{self.dir}/opt"
[{cri}]
  sandbox_image = "{PAUSE}"
  disable_apparmor = true
  restrict_oom_score_adj = true  # where root has no CAP_SYS_RESOURCE
  netns_mounts_under_state_dir = true
  stream_server_address = "{LOOPBACK}"
[{cri}.registry]
  config_path = "{self.dir}/registries"
[{cri}.cni]
  bin_dir = "{CNI}"
  conf_dir = "{network}"
[{cri}.containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"
[{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.runc.options]
  SystemdCgroup = false
  Root = "{self.dir}/runc"
""")
        self.cluster.start("containerd", "--config", self.dir / "containerd.toml")
        self.cluster.wait("containerd", lambda: self._ctr("version"))

    def _start_kubelet(self) -> None:
        port, health_port = free_ports(2)
        pki = self.cluster.pki
        taints = {"nvidia.com/gpu": "present", "kubernetes.io/arch": "arm64"}
        configuration = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": LOOPBACK,
            "port": port,
            "healthzBindAddress": LOOPBACK,
            "healthzPort": health_port,
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "cgroupDriver": "cgroupfs",
            "podLogsDir": str(self.dir / "logs"),
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": False},
                "x509": {"clientCAFile": str(pki / "ca.crt")},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "tlsCertFile": str(pki / "node.crt"),
            "tlsPrivateKeyFile": str(pki / "node.key"),
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "makeIPTablesUtilChains": False,
            "enforceNodeAllocatable": [],
            "failCgroupV1": False,
            "serializeImagePulls": False,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "nodeStatusUpdateFrequency": "5s",
            "resolvConf": "/etc/resolv.conf",
            "registerWithTaints": [{"key": k, "value": v, "effect": "NoSchedule"} for k, v in taints.items()],
        }
        (self.dir / "kubelet.yaml").write_text(yaml.safe_dump(configuration))
        self.cluster.start(
            "kubelet",
            f"--config={self.dir / 'kubelet.yaml'}",
            f"--root-dir={self.dir / 'kubelet'}",
            f"--kubeconfig={self.cluster.kubeconfig('kubelet')}",
            f"--hostname-override={NAME}",
            # With no address of its own, the node takes the loopback one that _make_ready gives it.
            "--cloud-provider=external",
            "--node-labels=" + ",".join(f"{key}={value}" for key, value in LABELS.items()),
        )

    def _make_ready(self, gpus: int) -> None:
        """Do what a cloud's controller and a device plugin would."""
        path = f"/api/v1/nodes/{NAME}"
        client = Client(self.cluster)
        self.cluster.wait("kubelet's node", lambda: client.call("GET", path))
        told = {"nvidia.com/gpu": str(gpus)}
        addresses = [{"type": "InternalIP", "address": LOOPBACK}, {"type": "Hostname", "address": NAME}]
        status = {"status": {"addresses": addresses, "capacity": told, "allocatable": told}}
        patch = ("--subresource=status", "--type=strategic", "-p", json.dumps(status))
        self.cluster.kubectl("patch", "node", NAME, *patch)
        self.cluster.kubectl("taint", "node", NAME, "node.cloudprovider.kubernetes.io/uninitialized-", check=False)

        def ready() -> bool:
            found = json.loads(client.call("GET", path))
            return (
                found["status"]["allocatable"].get("nvidia.com/gpu") == str(gpus)
                and found["metadata"]["labels"]["kubernetes.io/arch"] == "arm64"
                and any(c["type"] == "Ready" and c["status"] == "True" for c in found["status"]["conditions"])
            )

        self.cluster.wait("node", ready)
        client.close()
