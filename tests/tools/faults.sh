#!/usr/bin/env bash
# The demo, then what breaks in it (tests/demo/faults/test_NAME.py); it is removed in any case: faults.sh NAME
set -euo pipefail
cd "$(dirname "$0")/../.."
trap 'make demo-down' EXIT
make demo
.venv/bin/python -m pytest --quiet "tests/demo/faults/test_$1.py"
