#!/usr/bin/env bash
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A vault identity is given to a whole run, so this target makes its own file and runs its own play.
set -euo pipefail
# ansible-test's temporary copy of the target; nothing else is written to
room=$(mktemp -d "${OUTPUT_DIR:-/tmp}/secret.XXXXXX")
trap 'rm -rf "$room"' EXIT
mkdir -m 700 "$room/.secrets"
echo 'known to this test only' > "$room/password"
echo 'known here' > "$room/passphrase"
: > "$room/empty"
cat > "$room/.secrets/clinic-a.yml" <<'YAML'
database: "reserved: :/?#[]@!$&'()*+,;=% {{ not_a_template }}"
address: "fd00::11"
YAML
ansible-vault encrypt --vault-password-file "$room/password" "$room/.secrets/clinic-a.yml"
ansible-playbook -i localhost, --vault-password-file "$room/password" -e "secret_room=$room" play.yml "$@"
if ansible-playbook -i localhost, -e "secret_room=$room" play.yml "$@" > "$room/output" 2>&1; then
    echo "runme.sh: the secrets were read without their vault password" >&2
    exit 1
fi
grep -q "can't be opened without a vault identity" "$room/output"
