#!/usr/bin/env bash
# Installs or upgrades the chart, waits until the provider serves, and writes .dev/env.
source "$(dirname "$0")/lib.sh"

if [ -n "$EXTERNAL" ] && ! ours; then
	there=$(kubectl get --ignore-not-found -o name crd/functions.openfaas.com namespace/openfaas namespace/openfaas-fn)
	[ -z "$there" ] || {
		echo "the cluster of KUBECONFIG has an OpenFaaS of its own, which down would take away:" $there >&2
		exit 1
	}
fi

step "installing the chart"
kubectl apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Namespace
metadata:
  name: openfaas
  labels:
    pod-security.kubernetes.io/enforce: restricted
  annotations:
    dragonchain.com/dev: "true"
YAML

# A key for who reads contracts as Dragonchain's SDKs do, made once.
kubectl get secret -n openfaas chain-clients -o name >/dev/null 2>&1 ||
	kubectl create secret generic -n openfaas chain-clients --from-literal="DEVKEY=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >/dev/null

values=(--set image.tag=dev --set chain.id=dev-chain --set chain.clientKeysSecret=chain-clients)
[ -n "$EXTERNAL" ] || values+=(--set-string "registries.mirrors.docker\.io=$(devcluster get registry)")

# Helm leaves CRDs alone that exist already.
[ ! -d chart/crds ] || kubectl apply --server-side --force-conflicts -f chart/crds >/dev/null
# HELM_ARGS is split into words on purpose.
helm upgrade --install dc-provider chart --namespace openfaas "${values[@]}" ${HELM_ARGS:-} >/dev/null

# The tag stays when the image behind it changes, so Kubernetes would see nothing to do.
image=$(sha256sum <"$dev/images/dc-provider.json" | cut -c1-16)
had=$(object deployment/dc-provider openfaas '{.metadata.annotations.dev/image}')
if [ "$had" != "$image" ]; then
	kubectl annotate -n openfaas deployment/dc-provider --overwrite "dev/image=$image" >/dev/null
	[ -z "$had" ] || kubectl rollout restart -n openfaas deployment/dc-provider >/dev/null
fi
kubectl rollout status -n openfaas deployment/dc-provider --timeout=120s
# The one before leads until it has drained: what is deployed meanwhile would be run by its settings.
leaving=$(kubectl get pods -n openfaas -l app.kubernetes.io/name=dc-provider \
	-o go-template='{{range .items}}{{if .metadata.deletionTimestamp}}pod/{{.metadata.name}} {{end}}{{end}}')
[ -z "$leaving" ] || kubectl wait -n openfaas --for=delete $leaving --timeout=120s >/dev/null

if [ -n "$EXTERNAL" ]; then
	dev/port-forward.sh
fi
env_file=$dev/env
[ "$CLUSTER" = dc ] || env_file=$state/env
(umask 077 && dev/env.sh >"$env_file")
