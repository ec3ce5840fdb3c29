#!/usr/bin/env bash
# ansible-lint with its production profile, on a copy: it would install what it finds in a checkout.
set -euo pipefail
cd "$(dirname "$0")/../.."
environment=$PWD/.venv
room=$(mktemp -d "${TMPDIR:-/tmp}/fedlearn-lint.XXXXXX")
trap 'rm -rf "$room"' EXIT
tree=$("$environment/bin/python" tests/tools/tree.py copy "$room")
cd "$tree"
export ANSIBLE_COLLECTIONS_PATH=$room ANSIBLE_HOME=$room/home PATH=$environment/bin:$PATH
"$environment/bin/ansible-lint" --offline --profile production --strict --nocolor
