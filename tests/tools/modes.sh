#!/usr/bin/env bash
# Modes, encryption types, initial models, refusals and removal of what is deployed on hosts of its own, which are removed in
# any case (with KEEP=1 they stay): modes.sh [pytest options]
set -euo pipefail
cd "$(dirname "$0")/../.."
hosts=(.venv/bin/python molecule/shared/hosts.py)
[ -n "${KEEP:-}" ] || trap '"${hosts[@]}" down modes; rm -rf build/modes' EXIT
"${hosts[@]}" up --suite bullseye --subnet 10.98.13.0/24 modes m1=10.98.13.11 m2=10.98.13.12 m3=10.98.13.13
.venv/bin/python -m pytest --quiet tests/modes "$@"
