#!/usr/bin/env bash
# managed_service on a real systemd host, which is removed in any case (with KEEP=1 it stays): system.sh [pytest options]
set -euo pipefail
cd "$(dirname "$0")/../.."
export FEDLEARN_SERVICE_SET=${FEDLEARN_SERVICE_SET:-service} ANSIBLE_HOME=$PWD/build/ansible-home
hosts=(.venv/bin/python molecule/shared/hosts.py)
[ -n "${KEEP:-}" ] || trap '"${hosts[@]}" down "$FEDLEARN_SERVICE_SET"' EXIT
"${hosts[@]}" up --suite bookworm --subnet 10.98.7.0/24 "$FEDLEARN_SERVICE_SET" h1=10.98.7.11
.venv/bin/python -m pytest --quiet tests/system "$@"
