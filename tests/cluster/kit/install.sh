#!/usr/bin/env bash
# Installs what tests/cluster needs of Debian or Ubuntu and this machine has not: openssl for the keys of the cluster;
# containerd, runc and network plugins for the real node. What is there already is left as it is.
# Go, which builds the rest, and kubectl are not Debian's (its kubectl is too old): without them this says so.
set -euo pipefail

lacking=()
for program in go kubectl; do
    if ! command -v "$program" >/dev/null; then lacking+=("$program"); fi
done
if ((${#lacking[@]})); then
    echo "make cluster-test needs ${lacking[*]}: https://go.dev/doc/install, https://kubernetes.io/docs/tasks/tools" >&2
    exit 2
fi

packages=()
need() { # package, program or file
    if ! command -v "$2" >/dev/null && [ ! -e "$2" ]; then packages+=("$1"); fi
}
need openssl openssl
need containerd containerd
need runc runc
need iproute2 ip
need containernetworking-plugins /usr/lib/cni/bridge
if ((${#packages[@]} == 0)); then exit; fi

command="apt-get install -y --no-install-recommends ${packages[*]}"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "make cluster-test needs ${packages[*]}; as root: $command" >&2
    exit 2
fi
echo "installing ${packages[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
$command >/dev/null || { apt-get update >/dev/null && $command >/dev/null; } # lists of packages may be missing or old
