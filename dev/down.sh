#!/usr/bin/env bash
# Takes away what up made: our cluster with all that is on it, or from the user's cluster what we installed.
source "$(dirname "$0")/lib.sh"

if [ -z "$EXTERNAL" ]; then
	[ ! -x "$dev/bin/devcluster" ] || devcluster down
	[ "$CLUSTER" != dc ] || rm -f "$dev/env"
	exit 0
fi
dev/port-forward.sh stop
helm uninstall dc-provider --namespace openfaas --ignore-not-found
# Kept by the chart on uninstall, for good reason; but this is down.
kubectl delete namespace openfaas-fn openfaas --ignore-not-found
rm -rf "$state" "$dev/env"
