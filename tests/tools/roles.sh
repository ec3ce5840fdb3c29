#!/usr/bin/env bash
# Roles' Molecule scenarios on one Debian, one after the other: roles.sh SUITE NAME...
set -euo pipefail
cd "$(dirname "$0")/../.."
suite=${1:?roles.sh SUITE NAME...; SUITE is bullseye, bookworm or trixie, NAME a folder of molecule/}
shift
for name in "$@"; do
    echo "=== $name on $suite"
    tests/tools/scenario.sh "$name" "$suite"
done
