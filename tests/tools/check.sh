#!/usr/bin/env bash
# `make check`, what one runs before each commit: three minutes on two cores. With --static no tests are run.
set -euo pipefail
cd "$(dirname "$0")/../.."

run() {
    printf '%-8s' "$1"
    shift
    "$@"
}

run ruff .venv/bin/ruff check --quiet .
echo clean
run format .venv/bin/ruff format --quiet --check .
echo clean
run yamllint .venv/bin/yamllint --strict .
echo clean
# strict on the library and on what runs on hosts; the scripts of tests and test hosts along with it
library=ansible_collections.fedlearn.infra.plugins
run mypy .venv/bin/mypy -p $library.plugin_utils -p $library.module_utils
run mypy env MYPYPATH=molecule/shared .venv/bin/mypy molecule/shared/hosts.py
run mypy env MYPYPATH=tests/tools:molecule/shared .venv/bin/mypy tests/tools/*.py
[ "${1:-}" = --static ] || run pytest .venv/bin/pytest --quiet -m 'not slow'
