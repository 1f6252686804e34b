#!/usr/bin/env bash
# Imports image archives into every node: load.sh ARCHIVE...
source "$(dirname "$0")/lib.sh"

for archive in "$@"; do
	[ -e "$archive" ] || { echo "no such archive: $archive" >&2; exit 1; }
done
if [ -z "$EXTERNAL" ]; then
	step "loading $# image archive(s)"
	devcluster load "$@"
elif [ -n "${LOAD_CMD:-}" ]; then
	for archive in "$@"; do
		step "$LOAD_CMD $archive"
		$LOAD_CMD "$archive"
	done
else
	echo "KUBECONFIG is set: give LOAD_CMD, a command that imports an archive into that cluster, or push the images of" >&2
	echo ".dev/images to its registry yourself. LOAD_CMD=: skips this step." >&2
	exit 1
fi
