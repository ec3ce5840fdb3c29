#!/usr/bin/env bash
# The execution environment, made of this tree, and what runs in it: execution_environment.sh [pytest options]. The image
# is removed in the end (with KEEP=1 it stays).
set -euo pipefail
cd "$(dirname "$0")/../.."
FEDLEARN_EXECUTION_ENVIRONMENT=$(.venv/bin/python tests/tools/execution_environment.py | tail -1)
export FEDLEARN_EXECUTION_ENVIRONMENT
[ -n "${KEEP:-}" ] || trap 'docker image rm --force "$FEDLEARN_EXECUTION_ENVIRONMENT" >/dev/null' EXIT
docker image inspect --format '{{.Size}} bytes' "$FEDLEARN_EXECUTION_ENVIRONMENT"
.venv/bin/python -m pytest --quiet "${@:-tests/execution_environment}"
