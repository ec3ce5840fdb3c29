#!/usr/bin/env bash
# One Molecule scenario: scenario.sh NAME [SUITE]. With KEEP=1 its host stays.
set -euo pipefail
cd "$(dirname "$0")/../.."
name=${1:?scenario.sh NAME [SUITE]; NAME is a folder of molecule/}
suite=${2:-bookworm}
export FEDLEARN_ROLE_SUITE=$suite FEDLEARN_ROLE_SET=${FEDLEARN_ROLE_SET:-role-$name-$suite}
export FEDLEARN_ROLE_SUBNET=${FEDLEARN_ROLE_SUBNET:-10.97.$(($(cksum <<<"$FEDLEARN_ROLE_SET" | cut -d' ' -f1) % 250)).0/24}
export ANSIBLE_HOME=$PWD/build/ansible-home ANSIBLE_CONFIG=$PWD/ansible.cfg ANSIBLE_INJECT_FACT_VARS=false
export PYTHONPATH=$PWD/molecule/shared/role PATH=$PWD/.venv/bin:$PATH
[ -n "${KEEP:-}" ] || trap '.venv/bin/python molecule/shared/hosts.py down "$FEDLEARN_ROLE_SET" >/dev/null' EXIT
molecule reset --scenario-name "$name" >/dev/null 2>&1 || true
molecule test --scenario-name "$name" --destroy never
