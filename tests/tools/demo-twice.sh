#!/usr/bin/env bash
# The demo, cold and standing, then looked at by test_demo.py; it is removed in any case.
set -euo pipefail
cd "$(dirname "$0")/../.."
trap 'make demo-down' EXIT
make demo
make demo
.venv/bin/python -m pytest --quiet tests/demo/test_demo.py
