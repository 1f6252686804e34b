#!/usr/bin/env bash
# Makes sure that what the dev cluster and the tests need from the distribution is there. As root on Debian it installs what
# is missing; otherwise it lists that and fails.
set -euo pipefail

# package: a file that it brings
needs=(
	runc:/usr/sbin/runc
	containernetworking-plugins:/usr/lib/cni/ptp
	iproute2:/sbin/ip
	nftables:/usr/sbin/nft
	conntrack:/usr/sbin/conntrack
	util-linux:/usr/bin/nsenter
	mount:/bin/mount
	curl:/usr/bin/curl
	git:/usr/bin/git
	gcc:/usr/bin/gcc
	libc6-dev:/usr/include/stdlib.h
	python3:/usr/bin/python3
)

command -v go >/dev/null || { echo "missing: Go 1.26 or newer (https://go.dev/dl/)" >&2; exit 1; }

missing=()
for need in "${needs[@]}"; do
	[ -e "${need#*:}" ] || missing+=("${need%%:*}")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "missing: ${missing[*]} (Debian's names). As root on Debian this would install them." >&2
	exit 1
fi
echo "==> installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# Only errors are worth reading.
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
