#!/usr/bin/env bash
# The default scenario of each infrastructure role on one host, one after the other: defaults.sh SUITE [ROLE...]
# Each takes away what it brought; with KEEP=1 the host stays.
set -euo pipefail
cd "$(dirname "$0")/../.."
suite=${1:?defaults.sh SUITE [ROLE...]; SUITE is bullseye, bookworm or trixie}
shift
roles=("$@")
# a tunnel leads to a server on another machine
catalogue=ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.catalogue
[ $# -gt 0 ] || mapfile -t roles < <(.venv/bin/python -c "from $catalogue import INFRASTRUCTURE; print(*sorted({*INFRASTRUCTURE} - {'tunnel'}), sep='\n')")
export FEDLEARN_ROLE_SET=${FEDLEARN_ROLE_SET:-role-default-$suite}
[ -n "${KEEP:-}" ] || trap '.venv/bin/python molecule/shared/hosts.py down "$FEDLEARN_ROLE_SET" >/dev/null; rm -rf "build/roles/$FEDLEARN_ROLE_SET.state"' EXIT
for role in "${roles[@]}"; do
    echo "=== $role on $suite"
    FEDLEARN_ROLE=$role KEEP=1 tests/tools/scenario.sh default "$suite"
done
