"""The kit itself: what holds of its servers whatever happens to the tests."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.cluster.conftest import missing
from tests.cluster.kit.cluster import Cluster, started_at
from tests.cluster.kit.node import lacking
from tests.patience import HANG_S

OWNER = """
import sys, time
from tests.cluster.conftest import STANDINS
from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.kueue import Kueue
from tests.cluster.kit.node import Node
cluster = Cluster(sys.argv[1])
cluster.up(nodes=0)
if sys.argv[2] == "node":
    Node(cluster).up(gpus=4, programs=STANDINS)
else:
    Kueue(cluster).start()
print("up", flush=True)
time.sleep(10_000)
"""


@pytest.mark.usefixtures("binaries")
@pytest.mark.parametrize("also", ["kueue", "node"])
def test_its_servers_die_with_the_process_that_started_them(also: str) -> None:
    if also == "node" and (absent := lacking()):
        missing(f"a real node needs {', '.join(absent)}: make cluster-test as root installs it")
    folder = Path(tempfile.mkdtemp(prefix="sweep-kit-", dir="/tmp"))  # the paths of sockets are short
    with subprocess.Popen([sys.executable, "-c", OWNER, folder, also], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == "up\n"
        servers = Cluster(folder).load()["pids"]
        assert (also == "kueue" and "kueue" in servers) or {"kubelet", "containerd"} <= servers.keys()
        owner.kill()
    until = time.monotonic() + HANG_S
    while folder.exists() and time.monotonic() < until:  # which is removed last
        time.sleep(0.2)
    left = [name for name, (pid, began) in servers.items() if started_at(pid) == began]
    assert not folder.exists() and not left, left
