#!/usr/bin/env bash
# A PostgreSQL server in the network of node 0, for as long as this runs, and the Secret heap-db with its DSN. Prints a line when
# it accepts connections. It asks nobody for a password: nothing outside the cluster's network reaches it.
source "$(dirname "$0")/lib.sh"

[ -z "$EXTERNAL" ] || { echo "there is no network of ours to be in: KUBECONFIG names another cluster" >&2; exit 1; }
initdb=$(command -v initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -1) || {
	echo "there is no initdb: \`make test-packages\` brings PostgreSQL" >&2
	exit 1
}
programs=$(dirname "$(readlink -f "$initdb")")
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
trap 'exit 0' INT TERM
chown nobody "$data"
address=$(kubectl get nodes -o 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}')
# Each execs the next, so that a signal reaches the server.
as=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
inside=(nsenter "--net=$(devcluster get netns)")
cd "$data" # nobody may be there
"${as[@]}" "$programs/initdb" -D "$data/db" -U postgres -A trust --no-sync >/dev/null
echo 'host all all all trust' >>"$data/db/pg_hba.conf"
kubectl create secret generic heap-db -n openfaas --from-literal="dsn=postgres://postgres@$address:5432/postgres" \
	--dry-run=client -o yaml | kubectl apply -f - >/dev/null
"${inside[@]}" "${as[@]}" "$programs/postgres" -D "$data/db" -c "listen_addresses=$address" -c "unix_socket_directories=$data/db" \
	-c fsync=off -c log_min_messages=fatal >&2 &
server=$!
# At once: to wait for the clients' ends, or to write down what is thrown away, would be in vain.
trap 'kill -QUIT $server 2>/dev/null || true; wait $server || true; rm -rf "$data"' EXIT
until "${inside[@]}" "$programs/pg_isready" -q -h "$address" -U postgres -t 1; do
	kill -0 $server
	sleep 0.2
done
echo ready
wait $server
