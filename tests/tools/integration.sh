#!/usr/bin/env bash
# The integration targets (pure asserts about filters and lookups) by ansible-test, with the newest ansible-core.
#
#   integration.sh [TARGET ...]
#
# Runs on a copy outside any checkout: from a git-ignored folder or a link ansible-test finds no targets and exits 0.
# tests/integration/integration.cfg is its ansible.cfg.
set -euo pipefail
cd "$(dirname "$0")/../.."
environment=$(realpath .venv)

room=$(mktemp -d "${TMPDIR:-/tmp}/fedlearn-integration.XXXXXX")
trap 'rm -rf "$room"' EXIT
tree=$("$environment/bin/python" tests/tools/tree.py copy "$room")

cd "$tree"
python=$("$environment/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
output="$room/output"
status=0
HOME="$room" PATH="$environment/bin:/usr/sbin:/usr/bin:/sbin:/bin" ANSIBLE_HOME="$room/.ansible" ANSIBLE_CONFIG=/dev/null \
    "$environment/bin/ansible-test" integration --color no --python "$python" "$@" 2>&1 | tee "$output" || status=$?
if grep 'All targets skipped' "$output" >&2; then
    echo "integration.sh: nothing was tested" >&2
    exit 1
fi
exit "$status"
