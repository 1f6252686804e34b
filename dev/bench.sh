#!/usr/bin/env bash
# Measures the provider on the running cluster: bench.sh RUNS. What it prints is what benchstat reads.
source "$(dirname "$0")/lib.sh"

go build -C bench -o "$dev/bin/bench" .
run="'$dev/bin/bench' -n ${1:-10} -out '$dev/bench'"
if [ -z "$EXTERNAL" ]; then
	dev/exec.sh "$run"
else
	eval "$(dev/env.sh)"
	bash -c "$run"
fi
