#!/usr/bin/env bash
# Roles' Molecule scenarios on one Debian, one after the other: roles.sh SUITE [NAME...]
# Without names every scenario that needs nothing beside its host (no needs.sh).
set -euo pipefail
cd "$(dirname "$0")/../.."
suite=${1:?roles.sh SUITE [NAME...]; SUITE is bullseye, bookworm or trixie, NAME a folder of molecule/}
shift
names=("$@")
if [ $# -eq 0 ]; then
    for scenario in molecule/*/molecule.yml; do
        name=$(basename "$(dirname "$scenario")")
        [ -e "molecule/$name/needs.sh" ] || names+=("$name")
    done
fi
for name in "${names[@]}"; do
    echo "=== $name on $suite"
    tests/tools/scenario.sh "$name" "$suite"
done
