"""Starts and stops a Kubernetes control plane with fake A4X nodes on this machine.

python -m tests.cluster.kit up DIR [--nodes N]     start it; prints the kubeconfig's path when Ready
python -m tests.cluster.kit status DIR             processes and their memory
python -m tests.cluster.kit down DIR               stop it
"""

import argparse
import sys

from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.kueue import Kueue


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster.kit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["up", "down", "status"])
    parser.add_argument("dir")
    parser.add_argument("--nodes", type=int, default=18)
    parser.add_argument("--jobset", action="store_true", help="start JobSet's controller too")
    parser.add_argument("--queue", action="store_true", help="start Kueue too")
    parser.add_argument("--etcd", default="etcd", help="etcd's name, if not the built one")
    options = parser.parse_args()
    cluster = Cluster(options.dir, stays=True)
    if options.action == "up":
        seconds = cluster.up(options.nodes, options.etcd)
        if options.jobset:
            cluster.start_jobset()
        if options.queue:
            Kueue(cluster).start()
        print(f"ready in {seconds:.1f} s", file=sys.stderr)
        print(cluster.kubeconfig("admin"))
    else:
        getattr(cluster, options.action)()


if __name__ == "__main__":
    main()
