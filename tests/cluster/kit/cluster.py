"""A Kubernetes control plane with fake A4X nodes on this machine: start, stop, disturb.

Binaries are looked up in $CONTROL_PLANE_BIN, then on PATH. Nothing listens on anything but loopback, and all ports are
free ones, so clusters can run side by side.
"""

import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
LOOPBACK = "127.0.0.1"
# user, groups; the token is the user's name with '-token' behind
USERS = {
    "admin": ("admin", "system:masters"),
    "manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "kwok": ("kwok", "system:masters"),
    "jobset": ("jobset", "system:masters"),
    "queue": ("queue", "system:masters"),
    "kubelet": ("system:node:real-0", "system:nodes"),
    "nobody": ("nobody", "developers"),
}


def binary(name):
    folder = os.environ.get("CONTROL_PLANE_BIN")
    found = shutil.which(name, path=folder) if folder else None
    found = found or shutil.which(name)
    if not found:
        raise SystemExit(f"{name} not found: run build.sh and set CONTROL_PLANE_BIN")
    return found


def crds(name):
    """A file of resource definitions that build.sh took from the module it built."""
    return str(Path(binary("kube")).parent / "crds" / f"{name}.yaml")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for item in sockets:
        item.bind((LOOPBACK, 0))
    ports = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports


class Client:
    """Keeps one connection a thread."""

    def __init__(self, cluster):
        self.port = cluster.load()["port"]
        self.context = ssl.create_default_context(cafile=str(cluster.pki / "ca.crt"))
        self.mine = threading.local()
        self.connections = []

    def call(self, method, path, body=None):
        if not hasattr(self.mine, "connection"):
            self.mine.connection = http.client.HTTPSConnection(LOOPBACK, self.port, context=self.context)
            self.connections.append(self.mine.connection)
        try:
            kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
            self.mine.connection.request(
                method,
                path,
                json.dumps(body) if body else None,
                {"Authorization": "Bearer admin-token", "Content-Type": kind},
            )
            answer = self.mine.connection.getresponse()
        except (OSError, http.client.HTTPException):
            del self.mine.connection
            raise
        text = answer.read().decode()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]}")
        return text

    def json(self, *args):
        return json.loads(self.call(*args))

    def watch(self, path):
        """Yields the events of a watch, all that is there first, until the server ends it or `close` is called."""
        connection = http.client.HTTPSConnection(LOOPBACK, self.port, context=self.context)
        self.connections.append(connection)
        try:
            connection.request("GET", f"{path}?watch=1", headers={"Authorization": "Bearer admin-token"})
            answer = connection.getresponse()
            if answer.status >= 300:
                raise RuntimeError(f"{path}: {answer.status}")
            for line in answer:
                yield json.loads(line)
        except (AttributeError, ValueError):  # it was closed while it read
            return
        finally:
            connection.close()

    def close(self):
        for connection in self.connections:
            if connection.sock is not None:
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()


class Cluster:
    """A control plane in a folder of its own; it is taken down when this process ends, unless it stays."""

    def __init__(self, folder, stays=False):
        self.dir = Path(folder).resolve()
        self.stays = stays
        self.pki = self.dir / "pki"
        self.state = self.dir / "state.json"
        self.children = {}  # name: Popen, of what this object has started itself
        self.commands = {}
        self.guard = None

    # --- keys, users -----------------------------------------------------------------

    def openssl(self, *args):
        subprocess.run(["openssl", *map(str, args)], cwd=self.pki, check=True, capture_output=True)

    def certificate(self, name, subject, names=None):
        extra = self.pki / f"{name}.ext"
        extra.write_text(f"subjectAltName={names}\n" if names else "extendedKeyUsage=clientAuth\n")
        self.openssl(
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            subject,
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
        )
        self.openssl(
            "x509",
            "-req",
            "-in",
            f"{name}.csr",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "3650",
            "-extfile",
            extra,
            "-out",
            f"{name}.crt",
        )

    def make_keys(self):
        self.pki.mkdir(parents=True, exist_ok=True)
        self.openssl(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=test-ca",
            "-days",
            "3650",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
        )
        loopback = f"IP:{LOOPBACK},DNS:localhost,DNS:kubernetes.default.svc,IP:10.96.0.1"
        self.certificate("apiserver", "/CN=kube-apiserver", loopback)
        self.certificate("node", "/O=system:nodes/CN=system:node", f"IP:{LOOPBACK},DNS:localhost")
        self.certificate("kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client")
        self.openssl("genrsa", "-out", "sa.key", "2048")
        self.openssl("rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub")
        lines = [
            f"{user}-token,{user},{name}" + (f',"{groups}"' if groups else "") for name, (user, groups) in USERS.items()
        ]
        (self.pki / "tokens.csv").write_text("\n".join(lines) + "\n")

    def kubeconfig(self, name):
        return self.dir / f"{name}.kubeconfig"

    def make_kubeconfigs(self, port):
        for name, (user, _) in USERS.items():
            self.kubeconfig(name).write_text(
                yaml.safe_dump(
                    {
                        "apiVersion": "v1",
                        "kind": "Config",
                        "current-context": "test",
                        "clusters": [
                            {
                                "name": "test",
                                "cluster": {
                                    "server": f"https://{LOOPBACK}:{port}",
                                    "certificate-authority": str(self.pki / "ca.crt"),
                                },
                            }
                        ],
                        "users": [{"name": name, "user": {"token": f"{user}-token"}}],
                        "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
                    }
                )
            )

    # --- processes -------------------------------------------------------------------

    def start_guard(self):
        """Start what takes all down when the only holder of a pipe's other end, which is this process, is gone."""
        with open(self.dir / "guard.log", "ab") as log:
            self.guard = subprocess.Popen(
                [sys.executable, "-m", "tests.cluster.kit.guard", self.dir],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=HERE.parents[2],
                start_new_session=True,
            )

    def start(self, program, *args, name=None):
        self.commands[name or program] = (program, args)
        with open(self.dir / f"{name or program}.log", "ab") as log:
            process = subprocess.Popen(
                [binary(program), *map(str, args)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.dir,
                start_new_session=True,
            )
        self.children[name or program] = process
        self.remember(name or program, process.pid)

    def load(self):
        return json.loads(self.state.read_text()) if self.state.exists() else {"pids": {}}

    def remember(self, name, pid):
        state = self.load()
        state["pids"][name] = [pid, started_at(pid)]
        self.state.write_text(json.dumps(state))

    def kubectl(self, *args, stdin=None, check=True):
        return subprocess.run(
            [shutil.which("kubectl"), "--kubeconfig", str(self.kubeconfig("admin")), *args],
            input=stdin,
            text=True,
            check=check,
            capture_output=True,
        ).stdout

    def wait(self, what, probe, seconds=900):
        end = time.monotonic() + seconds
        while True:
            try:
                if probe():
                    return
            except (OSError, http.client.HTTPException, RuntimeError, subprocess.CalledProcessError):
                pass
            for name, (pid, began) in self.load()["pids"].items():
                if started_at(pid) != began:
                    raise SystemExit(f"{name} stopped: see {self.dir / name}.log")
            if time.monotonic() > end:
                raise SystemExit(f"{what}: not there after {seconds} s; logs are in {self.dir}")
            time.sleep(0.1)

    def install_crds(self, name):
        self.kubectl("apply", "--server-side", "-f", crds(name))
        # 'kubectl wait' fails at once on a definition that has no conditions yet, hence the retries
        self.wait(
            f"{name}'s definitions",
            lambda: self.kubectl("wait", "--for=condition=Established", "--timeout=5s", "-f", crds(name)),
        )

    def up(self, nodes=18, etcd="etcd"):
        if self.load()["pids"]:
            raise SystemExit(f"{self.dir} has a cluster already")
        began = time.monotonic()
        self.dir.mkdir(parents=True, exist_ok=True)
        if not self.stays:
            self.start_guard()
        self.make_keys()
        etcd_port, peer_port, port, manager_port, scheduler_port, node_port = free_ports(6)
        self.make_kubeconfigs(port)
        pki = self.pki

        self.state.write_text(json.dumps({"pids": {}, "port": port, "node_port": node_port, "etcd_port": etcd_port}))
        client = Client(self)

        self.start(
            etcd,
            "--name=test",
            f"--data-dir={self.dir / 'etcd'}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            "--snapshot-count=10000",
            "--quota-backend-bytes=4294967296",
            f"--listen-client-urls=http://{LOOPBACK}:{etcd_port}",
            f"--advertise-client-urls=http://{LOOPBACK}:{etcd_port}",
            f"--listen-peer-urls=http://{LOOPBACK}:{peer_port}",
            f"--initial-advertise-peer-urls=http://{LOOPBACK}:{peer_port}",
            f"--initial-cluster=test=http://{LOOPBACK}:{peer_port}",
        )
        self.start(
            "kube-apiserver",
            f"--etcd-servers=http://{LOOPBACK}:{etcd_port}",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={port}",
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--token-auth-file={pki / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki / 'sa.pub'}",
            f"--service-account-signing-key-file={pki / 'sa.key'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--allow-privileged=true",
            f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
            f"--kubelet-client-key={pki / 'kubelet-client.key'}",
            f"--kubelet-certificate-authority={pki / 'ca.crt'}",
            "--kubelet-preferred-address-types=InternalIP",
            "--feature-gates=MutatingAdmissionPolicy=true",
            "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
            "--max-requests-inflight=1000",
            "--max-mutating-requests-inflight=500",
        )
        self.wait("API server", lambda: client.call("GET", "/readyz") == "ok")

        self.start(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig('manager')}",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={manager_port}",
            f"--service-account-private-key-file={pki / 'sa.key'}",
            f"--root-ca-file={pki / 'ca.crt'}",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--concurrent-job-syncs=20",
            "--pvclaimbinder-sync-period=1s",
        )
        self.start(
            "kube-scheduler",
            f"--kubeconfig={self.kubeconfig('scheduler')}",
            "--leader-elect=false",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={scheduler_port}",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        )
        self.install_crds("kwok")
        self.kubectl("apply", "--server-side", "-f", str(HERE / "manifests" / "stages.yaml"))
        self.start(
            "kwok",
            "--v=WARN",
            f"--config={HERE / 'manifests' / 'kwok.yaml'}",
            f"--kubeconfig={self.kubeconfig('kwok')}",
            f"--node-ip={LOOPBACK}",
            f"--node-port={node_port}",
            f"--server-address={LOOPBACK}:{node_port}",
            f"--tls-cert-file={pki / 'node.crt'}",
            f"--tls-private-key-file={pki / 'node.key'}",
        )
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: client.call("POST", "/api/v1/nodes", a4x_node(number)), range(nodes)))
        self.wait("service account", lambda: client.call("GET", "/api/v1/namespaces/default/serviceaccounts/default"))
        self.wait("nodes", lambda: ready_nodes(client) >= nodes)
        client.close()
        return time.monotonic() - began

    def add_node(self, name):
        """Makes a fake node again that was deleted."""
        client = Client(self)
        client.call("POST", "/api/v1/nodes", a4x_node(int(name.removeprefix("a4x-"))))
        client.close()

    def start_jobset(self):
        """JobSet's own controller, outside the cluster; the API server reaches its webhooks on loopback."""
        self.install_crds("jobset")
        port, health_port = free_ports(2)
        keys = self.dir / "jobset"
        keys.mkdir()
        shutil.copy(self.pki / "apiserver.crt", keys / "tls.crt")
        shutil.copy(self.pki / "apiserver.key", keys / "tls.key")
        (self.dir / "jobset.yaml").write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "config.jobset.x-k8s.io/v1alpha1",
                    "kind": "Configuration",
                    "leaderElection": {"leaderElect": False},
                    "internalCertManagement": {"enable": False},
                    "webhook": {"host": LOOPBACK, "port": port, "certDir": str(keys)},
                    "metrics": {"bindAddress": "0"},
                    "health": {"healthProbeBindAddress": f"{LOOPBACK}:{health_port}"},
                }
            )
        )
        self.start("jobset", f"--config={self.dir / 'jobset.yaml'}", f"--kubeconfig={self.kubeconfig('jobset')}")
        authority = base64.b64encode((self.pki / "ca.crt").read_bytes()).decode()
        hooks = list(yaml.safe_load_all(Path(crds("jobset-webhooks")).read_text()))
        for hook in (hook for configuration in hooks for hook in configuration["webhooks"]):
            path = hook["clientConfig"]["service"]["path"]
            hook["clientConfig"] = {"url": f"https://{LOOPBACK}:{port}{path}", "caBundle": authority}
            if "pods" in hook["rules"][0]["resources"]:  # as in JobSet's own default set-up
                hook["objectSelector"] = {
                    "matchExpressions": [{"key": "jobset.sigs.k8s.io/jobset-name", "operator": "Exists"}]
                }
        self.wait("JobSet", lambda: http_ok(health_port, "/readyz"))
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(hooks))

    def stop(self, *names):
        """Stops the named processes; only those that were started here, known by pid and start time."""
        state = self.load()
        own = {name: state["pids"].pop(name) for name in names if name in state["pids"]}
        for pid, began in own.values():
            if started_at(pid) == began:
                os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 20
        while any(started_at(pid) == began for pid, began in own.values()) and time.monotonic() < end:
            time.sleep(0.1)
        for pid, began in own.values():
            if started_at(pid) == began:
                os.kill(pid, signal.SIGKILL)
        for name in own.keys() & self.children.keys():
            self.children.pop(name).wait()
        if self.state.exists():
            self.state.write_text(json.dumps(state))

    def restart(self, name, meanwhile=lambda: None):
        """Kills a program, does something, and starts it again as it was."""
        os.kill(self.children[name].pid, signal.SIGKILL)
        self.stop(name)
        meanwhile()
        program, args = self.commands[name]
        self.start(program, *args, name=name)
        if name == "kube-apiserver":
            client = Client(self)
            self.wait("API server", lambda: client.call("GET", "/readyz") == "ok")
            client.close()

    def compact(self):
        """Makes etcd forget all earlier versions of everything."""

        def ask(path, body):
            connection = http.client.HTTPConnection(LOOPBACK, self.load()["etcd_port"], timeout=10)
            connection.request("POST", path, json.dumps(body))
            try:
                return json.loads(connection.getresponse().read())
            finally:
                connection.close()

        revision = ask("/v3/kv/range", {"key": base64.b64encode(b"/").decode()})["header"]["revision"]
        return ask("/v3/kv/compaction", {"revision": revision, "physical": True})

    def down(self):
        self.stop(*reversed(self.load()["pids"]))
        for pid in self.strays():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.dir, ignore_errors=True)
        if self.guard:
            self.guard.communicate()  # its stdin ends

    def strays(self):
        """Yields processes that were started here but not remembered: whoever did that was killed in between."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (process / "cwd").readlink() == self.dir:
                    yield int(process.name)

    def status(self):
        for name, (pid, began) in self.load()["pids"].items():
            if started_at(pid) != began:
                print(f"{name:26} stopped")
                continue
            memory = next(
                int(line.split()[1]) // 1024
                for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                if line.startswith("VmRSS")
            )
            used = sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
            print(f"{name:26} pid {pid:<7} {memory:5} MiB  {used / os.sysconf('SC_CLK_TCK'):7.1f} s CPU")


def started_at(pid):
    """The process's start time, so that a pid used anew is not taken for ours; None for none or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def http_ok(port, path):
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    finally:
        connection.close()


def ready_nodes(client):
    nodes = json.loads(client.call("GET", "/api/v1/nodes?resourceVersion=0"))["items"]
    return sum(c["type"] == "Ready" and c["status"] == "True" for n in nodes for c in n["status"].get("conditions", []))


def a4x_node(number):
    name = f"a4x-{number:04}"
    capacity = {"cpu": "140", "memory": "884Gi", "ephemeral-storage": "12000Gi", "pods": "110", "nvidia.com/gpu": "4"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/arch": "arm64",
                "kubernetes.io/os": "linux",
                "node.kubernetes.io/instance-type": "a4x-highgpu-4g",
                "cloud.google.com/gke-accelerator": "nvidia-gb200",
                "cloud.google.com/gke-nodepool": f"a4x-{number // 18}",
                "cloud.google.com/gke-ephemeral-storage-local-ssd": "true",
                "cloud.google.com/gce-topology-block": "block-0",
                "cloud.google.com/gce-topology-subblock": f"subblock-{number // 18}",
                "cloud.google.com/gce-topology-host": f"host-{number}",
            },
        },
        "spec": {
            "taints": [
                {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"},
                {"key": "kubernetes.io/arch", "value": "arm64", "effect": "NoSchedule"},
            ]
        },
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "nodeInfo": {
                "architecture": "arm64",
                "operatingSystem": "linux",
                "kubeletVersion": "v1.34.4",
                "osImage": "fake",
                "kernelVersion": "",
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
                "containerRuntimeVersion": "kwok://0.7.0",
                "kubeProxyVersion": "",
            },
        },
    }
