#!/usr/bin/env bash
# Backup, restore and rotation of a federation with a database, `ledger` laid into a copy of the tree, on a host that is
# removed in any case (with KEEP=1 it stays): operations.sh [pytest options]
set -euo pipefail
cd "$(dirname "$0")/../.."
export FEDLEARN_LEDGER_SET=${FEDLEARN_LEDGER_SET:-ledger}
export FEDLEARN_LEDGER_SUBNET=${FEDLEARN_LEDGER_SUBNET:-10.98.35.0/24}
hosts=(.venv/bin/python molecule/shared/hosts.py)
[ -n "${KEEP:-}" ] || trap '"${hosts[@]}" down "$FEDLEARN_LEDGER_SET"' EXIT
"${hosts[@]}" up --suite bookworm --subnet "$FEDLEARN_LEDGER_SUBNET" "$FEDLEARN_LEDGER_SET" "l1=${FEDLEARN_LEDGER_SUBNET%.*}.11"
.venv/bin/python -m pytest --quiet tests/extension/test_ledger.py "$@"
