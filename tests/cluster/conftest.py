"""A real control plane for the tests of this folder: one for the session, with fake A4X nodes.

The binaries are found in $CONTROL_PLANE_BIN, else where kit/build.sh keeps them. Where they are missing the tests are
skipped with the reason; with CI=true that is a failure, so that a missing step cannot look green.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.kueue import Kueue
from tests.cluster.kit.node import Node, lacking
from tests.cluster.queues import Queues
from tests.patience import HANG_S
from tests.test_launcher import NVIDIA_SMI, STANDIN

collect_ignore = ["kit"]
KIT = Path(__file__).parent / "kit"
NODES = 18
IMAGE = "nvcr.io/nvidia/tensorrt-llm/release:1.2.0rc2"
"""The default of conf/config.yaml and the chart: the real node has the stand-ins under this name."""
STANDINS = {
    "usr/local/bin/trtllm-bench": STANDIN.read_text(),
    "app/tensorrt_llm/benchmarks/cpp/prepare_dataset.py": STANDIN.read_text(),
    "usr/local/bin/nvidia-smi": NVIDIA_SMI,
}
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "kueue", "helm")

Run = Callable[..., subprocess.CompletedProcess[str]]


def missing(what: str) -> None:
    """Skip, or fail where everything must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def binaries() -> Path:
    """The folder of the control plane's programs and helm."""
    said = os.environ.get("CONTROL_PLANE_BIN")
    folder = Path(said or subprocess.check_output([KIT / "build.sh", "--where"], text=True, timeout=HANG_S).strip())
    absent = [program for program in PROGRAMS if not (folder / program).exists()]
    if absent:
        missing(f"{', '.join(absent)} not in {folder}: make cluster-build builds them (Go)")
    if shutil.which("kubectl") is None or shutil.which("openssl") is None:
        missing("kubectl or openssl is not installed")
    os.environ["CONTROL_PLANE_BIN"] = str(folder)
    os.environ["PATH"] = os.pathsep.join((str(folder), os.environ["PATH"]))  # the helm that the program calls
    return folder


@pytest.fixture(scope="session")
def helm(binaries: Path) -> Run:
    """Run helm with these arguments."""

    def run(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [binaries / "helm", *map(str, arguments)], capture_output=True, text=True, timeout=HANG_S, check=False
        )
        assert done.returncode == 0 or not check, done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def cluster(binaries: Path) -> Iterator[Cluster]:
    """A control plane with NODES fake A4X nodes."""
    folder = Path(tempfile.mkdtemp(prefix="sweep-kube-", dir="/tmp"))  # the paths of sockets are short
    made = Cluster(folder)
    try:
        made.up(nodes=NODES)
        yield made
    finally:
        made.down()


@pytest.fixture(scope="session")
def kueue(cluster: Cluster) -> Kueue:
    """Kueue itself; Jobs without a queue go on as without it."""
    made = Kueue(cluster)
    made.start()
    return made


@pytest.fixture(scope="session")
def real_node(binaries: Path) -> Iterator[Node]:
    """A real node, the only one of a control plane of its own."""
    if absent := lacking():
        missing(f"a real node needs {', '.join(absent)}: make cluster-test as root installs it")
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="sweep-node-", dir="/tmp")))
    node = Node(cluster)
    try:
        cluster.up(nodes=0)
        node.up(gpus=4, programs=STANDINS)
        node.add_image(IMAGE, "bash")
        yield node
    finally:
        try:
            node.down()
        finally:
            cluster.down()


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A namespace of the test's own, with the kubeconfig of an administrator."""
    said = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())
    name = f"{said.removeprefix('test-')[:40].strip('-')}-{zlib.crc32(said.encode()):08x}"
    cluster.kubectl("create", "namespace", name)
    cluster.wait("service account", lambda: cluster.kubectl("get", "serviceaccount", "default", "-n", name))
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig("admin")))
    return name


@pytest.fixture
def queues(cluster: Cluster, namespace: str, kueue: Kueue) -> Queues:
    """Makes queues for the test's namespace."""
    return Queues(cluster, namespace)
