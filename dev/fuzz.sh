#!/usr/bin/env bash
# Runs every fuzz target of every module for a while each: fuzz.sh TIME
source "$(dirname "$0")/lib.sh"

time=${1:-5s}
out=$(mktemp)
known=$(mktemp -d)
trap 'rm -rf "$out" "$known"' EXIT

# fuzz FOLDER TARGET: what earlier runs have found is left aside, since Go tries all of it again first, some 30 ms each where the test is a
# large binary (pkg/kube): that alone took longer than the time. Minimising is bounded for the same reason.
fuzz() {
	(cd "$1" && go test -run='^$' -fuzz="^$2\$" -fuzztime="$time" -fuzzminimizetime=10x . -test.fuzzcachedir="$known/$1") >"$out" 2>&1 && return
	# When the time ends while a worker is between two inputs, go test calls that a failure of the target
	# (golang/go issue 75804). A real one says which input failed.
	grep -q 'context deadline exceeded' "$out" && ! grep -q 'Failing input written' "$out"
}

git ls-files --cached --others --exclude-standard '*_test.go' | xargs grep -l '^func Fuzz' | sort | while read -r file; do
	[ -e "$file" ] || continue
	grep -o '^func Fuzz[A-Za-z0-9_]*' "$file" | sed 's/^func //' | while read -r target; do
		step "$target in $(dirname "$file")"
		fuzz "$(dirname "$file")" "$target" || { cat "$out" >&2; exit 1; }
		tail -n 2 "$out"
	done
done
