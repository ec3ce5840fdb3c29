#!/usr/bin/env bash
# The examples of the roles' READMEs, with the collection as a user has it installed, on a host that is removed in any case
# (with KEEP=1 it stays): readme.sh [pytest options]
set -euo pipefail
cd "$(dirname "$0")/../.."
export FEDLEARN_README_SET=${FEDLEARN_README_SET:-readme} FEDLEARN_README_SUBNET=${FEDLEARN_README_SUBNET:-10.98.25.0/24}
network=${FEDLEARN_README_SUBNET%.*}
hosts=(.venv/bin/python molecule/shared/hosts.py)
[ -n "${KEEP:-}" ] || trap '"${hosts[@]}" down "$FEDLEARN_README_SET"' EXIT
# the one Debian that all roles run on as it is, and a newer one for those whose libraries want a newer Python
"${hosts[@]}" up --suite bullseye --fuse --subnet "$FEDLEARN_README_SUBNET" "$FEDLEARN_README_SET" "r1=$network.11" "r2=$network.12@bookworm"
.venv/bin/python -m pytest --quiet tests/readme "$@"
