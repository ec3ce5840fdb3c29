#!/usr/bin/env bash
# ansible-test sanity of this tree with the ansible-core of one virtual environment.
#
#   sanity.sh ENVIRONMENT [ansible-test arguments]
#
# It runs on a copy outside any checkout (elsewhere it may find no files and still exit 0), with a home of its own.
set -euo pipefail
cd "$(dirname "$0")/../.."
environment=$(realpath "$1")
shift

if ! command -v shellcheck >/dev/null && [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends shellcheck \
        >/dev/null
fi

room=$(mktemp -d "${TMPDIR:-/tmp}/fedlearn-sanity.XXXXXX")
trap 'rm -rf "$room"' EXIT
tree=$("$environment/bin/python" tests/tools/tree.py copy "$room")
# tools' homes (virtual environments of ansible-test) outlive the run, the tree doesn't
home="$PWD/build/sanity/$(basename "$environment")"
mkdir -p "$home/.ansible/test/cache"

# ansible-test would fetch get-pip from a host of its own; this stands in for it with pip's wheel from the package index.
core_package=$("$environment/bin/python" -c 'import ansible_test, os; print(os.path.dirname(ansible_test.__file__))')
while read -r version; do
    script="$home/.ansible/test/cache/get_pip_${version//./_}.py"
    if [[ ! -e $script ]]; then
        "$environment/bin/python" -m pip download --quiet --no-deps --dest "$home/wheels" "pip==$version"
        cat > "$script" <<PYTHON
import sys
sys.path.insert(0, "$home/wheels/pip-$version-py3-none-any.whl")
from pip._internal.cli.main import main
sys.exit(main(["install", *[a for a in sys.argv[1:] if a not in ("--no-setuptools", "--no-wheel")]]))
PYTHON
    fi
done < <(grep -rhoE "pip='[0-9.]+'|'pip': '[0-9.]+'|pip=\"[0-9.]+\"" "$core_package/_internal" --include='*.py' | grep -oE '[0-9.]+' | sort -u)

cd "$tree"
python=$("$environment/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
output="$room/output"
status=0
HOME="$home" PATH="$environment/bin:/usr/sbin:/usr/bin:/sbin:/bin" ANSIBLE_HOME="$home/.ansible" ANSIBLE_CONFIG=/dev/null \
    "$environment/bin/ansible-test" sanity --color no --python "$python" "$@" 2>&1 | tee "$output" || status=$?
for silence in 'All targets skipped' 'Required program .* not found'; do
    if grep "$silence" "$output" >&2; then
        echo "sanity.sh: a test did not look at anything" >&2
        exit 1
    fi
done
exit "$status"
