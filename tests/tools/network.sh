#!/usr/bin/env bash
# The network of a scenario's host: network.sh NAME SUITE [SET]. Each scenario on each Debian has one of its own, since lanes
# run side by side; what is called another SET has one beside those.
set -euo pipefail
cd "$(dirname "$0")/../.."
scenarios=(molecule/*/molecule.yml)
for number in "${!scenarios[@]}"; do
    [ "${scenarios[number]}" != "molecule/$1/molecule.yml" ] || break
done
case $2 in bullseye) place=0 ;; bookworm) place=1 ;; *) place=2 ;; esac
network=$((3 * number + place))
[ "${3:-role-$1-$2}" = "role-$1-$2" ] || network=$((150 + $(cksum <<<"$3" | cut -d' ' -f1) % 100))
echo "10.97.$network.0/24"
