#!/usr/bin/env bash
# Builds every server and client of the test cluster from the Go module in tools/
# into $CONTROL_PLANE_BIN (default: a folder of the user's cache, keyed by go.sum).
# Prints that folder; with --where it builds nothing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
key=$(cat "$here"/tools{,-kwok}/go.sum "$here"/tools/cmd/kube/main.go "$here/build.sh" | sha256sum | cut -c1-12)
bin=${CONTROL_PLANE_BIN:-${XDG_CACHE_HOME:-$HOME/.cache}/control-plane/$key}
if [ "${1:-}" = --where ]; then
    echo "$bin"
    exit
fi
cd "$here/tools"

kube=$(go list -m -f '{{.Version}}' k8s.io/kubernetes) # v1.34.4
minor=${kube#v1.} minor=${minor%%.*}
version=k8s.io/component-base/version
export CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false"
mkdir -p "$bin"

build() { # name, package, extra -ldflags
    [ -x "$bin/$1" ] && return
    echo "build: $1" >&2
    go build -ldflags="-s -w ${3:-}" -o "$bin/.$1" "$2" && mv "$bin/.$1" "$bin/$1"
}

crds() { # name, module, folder: the module's own resource definitions in one file
    local source
    source=$(go list -m -f '{{.Dir}}' "$2")/$3
    mkdir -p "$bin/crds"
    for file in "$source"/*.yaml; do
        echo ---
        cat "$file"
    done >"$bin/crds/$1.yaml"
}

# Without these flags the API server says that it is v0.0.0-master.
build kube ./cmd/kube "-X $version.gitVersion=$kube -X $version.gitMajor=1 -X $version.gitMinor=$minor -X $version.gitTreeState=clean"
for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet; do
    ln -sfn kube "$bin/$name"
done
helm=helm.sh/helm/v3
build helm $helm/cmd/helm "-X $helm/internal/version.version=$(go list -m -f '{{.Version}}' $helm) \
    -X $helm/pkg/chartutil.k8sVersionMajor=1 -X $helm/pkg/chartutil.k8sVersionMinor=$minor \
    -X $helm/pkg/lint/rules.k8sVersionMajor=1 -X $helm/pkg/lint/rules.k8sVersionMinor=$minor"
build jobset sigs.k8s.io/jobset
crds jobset sigs.k8s.io/jobset config/components/crd/bases
cp "$(go list -m -f '{{.Dir}}' sigs.k8s.io/jobset)/config/components/webhook/manifests.yaml" "$bin/crds/jobset-webhooks.yaml"
chmod u+w "$bin"/crds/*
# kwok 0.7 does not compile against Kubernetes 0.34, hence its own module.
cd "$here/tools-kwok"
build kwok sigs.k8s.io/kwok/cmd/kwok
crds kwok sigs.k8s.io/kwok kustomize/crd/bases
echo "$bin"
