#!/usr/bin/env bash
# Measures: bench.sh FLAGS..., those of bench/. What it prints is what benchstat reads.
#
# BENCH_WITH may hold flags for what is built first, such as -with of-watchdog=/usr/bin/fwatchdog.
#
# Where depends on what there is: inside the network of the dev cluster's node if that is up; on the host with a cluster of the
# user's; otherwise, as root, in an empty network of its own, because the OpenFaaS watchdogs listen on every address.
source "$(dirname "$0")/lib.sh"

go build -C bench -o "$dev/bin/bench" .
bench="'$dev/bin/bench' -root '$root' -out '$dev/bench'"
eval "$bench -prepare ${BENCH_WITH:-}"
run="exec $bench$(printf ' %q' "$@")"
if [ -n "$EXTERNAL" ]; then
	eval "$(dev/env.sh)"
	bash -c "$run"
elif [ -d "$state" ] && devcluster status >/dev/null 2>&1; then
	dev/exec.sh "$run"
elif [ "$(id -u)" = 0 ]; then
	unshare --net bash -c "ip link set lo up && $run"
else
	bash -c "$run"
fi
