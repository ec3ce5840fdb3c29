#!/usr/bin/env bash
# xain on three hosts, which are removed in any case (with KEEP=1 they stay): xain.sh [pytest options]. Its programs come
# from the package index, MinIO is built by Go.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v go >/dev/null || { echo "go isn't there, and MinIO is built by it" >&2; exit 77; }
hosts=(.venv/bin/python molecule/shared/hosts.py)
[ -n "${KEEP:-}" ] || trap '"${hosts[@]}" down wxain; rm -rf build/xain build/rounds' EXIT
"${hosts[@]}" up --suite bookworm --subnet 10.98.71.0/24 wxain x1=10.98.71.11 x2=10.98.71.12 x3=10.98.71.13
.venv/bin/python -m pytest --quiet "${@:-tests/xain}"
