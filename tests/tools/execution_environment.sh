#!/usr/bin/env bash
# The execution environment, made of this tree, and what runs in it, on hosts of its own: execution_environment.sh [pytest
# options]. The image and the hosts are removed in the end (with KEEP=1 they stay). No hosts with FEDLEARN_EXECUTION_SET=''.
set -euo pipefail
cd "$(dirname "$0")/../.."
FEDLEARN_EXECUTION_ENVIRONMENT=$(.venv/bin/python tests/tools/execution_environment.py | tail -1)
export FEDLEARN_EXECUTION_ENVIRONMENT
export FEDLEARN_EXECUTION_SET=${FEDLEARN_EXECUTION_SET-execution} FEDLEARN_EXECUTION_SUBNET=${FEDLEARN_EXECUTION_SUBNET:-10.98.14.0/24}
network=${FEDLEARN_EXECUTION_SUBNET%.*}
hosts=(.venv/bin/python molecule/shared/hosts.py)
down() {
    docker image rm --force "$FEDLEARN_EXECUTION_ENVIRONMENT" >/dev/null
    [ -z "$FEDLEARN_EXECUTION_SET" ] || "${hosts[@]}" down "$FEDLEARN_EXECUTION_SET"
}
[ -n "${KEEP:-}" ] || trap down EXIT
docker image inspect --format '{{.Size}} bytes' "$FEDLEARN_EXECUTION_ENVIRONMENT"
[ -z "$FEDLEARN_EXECUTION_SET" ] || "${hosts[@]}" up --suite bullseye --subnet "$FEDLEARN_EXECUTION_SUBNET" "$FEDLEARN_EXECUTION_SET" \
    "ms1=$network.11" "ms2=$network.12" "ms3=$network.13"
.venv/bin/python -m pytest --quiet "${@:-tests/execution_environment}"
