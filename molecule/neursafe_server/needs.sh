#!/usr/bin/env bash
# A Kubernetes control plane: programs that Go builds once, and one that lives as long as its folder in $FEDLEARN_ROLE_STATE.
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! command -v go >/dev/null && ! python3 tests/tools/kubernetes.py --have >/dev/null; then
    echo "neursafe_server: Kubernetes is built by Go, and there is no 'go' here" >&2
    exit 77
fi
python3 tests/tools/kubernetes.py
.venv/bin/python tests/support/control_plane.py up "$FEDLEARN_ROLE_STATE/cluster"
