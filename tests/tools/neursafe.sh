#!/usr/bin/env bash
# Neursafe's state and a client on two hosts beside a control plane on loopback, which are removed in any case (with KEEP=1
# they stay): neursafe.sh [pytest options]. Kubernetes and MinIO are built by Go.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v go >/dev/null || { echo "go isn't there, and Kubernetes and MinIO are built by it" >&2; exit 77; }
[ -c /dev/fuse ] || { echo "there is no /dev/fuse, and nodes mount by it" >&2; exit 77; }
python3 tests/tools/kubernetes.py
export FEDLEARN_ROLE_SET=${FEDLEARN_ROLE_SET:-wneursafe} FEDLEARN_ROLE_SUBNET=${FEDLEARN_ROLE_SUBNET:-10.98.72.0/24}
net=${FEDLEARN_ROLE_SUBNET%.*}
hosts=(.venv/bin/python molecule/shared/hosts.py)
[ -n "${KEEP:-}" ] || trap '"${hosts[@]}" down "$FEDLEARN_ROLE_SET"; rm -rf build/neursafe build/whole' EXIT
"${hosts[@]}" up --suite "${FEDLEARN_ROLE_SUITE:-bookworm}" --fuse --subnet "$FEDLEARN_ROLE_SUBNET" "$FEDLEARN_ROLE_SET" "s1=$net.11" "n1=$net.12"
.venv/bin/python -m pytest --quiet "${@:-tests/neursafe}"
