#!/bin/sh
# A contract in a few lines of shell: numbers the lines of the transaction it is given. The answer is plain text, so the heap
# holds it under the key rawResponse. What goes to standard error goes to the log.
set -eu

echo "reading a transaction" >&2
lines=0
while IFS= read -r line || [ -n "$line" ]; do
    lines=$((lines + 1))
    printf '%3d | %s\n' "$lines" "$line"
done
printf 'read by busybox: %d lines\n' "$lines"
