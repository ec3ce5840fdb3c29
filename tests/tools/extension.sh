#!/usr/bin/env bash
# Adding a system: `echo` laid into a copy of the tree, and deployed on a host that is removed in any case (with KEEP=1 it
# stays): extension.sh [pytest options]
set -euo pipefail
cd "$(dirname "$0")/../.."
export FEDLEARN_EXTENSION_SET=${FEDLEARN_EXTENSION_SET:-echo}
hosts=(.venv/bin/python molecule/shared/hosts.py)
[ -n "${KEEP:-}" ] || trap '"${hosts[@]}" down "$FEDLEARN_EXTENSION_SET"' EXIT
"${hosts[@]}" up --suite bookworm --subnet 10.98.9.0/24 "$FEDLEARN_EXTENSION_SET" e1=10.98.9.11
.venv/bin/python -m pytest --quiet tests/extension/test_echo.py "$@"
