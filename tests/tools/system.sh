#!/usr/bin/env bash
# managed_service on real systemd hosts, which are removed in any case (with KEEP=1 they stay). Killed runs are tried on
# one, everything else on the other, side by side; `system.sh <pytest options>` runs what they choose on the first.
set -euo pipefail
cd "$(dirname "$0")/../.."
export FEDLEARN_SERVICE_SET=${FEDLEARN_SERVICE_SET:-service} ANSIBLE_HOME=$PWD/build/ansible-home
hosts=(.venv/bin/python molecule/shared/hosts.py)
[ -n "${KEEP:-}" ] || trap '"${hosts[@]}" down "$FEDLEARN_SERVICE_SET"' EXIT
"${hosts[@]}" up --suite bookworm --subnet 10.98.7.0/24 "$FEDLEARN_SERVICE_SET" h1=10.98.7.11 h2=10.98.7.12

run() { # <host> [pytest options]
    FEDLEARN_SERVICE_HOST=$1 .venv/bin/python -m pytest --quiet tests/system "${@:2}"
}

if [ $# -gt 0 ]; then
    run h1 "$@"
    exit
fi
log=$(mktemp)
run h2 -k killed > "$log" 2>&1 &
kills=$! failed=0
run h1 -k "not killed" || failed=1
wait "$kills" || failed=1
cat "$log"
rm "$log"
exit "$failed"
