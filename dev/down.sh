#!/usr/bin/env bash
# Takes away what up made: our cluster with all that is on it, or from the user's cluster what we installed, functions
# included.
source "$(dirname "$0")/lib.sh"

if [ -z "$EXTERNAL" ]; then
	[ ! -x "$dev/bin/devcluster" ] || devcluster down
	[ "$CLUSTER" != dc ] || rm -f "$dev/env"
	exit 0
fi

[ ! -e "$state/port-forward.pid" ] || dev/port-forward.sh stop
ours || { echo "nothing on the cluster of KUBECONFIG was installed from here"; exit 0; }
crd=crd/functions.openfaas.com
if kubectl get "$crd" >/dev/null 2>&1; then
	# Functions first, while the provider is there to clean up after them. Where it is not, nothing else will.
	if ! kubectl delete functions.openfaas.com --all --all-namespaces --timeout=60s; then
		kubectl get functions.openfaas.com -A -o 'jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name}{"\n"}{end}' |
			while read -r namespace name; do
				kubectl patch functions.openfaas.com -n "$namespace" "$name" --type=merge -p '{"metadata":{"finalizers":null}}'
			done
	fi
fi
helm uninstall dc-provider --namespace openfaas --ignore-not-found
# Kept by the chart on uninstall, for good reason; but this is down.
kubectl delete "$crd" namespace/openfaas-fn namespace/openfaas --ignore-not-found
rm -rf "$state" "$dev/env"
