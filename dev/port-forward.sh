#!/usr/bin/env bash
# Keeps 127.0.0.1:GATEWAY_PORT connected to the provider on a cluster that the user brought; `port-forward.sh stop` ends it.
# Our own cluster has a forwarder that needs none of this.
source "$(dirname "$0")/lib.sh"

pid_file=$state/port-forward.pid
if [ -e "$pid_file" ] && kill -0 "$(cat "$pid_file")" 2>/dev/null; then
	kill -- "-$(cat "$pid_file")"
fi
rm -f "$pid_file"
[ "${1:-}" != stop ] || exit 0

# A session of its own: the loop's number is then also that of its process group, which stop ends as a whole.
setsid bash -c 'while :; do
	kubectl port-forward -n openfaas service/gateway "$0:8080"
	sleep 1
done' "${GATEWAY_PORT:-8080}" >"$state/port-forward.log" 2>&1 &
echo $! >"$pid_file"
for _ in {1..100}; do
	curl -s -o /dev/null "http://127.0.0.1:${GATEWAY_PORT:-8080}/healthz" && exit 0
	sleep 0.2
done
echo "127.0.0.1:${GATEWAY_PORT:-8080} does not get connected to the provider; see $state/port-forward.log" >&2
exit 1
