# Sourced by the scripts beside it. What they share: where the cluster is, and how to talk to it.
#
# CLUSTER names our own cluster. EXTERNAL, set by the Makefile, is the KUBECONFIG of a cluster that the user brought; then
# ours does not exist.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
dev=$root/.dev
export PATH=$dev/bin:$PATH
CLUSTER=${CLUSTER:-dc}
EXTERNAL=${EXTERNAL:-}
state=$dev/$CLUSTER
if [ -n "$EXTERNAL" ]; then
	state=$dev/external
	mkdir -p "$state"
	export KUBECONFIG=$EXTERNAL
else
	export KUBECONFIG=$state/kubeconfig
fi

devcluster() { command="$1"; shift; "$dev/bin/devcluster" "$command" --root "$dev" --name "$CLUSTER" "$@"; }

# jsonpath of one object; fails if it does not exist
object() { kubectl get "$1" -n "$2" -o "jsonpath=$3"; }

# ours tells whether install made what is on the cluster: only that may be changed and taken away.
ours() {
	[ "$(kubectl get namespace openfaas --ignore-not-found -o 'jsonpath={.metadata.annotations.dragonchain\.com/dev}')" = true ]
}

step() { echo "==> $*"; }
