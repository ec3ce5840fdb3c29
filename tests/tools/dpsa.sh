#!/usr/bin/env bash
# A leader and a helper of two parties on hosts of their own, which are removed in any case (with KEEP=1 they stay): dpsa.sh
# [pytest options]. The programs where FEDLEARN_UPSTREAM_DIR has them, their doubles elsewhere.
set -euo pipefail
cd "$(dirname "$0")/../.."
set=${FEDLEARN_DPSA_SET:-dpsa}
hosts=(.venv/bin/python molecule/shared/hosts.py)
[ -n "${KEEP:-}" ] || trap '"${hosts[@]}" down "$set"; rm -rf build/dpsa' EXIT
"${hosts[@]}" up --suite bookworm --subnet 10.98.55.0/24 "$set" a1=10.98.55.21 b1=10.98.55.22
.venv/bin/python -m pytest --quiet tests/dpsa "$@"
