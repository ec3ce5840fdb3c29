#!/usr/bin/env bash
# A registry on a host beside a control plane on loopback, filled by a stand-in for upstream's build; both are removed in any
# case (with KEEP=1 they stay): images.sh [pytest options]. Kubernetes is built by Go, once.
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! command -v go >/dev/null && ! python3 tests/tools/kubernetes.py --have >/dev/null; then
    echo "go isn't there, and Kubernetes is built by it" >&2
    exit 77
fi
python3 tests/tools/kubernetes.py
export FEDLEARN_ROLE_SET=${FEDLEARN_ROLE_SET:-wimages} FEDLEARN_ROLE_SUBNET=${FEDLEARN_ROLE_SUBNET:-10.98.73.0/24}
hosts=(.venv/bin/python molecule/shared/hosts.py)
[ -n "${KEEP:-}" ] || trap '"${hosts[@]}" down "$FEDLEARN_ROLE_SET"; rm -rf build/images build/pinned' EXIT
"${hosts[@]}" up --suite "${FEDLEARN_ROLE_SUITE:-bookworm}" --subnet "$FEDLEARN_ROLE_SUBNET" "$FEDLEARN_ROLE_SET" "r1=${FEDLEARN_ROLE_SUBNET%.*}.11"
.venv/bin/python -m pytest --quiet "${@:-tests/images}"
