"""Takes a cluster down once the process that started it has ended, however that ended.

python -m tests.cluster.kit.guard DIR     reads stdin, a pipe that only that process can write to, until its end
"""

from __future__ import annotations

import sys

from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.node import Node


def main() -> None:
    cluster = Cluster(sys.argv[1])
    node = Node(cluster)  # notes what was there before the node
    sys.stdin.buffer.read()
    if node.dir.exists():
        node.down()
    cluster.down()


if __name__ == "__main__":
    main()
