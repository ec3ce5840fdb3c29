#!/usr/bin/env bash
# The example of the role that FEDLEARN_ROLE names, beside what a run keeps; some programs are built by Go.
set -euo pipefail
role=${FEDLEARN_ROLE:?the default scenario is each role\'s: FEDLEARN_ROLE=redis make scenario NAME=default}
case $role in
minio | mongodb) command -v go >/dev/null || { echo "go isn't there, and the program of $role is built by it" >&2; exit 77; } ;;
esac
awk '/^```yaml$/ {on = 1; next} /^```$/ && on {exit} on' "roles/$role/README.md" >"$FEDLEARN_ROLE_STATE/example.yml"
grep -q "role: fedlearn.infra.$role$" "$FEDLEARN_ROLE_STATE/example.yml"
