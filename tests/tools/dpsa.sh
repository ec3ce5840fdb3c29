#!/usr/bin/env bash
# A leader and a helper of two parties on hosts of their own, which are removed in any case (with KEEP=1 they stay, and
# pytest with FEDLEARN_DPSA_STANDING=1 tries single tests on them): dpsa.sh [pytest options]. The programs where
# FEDLEARN_UPSTREAM_DIR has them, their doubles elsewhere.
set -euo pipefail
cd "$(dirname "$0")/../.."
set=${FEDLEARN_DPSA_SET:-dpsa}
hosts=(.venv/bin/python molecule/shared/hosts.py)
[ -n "${KEEP:-}" ] || trap '"${hosts[@]}" down "$set"; rm -rf build/dpsa' EXIT
network=${FEDLEARN_DPSA_NETWORK:-10.98.55}
six=fd98:${network##*.}
# the controller's is the newest Debian with a Python that the published client is compiled for
"${hosts[@]}" up --suite bookworm --subnet "$network.0/24" --subnet "$six::/64" "$set" "a1=$network.21,$six::21" \
    "b1=$network.22,$six::22" "c1=$network.23,$six::23@bullseye" "a2=$network.24,$six::24"
.venv/bin/python -m pytest --quiet tests/dpsa "$@"
