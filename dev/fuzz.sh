#!/usr/bin/env bash
# Runs every fuzz target of every module for a while each: fuzz.sh TIME
source "$(dirname "$0")/lib.sh"

time=${1:-5s}
git ls-files --cached --others --exclude-standard '*_test.go' | xargs grep -l '^func Fuzz' | sort | while read -r file; do
	[ -e "$file" ] || continue
	grep -o '^func Fuzz[A-Za-z0-9_]*' "$file" | sed 's/^func //' | while read -r target; do
		step "$target in $(dirname "$file")"
		(cd "$(dirname "$file")" && go test -run='^$' -fuzz="^$target\$" -fuzztime="$time" -fuzzminimizetime=10x .) | tail -n 3
	done
done
