#!/usr/bin/env bash
# MinIO is built by Go on the control node.
set -euo pipefail
command -v go >/dev/null || { echo "go isn't there, and MinIO is built by it" >&2; exit 77; }
