#!/usr/bin/env bash
# First deploys that are killed, each on a fresh host, which is removed in any case: first.sh [pytest options]
set -euo pipefail
cd "$(dirname "$0")/../.."
trap '.venv/bin/python molecule/shared/hosts.py down first; rm -rf build/first' EXIT
.venv/bin/python -m pytest --quiet tests/first "$@"
