#!/usr/bin/env bash
# One Molecule scenario: scenario.sh NAME [SUITE]. With KEEP=1 its host stays.
# What a scenario needs beside its host, molecule/NAME/needs.sh brings; it ends with 77 where the machine lacks it.
set -euo pipefail
cd "$(dirname "$0")/../.."
name=${1:?scenario.sh NAME [SUITE]; NAME is a folder of molecule/}
suite=${2:-bookworm}
export FEDLEARN_ROLE_SUITE=$suite FEDLEARN_ROLE_SET=${FEDLEARN_ROLE_SET:-role-$name-$suite}
FEDLEARN_ROLE_SUBNET=${FEDLEARN_ROLE_SUBNET:-$(tests/tools/network.sh "$name" "$suite" "$FEDLEARN_ROLE_SET")}
export FEDLEARN_ROLE_SUBNET
export ANSIBLE_HOME=$PWD/build/ansible-home ANSIBLE_CONFIG=$PWD/ansible.cfg ANSIBLE_INJECT_FACT_VARS=false
export PYTHONPATH=$PWD/molecule/shared/role PATH=$PWD/.venv/bin:$PATH
# CAs, secrets and the password that encrypts them: new ones for each run
export FEDLEARN_ROLE_STATE=$PWD/build/roles/$FEDLEARN_ROLE_SET.state
export ANSIBLE_VAULT_PASSWORD_FILE=$FEDLEARN_ROLE_STATE/vault-pass
rm -rf "$FEDLEARN_ROLE_STATE"
(umask 077 && mkdir -p "$FEDLEARN_ROLE_STATE" && head -c 24 /dev/urandom | base64 >"$ANSIBLE_VAULT_PASSWORD_FILE")
if [ -x "molecule/$name/needs.sh" ]; then
    "molecule/$name/needs.sh"
fi
[ -n "${KEEP:-}" ] || trap '.venv/bin/python molecule/shared/hosts.py down "$FEDLEARN_ROLE_SET" >/dev/null; rm -rf "$FEDLEARN_ROLE_STATE"' EXIT
molecule reset --scenario-name "$name" >/dev/null 2>&1 || true
molecule test --scenario-name "$name" --destroy never
