#!/usr/bin/env bash
# Compiles everything of this module into the folder given: build.sh FOLDER
set -euo pipefail
out=$(realpath "$1")
cd "$(dirname "$0")"

# Binaries learn their version from the linker, and report it: the kubelet to the API server, helm to charts.
version() { go list -m -f '{{.Version}}' "$1"; }
kubernetes=$(version k8s.io/kubernetes)
IFS=. read -r major minor _ <<<"${kubernetes#v}"
flags=(-s -w)
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	flags+=(-X "$package.gitVersion=$kubernetes" -X "$package.gitMajor=$major" -X "$package.gitMinor=$minor")
done
flags+=(-X "helm.sh/helm/v3/internal/version.version=$(version helm.sh/helm/v3)")
for package in chartutil lint/rules; do
	flags+=(-X "helm.sh/helm/v3/pkg/$package.k8sVersionMajor=$major" -X "helm.sh/helm/v3/pkg/$package.k8sVersionMinor=$minor")
done

CGO_ENABLED=0 exec go build -trimpath -ldflags "${flags[*]}" -o "$out/" . ./kubectl ./coredns helm.sh/helm/v3/cmd/helm
