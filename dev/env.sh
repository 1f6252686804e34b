#!/usr/bin/env bash
# Prints, as a shell file, where the provider is: `env.sh` for the host, `env.sh inside` for within node 0's network.
source "$(dirname "$0")/lib.sh"

say() { printf 'export %s=%q\n' "$1" "$2"; }

service=$(object service/gateway openfaas '{.spec.clusterIP}' 2>/dev/null || true)
pod=$(kubectl get pods -n openfaas -l app.kubernetes.io/name=dc-provider --field-selector=status.phase=Running \
	-o 'jsonpath={.items[0].status.podIP}' 2>/dev/null || true)

if [ "${1:-}" = inside ]; then
	say KUBECONFIG "$(devcluster get kubeconfig-inside)"
	[ -z "$service" ] || say OPENFAAS_URL "http://$service:8080"
elif [ -n "$EXTERNAL" ]; then
	say KUBECONFIG "$EXTERNAL"
	say OPENFAAS_URL "http://127.0.0.1:${GATEWAY_PORT:-8080}"
else
	say KUBECONFIG "$KUBECONFIG"
	say OPENFAAS_URL "$(devcluster get gateway-url)"
fi
if [ -n "$service" ]; then
	say OPENFAAS_USER "$(object secret/basic-auth openfaas '{.data.basic-auth-user}' | base64 -d)"
	say OPENFAAS_PASSWORD "$(object secret/basic-auth openfaas '{.data.basic-auth-password}' | base64 -d)"
fi
[ -n "$EXTERNAL" ] || say DC_NETNS "$(devcluster get netns)"
[ -n "$EXTERNAL" ] || say DC_LAN "$(devcluster get lan)"
[ -z "$pod" ] || say DC_POD_URL "http://$pod:8080"
