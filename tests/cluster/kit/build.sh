#!/usr/bin/env bash
# Builds every server and client of the test cluster, each of the Go modules in this folder by itself: tools
# (Kubernetes, helm, JobSet), tools-kwok, tools-kueue. A module is built again only when what is its own has changed.
# Prints the folder with all programs, links into those of the modules: $CONTROL_PLANE_BIN, by default one in the
# user's cache. With --where it builds nothing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/control-plane
modules=(tools tools-kwok tools-kueue)

folder() { # module
    local key
    key=$(cd "$here" && find "$1" -name '*.go' -o -name 'go.*' | LC_ALL=C sort | xargs cat build.sh | sha256sum | cut -c1-12)
    echo "$cache/$1-$key"
}

build() { # name, package, extra -ldflags
    [ -x "$made/$1" ] && return
    echo "build: $1" >&2
    go build -ldflags="-s -w ${3:-}" -o "$made/.$1" "$2" && mv "$made/.$1" "$made/$1"
}

source_of() { # module
    go list -m -f '{{.Dir}}' "$1"
}

keep() { # name, file of a module
    install -D -m 644 "$2" "$made/crds/$1.yaml"
}

definitions() { # name, files of a module with one definition each: in one file
    local name=$1
    shift
    mkdir -p "$made/crds"
    for file in "$@"; do
        echo ---
        cat "$file"
    done >"$made/crds/$name.yaml"
}

build_tools() {
    local kube minor version=k8s.io/component-base/version helm=helm.sh/helm/v3 jobset
    kube=$(go list -m -f '{{.Version}}' k8s.io/kubernetes) # v1.34.4
    minor=${kube#v1.} minor=${minor%%.*}
    # Without these flags the API server says that it is v0.0.0-master.
    build kube ./cmd/kube "-X $version.gitVersion=$kube -X $version.gitMajor=1 -X $version.gitMinor=$minor -X $version.gitTreeState=clean"
    for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet; do
        ln -sfn kube "$made/$name"
    done
    build helm $helm/cmd/helm "-X $helm/internal/version.version=$(go list -m -f '{{.Version}}' $helm) \
        -X $helm/pkg/chartutil.k8sVersionMajor=1 -X $helm/pkg/chartutil.k8sVersionMinor=$minor \
        -X $helm/pkg/lint/rules.k8sVersionMajor=1 -X $helm/pkg/lint/rules.k8sVersionMinor=$minor"
    build jobset sigs.k8s.io/jobset
    jobset=$(source_of sigs.k8s.io/jobset)
    definitions jobset "$jobset"/config/components/crd/bases/*.yaml
    keep jobset-webhooks "$jobset/config/components/webhook/manifests.yaml"
}

build_tools-kwok() { # kwok 0.7 does not compile against Kubernetes 0.34, hence its own module
    build kwok sigs.k8s.io/kwok/cmd/kwok
    definitions kwok "$(source_of sigs.k8s.io/kwok)"/kustomize/crd/bases/*.yaml
}

build_tools-kueue() { # Kueue 0.19 needs Kubernetes 0.36, hence its own module
    local kueue
    build kueue sigs.k8s.io/kueue/cmd/kueue
    kueue=$(source_of sigs.k8s.io/kueue)/config/components
    definitions kueue "$kueue"/crd/bases/*.yaml
    keep kueue-webhooks "$kueue/webhook/manifests.yaml"
    keep kueue-config "$kueue/manager/controller_manager_config.yaml"
    definitions provisioning "$(source_of k8s.io/autoscaler/cluster-autoscaler/apis)"/config/crd/*.yaml
}

bin=${CONTROL_PLANE_BIN:-$cache/all-$(for module in "${modules[@]}"; do folder "$module"; done | sha256sum | cut -c1-12)}
if [ "${1:-}" = --where ]; then
    echo "$bin"
    exit
fi
export CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false"
mkdir -p "$cache" "$bin"
exec 9>"$cache/lock" # whoever comes second finds all of it built
flock -n 9 || { echo "build: another one is at it and is waited for" >&2 && flock 9; }
for module in "${modules[@]}"; do
    made=$(folder "$module")
    if [ ! -e "$made/complete" ]; then
        mkdir -p "$made"
        (cd "$here/$module" && "build_$module")
        touch "$made/complete"
    fi
    cp -rsf "$made"/. "$bin"
done
rm -f "$bin/complete"
echo "$bin"
