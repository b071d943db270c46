#!/usr/bin/env python3
"""Adds one real node (containerd and a kubelet) to a cluster.py cluster, or removes it.

    node.py up DIR | down DIR

Needs root, and Debian's containerd, runc, containernetworking-plugins, busybox-static and bash-static.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import image
import yaml
from cluster import HERE, LOOPBACK, Client, Cluster, free_ports

NAME = "real-0"
PAUSE = "localhost/pause:1"
SHELL = "localhost/shell:1"
SUBNET = "10.88.0.0/24"


class Node:
    def __init__(self, folder):
        self.cluster = Cluster(folder)
        self.dir = self.cluster.dir / "node"
        self.socket = self.dir / "c.sock"  # a socket's path may have 107 characters

    def ctr(self, *args, check=True):
        return subprocess.run(
            ["ctr", "--address", str(self.socket), "-n", "k8s.io", *map(str, args)],
            check=check,
            capture_output=True,
            text=True,
        ).stdout

    def start_containerd(self):
        network = self.dir / "cni"
        network.mkdir(parents=True)
        (network / "10-bridge.conflist").write_text(
            json.dumps(
                {
                    "cniVersion": "1.0.0",
                    "name": "test",
                    "plugins": [
                        {
                            "type": "bridge",
                            "bridge": "test-cni0",
                            "isGateway": True,
                            "ipMasq": False,
                            "ipam": {
                                "type": "host-local",
                                "dataDir": str(self.dir / "ipam"),
                                "ranges": [[{"subnet": SUBNET}]],
                            },
                        }
                    ],
                }
            )
        )
        # Whatever registry an image names, a pull knocks on a dead port here and fails at once.
        dead = f"http://{LOOPBACK}:{free_ports(1)[0]}"
        (self.dir / "registries" / "_default").mkdir(parents=True)
        (self.dir / "registries" / "_default" / "hosts.toml").write_text(
            f'server = "{dead}"\n[host."{dead}"]\n  capabilities = ["pull", "resolve"]\n'
        )
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
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  disable_apparmor = true
  restrict_oom_score_adj = true  # no CAP_SYS_RESOURCE here
  stream_server_address = "{LOOPBACK}"
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "{self.dir}/registries"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{network}"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "{os.environ.get("SNAPSHOTTER", "overlayfs")}"
  default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
""")
        self.cluster.start("containerd", "--config", self.dir / "containerd.toml")
        self.cluster.wait("containerd", lambda: self.ctr("version"))

    def add_image(self, name, programs=None, command=("/bin/sh",), architecture="amd64"):
        """Gives the node an image under any name, e.g. the chart's own; programs is {name: script}."""
        path = self.dir / "image.tar"
        image.archive(path, name, image.shell_layer(programs), list(command), architecture)
        self.ctr("images", "import", "--all-platforms", path)
        path.unlink()

    def start_kubelet(self, labels):
        port, health_port = free_ports(2)
        pki = self.cluster.pki
        (self.dir / "kubelet.yaml").write_text(
            yaml.safe_dump(
                {
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
                    "localStorageCapacityIsolation": True,
                    "serializeImagePulls": False,
                    "evictionHard": {
                        "memory.available": "100Mi",
                        "nodefs.available": "1%",
                        "imagefs.available": "1%",
                        "nodefs.inodesFree": "1%",
                        "imagefs.inodesFree": "1%",
                    },
                    "imageGCHighThresholdPercent": 100,
                    "nodeStatusUpdateFrequency": "5s",
                    "resolvConf": "/etc/resolv.conf",
                    "clusterDomain": "cluster.local",
                    "registerWithTaints": [
                        {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"},
                        {"key": "kubernetes.io/arch", "value": "arm64", "effect": "NoSchedule"},
                    ],
                }
            )
        )
        self.cluster.start(
            "kubelet",
            f"--config={self.dir / 'kubelet.yaml'}",
            f"--root-dir={self.dir / 'kubelet'}",
            f"--kubeconfig={self.cluster.kubeconfig('kubelet')}",
            f"--hostname-override={NAME}",
            # With no address of its own, the node takes the loopback one that make_ready() gives it.
            "--cloud-provider=external",
            "--node-labels=" + ",".join(f"{key}={value}" for key, value in labels.items()),
        )

    def make_ready(self, gpus):
        node = f"/api/v1/nodes/{NAME}"
        client = Client(self.cluster)
        self.cluster.wait("kubelet's node", lambda: client.call("GET", node))
        self.cluster.kubectl(
            "patch",
            "node",
            NAME,
            "--subresource=status",
            "--type=strategic",
            "-p",
            json.dumps(
                {
                    "status": {
                        "addresses": [
                            {"type": "InternalIP", "address": LOOPBACK},
                            {"type": "Hostname", "address": NAME},
                        ],
                        "capacity": {"nvidia.com/gpu": str(gpus)},
                        "allocatable": {"nvidia.com/gpu": str(gpus)},
                    }
                }
            ),
        )
        self.cluster.kubectl("taint", "node", NAME, "node.cloudprovider.kubernetes.io/uninitialized-", check=False)

        def ready():
            found = json.loads(client.call("GET", node))
            status = found["status"]
            return (
                status["allocatable"].get("nvidia.com/gpu") == str(gpus)
                and found["metadata"]["labels"]["kubernetes.io/arch"] == "arm64"
                and any(c["type"] == "Ready" and c["status"] == "True" for c in status["conditions"])
            )

        self.cluster.wait("node", ready)

    def up(self, gpus=4):
        began = time.monotonic()
        self.start_containerd()
        self.add_image(PAUSE, command=("/bin/busybox", "sleep", "infinity"))
        self.add_image(SHELL)
        self.cluster.kubectl("apply", "-f", str(HERE / "manifests" / "arm64-node.yaml"))
        self.start_kubelet(
            {"cloud.google.com/gke-accelerator": "nvidia-gb200", "cloud.google.com/gke-nodepool": "real"}
        )
        self.make_ready(gpus)
        return time.monotonic() - began

    def down(self):
        pids = self.cluster.load()["pids"]
        if "kubelet" in pids:  # while it runs, it takes its pods and their mounts down in order
            self.cluster.kubectl(
                "delete",
                "pods",
                "-A",
                f"--field-selector=spec.nodeName={NAME}",
                "--grace-period=1",
                "--timeout=60s",
                check=False,
            )
            end = time.monotonic() + 30
            while self.ctr("tasks", "ls", "-q", check=False).strip() and time.monotonic() < end:
                time.sleep(0.5)
            self.cluster.stop("kubelet")
        for task in self.ctr("tasks", "ls", "-q", check=False).split():
            self.ctr("tasks", "delete", "-f", task, check=False)
        self.cluster.stop("containerd")
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in reversed([mount for mount in mounts if mount.startswith(f"{self.dir}/")]):
            subprocess.run(["umount", "-l", mount], check=False)
        for folder in Path("/sys/fs/cgroup").glob("*/kubepods"):
            for path in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
                path.rmdir()
            folder.rmdir()
        subprocess.run(["ip", "link", "delete", "test-cni0"], check=False, capture_output=True)
        shutil.rmtree(self.dir, ignore_errors=True)


def main():
    action, folder = sys.argv[1:]
    node = Node(folder)
    if action == "up":
        print(f"node Ready in {node.up():.1f} s")
    else:
        node.down()


if __name__ == "__main__":
    main()
