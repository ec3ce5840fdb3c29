#!/usr/bin/env bash
# The package as a user gets it: built from this tree, looked at by galaxy-importer, installed where nothing else is, and
# every plugin's documentation shown from there. Needs no network.
set -euo pipefail
cd "$(dirname "$0")/../.."
environment=$PWD/.venv
room=$(mktemp -d "${TMPDIR:-/tmp}/fedlearn-package.XXXXXX")
trap 'rm -rf "$room"' EXIT
tree=$("$environment/bin/python" tests/tools/tree.py copy "$room/tree")
: > "$room/ansible.cfg" # a user's own settings don't count
export ANSIBLE_HOME=$room/home ANSIBLE_CONFIG=$room/ansible.cfg ANSIBLE_LOCAL_TEMP=$room/temporary NO_COLOR=1 PATH=$environment/bin:$PATH
cd "$room"

# what somebody's playbooks keep beside their document isn't everybody's, and neither is what tools keep in a checkout
mkdir -p "$tree/inventories/mine/.secrets"
for one in .hypothesis .mypy_cache .pytest_cache .ruff_cache; do
    mkdir "$tree/$one"
    touch "$tree/$one/of-a-tool"
done
touch "$tree/inventories/mine/.secrets/lab.yml" "$tree/inventories/mine/.vault-pass"
ansible-galaxy collection build "$tree" --output-path "$room"
package=$(echo "$room"/fedlearn-infra-*.tar.gz)
if tar -tzf "$package" | grep -e '^inventories/.*/\.' -e /of-a-tool; then
    echo "package.sh: the package has what stands above" >&2
    exit 1
fi

# ansible-lint and ansible-test have parts of their own (lint.sh, sanity.sh), with more than the importer asks of them.
cat > importer.cfg <<'INI'
[galaxy-importer]
run_ansible_doc = True
run_ansible_lint = False
run_ansible_test = False
run_flake8 = False
check_required_tags = True
INI
GALAXY_IMPORTER_CONFIG=$room/importer.cfg python -m galaxy_importer.main "$package" | tee importer.log
# That there are ignore files is told of every collection that has some; each of their lines has its reason beside it.
if grep -E '^(WARNING|ERROR|CRITICAL)' importer.log | grep -v '^WARNING: Ignore files skip ansible-test sanity tests'; then
    echo "package.sh: galaxy-importer found what stands above" >&2
    exit 1
fi

# The environment links the checkout as this collection: that is why --force, and why the path shown is looked at.
export ANSIBLE_COLLECTIONS_PATH=$room/installed
ansible-galaxy collection install --offline --force --collections-path "$room/installed" "$package"
ansible-doc --metadata-dump fedlearn.infra > documentation.json
python - "$room/installed/ansible_collections/fedlearn/infra" <<'PYTHON'
import json
import sys
from pathlib import Path

installed = Path(sys.argv[1])
shown = json.loads(Path("documentation.json").read_text())["all"]
# an action plugin's documentation is its module's, and a fragment is shown as part of the modules'
undocumented = {"action", "doc_fragments", "module_utils", "plugin_utils"}
count = 0
for folder in sorted(path for path in (installed / "plugins").iterdir() if path.name not in undocumented):
    kind = folder.name.removesuffix("s")
    for path in sorted(folder.glob("[a-z]*.py")):
        name = f"fedlearn.infra.{path.stem}"
        about = shown.get(kind, {}).get(name, {}).get("doc")
        if not about:
            sys.exit(f"package.sh: {kind} {name}: ansible-doc shows nothing of it")
        if not about["filename"].startswith(str(installed)):
            sys.exit(f"package.sh: {kind} {name}: is shown from {about['filename']}, not as installed")
        count += 1
if not count:
    sys.exit("package.sh: no plugin is installed")
print(f"{count} plugins are documented as installed")
PYTHON
