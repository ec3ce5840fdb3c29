#!/usr/bin/env bash
# A federation on hosts that have IPv6 alone, on hosts of its own, which are removed in any case (with KEEP=1 they stay): ipv6.sh
# [pytest options]
set -euo pipefail
cd "$(dirname "$0")/../.."
set=${FEDLEARN_IPV6_SET:-six}
hosts=(.venv/bin/python molecule/shared/hosts.py)
[ -n "${KEEP:-}" ] || trap '"${hosts[@]}" down "$set"; rm -rf build/six' EXIT
"${hosts[@]}" up --suite bookworm --subnet 10.98.81.0/24 --subnet fd98:81::/64 "$set" v1=fd98:81::11,10.98.81.11 \
    v2=fd98:81::12,10.98.81.12 v3=10.98.81.13,fd98:81::13
.venv/bin/python -m pytest --quiet tests/ipv6 "$@"
