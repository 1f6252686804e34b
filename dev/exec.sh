#!/usr/bin/env bash
# Runs a shell command inside node 0's network, with OPENFAAS_URL and the rest as they are there: exec.sh 'COMMAND'
source "$(dirname "$0")/lib.sh"

[ -z "$EXTERNAL" ] || { echo "there is no network of ours to enter: KUBECONFIG names another cluster" >&2; exit 1; }
[ -n "${1:-}" ] || { echo "usage: make exec CMD='command'" >&2; exit 2; }
eval "$(dev/env.sh inside)"
unset MAKEFLAGS MFLAGS MAKELEVEL CMD # the command may be another make
exec "$dev/bin/devcluster" exec --root "$dev" --name "$CLUSTER" -- bash -c "$1"
