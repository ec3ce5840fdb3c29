#!/usr/bin/env bash
# The demo and its tests by the oldest ansible-core, from a copy of this checkout; 77 where no Python here runs it.
set -euo pipefail
cd "$(dirname "$0")/../.."
copy=build/oldest
mkdir -p "$copy"
find "$copy" -mindepth 1 -maxdepth 1 ! -name .venv -exec rm -rf {} +
git ls-files --cached --others --exclude-standard -z | xargs -0 tar --create --ignore-failed-read 2>/dev/null | tar --extract -C "$copy"
cd "$copy"
tests/tools/venv.sh .venv requirements-demo.txt oldest
grep '^ansible-core' requirements-demo.txt | grep -q "$(.venv/bin/pip list --format freeze | grep '^ansible-core').*<" || exit 77
.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt "$(grep '^pytest==' requirements-oldest.txt)"
trap 'make demo-down' EXIT
make demo
.venv/bin/python -m pytest --quiet tests/demo/test_demo.py
