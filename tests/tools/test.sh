#!/usr/bin/env bash
# `make test`: the parts of the suite `test` in parts.toml; the last line counts them.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec .venv/bin/python tests/tools/parts.py test
