#!/usr/bin/env bash
# dc_federated with its proxies on hosts of its own, which are removed in any case (with KEEP=1 they stay): dc_federated.sh
# [pytest options]. The library itself where FEDLEARN_UPSTREAM_DIR has it as dc_federated/, its double elsewhere.
set -euo pipefail
cd "$(dirname "$0")/../.."
export FEDLEARN_DCF_SET=${FEDLEARN_DCF_SET:-dcf} FEDLEARN_DCF_NET=${FEDLEARN_DCF_NET:-10.98.54}
hosts=(.venv/bin/python molecule/shared/hosts.py)
[ -n "${KEEP:-}" ] || trap '"${hosts[@]}" down "$FEDLEARN_DCF_SET"; rm -rf build/dc_federated build/polls' EXIT
places=()
for number in 1 2 3 4; do places+=("p$number=$FEDLEARN_DCF_NET.1$number"); done
for number in 5 6; do places+=("p$number=$FEDLEARN_DCF_NET.1$number@trixie"); done
"${hosts[@]}" up --suite bookworm --subnet "$FEDLEARN_DCF_NET.0/24" "$FEDLEARN_DCF_SET" "${places[@]}"
.venv/bin/python -m pytest --quiet "${@:-tests/dc_federated}"
