#!/usr/bin/env bash
# Makes sure that what the dev cluster and the tests need from the distribution is there. As root on Debian it installs what
# is missing; otherwise it lists that and fails. `packages.sh bench` does so for what the benchmarks compare with, and does not
# fail: they go without what is not there.
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
what=needs
if [ "${1:-}" = bench ]; then
	what=bench
	needs=(
		nginx-light:/usr/sbin/nginx
		haproxy:/usr/sbin/haproxy
		wrk:/usr/bin/wrk
		redis-server:/usr/bin/redis-server
		python3:/usr/bin/python3
	)
fi

[ "${1:-}" != --tests ] || needs+=(postgresql:initdb strace:/usr/bin/strace)

command -v go >/dev/null || { echo "missing: Go 1.26 or newer (https://go.dev/dl/)" >&2; exit 1; }

# has tells whether a file is there. Debian has PostgreSQL's programs in a folder for each version; others on the PATH.
has() {
	[ "$1" = initdb ] || { [ -e "$1" ]; return; }
	command -v initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb'
} >/dev/null

missing=()
for need in "${needs[@]}"; do
	has "${need#*:}" || missing+=("${need%%:*}")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "missing: ${missing[*]} (Debian's names). As root on Debian this would install them." >&2
	[ $what = bench ] && exit 0
	exit 1
fi
echo "==> installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# The tests start servers of their own; the package shall not start one.
case " ${missing[*]} " in
*" postgresql "*)
	mkdir -p /etc/postgresql-common/createcluster.d
	echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/dc-provider.conf
	;;
esac
if [ $what = bench ] && [ ! -e /usr/sbin/policy-rc.d ]; then
	# The servers are wanted as programs: Debian would start them, on ports that are somebody else's.
	trap 'rm -f /usr/sbin/policy-rc.d' EXIT
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod +x /usr/sbin/policy-rc.d
fi
apt-get update -qq
# Only errors are worth reading.
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
if [ $what = bench ] && [ -d /run/systemd/system ]; then
	for package in "${missing[@]}"; do
		case $package in
		nginx-light) systemctl disable --quiet nginx ;;
		haproxy) systemctl disable --quiet haproxy ;;
		redis-server) systemctl disable --quiet redis-server ;;
		esac
	done
fi
