#!/usr/bin/env bash
# The end-to-end tests, on a cluster of their own that goes with them, however they end. With KUBECONFIG set, on that.
CLUSTER=${E2E_CLUSTER:-dc-test}
export CLUSTER
source "$(dirname "$0")/lib.sh"

if [ -z "$EXTERNAL" ]; then
	trap 'status=$?; [ $status = 0 ] || dev/diagnose.sh || true; dev/down.sh; exit $status' EXIT
	trap 'exit 130' INT TERM
	dev/down.sh # whatever an earlier run left behind
	devcluster up --nodes 2
	# The second node is for the tests that lose one.
	kubectl cordon "$(kubectl get nodes -o 'jsonpath={.items[1].metadata.name}')" >/dev/null
fi
dev/load.sh "$dev"/images/*.tar
dev/install.sh

step "end-to-end tests"
# Compiled here: inside there is no way out to fetch a module. Most tests wait for the cluster most of their time, so that
# more of them run at once than there are processors.
go test -C test/e2e -c -o "$dev/e2e.test" .
run() {
	local command="cd test/e2e && '$dev/e2e.test' -test.v -test.timeout=20m -test.parallel=8 $*"
	if [ -z "$EXTERNAL" ]; then
		dev/exec.sh "$command"
	else
		(eval "$(dev/env.sh)" && bash -c "$command")
	fi
}
run "${E2E_FLAGS:-}"

step "what begins otherwise when the watchdog comes by init container; TLS, a chain, small queues, few claims, a restore"
certificate=$(mktemp -d)
(cd "$certificate" && go run "$(go env GOROOT)/src/crypto/tls/generate_cert.go" -host gateway.openfaas -ecdsa-curve P256 2>/dev/null)
kubectl create secret tls gateway-tls -n openfaas --cert="$certificate/cert.pem" --key="$certificate/key.pem" --dry-run=client -o yaml |
	kubectl apply -f - >/dev/null
rm -r "$certificate"
values="--set functions.watchdog=init-container --set tls.secret=gateway-tls --set async.queue=20 --set async.totalQueue=30 --set pool.nodeClaims=2"
values+=" --set calls.successorSeconds=0 --set calls.lameDuckSeconds=1"
if [ -z "$EXTERNAL" ]; then
	# The tests run in node 0's network, and are the chain themselves.
	kubectl create secret generic chain-account -n openfaas --from-literal=key-id=PROVIDER --from-literal=key=hidden --dry-run=client -o yaml |
		kubectl apply -f - >/dev/null
	address=$(kubectl get nodes -o 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}')
	values+=" --set chain.url=http://$address:5080/v1/transaction --set chain.secret=chain-account"
fi
HELM_ARGS="${HELM_ARGS:-} $values" dev/install.sh
run -test.run "'^Test(Watchdog_PutIn|Examples_Cowsay|Lambda_ImageAsItIs|TLS|Chain_.*|Queue_Full|Pool_NodeClaims|Readme_Restore)$'"

# Without a cluster of our own there is no network that a database of ours could be in.
[ -z "$EXTERNAL" ] || exit 0
step "two providers on a database"
coproc database { exec dev/postgres.sh; }
database_pid=$database_PID # which is gone as soon as the process is
trap 'status=$?; [ $status = 0 ] || dev/diagnose.sh || true; kill $database_pid 2>/dev/null && wait $database_pid || true; dev/down.sh; exit $status' EXIT
read -r -u "${database[0]}" said && [ "$said" = ready ] || { echo "there is no database" >&2; exit 1; }
HELM_ARGS="${HELM_ARGS:-} --set replicas=2 --set heap.store=postgres --set heap.postgresSecret=heap-db" dev/install.sh
run -test.run "'^TestProviders_'"

step "without the API server for a while, and without a node"
export E2E_OUTAGES=1
run -test.run "'^TestOutage_'"
