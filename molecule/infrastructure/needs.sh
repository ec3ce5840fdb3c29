#!/usr/bin/env bash
# MinIO and FerretDB are built by Go on the control node.
set -euo pipefail
command -v go >/dev/null || { echo "go isn't there, and MinIO and FerretDB are built by it" >&2; exit 77; }
