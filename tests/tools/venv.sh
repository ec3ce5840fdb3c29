#!/usr/bin/env bash
# Make a virtual environment in which every ansible tool finds this checkout as fedlearn.infra.
#
#   venv.sh FOLDER REQUIREMENTS [newest|oldest]
#
# newest: the newest Python from 3.11 to 3.14 that the machine has (pyenv's included); oldest: the oldest of them, for the
# oldest ansible-core. A stamp inside the environment makes a second call free until a requirement file changes.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$1 requirements=$2 which=${3:-newest}

stamp="$folder/.made-$(basename "$requirements" .txt)"
digest=$(cat requirements*.txt constraints.txt "$0" | sha256sum | cut -c1-16)
if [[ -x $folder/bin/python && -e $stamp && $(cat "$stamp") == "$digest" ]]; then
    exit 0
fi

versions="3.14 3.13 3.12 3.11"
if [[ $which == oldest ]]; then versions="3.11 3.12 3.13"; fi

# Prints the first Python of these versions that runs (a pyenv shim may be there and not run).
find_python() {
    local version candidate
    for version in $versions; do
        for candidate in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version"*/bin/python "/usr/bin/python$version"; do
            if "$candidate" -c "import sys; sys.exit(f'{sys.version_info[0]}.{sys.version_info[1]}' != '$version')" >/dev/null 2>&1; then
                echo "$candidate"
                return 0
            fi
        done
    done
    return 1
}

install_packages() {
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        echo "venv.sh: $* missing; install it (as root on Debian it would be done here)" >&2
        exit 1
    fi
    echo "installing $*"
    DEBIAN_FRONTEND=noninteractive apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends "$@" >/dev/null
}

if [[ ! -x $folder/bin/python ]]; then
    if ! python=$(find_python); then
        install_packages python3 python3-venv
        python=$(find_python) || { echo "venv.sh: no Python of $versions on this machine" >&2; exit 1; }
    fi
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        install_packages "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    fi
    echo "making $folder with $("$python" --version)"
    "$python" -m venv "$folder"
fi
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"

# The collection is found where every ansible tool of this environment looks first; a link, so an edit counts at once.
site=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
mkdir -p "$site/ansible_collections/fedlearn"
ln -sfn "$PWD" "$site/ansible_collections/fedlearn/infra"
mkdir -p "$folder/collections" # the same for mypy, which takes no site-packages
ln -sfn "$site/ansible_collections" "$folder/collections/ansible_collections"
echo "$digest" > "$stamp"
