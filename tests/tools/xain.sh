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
set=${FEDLEARN_XAIN_SET:-wxain}
network=${FEDLEARN_XAIN_NETWORK:-10.98.71}
hosts=(.venv/bin/python molecule/shared/hosts.py)
[ -n "${KEEP:-}" ] || trap '"${hosts[@]}" down "$set"; rm -rf build/xain build/rounds build/masks build/counts' EXIT
"${hosts[@]}" up --suite bookworm --subnet "$network.0/24" "$set" "x1=$network.11" "x2=$network.12" "x3=$network.13"
.venv/bin/python -m pytest --quiet "${@:-tests/xain}"
