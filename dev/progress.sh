#!/usr/bin/env bash
# Runs a command that says nothing for minutes, and says every half minute that it still runs.
set -euo pipefail
start=$SECONDS
"$@" 2> >(grep -v '^go: downloading' >&2) &
command=$!
trap 'kill $command 2>/dev/null' INT TERM
while kill -0 $command 2>/dev/null; do
	sleep 1
	[ $(((SECONDS - start) % 30)) != 0 ] || echo "    ... $((SECONDS - start)) s"
done
status=0
wait $command || status=$?
echo "    done in $((SECONDS - start)) s"
exit $status
