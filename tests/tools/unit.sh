#!/usr/bin/env bash
# Unit tests, slow ones too, on the newest and on the oldest ansible-core.
set -euo pipefail
cd "$(dirname "$0")/../.."
tests/tools/venv.sh build/venv-oldest requirements-oldest.txt oldest
export ANSIBLE_INJECT_FACT_VARS=false
for environment in .venv build/venv-oldest; do
    "$environment/bin/python" -c 'import ansible, platform; print("ansible-core", ansible.release.__version__, "on Python", platform.python_version())' \
        2>/dev/null || "$environment/bin/ansible" --version | head -1
    "$environment/bin/python" -m pytest --quiet
done
