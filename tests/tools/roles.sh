#!/usr/bin/env bash
# Roles' Molecule scenarios on one Debian, one after the other: roles.sh SUITE [NAME... | -NAME...]
# Without names every scenario that needs nothing beside its host (no needs.sh), but for those with a - before them.
set -euo pipefail
cd "$(dirname "$0")/../.."
suite=${1:?roles.sh SUITE [NAME...]; SUITE is bullseye, bookworm or trixie, NAME a folder of molecule/}
shift
names=("$@")
if [ $# -eq 0 ] || [[ $1 == -* ]]; then
    names=()
    for scenario in molecule/*/molecule.yml; do
        name=$(basename "$(dirname "$scenario")")
        [ -e "molecule/$name/needs.sh" ] || [[ " $* " == *" -$name "* ]] || names+=("$name")
    done
fi
for name in "${names[@]}"; do
    echo "=== $name on $suite"
    tests/tools/scenario.sh "$name" "$suite"
done
