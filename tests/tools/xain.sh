#!/usr/bin/env bash
# xain on three hosts, which are removed in any case (with KEEP=1 they stay): xain.sh [pytest options]. Its programs come
# from the package index; MinIO is built by Go, xaynet-server by Cargo, xain-fl 0.8 in a root of Debian 11.
set -euo pipefail
cd "$(dirname "$0")/../.."
case ${*:-masked} in
    *masked*) molecule/xain_pet/needs.sh ;;
    *poc*) molecule/xain_poc/needs.sh ;;
    *) molecule/xain/needs.sh ;;
esac
hosts=(.venv/bin/python molecule/shared/hosts.py)
[ -n "${KEEP:-}" ] || trap '"${hosts[@]}" down wxain; rm -rf build/xain build/rounds build/masks build/counts' EXIT
"${hosts[@]}" up --suite bookworm --subnet 10.98.71.0/24 wxain x1=10.98.71.11 x2=10.98.71.12 x3=10.98.71.13
.venv/bin/python -m pytest --quiet "${@:-tests/xain}"
