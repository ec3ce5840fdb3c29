#!/usr/bin/env bash
# dc_federated with its proxies on hosts of its own, which are removed in any case (with KEEP=1 they stay): dc_federated.sh
# [pytest options]. The library itself where FEDLEARN_UPSTREAM_DIR has it as dc_federated/, its double elsewhere.
set -euo pipefail
cd "$(dirname "$0")/../.."
hosts=(.venv/bin/python molecule/shared/hosts.py)
[ -n "${KEEP:-}" ] || trap '"${hosts[@]}" down dcf; rm -rf build/dc_federated build/polls' EXIT
"${hosts[@]}" up --suite bookworm --subnet 10.98.54.0/24 dcf p1=10.98.54.11 p2=10.98.54.12 p3=10.98.54.13
.venv/bin/python -m pytest --quiet "${@:-tests/dc_federated}"
