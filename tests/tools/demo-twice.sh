#!/usr/bin/env bash
# The demo, cold and standing: its round passes twice, a second site changes nothing, status says ok; then it is removed.
set -euo pipefail
cd "$(dirname "$0")/../.."
trap 'make demo-down' EXIT
make demo
make demo
.venv/bin/python tests/tools/demo.py unchanged
