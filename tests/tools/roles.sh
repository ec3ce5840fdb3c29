#!/usr/bin/env bash
# Every role's Molecule scenario on one Debian, one after the other: roles.sh SUITE
set -euo pipefail
cd "$(dirname "$0")/../.."
suite=${1:?roles.sh SUITE: bullseye, bookworm or trixie}
for scenario in molecule/*/molecule.yml; do
    name=$(basename "$(dirname "$scenario")")
    echo "=== $name on $suite"
    tests/tools/scenario.sh "$name" "$suite"
done
