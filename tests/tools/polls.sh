#!/usr/bin/env bash
# dc_federated with its proxies on hosts of its own, which are removed in any case (with KEEP=1 they stay): polls.sh [pytest
# options]. The library itself where FEDLEARN_UPSTREAM_DIR has it as dc_federated/, its double elsewhere.
set -euo pipefail
cd "$(dirname "$0")/../.."
hosts=(.venv/bin/python molecule/shared/hosts.py)
[ -n "${KEEP:-}" ] || trap '"${hosts[@]}" down polls; rm -rf build/polls' EXIT
"${hosts[@]}" up --suite bookworm --subnet 10.98.54.0/24 polls p1=10.98.54.11 p2=10.98.54.12 p3=10.98.54.13
.venv/bin/python -m pytest --quiet tests/polls "$@"
